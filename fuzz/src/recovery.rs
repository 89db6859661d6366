//! A log whose files were damaged: it opens or says which file keeps it from opening, serves nothing that was not written, and
//! serves every record that the damage did not touch.
//!
//! The input is a script: first what is written, then what is done to the files. Where records lie in them is read by the
//! table in `docs/log-format.md`, not by the log's own code.

use bytes::Bytes;
use ironbrook_log::{
    Append, Config, Error, File, Log, Memory, Offset, PartitionId, QueueId, Record, Retention, SegmentLog,
    Storage,
};
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

const PARTITIONS: u16 = 2;
/// Both copies of a segment's header.
const HEADER: usize = 128;
const HEADER_COPY: usize = 64;
/// The fixed part of a record.
const FIXED: usize = 44;
/// Records written and changes made at most, so that no script is slow.
const RECORDS: usize = 60;
const CHANGES: usize = 12;
const QUEUES: [QueueId; 2] = [QueueId::EVENTS, QueueId(1)];

/// What was written, by partition and offset: header and body.
type Written = BTreeMap<(u16, u64), (Vec<u8>, Vec<u8>)>;
/// Files by path.
type Files = BTreeMap<String, Vec<u8>>;

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0)) << 8 | usize::from(self.byte().unwrap_or(0))
    }
}

/// Writes a log, damages it, opens it, reads everything.
pub fn script(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(run(&mut Script(data))));
}

fn config(segment_bytes: u64) -> Config {
    let retention = Retention { max_age: None, max_bytes: None };
    Config { partitions: PARTITIONS, segment_bytes, cache_bytes: 0, retention, ..Config::default() }
}

async fn run(script: &mut Script<'_>) {
    let memory = Memory::forgetful();
    let config = config(300 + 40 * u64::from(script.byte().unwrap_or(0)));
    let mut written = Written::new();
    // Twice, so that a segment has records of two lives.
    for _ in 0..2 {
        let log = SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config.clone())
            .expect("nothing is damaged yet");
        write(&log, script, &mut written).await;
        log.close().await;
    }
    let before = files(&memory);
    let copied = damage(&memory, script);
    let after = files(&memory);
    let headers_left = before.iter().all(|(path, old)| {
        let Some(new) = after.get(path) else { return true };
        (0..2).any(|copy| is_same(old, new, copy * HEADER_COPY..(copy + 1) * HEADER_COPY))
    });
    let log = match SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config.clone()) {
        Ok(log) => log,
        Err(Error::Format { path, what }) => {
            assert!(!headers_left, "{path}: {what}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let found = read(&log).await;
    for (place, record) in &found {
        let (header, body) = written.get(place).expect("only what was written");
        assert_eq!((&record.header[..], &record.body[..]), (&header[..], &body[..]), "{place:?}");
    }
    if headers_left && !copied {
        for (place, path, range) in sound(&before) {
            let left = after.get(&path).is_some_and(|new| is_same(&before[&path], new, range));
            assert!(!left || found.contains_key(&place), "{place:?} in {path} is sound and not served");
        }
    }
    goes_on(&log, &memory, &config, &found).await;
}

async fn write(log: &SegmentLog, script: &mut Script<'_>, written: &mut Written) {
    for _ in 0..RECORDS {
        let Some(kind) = script.byte().filter(|kind| *kind < 0xF0) else { break };
        let partition = PartitionId(u16::from(kind & 1));
        let queues: &[QueueId] = match kind >> 1 & 3 {
            0 => &QUEUES[..1],
            1 => &QUEUES[1..],
            _ => &QUEUES,
        };
        let length = usize::from(script.byte().unwrap_or(0)) * usize::from(kind >> 5 & 3);
        let (header, body) =
            (vec![kind; usize::from(kind >> 3 & 3)], Bytes::from(vec![kind.wrapping_mul(31); length]));
        let append = Append {
            enqueued: Timestamp::from_millis(i64::from(kind)),
            queues,
            header: &header,
            body: &body,
        };
        let ticket = log.append(partition, append).expect("there is room");
        if kind & 0x80 != 0 {
            log.durable(ticket).await.expect("the storage works");
        }
        written.insert((partition.0, ticket.offset.0), (header, body.to_vec()));
    }
}

fn names(memory: &Memory) -> Vec<String> {
    let mut names = Vec::new();
    for partition in 0..PARTITIONS {
        let folder = format!("log/{partition:05}");
        let found = memory.list(Path::new(&folder)).unwrap_or_default();
        names.extend(found.into_iter().map(|name| format!("{folder}/{name}")));
    }
    names.sort();
    names
}

fn open(memory: &Memory, path: &str) -> Arc<dyn File> {
    memory.open(Path::new(path), false).expect("a file that is listed")
}

fn files(memory: &Memory) -> Files {
    names(memory).into_iter().map(|path| (path.clone(), contents(&*open(memory, &path)))).collect()
}

fn contents(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("a length") as usize];
    let count = file.read_at(&mut bytes, 0).expect("memory reads at once");
    assert_eq!(count, bytes.len());
    bytes
}

fn is_same(old: &[u8], new: &[u8], range: Range<usize>) -> bool {
    old.get(range.clone()) == new.get(range)
}

/// Damages files; true if sound bytes were copied to another place, where they may rightly stand for what they say.
fn damage(memory: &Memory, script: &mut Script<'_>) -> bool {
    let mut copied = false;
    for _ in 0..CHANGES {
        let Some(kind) = script.byte() else { break };
        let names = names(memory);
        if names.is_empty() {
            break;
        }
        let path = &names[script.number() % names.len()];
        let file = open(memory, path);
        let bytes = contents(&*file);
        let at = script.number() % (bytes.len() + 1);
        match kind % 7 {
            0 => {
                let bit = script.byte().unwrap_or(0) % 8;
                let byte = bytes.get(at).copied().unwrap_or(0) ^ 1 << bit;
                file.write_at(&[byte], at as u64).expect("memory");
            }
            1 => file.set_len(at as u64).expect("memory"),
            2 => file.write_at(&vec![0; script.number() % 700], at as u64).expect("memory"),
            3 => {
                let count = usize::from(script.byte().unwrap_or(0)).min(script.0.len());
                let (made_up, rest) = script.0.split_at(count);
                script.0 = rest;
                file.write_at(made_up, at as u64).expect("memory");
            }
            4 => file.set_len((bytes.len() + script.number() % 2000) as u64).expect("memory"),
            5 => memory.remove(Path::new(path)).expect("memory"),
            _ => {
                let from = contents(&*open(memory, &names[script.number() % names.len()]));
                let start = script.number() % (from.len() + 1);
                let end = (start + script.number() % 1000).min(from.len());
                file.write_at(&from[start..end], at as u64).expect("memory");
                copied = true;
            }
        }
    }
    copied
}

/// Where each record lies, by the table of the format.
fn sound(files: &Files) -> Vec<((u16, u64), String, Range<usize>)> {
    let mut found = Vec::new();
    for (path, bytes) in files {
        let number = |at: usize, count: usize| {
            bytes[at..at + count].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let partition = number(10, 2) as u16;
        let mut at = HEADER;
        while at + FIXED <= bytes.len() {
            let length = number(at + 4, 4) as usize;
            found.push(((partition, number(at + 8, 8)), path.clone(), at..at + length));
            at += length;
        }
        assert_eq!(at, bytes.len(), "a log closed in order has nothing behind its records");
    }
    found
}

async fn read(log: &SegmentLog) -> BTreeMap<(u16, u64), Record> {
    let mut found = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for queue in QUEUES {
            let mut next = Offset(0);
            let mut last = None;
            while next < log.bounds(PartitionId(partition)).end {
                let batch =
                    log.read(PartitionId(partition), queue, next, 7, 2000).await.expect("it can be read");
                assert!(batch.next > next, "a batch moves on");
                next = batch.next;
                for record in batch.records {
                    assert!(last < Some(record.offset), "in order, none twice");
                    last = Some(record.offset);
                    assert!(record.queues.contains(&queue));
                    found.insert((partition, record.offset.0), record);
                }
            }
        }
    }
    found
}

/// The log takes further records, and all stands as it stood after the next start.
async fn goes_on(log: &SegmentLog, memory: &Memory, config: &Config, found: &BTreeMap<(u16, u64), Record>) {
    let body = Bytes::from_static(b"new");
    let mut fresh = Vec::new();
    for partition in 0..PARTITIONS {
        let append =
            Append { enqueued: Timestamp::from_millis(0), queues: &QUEUES, header: b"", body: &body };
        let ticket = log.append(PartitionId(partition), append).expect("there is room");
        log.durable(ticket).await.expect("the storage works");
        fresh.push((partition, ticket.offset.0));
    }
    log.close().await;
    let log = SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config.clone())
        .expect("it opened before");
    let mut again = read(&log).await;
    for place in fresh {
        assert_eq!(again.remove(&place).expect("what is new is there").body, body);
    }
    assert_eq!(&again, found);
}
