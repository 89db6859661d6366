//! An output of a job without any I/O: rows are gathered, and what is due becomes deliveries.
//!
//! A delivery is kept with the job's state before it is sent, and is the same whenever it is sent: the bytes, the place, the numbers of
//! its rows. So a blob gets each row once, and every other receiver can tell a row that comes again.

pub(super) mod files;
pub(super) mod pattern;
pub(super) mod send;

use super::definition::{Growth, Output as Settings, Receiver};
use bytes::Bytes;
use files::Files;
use ironbrook_analytics::engine::OutputRow;
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_analytics::value::{Record, Value};
use ironbrook_model::Timestamp;
use pattern::Pattern;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a batch: larger ones are cut, whatever else was asked for.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Most paths whose rows wait for others at a time; one more lets all of them go.
const PATHS_MAX: usize = 256;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The output.
    pub(super) output: Arc<str>,
    /// Number of its first row; rows of an output are numbered from 0.
    pub(super) first: u64,
    /// How many rows.
    pub(super) rows: u64,
    /// As the receiver gets them.
    pub(super) body: Bytes,
    /// The receiver.
    pub(super) to: To,
}

/// Who gets a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// A block of a blob.
    Block {
        /// The blob.
        blob: String,
        /// Its number, from 0.
        block: u32,
        /// Whether the blob ends with the end of an array.
        is_array: bool,
    },
    /// The URL.
    Url,
    /// A device, by what the row says.
    Device(String),
}

impl Delivery {
    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.output);
        out.unsigned(self.first);
        out.unsigned(self.rows);
        out.bytes(&self.body);
        match &self.to {
            To::Block { blob, block, is_array } => {
                out.byte(0);
                out.text(blob);
                out.unsigned(u64::from(*block));
                out.flag(*is_array);
            }
            To::Url => out.byte(1),
            To::Device(id) => {
                out.byte(2);
                out.text(id);
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (output, first, rows) = (from.text()?.into(), from.unsigned()?, from.unsigned()?);
        let body = Bytes::copy_from_slice(from.bytes()?);
        let to = match from.byte()? {
            0 => To::Block {
                blob: from.text()?.to_owned(),
                block: u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged("a block"))?,
                is_array: from.flag()?,
            },
            1 => To::Url,
            2 => To::Device(from.text()?.to_owned()),
            _ => return Err(SnapshotError::Damaged("a receiver")),
        };
        Ok(Self { output, first, rows, body, to })
    }
}

/// Rows that wait for others.
#[derive(Debug, Default)]
struct Waiting {
    rows: Vec<Arc<Record>>,
    bytes: usize,
    since: Timestamp,
}

/// An output of a job.
#[derive(Debug)]
pub(super) struct Output {
    name: Arc<str>,
    rule: Rule,
    /// Number of the next row.
    next: u64,
    /// By path; only blobs have more than one.
    waiting: BTreeMap<String, Waiting>,
    files: Files,
    /// How many rows the format could not hold since last asked, and why not the last.
    refused: Option<(u64, String)>,
}

/// What makes deliveries of rows.
#[derive(Debug)]
enum Rule {
    Blob { pattern: Pattern, growth: Growth, rows: usize, wait: Duration },
    Url { rows: usize, wait: Duration },
    Device(Receiver),
}

impl Output {
    /// An output that begins. `run` is part of the names of blobs.
    pub(super) fn new(name: Arc<str>, settings: &Settings, run: &str) -> Result<Self, pattern::PatternError> {
        let rule = match settings {
            Settings::Blob(blob) => Rule::Blob {
                pattern: blob.pattern()?,
                growth: blob.format.growth(),
                rows: blob.min_rows,
                wait: Duration::from_secs(blob.max_seconds),
            },
            Settings::Webhook(hook) => {
                Rule::Url { rows: hook.max_rows, wait: Duration::from_secs(hook.max_seconds) }
            }
            Settings::Route(to) | Settings::CloudToDevice(to) => Rule::Device(to.clone()),
            Settings::Method(method) => Rule::Device(method.to()),
        };
        Ok(Self { name, rule, next: 0, waiting: BTreeMap::new(), files: Files::new(run), refused: None })
    }

    /// Its name.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many rows it was given that are part of a delivery.
    pub(super) fn rows(&self) -> u64 {
        self.next
    }

    /// How many rows the format could not hold since this was asked last, and why not the last.
    pub(super) fn take_refused(&mut self) -> Option<(u64, String)> {
        self.refused.take()
    }

    /// How many rows wait for others.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(|waiting| waiting.rows.len()).sum()
    }

    /// Takes a row.
    pub(super) fn add(&mut self, row: OutputRow, now: Timestamp, out: &mut Vec<Delivery>) {
        let path = match &self.rule {
            Rule::Blob { pattern, .. } => pattern.path(row.timestamp, &row.record),
            Rule::Url { .. } => String::new(),
            Rule::Device(to) => {
                let id = receiver(to, &row.record);
                return out.push(self.single(id, &row.record));
            }
        };
        if self.waiting.len() >= PATHS_MAX && !self.waiting.contains_key(&path) {
            self.cut_all(now, out);
        }
        let waiting = self.waiting.entry(path).or_default();
        if waiting.rows.is_empty() {
            waiting.since = now;
        }
        waiting.bytes += weight(&row.record);
        waiting.rows.push(row.record);
        let (rows, is_blob) = match &self.rule {
            Rule::Blob { rows, .. } => (*rows, true),
            Rule::Url { rows, .. } => (*rows, false),
            Rule::Device(_) => (1, false),
        };
        // A blob's rows may be more than the least number, a request's must not.
        if waiting.bytes >= BATCH_BYTES_MAX || (!is_blob && waiting.rows.len() >= rows) {
            self.cut_all(now, out);
        }
    }

    /// When something is due that has not its number of rows.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        let wait = match &self.rule {
            Rule::Blob { wait, .. } | Rule::Url { wait, .. } => *wait,
            Rule::Device(_) => Duration::ZERO,
        };
        self.waiting.values().map(|waiting| waiting.since.plus(wait)).min()
    }

    /// Makes deliveries of what is due.
    pub(super) fn cut_due(&mut self, now: Timestamp, out: &mut Vec<Delivery>) {
        let (rows, wait) = match &self.rule {
            Rule::Blob { rows, wait, .. } | Rule::Url { rows, wait } => (*rows, *wait),
            Rule::Device(_) => return,
        };
        // A clock that was set back must not hold rows for ever.
        let is_due = |waiting: &Waiting| {
            waiting.rows.len() >= rows || now >= waiting.since.plus(wait) || now < waiting.since
        };
        let due: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| is_due(waiting))
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            self.cut(path, now, out);
        }
    }

    /// Makes deliveries of everything.
    pub(super) fn cut_all(&mut self, now: Timestamp, out: &mut Vec<Delivery>) {
        let paths: Vec<String> = self.waiting.keys().cloned().collect();
        for path in paths {
            self.cut(path, now, out);
        }
    }

    fn cut(&mut self, path: String, now: Timestamp, out: &mut Vec<Delivery>) {
        let Some(waiting) = self.waiting.remove(&path) else { return };
        let rows = &waiting.rows;
        let blobs = match &self.rule {
            Rule::Blob { growth, .. } => match *growth {
                Growth::Whole(format) => {
                    let refused = &mut self.refused;
                    self.files.whole(&path, format, rows, &mut |why| {
                        let count = refused.as_ref().map_or(0, |(count, _)| *count);
                        *refused = Some((count + 1, why));
                    })
                }
                Growth::Grows(layout) => {
                    let (body, to) = self.files.append(path, layout, rows, now);
                    vec![(rows.len(), body, to)]
                }
            },
            Rule::Url { .. } | Rule::Device(_) => vec![(rows.len(), array(rows), To::Url)],
        };
        for (rows, body, to) in blobs {
            let delivery = self.delivery(rows, body, to);
            out.push(delivery);
        }
    }

    fn single(&mut self, id: String, row: &Record) -> Delivery {
        let mut body = Vec::new();
        row.write_json(&mut body);
        self.delivery(1, body, To::Device(id))
    }

    fn delivery(&mut self, rows: usize, body: Vec<u8>, to: To) -> Delivery {
        let (first, rows) = (self.next, rows as u64);
        self.next += rows;
        Delivery { output: self.name.clone(), first, rows, body: body.into(), to }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.name);
        out.unsigned(self.next);
        out.size(self.waiting.len());
        for (path, waiting) in &self.waiting {
            out.text(path);
            out.signed(waiting.since.as_millis());
            out.size(waiting.rows.len());
            waiting.rows.iter().for_each(|row| out.record(row));
        }
        self.files.write(out);
    }

    /// Goes on with what was kept of the output of this name.
    pub(super) fn restore(&mut self, kept: KeptOutput) {
        self.next = kept.next;
        let is_device = matches!(self.rule, Rule::Device(_));
        // Rows that waited for others, where settings now say otherwise, go by the path they had.
        if !is_device {
            self.waiting = kept.waiting;
        }
        if matches!(self.rule, Rule::Blob { .. }) {
            self.files.restore(kept.files);
        }
    }
}

/// What was kept of an output.
#[derive(Debug)]
pub(super) struct KeptOutput {
    pub(super) name: String,
    next: u64,
    waiting: BTreeMap<String, Waiting>,
    files: Files,
}

impl KeptOutput {
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (name, next) = (from.text()?.to_owned(), from.unsigned()?);
        let mut waiting = BTreeMap::new();
        for _ in 0..from.count()? {
            let path = from.text()?.to_owned();
            let mut one = Waiting { since: Timestamp::from_millis(from.signed()?), ..Waiting::default() };
            for _ in 0..from.count()? {
                let row = from.record()?;
                one.bytes += weight(&row);
                one.rows.push(Arc::new(row));
            }
            waiting.insert(path, one);
        }
        Ok(Self { name, next, waiting, files: Files::read(from)? })
    }
}

fn weight(row: &Record) -> usize {
    row.iter().map(|(name, value)| name.len() + value.weight()).sum()
}

/// The device of a row, as text; whether there is one is found when it is sent.
fn receiver(to: &Receiver, row: &Record) -> String {
    let of_row = || match row.get(to.device_id_column.as_deref().unwrap_or_default()) {
        Some(Value::NVarchar(text)) => text.to_string(),
        Some(Value::BigInt(number)) => number.to_string(),
        _ => String::new(),
    };
    to.device_id.clone().unwrap_or_else(of_row)
}

/// A JSON array of rows.
fn array(rows: &[Arc<Record>]) -> Vec<u8> {
    let mut body = vec![b'['];
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        row.write_json(&mut body);
    }
    body.push(b']');
    body
}

#[cfg(test)]
mod tests;
