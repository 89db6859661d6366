//! The contract of [`Log`].

use bytes::Bytes;
use ironbrook_log::{Append, Error, Log, Offset, PartitionId, QueueId, Seek, Ticket};
use ironbrook_model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const P: PartitionId = PartitionId(0);
const OTHER: QueueId = QueueId(7);

fn append(log: &dyn Log, partition: PartitionId, time: i64, queues: &[QueueId], body: &str) -> Ticket {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let record = Append { enqueued: Timestamp::from_millis(time), queues, header: b"head", body: &body };
    log.append(partition, record).unwrap()
}

async fn bodies(log: &dyn Log, partition: PartitionId, queue: QueueId, from: Offset) -> Vec<String> {
    let mut out = Vec::new();
    let mut from = from;
    loop {
        let batch = log.read(partition, queue, from, 3, usize::MAX).await.unwrap();
        out.extend(batch.records.iter().map(|r| String::from_utf8(r.body.to_vec()).unwrap()));
        if batch.next == from {
            return out;
        }
        from = batch.next;
    }
}

/// Runs the whole suite; `make` gives a new, empty log of at least two partitions each time.
pub async fn run(make: impl Fn() -> Arc<dyn Log>) {
    keeps_order_and_queues(&*make()).await;
    shows_only_what_is_durable(&*make()).await;
    numbers_events_densely(&*make()).await;
    finds_places(&*make()).await;
    tails_without_a_poll(make()).await;
    bounds_a_read(&*make()).await;
    refuses_after_close(&*make()).await;
}

async fn keeps_order_and_queues(log: &dyn Log) {
    for n in 0..10 {
        let queues: &[QueueId] = if n % 2 == 0 { &[QueueId::EVENTS] } else { &[OTHER, QueueId::EVENTS] };
        append(log, P, n, queues, &n.to_string());
    }
    let last = append(log, PartitionId(1), 0, &[OTHER], "elsewhere");
    log.durable(last).await.unwrap();
    log.durable(Ticket { partition: P, offset: Offset(9) }).await.unwrap();
    assert_eq!(
        bodies(log, P, QueueId::EVENTS, Offset(0)).await,
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    assert_eq!(bodies(log, P, OTHER, Offset(0)).await, ["1", "3", "5", "7", "9"]);
    assert_eq!(bodies(log, P, OTHER, Offset(4)).await, ["5", "7", "9"]);
    assert_eq!(bodies(log, PartitionId(1), OTHER, Offset(0)).await, ["elsewhere"]);
    let batch = log.read(P, OTHER, Offset(1), 1, usize::MAX).await.unwrap();
    assert_eq!((&*batch.records[0].header, batch.records[0].offset), (&b"head"[..], Offset(1)));
}

async fn shows_only_what_is_durable(log: &dyn Log) {
    let ticket = append(log, P, 0, &[OTHER], "a");
    // Whatever is visible now must already be covered by the durable end.
    let seen = bodies(log, P, OTHER, Offset(0)).await.len() as u64;
    assert!(seen <= log.bounds(P).end.0);
    log.durable(ticket).await.unwrap();
    assert_eq!(log.bounds(P).end, Offset(1));
    assert_eq!(bodies(log, P, OTHER, Offset(0)).await, ["a"]);
}

async fn numbers_events_densely(log: &dyn Log) {
    append(log, P, 0, &[QueueId::EVENTS], "a");
    append(log, P, 0, &[OTHER], "not an event");
    let last = append(log, P, 0, &[OTHER, QueueId::EVENTS], "b");
    log.durable(last).await.unwrap();
    let batch = log.read(P, QueueId::EVENTS, Offset(0), 10, usize::MAX).await.unwrap();
    assert_eq!(batch.records.iter().map(|r| r.event_sequence).collect::<Vec<_>>(), [Some(0), Some(1)]);
    let bounds = log.bounds(P);
    assert_eq!((bounds.first_event_sequence, bounds.end_event_sequence), (0, 2));
    assert_eq!(bounds.last_event.map(|(offset, _)| offset), Some(Offset(2)));
}

async fn finds_places(log: &dyn Log) {
    for n in 0..20 {
        let queues: &[QueueId] = if n % 2 == 0 { &[QueueId::EVENTS] } else { &[OTHER] };
        append(log, P, 1000 + 10 * n, queues, &n.to_string());
    }
    // The clock goes back: the log does not.
    let last = append(log, P, 5, &[QueueId::EVENTS], "late");
    log.durable(last).await.unwrap();
    assert_eq!(log.seek(P, Seek::Earliest).await.unwrap(), Offset(0));
    assert_eq!(log.seek(P, Seek::Latest).await.unwrap(), Offset(21));
    let first = |bodies: Vec<String>| bodies.first().cloned();
    let at = log.seek(P, Seek::EventSequence(4)).await.unwrap();
    assert_eq!(first(bodies(log, P, QueueId::EVENTS, at).await).as_deref(), Some("8"));
    let at = log.seek(P, Seek::EnqueuedAt(Timestamp::from_millis(1095))).await.unwrap();
    assert_eq!(first(bodies(log, P, QueueId::EVENTS, at).await).as_deref(), Some("10"));
    let batch = log.read(P, QueueId::EVENTS, Offset(20), 1, usize::MAX).await.unwrap();
    assert_eq!(batch.records[0].enqueued, Timestamp::from_millis(1190));
}

async fn tails_without_a_poll(log: Arc<dyn Log>) {
    let reader = tokio::spawn({
        let log = log.clone();
        async move { log.tail(P, Offset(0)).await }
    });
    let ticket = append(&*log, P, 0, &[OTHER], "a");
    log.durable(ticket).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(60), reader)
        .await
        .expect("the reader is woken")
        .unwrap()
        .unwrap();
    assert_eq!(end, Offset(1));
}

async fn bounds_a_read(log: &dyn Log) {
    for _ in 0..5 {
        append(log, P, 0, &[OTHER], &"x".repeat(1000));
    }
    log.durable(Ticket { partition: P, offset: Offset(4) }).await.unwrap();
    assert_eq!(log.read(P, OTHER, Offset(0), 2, usize::MAX).await.unwrap().records.len(), 2);
    assert_eq!(log.read(P, OTHER, Offset(0), 10, 1).await.unwrap().records.len(), 1);
    assert!(log.read(P, OTHER, Offset(5), 10, usize::MAX).await.unwrap().records.is_empty());
    assert!(matches!(log.read(PartitionId(999), OTHER, Offset(0), 1, 1).await, Err(Error::Partition(999))));
}

async fn refuses_after_close(log: &dyn Log) {
    append(log, P, 0, &[OTHER], "a");
    log.close().await;
    let body = Bytes::new();
    let record = Append { enqueued: Timestamp::default(), queues: &[OTHER], header: b"", body: &body };
    assert!(matches!(log.append(P, record), Err(Error::Closed)));
}
