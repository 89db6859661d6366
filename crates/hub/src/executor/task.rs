//! The executor of one endpoint and partition.

mod outcome;

use super::gather::{Gathering, Taken};
use super::history::History;
use super::shared::Entry;
use super::{Config, EndpointQueue};
use crate::metrics::{Labels, Metrics};
use crate::record;
use crate::seams::{Checkpoints, Clock, Log, Routed, Seams, Sent};
use ironbrook_log::{Error as LogError, Offset, PartitionId, QueueId};
use ironbrook_model::Timestamp;
use outcome::{Span, Tries};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Records and bytes of one read of the log.
const READ_RECORDS_MAX: usize = 4096;
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An endpoint that batches over time is not woken for each sync of the log, but at most this often.
const GATHER_PAUSE_MAX: Duration = Duration::from_millis(50);
/// The pause before a checkpoint that found no room on the disk is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// A checkpoint is stored when so many records of others were skipped, so that a restart need not skip them again.
const SKIPPED_MAX: u64 = 50_000;
/// Bounds on the pause an endpoint asks for.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Why messages are dead-lettered that are not too old.
const EXPIRED: &str = "it is older than the time to live";
const NO_ROOM: &str = "the log has no room for what the endpoint does not take";
/// Dead letters of a batch that get a log line each.
const DEAD_LETTER_LINES_MAX: usize = 5;

#[derive(Clone)]
pub(super) struct Task {
    log: Arc<dyn Log>,
    checkpoints: Arc<dyn Checkpoints>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    history: History,
    labels: Labels,
    entry: Arc<Entry>,
    partition: PartitionId,
    config: Config,
}

/// Where one queue is read.
struct Cursor {
    /// Its place in the entry.
    index: usize,
    queue: EndpointQueue,
    consumer: String,
    /// The checkpoint on disk.
    stored: Offset,
    /// There was no room on the disk for the next one: when it is tried again.
    owed_at: Option<Timestamp>,
    next: Offset,
}

/// Whether a batch found its end.
#[derive(PartialEq, Eq)]
enum Fate {
    Settled,
    /// The program stops first; it comes again after the restart.
    Interrupted,
}

/// What a look at a queue gave.
enum Turn {
    /// There is nothing in it.
    Idle,
    /// Records of others were skipped.
    Skipped,
    /// A batch found its end.
    Sent,
    /// The program stops in the middle of a batch.
    Interrupted,
}

impl Task {
    pub(super) fn new(
        seams: &Seams,
        entry: Arc<Entry>,
        partition: PartitionId,
        config: Config,
        metrics: &Metrics,
        history: &History,
    ) -> Self {
        Self {
            log: Arc::clone(&seams.log),
            checkpoints: Arc::clone(&seams.checkpoints),
            clock: Arc::clone(&seams.clock),
            metrics: metrics.clone(),
            history: history.clone(),
            labels: vec![("endpoint", entry.name().to_owned())],
            entry,
            partition,
            config,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.entry.name()
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(super) async fn rest(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits until the endpoint is taken away.
    pub(super) async fn retired(&self) {
        self.entry.retired.cancelled().await;
    }

    pub(super) async fn run(self, cancel: CancellationToken) -> Result<(), LogError> {
        let mut cursors = Vec::with_capacity(self.entry.queues.len());
        for (index, queue) in self.entry.queues.iter().enumerate() {
            cursors.push(self.open(index, *queue).await?);
        }
        let pause = (self.entry.endpoint.batching().max_delay / 10).min(GATHER_PAUSE_MAX);
        loop {
            let mut is_idle = true;
            // After each batch the best queue comes first again.
            for cursor in &mut cursors {
                match self.turn(cursor, &cancel).await? {
                    Turn::Idle => {}
                    Turn::Skipped => is_idle = false,
                    Turn::Sent => {
                        is_idle = false;
                        break;
                    }
                    Turn::Interrupted => return Ok(()),
                }
            }
            if cancel.is_cancelled() {
                break;
            }
            if is_idle {
                let from = cursors.iter().map(|cursor| cursor.next).min().unwrap_or_default();
                let is_owed = cursors.iter().any(|cursor| cursor.owed_at.is_some());
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    more = self.more(from, pause) => more?,
                    () = self.rest(FULL_PAUSE), if is_owed => {}
                }
            }
        }
        for cursor in &mut cursors {
            cursor.owed_at = None;
            self.store(cursor).await?;
        }
        Ok(())
    }

    /// Finds where a queue is read on.
    async fn open(&self, index: usize, queue: EndpointQueue) -> Result<Cursor, LogError> {
        let consumer = self.entry.consumer(&queue);
        let mut stored = self.checkpoints.load(&consumer, self.partition).await?.unwrap_or_default();
        let end = self.log.bounds(self.partition).end;
        if stored > end {
            // A log without syncs lost its tail, or it was removed and the checkpoints were not: what comes now is new.
            tracing::warn!(
                endpoint = self.name(),
                partition = self.partition.0,
                checkpoint = stored.0,
                end = end.0,
                "the log ends before the checkpoint; reading on at its end"
            );
            stored = end;
        }
        // What was skipped before is not stored, but known.
        let next = stored.max(self.entry.position(index, self.partition));
        self.entry.set_position(index, self.partition, next);
        Ok(Cursor { index, queue, consumer, stored, owed_at: None, next })
    }

    /// Brings the next batch of a queue to its end, where there is one.
    async fn turn(&self, cursor: &mut Cursor, cancel: &CancellationToken) -> Result<Turn, LogError> {
        let first = self.log.bounds(self.partition).first;
        if first > cursor.next {
            // Retention took what the endpoint had not taken in time; where nothing was for it, nothing is lost.
            tracing::info!(
                endpoint = self.name(),
                partition = self.partition.0,
                from = cursor.next.0,
                to = first.0,
                "reading on where the log begins"
            );
            cursor.next = first;
        }
        self.let_go(cursor).await?;
        let gathered = self.gather(cursor, cancel).await?;
        let turn = match gathered.batch.is_empty() {
            true if gathered.next == cursor.next => Turn::Idle,
            true => Turn::Skipped,
            false => Turn::Sent,
        };
        if matches!(turn, Turn::Sent)
            && self.send(gathered.batch, cursor.queue.time_to_live, cancel).await == Fate::Interrupted
        {
            return Ok(Turn::Interrupted);
        }
        cursor.next = gathered.next;
        let is_far = cursor.next.0.saturating_sub(cursor.stored.0) > SKIPPED_MAX;
        if matches!(turn, Turn::Sent) || cursor.owed_at.is_some() || is_far {
            self.store(cursor).await?;
        }
        self.entry.set_position(cursor.index, self.partition, cursor.next);
        Ok(turn)
    }

    /// Dead-letters what of a queue the log has no room for any more.
    async fn let_go(&self, cursor: &mut Cursor) -> Result<(), LogError> {
        let before = self.entry.given_up(self.partition);
        if cursor.next >= before {
            return Ok(());
        }
        let (from, mut all_lost) = (cursor.next, 0);
        while cursor.next < before {
            let (partition, queue) = (self.partition, cursor.queue.id);
            let read = self.log.read(partition, queue, cursor.next, READ_RECORDS_MAX, READ_BYTES_MAX).await?;
            let lost = read.records.iter().filter(|record| record.offset < before).count();
            self.dead_letter(std::iter::repeat_n(NO_ROOM, lost));
            all_lost += lost;
            // The log gives something or moves on, up to its end; and what is given up is before that.
            cursor.next = read.next.max(Offset(cursor.next.0 + 1)).min(before);
        }
        if all_lost > 0 {
            let span =
                Span { first: from, last: Offset(cursor.next.0.saturating_sub(1)), messages: all_lost };
            self.note(Tries::new(self.clock.now()), span, NO_ROOM);
        }
        self.store(cursor).await?;
        self.entry.set_position(cursor.index, self.partition, cursor.next);
        Ok(())
    }

    /// Keeps how far a queue is. On a full disk that is done later: what was sent must not be sent again for that.
    async fn store(&self, cursor: &mut Cursor) -> Result<(), LogError> {
        let now = self.clock.now();
        if cursor.stored == cursor.next || cursor.owed_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        match self.checkpoints.store(&cursor.consumer, self.partition, cursor.next).await {
            Ok(()) => (cursor.stored, cursor.owed_at) = (cursor.next, None),
            Err(LogError::Full) => cursor.owed_at = Some(now.plus(FULL_PAUSE)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gathers the next batch of a queue; returns without one where nothing is in it or others' records were skipped, and on a
    /// cancel.
    async fn gather(&self, cursor: &Cursor, cancel: &CancellationToken) -> Result<Gathering, LogError> {
        let bounds = self.entry.endpoint.batching();
        let pause = (bounds.max_delay / 10).min(GATHER_PAUSE_MAX);
        let mut gathering = Gathering::new(bounds, cursor.next);
        let mut is_over = false;
        loop {
            let start = gathering.next;
            let taken = self.read(cursor.queue.id, &mut gathering).await?;
            if taken == Taken::No || gathering.is_full() || cancel.is_cancelled() {
                return Ok(gathering);
            }
            if gathering.next != start {
                if gathering.batch.is_empty() {
                    // The log may drop what was skipped.
                    return Ok(gathering);
                }
                continue;
            }
            if is_over || gathering.batch.is_empty() || bounds.max_delay.is_zero() {
                return Ok(gathering);
            }
            let deadline = async {
                match gathering.deadline() {
                    Some(deadline) => self.clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                end = self.more(gathering.next, pause) => end?,
                // What came in time while `more` rested is still unread, and would be in this batch after a crash.
                () = deadline => is_over = true,
            }
        }
    }

    /// Waits for new records, and a little longer where the endpoint has time.
    async fn more(&self, from: Offset, pause: Duration) -> Result<(), LogError> {
        self.log.tail(self.partition, from).await?;
        if !pause.is_zero() {
            self.clock.sleep(pause).await;
        }
        Ok(())
    }

    /// Reads once from where the batch ends; `No` when it is complete.
    async fn read(&self, queue: QueueId, gathering: &mut Gathering) -> Result<Taken, LogError> {
        let (messages, bytes) = gathering.room();
        let (messages, bytes) = (messages.min(READ_RECORDS_MAX), bytes.min(READ_BYTES_MAX));
        let read = self.log.read(self.partition, queue, gathering.next, messages, bytes).await?;
        for record in &read.records {
            match record::decode(record) {
                Ok(routed) => {
                    if gathering.offer(routed, record.header.len() + record.body.len()) == Taken::No {
                        return Ok(Taken::No);
                    }
                }
                Err(error) => {
                    self.metrics.records_undecodable.get_or_create(&self.labels).inc();
                    tracing::error!(endpoint = self.name(), partition = self.partition.0,
                        offset = record.offset.0, %error, "skipped a record");
                }
            }
        }
        gathering.next = read.next.max(gathering.next);
        Ok(Taken::Yes)
    }

    /// Sends a batch until the endpoint took it, refused it for good, or it grew too old.
    async fn send(
        &self,
        mut batch: Vec<Routed>,
        time_to_live: Option<Duration>,
        cancel: &CancellationToken,
    ) -> Fate {
        let mut tries = Tries::new(self.clock.now());
        loop {
            if let Some(time_to_live) = time_to_live {
                self.drop_expired(&mut batch, time_to_live, &tries);
            }
            self.drop_given_up(&mut batch, &tries);
            let Some(last) = batch.last().map(|message| message.offset) else { return Fate::Settled };
            tries.attempts = tries.attempts.saturating_add(1);
            let sent = tokio::select! {
                biased;
                sent = self.entry.endpoint.send(self.partition, &batch) => sent,
                () = self.drained(cancel) => return Fate::Interrupted,
                // An endpoint that waits for something may not hold the log for ever.
                () = self.all_expired(&batch, time_to_live) => continue,
                () = self.entry.gives_up(self.partition, last) => continue,
            };
            match sent {
                Sent::Done => {
                    self.took(batch.len());
                    self.note_taken(tries, &batch, Vec::new());
                    return Fate::Settled;
                }
                Sent::Reject(rejected) => {
                    match rejected.first() {
                        Some((_, why)) if rejected.len() >= batch.len() => self.refused_all(why),
                        _ => self.took(batch.len().saturating_sub(rejected.len())),
                    }
                    self.dead_letter(rejected.iter().map(|(_, why)| why.as_str()));
                    self.note_taken(tries, &batch, rejected);
                    return Fate::Settled;
                }
                Sent::RetryAfter(pause, why) => {
                    self.failing(&why, batch.len());
                    tries.why = Some(why);
                    let time_to_live = time_to_live.unwrap_or(self.config.time_to_live);
                    self.drop_expired(&mut batch, time_to_live, &tries);
                    if batch.is_empty() {
                        return Fate::Settled;
                    }
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Fate::Interrupted,
                        () = self.entry.gives_up(self.partition, last) => {}
                        () = self.clock.sleep(pause.clamp(RETRY_MIN, RETRY_MAX)) => {}
                    }
                }
            }
        }
    }

    /// Waits until the last message of a batch is older than the time to live, if it has one.
    async fn all_expired(&self, batch: &[Routed], time_to_live: Option<Duration>) {
        match time_to_live.zip(batch.last()) {
            Some((time_to_live, last)) => {
                let expired = last.enqueued.plus(time_to_live).plus(Duration::from_millis(1));
                self.clock.sleep_until(expired).await;
            }
            None => std::future::pending().await,
        }
    }

    async fn drained(&self, cancel: &CancellationToken) {
        cancel.cancelled().await;
        self.clock.sleep(self.config.drain).await;
    }

    fn took(&self, messages: usize) {
        let count = messages as u64;
        self.metrics.endpoint_sent.get_or_create(&self.labels).inc_by(count);
        self.metrics.endpoint_batches.get_or_create(&self.labels).inc();
        let now = self.clock.now();
        let mut health = self.entry.health();
        (health.failing, health.lost) = (None, 0);
        (health.last_sent, health.last_attempt) = (Some(now), Some(now));
        health.sent += count;
    }

    /// Remembers a failure and gives the one before, where no batch was taken since.
    fn failed(&self, why: &str) -> Option<String> {
        let now = self.clock.now();
        let mut health = self.entry.health();
        health.last_attempt = Some(now);
        health.last_failure = Some((now, why.to_owned()));
        health.failing.replace(why.to_owned())
    }

    /// An endpoint that refuses whatever it is given is in no good health, although it answers.
    fn refused_all(&self, why: &str) {
        self.metrics.endpoint_batches.get_or_create(&self.labels).inc();
        self.failed(why);
    }

    fn failing(&self, why: &str, messages: usize) {
        self.metrics.endpoint_retries.get_or_create(&self.labels).inc();
        let before = self.failed(why);
        // One line per reason, not one per attempt.
        if before.as_deref() != Some(why) {
            tracing::warn!(
                endpoint = self.name(),
                partition = self.partition.0,
                messages,
                why,
                "an endpoint takes no messages now; they are kept and sent again"
            );
        }
    }

    fn drop_expired(&self, batch: &mut Vec<Routed>, time_to_live: Duration, tries: &Tries) {
        let now = self.clock.now();
        let expired = batch.iter().take_while(|m| now.since(m.enqueued) > time_to_live).count();
        self.note_lost(tries, &batch[..expired], EXPIRED);
        batch.drain(..expired);
        if expired > 0 {
            self.metrics.endpoint_expired.get_or_create(&self.labels).inc_by(expired as u64);
        }
        self.dead_letter(std::iter::repeat_n(EXPIRED, expired));
    }

    fn drop_given_up(&self, batch: &mut Vec<Routed>, tries: &Tries) {
        let before = self.entry.given_up(self.partition);
        let given_up = batch.iter().take_while(|message| message.offset < before).count();
        self.note_lost(tries, &batch[..given_up], NO_ROOM);
        batch.drain(..given_up);
        self.dead_letter(std::iter::repeat_n(NO_ROOM, given_up));
    }

    fn dead_letter<'a>(&self, reasons: impl ExactSizeIterator<Item = &'a str>) {
        let count = reasons.len() as u64;
        if count == 0 {
            return;
        }
        self.metrics.endpoint_dropped.get_or_create(&self.labels).inc_by(count);
        {
            let mut health = self.entry.health();
            health.dead_letters += count;
            health.lost += if health.failing.is_some() { count } else { 0 };
        }
        for why in reasons.take(DEAD_LETTER_LINES_MAX) {
            tracing::warn!(
                endpoint = self.name(),
                partition = self.partition.0,
                count,
                why,
                "dead-lettered a message"
            );
        }
    }
}
