//! What a module writes, kept line by line in two files of bounded size.
//!
//! Each line stands behind the time it was read. Nothing is synced: these lines are for people, and a power cut may take the last.

mod lines;

use crate::runtime::{LogLine, LogQuery};
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use lines::Lines;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Size of a file in bytes at which the next one begins.
const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of one read.
const READ_LEN: usize = 8 * 1024;

/// A module's log. All calls block for a short while.
pub(super) struct ModuleLog(Mutex<Files>);

struct Files {
    current: PathBuf,
    previous: PathBuf,
    /// Open from the first line on.
    file: Option<File>,
    len: u64,
    /// Position of the current file's beginning; positions count all bytes since the beginning of the previous file at start.
    start: u64,
    len_max: u64,
    closed: bool,
}

impl ModuleLog {
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::with_len_max(folder, FILE_LEN_MAX)
    }

    fn with_len_max(folder: &Path, len_max: u64) -> io::Result<Self> {
        let (current, previous) = (folder.join("log"), folder.join("log.1"));
        let len = |path: &Path| match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        let (len, start) = (len(&current)?, len(&previous)?);
        Ok(Self(Mutex::new(Files { current, previous, file: None, len, start, len_max, closed: false })))
    }

    /// Appends lines.
    pub fn append(&self, time: Timestamp, lines: &[String]) -> io::Result<()> {
        let mut files = self.lock();
        lines.iter().try_for_each(|line| files.append(&format!("{time} {line}\n")))
    }

    /// The lines a query names, oldest first.
    pub fn read(&self, query: LogQuery) -> io::Result<Vec<LogLine>> {
        let files = self.lock();
        let after = query.after.unwrap_or(0);
        let tail = query.tail.unwrap_or(usize::MAX);
        let mut lines = VecDeque::new();
        if after < files.start {
            let previous = files.start.saturating_sub(file_len(&files.previous));
            scan(&files.previous, previous, after, &query, tail, &mut lines)?;
        }
        scan(&files.current, files.start, after, &query, tail, &mut lines)?;
        Ok(lines.into())
    }

    /// Takes nothing more: the module is being removed, and its name may be given to another one.
    pub fn close(&self) {
        let mut files = self.lock();
        files.closed = true;
        files.file = None;
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        if self.len > 0 && self.len + line.len() as u64 > self.len_max {
            self.file = None;
            fs::rename(&self.current, &self.previous)?;
            self.start += std::mem::take(&mut self.len);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = File::options().create(true).append(true).mode(0o600).open(&self.current)?;
                none.insert(file)
            }
        };
        let written = file.write_all(line.as_bytes());
        // Half a line of a full disk counts too, or positions would shift.
        self.len = if written.is_ok() { self.len + line.len() as u64 } else { file_len(&self.current) };
        written
    }
}

fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Reads the lines of one file that a query names; `start` is the position of its beginning.
fn scan(
    path: &Path,
    start: u64,
    after: u64,
    query: &LogQuery,
    tail: usize,
    lines: &mut VecDeque<LogLine>,
) -> io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut position = after.max(start);
    file.seek(SeekFrom::Start(position - start))?;
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let len = reader.read_until(b'\n', &mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        position += len as u64;
        let text = String::from_utf8_lossy(&bytes);
        // What a power cut tore has no time.
        let Some((time, text)) = text.trim_end_matches('\n').split_once(' ') else { continue };
        let Some(time) = Timestamp::parse(time) else { continue };
        if query.since.is_some_and(|since| time < since) || query.until.is_some_and(|until| time > until) {
            continue;
        }
        lines.push_back(LogLine { time, position, text: text.to_owned() });
        if lines.len() > tail {
            lines.pop_front();
        }
    }
}

/// Reads what a module writes until all writers have ended.
pub(super) async fn capture(
    reader: io::PipeReader,
    module: String,
    log: Arc<ModuleLog>,
    clock: Arc<dyn Clock>,
) {
    let mut receiver = match pipe::Receiver::from_owned_fd(reader.into()) {
        Ok(receiver) => receiver,
        Err(error) => {
            tracing::error!(module, %error, "what the module writes cannot be read");
            return;
        }
    };
    let mut buffer = vec![0; READ_LEN];
    let mut lines = Lines::default();
    let mut failing = false;
    loop {
        let (whole, end) = match receiver.read(&mut buffer).await {
            Ok(0) | Err(_) => (lines.finish(), true),
            Ok(len) => (lines.push(&buffer[..len]), false),
        };
        if !whole.is_empty() {
            let (log, now) = (log.clone(), clock.now());
            let written = tokio::task::spawn_blocking(move || log.append(now, &whole)).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            // A full disk must not stop the module, and is said once.
            if let Err(error) = &written
                && !failing
            {
                tracing::warn!(module, %error, "lines of the module are lost");
            }
            failing = written.is_err();
        }
        if end {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
