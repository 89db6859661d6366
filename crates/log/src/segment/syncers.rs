//! Threads that sync files beside the writer's own: a file system makes one journal entry of syncs that come together.
//!
//! They live as long as the writer. A thread for each sync would cost more than the sync.

use crate::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// How many files are synced at the same time.
pub(super) const PARALLEL_SYNCS: usize = 16;

/// A file to be synced, and its number among those of a call.
type Job = (usize, Arc<dyn File>);
type Done = (usize, io::Result<()>);

/// The threads.
pub(super) struct Syncers {
    helpers: Vec<Helper>,
    done: Receiver<Done>,
}

struct Helper {
    /// Dropped to end the thread.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncers {
    /// As many as can be of use for that many files.
    pub(super) fn start(files: usize) -> io::Result<Self> {
        let (sender, done) = channel();
        let mut helpers = Vec::new();
        for _ in 1..files.min(PARALLEL_SYNCS) {
            let (jobs, queue) = channel();
            let done = sender.clone();
            let run = move || work(&queue, &done);
            let thread = std::thread::Builder::new().name("log-sync".to_owned()).spawn(run)?;
            helpers.push(Helper { jobs: Some(jobs), thread: Some(thread) });
        }
        Ok(Self { helpers, done })
    }

    /// Syncs files, at most [`PARALLEL_SYNCS`] of them, at the same time. Returns what came of each when all are done.
    pub(super) fn sync(&self, files: &[Arc<dyn File>]) -> Vec<io::Result<()>> {
        let mut results: Vec<_> =
            files.iter().map(|_| Err(io::Error::other("no thread synced it"))).collect();
        let Some((own, others)) = files.split_first() else { return results };
        let mut running = 0;
        for (index, (helper, file)) in self.helpers.iter().zip(others).enumerate() {
            // A thread takes jobs until the sender is gone.
            if helper.jobs.as_ref().is_some_and(|jobs| jobs.send((index + 1, file.clone())).is_ok()) {
                running += 1;
            }
        }
        results[0] = sync(own);
        for _ in 0..running {
            // Each thread answers each job, and lives as long as this.
            let Ok((index, result)) = self.done.recv() else { break };
            results[index] = result;
        }
        results
    }
}

impl Drop for Syncers {
    fn drop(&mut self) {
        for helper in &mut self.helpers {
            helper.jobs = None;
        }
        for thread in self.helpers.iter_mut().filter_map(|helper| helper.thread.take()) {
            // Panics are caught and told as failed syncs.
            let _ = thread.join();
        }
    }
}

fn work(jobs: &Receiver<Job>, done: &Sender<Done>) {
    while let Ok((index, file)) = jobs.recv() {
        let result = sync(&file);
        if done.send((index, result)).is_err() {
            return;
        }
    }
}

/// A panic is a failed sync, as nobody knows what it left.
fn sync(file: &Arc<dyn File>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(|| file.sync_data()))
        .unwrap_or_else(|_| Err(io::Error::other("a sync panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, Mutex};

    /// A file whose sync waits until that many run.
    struct Slow<'a> {
        together: &'a Barrier,
        threads: Mutex<Vec<std::thread::ThreadId>>,
        panics: bool,
    }

    impl File for Slow<'static> {
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
            self.threads.lock().unwrap().push(std::thread::current().id());
            self.together.wait();
            assert!(!self.panics, "as the test wants");
            Ok(())
        }
    }

    fn files(count: usize, panics: usize) -> Vec<Arc<Slow<'static>>> {
        let together = Box::leak(Box::new(Barrier::new(count)));
        let file = |index| Slow { together, threads: Mutex::default(), panics: index == panics };
        (0..count).map(|index| Arc::new(file(index))).collect()
    }

    fn sync_all(syncers: &Syncers, files: &[Arc<Slow<'static>>]) -> Vec<bool> {
        let files: Vec<_> = files.iter().map(|file| file.clone() as Arc<dyn File>).collect();
        syncers.sync(&files).iter().map(Result::is_ok).collect()
    }

    #[test]
    fn all_are_synced_at_the_same_time_and_by_the_same_threads_again() {
        let syncers = Syncers::start(4).unwrap();
        // Would hang if one waited for another.
        let files = files(4, usize::MAX);
        for _ in 0..2 {
            assert_eq!(sync_all(&syncers, &files), [true; 4]);
        }
        for file in files {
            let threads = file.threads.lock().unwrap();
            assert_eq!(threads[0], threads[1]);
        }
    }

    #[test]
    fn a_panic_is_a_failed_sync_of_its_own_file_and_ends_no_thread() {
        let syncers = Syncers::start(3).unwrap();
        for panics in [2, 0, 2] {
            let expected: Vec<_> = (0..3).map(|index| index != panics).collect();
            assert_eq!(sync_all(&syncers, &files(3, panics)), expected);
        }
    }

    #[test]
    fn one_file_needs_no_thread_and_none_is_no_work() {
        let syncers = Syncers::start(1).unwrap();
        assert!(syncers.helpers.is_empty());
        assert_eq!(sync_all(&syncers, &files(1, 9)), [true]);
        assert!(syncers.sync(&[]).is_empty());
    }
}
