//! Finding a partition on disk again after any kind of end.

use super::cursor::Cursor;
use super::file::{Segment, Whole, base_of, file_name};
use super::header::{Found, HEADER_BYTES, Header, SEALED_HEADER_BYTES, Seal};
use super::scan::{Item, Scanner};
use super::seal;
use crate::{Error, File, Keys, QueueId, Storage};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A partition as found.
pub(super) struct Recovered {
    /// At least one, in order; the last one takes further records.
    pub segments: Vec<Arc<Segment>>,
    /// Where the partition stands.
    pub cursor: Cursor,
    /// The length of the last segment.
    pub position: u64,
    /// The last segment takes no further records: where anything is sealed, each run has segments of its own.
    pub is_closed: bool,
}

/// A segment file of which the header may be damaged.
struct Candidate {
    base: u64,
    file: Arc<dyn File>,
    len: u64,
    header: Option<Header>,
    /// What the header's second part says where the first is damaged.
    seal: Seal,
    /// It has no more bytes than a header, and all are zero: made, and its header never written.
    is_blank: bool,
}

/// Opens a partition, made if absent: finds its segments, verifies the last one and cuts its torn end.
pub(super) fn recover(
    storage: &dyn Storage,
    folder: &Path,
    partition: u16,
    keys: &Keys,
    damaged: &AtomicU64,
) -> Result<Recovered, Error> {
    storage.create_folder(folder)?;
    let mut candidates = find(storage, folder, partition)?;
    drop_unborn(storage, folder, &mut candidates)?;
    if candidates.is_empty() {
        let salt = u32::from_le_bytes(seal::chance()?);
        let header = Header::new(partition, salt, Cursor::START, keys)?;
        let position = header.len();
        let segment = Arc::new(Segment::create(storage, folder, header, keys, false)?);
        return Ok(Recovered { segments: vec![segment], cursor: Cursor::START, position, is_closed: false });
    }
    repair_headers(folder, partition, &mut candidates, damaged)?;
    for candidate in &candidates {
        let path = folder.join(file_name(candidate.base));
        candidate.header.map_or(Ok(()), |header| header.check_key(keys, &path))?;
    }
    let segments = as_segments(folder, &candidates, keys);
    // The name of the last segment may not be durable yet, if the process ended at the wrong moment.
    storage.sync_folder(folder)?;
    let (cursor, position) = open_last(&segments, damaged)?;
    let is_sealed = segments.last().is_some_and(|last| last.header.is_sealed());
    let is_closed = is_sealed || keys.current().is_some();
    Ok(Recovered { segments, cursor, position, is_closed })
}

fn find(storage: &dyn Storage, folder: &Path, partition: u16) -> Result<Vec<Candidate>, Error> {
    let mut bases: Vec<u64> = storage.list(folder)?.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    let mut candidates = Vec::with_capacity(bases.len());
    for base in bases {
        let path = folder.join(file_name(base));
        let file = storage.open(&path, false)?;
        let mut bytes = [0; SEALED_HEADER_BYTES];
        let count = read_full(&*file, &mut bytes)?;
        let (header, seal) = match Header::decode(&bytes[..count], &path)? {
            Found::Header(header) if header.partition != partition || header.base.offset != base => {
                let what = "its header names another place; it was moved or renamed, put it back".to_owned();
                return Err(Error::Format { path: path.display().to_string(), what });
            }
            Found::Header(header) => (Some(header), header.seal),
            Found::Damaged(seal) => (None, seal),
        };
        let len = file.len()?;
        let is_blank = len <= SEALED_HEADER_BYTES as u64 && bytes.iter().all(|byte| *byte == 0);
        candidates.push(Candidate { base, len, file, header, seal, is_blank });
    }
    Ok(candidates)
}

pub(super) fn read_full(file: &dyn File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], count as u64)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// A last segment whose header is not whole on disk never took a record: the header is synced before the first one.
fn drop_unborn(storage: &dyn Storage, folder: &Path, candidates: &mut Vec<Candidate>) -> Result<(), Error> {
    let is_unborn = |last: &mut Candidate| match last.header {
        Some(header) if header.seal == Seal::Lost => last.len <= header.len(),
        Some(header) => last.len < header.len(),
        None => last.is_blank || last.len <= HEADER_BYTES as u64,
    };
    while let Some(last) = candidates.pop_if(is_unborn) {
        tracing::warn!(folder = %folder.display(), offset = last.base, "an unfinished new segment is removed");
        storage.remove(&folder.join(file_name(last.base)))?;
        storage.sync_folder(folder)?;
    }
    Ok(())
}

/// Makes up headers that are damaged from the salt of another segment and from the segment's own records.
fn repair_headers(
    folder: &Path,
    partition: u16,
    candidates: &mut [Candidate],
    damaged: &AtomicU64,
) -> Result<(), Error> {
    let salt = candidates.iter().find_map(|candidate| candidate.header.map(|header| header.salt));
    for candidate in candidates.iter_mut().filter(|candidate| candidate.header.is_none()) {
        let path = folder.join(file_name(candidate.base));
        let Some(salt) = salt else {
            let what = "both copies of its header are damaged and no other segment can replace them; \
                        restore it from a backup, or move it away to go on without it";
            return Err(Error::Format { path: path.display().to_string(), what: what.to_owned() });
        };
        damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(segment = %path.display(), "a damaged segment header is made up from its records");
        let header = Header { partition, salt, base: Cursor::START, seal: candidate.seal };
        let base = first_cursor(candidate, &header)?;
        candidate.header = Some(Header { base, ..header });
    }
    for candidate in candidates.iter().filter(|c| c.header.is_some_and(|header| header.seal == Seal::Lost)) {
        damaged.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(file_name(candidate.base));
        tracing::error!(segment = %path.display(), "what a segment's key is derived with is damaged: its records are lost");
    }
    Ok(())
}

/// Where a partition stood at the begin of a segment, as far as its first sound record tells.
fn first_cursor(candidate: &Candidate, header: &Header) -> Result<Cursor, Error> {
    let range = (header.len(), candidate.len);
    let mut scanner = Scanner::new(
        candidate.file.clone(),
        header.salt,
        range,
        (candidate.base, u64::MAX),
        super::file::SCAN_CHUNK,
    );
    while let Some(item) = scanner.next()? {
        if let Item::Record { head, bytes, .. } = item {
            let last_event = head.is_in(&bytes, QueueId::EVENTS).then_some((head.offset, head.enqueued));
            return Ok(Cursor {
                offset: candidate.base,
                events: head.events,
                enqueued: head.enqueued,
                last_event,
            });
        }
    }
    Ok(Cursor { offset: candidate.base, ..Cursor::START })
}

fn as_segments(folder: &Path, candidates: &[Candidate], keys: &Keys) -> Vec<Arc<Segment>> {
    let ends = candidates.iter().skip(1).map(|next| next.base).chain([u64::MAX]);
    let known = candidates.iter().zip(ends).filter_map(|(candidate, end)| {
        let path = folder.join(file_name(candidate.base));
        let header = candidate.header?;
        Some(Arc::new(Segment::found(header, path, candidate.file.clone(), keys, (candidate.len, end))))
    });
    known.collect()
}

/// Verifies the last segment and cuts what is not sound at its end: a write that a power cut left torn.
fn open_last(segments: &[Arc<Segment>], damaged: &AtomicU64) -> Result<(Cursor, u64), Error> {
    let Some(last) = segments.last() else { return Ok((Cursor::START, 0)) };
    let Whole { cursor, torn, last_group } = last.read_whole(damaged)?;
    let mut position = last.state().len;
    if let Some(torn) = torn {
        tracing::warn!(
            segment = %last.path.display(), from = torn.from, bytes = torn.to - torn.from,
            "the torn end of the last segment is cut"
        );
        last.file.set_len(torn.from)?;
        position = torn.from;
    }
    write_again(&*last.file, (last_group, position))?;
    let mut state = last.state();
    (state.len, state.end) = (position, cursor.offset);
    Ok((cursor, position))
}

/// Writes the last group of a file again and syncs it. What is read at start may so far be in the operating system's cache
/// only: after the end of a process it is not yet synced, after a failed sync it may be marked as written and is not.
/// Readers will take it for durable, so it has to be.
fn write_again(file: &dyn File, (mut position, len): (u64, u64)) -> Result<(), Error> {
    let mut block = vec![0; super::file::SCAN_CHUNK];
    while position < len {
        let wanted = usize::try_from(len - position).unwrap_or(usize::MAX).min(block.len());
        let count = file.read_at(&mut block[..wanted], position)?;
        if count == 0 {
            break;
        }
        file.write_at(&block[..count], position)?;
        position += count as u64;
    }
    Ok(file.sync_data()?)
}
