//! Walking over the records of a file, and finding the way again behind a damaged stretch.

use super::record::{HEAD_BYTES, Head};
use crate::File;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;

/// What is found next.
#[derive(Debug)]
pub(super) enum Item {
    /// A record, its checksums verified, and where it begins.
    Record { head: Head, bytes: Bytes, position: u64 },
    /// A stretch without a sound record.
    Damage(Damage),
}

/// A stretch of a file that holds no sound record; the file or the next record begins behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub from: u64,
    pub to: u64,
}

/// Walks over records from a position to a limit.
pub(super) struct Scanner {
    file: Arc<dyn File>,
    salt: u32,
    limit: u64,
    /// The lowest offset the next record may have: they only rise.
    expected: u64,
    /// The lowest offset no record may have: the next segment begins with it. A record of another segment that a disk wrote to
    /// the wrong place would hide all between.
    below: u64,
    /// How much is read at once.
    chunk: usize,
    /// Where `window` begins in the file.
    position: u64,
    window: BytesMut,
}

impl Scanner {
    pub(super) fn new(
        file: Arc<dyn File>,
        salt: u32,
        (from, limit): (u64, u64),
        (expected, below): (u64, u64),
        chunk: usize,
    ) -> Self {
        Self { file, salt, limit, expected, below, chunk, position: from, window: BytesMut::new() }
    }

    /// The next record or damaged stretch, `None` at the limit.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        if self.position >= self.limit {
            return Ok(None);
        }
        if let Some(head) = self.sound_here()? {
            let position = self.position;
            self.position += head.length as u64;
            self.expected = head.offset + 1;
            let bytes = self.window.split_to(head.length).freeze();
            return Ok(Some(Item::Record { head, bytes, position }));
        }
        self.pass_damage().map(|damage| Some(Item::Damage(damage)))
    }

    /// The head of the record that begins here, if it is sound to its end.
    fn sound_here(&mut self) -> io::Result<Option<Head>> {
        let Some(head) = self.head_here()? else { return Ok(None) };
        let sound = self.fill(head.length)? && head.check_data(&self.window);
        Ok(sound.then_some(head))
    }

    fn head_here(&mut self) -> io::Result<Option<Head>> {
        if !self.fill(HEAD_BYTES)? {
            return Ok(None);
        }
        let offsets = self.expected..self.below;
        let head = Head::check(&self.window, self.salt).filter(|head| offsets.contains(&head.offset));
        Ok(head.filter(|head| head.length as u64 <= self.limit - self.position))
    }

    /// Moves on to the next sound record or the limit.
    fn pass_damage(&mut self) -> io::Result<Damage> {
        let from = self.position;
        loop {
            // A sound head of a damaged body tells its length; without one, every byte may begin a record.
            let step = self.head_here()?.map_or(1, |head| head.length);
            self.fill(step)?;
            self.skip(step);
            if self.limit - self.position < HEAD_BYTES as u64 {
                self.position = self.limit;
                break;
            }
            if self.sound_here()?.is_some() {
                break;
            }
        }
        Ok(Damage { from, to: self.position })
    }

    fn skip(&mut self, count: usize) {
        let held = count.min(self.window.len());
        self.window.advance(held);
        self.position = (self.position + count as u64).min(self.limit);
    }

    /// Reads until the window has `wanted` bytes; false where the file or the limit ends before.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.window.len() < wanted {
            let at = self.position + self.window.len() as u64;
            let left = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
            let count = left.min(self.chunk.max(wanted - self.window.len()));
            if count == 0 {
                return Ok(false);
            }
            let held = self.window.len();
            self.window.resize(held + count, 0);
            let read = self.file.read_at(&mut self.window[held..], at)?;
            self.window.truncate(held + read);
            if read == 0 {
                // The file is shorter than it should be: what is missing is damage up to the limit.
                return Ok(false);
            }
        }
        Ok(true)
    }
}
