//! A job at work.
//!
//! ```text
//! events ─▶ engine ─▶ outputs (rows wait) ─▶ deliveries ─▶ state to disk ─▶ receivers ─▶ state to disk
//! ```
//!
//! One record on disk holds the engine's state, the places in the events, the rows that wait and the deliveries that are due. A delivery is
//! sent only when it is in that record, and the next record, without it, follows when its receiver has it. After a crash the job goes on
//! from the record: what it sends again are the same deliveries, and what the engine had done since is done again.

mod deliver;
mod look_up;
mod tell;

use super::JobError;
use super::columns::Columns;
use super::definition::Definition;
use super::events::{Events, Round};
use super::output::send::{self, Sender};
use super::output::{Delivery, Output};
use super::reference::Reference;
use super::settings::Settings;
use super::state::{Counts, Saved, Saving};
use super::status::{State, Status};
use super::store::{Kept, Start, Store};
use crate::storage::account::Account;
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::{Decoder, Engine, EngineError};
use ironbrook_analytics::format::{EventReader, ReadError};
use ironbrook_analytics::value::{DateTime, Record};
use ironbrook_hub::Hub;
use ironbrook_hub::seams::{Clock, Routed};
use ironbrook_log::{Offset, PartitionId, Seek};
use ironbrook_model::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often the clock is shown to the engine while windows are open.
const TICK: Duration = Duration::from_millis(100);
/// The part of the time that keeping state may take.
const SAVE_PART: u32 = 10;
/// First and longest wait after a failed attempt to send.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(30);
/// Longest pause a receiver can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long a job that is stopped tries to send what it has.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a disk that cannot keep the state is left alone.
const DISK_WAIT: Duration = Duration::from_secs(1);

/// What a worker needs of the hub around it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) hub: Hub,
    pub(super) account: Account,
    pub(super) store: Store,
    pub(super) settings: Arc<Settings>,
}

/// Reads the events of one input.
enum Reading {
    /// Only what the query looks at.
    Wanted(Box<Decoder>),
    /// All, because filters look at columns that are not in the body.
    Whole(Box<dyn EventReader>),
}

impl Reading {
    fn read(&mut self, body: &[u8], each: &mut dyn FnMut(Result<Arc<Record>, ReadError>)) {
        match self {
            Self::Wanted(decoder) => decoder.read(body, each),
            Self::Whole(reader) => reader.read(body, each),
        }
    }
}

/// A job at work.
pub(super) struct Worker {
    place: Place,
    clock: Arc<dyn Clock>,
    name: String,
    run: String,
    definition: Arc<Definition>,
    query: Arc<Query>,
    events: Events,
    engine: Engine,
    /// Of the inputs that are streams, with their indices.
    readings: Vec<(usize, Reading)>,
    references: Vec<Reference>,
    columns: Columns,
    /// The latest arrival so far.
    floor: DateTime,
    /// No event arrives before this any more.
    complete: DateTime,
    /// When the oldest event arrived that is still to come, at the start.
    from: DateTime,
    /// As the query's.
    outputs: Vec<Output>,
    senders: Vec<(Arc<str>, Sender)>,
    /// Deliveries that are to be sent once they are kept.
    outbox: Vec<Delivery>,
    /// Counts of the starts before.
    before: Counts,
    counts: Counts,
    /// Data errors when samples were last shown.
    sampled: u64,
    status: Status,
    /// The start that is over once its place is kept.
    begins: Option<Start>,
    ready: Option<oneshot::Sender<()>>,
    /// Whether something happened that is not kept.
    is_dirty: bool,
    save_at: Timestamp,
    tick_at: Timestamp,
    refresh_at: Timestamp,
}

/// What a job is made of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) definition: Arc<Definition>,
    pub(super) query: Arc<Query>,
    pub(super) start: Option<Start>,
    pub(super) status: Status,
    /// Told when the job's place is kept: nothing that comes from then on is passed over.
    pub(super) ready: oneshot::Sender<()>,
}

impl Worker {
    /// Goes on from the state that was kept, or begins.
    pub(super) async fn open(place: Place, parts: Parts) -> Result<Self, JobError> {
        let Parts { name, definition, query, start, status, ready } = parts;
        let clock = place.hub.seams().clock.clone();
        let (store, job) = (place.store.clone(), name.clone());
        let bytes = blocking(move || match start {
            Some(_) => store.forget_state(&job).map(|()| None),
            None => store.state(&job),
        });
        let saved = bytes.await?.map(|bytes| Saved::read(&bytes)).transpose()?;
        let settings = place.settings.clone();
        let log = place.hub.seams().log.clone();
        let policies = definition.policies(settings.max_state, usize::from(log.partitions()));
        let (engine, saved) = match saved {
            Some(saved) => (Engine::restore(query.clone(), policies.clone(), &saved.engine)?, Some(saved)),
            None => (Engine::new(query.clone(), policies.clone()), None),
        };
        let seek = match start {
            Some(Start::At(millis)) => Seek::EnqueuedAt(Timestamp::from_millis(millis)),
            Some(Start::Now) | None => Seek::Latest,
        };
        let places: &[Offset] = saved.as_ref().map_or(&[], |saved| &saved.places);
        // A partition that was added since begins where it begins.
        let seek = if saved.is_some() { Seek::Earliest } else { seek };
        let events = Events::open(log, clock.clone(), places, seek, settings.close_delay).await?;
        let run = saved.as_ref().map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), |s| s.run.clone());
        let columns = Columns::of(&query, place.hub.auth().hub_name());
        let mut readings = Vec::new();
        for (number, stream) in query.inputs().iter().enumerate().filter(|(_, input)| !input.reference) {
            let format =
                definition.input(&stream.name).map(|input| input.format(&stream.name)).transpose()?;
            let format = format.unwrap_or_default();
            let reading = match columns.names_columns {
                true => Reading::Whole(format.reader(query.json_options())),
                false => Reading::Wanted(Box::new(Decoder::of(&query, number, &policies, format))),
            };
            readings.push((number, reading));
        }
        let (mut outputs, senders) = sides(&place, &name, &run, &definition, &query)?;
        let (mut floor, mut outbox, mut before) = (DateTime::MIN, Vec::new(), Counts::default());
        if let Some(saved) = saved {
            (floor, outbox, before) = (saved.floor, saved.outbox, saved.counts);
            for kept in saved.outputs {
                let same = |output: &&mut Output| output.name().eq_ignore_ascii_case(&kept.name);
                if let Some(output) = outputs.iter_mut().find(same) {
                    output.restore(kept);
                }
            }
        }
        let now = clock.now();
        let references = Reference::all(&query, &definition, settings.max_reference)?;
        let from = match start {
            Some(Start::At(millis)) => DateTime::from_unix_millis(millis).unwrap_or(DateTime::MIN),
            _ if floor == DateTime::MIN => time(now),
            // Events that wait for their turn are from before.
            _ => Some(engine.watermark())
                .filter(|reached| *reached > DateTime::MIN)
                .map_or(floor, |at| at.min(floor)),
        };
        Ok(Self {
            place,
            clock,
            name,
            run,
            definition,
            query,
            events,
            engine,
            readings,
            references,
            columns,
            floor,
            complete: DateTime::MIN,
            from,
            outputs,
            senders,
            outbox,
            before,
            counts: before,
            sampled: before.data_errors,
            status,
            begins: start,
            ready: Some(ready),
            is_dirty: true,
            save_at: now,
            tick_at: now,
            refresh_at: now,
        })
    }

    /// Works until cancelled. What was not sent then is sent by the next start.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), JobError> {
        // Before anything is read: a job that is killed now begins where it was told to begin, and nowhere else.
        if !self.save(&cancel).await {
            return Ok(());
        }
        self.begun().await?;
        if !self.load_references(&cancel).await? {
            return Ok(());
        }
        self.status.set(State::Running);
        while !cancel.is_cancelled() {
            if !self.outbox.is_empty() && !self.deliver(&cancel).await? {
                break;
            }
            let round = tokio::select! {
                () = cancel.cancelled() => break,
                round = self.next() => round?,
            };
            self.take_all(round)?;
            self.refresh().await;
            self.gather();
            let now = self.clock.now();
            if (!self.outbox.is_empty() || (self.is_dirty && now >= self.save_at))
                && !self.save(&cancel).await
            {
                break;
            }
            self.tell();
        }
        self.status.set(State::Stopping);
        self.stop().await
    }

    /// The place is kept, so the next start goes on from there.
    async fn begun(&mut self) -> Result<(), JobError> {
        if self.begins.take().is_some() {
            let (store, name) = (self.place.store.clone(), self.name.clone());
            let kept = Kept { definition: Definition::clone(&self.definition), is_wanted: true, start: None };
            blocking(move || store.keep(&name, &kept)).await?;
        }
        if self.references.is_empty() {
            self.status.set(State::Running);
        }
        if let Some(ready) = self.ready.take() {
            // Whoever started the job may have lost patience.
            let _ = ready.send(());
        }
        Ok(())
    }

    /// What there is to do; waits where there is nothing. Cancel-safe.
    async fn next(&mut self) -> Result<Round, JobError> {
        loop {
            // Read anew after each wait: only what was just read says how far the events are complete, and so what may close.
            let round = self.events.read().await?;
            if !round.messages.is_empty() {
                return Ok(round);
            }
            let tick = (self.engine.state_bytes() > 0).then_some(self.tick_at);
            let save = self.is_dirty.then_some(self.save_at);
            let refresh = (!self.references.is_empty()).then_some(self.refresh_at);
            let due = self.outputs.iter().filter_map(Output::due_at).min();
            let wake = [tick, save, refresh, due].into_iter().flatten().min();
            if wake.is_some_and(|wake| wake <= self.clock.now()) {
                return Ok(round);
            }
            let sleep = async {
                match wake {
                    Some(wake) => self.clock.sleep_until(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                changed = self.events.changed() => changed?,
            }
        }
    }

    fn take_all(&mut self, round: Round) -> Result<(), EngineError> {
        let now = self.clock.now();
        self.is_dirty |= !round.messages.is_empty();
        for (partition, routed) in &round.messages {
            self.take(*partition, routed, now)?;
        }
        if now < self.tick_at && self.tick_at.since(now) <= TICK {
            return Ok(());
        }
        self.tick_at = now.plus(TICK);
        let complete = DateTime::from_unix_millis(round.complete_until.as_millis()).unwrap_or(self.complete);
        if complete > self.complete {
            self.complete = complete;
            self.floor = self.floor.max(complete);
            self.engine.advance(complete)?;
        }
        Ok(())
    }

    fn take(&mut self, partition: PartitionId, routed: &Routed, now: Timestamp) -> Result<(), EngineError> {
        self.counts.messages += 1;
        // Else a job whose rows are routed to where it reads would never come to an end.
        if routed.message.properties.get(send::JOB).is_some_and(|job| **job == *self.name) {
            return Ok(());
        }
        let enqueued = DateTime::from_unix_millis(routed.enqueued.as_millis()).unwrap_or(self.floor);
        self.floor = self.floor.max(enqueued);
        // Partitions are written side by side, so times may come a little mixed, but not before what was promised.
        let arrival = enqueued.max(self.complete);
        let columns = &self.columns;
        let values = columns.has_columns.then(|| columns.values(partition, routed, now));
        for (input, reading) in &mut self.readings {
            let (engine, mut result, mut number) = (&mut self.engine, Ok(()), 0);
            reading.read(&routed.message.body, &mut |event| {
                let place = number;
                number += 1;
                match event {
                    Ok(mut event) if result.is_ok() => {
                        if let Some(values) = &values {
                            columns.add(&mut event, values);
                        }
                        let metadata =
                            columns.has_metadata.then(|| columns.metadata(partition, routed, now, place));
                        let partition = usize::from(partition.0);
                        result = engine.push_from(partition, *input, arrival, event, metadata);
                    }
                    Ok(_) => {}
                    Err(error) => engine.refuse(*input, arrival, &error),
                }
            });
            self.counts.events += number as u64;
            result?;
        }
        Ok(())
    }

    /// Brings rows to their outputs, and what is due into the outbox.
    fn gather(&mut self) {
        let now = self.clock.now();
        for row in self.engine.rows() {
            self.is_dirty = true;
            self.outputs[row.output].add(row, now, &mut self.outbox);
        }
        for output in &mut self.outputs {
            output.cut_due(now, &mut self.outbox);
            if let Some((rows, why)) = output.take_refused() {
                tracing::warn!(job = self.name, output = %output.name(), rows, why, "rows of a streaming job left out");
                self.status.dropped(output.name(), rows, &why, now);
            }
        }
    }

    /// Keeps everything; waits for a disk that cannot now. False where it was cancelled instead.
    async fn save(&mut self, cancel: &CancellationToken) -> bool {
        let began = self.clock.now();
        let engine = self.engine.snapshot();
        self.count();
        let state = Saving {
            run: &self.run,
            floor: self.floor,
            places: &self.events.places(),
            engine: &engine,
            outputs: &self.outputs,
            outbox: &self.outbox,
            counts: self.counts,
        };
        let state = Arc::new(state.to_bytes());
        loop {
            let (store, name, state) = (self.place.store.clone(), self.name.clone(), state.clone());
            let Err(error) = blocking(move || store.keep_state(&name, &state)).await else { break };
            tracing::error!(job = self.name, %error, "the state of a streaming job cannot be kept; it waits");
            self.status.trouble(&format!("the state cannot be kept, nothing goes on until it can: {error}"));
            tokio::select! {
                () = cancel.cancelled() => return false,
                () = self.clock.sleep(DISK_WAIT) => {}
            }
        }
        let now = self.clock.now();
        self.save_at = now.plus(self.place.settings.checkpoint.max(now.since(began) * SAVE_PART));
        self.is_dirty = false;
        true
    }

    /// Sends what can be sent, and keeps the rest.
    async fn stop(mut self) -> Result<(), JobError> {
        let now = self.clock.now();
        for output in &mut self.outputs {
            output.cut_all(now, &mut self.outbox);
        }
        // A disk that cannot now is not waited for: what is on it is good to go on from.
        let (clock, once) = (self.clock.clone(), CancellationToken::new());
        once.cancel();
        let never = CancellationToken::new();
        let work = async {
            if self.save(&once).await && !self.outbox.is_empty() {
                self.deliver(&never).await?;
                self.save(&once).await;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            result = work => result,
            () = clock.sleep(STOP_PATIENCE) => Ok(()),
        }
    }

    fn count(&mut self) {
        let engine: u64 = self.engine.data_errors().counts().map(|(_, count)| count).sum();
        self.counts.data_errors = self.before.data_errors + engine + self.events.unreadable();
        self.counts.lost = self.before.lost + self.events.lost();
    }
}

/// Outputs, and the ways to their receivers.
type Sides = (Vec<Output>, Vec<(Arc<str>, Sender)>);

/// The outputs of a query, and the ways to their receivers.
fn sides(
    place: &Place,
    job: &str,
    run: &str,
    definition: &Definition,
    query: &Query,
) -> Result<Sides, JobError> {
    let (mut outputs, mut senders) = (Vec::new(), Vec::new());
    for name in query.outputs() {
        // What is missing was refused when the job was compiled.
        let Some(settings) = definition.output(name) else { continue };
        let output = Output::new(name.clone(), settings, run).map_err(|error| {
            let setting = format!("outputs.{name}.pathPattern");
            super::definition::DefinitionError::Pattern { setting, error }
        })?;
        outputs.push(output);
        let sender = Sender::new(&place.hub, &place.account, (job, run, name), settings)?;
        senders.push((name.clone(), sender));
    }
    Ok((outputs, senders))
}

/// A moment for the engine.
fn time(at: Timestamp) -> DateTime {
    DateTime::from_unix_millis(at.as_millis()).unwrap_or(DateTime::MIN)
}

/// Disk calls where they may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
