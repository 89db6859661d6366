//! `sql run`: a query over files or standard input.

use super::input::Events;
use super::{Language, Named, Told, text};
use crate::commands::OutputFormat;
use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::{Decoder, Engine, OnError, OnViolation, OutputRow, Policies};
use ironbrook_analytics::value::{DateTime, JsonReader, Value};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Options of `sql run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    language: Language,
    /// Events of an input: JSON, one object or array a line or as a whole. `-` is standard input, which is also where the only
    /// input of a query comes from.
    #[arg(long, value_name = "NAME=FILE")]
    input: Vec<Named>,
    /// Rows of an input of reference data, as JSON.
    #[arg(long, value_name = "NAME=FILE")]
    reference: Vec<Named>,
    /// How many seconds an event may be behind the greatest time seen.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    out_of_order: f64,
    /// Leave out events that are further behind, instead of moving their time forward.
    #[arg(long)]
    drop: bool,
    /// Leave out rows that cannot be computed, instead of stopping.
    #[arg(long)]
    skip_errors: bool,
    /// The query; `-` is standard input.
    query: PathBuf,
}

/// Stored events are never late: nobody knows when they arrived.
const NEVER_LATE: Duration = Duration::from_secs(20 * 86_400);

/// Runs the query to the end of all inputs.
pub(super) fn run((args, format): (Args, OutputFormat)) -> anyhow::Result<()> {
    let reference = args.reference.iter().map(|named| named.name.clone()).collect();
    let query = match Query::compile(&text(&args.query)?, &args.language.options(reference)?) {
        Ok(query) => Arc::new(query),
        Err(errors) => return refused(&args, &errors),
    };
    let mut engine = Engine::new(query.clone(), policies(&args)?);
    for named in &args.reference {
        load(&mut engine, named)?;
    }
    let bar = bar(&args);
    let mut inputs = inputs(&args, &query, engine.policies(), &bar)?;
    let out = std::io::stdout().lock();
    let mut rows = Rows { query: &query, format, out: std::io::BufWriter::new(out), written: 0 };
    let mut events = 0_u64;
    while let Some((place, arrival)) = first(&mut inputs, &query)? {
        let input = inputs[place].input;
        match inputs[place].take(arrival) {
            Some((arrival, Ok(event))) => engine.push(input, arrival, event)?,
            Some((arrival, Err(message))) => engine.reject(input, arrival, &message),
            None => {}
        }
        events += 1;
        rows.write(&mut engine)?;
    }
    engine.flush()?;
    rows.write(&mut engine)?;
    rows.out.flush()?;
    bar.finish_and_clear();
    summary(&engine, events, rows.written);
    Ok(())
}

#[allow(clippy::print_stderr, reason = "what is wrong with the query")]
fn refused(args: &Args, errors: &ironbrook_analytics::QueryErrors) -> anyhow::Result<()> {
    errors.iter().for_each(|error| eprintln!("{}: {error}", args.query.display()));
    Err(Told.into())
}

fn policies(args: &Args) -> anyhow::Result<Policies> {
    Ok(Policies {
        late_arrival: NEVER_LATE,
        out_of_order: Duration::try_from_secs_f64(args.out_of_order).context("--out-of-order")?,
        on_violation: if args.drop { OnViolation::Drop } else { OnViolation::Adjust },
        on_error: if args.skip_errors { OnError::Skip } else { OnError::Stop },
        ..Policies::default()
    })
}

fn load(engine: &mut Engine, named: &Named) -> anyhow::Result<()> {
    let query = engine.query().clone();
    let input =
        query.input(&named.name).ok_or_else(|| anyhow!("--reference: the query reads no {}", named.name))?;
    let mut rows = Vec::new();
    let mut wrong = None;
    let body = text(&named.file)?;
    JsonReader::new(query.json_options()).read(body.as_bytes(), &mut |row| match row {
        Ok(row) => rows.push(row),
        Err(error) => wrong = wrong.take().or(Some(error)),
    });
    if let Some(error) = wrong {
        return Err(error).with_context(|| named.file.display().to_string());
    }
    Ok(engine.load_reference(input, DateTime::MIN, &rows)?)
}

/// The files of all streams; each stream must have one.
fn inputs(
    args: &Args,
    query: &Arc<Query>,
    policies: &Policies,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Events>> {
    let streams: Vec<_> = query.inputs().iter().filter(|input| !input.reference).collect();
    let mut named = args.input.clone();
    if let ([], [only]) = (named.as_slice(), streams.as_slice()) {
        if args.query.as_os_str() == "-" {
            bail!(
                "the query comes from standard input, so its events cannot: give --input {}=FILE",
                only.name
            );
        }
        named.push(Named { name: only.name.to_string(), file: "-".into() });
    }
    for stream in &streams {
        if !named.iter().any(|named| named.name.eq_ignore_ascii_case(&stream.name)) {
            bail!("the query reads {0}: give --input {0}=FILE", stream.name);
        }
    }
    named
        .iter()
        .map(|named| {
            let known = query.input(&named.name).filter(|input| !query.inputs()[*input].reference);
            let input = known.ok_or_else(|| anyhow!("--input: the query reads no stream {}", named.name))?;
            Events::open(Decoder::new(query, input, policies), input, named, bar.clone())
        })
        .collect()
}

/// The input whose next event arrives first.
fn first(inputs: &mut [Events], query: &Query) -> anyhow::Result<Option<(usize, DateTime)>> {
    let now = now();
    let mut first = None;
    for (place, input) in inputs.iter_mut().enumerate() {
        if let Some(arrival) = input.peek(query, now)?
            && first.is_none_or(|(_, earliest)| arrival < earliest)
        {
            first = Some((place, arrival));
        }
    }
    Ok(first)
}

fn now() -> DateTime {
    DateTime::parse(&jiff::Timestamp::now().to_string()).unwrap_or(DateTime::MIN)
}

/// Rows on their way out.
struct Rows<'a, W> {
    query: &'a Query,
    format: OutputFormat,
    out: W,
    written: u64,
}

impl<W: Write> Rows<'_, W> {
    /// One row a line: JSON, behind the name of the output where there are several.
    fn write(&mut self, engine: &mut Engine) -> std::io::Result<()> {
        let mut line = Vec::new();
        for OutputRow { output, timestamp, record } in engine.rows() {
            line.clear();
            let name = &self.query.outputs()[output];
            match self.format {
                OutputFormat::Json => {
                    line.extend(b"{\"output\":");
                    Value::text(name).write_json(&mut line);
                    line.extend(format!(",\"timestamp\":\"{timestamp}\",\"row\":").bytes());
                    record.write_json(&mut line);
                    line.push(b'}');
                }
                OutputFormat::Table => {
                    if self.query.outputs().len() > 1 {
                        line.extend(name.bytes());
                        line.push(b'\t');
                    }
                    record.write_json(&mut line);
                }
            }
            line.push(b'\n');
            self.out.write_all(&line)?;
            self.written += 1;
        }
        Ok(())
    }
}

/// A bar on stderr, drawn only where that is a terminal.
fn bar(args: &Args) -> ProgressBar {
    let file = |named: &Named| std::fs::metadata(&named.file).ok().filter(std::fs::Metadata::is_file);
    let sizes: Option<Vec<u64>> = args.input.iter().map(|named| file(named).map(|file| file.len())).collect();
    // Nobody knows how much a pipe will bring.
    let (bar, template) = match sizes.filter(|sizes| !sizes.is_empty()) {
        Some(sizes) => {
            (ProgressBar::new(sizes.iter().sum()), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} in {elapsed}, {bytes_per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[allow(clippy::print_stderr, reason = "what people should know of the run")]
fn summary(engine: &Engine, events: u64, rows: u64) {
    eprintln!("{events} events, {rows} rows");
    for (kind, count) in engine.data_errors().counts() {
        eprintln!("{count} × {}", kind.name());
    }
    for error in engine.data_errors().samples() {
        eprintln!("  {} at {}: {}", error.source, error.at, error.message);
    }
}
