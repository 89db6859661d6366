//! The module at work: takes messages, keeps the state, sends rows, completes messages, in that order.
//!
//! ```text
//! message ──▶ engine ─┐ a group: 32 messages or 200 ms
//!                     └─▶ state with rows on disk ──▶ rows sent and acknowledged ──▶ messages completed
//! ```
//!
//! One task does all of it, so there is nothing to lock. Where the query comes from is in [`source`](super::source).

use super::console::{Console, Sampled};
use super::files::{Files, KeptJob};
use super::job::{Job, Taken};
use super::link::{Link, Received};
use super::outgoing::Outgoing;
use super::parked::Parked;
use super::program::Fault;
use super::report::{self, Counts, Status};
use super::source::Fetch;
use super::twin::Desired;
use ironbrook_analytics::engine::EngineError;
use ironbrook_analytics::value::DateTime;
use ironbrook_client::{ConnectionState, DesiredUpdate, Error, Result, Trust};
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Messages that are kept and completed together: half of what a hub has under way to a module, so that it never has to wait.
const GROUP_MAX: usize = 32;
/// Their bytes, for the same reason.
const GROUP_BYTES_MAX: usize = 512 * 1024;
/// The longest wait of a message for others, and of rows.
const GROUP_WAIT: Duration = Duration::from_millis(200);
/// How often the clock is shown to open windows.
const TICK: Duration = Duration::from_millis(200);
/// The shortest time between two reports of counts.
const COUNTS_EVERY: Duration = Duration::from_secs(60);
/// The pause before the disk is tried again.
const DISK_WAIT: Duration = Duration::from_secs(1);
/// A hub waits for 30 s at least before it repeats a message; a checkpoint that took this long may have made it.
const SLOW: Duration = Duration::from_secs(10);

/// Messages in the engine whose state is not kept yet.
#[derive(Debug)]
pub(super) struct Group<R> {
    messages: Vec<R>,
    bytes: usize,
    /// When it began; also with rows or an outbox alone.
    since: Option<Timestamp>,
}

impl<R> Default for Group<R> {
    fn default() -> Self {
        Self { messages: Vec::new(), bytes: 0, since: None }
    }
}

/// The module at work.
pub(super) struct Worker<L: Link> {
    pub(super) link: Arc<L>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) console: Console,
    pub(super) files: Files,
    pub(super) downloads: Trust,
    reports: watch::Sender<Value>,
    connection: watch::Receiver<ConnectionState>,
    is_connected: bool,

    pub(super) desired: Desired,
    /// The wish that was looked at last, by its key.
    pub(super) considered: Option<String>,
    pub(super) kept: Option<KeptJob>,
    pub(super) fetch: Option<Fetch>,
    pub(super) job: Option<Job>,
    pub(super) status: Status,
    pub(super) fault: Option<Fault>,

    group: Group<L::Received>,
    parked: Parked<L::Received>,
    /// Whether messages come: since the first query, and then also while none runs.
    is_subscribed: bool,
    tick_at: Option<Timestamp>,
    counts: Counts,
    /// When the counts are looked at, if anything was counted.
    counts_at: Option<Timestamp>,
    counted: Timestamp,
    data_errors: u64,
    samples: Sampled,
    strangers: Sampled,
}

enum Event<R> {
    Connection,
    Desired(DesiredUpdate),
    Fetched(Result<Vec<u8>>),
    Message(R),
    Time,
    End,
}

impl<L: Link> Worker<L> {
    pub(super) fn new(
        link: Arc<L>,
        clock: Arc<dyn Clock>,
        console: Console,
        files: Files,
        downloads: Trust,
    ) -> (Self, watch::Receiver<Value>) {
        let (reports, told) = watch::channel(Value::Null);
        let (connection, counted) = (link.state(), clock.now());
        let worker = Self {
            link,
            clock,
            console,
            files,
            downloads,
            reports,
            connection,
            is_connected: false,
            desired: Desired::default(),
            considered: None,
            kept: None,
            fetch: None,
            job: None,
            status: Status::Waiting,
            fault: None,
            group: Group::default(),
            parked: Parked::default(),
            is_subscribed: false,
            tick_at: None,
            counts: Counts::default(),
            counts_at: None,
            counted,
            data_errors: 0,
            samples: Sampled::default(),
            strangers: Sampled::default(),
        };
        (worker, told)
    }

    /// Works until the link ends. May be dropped at any moment, as if the process were killed.
    pub(super) async fn run(mut self) -> Result<()> {
        self.kept = match self.files.job().await {
            Ok(kept) => kept,
            Err(error) => {
                self.console.line(format_args!("The kept job cannot be read and is left aside: {error}"));
                None
            }
        };
        self.connection.mark_changed();
        loop {
            self.fetch_again();
            self.tick();
            if self.is_due() {
                self.checkpoint().await?;
            }
            match self.next().await? {
                Event::Connection => self.connection()?,
                Event::Desired(update) => self.follow(update).await?,
                Event::Fetched(outcome) => self.fetched(outcome).await?,
                Event::Message(message) => self.take(message),
                Event::Time => {}
                Event::End => return Ok(()),
            }
            self.count();
        }
    }

    async fn next(&mut self) -> Result<Event<L::Received>> {
        let is_running = self.job.is_some();
        if is_running && let Some(message) = self.parked.next() {
            return Ok(Event::Message(message));
        }
        self.is_subscribed |= is_running;
        let wake_at = self.wake_at();
        let wake = async {
            match wake_at {
                Some(at) => self.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let fetched = async {
            match self.fetch.as_mut().and_then(Fetch::under_way) {
                Some(fetch) => fetch.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The connection first: what is true of messages depends on it. Time before messages, of which there may be no end.
            biased;
            changed = self.connection.changed() => Ok(changed.map_or(Event::End, |()| Event::Connection)),
            update = self.link.desired() => Ok(update?.map_or(Event::End, Event::Desired)),
            outcome = fetched => Ok(Event::Fetched(outcome)),
            () = wake => Ok(Event::Time),
            message = self.link.message(), if self.is_subscribed => Ok(message?.map_or(Event::End, Event::Message)),
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let tick = self.tick_at.filter(|_| self.is_connected && self.job.is_some());
        let group = self.group.since.map(|since| since.plus(GROUP_WAIT));
        let fetch = self.fetch.as_ref().and_then(Fetch::begins_at);
        [tick, group, fetch, self.counts_at].into_iter().flatten().min()
    }

    fn connection(&mut self) -> Result<()> {
        let was_connected = std::mem::take(&mut self.is_connected);
        match &*self.connection.borrow_and_update() {
            ConnectionState::Connecting => {}
            ConnectionState::Connected => {
                self.is_connected = true;
                if !was_connected {
                    self.console.line(format_args!("Connected"));
                }
            }
            ConnectionState::Waiting { error, retry_in } => {
                let seconds = retry_in.as_secs_f64();
                self.console.line(format_args!("Not connected, next attempt in {seconds:.1} s: {error}"));
            }
            ConnectionState::Closed(Some(error)) => return Err(error.clone()),
            ConnectionState::Closed(None) => return Err(Error::Closed),
        }
        let now = self.now();
        if self.is_connected
            && let Some(job) = &mut self.job
        {
            job.resume(now);
        }
        Ok(())
    }

    /// Takes a message into the engine and into the group.
    fn take(&mut self, message: L::Received) {
        let now = self.now();
        let Some(job) = &mut self.job else { return self.parked.put(message) };
        if !message.is_current() {
            // Taken in now it would count a second time when it comes again.
            return;
        }
        let input = message.input().unwrap_or_default();
        let taken = job.take(now, input, message.message());
        if self.parked.was_last() {
            // The hub may have lost patience with them too.
            job.expect_repetitions();
        }
        match taken {
            Ok(Taken::Counted) => {
                let now = self.clock.now();
                self.tick_at.get_or_insert(now.plus(TICK));
                self.counts_at.get_or_insert(self.counted.plus(COUNTS_EVERY));
            }
            Ok(Taken::Repeated) => tracing::debug!(input, "repeated message"),
            Ok(Taken::NotRead) => {
                if let Some(count) = self.strangers.note(1, self.clock.now()) {
                    self.console.line(format_args!(
                        "{count} messages on inputs that the query does not read, the last on {input:?}"
                    ));
                }
            }
            Err(error) => return self.fail(&error, Some(message)),
        }
        self.group.since.get_or_insert(self.clock.now());
        self.group.bytes += message.message().metered_len();
        self.group.messages.push(message);
        self.sample();
    }

    /// Shows the clock to the engine, if it is time.
    fn tick(&mut self) {
        let now = self.clock.now();
        if !self.is_connected || self.tick_at.is_none_or(|at| now < at) {
            return;
        }
        let moment = self.now();
        let Some(job) = &mut self.job else { return };
        if let Err(error) = job.advance(moment) {
            return self.fail(&error, None);
        }
        self.tick_at = job.waits_for_time().then(|| now.plus(TICK));
        if job.has_output() {
            self.group.since.get_or_insert(now);
        }
        self.sample();
    }

    fn is_due(&self) -> bool {
        let waited = self.group.since.is_some_and(|since| {
            let now = self.clock.now();
            now >= since.plus(GROUP_WAIT) || now < since
        });
        waited || self.group.messages.len() >= GROUP_MAX || self.group.bytes >= GROUP_BYTES_MAX
    }

    /// Keeps the state, sends the rows, and completes the messages.
    pub(super) async fn checkpoint(&mut self) -> Result<()> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let began = self.clock.now();
        let group = std::mem::take(&mut self.group);
        let state = bytes::Bytes::from(job.checkpoint());
        let too_large = job.take_too_large();
        if too_large > 0 {
            self.console.line(format_args!("{too_large} rows were left out: no message can hold them"));
        }
        while let Err(error) = self.files.keep_state(state.clone()).await {
            self.console
                .line(format_args!("The state cannot be kept, nothing goes on until it can: {error}"));
            self.clock.sleep(DISK_WAIT).await;
        }
        if !job.outbox().is_empty() {
            send(&*self.link, job.outbox()).await?;
            job.sent();
            // The state that says so follows soon; until then they would come again after a kill.
            self.group.since = Some(self.clock.now());
            self.counts_at.get_or_insert(self.counted.plus(COUNTS_EVERY));
        }
        for message in group.messages {
            message.complete().await?;
        }
        if self.clock.now().since(began) > SLOW {
            job.expect_repetitions();
        }
        Ok(())
    }

    /// The query stopped: what is not in its last checkpoint waits for the next one.
    fn fail(&mut self, error: &EngineError, message: Option<L::Received>) {
        let fault = Fault::of_engine(error);
        self.console.line(format_args!("Query failed: {fault}"));
        self.job = None;
        self.tick_at = None;
        let group = std::mem::take(&mut self.group);
        self.parked.put_first(group.messages.into_iter().chain(message));
        (self.status, self.fault) = (Status::Failed, Some(fault));
        self.publish();
    }

    /// A query begins or goes on.
    pub(super) fn begin(&mut self, mut job: Job, is_swap: bool) {
        let now = self.now();
        if !is_swap {
            // What waited in the hub, and what was under way when the one before stopped.
            job.resume(now);
        }
        self.tick_at = Some(self.clock.now().plus(TICK));
        if job.has_output() {
            self.group.since = Some(self.clock.now());
        }
        self.data_errors = 0;
        self.counts = Counts::of(&job);
        self.job = Some(job);
    }

    /// Nothing runs any more.
    pub(super) fn halt(&mut self) {
        self.job = None;
        self.tick_at = None;
        self.counts = Counts::default();
    }

    /// Writes a line about new data errors now and then.
    fn sample(&mut self) {
        let Some(job) = &self.job else { return };
        let count = job.data_errors() - self.data_errors;
        self.data_errors += count;
        let Some(count) = self.samples.note(count, self.clock.now()) else { return };
        if let Some(last) = job.last_data_error() {
            let (kind, source, message) = (last.kind.name(), &last.source, &last.message);
            self.console.line(format_args!("{count} data errors, the last: {kind}, {source}: {message}"));
        }
    }

    /// Reports counts when it is time and they have changed.
    fn count(&mut self) {
        let now = self.clock.now();
        if self.counts_at.is_none_or(|at| now < at) {
            return;
        }
        self.counts_at = None;
        if let Some(job) = &self.job {
            self.counts = Counts::of(job);
            self.counted = now;
            self.publish();
        }
    }

    /// Reports what there is to report, if it is new.
    pub(super) fn publish(&self) {
        let job = self.job.as_ref();
        let report =
            report::report(self.status, self.desired.version, self.fault.as_ref(), job, &self.counts);
        self.reports.send_if_modified(|last| {
            let is_new = *last != report;
            *last = report;
            is_new
        });
    }

    /// The clock's time for the engine.
    fn now(&self) -> DateTime {
        DateTime::from_unix_millis(self.clock.now().as_millis()).unwrap_or(DateTime::MIN)
    }
}

/// Sends messages and waits until the hub has all of them.
async fn send<L: Link>(link: &L, outbox: &[Outgoing]) -> Result<()> {
    let mut receipts = Vec::with_capacity(outbox.len());
    for outgoing in outbox {
        tracing::debug!(output = %outgoing.output, id = outgoing.id, rows = outgoing.rows, "message");
        receipts.push(link.send(&outgoing.output, outgoing.message()).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(())
}
