//! What the operating system keeps of the files in memory, and when it need not any more.
//!
//! A log that is written fast fills the system's memory with what is hardly read again: readers at the end have the cache, others
//! read from files in order. Memory that the system has to find anew for each page costs more than all the rest of a write, above
//! all in virtual machines, and what other processes had there has to make room. So the log gives back what lies behind, and the system
//! writes the next records into the same memory.

use crate::File;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

/// How many bytes behind the end of a partition stay, for readers that are a little behind.
const KEPT: u64 = 16 << 20;
/// How many bytes are given back at once at least: a call for each group would cost too much.
const STEP: u64 = 1 << 20;

/// The durable bytes of a partition that the system may still have in memory, because they were written not long ago.
#[derive(Default)]
pub(super) struct Pages {
    /// Oldest first. A file that is removed is not held open: its space would not become free.
    written: VecDeque<(Weak<dyn File>, Range<u64>)>,
    bytes: u64,
}

impl Pages {
    /// More bytes are durable, behind those of the last call; the oldest ones are given back.
    pub(super) fn synced(&mut self, file: &Arc<dyn File>, range: Range<u64>) {
        self.bytes += range.end - range.start;
        match self.written.back_mut() {
            Some((last, before)) if std::ptr::addr_eq(last.as_ptr(), Arc::as_ptr(file)) => {
                before.end = range.end
            }
            _ => self.written.push_back((Arc::downgrade(file), range)),
        }
        if self.bytes >= KEPT + STEP {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        while self.bytes > KEPT
            && let Some((file, range)) = self.written.front_mut()
        {
            let length = (range.end - range.start).min(self.bytes - KEPT);
            let oldest = range.start..range.start + length;
            range.start = oldest.end;
            self.bytes -= length;
            if let Some(file) = file.upgrade() {
                file.forget(oldest);
            }
            if range.is_empty() {
                self.written.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<Range<u64>>>);

    impl File for Told {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Ok(0)
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn forget(&self, bytes: Range<u64>) {
            self.0.lock().unwrap().push(bytes);
        }
    }

    /// Makes bytes of a file durable, a quarter of a step at a time.
    fn write(pages: &mut Pages, told: &Arc<Told>, range: Range<u64>) {
        let file: Arc<dyn File> = told.clone();
        for from in range.clone().step_by((STEP / 4) as usize) {
            pages.synced(&file, from..(from + STEP / 4).min(range.end));
        }
    }

    #[test]
    fn what_lies_behind_is_given_back_in_steps_once_and_without_gaps() {
        let (mut pages, told) = (Pages::default(), Arc::<Told>::default());
        write(&mut pages, &told, 128..128 + KEPT);
        assert!(told.0.lock().unwrap().is_empty(), "what readers may want stays");
        write(&mut pages, &told, 128 + KEPT..128 + KEPT + 3 * STEP);
        let expected: Vec<_> = (0..3).map(|n| 128 + n * STEP..128 + (n + 1) * STEP).collect();
        assert_eq!(*told.0.lock().unwrap(), expected);
    }

    #[test]
    fn the_end_of_a_finished_file_is_given_back_when_the_next_one_is_long_enough() {
        let (mut pages, old, new) = (Pages::default(), Arc::<Told>::default(), Arc::<Told>::default());
        write(&mut pages, &old, 0..KEPT);
        write(&mut pages, &new, 0..KEPT + STEP);
        let given: u64 = old.0.lock().unwrap().iter().map(|range| range.end - range.start).sum();
        assert_eq!(given, KEPT);
        assert_eq!(*new.0.lock().unwrap(), vec![0..STEP]);
    }

    #[test]
    fn a_file_that_is_removed_is_not_held() {
        let (mut pages, old, new) = (Pages::default(), Arc::<Told>::default(), Arc::<Told>::default());
        write(&mut pages, &old, 0..KEPT);
        let removed = Arc::downgrade(&old);
        drop(old);
        assert!(removed.upgrade().is_none());
        write(&mut pages, &new, 0..KEPT + STEP);
        assert_eq!(*new.0.lock().unwrap(), vec![0..STEP]);
    }
}
