//! Looking at a log's files without changing them: for people, tools, and logs that another process has open.

use super::cursor::Cursor;
use super::file::{SCAN_CHUNK, Segment, base_of, file_name};
use super::header::{Found, HEADER_BYTES, Header, SEALED_HEADER_BYTES, Seal};
use super::scan::{Damage, Item};
use crate::{Error, KeyId, Keys, Offset, QueueId, Record, Storage};
use ironbrook_model::Timestamp;
use smallvec::SmallVec;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

/// The segments of a partition, oldest first.
#[derive(Debug)]
pub struct PartitionFiles {
    /// Its number.
    pub partition: u16,
    /// At least one.
    pub segments: Vec<SegmentFile>,
}

/// A segment file, as far as its header and its neighbours tell.
pub struct SegmentFile {
    /// Below the storage's root.
    pub path: PathBuf,
    /// Bytes of the file when it was looked at.
    pub bytes: u64,
    /// The offset of its first record.
    pub first: Offset,
    /// The offset behind its last record; `None` for the last segment, which only reading tells.
    pub end: Option<Offset>,
    /// Records of the numbered queue before it.
    pub events_before: u64,
    /// Enqueued time of the record before it.
    pub enqueued_before: Option<Timestamp>,
    /// The master key it is encrypted with.
    pub key: Option<KeyId>,
    /// Whether the keys at hand can read its records.
    pub is_readable: bool,
    /// What is wrong with its header.
    pub faults: Vec<HeaderFault>,
    /// `None` where the header is damaged beyond reading.
    segment: Option<Segment>,
}

impl std::fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentFile")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// What can be wrong with a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// It ends before its header does: made, and not yet written. A restart removes it.
    #[error("the header is unfinished")]
    Unfinished,
    /// One of both copies of a part, at these bytes; the other one serves.
    #[error("a copy of the header at bytes {0} to {1} is damaged; the other one serves")]
    Copy(u64, u64),
    /// Both copies. Records can be read with the help of another segment.
    #[error("both copies of the header are damaged")]
    Both,
    /// What the segment's key is derived with.
    #[error("both copies of what the key is derived with are damaged: its records are lost")]
    Key,
    /// It says it is another segment.
    #[error("the header names another place: the file was moved or renamed")]
    Place,
}

/// What lies in a segment.
#[derive(Debug)]
pub enum Entry {
    /// A record; its checksums are right.
    Record(Box<RecordEntry>),
    /// Bytes without a sound record, with sound ones behind them.
    Damage(Range<u64>),
    /// Bytes at the end of the last segment that are no sound record: a torn write, or one under way.
    Torn(Range<u64>),
}

/// A record and where it lies.
#[derive(Debug)]
pub struct RecordEntry {
    /// Its bytes in the file.
    pub at: Range<u64>,
    /// Its number.
    pub offset: Offset,
    /// Records of the numbered queue before it.
    pub events_before: u64,
    /// When it was accepted.
    pub enqueued: Timestamp,
    /// Its queues.
    pub queues: SmallVec<[QueueId; 4]>,
    /// Whether it is encrypted.
    pub is_sealed: bool,
    /// Whether all before it was synced when it was written.
    pub is_first_of_group: bool,
    /// The whole of it; an encrypted one only with its key.
    pub record: Content,
}

/// What can be told of a record's header and body.
#[derive(Debug)]
pub enum Content {
    /// Everything.
    Whole(Record),
    /// Nothing without the key.
    KeyMissing,
    /// Its checksums are right and its tag is not, or it is in plain among encrypted ones: forged.
    Forged,
}

/// The partitions of a log in a folder. Nothing is changed, and nothing is locked.
///
/// What another process writes meanwhile may be missing or show as [`Entry::Torn`]; what was synced before is there.
///
/// # Errors
/// [`Error::Format`] for a segment of a newer version.
pub fn partitions(storage: &dyn Storage, folder: &Path, keys: &Keys) -> Result<Vec<PartitionFiles>, Error> {
    let mut numbers: Vec<u16> = storage
        .list(folder)?
        .iter()
        .filter_map(|name| name.parse().ok().filter(|number| *name == super::folder_name(*number)))
        .collect();
    numbers.sort_unstable();
    let mut found = Vec::new();
    for partition in numbers {
        let segments = segments(storage, &folder.join(super::folder_name(partition)), partition, keys)?;
        if !segments.is_empty() {
            found.push(PartitionFiles { partition, segments });
        }
    }
    Ok(found)
}

fn segments(
    storage: &dyn Storage,
    folder: &Path,
    partition: u16,
    keys: &Keys,
) -> Result<Vec<SegmentFile>, Error> {
    let mut bases: Vec<u64> = storage.list(folder)?.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    let mut files = Vec::with_capacity(bases.len());
    for (index, base) in bases.iter().enumerate() {
        let end = bases.get(index + 1).copied();
        match look(storage, folder, (partition, *base, end), keys) {
            Ok(file) => files.push(file),
            // Retention of the process that has it open was here first.
            Err(Error::Storage(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // As the log itself does at start: a segment without header is read with another one's salt.
    let salt = files.iter().find_map(|file| file.segment.as_ref().map(|segment| segment.header.salt));
    for file in
        files.iter_mut().filter(|file| file.segment.is_none() && file.faults.contains(&HeaderFault::Both))
    {
        let Some(salt) = salt else { continue };
        let base = Cursor { offset: file.first.0, ..Cursor::START };
        let header =
            Header { partition, salt, base, seal: if file.key.is_some() { Seal::Lost } else { Seal::Plain } };
        let opened = storage.open(&file.path, false)?;
        let end = file.end.map_or(u64::MAX, |end| end.0);
        file.segment = Some(Segment::found(header, file.path.clone(), opened, keys, (file.bytes, end)));
    }
    Ok(files)
}

fn look(
    storage: &dyn Storage,
    folder: &Path,
    (partition, base, end): (u16, u64, Option<u64>),
    keys: &Keys,
) -> Result<SegmentFile, Error> {
    let path = folder.join(file_name(base));
    let opened = storage.open(&path, false)?;
    let bytes = opened.len()?;
    let mut start = [0; SEALED_HEADER_BYTES];
    let count = super::recovery::read_full(&*opened, &mut start)?;
    let mut file = SegmentFile {
        path: path.clone(),
        bytes,
        first: Offset(base),
        end: end.map(Offset),
        events_before: 0,
        enqueued_before: None,
        key: None,
        is_readable: true,
        faults: Vec::new(),
        segment: None,
    };
    match Header::decode(&start[..count], &path)? {
        Found::Header(header) if header.partition != partition || header.base.offset != base => {
            file.faults.push(HeaderFault::Place);
        }
        Found::Header(header) => {
            file.events_before = header.base.events;
            let before = Some(header.base.enqueued).filter(|time| *time != Cursor::START.enqueued);
            file.enqueued_before = before.map(Timestamp::from_millis);
            file.key = header.key();
            file.is_readable = !header.is_sealed() || header.cipher(keys).is_some();
            file.faults = header_faults(&header, &start[..count]);
            if !file.faults.contains(&HeaderFault::Unfinished) {
                let end = end.unwrap_or(u64::MAX);
                file.segment = Some(Segment::found(header, path, opened, keys, (bytes, end)));
            }
        }
        Found::Damaged(_) if bytes <= HEADER_BYTES as u64 => file.faults.push(HeaderFault::Unfinished),
        Found::Damaged(_) => file.faults.push(HeaderFault::Both),
    }
    Ok(file)
}

/// Each copy that is not what the header would be written as.
fn header_faults(header: &Header, start: &[u8]) -> Vec<HeaderFault> {
    let expected = header.encode();
    if start.len() < expected.len().min(usize::try_from(header.len()).unwrap_or(usize::MAX)) {
        return vec![HeaderFault::Unfinished];
    }
    let copies = expected.chunks(64).zip(start.chunks(64)).zip(0..);
    let mut faults: Vec<_> = copies
        .filter(|((expected, found), _)| expected != found)
        .map(|(_, number)| HeaderFault::Copy(number * 64, number * 64 + 63))
        .collect();
    if header.seal == Seal::Lost {
        faults.push(HeaderFault::Key);
    }
    faults
}

impl SegmentFile {
    /// Walks over all that lies in it, until `each` breaks. Blocks.
    pub fn walk(&self, mut each: impl FnMut(Entry) -> ControlFlow<()>) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let mut scanner = segment.scanner(None, SCAN_CHUNK);
        let mut damage: Option<Damage> = None;
        while let Some(item) = scanner.next()? {
            let entry = match item {
                Item::Damage(found) => {
                    damage = Some(found);
                    continue;
                }
                Item::Record { head, bytes, position } => {
                    if let Some(Damage { from, to }) = damage.take()
                        && each(Entry::Damage(from..to)).is_break()
                    {
                        return Ok(());
                    }
                    let record = match segment.in_plain(&head, bytes.clone()) {
                        Some(plain) => Content::Whole(head.record(&plain)),
                        None if head.is_sealed() && !self.is_readable => Content::KeyMissing,
                        None => Content::Forged,
                    };
                    Entry::Record(Box::new(RecordEntry {
                        at: position..position + head.length as u64,
                        offset: Offset(head.offset),
                        events_before: head.events,
                        enqueued: Timestamp::from_millis(head.enqueued),
                        queues: head.queues(&bytes).collect(),
                        is_sealed: head.is_sealed(),
                        is_first_of_group: head.is_first_of_group(),
                        record,
                    }))
                }
            };
            if each(entry).is_break() {
                return Ok(());
            }
        }
        if let Some(Damage { from, to }) = damage {
            let entry = if self.end.is_none() { Entry::Torn(from..to) } else { Entry::Damage(from..to) };
            // It is the last one, whatever the answer.
            let _ = each(entry);
        }
        Ok(())
    }
}
