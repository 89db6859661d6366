//! Encryption at rest.

use super::*;
use std::collections::BTreeSet;

fn sealed_with(text: &str) -> Config {
    Config { keys: keys(text), ..config() }
}

fn try_open(memory: &Memory, config: Config) -> Result<SegmentLog, Error> {
    SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config)
}

fn files(memory: &Memory) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("log/00000");
    let mut names = memory.list(folder).unwrap();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), contents(memory, &name))).collect()
}

fn contents(memory: &Memory, name: &str) -> Vec<u8> {
    let file = memory.open(&Path::new("log/00000").join(name), false).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Whether some file holds these bytes.
fn shows(memory: &Memory, what: &[u8]) -> bool {
    files(memory).iter().any(|(_, bytes)| bytes.windows(what.len()).any(|window| window == what))
}

#[tokio::test]
async fn what_is_sealed_is_read_with_the_key_and_not_seen_on_disk() {
    for cache_bytes in [0, 1 << 20] {
        let memory = Memory::new();
        let config = Config { cache_bytes, ..sealed_with(KEY_1) };
        let log = open_with(&memory, config.clone());
        append(&log, &[OTHER], 50, "a secret of the plant").unwrap();
        let ticket = append(&log, &[OTHER, EVENTS], 60, "another one").unwrap();
        log.durable(ticket).await.unwrap();
        let before = read_all(&log, OTHER).await;
        assert_eq!(texts(&before), ["a secret of the plant", "another one"]);
        assert_eq!(&before[0].header[..], b"head");
        assert_eq!(before[1].event_sequence, Some(0));
        drop(log);
        for secret in [&b"secret"[..], b"head", b"another"] {
            assert!(!shows(&memory, secret));
        }
        assert_eq!(read_all(&open_with(&memory, config), OTHER).await, before);
    }
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_an_error_that_names_file_and_key_and_changes_nothing() {
    let memory = Memory::new();
    append_events(&open_with(&memory, sealed_with(KEY_1)), 3).await;
    let before = files(&memory);
    let id = keys(KEY_1).current().unwrap().to_string();
    for config in [config(), sealed_with(KEY_2)] {
        let error = try_open(&memory, config).err().unwrap().to_string();
        for part in ["log/00000/00000000000000000000.log", &id, "encryption_key_file"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(files(&memory), before);
    }
}

#[tokio::test]
async fn a_new_key_is_for_new_segments_and_the_old_one_may_go_with_its_last_segment() {
    let memory = Memory::new();
    append_events(&open(&memory), 2).await;
    append_events(&open_with(&memory, sealed_with(KEY_1)), 2).await;
    let both = sealed_with(&format!("{KEY_2}\n{KEY_1}"));
    let log = open_with(&memory, both.clone());
    append_events(&log, 2).await;
    assert_eq!(
        texts(&read_all(&log, EVENTS).await),
        ["0", "1", "0", "1", "0", "1"],
        "one in plain, one of each key"
    );
    assert_eq!(files(&memory).len(), 3);
    log.trim(P0, Offset(4)).await.unwrap();
    drop(log);
    let log = open_with(&memory, sealed_with(KEY_2));
    append_events(&log, 1).await;
    assert_eq!(texts(&read_all(&log, EVENTS).await), ["0", "1", "0"]);
    drop(log);
    let off = Config { keys: keys(&format!("none\n{KEY_2}")), ..config() };
    append_events(&open_with(&memory, off.clone()), 1).await;
    assert!(shows(&memory, b"head"), "in plain from now on");
    assert_eq!(read_all(&open_with(&memory, off), EVENTS).await.len(), 4);
}

#[tokio::test]
async fn each_run_has_keys_of_its_own_and_never_writes_to_the_segment_of_another() {
    let memory = Memory::new();
    let mut seen = BTreeSet::new();
    for run in 0..6_u64 {
        let log = open_with(&memory, sealed_with(KEY_1));
        append_events(&log, run % 2).await;
        drop(log);
        let files = files(&memory);
        // Bytes 144 to 176: what the segment's key is derived with.
        seen.extend(files.iter().map(|(_, bytes)| bytes[144..176].to_vec()));
        assert_eq!(
            files.len() as u64,
            1 + run.saturating_sub(1) / 2,
            "a run without records leaves nothing behind"
        );
    }
    assert_eq!(
        seen.len(),
        3 + 1,
        "three runs wrote, and the segment made at first was replaced before its first record"
    );
}

#[tokio::test]
async fn the_same_record_at_the_same_place_is_never_sealed_alike_again() {
    let memory = Memory::new();
    let mut sealed = BTreeSet::new();
    for _ in 0..20 {
        let log = open_with(&memory, sealed_with(KEY_1));
        let ticket = append(&log, &[EVENTS], 0, "the same").unwrap();
        assert_eq!(ticket.offset, Offset(0));
        log.durable(ticket).await.unwrap();
        drop(log);
        let [(name, bytes)] = &files(&memory)[..] else { panic!("one file") };
        assert!(sealed.insert(bytes[256..].to_vec()), "the same bytes again");
        // As a power cut before the sync may leave it: the next run gives the offset again.
        let file = memory.open(&Path::new("log/00000").join(name), false).unwrap();
        file.set_len(256).unwrap();
    }
}

/// Changes a byte of a record and makes its checksums right again, as somebody would who can write to the disk.
fn forge(memory: &Memory, name: &str, at: usize, length: usize, byte: usize) {
    let mut bytes = contents(memory, name);
    let salt = u32::from_le_bytes(header::array(&bytes, 56));
    bytes[at + byte] ^= 1;
    record::put_checksums(&mut bytes[at..at + length], salt);
    let file = memory.open(&Path::new("log/00000").join(name), false).unwrap();
    file.write_at(&bytes, 0).unwrap();
}

#[tokio::test]
async fn a_forged_record_is_left_out_whatever_its_checksums_say() {
    let length = 44 + 2 + 4 + 1 + 16;
    // The flag that says sealed, a queue, the header, the body, the tag; not the numbers the log itself goes by.
    for byte in [38, 44, 46, 50, 51, length - 1] {
        let memory = Memory::new();
        append_events(&open_with(&memory, sealed_with(KEY_1)), 3).await;
        let name = "00000000000000000000.log";
        forge(&memory, name, 256 + length, length, byte);
        if byte == 38 {
            // As a record in plain, which it is said to be now.
            forge(&memory, name, 256 + length, length, 38);
            let mut bytes = contents(&memory, name);
            bytes[256 + length + 38] &= !2;
            let salt = u32::from_le_bytes(header::array(&bytes, 56));
            record::put_checksums(&mut bytes[256 + length..256 + 2 * length], salt);
            memory.open(&Path::new("log/00000").join(name), false).unwrap().write_at(&bytes, 0).unwrap();
        }
        let log = open_with(&memory, sealed_with(KEY_1));
        let queue = if byte == 44 { QueueId(1) } else { EVENTS };
        for _ in 0..2 {
            let found = texts(&read_all(&log, queue).await);
            assert_eq!(found, if byte == 44 { vec![] } else { vec!["0", "2"] }, "byte {byte}");
        }
        assert_eq!(log.damaged(), 1, "byte {byte}");
    }
}

#[tokio::test]
async fn a_lost_salt_costs_the_records_of_its_segment_only() {
    let memory = Memory::new();
    append_events(&open_with(&memory, sealed_with(KEY_1)), 3).await;
    append_events(&open_with(&memory, sealed_with(KEY_1)), 2).await;
    let file = memory.open(Path::new("log/00000/00000000000000000000.log"), false).unwrap();
    // The salt is random: another byte, whatever it is.
    let damage = |position| {
        let mut byte = [0];
        file.read_at(&mut byte, position).unwrap();
        file.write_at(&[!byte[0]], position).unwrap();
    };
    damage(150);
    assert_eq!(
        read_all(&open_with(&memory, sealed_with(KEY_1)), EVENTS).await.len(),
        5,
        "the second copy serves"
    );
    damage(214);
    let log = open_with(&memory, sealed_with(KEY_1));
    assert_eq!(texts(&read_all(&log, EVENTS).await), ["0", "1"]);
    assert_eq!(log.damaged(), 1 + 3);
}

#[tokio::test]
async fn a_full_disk_keeps_a_sealed_group_and_heals() {
    let memory = Memory::new();
    append_events(&open_with(&memory, sealed_with(KEY_1)), 2).await;
    let log = open_with(&memory, sealed_with(KEY_1));
    // Not even the header of this run's segment fits, then not all of its records.
    memory.set_capacity(Some(memory.used() + 100));
    let ticket = append(&log, &[EVENTS], 0, "2").unwrap();
    let filled = async {
        while !log.stats().disk_full {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("a full disk", filled).await;
    memory.set_capacity(Some(memory.used() + 256 + 20));
    tokio::time::sleep(Duration::from_millis(250)).await;
    memory.set_capacity(None);
    within("room", log.durable(ticket)).await.unwrap();
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..3));
    drop(log);
    let log = open_with(&memory.power_cut(3), sealed_with(KEY_1));
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..3));
}

#[tokio::test]
async fn a_segment_of_version_2_is_read() {
    let memory = Memory::new();
    memory.create_folder(Path::new("log/00000")).unwrap();
    let fixture = include_bytes!("../../../tests/fixtures/segment-v2.log");
    let file = memory.open(Path::new("log/00000/00000000000000000000.log"), true).unwrap();
    file.write_at(fixture, 0).unwrap();
    let log = open_with(&memory, sealed_with(KEY_1));
    assert_eq!(texts(&read_all(&log, EVENTS).await), ["zero", "two"]);
    let records = read_all(&log, OTHER).await;
    assert_eq!(texts(&records), ["one", "two"]);
    assert_eq!(records[1].event_sequence, Some(1));
    assert_eq!(records[1].enqueued, Timestamp::from_millis(1_700_000_000_002));
    assert_eq!(&records[1].header[..], b"head");
    assert_eq!(log.damaged(), 0);
}
