//! A job as people write it down: a query, where its events come from, where its rows go.

pub use serialization::{
    Compression, CompressionKind, Serialization, SerializationKind, SerializationProperties,
};

use super::output::pattern::PatternError;
use ironbrook_analytics::engine::{OnError, OnViolation, Policies};
use ironbrook_analytics::format::{Decimal, Delimiter, JsonLayout, OutputFormat};
use ironbrook_analytics::{Compatibility, Level, Options, Query};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Shortest and longest name of a job, in characters. Source: Azure docs "Naming rules", Microsoft.StreamAnalytics.
const NAME_LEN: std::ops::RangeInclusive<usize> = 3..=63;
/// Longest query text, in bytes.
const QUERY_LEN_MAX: usize = 256 * 1024;
/// Most inputs, and most outputs. Source: Azure docs "Azure Stream Analytics limits".
const SIDES_MAX: usize = 60;
/// Longest tolerance for late events, in seconds: 20 days and a bit, as in the service.
const LATE_MAX: u64 = 1_814_399;
/// Longest tolerance for disorder, in seconds: ten minutes but one second, as in the service.
const OUT_OF_ORDER_MAX: u64 = 599;
/// Most rows of a batch. Source: Azure docs "Blob storage and Azure Data Lake Gen2 output", minimum rows.
const ROWS_MAX: usize = 10_000;
/// Longest wait of a batch, in seconds; the same source.
const WAIT_MAX: u64 = 2 * 3600;
/// How long a device may take to answer a method, in seconds.
const ANSWER: std::ops::RangeInclusive<u64> = 5..=300;
/// Longest that a row waits for a device, in seconds.
const PATIENCE_MAX: u64 = 24 * 3600;

/// A job. Names of inputs and outputs are those of the query, in any case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// The query.
    pub query: String,
    /// Where events and reference data come from, by name.
    pub inputs: BTreeMap<String, Input>,
    /// Where rows go, by name.
    pub outputs: BTreeMap<String, Output>,
    /// Scripts in JavaScript of the functions that the query calls as `udf.name` and `uda.name`, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, String>,
    /// `1.0`, `1.1` or `1.2`.
    #[serde(default = "newest")]
    pub compatibility_level: String,
    /// How far an event's time may lie before its arrival.
    #[serde(default = "late")]
    pub events_late_arrival_max_delay_in_seconds: u64,
    /// How far an event's time may lie before the greatest one seen.
    #[serde(default)]
    pub events_out_of_order_max_delay_in_seconds: u64,
    /// What happens to events beyond these.
    #[serde(default)]
    pub events_out_of_order_policy: Violation,
    /// What happens to a row that its output will never take.
    #[serde(default)]
    pub output_error_policy: OutputErrors,
    /// What happens to a row that cannot be computed.
    #[serde(default)]
    pub on_error: Failure,
}

/// What happens to events that are too late or too far out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Violation {
    /// Their time is moved forward to the earliest one allowed.
    #[default]
    Adjust,
    /// They are left out.
    Drop,
}

/// What happens to rows that an output will never take, such as one for a device that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OutputErrors {
    /// They are counted and left out.
    #[default]
    Drop,
    /// The job stops; after a start the same rows are tried again. Azure calls it so.
    Stop,
}

/// What happens to rows that cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Failure {
    /// The job fails, as in the service.
    #[default]
    Stop,
    /// They are counted and left out.
    Skip,
}

/// Where an input of the query comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Input {
    /// The hub's events endpoint, all partitions.
    #[serde(rename_all = "camelCase")]
    Events {
        /// A consumer group of the endpoint. The job keeps its own place; the name says who reads.
        #[serde(default = "default_group")]
        consumer_group: String,
        /// How bodies are written.
        #[serde(default, skip_serializing_if = "Serialization::is_default")]
        serialization: Serialization,
        /// What was done to their bytes.
        #[serde(default, skip_serializing_if = "Compression::is_default")]
        compression: Compression,
    },
    /// Reference data: a blob of the built-in account, which is read again when it changes, or a series of them.
    #[serde(rename_all = "camelCase")]
    Reference {
        /// The container.
        container: String,
        /// The blob; with `{date}` and `{time}` in its name each that fits, from the time in its name on.
        #[serde(alias = "pathPattern")]
        blob: String,
        /// What `{date}` is.
        #[serde(default = "date_format")]
        date_format: String,
        /// What `{time}` is.
        #[serde(default = "time_format")]
        time_format: String,
        /// How rows are written.
        #[serde(default, skip_serializing_if = "Serialization::is_default")]
        serialization: Serialization,
        /// What was done to their bytes.
        #[serde(default, skip_serializing_if = "Compression::is_default")]
        compression: Compression,
    },
}

/// Where rows of an output go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Output {
    /// Blobs of the built-in account. Each row is in them once, whatever happens.
    Blob(Blob),
    /// A POST of JSON arrays to a URL.
    Webhook(Webhook),
    /// A message into the hub's routes for each row, which is said to come from that device.
    Route(Receiver),
    /// A cloud-to-device message for each row.
    CloudToDevice(Receiver),
    /// A direct method for each row; the row is its payload.
    Method(Method),
}

/// Settings of blobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Blob {
    /// The container; made where it is absent.
    pub container: String,
    /// What blobs are named by: text with `{date}`, `{time}`, `{datetime:yyyy}` and its kin, and one name of a column.
    #[serde(default)]
    pub path_pattern: String,
    /// What `{date}` is: `yyyy/MM/dd`, with any of its parts and separators.
    #[serde(default = "date_format")]
    pub date_format: String,
    /// What `{time}` is: `HH`, with any of its parts and separators.
    #[serde(default = "time_format")]
    pub time_format: String,
    /// How rows are written.
    #[serde(default)]
    pub format: Format,
    /// Rows that are written together.
    #[serde(default = "one")]
    pub min_rows: usize,
    /// How long a row waits for others.
    #[serde(default = "one_second")]
    pub max_seconds: u64,
}

/// How rows are written into a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// JSON, an object on each line.
    #[default]
    JsonLines,
    /// One JSON array.
    JsonArray,
    /// Separated by commas, with a header. Each batch is a blob.
    Csv,
    /// An Avro container file for each batch.
    Avro,
    /// A Parquet file for each batch.
    Parquet,
}

/// How a blob comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Rows are appended.
    Grows(JsonLayout),
    /// Each batch is a blob.
    Whole(OutputFormat),
}

impl Format {
    /// How blobs of it come to be.
    pub(super) fn growth(self) -> Growth {
        let (delimiter, decimal) = (Delimiter::default(), Decimal::default());
        match self {
            Self::JsonLines => Growth::Grows(JsonLayout::LineSeparated),
            Self::JsonArray => Growth::Grows(JsonLayout::Array),
            Self::Csv => Growth::Whole(OutputFormat::Csv { delimiter, decimal }),
            Self::Avro => Growth::Whole(OutputFormat::Avro),
            Self::Parquet => Growth::Whole(OutputFormat::Parquet),
        }
    }
}

/// Settings of a web hook. `Debug` hides what may be secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// `https://host/path?query`, or `http://` without TLS.
    pub url: String,
    /// Headers of every request, such as `Authorization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Rows of a request at most.
    #[serde(default = "hundred")]
    pub max_rows: usize,
    /// How long a row waits for others.
    #[serde(default)]
    pub max_seconds: u64,
    /// How long an answer may take.
    #[serde(default = "answer")]
    pub timeout_seconds: u64,
}

/// A device: always the same, or the one a column of the row names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receiver {
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The column that holds its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id_column: Option<String>,
    /// How long a row is tried again where the device cannot take it now; it is counted and left out then.
    #[serde(default = "patience")]
    pub patience_seconds: u64,
}

/// Settings of a direct method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Method {
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The column that holds its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id_column: Option<String>,
    /// As [`Receiver::patience_seconds`].
    #[serde(default = "patience")]
    pub patience_seconds: u64,
    /// The method.
    pub method_name: String,
    /// How long the device may take to answer.
    #[serde(default = "answer")]
    pub response_timeout_seconds: u64,
}

fn newest() -> String {
    "1.2".to_owned()
}

fn late() -> u64 {
    5
}

fn default_group() -> String {
    "$Default".to_owned()
}

fn date_format() -> String {
    "yyyy/MM/dd".to_owned()
}

fn time_format() -> String {
    "HH".to_owned()
}

fn one() -> usize {
    1
}

fn one_second() -> u64 {
    1
}

fn hundred() -> usize {
    100
}

fn answer() -> u64 {
    30
}

fn patience() -> u64 {
    300
}

/// Why a job cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The name.
    #[error("a job's name has 3 to 63 letters, digits, hyphens and underscores; {0:?} has not")]
    Name(String),
    /// The query does not compile.
    #[error("the query cannot run: {0}")]
    Query(String),
    /// An input or output of the query that is not defined.
    #[error("the query {verb} {name:?}, and the job has no {side} of that name")]
    Missing {
        /// `reads` or `writes`.
        verb: &'static str,
        /// `input` or `output`.
        side: &'static str,
        /// As in the query.
        name: String,
    },
    /// A setting out of its range.
    #[error("{setting}: {reason}")]
    Setting {
        /// Its path.
        setting: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The pattern of a path.
    #[error("{setting}: {error}")]
    Pattern {
        /// Its path.
        setting: String,
        /// Why.
        error: PatternError,
    },
}

fn wrong(setting: impl Into<String>, reason: impl Into<String>) -> DefinitionError {
    DefinitionError::Setting { setting: setting.into(), reason: reason.into() }
}

/// Whether a job may have this name.
pub(super) fn check_name(name: &str) -> Result<(), DefinitionError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if NAME_LEN.contains(&name.len()) && name.chars().all(plain) {
        Ok(())
    } else {
        Err(DefinitionError::Name(name.chars().take(80).collect()))
    }
}

impl Definition {
    /// Checks everything and compiles the query. `groups` are the consumer groups there are, besides `$Default`.
    pub(super) fn compile(&self, groups: &[String]) -> Result<Arc<Query>, DefinitionError> {
        self.check_settings()?;
        for (name, input) in &self.inputs {
            input.check(name, groups)?;
        }
        for (name, output) in &self.outputs {
            output.check(name)?;
        }
        let query = Query::compile(&self.query, &self.options()?)
            .map_err(|errors| DefinitionError::Query(errors.to_string()))?;
        for input in query.inputs() {
            if find(&self.inputs, &input.name).is_none() {
                let name = input.name.to_string();
                return Err(DefinitionError::Missing { verb: "reads", side: "input", name });
            }
        }
        for output in query.outputs() {
            if find(&self.outputs, output).is_none() {
                let name = output.to_string();
                return Err(DefinitionError::Missing { verb: "writes", side: "output", name });
            }
        }
        Ok(Arc::new(query))
    }

    fn check_settings(&self) -> Result<(), DefinitionError> {
        if self.query.len() > QUERY_LEN_MAX {
            return Err(wrong("query", format!("it has at most {QUERY_LEN_MAX} bytes")));
        }
        if self.functions.values().map(String::len).sum::<usize>() > QUERY_LEN_MAX {
            return Err(wrong("functions", format!("they have at most {QUERY_LEN_MAX} bytes together")));
        }
        if self.inputs.len() > SIDES_MAX || self.outputs.len() > SIDES_MAX {
            return Err(wrong("inputs, outputs", format!("a job has at most {SIDES_MAX} of each")));
        }
        if self.events_late_arrival_max_delay_in_seconds > LATE_MAX {
            let reason = format!("it is at most {LATE_MAX}");
            return Err(wrong("eventsLateArrivalMaxDelayInSeconds", reason));
        }
        if self.events_out_of_order_max_delay_in_seconds > OUT_OF_ORDER_MAX {
            let reason = format!("it is at most {OUT_OF_ORDER_MAX}");
            return Err(wrong("eventsOutOfOrderMaxDelayInSeconds", reason));
        }
        Ok(())
    }

    fn options(&self) -> Result<Options, DefinitionError> {
        let compatibility = Compatibility::parse(&self.compatibility_level)
            .ok_or_else(|| wrong("compatibilityLevel", "it is 1.0, 1.1 or 1.2"))?;
        let is_reference = |input: &Input| matches!(input, Input::Reference { .. });
        let reference = self.inputs.iter().filter(|(_, input)| is_reference(input));
        let reference = reference.map(|(name, _)| name.clone()).collect();
        let mut options = Options { compatibility, reference, ..Options::default() };
        options.level = Level::Extended;
        for (name, script) in &self.functions {
            let added = options.functions.add_script(name, script);
            added.map_err(|error| wrong(format!("functions.{name}"), error.to_string()))?;
        }
        Ok(options)
    }

    /// For the engine.
    pub(super) fn policies(&self, max_state: usize, partitions: usize) -> Policies {
        Policies {
            late_arrival: Duration::from_secs(self.events_late_arrival_max_delay_in_seconds),
            out_of_order: Duration::from_secs(self.events_out_of_order_max_delay_in_seconds),
            on_violation: match self.events_out_of_order_policy {
                Violation::Adjust => OnViolation::Adjust,
                Violation::Drop => OnViolation::Drop,
            },
            on_error: match self.on_error {
                Failure::Stop => OnError::Stop,
                Failure::Skip => OnError::Skip,
            },
            max_state,
            partitions,
            ..Policies::default()
        }
    }

    /// The output of a name in the query.
    pub(super) fn output(&self, name: &str) -> Option<&Output> {
        find(&self.outputs, name)
    }

    /// The input of a name in the query.
    pub(super) fn input(&self, name: &str) -> Option<&Input> {
        find(&self.inputs, name)
    }

    /// As it may be shown: values of headers and the query of a URL hold secrets.
    pub(super) fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        for output in shown.outputs.values_mut() {
            if let Output::Webhook(hook) = output {
                hook.headers.values_mut().for_each(|value| *value = HIDDEN.to_owned());
                if let Some((address, _)) = hook.url.split_once('?') {
                    hook.url = format!("{address}?{HIDDEN}");
                }
            }
        }
        shown
    }
}

/// What is shown in the place of a secret.
const HIDDEN: &str = "hidden";

fn find<'a, T>(sides: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    sides.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, side)| side)
}

impl Method {
    /// Whom it is called on.
    pub(super) fn to(&self) -> Receiver {
        Receiver {
            device_id: self.device_id.clone(),
            device_id_column: self.device_id_column.clone(),
            patience_seconds: self.patience_seconds,
        }
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("max_rows", &self.max_rows).finish_non_exhaustive()
    }
}

mod check;
mod serialization;
#[cfg(test)]
mod tests;
