//! The executor of one endpoint and partition.

use super::Config;
use super::gather::{Gathering, Taken};
use super::health::Shared;
use crate::metrics::{Labels, Metrics};
use crate::record;
use crate::seams::{Checkpoints, Clock, Endpoint, Log, Routed, Seams, Sent};
use ironbrook_log::{Error as LogError, Offset, PartitionId, QueueId};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Records and bytes of one read of the log.
const READ_RECORDS_MAX: usize = 4096;
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An endpoint that batches over time is not woken for each sync of the log, but at most this often.
const GATHER_PAUSE_MAX: Duration = Duration::from_millis(50);
/// A checkpoint is stored when so many records of others were skipped, so that a restart need not skip them again.
const SKIPPED_MAX: u64 = 50_000;
/// Bounds on the pause an endpoint asks for.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Dead letters of a batch that get a log line each.
const DEAD_LETTER_LINES_MAX: usize = 5;

#[derive(Clone)]
pub(super) struct Task {
    log: Arc<dyn Log>,
    checkpoints: Arc<dyn Checkpoints>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    labels: Labels,
    queue: QueueId,
    endpoint: Arc<dyn Endpoint>,
    partition: PartitionId,
    /// Its place in `shared`.
    index: usize,
    consumer: String,
    config: Config,
    shared: Arc<Shared>,
}

/// Whether a batch found its end.
#[derive(PartialEq, Eq)]
enum Fate {
    Settled,
    /// The program stops first; it comes again after the restart.
    Interrupted,
}

impl Task {
    #[expect(clippy::too_many_arguments, reason = "called once, and each is a different thing")]
    pub(super) fn new(
        seams: &Seams,
        queue: QueueId,
        endpoint: Arc<dyn Endpoint>,
        partition: PartitionId,
        index: usize,
        config: Config,
        metrics: &Metrics,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            log: Arc::clone(&seams.log),
            checkpoints: Arc::clone(&seams.checkpoints),
            clock: Arc::clone(&seams.clock),
            metrics: metrics.clone(),
            labels: vec![("endpoint", endpoint.name().to_owned())],
            queue,
            // By name, not by queue: people see it, and it tells queues of different endpoints apart for ever.
            consumer: format!("endpoint:{}", endpoint.name()),
            endpoint,
            partition,
            index,
            config,
            shared: Arc::clone(shared),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.endpoint.name()
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(super) async fn rest(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    pub(super) async fn run(self, cancel: CancellationToken) -> Result<(), LogError> {
        let mut stored = self.checkpoints.load(&self.consumer, self.partition).await?.unwrap_or_default();
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
        let mut next = stored;
        self.shared.set_position(self.index, self.partition, next);
        loop {
            let first = self.log.bounds(self.partition).first;
            if first > next {
                // Retention took what the endpoint had not taken in time; where nothing was for it, nothing is lost.
                tracing::info!(
                    endpoint = self.name(),
                    partition = self.partition.0,
                    from = next.0,
                    to = first.0,
                    "reading on where the log begins"
                );
                next = first;
            }
            let gathered = self.gather(next, &cancel).await?;
            let is_empty = gathered.batch.is_empty();
            if !is_empty && self.send(gathered.batch, &cancel).await == Fate::Interrupted {
                break;
            }
            next = gathered.next;
            if !is_empty || cancel.is_cancelled() || next.0.saturating_sub(stored.0) > SKIPPED_MAX {
                self.checkpoints.store(&self.consumer, self.partition, next).await?;
                stored = next;
            }
            self.shared.set_position(self.index, self.partition, next);
            if cancel.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Gathers the next batch; returns without one when others' records were skipped, and on a cancel.
    async fn gather(&self, from: Offset, cancel: &CancellationToken) -> Result<Gathering, LogError> {
        let bounds = self.endpoint.batching();
        let pause = (bounds.max_delay / 10).min(GATHER_PAUSE_MAX);
        let mut gathering = Gathering::new(bounds, from);
        let mut is_over = false;
        loop {
            let start = gathering.next;
            if self.read(&mut gathering).await? == Taken::No || gathering.is_full() || cancel.is_cancelled() {
                return Ok(gathering);
            }
            if gathering.next != start {
                if gathering.batch.is_empty() {
                    // The log may drop what was skipped.
                    return Ok(gathering);
                }
                continue;
            }
            if is_over || !gathering.batch.is_empty() && bounds.max_delay.is_zero() {
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
    async fn read(&self, gathering: &mut Gathering) -> Result<Taken, LogError> {
        let (messages, bytes) = gathering.room();
        let (messages, bytes) = (messages.min(READ_RECORDS_MAX), bytes.min(READ_BYTES_MAX));
        let read = self.log.read(self.partition, self.queue, gathering.next, messages, bytes).await?;
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
    async fn send(&self, mut batch: Vec<Routed>, cancel: &CancellationToken) -> Fate {
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.endpoint.send(self.partition, &batch) => sent,
                () = self.drained(cancel) => return Fate::Interrupted,
            };
            match sent {
                Sent::Done => {
                    self.took(batch.len());
                    return Fate::Settled;
                }
                Sent::Reject(rejected) => {
                    self.took(batch.len().saturating_sub(rejected.len()));
                    self.dead_letter(rejected.iter().map(|(_, why)| why.as_str()));
                    return Fate::Settled;
                }
                Sent::RetryAfter(pause, why) => {
                    self.failing(&why, batch.len());
                    self.drop_expired(&mut batch);
                    if batch.is_empty() {
                        return Fate::Settled;
                    }
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Fate::Interrupted,
                        () = self.clock.sleep(pause.clamp(RETRY_MIN, RETRY_MAX)) => {}
                    }
                }
            }
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
        self.shared.update(self.index, |health| {
            health.failing = None;
            health.last_sent = Some(now);
            health.sent += count;
        });
    }

    fn failing(&self, why: &str, messages: usize) {
        self.metrics.endpoint_retries.get_or_create(&self.labels).inc();
        let mut is_new = false;
        self.shared.update(self.index, |health| {
            is_new = health.failing.as_deref() != Some(why);
            health.failing = Some(why.to_owned());
        });
        // One line per reason, not one per attempt.
        if is_new {
            tracing::warn!(
                endpoint = self.name(),
                partition = self.partition.0,
                messages,
                why,
                "an endpoint takes no messages now; they are kept and sent again"
            );
        }
    }

    fn drop_expired(&self, batch: &mut Vec<Routed>) {
        let now = self.clock.now();
        let expired = batch.iter().take_while(|m| now.since(m.enqueued) > self.config.time_to_live).count();
        batch.drain(..expired);
        self.dead_letter(std::iter::repeat_n("it is older than the time to live", expired));
    }

    fn dead_letter<'a>(&self, reasons: impl ExactSizeIterator<Item = &'a str>) {
        let count = reasons.len() as u64;
        if count == 0 {
            return;
        }
        self.metrics.endpoint_dropped.get_or_create(&self.labels).inc_by(count);
        self.shared.update(self.index, |health| health.dead_letters += count);
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
