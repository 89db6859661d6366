//! `ironbrook log inspect`: what is in a log.

use super::{Which, find, is_gone};
use crate::commands::OutputFormat;
use bytestring::ByteString;
use ironbrook_hub::record;
use ironbrook_log::inspect::{Content, Entry, PartitionFiles, RecordEntry, SegmentFile, partitions};
use ironbrook_log::{QueueId, ReadOnly};
use ironbrook_model::{SystemProperty, Timestamp};
use serde_json::{Map, Value, json};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// Options of `ironbrook log inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Print records instead of segments.
    #[arg(long)]
    records: bool,
    /// Only from this offset on.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Only before this offset.
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    /// Only what was enqueued at this time or later, e.g. 2026-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only what was enqueued before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// At most so many records of each partition.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write a time like 2026-01-31T09:00:00Z".to_owned())
}

impl Args {
    fn takes(&self, record: &RecordEntry) -> bool {
        self.from.is_none_or(|from| record.offset.0 >= from)
            && self.since.is_none_or(|since| record.enqueued >= since)
            && !self.is_behind(record.offset.0, record.enqueued)
    }

    fn is_behind(&self, offset: u64, enqueued: Timestamp) -> bool {
        self.to.is_some_and(|to| offset >= to) || self.until.is_some_and(|until| enqueued >= until)
    }

    /// Whether a segment may hold what is asked for. `last` is the time of its last record.
    fn may_hold(&self, segment: &SegmentFile, last: Option<Timestamp>) -> bool {
        self.from.is_none_or(|from| segment.end.is_none_or(|end| end.0 > from))
            && self.to.is_none_or(|to| segment.first.0 < to)
            && self.since.is_none_or(|since| last.is_none_or(|last| last >= since))
            && self.until.is_none_or(|until| segment.enqueued_before.is_none_or(|before| before < until))
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, output: OutputFormat) -> anyhow::Result<()> {
    let keys = args.which.keys()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for log in find::logs(&args.which.path)? {
        let storage = ReadOnly::open(&log.folder)?;
        let found = partitions(&storage, Path::new(""), &keys)?;
        let asked = |number: u16| args.which.takes(number) && log.partition.is_none_or(|only| only == number);
        let found: Vec<_> = found.into_iter().filter(|found| asked(found.partition)).collect();
        let shown = show(args, output, &log.folder, &found, &mut out).and_then(|()| out.flush());
        match shown {
            Err(error) if is_gone(&error) => return Ok(()),
            shown => shown?,
        }
    }
    Ok(())
}

fn show(
    args: &Args,
    output: OutputFormat,
    log: &Path,
    found: &[PartitionFiles],
    out: &mut impl Write,
) -> io::Result<()> {
    if output == OutputFormat::Table {
        writeln!(out, "{}", log.display())?;
        if args.records {
            writeln!(
                out,
                "{:>5} {:>12}  {:<28} {:>8}  {:<14} {:<22} FROM",
                "PART", "OFFSET", "ENQUEUED", "BYTES", "QUEUES", "SOURCE"
            )?;
        } else {
            writeln!(
                out,
                "{:>5}  {:<24} {:>12} {:>12} {:>12}  {:<28} KEY",
                "PART", "SEGMENT", "BYTES", "FIRST", "END", "LAST ENQUEUED"
            )?;
        }
    }
    for partition in found {
        let times = partition.segments.iter().skip(1).map(|next| next.enqueued_before).chain([None]);
        let mut left = args.limit.unwrap_or(u64::MAX);
        for (segment, last) in partition.segments.iter().zip(times) {
            if !args.may_hold(segment, last) {
                continue;
            }
            if args.records {
                records(args, output, (log, partition.partition), segment, &mut left, out)?;
            } else {
                row(output, (log, partition.partition), segment, last, out)?;
            }
        }
    }
    Ok(())
}

/// A segment. The last one is read to tell where it ends.
fn row(
    output: OutputFormat,
    (log, partition): (&Path, u16),
    segment: &SegmentFile,
    last: Option<Timestamp>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (mut end, mut last) = (segment.end.map(|end| end.0), last);
    if end.is_none() {
        end = Some(segment.first.0);
        segment.walk(|entry| {
            if let Entry::Record(record) = entry {
                (end, last) = (Some(record.offset.0 + 1), Some(record.enqueued));
            }
            ControlFlow::Continue(())
        })?;
    }
    let faults: Vec<_> = segment.faults.iter().map(ToString::to_string).collect();
    if output == OutputFormat::Json {
        let value = json!({
            "log": log, "partition": partition, "segment": segment.path, "bytes": segment.bytes,
            "first": segment.first.0, "end": end, "events_before": segment.events_before,
            "last_enqueued_time": last.map(|time| time.to_string()), "key": segment.key.map(|key| key.to_string()),
            "readable": segment.is_readable, "faults": faults,
        });
        return writeln!(out, "{value}");
    }
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let last = last.map_or_else(String::new, |time| time.to_string());
    let key = segment.key.map_or_else(|| "-".to_owned(), |key| key.to_string());
    writeln!(
        out,
        "{partition:>5}  {name:<24} {:>12} {:>12} {:>12}  {last:<28} {key} {}",
        segment.bytes,
        segment.first.0,
        end.unwrap_or_default(),
        faults.join("; ")
    )
}

fn records(
    args: &Args,
    output: OutputFormat,
    place: (&Path, u16),
    segment: &SegmentFile,
    left: &mut u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut failed = Ok(());
    segment.walk(|entry| {
        let written = match &entry {
            _ if *left == 0 => return ControlFlow::Break(()),
            Entry::Record(record) if args.is_behind(record.offset.0, record.enqueued) => {
                return ControlFlow::Break(());
            }
            Entry::Record(record) if args.takes(record) => {
                *left -= 1;
                match output {
                    OutputFormat::Json => writeln!(out, "{}", as_json(place, segment, record)),
                    OutputFormat::Table => line(place.1, record, out),
                }
            }
            Entry::Record(_) => Ok(()),
            Entry::Damage(at) | Entry::Torn(at) if output == OutputFormat::Table => {
                writeln!(out, "{:>5} bytes {} to {} hold no sound record", place.1, at.start, at.end)
            }
            Entry::Damage(_) | Entry::Torn(_) => Ok(()),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed
}

fn queue(queue: QueueId) -> String {
    if queue == QueueId::EVENTS { "events".to_owned() } else { queue.0.to_string() }
}

/// Who sent it: a device, or a module of one.
fn sender(system: &ironbrook_model::SystemProperties) -> String {
    let get = |property| system.get(property).map(|value| value.to_string());
    match (get(SystemProperty::ConnectionDeviceId), get(SystemProperty::ConnectionModuleId)) {
        (Some(device), Some(module)) => format!("{device}/{module}"),
        (device, _) => device.unwrap_or_else(|| "-".to_owned()),
    }
}

fn line(partition: u16, entry: &RecordEntry, out: &mut impl Write) -> io::Result<()> {
    let queues: Vec<_> = entry.queues.iter().map(|id| queue(*id)).collect();
    let (source, from) = match &entry.record {
        Content::Whole(record) => match record::decode(record) {
            Ok(routed) => (routed.source.wire_name().to_owned(), sender(&routed.message.system)),
            Err(_) => (format!("{} bytes of header", record.header.len()), "not a hub's message".to_owned()),
        },
        Content::KeyMissing => ("encrypted".to_owned(), "give --key-file".to_owned()),
        Content::Forged => ("forged".to_owned(), "its tag is not its own".to_owned()),
    };
    writeln!(
        out,
        "{partition:>5} {:>12}  {:<28} {:>8}  {:<14} {source:<22} {from}",
        entry.offset.0,
        entry.enqueued.to_string(),
        entry.at.end - entry.at.start,
        queues.join(",")
    )
}

fn as_json((log, partition): (&Path, u16), segment: &SegmentFile, entry: &RecordEntry) -> Value {
    let is_event = entry.queues.contains(&QueueId::EVENTS);
    let mut value = json!({
        "log": log, "partition": partition, "segment": segment.path, "from": entry.at.start, "to": entry.at.end,
        "offset": entry.offset.0, "sequence_number": is_event.then_some(entry.events_before),
        "enqueued_time": entry.enqueued.to_string(), "queues": entry.queues.iter().map(|id| queue(*id)).collect::<Vec<_>>(),
        "encrypted": entry.is_sealed, "first_of_group": entry.is_first_of_group,
    });
    match &entry.record {
        Content::Whole(record) => {
            value["header_bytes"] = record.header.len().into();
            value["body_bytes"] = record.body.len().into();
            if let Ok(routed) = record::decode(record) {
                let named = |(property, value): (SystemProperty, &ByteString)| {
                    Some((property.storage_name()?.to_owned(), Value::from(&**value)))
                };
                let system: Map<_, _> = routed.message.system.iter().filter_map(named).collect();
                let properties = routed.message.properties.iter();
                let properties: Map<_, _> =
                    properties.map(|(name, value)| (name.to_string(), Value::from(&**value))).collect();
                value["source"] = routed.source.wire_name().into();
                value["system_properties"] = system.into();
                value["properties"] = properties.into();
            }
        }
        Content::KeyMissing => value["readable"] = false.into(),
        Content::Forged => value["forged"] = true.into(),
    }
    value
}
