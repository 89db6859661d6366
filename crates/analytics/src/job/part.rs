//! Inputs, outputs and functions.

use super::JobNote;
use super::datasource::{Datasource, DatasourceKind};
use super::error::JobError;
use super::node::Node;
use crate::format::{
    Compression, Decimal, Delimiter, InputFormat, InputSerialization, JsonLayout, OutputFormat,
};
use std::time::Duration;

/// An input.
#[derive(Debug, Clone, PartialEq)]
pub struct JobInput {
    /// What the query calls it.
    pub name: String,
    /// Events or reference data.
    pub kind: InputKind,
    /// Where it comes from.
    pub datasource: Datasource,
    /// How its payloads are written.
    pub format: InputFormat,
    /// A file that stands for it on the machine of its author.
    pub local: Option<LocalFile>,
}

/// Events for tests of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its path, from the project's folder; with `/` between folders.
    pub path: String,
    /// How it is written.
    pub format: InputFormat,
}

/// What an input gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// Events.
    Stream,
    /// Rows to look up.
    Reference,
}

/// An output.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutput {
    /// What the query calls it.
    pub name: String,
    /// Where it goes.
    pub datasource: Datasource,
    /// How its rows are written.
    pub format: OutputFormat,
    /// How many rows go together.
    pub batching: Batching,
}

/// When a file or message is written: as soon as either is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batching {
    /// `sizeWindow`, the least number of rows.
    pub rows: Option<u64>,
    /// `timeWindow`, the longest wait.
    pub time: Option<Duration>,
}

/// A function of the user.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFunction {
    /// What the query calls it behind `udf.` or `uda.`.
    pub name: String,
    /// What it does; `None` where the definition leaves it to the script.
    pub aggregate: Option<bool>,
    /// How.
    pub binding: FunctionBinding,
}

/// How a function is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionBinding {
    /// A script.
    JavaScript {
        /// Its text.
        script: String,
    },
    /// Anything else, by its type.
    Other(String),
}

const JAVASCRIPT: &str = "Microsoft.StreamAnalytics/JavascriptUdf";

impl JobInput {
    pub(super) fn parse(node: &Node<'_>, notes: &mut Vec<JobNote>) -> Result<Self, JobError> {
        let name = node.required_text("name", "what the query calls the input")?;
        let properties = node.inside("properties")?;
        let kind = match properties.required_text("type", "Stream or Reference")? {
            ty if ty.eq_ignore_ascii_case("Stream") => InputKind::Stream,
            ty if ty.eq_ignore_ascii_case("Reference") => InputKind::Reference,
            other => return Err(properties.value_error("type", other, "Stream or Reference")),
        };
        let datasource = properties.required("datasource", "where the events come from")?;
        let datasource = noted(Datasource::parse(&datasource)?, &datasource, notes);
        let compression = properties.inside("compression")?;
        let compression = match compression.text("type")? {
            None => Compression::None,
            Some(name) => compression_of(&compression, "type", name)?,
        };
        let serialization = match properties.member("serialization") {
            Some(node) => input_serialization(&node, node.text("type")?, &node.inside("properties")?)?,
            None => InputSerialization::Json,
        };
        let format = InputFormat { serialization, compression };
        Ok(Self { name: name.to_owned(), kind, datasource, format, local: None })
    }
}

impl JobOutput {
    pub(super) fn parse(node: &Node<'_>, locale: &str, notes: &mut Vec<JobNote>) -> Result<Self, JobError> {
        let name = node.required_text("name", "what the query calls the output")?;
        let properties = node.inside("properties")?;
        let datasource = properties.required("datasource", "where the rows go")?;
        let datasource = noted(Datasource::parse(&datasource)?, &datasource, notes);
        let format = match properties.member("serialization") {
            Some(node) => output_format(&node, &node.inside("properties")?, locale)?,
            None => OutputFormat::default(),
        };
        let batching = batching(&properties, "sizeWindow", "timeWindow")?;
        Ok(Self { name: name.to_owned(), datasource, format, batching })
    }
}

impl JobFunction {
    pub(super) fn parse(node: &Node<'_>, notes: &mut Vec<JobNote>) -> Result<Self, JobError> {
        let name = node.required_text("name", "what the query calls the function")?;
        let properties = node.inside("properties")?;
        let aggregate = match properties.text("type")? {
            None => None,
            Some(ty) if ty.eq_ignore_ascii_case("Scalar") => Some(false),
            Some(ty) if ty.eq_ignore_ascii_case("Aggregate") => Some(true),
            Some(other) => return Err(properties.value_error("type", other, "Scalar or Aggregate")),
        };
        let inner = properties.inside("properties")?;
        let binding = match inner.member("binding") {
            Some(binding) => binding,
            None => properties.required("binding", "the script of the function")?,
        };
        let ty = binding.required_text("type", JAVASCRIPT)?;
        let binding = if ty.eq_ignore_ascii_case(JAVASCRIPT) {
            let properties = match binding.member("properties") {
                Some(_) => binding.inside("properties")?,
                None => binding,
            };
            let script = properties.required_text("script", "the text of the function")?.to_owned();
            FunctionBinding::JavaScript { script }
        } else {
            let message = format!("functions of type {ty} are not run; write it in JavaScript");
            notes.push(JobNote { path: binding.path, message });
            FunctionBinding::Other(ty.to_owned())
        };
        Ok(Self { name: name.to_owned(), aggregate, binding })
    }
}

/// Tells of a datasource that nothing here knows.
pub(super) fn noted(datasource: Datasource, node: &Node<'_>, notes: &mut Vec<JobNote>) -> Datasource {
    if datasource.kind == DatasourceKind::Other {
        let message =
            format!("datasources of type {} are not known here; say where it is instead", datasource.ty);
        notes.push(JobNote { path: node.path.clone(), message });
    }
    datasource
}

pub(super) fn compression_of(node: &Node<'_>, member: &str, name: &str) -> Result<Compression, JobError> {
    Compression::parse(name).ok_or_else(|| node.value_error(member, name, "None, GZip or Deflate"))
}

/// `ty` stands in `node`, the rest in `properties`.
pub(super) fn input_serialization(
    node: &Node<'_>,
    ty: Option<&str>,
    properties: &Node<'_>,
) -> Result<InputSerialization, JobError> {
    let ty =
        ty.ok_or_else(|| JobError::Missing { path: node.below("type"), meaning: "Json, Csv or Avro" })?;
    encoding(properties)?;
    match ty.to_ascii_lowercase().as_str() {
        "json" => Ok(InputSerialization::Json),
        "csv" => Ok(InputSerialization::Csv { delimiter: delimiter(properties)?, header: true }),
        "avro" => Ok(InputSerialization::Avro),
        _ => Err(node.value_error("type", ty, "Json, Csv or Avro")),
    }
}

/// The format of an output; the type stands in `node`, the rest in `properties`.
pub(super) fn output_format(
    node: &Node<'_>,
    properties: &Node<'_>,
    locale: &str,
) -> Result<OutputFormat, JobError> {
    let ty = node.required_text("type", "Json, Csv, Avro or Parquet")?;
    encoding(properties)?;
    match ty.to_ascii_lowercase().as_str() {
        "json" => {
            let layout =
                match properties.text("format")?.map(|text| text.to_ascii_lowercase().replace(' ', "")) {
                    None => JsonLayout::LineSeparated,
                    Some(text) if text == "lineseparated" => JsonLayout::LineSeparated,
                    Some(text) if text == "array" => JsonLayout::Array,
                    Some(other) => {
                        return Err(properties.value_error("format", &other, "LineSeparated or Array"));
                    }
                };
            Ok(OutputFormat::Json(layout))
        }
        "csv" => {
            Ok(OutputFormat::Csv { delimiter: delimiter(properties)?, decimal: Decimal::of_locale(locale) })
        }
        "avro" => Ok(OutputFormat::Avro),
        "parquet" => Ok(OutputFormat::Parquet),
        _ => Err(node.value_error("type", ty, "Json, Csv, Avro or Parquet")),
    }
}

fn delimiter(properties: &Node<'_>) -> Result<Delimiter, JobError> {
    let Some(text) = properties.text("fieldDelimiter")? else { return Ok(Delimiter::Comma) };
    let allowed = "a comma, a semicolon, a space, a tab or a vertical bar";
    Delimiter::parse(text)
        .ok_or_else(|| properties.value_error("fieldDelimiter", &format!("{text:?}"), allowed))
}

fn encoding(properties: &Node<'_>) -> Result<(), JobError> {
    match properties.text("encoding")? {
        Some(name) if !matches!(name.to_ascii_uppercase().as_str(), "UTF8" | "UTF-8" | "") => {
            Err(properties.value_error("encoding", name, "UTF8"))
        }
        _ => Ok(()),
    }
}

pub(super) fn batching(node: &Node<'_>, rows: &str, time: &str) -> Result<Batching, JobError> {
    let rows = match node.whole(rows)? {
        None => None,
        Some(number) => match u64::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => return Err(node.value_error(rows, &number.to_string(), "a number of rows")),
        },
    };
    let time = match node.text(time)? {
        None => None,
        Some(text) => match duration(text) {
            Some(duration) => Some(duration),
            None => return Err(node.value_error(time, text, "a duration, as 00:01:00")),
        },
    };
    Ok(Batching { rows, time })
}

/// `hh:mm:ss`, with `d.` before it for days.
fn duration(text: &str) -> Option<Duration> {
    let (days, clock) = text.split_once('.').unwrap_or(("0", text));
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let valid = parts.next().is_none() && hours < 24 && minutes < 60 && seconds < 60;
    let days = days.parse::<u64>().ok().filter(|days| valid && *days <= 365)?;
    Some(Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}
