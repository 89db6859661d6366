//! The resource, as the service's REST interface has it.

use super::error::JobError;
use super::node::Node;
use super::part::{JobFunction, JobInput, JobOutput};
use super::{Job, JobNote, MAX_BYTES, OnOutputError, Ordering, template};
use crate::engine::OnViolation;
use crate::{Compatibility, Level};
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

/// Reads a resource or a template.
pub(super) fn job(text: &str) -> Result<Job, JobError> {
    let value = json(text, "")?;
    let resource = template::resource(&value)?;
    resource_job(&Node::root(resource.as_ref().unwrap_or(&value), ""))
}

/// JSON of a bounded size. `file` is what errors begin with.
pub(super) fn json(text: &str, file: &str) -> Result<Value, JobError> {
    if text.len() > MAX_BYTES {
        return Err(JobError::TooLarge { bytes: text.len() });
    }
    // Files of Visual Studio begin with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|error| JobError::Json { file: file.to_owned(), error })
}

fn resource_job(node: &Node<'_>) -> Result<Job, JobError> {
    let properties = node.inside("properties")?;
    let Some(transformation) = properties.member("transformation") else { return Err(JobError::NoJob) };
    let query = transformation.inside("properties")?;
    let query = query.required_text("query", "the text of the query")?.to_owned();
    let mut notes = Vec::new();
    let settings = Settings::parse(&properties, &mut notes)?;
    let locale = &settings.locale;
    let inputs = properties.items("inputs")?;
    let inputs =
        inputs.iter().map(|node| JobInput::parse(node, &mut notes)).collect::<Result<Vec<_>, _>>()?;
    let outputs = properties.items("outputs")?;
    let outputs = outputs
        .iter()
        .map(|node| JobOutput::parse(node, locale, &mut notes))
        .collect::<Result<Vec<_>, _>>()?;
    let functions = properties.items("functions")?;
    let functions =
        functions.iter().map(|node| JobFunction::parse(node, &mut notes)).collect::<Result<Vec<_>, _>>()?;
    distinct("inputs", inputs.iter().map(|input| &input.name))?;
    distinct("outputs", outputs.iter().map(|output| &output.name))?;
    distinct("functions", functions.iter().map(|function| &function.name))?;
    let name = node.text("name")?.unwrap_or_default().to_owned();
    Ok(settings.job(name, query, inputs, outputs, functions, notes))
}

/// What holds for the whole job.
pub(super) struct Settings {
    level: Level,
    compatibility: Compatibility,
    pub(super) locale: String,
    ordering: Ordering,
    on_output_error: OnOutputError,
}

/// The longest tolerance for late events.
const MAX_LATE: Duration = Duration::from_secs(20 * 86_400 - 1);

impl Settings {
    /// From the members of a resource or of a project's configuration, which are called the same.
    pub(super) fn parse(node: &Node<'_>, notes: &mut Vec<JobNote>) -> Result<Self, JobError> {
        let level = match node.text("jobType")? {
            Some(ty) if ty.eq_ignore_ascii_case("Edge") => Level::default(), // tidy: wire word, the hosting type
            _ => Level::Extended,
        };
        let compatibility = match node.text("compatibilityLevel")? {
            None => Compatibility::default(),
            Some(text) => Compatibility::parse(text)
                .ok_or_else(|| node.value_error("compatibilityLevel", text, "1.0, 1.1 or 1.2"))?,
        };
        let on_output_error = match node.text("outputErrorPolicy")? {
            None => OnOutputError::Retry,
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "retry" | "stop" => OnOutputError::Retry,
                "drop" => OnOutputError::Drop,
                _ => return Err(node.value_error("outputErrorPolicy", text, "Retry or Drop")),
            },
        };
        if let Some(storage) = node.member("externals") {
            let message = "code of one's own beside the query is not run; write it in JavaScript".to_owned();
            notes.push(JobNote { path: storage.path, message });
        }
        Ok(Self {
            level,
            compatibility,
            locale: node.text("dataLocale")?.unwrap_or("en-US").to_owned(),
            ordering: ordering(node)?,
            on_output_error,
        })
    }

    pub(super) fn job(
        self,
        name: String,
        query: String,
        inputs: Vec<JobInput>,
        outputs: Vec<JobOutput>,
        functions: Vec<JobFunction>,
        notes: Vec<JobNote>,
    ) -> Job {
        let Self { level, compatibility, locale, ordering, on_output_error } = self;
        Job {
            name,
            query,
            level,
            compatibility,
            locale,
            ordering,
            on_output_error,
            inputs,
            outputs,
            functions,
            notes,
        }
    }
}

fn ordering(node: &Node<'_>) -> Result<Ordering, JobError> {
    let default = Ordering::default();
    let on_violation = match node.text("eventsOutOfOrderPolicy")? {
        None => default.on_violation,
        Some(text) if text.eq_ignore_ascii_case("Adjust") => OnViolation::Adjust,
        Some(text) if text.eq_ignore_ascii_case("Drop") => OnViolation::Drop,
        Some(other) => return Err(node.value_error("eventsOutOfOrderPolicy", other, "Adjust or Drop")),
    };
    let seconds = |name: &str, default: Duration, allowed: &'static str| match node.whole(name)? {
        None => Ok(default),
        // No limit.
        Some(-1) => Ok(MAX_LATE),
        Some(number) => u64::try_from(number)
            .ok()
            .map(Duration::from_secs)
            .filter(|seconds| *seconds <= MAX_LATE)
            .ok_or_else(|| node.value_error(name, &number.to_string(), allowed)),
    };
    Ok(Ordering {
        late_arrival: seconds(
            "eventsLateArrivalMaxDelayInSeconds",
            default.late_arrival,
            "0 to 1727999 seconds, or -1 for no limit",
        )?,
        out_of_order: seconds(
            "eventsOutOfOrderMaxDelayInSeconds",
            default.out_of_order,
            "0 to 1727999 seconds",
        )?,
        on_violation,
    })
}

/// Names are equal ignoring case.
pub(super) fn distinct<'a>(of: &str, names: impl Iterator<Item = &'a String>) -> Result<(), JobError> {
    let mut seen = HashSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name.to_lowercase()) {
            return Err(JobError::SameName { path: format!("{of}[{index}].name"), name: name.clone() });
        }
    }
    Ok(())
}
