//! Damaged bytes on disk.

use super::*;
use crate::File;

fn last_segment(memory: &Memory) -> Arc<dyn File> {
    let folder = Path::new("log/00000");
    let mut names = memory.list(folder).unwrap();
    names.sort_unstable();
    memory.open(&folder.join(names.last().unwrap()), false).unwrap()
}

fn first_segment(memory: &Memory) -> Arc<dyn File> {
    memory.open(Path::new("log/00000/00000000000000000000.log"), false).unwrap()
}

fn flip(file: &dyn File, position: u64) {
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 0x40], position).unwrap();
}

/// The length of records "0" to "9" as `append_events` makes them: fixed part, one queue, "head", one digit.
const SHORT: u64 = 44 + 2 + 4 + 1;
const FIRST: u64 = 128;

#[tokio::test]
async fn a_torn_tail_is_cut_and_the_log_goes_on() {
    for cut in 1..SHORT {
        let memory = Memory::new();
        append_events(&open(&memory), 5).await;
        let file = last_segment(&memory);
        file.set_len(file.len().unwrap() - cut).unwrap();
        let log = open(&memory);
        assert_eq!(log.bounds(P0).end, Offset(4), "cut {cut}");
        let ticket = append(&log, &[EVENTS], 0, "4").unwrap();
        log.durable(ticket).await.unwrap();
        assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..5));
        drop(log);
        let log = open(&memory.power_cut(cut));
        assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..5));
        assert_eq!(log.damaged(), 0, "a torn end is no damage");
    }
}

#[tokio::test]
async fn zeros_behind_the_end_are_cut() {
    let memory = Memory::new();
    append_events(&open(&memory), 5).await;
    let file = last_segment(&memory);
    file.set_len(file.len().unwrap() + 100_000).unwrap();
    let log = open(&memory);
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..5));
    assert_eq!(file.len().unwrap(), FIRST + 5 * SHORT);
}

#[tokio::test]
async fn damage_in_the_middle_is_left_out_counted_once_and_all_else_served() {
    for byte in 0..SHORT {
        let memory = Memory::new();
        append_events(&open(&memory), 9).await;
        flip(&*last_segment(&memory), FIRST + 3 * SHORT + byte);
        let log = open(&memory);
        let expected: Vec<_> = numbers(0..9).into_iter().filter(|text| text != "3").collect();
        for _ in 0..2 {
            let records = read_all(&log, EVENTS).await;
            assert_eq!(texts(&records), expected, "byte {byte}");
            assert_eq!(records[3].event_sequence, Some(4));
        }
        assert_eq!(log.damaged(), 1, "byte {byte}");
        assert_eq!(log.seek(P0, Seek::EventSequence(3)).await.unwrap(), Offset(4));
        let ticket = append(&log, &[EVENTS], 0, "9").unwrap();
        log.durable(ticket).await.unwrap();
        assert_eq!(read_all(&log, EVENTS).await.last().unwrap().event_sequence, Some(9));
    }
}

#[tokio::test]
async fn damage_in_a_finished_segment_is_found_when_it_is_read() {
    let memory = Memory::new();
    append_events(&open(&memory), 300).await;
    let first = first_segment(&memory);
    flip(&*first, FIRST + SHORT + 9);
    flip(&*first, first.len().unwrap() - 1);
    let log = open(&memory);
    let records = read_all(&log, EVENTS).await;
    assert_eq!(records.len(), 298);
    assert_eq!(log.damaged(), 2);
    assert_eq!(read_all(&log, EVENTS).await, records);
    assert_eq!(log.damaged(), 2, "counted once");
}

#[tokio::test]
async fn damage_that_comes_while_the_log_is_open_is_found_by_the_reader() {
    let memory = Memory::new();
    let log = open(&memory);
    append_events(&log, 300).await;
    assert_eq!(read_all(&log, EVENTS).await.len(), 300);
    flip(&*first_segment(&memory), FIRST + 2 * SHORT + 47);
    assert_eq!(read_all(&log, EVENTS).await.len(), 299);
    assert_eq!(log.damaged(), 1);
}

#[tokio::test]
async fn a_record_inside_a_damaged_body_is_not_believed() {
    let memory = Memory::new();
    // What somebody would send who knows the format, but not the salt.
    let mut forged = bytes::BytesMut::new();
    let body = Bytes::from_static(b"forged");
    let inner = Append { enqueued: Timestamp::from_millis(0), queues: &[EVENTS], header: b"", body: &body };
    record::encode(&mut forged, 0, (2, 2, 0, 0), &inner);
    let outer = forged.freeze();
    let log = open(&memory);
    append_events(&log, 2).await;
    let record = Append { enqueued: Timestamp::from_millis(0), queues: &[EVENTS], header: b"", body: &outer };
    let ticket = log.append(P0, record).unwrap();
    log.durable(ticket).await.unwrap();
    append_events(&log, 1).await;
    drop(log);
    flip(&*last_segment(&memory), FIRST + 2 * SHORT);
    assert_eq!(texts(&read_all(&open(&memory), EVENTS).await), ["0", "1", "0"]);
}

#[tokio::test]
async fn a_record_written_over_one_of_another_segment_costs_that_one_only() {
    let memory = Memory::new();
    append_events(&open(&memory), 300).await;
    let last = last_segment(&memory);
    let mut record = vec![0; usize::try_from(SHORT + 2).unwrap()];
    last.read_at(&mut record, FIRST).unwrap();
    // Over "3" and the begin of "4": sound where it is, and of a later place.
    first_segment(&memory).write_at(&record, FIRST + 3 * SHORT).unwrap();
    for _ in 0..2 {
        let log = open(&memory);
        let expected: Vec<_> =
            numbers(0..300).into_iter().filter(|text| text != "3" && text != "4").collect();
        assert_eq!(texts(&read_all(&log, EVENTS).await), expected);
        assert_eq!(log.damaged(), 2);
    }
}

#[tokio::test]
async fn a_damaged_header_costs_no_record() {
    let memory = Memory::new();
    append_events(&open(&memory), 300).await;
    let first = first_segment(&memory);
    flip(&*first, 20);
    assert_eq!(read_all(&open(&memory), EVENTS).await.len(), 300, "the second copy serves");
    flip(&*first, 84);
    let log = open(&memory);
    assert_eq!(read_all(&log, EVENTS).await.len(), 300, "another segment's salt serves");
    assert_eq!(log.damaged(), 1);
    log.trim(P0, Offset(u64::MAX)).await.unwrap();
    drop(log);
    let last = last_segment(&memory);
    flip(&*last, 20);
    flip(&*last, 84);
    let error = SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config()).err().unwrap();
    assert!(error.to_string().contains("header"), "{error}");
}
