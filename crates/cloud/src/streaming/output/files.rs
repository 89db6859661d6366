//! Which blob rows go to, and as which of its blocks. Source: Azure docs "Blob storage and Azure Data Lake Gen2 output": names are
//! `{path}/{hash of the columns}_{guid}_{number}.{ending}`, and a new blob begins with each path, each hour and each start.

use super::To;
use ironbrook_analytics::format::{JsonLayout, OutputFormat, RowWriter, WriteError};
use ironbrook_analytics::value::Record;
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Blocks of a blob; committing one takes time linear in them.
const BLOCKS_MAX: u32 = 5_000;
/// Bytes of a blob, about.
const BYTES_MAX: u64 = 256 << 20;
/// Blobs that may still grow. Of one more the one longest unused is closed.
const OPEN_MAX: usize = 256;
/// How long a blob may grow, in milliseconds: until the next whole hour.
const HOUR: i64 = 3_600_000;

/// The blobs of an output.
#[derive(Debug)]
pub(super) struct Files {
    /// The guid in names.
    run: String,
    /// Number of the next blob.
    number: u64,
    /// Blobs that may still grow, by path.
    open: BTreeMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    blocks: u32,
    bytes: u64,
    /// When it began, in milliseconds.
    since: i64,
    used: i64,
    layout: JsonLayout,
}

impl Files {
    pub(super) fn new(run: &str) -> Self {
        Self { run: run.to_owned(), number: 1, open: BTreeMap::new() }
    }

    /// Goes on with what was kept.
    pub(super) fn restore(&mut self, kept: Self) {
        self.number = kept.number;
        // Another start, other names.
        if kept.run == self.run {
            self.open = kept.open;
        }
    }

    /// The bytes of rows, and where they go.
    pub(super) fn append(
        &mut self,
        path: String,
        layout: JsonLayout,
        rows: &[Arc<Record>],
        now: Timestamp,
    ) -> (Vec<u8>, To) {
        let now = now.as_millis();
        let grows = |open: &Open| {
            open.layout == layout
                && open.blocks < BLOCKS_MAX
                && open.bytes < BYTES_MAX
                && now.div_euclid(HOUR) == open.since.div_euclid(HOUR)
        };
        let mut open = match self.open.remove(&path) {
            Some(open) if grows(&open) => open,
            _ => self.begin(&path, layout, now),
        };
        let block = open.blocks;
        let body = encode(layout, rows, block == 0);
        open.blocks += 1;
        open.bytes += body.len() as u64;
        open.used = now;
        let to = To::Block { blob: open.name.clone(), block, is_array: layout == JsonLayout::Array };
        self.open.insert(path, open);
        (body, to)
    }

    fn begin(&mut self, path: &str, layout: JsonLayout, now: i64) -> Open {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            let oldest = oldest.map(|(path, _)| path.clone());
            oldest.map(|oldest| self.open.remove(&oldest));
        }
        let slash = if path.is_empty() { "" } else { "/" };
        // JSON has no columns of its own, so there is nothing to hash.
        let name = format!("{path}{slash}0_{}_{}.json", self.run, self.number);
        self.number += 1;
        Open { name, blocks: 0, bytes: 0, since: now, used: now, layout }
    }

    /// The blobs of a batch in a format that is written whole: number of rows, bytes and place of each. A format that
    /// has one header for all rows has other columns in another blob. A row that the format cannot hold is told to `refuse`.
    pub(super) fn whole(
        &mut self,
        path: &str,
        format: OutputFormat,
        rows: &[Arc<Record>],
        refuse: &mut dyn FnMut(String),
    ) -> Vec<(usize, Vec<u8>, To)> {
        let (mut blobs, mut writer, mut hash) = (Vec::new(), format.writer(), 0);
        for row in rows {
            let mut written = writer.write(row);
            if written.as_ref().is_err_and(WriteError::wants_new_file) {
                let full = std::mem::replace(&mut writer, format.writer());
                self.finish(path, format, (full, hash), &mut blobs, refuse);
                written = writer.write(row);
            }
            match written {
                Ok(()) if writer.rows() == 1 => hash = columns(row),
                Ok(()) => {}
                Err(error) => refuse(error.to_string()),
            }
        }
        self.finish(path, format, (writer, hash), &mut blobs, refuse);
        blobs
    }

    fn finish(
        &mut self,
        path: &str,
        format: OutputFormat,
        (writer, hash): (Box<dyn RowWriter>, u32),
        blobs: &mut Vec<(usize, Vec<u8>, To)>,
        refuse: &mut dyn FnMut(String),
    ) {
        let rows = writer.rows();
        if rows == 0 {
            return;
        }
        match writer.finish() {
            Ok(body) => {
                let slash = if path.is_empty() { "" } else { "/" };
                let (run, number, ending) = (&self.run, self.number, format.extension());
                let blob = format!("{path}{slash}{hash:08x}_{run}_{number}.{ending}");
                self.number += 1;
                blobs.push((rows, body, To::Block { blob, block: 0, is_array: false }));
            }
            Err(error) => (0..rows).for_each(|_| refuse(error.to_string())),
        }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.run);
        out.unsigned(self.number);
        out.size(self.open.len());
        for (path, open) in &self.open {
            out.text(path);
            out.text(&open.name);
            out.unsigned(u64::from(open.blocks));
            out.unsigned(open.bytes);
            out.signed(open.since);
            out.signed(open.used);
            out.byte(match open.layout {
                JsonLayout::LineSeparated => 0,
                JsonLayout::Array => 1,
            });
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (run, number) = (from.text()?.to_owned(), from.unsigned()?);
        let mut open = BTreeMap::new();
        for _ in 0..from.count()? {
            let path = from.text()?.to_owned();
            let one = Open {
                name: from.text()?.to_owned(),
                blocks: u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged("blocks"))?,
                bytes: from.unsigned()?,
                since: from.signed()?,
                used: from.signed()?,
                layout: match from.byte()? {
                    0 => JsonLayout::LineSeparated,
                    1 => JsonLayout::Array,
                    _ => return Err(SnapshotError::Damaged("a format")),
                },
            };
            open.insert(path, one);
        }
        Ok(Self { run, number, open })
    }
}

/// What tells rows of one set of columns from others.
fn columns(row: &Record) -> u32 {
    row.iter().fold(0, |hash, (name, _)| crc32c::crc32c_append(hash, name.as_bytes()))
}

/// Rows of a blob that grows.
fn encode(layout: JsonLayout, rows: &[Arc<Record>], is_first: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        match layout {
            JsonLayout::LineSeparated => {
                row.write_json(&mut body);
                body.push(b'\n');
            }
            JsonLayout::Array => {
                // The end of the array is a block of its own, which stays the last.
                body.extend(if is_first && number == 0 { "[" } else { ",\r\n" }.bytes());
                row.write_json(&mut body);
            }
        }
    }
    body
}
