//! Tests of the whole log.

use super::*;
use crate::{Memory, Record};
use bytes::Bytes;
use std::time::Duration;

mod crash;
mod damage;
mod every_operation;
mod faults;
mod reading;
mod sealed;

const EVENTS: QueueId = QueueId::EVENTS;
const OTHER: QueueId = QueueId(1);
const P0: PartitionId = PartitionId(0);

/// Nothing in these tests takes so long, however busy the machine; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `work` gives; fails where that hangs.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Small segments, so that tests roll them.
fn config() -> Config {
    let retention = Retention { max_age: None, max_bytes: None };
    Config { partitions: 1, segment_bytes: 4096, cache_bytes: 0, retention, ..Config::default() }
}

/// Keys as a file of keys has them; the first one is for new segments.
fn keys(text: &str) -> crate::Keys {
    crate::Keys::parse(text).unwrap()
}

const KEY_1: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const KEY_2: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn open_with(memory: &Memory, config: Config) -> SegmentLog {
    SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config).unwrap()
}

fn open(memory: &Memory) -> SegmentLog {
    open_with(memory, config())
}

fn append(log: &SegmentLog, queues: &[QueueId], time: i64, body: &str) -> Result<Ticket, Error> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    log.append(P0, Append { enqueued: Timestamp::from_millis(time), queues, header: b"head", body: &body })
}

/// Appends `count` events with bodies "0", "1", … and enqueued times 0, 10, …, each durable before the next.
async fn append_events(log: &SegmentLog, count: u64) {
    for number in 0..count {
        let ticket =
            append(log, &[EVENTS], i64::try_from(number).unwrap() * 10, &number.to_string()).unwrap();
        log.durable(ticket).await.unwrap();
    }
}

/// All records of a queue, read in small batches.
async fn read_all(log: &SegmentLog, queue: QueueId) -> Vec<Record> {
    let (mut records, mut next) = (Vec::new(), Offset(0));
    while next < log.bounds(P0).end {
        let batch = log.read(P0, queue, next, 7, 1000).await.unwrap();
        assert!(batch.next > next, "a batch moves on");
        next = batch.next;
        records.extend(batch.records);
    }
    records
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap()).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
