//! `ironbrook log verify`: reading everything and checking every checksum.

use super::{Which, find, is_gone};
use crate::commands::OutputFormat;
use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ironbrook_log::inspect::{
    Content, Entry, HeaderFault, PartitionFiles, RecordEntry, SegmentFile, partitions,
};
use ironbrook_log::{QueueId, ReadOnly};
use serde_json::json;
use std::io::{self, Write};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::{Duration, Instant};

/// Work shorter than this has no progress bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Options of `ironbrook log verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
}

/// What was found, all told.
#[derive(Debug, Default)]
struct Total {
    records: u64,
    bytes: u64,
    /// Records whose content could not be looked at for want of a key; their checksums were.
    unread: u64,
    missing: u64,
    findings: u64,
    torn: u64,
}

/// Where the partition should stand before the next record.
#[derive(Debug, Clone, Copy)]
struct Expected {
    offset: u64,
    events: Option<u64>,
    enqueued: i64,
}

struct Checking<'a> {
    output: OutputFormat,
    log: &'a Path,
    bar: &'a Bar,
    total: &'a mut Total,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: OutputFormat) -> anyhow::Result<()> {
    let keys = args.which.keys()?;
    let mut logs = Vec::new();
    for log in find::logs(&args.which.path)? {
        let mut found = partitions(&ReadOnly::open(&log.folder)?, Path::new(""), &keys)?;
        found.retain(|found| {
            args.which.takes(found.partition) && log.partition.is_none_or(|only| only == found.partition)
        });
        logs.push((log.folder, found));
    }
    let bytes =
        logs.iter().flat_map(|(_, found)| found).flat_map(|found| &found.segments).map(|s| s.bytes).sum();
    let (bar, mut total) = (Bar::new(bytes), Total::default());
    for (log, found) in &logs {
        let mut checking = Checking { output, log, bar: &bar, total: &mut total };
        for partition in found {
            match checking.partition(partition) {
                Err(error) if is_gone(&error) => return Ok(()),
                checked => checked?,
            }
        }
    }
    bar.bar.finish_and_clear();
    match summary(output, &total) {
        Err(error) if !is_gone(&error) => return Err(error.into()),
        _ => {}
    }
    if total.findings > 0 {
        bail!(
            "the log is damaged in {} places, {} records are lost; a hub leaves them out and serves all others",
            total.findings,
            total.missing
        );
    }
    Ok(())
}

fn summary(output: OutputFormat, total: &Total) -> io::Result<()> {
    let Total { records, bytes, unread, missing, findings, torn } = total;
    let mut out = io::stdout().lock();
    if output == OutputFormat::Json {
        let value = json!({
            "records": records, "bytes": bytes, "records_without_key": unread, "records_lost": missing,
            "findings": findings, "torn_ends": torn,
        });
        return writeln!(out, "{value}");
    }
    writeln!(
        out,
        "{records} records in {bytes} bytes are sound; {findings} places are damaged, {missing} records lost"
    )?;
    if *torn > 0 {
        writeln!(
            out,
            "{torn} partitions end with a torn write, which a start of the hub cuts off, or are being written now"
        )?;
    }
    if *unread > 0 {
        writeln!(
            out,
            "{unread} records are encrypted: their checksums are right; --key-file checks the content too"
        )?;
    }
    Ok(())
}

impl Checking<'_> {
    fn partition(&mut self, partition: &PartitionFiles) -> io::Result<()> {
        let mut expected = None;
        for segment in &partition.segments {
            self.segment(segment, &mut expected)?;
        }
        Ok(())
    }

    fn segment(&mut self, segment: &SegmentFile, expected: &mut Option<Expected>) -> io::Result<()> {
        for fault in &segment.faults {
            let at = match fault {
                HeaderFault::Copy(from, to) => *from..*to + 1,
                _ => 0..segment.bytes.min(256),
            };
            if *fault == HeaderFault::Unfinished && segment.end.is_none() {
                self.total.torn += 1;
                self.tell(segment, &at, "torn", &fault.to_string())?;
            } else {
                self.finding(segment, &at, &fault.to_string(), 0)?;
            }
        }
        let first = segment.first.0;
        let begins = Expected { offset: first, events: None, enqueued: i64::MIN };
        let mut now = expected.filter(|before| before.offset == first).unwrap_or(begins);
        let mut failed = Ok(());
        self.total.bytes += segment.bytes;
        let mut at = 0;
        segment.walk(|entry| match self.entry(segment, &entry, &mut now) {
            Ok(end) => {
                self.bar.add(end - at);
                at = end;
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        })?;
        failed?;
        self.bar.add(segment.bytes.saturating_sub(at));
        if let Some(end) = segment.end.filter(|end| end.0 != now.offset) {
            let lost = end.0.saturating_sub(now.offset);
            let what =
                format!("the next segment begins with record {}, this one ends before {}", end.0, now.offset);
            self.finding(segment, &(segment.bytes..segment.bytes), &what, lost)?;
            now = Expected { offset: end.0, events: None, ..now };
        }
        *expected = Some(now);
        Ok(())
    }

    /// Checks what comes next; gives where it ends.
    fn entry(&mut self, segment: &SegmentFile, entry: &Entry, now: &mut Expected) -> io::Result<u64> {
        match entry {
            Entry::Record(record) => {
                self.record(segment, record, now)?;
                Ok(record.at.end)
            }
            Entry::Damage(at) => {
                self.finding(segment, at, "bytes without a sound record", 0)?;
                now.events = None;
                Ok(at.end)
            }
            Entry::Torn(at) => {
                self.total.torn += 1;
                self.tell(segment, at, "torn", "a torn write, or one under way")?;
                Ok(at.end)
            }
        }
    }

    fn record(&mut self, segment: &SegmentFile, record: &RecordEntry, now: &mut Expected) -> io::Result<()> {
        let lost = record.offset.0.saturating_sub(now.offset);
        if lost > 0 {
            let what = format!("records {} to {} are missing", now.offset, record.offset.0 - 1);
            self.finding(segment, &(record.at.start..record.at.start), &what, lost)?;
        } else if now.events.is_some_and(|events| events != record.events_before) {
            self.finding(segment, &record.at, "its event sequence does not follow the one before", 0)?;
        }
        if record.enqueued.as_millis() < now.enqueued {
            self.finding(segment, &record.at, "its enqueued time is before the one before", 0)?;
        }
        match &record.record {
            Content::Whole(_) => {}
            Content::KeyMissing => self.total.unread += 1,
            Content::Forged => self.finding(segment, &record.at, "a forged record", 1)?,
        }
        self.total.records += 1;
        let is_event = record.queues.contains(&QueueId::EVENTS);
        *now = Expected {
            offset: record.offset.0 + 1,
            events: Some(record.events_before + u64::from(is_event)),
            enqueued: record.enqueued.as_millis(),
        };
        Ok(())
    }

    fn finding(&mut self, segment: &SegmentFile, at: &Range<u64>, what: &str, lost: u64) -> io::Result<()> {
        self.total.findings += 1;
        self.total.missing += lost;
        self.tell(segment, at, "damage", what)
    }

    fn tell(&self, segment: &SegmentFile, at: &Range<u64>, kind: &str, what: &str) -> io::Result<()> {
        let path = self.log.join(&segment.path);
        let line = match self.output {
            OutputFormat::Json => {
                json!({ "kind": kind, "file": path, "from": at.start, "to": at.end, "what": what })
                    .to_string()
            }
            OutputFormat::Table => format!("{}: bytes {} to {}: {what}", path.display(), at.start, at.end),
        };
        self.bar.bar.suspend(|| writeln!(io::stdout().lock(), "{line}"))
    }
}

/// A bar on stderr, drawn only where that is a terminal and the work takes a while.
struct Bar {
    bar: ProgressBar,
    begun: Instant,
}

impl Bar {
    fn new(bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        if let Ok(style) =
            ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        Self { bar, begun: Instant::now() }
    }

    fn add(&self, bytes: u64) {
        if self.bar.is_hidden() && self.begun.elapsed() > BAR_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }
}
