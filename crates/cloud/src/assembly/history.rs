//! What became of batches, kept over restarts as far as one file has room. For people: a crash may lose the last second of it.

use ironbrook_hub::executor::{BatchOutcome, History};
use ironbrook_hub::seams::Clock;
use ironbrook_log::{File, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often what is new is written.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of each of the two files; the older one is thrown away when the newer one is full.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The newer file, and the older one.
pub(super) const NEWER: &str = "endpoint-history.jsonl";
pub(super) const OLDER: &str = "endpoint-history.1.jsonl";

/// Writes what became of batches.
pub(super) struct Keeper {
    storage: Arc<dyn Storage>,
    history: History,
    clock: Arc<dyn Clock>,
}

struct Open {
    file: Arc<dyn File>,
    end: u64,
}

impl Keeper {
    /// Reads what an earlier run wrote. What cannot be read is left out.
    pub(super) async fn open(storage: Arc<dyn Storage>, history: History, clock: Arc<dyn Clock>) -> Self {
        let (for_read, into) = (Arc::clone(&storage), history.clone());
        let restore = move || {
            let mut earlier = read(&*for_read, OLDER).unwrap_or_default();
            earlier.extend(read(&*for_read, NEWER).unwrap_or_default());
            into.restore(earlier);
        };
        if tokio::task::spawn_blocking(restore).await.is_err() {
            tracing::warn!("what became of earlier batches cannot be read");
        }
        Self { storage, history, clock }
    }

    /// Writes until cancelled.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let mut number = 0;
        let mut told = false;
        loop {
            let is_over = tokio::select! {
                () = cancel.cancelled() => true,
                () = self.clock.sleep(EVERY) => false,
            };
            let (new, next) = self.history.since(number);
            number = next;
            if !new.is_empty() {
                let storage = Arc::clone(&self.storage);
                let written = tokio::task::spawn_blocking(move || append(&*storage, &new)).await;
                let error = match written {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                // A full disk is told elsewhere, and loudly.
                if let Some(error) = error.filter(|_| !std::mem::replace(&mut told, true)) {
                    tracing::warn!(error, "what becomes of batches is not kept over a restart");
                }
            }
            if is_over {
                return;
            }
        }
    }
}

/// Not synced: it is for people, and every message has its checkpoint.
fn append(storage: &dyn Storage, outcomes: &[Arc<BatchOutcome>]) -> io::Result<()> {
    let mut open = open(storage)?;
    let mut lines = Vec::new();
    for outcome in outcomes {
        serde_json::to_writer(&mut lines, &**outcome)?;
        lines.push(b'\n');
    }
    if open.end > 0 && open.end + lines.len() as u64 > FILE_BYTES_MAX {
        drop(open);
        storage.rename(Path::new(NEWER), Path::new(OLDER))?;
        open = self::open(storage)?;
    }
    open.file.write_at(&lines, open.end)
}

fn open(storage: &dyn Storage) -> io::Result<Open> {
    let file = storage.open(Path::new(NEWER), true)?;
    let end = file.len()?;
    Ok(Open { file, end })
}

fn read(storage: &dyn Storage, name: &str) -> io::Result<Vec<BatchOutcome>> {
    let file = match storage.open(Path::new(name), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let len = usize::try_from(file.len()?.min(2 * FILE_BYTES_MAX)).unwrap_or(0);
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    let lines = bytes[..filled].split(|byte| *byte == b'\n');
    // The last line may be torn.
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_hub::executor::BatchEnd;
    use ironbrook_log::Memory;
    use ironbrook_model::Timestamp;

    fn outcome(first: u64) -> Arc<BatchOutcome> {
        let (started, ended) = (Timestamp::from_millis(0), Timestamp::from_millis(1));
        Arc::new(BatchOutcome {
            endpoint: "e".to_owned(),
            partition: 0,
            first,
            last: first,
            messages: 1,
            started,
            ended,
            attempts: 1,
            end: BatchEnd::Taken,
            place: Some("box/".to_owned() + &"x".repeat(100)),
            reason: None,
            dead_letters: Vec::new(),
        })
    }

    #[test]
    fn what_is_written_is_read_and_two_files_bound_it() {
        let storage = Memory::new();
        let all: Vec<_> = (0..40_000).map(outcome).collect();
        for group in all.chunks(1000) {
            append(&storage, group).unwrap();
        }
        let mut read_back = read(&storage, OLDER).unwrap();
        let older = read_back.len();
        read_back.extend(read(&storage, NEWER).unwrap());
        assert!(older > 1000 && read_back.len() < 40_000, "{older} {}", read_back.len());
        let tail = &all[40_000 - read_back.len()..];
        assert!(read_back.iter().zip(tail).all(|(found, wrote)| *found == **wrote));
        // A torn line at the end is passed over.
        let file = storage.open(Path::new(NEWER), true).unwrap();
        file.write_at(b"{\"endpoint\":", file.len().unwrap()).unwrap();
        assert_eq!(read(&storage, NEWER).unwrap().len(), read_back.len() - older);
    }
}
