//! The bytes of a checkpoint file; `docs/log-format.md` has the table.

use crate::storage::folder_of;
use crate::{Error, File, Storage};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A consumer and a partition.
pub(super) type Key = (Box<str>, u16);

/// The first bytes of a file: magic and version 1.
const START: [u8; 12] = *b"IRBKCKP\n\x01\0\0\0";
/// Bytes of an entry before the name.
const ENTRY_HEAD: usize = 16;
/// A file is rewritten when it is longer than this and than twice what is in it.
const REWRITE_BYTES: u64 = 128 << 10;
/// No file of ours is longer: a rewrite comes long before.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// An open checkpoint file.
pub(super) struct CheckpointFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    /// What is in it.
    stored: BTreeMap<Key, u64>,
}

impl CheckpointFile {
    /// Opens or makes the file and reads what is in it up to a torn end, which is cut.
    pub(super) fn open(storage: Arc<dyn Storage>, path: &Path) -> Result<Self, Error> {
        storage.create_folder(folder_of(path))?;
        let mut stored = BTreeMap::new();
        let file = match storage.open(path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (file, len) = write_new(&*storage, path, &stored)?;
                return Ok(Self { storage, path: path.to_path_buf(), file, len, stored });
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = read_all(&*file, path)?;
        let Some(entries) = bytes.strip_prefix(START.as_slice()) else {
            let what = "it is not a checkpoint file of version 1; move it away to begin anew".to_owned();
            return Err(Error::Format { path: path.display().to_string(), what });
        };
        let mut rest = entries;
        while let Some((key, next, length)) = decode(rest) {
            super::raise(&mut stored, key, next);
            rest = &rest[length..];
        }
        let sound = bytes.len() - rest.len();
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), bytes = rest.len(), "the torn end of the checkpoints is cut");
            file.set_len(sound as u64)?;
        }
        // Written again: it may so far be in the operating system's cache only, see the log's recovery.
        file.write_at(&bytes[..sound], 0)?;
        file.sync_data()?;
        Ok(Self { storage, path: path.to_path_buf(), file, len: sound as u64, stored })
    }

    /// What is in it.
    pub(super) fn stored(&self) -> &BTreeMap<Key, u64> {
        &self.stored
    }

    /// Stores changes; durable when it returns.
    ///
    /// # Errors
    /// After one that is [`is_full`](crate::storage::is_full) it may be called again, after another one not.
    pub(super) fn append(&mut self, changes: &BTreeMap<Key, u64>) -> io::Result<()> {
        let mut all = self.stored.clone();
        changes.iter().for_each(|(key, next)| super::raise(&mut all, key.clone(), *next));
        if self.len > REWRITE_BYTES && self.len > 2 * encoded_len(&all) {
            (self.file, self.len) = write_new(&*self.storage, &self.path, &all)?;
        } else {
            let mut bytes = Vec::new();
            changes.iter().for_each(|(key, next)| encode(&mut bytes, key, *next));
            self.file.write_at(&bytes, self.len)?;
            // A failed sync is never tried again, not even for want of space.
            self.file.sync_data().map_err(io::Error::other)?;
            self.len += bytes.len() as u64;
        }
        self.stored = all;
        Ok(())
    }
}

/// Writes a whole file beside the old one and puts it in its place.
fn write_new(
    storage: &dyn Storage,
    path: &Path,
    all: &BTreeMap<Key, u64>,
) -> io::Result<(Arc<dyn File>, u64)> {
    let beside = path.with_extension("new");
    let file = storage.open(&beside, true)?;
    let mut bytes = START.to_vec();
    all.iter().for_each(|(key, next)| encode(&mut bytes, key, *next));
    file.set_len(0)?;
    file.write_at(&bytes, 0)?;
    let placed = file.sync_data().and_then(|()| storage.rename(&beside, path));
    placed.and_then(|()| storage.sync_folder(folder_of(path))).map_err(io::Error::other)?;
    Ok((file, bytes.len() as u64))
}

fn read_all(file: &dyn File, path: &Path) -> Result<Vec<u8>, Error> {
    let len = file.len()?;
    if len > MAX_FILE_BYTES {
        let what = "it is far too long for a checkpoint file; move it away to begin anew".to_owned();
        return Err(Error::Format { path: path.display().to_string(), what });
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], count as u64)? {
            0 => break,
            more => count += more,
        }
    }
    bytes.truncate(count);
    Ok(bytes)
}

fn encoded_len(stored: &BTreeMap<Key, u64>) -> u64 {
    stored.keys().map(|(consumer, _)| (ENTRY_HEAD + consumer.len()) as u64).sum()
}

/// An entry: CRC-32C of the rest, length of the name, partition, offset, name.
fn encode(into: &mut Vec<u8>, (consumer, partition): &Key, next: u64) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&u16::try_from(consumer.len()).unwrap_or(u16::MAX).to_le_bytes());
    into.extend_from_slice(&partition.to_le_bytes());
    into.extend_from_slice(&next.to_le_bytes());
    into.extend_from_slice(consumer.as_bytes());
    let crc = crc32c::crc32c(&into[start + 4..]);
    into[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The entry these bytes begin with, and its length.
fn decode(bytes: &[u8]) -> Option<(Key, u64, usize)> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (name_length, after) = rest.split_first_chunk::<2>()?;
    let (partition, after) = after.split_first_chunk::<2>()?;
    let (next, after) = after.split_first_chunk::<8>()?;
    let name_length = usize::from(u16::from_le_bytes(*name_length));
    let name = after.get(..name_length)?;
    let covered = rest.get(..ENTRY_HEAD - 4 + name_length)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let key = (std::str::from_utf8(name).ok()?.into(), u16::from_le_bytes(*partition));
    Some((key, u64::from_le_bytes(*next), ENTRY_HEAD + name_length))
}
