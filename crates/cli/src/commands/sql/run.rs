//! `sql run`: a query over files or standard input.

use super::definition::Definition;
use super::format::Formats;
use super::input::{Bad, Events, Source};
use super::output::Outputs;
use super::{Language, Named};
use crate::commands::OutputFormat;
use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::{Engine, OnError, OnViolation, Policies};
use ironbrook_analytics::value::DateTime;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Options of `sql run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    language: Language,
    /// A job of Stream Analytics: its resource as exported, a template with it, or the folder of a project. Query, functions, formats and
    /// the policies for events out of order come from it. A project's local files are read where no --input is given.
    #[arg(long, value_name = "PATH", conflicts_with = "query")]
    job: Option<PathBuf>,
    /// Events of an input: JSON, CSV or Avro. `-` is standard input, which is also where the only input of a query comes from. May be
    /// given several times.
    #[arg(long, value_name = "NAME=FILE")]
    input: Vec<Named>,
    /// Rows of an input of reference data: JSON, CSV or Avro. May be given several times.
    #[arg(long, value_name = "NAME=FILE")]
    reference: Vec<Named>,
    /// Write the rows of an output to a file; `-` is standard output. Without NAME= it is the query's only output. Other outputs go to
    /// standard output, one JSON object a line. May be given several times.
    #[arg(long = "to", value_name = "[NAME=]FILE", id = "output_to")]
    to: Vec<String>,
    #[command(flatten)]
    formats: Formats,
    /// How many seconds an event may be behind the greatest time seen; where not given, what the job says, or 0.
    #[arg(long, value_name = "SECONDS")]
    out_of_order: Option<f64>,
    /// Leave out events that are further behind, instead of moving their time forward.
    #[arg(long)]
    drop: bool,
    /// Leave out rows that cannot be computed or written, instead of stopping.
    #[arg(long)]
    skip_errors: bool,
    /// What happens when an event cannot be read: it is left out and counted, or the run stops.
    #[arg(long, value_enum, default_value_t = OnBadEvent::Drop, value_name = "WHAT")]
    on_bad_event: OnBadEvent,
    /// The query; `-` is standard input.
    #[arg(required_unless_present = "job")]
    query: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnBadEvent {
    Drop,
    Stop,
}

const EXAMPLES: &str = "\
Examples:
  ironbrook sql run reset.sql < temperature.jsonl
  ironbrook sql run --input temperature=day.csv.gz --to alert=alerts.parquet reset.sql
  ironbrook sql run --input i=a.avro --reference limits=limits.csv --delimiter 'limits=;' --to rows.csv q.sql
  ironbrook sql run --job my-job/ --input temperature=day.jsonl --function celsius=celsius.js";

/// Stored events are never late: nobody knows when they arrived.
const NEVER_LATE: Duration = Duration::from_secs(20 * 86_400);
/// How many events that could not be read are shown.
const SAMPLES: usize = 10;

/// Runs the query to the end of all inputs.
pub(super) fn run((args, format): (Args, OutputFormat)) -> anyhow::Result<()> {
    let definition = args.definition()?;
    let query = Arc::new(definition.compile()?);
    let (streams, references) = args.sources(&query, &definition)?;
    let policies = args.policies(&definition)?;
    let mut engine = Engine::new(query.clone(), policies);
    for reference in &references {
        engine.load_reference(reference.input, DateTime::MIN, &reference.rows(&query)?)?;
    }
    let files = streams.iter().chain(&references).map(|source| source.file.clone()).collect::<Vec<_>>();
    let shown = (format, &args.formats);
    let mut outputs = Outputs::open(&query, shown, &args.to, definition.job.as_ref(), &files)?;
    if args.skip_errors {
        outputs.skip_errors();
    }
    let bar = bar(&streams);
    let open = |source| Events::open(&query, engine.policies(), source, &bar);
    let mut inputs = streams.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    while let Some((place, arrival)) = first(&mut inputs, &query)? {
        match inputs[place].take(arrival) {
            Some((arrival, Ok(event))) => {
                let pushed = engine.push(inputs[place].source.input, arrival, event);
                pushed.with_context(|| definition.label().to_owned())?;
            }
            Some((_, Err(bad))) => tally.take(&inputs[place].source, bad, args.on_bad_event)?,
            None => {}
        }
        tally.events += 1;
        outputs.write(&mut engine)?;
    }
    engine.flush().with_context(|| definition.label().to_owned())?;
    outputs.write(&mut engine)?;
    let (rows, refused) = (outputs.written, outputs.refused);
    outputs.finish()?;
    bar.finish_and_clear();
    tally.summary(&engine, rows, refused);
    Ok(())
}

impl Args {
    fn definition(&self) -> anyhow::Result<Definition> {
        let reference = self.reference.iter().map(|named| named.name.clone()).collect();
        match (&self.job, &self.query) {
            (Some(job), _) => Definition::of_job(&self.language, job, reference),
            (None, Some(query)) => Definition::of_query(&self.language, query, reference),
            (None, None) => bail!("the query is missing"),
        }
    }

    fn policies(&self, definition: &Definition) -> anyhow::Result<Policies> {
        let job = definition.job.as_ref().map(ironbrook_analytics::job::Job::policies).unwrap_or_default();
        let out_of_order = match self.out_of_order {
            Some(seconds) => Duration::try_from_secs_f64(seconds).context("--out-of-order")?,
            None => job.out_of_order,
        };
        Ok(Policies {
            late_arrival: NEVER_LATE,
            out_of_order,
            on_violation: if self.drop { OnViolation::Drop } else { job.on_violation },
            on_error: if self.skip_errors { OnError::Skip } else { job.on_error },
            ..job
        })
    }

    /// The files of streams and those of reference data; each input must have one.
    fn sources(&self, query: &Query, definition: &Definition) -> anyhow::Result<(Vec<Source>, Vec<Source>)> {
        let mut sources = Vec::new();
        for (option, named) in
            self.input.iter().map(|n| ("--input", n)).chain(self.reference.iter().map(|n| ("--reference", n)))
        {
            let input = query
                .input(&named.name)
                .ok_or_else(|| anyhow!("{option}: the query reads no {}", named.name))?;
            sources.push(self.source(input, &named.name, named.file.clone(), definition)?);
        }
        let missing = |sources: &[Source], input| !sources.iter().any(|source| source.input == input);
        for local in definition.job.iter().flat_map(|job| &job.inputs) {
            if let (Some(input), Some(file)) = (query.input(&local.name), &local.local)
                && missing(&sources, input)
            {
                let file = definition.folder.join(&file.path);
                sources.push(self.source(input, &local.name, file, definition)?);
            }
        }
        let left = query.inputs().iter().enumerate().filter(|(input, _)| missing(&sources, *input));
        let left = left.collect::<Vec<_>>();
        match left.as_slice() {
            [] => {}
            [(input, only)] if !only.reference && !sources.iter().any(Source::is_stdin) => {
                if self.query.as_ref().is_some_and(|query| query.as_os_str() == "-") {
                    bail!(
                        "the query comes from standard input, so its events cannot: give --input {}=FILE",
                        only.name
                    );
                }
                let source = self.source(*input, &only.name, "-".into(), definition)?;
                sources.push(source);
            }
            [(_, first), ..] => {
                let option = if first.reference { "--reference" } else { "--input" };
                bail!("the query reads {0}: give {option} {0}=FILE", first.name);
            }
        }
        if sources.iter().filter(|source| source.is_stdin()).count() > 1 {
            bail!("standard input can be one input only");
        }
        Ok(sources.into_iter().partition(|source| !query.inputs()[source.input].reference))
    }

    fn source(
        &self,
        input: usize,
        name: &str,
        file: PathBuf,
        definition: &Definition,
    ) -> anyhow::Result<Source> {
        let job = definition.job.as_ref().and_then(|job| job.input(name));
        let job = job.map(|input| input.local.as_ref().map_or(input.format, |local| local.format));
        let (format, lines) = self.formats.input(name, &file, job)?;
        Ok(Source { input, file, format, lines })
    }
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

/// A bar on stderr, drawn only where that is a terminal.
fn bar(streams: &[Source]) -> ProgressBar {
    let size = |source: &Source| {
        let file = std::fs::metadata(&source.file).ok().filter(std::fs::Metadata::is_file);
        file.filter(|_| !source.is_stdin()).map(|file| file.len())
    };
    let sizes: Option<Vec<u64>> = streams.iter().map(size).collect();
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

/// What came of the events.
#[derive(Default)]
struct Tally {
    events: u64,
    /// Those that could not be read, by the service's name for why.
    bad: BTreeMap<&'static str, u64>,
    samples: Vec<String>,
}

impl Tally {
    fn take(&mut self, source: &Source, bad: Bad, on_bad_event: OnBadEvent) -> anyhow::Result<()> {
        let told = format!("{}, {}", source.name(), bad.at);
        if on_bad_event == OnBadEvent::Stop {
            bail!("{told}; without --on-bad-event stop it is left out");
        }
        *self.bad.entry(bad.kind.name()).or_default() += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(told);
        }
        Ok(())
    }

    #[allow(clippy::print_stderr, reason = "what people should know of the run")]
    fn summary(&self, engine: &Engine, rows: u64, refused: u64) {
        eprintln!("{} events, {rows} rows", self.events);
        if refused > 0 {
            eprintln!("{refused} rows left out: their format does not take them");
        }
        let of_engine = engine.data_errors().counts().map(|(kind, count)| (kind.name(), count));
        for (name, count) in self.bad.iter().map(|(name, count)| (*name, *count)).chain(of_engine) {
            eprintln!("{count} × {name}");
        }
        self.samples.iter().for_each(|sample| eprintln!("  {sample}"));
        for error in engine.data_errors().samples() {
            eprintln!("  {} at {}: {}", error.source, error.at, error.message);
        }
    }
}
