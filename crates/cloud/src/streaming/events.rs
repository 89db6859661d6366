//! Events of the hub for a job: all partitions of the events endpoint, merged in the order in which they were enqueued.

use futures_util::future::select_all;
use ironbrook_hub::record;
use ironbrook_hub::seams::{Clock, Log, Routed};
use ironbrook_log::{Error as LogError, Offset, PartitionId, QueueId, Seek};
use ironbrook_model::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Messages read from a partition at once.
const READ_MESSAGES: usize = 2_000;
/// Bytes read from all partitions at once, and from each at least.
const READ_BYTES: usize = 4 << 20;
const READ_BYTES_LEAST: usize = 256 << 10;

/// Follows the events of all partitions.
pub(super) struct Events {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    partitions: Vec<Partition>,
    /// A message may become readable so much later than it was stamped: its disk was busy.
    settle: Duration,
    /// Messages that were gone before they were read.
    lost: u64,
    /// Records that are no messages.
    unreadable: u64,
}

struct Partition {
    id: PartitionId,
    /// Where the next read begins.
    read: Offset,
    /// Read, and not handed out.
    waiting: VecDeque<Routed>,
    is_at_end: bool,
    /// When the last message was stamped that was read.
    last: Timestamp,
}

/// What there is.
#[derive(Debug)]
pub(super) struct Round {
    /// With their partitions, in the order of their times.
    pub(super) messages: Vec<(PartitionId, Routed)>,
    /// Everything that was stamped before this moment is in this round or was in one before.
    pub(super) complete_until: Timestamp,
}

impl Events {
    /// Begins at these places; partitions that have none begin at `start`.
    pub(super) async fn open(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        places: &[Offset],
        start: Seek,
        settle: Duration,
    ) -> Result<Self, LogError> {
        let mut partitions = Vec::new();
        for id in (0..log.partitions()).map(PartitionId) {
            let read = match places.get(usize::from(id.0)) {
                Some(place) => *place,
                None => log.seek(id, start).await?,
            };
            partitions.push(Partition {
                id,
                read,
                waiting: VecDeque::new(),
                is_at_end: false,
                last: Timestamp::from_millis(0),
            });
        }
        Ok(Self { log, clock, partitions, settle, lost: 0, unreadable: 0 })
    }

    /// Where each partition goes on behind what was handed out.
    pub(super) fn places(&self) -> Vec<Offset> {
        let place =
            |partition: &Partition| partition.waiting.front().map_or(partition.read, |next| next.offset);
        self.partitions.iter().map(place).collect()
    }

    /// How many messages were gone before they were read: the log keeps them only for a while.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How many records could not be read as messages.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How many records of the log are behind the places, those of other queues included.
    pub(super) fn backlog(&self) -> u64 {
        let places = self.places();
        let behind = |(partition, place): (&Partition, Offset)| {
            self.log.bounds(partition.id).end.0.saturating_sub(place.0)
        };
        self.partitions.iter().zip(places).map(behind).sum()
    }

    /// What there is now, at once; may be nothing.
    pub(super) async fn read(&mut self) -> Result<Round, LogError> {
        let asked = self.clock.now();
        let bytes = (READ_BYTES / self.partitions.len().max(1)).max(READ_BYTES_LEAST);
        for partition in &mut self.partitions {
            if !partition.waiting.is_empty() {
                continue;
            }
            let bounds = self.log.bounds(partition.id);
            self.lost += bounds.first.0.saturating_sub(partition.read.0);
            let from = partition.read.max(bounds.first);
            let batch = self.log.read(partition.id, QueueId::EVENTS, from, READ_MESSAGES, bytes).await?;
            partition.read = batch.next;
            partition.is_at_end = batch.next >= bounds.end;
            for stored in &batch.records {
                match record::decode(stored) {
                    Ok(routed) => {
                        partition.last = partition.last.max(routed.enqueued);
                        partition.waiting.push_back(routed);
                    }
                    Err(error) => {
                        self.unreadable += 1;
                        tracing::error!(partition = partition.id.0, offset = stored.offset.0, %error, "event left out");
                    }
                }
            }
        }
        let until = self.until();
        let settle = i64::try_from(self.settle.as_millis()).unwrap_or(i64::MAX);
        let settled = Timestamp::from_millis(asked.as_millis().saturating_sub(settle));
        let complete_until = until.map_or(settled, |until| until.min(settled));
        Ok(Round { messages: self.merge(until), complete_until })
    }

    /// Until when messages can be taken: up to the last of those read of each partition that has more. `None` where none has.
    fn until(&self) -> Option<Timestamp> {
        let more = self.partitions.iter().filter(|partition| !partition.is_at_end);
        more.map(|partition| partition.waiting.back().map_or(partition.last, |routed| routed.enqueued)).min()
    }

    /// Takes messages by their times, as far as it is known that no earlier one follows in another partition.
    fn merge(&mut self, until: Option<Timestamp>) -> Vec<(PartitionId, Routed)> {
        let mut messages = Vec::new();
        loop {
            let heads = self.partitions.iter_mut().filter(|partition| !partition.waiting.is_empty());
            let next = heads.min_by_key(|partition| partition.waiting.front().map(|routed| routed.enqueued));
            let Some(partition) = next else { break };
            let is_early = |routed: &Routed| until.is_none_or(|until| routed.enqueued <= until);
            if !partition.waiting.front().is_some_and(is_early) {
                break;
            }
            let id = partition.id;
            messages.extend(partition.waiting.pop_front().map(|routed| (id, routed)));
        }
        messages
    }

    /// Waits until there may be something new. Cancel-safe.
    pub(super) async fn changed(&self) -> Result<(), LogError> {
        if self.partitions.iter().any(|partition| !partition.waiting.is_empty() || !partition.is_at_end) {
            return Ok(());
        }
        let tails = self.partitions.iter().map(|partition| self.log.tail(partition.id, partition.read));
        if self.partitions.is_empty() {
            return std::future::pending().await;
        }
        select_all(tails).await.0.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_hub::seams::SystemClock;
    use ironbrook_log::{Append, Config, Memory, SegmentLog};
    use std::path::Path;

    const SETTLE: Duration = Duration::from_millis(250);

    async fn put(log: &SegmentLog, partition: u16, seconds: i64, queue: QueueId) {
        let body = format!("{partition} {seconds}");
        let record = Append {
            enqueued: Timestamp::from_secs(seconds),
            queues: &[queue],
            // Version, source, and no properties of either kind.
            header: &[1, 0, 0, 0],
            body: body.as_bytes(),
        };
        let ticket = log.append(PartitionId(partition), record).unwrap();
        log.durable(ticket).await.unwrap();
    }

    fn log() -> Arc<SegmentLog> {
        let config = Config { partitions: 2, ..Config::default() };
        Arc::new(SegmentLog::open(Arc::new(Memory::new()), Path::new("log"), config).unwrap())
    }

    async fn open(log: &Arc<SegmentLog>, places: &[Offset], start: Seek) -> Events {
        Events::open(log.clone(), Arc::new(SystemClock), places, start, SETTLE).await.unwrap()
    }

    fn texts(round: &Round) -> Vec<String> {
        let text =
            |(_, routed): &(PartitionId, Routed)| String::from_utf8(routed.message.body.to_vec()).unwrap();
        round.messages.iter().map(text).collect()
    }

    #[tokio::test]
    async fn partitions_are_merged_by_time_and_places_lead_behind_what_was_handed_out() {
        let log = log();
        for (partition, seconds) in [(0, 1), (1, 2), (1, 3), (0, 4), (1, 4)] {
            put(&log, partition, seconds, QueueId::EVENTS).await;
        }
        put(&log, 1, 5, QueueId(7)).await;
        let mut events = open(&log, &[], Seek::Earliest).await;
        let round = events.read().await.unwrap();
        assert_eq!(texts(&round), ["0 1", "1 2", "1 3", "0 4", "1 4"]);
        assert!(round.complete_until > Timestamp::from_secs(1000), "by the clock: there is no more");
        assert_eq!(events.places(), [Offset(2), Offset(4)]);
        assert_eq!(events.backlog(), 0);
        assert!(events.read().await.unwrap().messages.is_empty());
        put(&log, 0, 9, QueueId::EVENTS).await;
        events.changed().await.unwrap();
        let mut again = open(&log, &[Offset(1), Offset(3)], Seek::Latest).await;
        assert_eq!(texts(&again.read().await.unwrap()), ["0 4", "0 9"]);
        assert_eq!(texts(&open(&log, &[], Seek::Latest).await.read().await.unwrap()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_partition_with_much_behind_it_holds_back_the_others() {
        let log = log();
        for number in 0..READ_MESSAGES as i64 + 5 {
            put(&log, 0, number, QueueId::EVENTS).await;
        }
        put(&log, 1, 3, QueueId::EVENTS).await;
        put(&log, 1, READ_MESSAGES as i64 + 2, QueueId::EVENTS).await;
        let mut events = open(&log, &[], Seek::Earliest).await;
        let (mut times, mut rounds) = (Vec::new(), 0);
        loop {
            events.changed().await.unwrap();
            let round = events.read().await.unwrap();
            times.extend(round.messages.iter().map(|(_, routed)| routed.enqueued));
            rounds += 1;
            if round.complete_until > Timestamp::from_secs(READ_MESSAGES as i64 + 5) {
                break;
            }
            assert!(round.messages.iter().all(|(_, routed)| routed.enqueued <= round.complete_until));
            assert_eq!(events.places()[1], Offset(1), "the later message waits for the other partition");
        }
        assert!(rounds > 1 && times.is_sorted(), "{rounds}");
        assert_eq!(times.len(), READ_MESSAGES + 7);
        assert_eq!(events.places(), [Offset(READ_MESSAGES as u64 + 5), Offset(2)]);
    }
}
