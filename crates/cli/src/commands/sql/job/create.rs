//! `sql job create`: from options and files to the definition of a job.

use super::super::{Language, Told, text};
use super::{azure, input, output};
use anyhow::{Context as _, anyhow, bail};
use ironbrook_analytics::Query;
use ironbrook_cloud::streaming::{Definition, Failure, Input, Output, OutputErrors, Violation};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of `sql job create`.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The job: 3 to 63 letters, digits, hyphens and underscores.
    pub(super) name: String,
    /// The query; `-` is standard input.
    #[arg(required_unless_present_any = ["definition", "job"])]
    query: Option<PathBuf>,
    #[command(flatten)]
    language: Language,
    /// A file with the whole definition, as `sql job show --output json` has it; nothing else is given then.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "output_to", "reference", "function"])]
    definition: Option<PathBuf>,
    /// A job exported from Azure: the resource of type Microsoft.StreamAnalytics/streamingjobs, or a template with it. What of it a hub
    /// does not offer is replaced with --to.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "definition", "reference", "function"])]
    job: Option<PathBuf>,
    /// Where an output goes: blob:CONTAINER[/PATTERN], webhook:URL, route:DEVICE, c2d:DEVICE or method:NAME:DEVICE; a DEVICE in
    /// braces is the column that names it. Without NAME= it is the query's only output. May be given several times.
    #[arg(long = "to", value_name = "[NAME=]TARGET", id = "output_to")]
    to: Vec<String>,
    /// Reference data of an input: a blob of the hub's storage account; `{date}` and `{time}` in its name stand for a series. By its
    /// ending it is JSON, CSV or Avro. May be given several times.
    #[arg(long, value_name = "NAME=CONTAINER/BLOB")]
    reference: Vec<String>,
    /// Consumer group that the other inputs read with.
    #[arg(long, default_value = "$Default", value_name = "NAME")]
    group: String,
    #[command(flatten)]
    bodies: input::Bodies,
    #[command(flatten)]
    blobs: output::Blobs,
    /// How many seconds an event may be behind its arrival.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    late: u64,
    /// How many seconds an event may be behind the greatest time seen.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    out_of_order: u64,
    /// Leave out events that are further behind, instead of moving their time forward.
    #[arg(long)]
    drop: bool,
    /// Leave out rows that cannot be computed, instead of stopping.
    #[arg(long)]
    skip_errors: bool,
    /// Stop when a receiver refuses a row, instead of leaving the row out.
    #[arg(long)]
    stop_on_refusal: bool,
    /// Start it as well.
    #[arg(long)]
    pub(super) start: bool,
}

impl Create {
    /// What the hub is asked for.
    pub(super) fn definition(&self) -> anyhow::Result<Value> {
        if let Some(file) = &self.definition {
            let mut read: Value =
                serde_json::from_str(&text(file)?).with_context(|| file.display().to_string())?;
            // What `show` tells has the definition in it.
            if let Some(inner) = read.get_mut("definition") {
                read = inner.take();
            }
            return Ok(read);
        }
        if let Some(file) = &self.job {
            let definition = azure::definition(&text(file)?, self.named_outputs()?);
            return Ok(serde_json::to_value(definition.with_context(|| file.display().to_string())?)?);
        }
        let file = self.query.as_ref().context("the query is missing")?;
        let query_text = text(file)?;
        let references = self.references()?;
        let options = self.language.options(references.keys().cloned().collect())?;
        let query = match Query::compile(&query_text, &options) {
            Ok(query) => query,
            Err(errors) => return refused(file, &errors),
        };
        let definition = Definition {
            query: query_text,
            inputs: self.inputs(&query, references),
            outputs: self.outputs(&query)?,
            functions: self.language.functions()?,
            compatibility_level: self.language.level().to_owned(),
            events_late_arrival_max_delay_in_seconds: self.late,
            events_out_of_order_max_delay_in_seconds: self.out_of_order,
            events_out_of_order_policy: if self.drop { Violation::Drop } else { Violation::Adjust },
            output_error_policy: if self.stop_on_refusal { OutputErrors::Stop } else { OutputErrors::Drop },
            on_error: if self.skip_errors { Failure::Skip } else { Failure::Stop },
        };
        Ok(serde_json::to_value(definition)?)
    }

    fn references(&self) -> anyhow::Result<BTreeMap<String, Input>> {
        let one = |text: &String| {
            let named = text.split_once('=').and_then(|(name, place)| Some((name, place.split_once('/')?)));
            let (name, (container, blob)) =
                named.ok_or_else(|| anyhow!("--reference: it is written NAME=CONTAINER/BLOB"))?;
            let (serialization, compression) = input::by_ending(blob).context("--reference")?;
            let input = json!({
                "type": "reference",
                "container": container,
                "blob": blob,
                "serialization": serialization,
                "compression": compression,
            });
            Ok((name.to_owned(), serde_json::from_value(input)?))
        };
        self.reference.iter().map(one).collect()
    }

    fn inputs(&self, query: &Query, mut inputs: BTreeMap<String, Input>) -> BTreeMap<String, Input> {
        for stream in query.inputs().iter().filter(|input| !input.reference) {
            let input = Input::Events {
                consumer_group: self.group.clone(),
                serialization: self.bodies.serialization(),
                compression: self.bodies.compression(),
            };
            inputs.insert(stream.name.to_string(), input);
        }
        inputs
    }

    /// Outputs of a job whose query is not known yet, so each has its name.
    fn named_outputs(&self) -> anyhow::Result<BTreeMap<String, Output>> {
        let one = |text: &String| {
            let (name, target) =
                text.split_once('=').context("--to: it is written NAME=TARGET with --job")?;
            Ok((name.to_owned(), output::parse(target, &self.blobs).context("--to")?))
        };
        self.to.iter().map(one).collect()
    }

    fn outputs(&self, query: &Query) -> anyhow::Result<BTreeMap<String, Output>> {
        let mut outputs = BTreeMap::new();
        for text in &self.to {
            let (name, target) = self.named(query, text)?;
            outputs.insert(name, output::parse(target, &self.blobs).context("--to")?);
        }
        for name in query.outputs() {
            if !outputs.keys().any(|known: &String| known.eq_ignore_ascii_case(name)) {
                bail!("the query writes {name}: give --to {name}=blob:CONTAINER, or another target");
            }
        }
        Ok(outputs)
    }

    /// The output that a target is for. A target may hold an equals sign too.
    fn named<'a>(&self, query: &Query, text: &'a str) -> anyhow::Result<(String, &'a str)> {
        let names = query.outputs();
        if let Some((name, target)) = text.split_once('=')
            && names.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            return Ok((name.to_owned(), target));
        }
        match (names, text.split_once([':', '='])) {
            ([only], Some((kind, _))) if output::KINDS.contains(&kind) => Ok((only.to_string(), text)),
            _ => {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                bail!("--to: it is written NAME=TARGET, and the query writes {}", names.join(", "))
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "what is wrong with the query")]
fn refused(file: &std::path::Path, errors: &ironbrook_analytics::QueryErrors) -> anyhow::Result<Value> {
    errors.iter().for_each(|error| eprintln!("{}: {error}", file.display()));
    Err(Told.into())
}
