//! Appending, reading, seeking, tailing, trimming, restarting.

use super::*;

#[tokio::test]
async fn a_record_comes_back_as_it_was_given_and_from_either_place() {
    for cache_bytes in [0, 1 << 20] {
        let memory = Memory::new();
        let log = open_with(&memory, Config { cache_bytes, ..config() });
        append(&log, &[OTHER], 50, "first").unwrap();
        let ticket = append(&log, &[OTHER, EVENTS], 40, "second").unwrap();
        log.durable(ticket).await.unwrap();
        let batch = log.read(P0, OTHER, Offset(0), 10, 1000).await.unwrap();
        assert_eq!(batch.next, Offset(2));
        let [first, second] = &batch.records[..] else { panic!("{batch:?}") };
        assert_eq!((first.offset, first.event_sequence), (Offset(0), None));
        assert_eq!((second.offset, second.event_sequence), (Offset(1), Some(0)));
        assert_eq!(second.enqueued, Timestamp::from_millis(50), "raised to the one before");
        assert_eq!(second.queues.as_slice(), [OTHER, EVENTS]);
        assert_eq!((&second.header[..], &second.body[..]), (&b"head"[..], &b"second"[..]));
        assert_eq!(&read_all(&log, EVENTS).await[..], std::slice::from_ref(second));
        let bounds = log.bounds(P0);
        assert_eq!((bounds.end, bounds.end_event_sequence), (Offset(2), 1));
        assert_eq!(bounds.last_event, Some((Offset(1), Timestamp::from_millis(50))));
    }
}

#[tokio::test]
async fn all_is_there_in_order_after_a_restart_and_numbers_go_on() {
    let memory = Memory::new();
    let log = open(&memory);
    append_events(&log, 200).await;
    let bounds = log.bounds(P0);
    log.close().await;
    assert!(matches!(append(&log, &[EVENTS], 0, "late"), Err(Error::Closed)));
    assert!(matches!(log.read(P0, EVENTS, Offset(0), 1, 1).await, Err(Error::Closed)));
    let log = open(&memory);
    assert_eq!(log.bounds(P0), bounds);
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..200));
    let ticket = append(&log, &[EVENTS], 0, "200").unwrap();
    log.durable(ticket).await.unwrap();
    let records = read_all(&log, EVENTS).await;
    assert_eq!(texts(&records), numbers(0..201));
    assert!(
        records.iter().zip(0..).all(|(record, n)| record.event_sequence == Some(n) && record.offset.0 == n)
    );
    assert_eq!(records[200].enqueued, Timestamp::from_millis(1990), "time never goes back");
}

#[tokio::test]
async fn limits_of_a_batch_hold_and_one_record_always_comes() {
    let memory = Memory::new();
    for cache_bytes in [0, 1 << 20] {
        let log = open_with(&memory, Config { cache_bytes, ..config() });
        append_events(&log, 30).await;
        assert_eq!(log.read(P0, EVENTS, Offset(3), 5, 100_000).await.unwrap().records.len(), 5);
        assert_eq!(log.read(P0, EVENTS, Offset(3), 5, 0).await.unwrap().records.len(), 1);
        let some = log.read(P0, EVENTS, Offset(3), 30, 200).await.unwrap();
        assert!(some.records.len() > 1 && some.records.len() < 5, "{}", some.records.len());
        assert_eq!(some.next.0, 3 + some.records.len() as u64);
        let none = log.read(P0, EVENTS, log.bounds(P0).end, 5, 100).await.unwrap();
        assert!(none.records.is_empty() && none.next == log.bounds(P0).end);
        assert!(log.read(P0, EVENTS, Offset(3), 0, 100).await.unwrap().records.is_empty());
    }
}

#[tokio::test]
async fn places_are_found() {
    let memory = Memory::new();
    let log = open(&memory);
    for number in 0..300 {
        // Every third record is an event; two records share each time.
        let queues: &[QueueId] = if number % 3 == 0 { &[EVENTS, OTHER] } else { &[OTHER] };
        append(&log, queues, number / 2 * 10, "x").unwrap();
    }
    log.close().await;
    let log = open(&memory);
    let seek = async |place| log.seek(P0, place).await.unwrap().0;
    assert_eq!(seek(Seek::Earliest).await, 0);
    assert_eq!(seek(Seek::Latest).await, 300);
    for sequence in [0, 1, 50, 99] {
        assert_eq!(seek(Seek::EventSequence(sequence)).await, sequence * 3);
    }
    assert_eq!(seek(Seek::EventSequence(100)).await, 300);
    let at = |time| Seek::EnqueuedAt(Timestamp::from_millis(time));
    assert_eq!(seek(at(-5)).await, 0);
    assert_eq!(seek(at(0)).await, 0);
    assert_eq!(seek(at(501)).await, 102);
    assert_eq!(seek(at(510)).await, 102);
    assert_eq!(seek(at(1490)).await, 298);
    assert_eq!(seek(at(1491)).await, 300);
}

#[tokio::test]
async fn old_segments_go_and_numbers_stay() {
    let memory = Memory::new();
    let log = open(&memory);
    append_events(&log, 300).await;
    let before = memory.list(Path::new("log/00000")).unwrap().len();
    assert!(before > 4, "{before}");
    log.trim(P0, Offset(150)).await.unwrap();
    let bounds = log.bounds(P0);
    assert!(bounds.first.0 > 50 && bounds.first.0 <= 150, "{bounds:?}");
    assert_eq!(bounds.first_event_sequence, bounds.first.0);
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(bounds.first.0..300));
    assert_eq!(log.seek(P0, Seek::EventSequence(3)).await.unwrap(), bounds.first);
    log.trim(P0, Offset(u64::MAX)).await.unwrap();
    assert_eq!(memory.list(Path::new("log/00000")).unwrap().len(), 1, "the growing one stays");
    drop(log);
    let log = open(&memory.power_cut(5));
    assert_eq!(log.bounds(P0).end_event_sequence, 300);
    let ticket = append(&log, &[EVENTS], 0, "300").unwrap();
    log.durable(ticket).await.unwrap();
    assert_eq!(read_all(&log, EVENTS).await.last().unwrap().event_sequence, Some(300));
}

#[tokio::test]
async fn retention_goes_by_age_and_size_and_stops_at_what_is_needed() {
    let retain = async |retention: Retention, now: i64, needed: u64| {
        let log = open_with(&Memory::new(), Config { retention, ..config() });
        append_events(&log, 300).await;
        log.retain(P0, Timestamp::from_millis(now), Offset(needed)).await.unwrap();
        log.bounds(P0).first.0
    };
    let nothing = Retention { max_age: None, max_bytes: None };
    assert_eq!(retain(nothing, i64::MAX, u64::MAX).await, 0);
    let aged = Retention { max_age: Some(Duration::from_millis(1000)), ..nothing };
    assert_eq!(retain(aged, 900, u64::MAX).await, 0);
    let first = retain(aged, 2500, u64::MAX).await;
    assert!(first > 75 && first <= 150, "{first}: segments wholly enqueued before 1500 go");
    assert!(retain(aged, 2500, 100).await <= 100);
    let small = Retention { max_bytes: Some(9000), ..nothing };
    let first = retain(small, 0, u64::MAX).await;
    assert!(first > 75 && first < 290, "{first}");
}

#[tokio::test]
async fn a_tail_wakes_without_polling_and_only_for_durable_records() {
    let memory = Memory::new();
    let log = Arc::new(open(&memory));
    let tail = tokio::spawn({
        let log = log.clone();
        async move { log.tail(P0, Offset(2)).await }
    });
    append_events(&log, 2).await;
    assert!(!tail.is_finished(), "two records do not wake it");
    append(&log, &[OTHER], 0, "x").unwrap();
    assert_eq!(within("a tail woken", tail).await.unwrap().unwrap(), Offset(3));
    let mut tail = log.tail(P0, Offset(9));
    tokio::select! {
        biased;
        _ = &mut tail => panic!("nothing came yet"),
        () = std::future::ready(()) => {}
    }
    log.close().await;
    assert!(matches!(within("the end of a tail", tail).await, Err(Error::Closed)));
}

#[tokio::test]
async fn partitions_are_independent_and_cannot_become_fewer() {
    let memory = Memory::new();
    let log = open_with(&memory, Config { partitions: 3, ..config() });
    let body = Bytes::from_static(b"x");
    for number in [0, 2, 2] {
        let record =
            Append { enqueued: Timestamp::from_millis(0), queues: &[EVENTS], header: b"", body: &body };
        let ticket = log.append(PartitionId(number), record).unwrap();
        log.durable(ticket).await.unwrap();
    }
    assert_eq!([0, 1, 2].map(|n| log.bounds(PartitionId(n)).end.0), [1, 0, 2]);
    assert!(matches!(log.seek(PartitionId(3), Seek::Earliest).await, Err(Error::Partition(3))));
    drop(log);
    let fewer = SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config());
    assert!(fewer.err().unwrap().to_string().contains("3 partitions"));
    assert_eq!(
        open_with(&memory, Config { partitions: 5, ..config() }).bounds(PartitionId(2)).end,
        Offset(2)
    );
}

#[tokio::test]
async fn records_that_are_too_large_are_refused() {
    let log = open(&Memory::new());
    let body = Bytes::from(vec![0; 16 << 20]);
    let record = Append { enqueued: Timestamp::from_millis(0), queues: &[], header: b"", body: &body };
    assert!(matches!(log.append(P0, record), Err(Error::TooLarge(_))));
}

#[tokio::test]
async fn a_segment_of_version_1_is_read() {
    let memory = Memory::new();
    memory.create_folder(Path::new("log/00000")).unwrap();
    let fixture = include_bytes!("../../../tests/fixtures/segment-v1.log");
    let file = memory.open(Path::new("log/00000/00000000000000000000.log"), true).unwrap();
    file.write_at(fixture, 0).unwrap();
    let log = open(&memory);
    assert_eq!(texts(&read_all(&log, EVENTS).await), ["zero", "two"]);
    let records = read_all(&log, OTHER).await;
    assert_eq!(texts(&records), ["one", "two"]);
    assert_eq!(records[1].event_sequence, Some(1));
    assert_eq!(records[1].enqueued, Timestamp::from_millis(1_700_000_000_002));
    assert_eq!(&records[1].header[..], b"head");
    assert_eq!(log.damaged(), 0);
}
