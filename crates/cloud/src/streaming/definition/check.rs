//! Whether inputs and outputs can be meant.

use super::serialization;
use super::{
    ANSWER, Blob, DefinitionError, Input, Output, PATIENCE_MAX, ROWS_MAX, Receiver, WAIT_MAX, Webhook, wrong,
};
use crate::streaming::output::pattern::{Pattern, PatternError};
use http::{HeaderName, HeaderValue};
use ironbrook_analytics::format::InputFormat;
use ironbrook_model::DeviceId;

impl Input {
    pub(super) fn check(&self, name: &str, groups: &[String]) -> Result<(), DefinitionError> {
        self.format(name)?;
        match self {
            Self::Events { consumer_group: group, .. } => {
                let is = |known: &str| known.eq_ignore_ascii_case(group);
                if is("$Default") || groups.iter().any(|known| is(known)) {
                    return Ok(());
                }
                let reason = format!("there is no consumer group {group:?}; add it to the configuration");
                Err(wrong(format!("inputs.{name}.consumerGroup"), reason))
            }
            Self::Reference { container, blob, .. } if container.is_empty() || blob.is_empty() => {
                Err(wrong(format!("inputs.{name}"), "reference data is a container and a blob in it"))
            }
            Self::Reference { .. } => self.series(name).map(drop),
        }
    }

    /// How its payloads are written.
    pub(in crate::streaming) fn format(&self, name: &str) -> Result<InputFormat, DefinitionError> {
        match self {
            Self::Events { serialization, compression, .. }
            | Self::Reference { serialization, compression, .. } => {
                serialization::format(name, serialization, *compression)
            }
        }
    }

    /// What the blobs of reference data are named by, where there are several.
    pub(in crate::streaming) fn series(&self, name: &str) -> Result<Option<Pattern>, DefinitionError> {
        let Self::Reference { blob, date_format, time_format, .. } = self else { return Ok(None) };
        if !blob.contains(['{', '}']) {
            return Ok(None);
        }
        let setting = format!("inputs.{name}.blob");
        let pattern = Pattern::parse(blob, date_format, time_format);
        let pattern =
            pattern.map_err(|error| DefinitionError::Pattern { setting: setting.clone(), error })?;
        if pattern.names_times() {
            return Ok(Some(pattern));
        }
        Err(wrong(
            setting,
            "the name of a series has a {date} with a year in it, may have a {time}, and no column",
        ))
    }
}

impl Output {
    pub(super) fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let at = |setting: &str| format!("outputs.{name}.{setting}");
        match self {
            Self::Blob(blob) => blob.check(name),
            Self::Webhook(hook) => hook.check(name),
            Self::Route(to) | Self::CloudToDevice(to) => to.check(name),
            Self::Method(method) => {
                if !ANSWER.contains(&method.response_timeout_seconds) {
                    return Err(wrong(at("responseTimeoutSeconds"), "it lies within 5 and 300"));
                }
                if method.method_name.is_empty() {
                    return Err(wrong(at("methodName"), "it is empty"));
                }
                method.to().check(name)
            }
        }
    }
}

impl Blob {
    pub(super) fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let at = |setting: &str| format!("outputs.{name}.{setting}");
        if self.container.is_empty() {
            return Err(wrong(at("container"), "it is empty"));
        }
        if !(1..=ROWS_MAX).contains(&self.min_rows) {
            return Err(wrong(at("minRows"), format!("it lies within 1 and {ROWS_MAX}")));
        }
        if self.max_seconds > WAIT_MAX {
            return Err(wrong(at("maxSeconds"), format!("it is at most {WAIT_MAX}")));
        }
        let setting = at("pathPattern");
        self.pattern().map(drop).map_err(|error| DefinitionError::Pattern { setting, error })
    }

    /// What its blobs are named by.
    pub(in crate::streaming) fn pattern(&self) -> Result<Pattern, PatternError> {
        Pattern::parse(&self.path_pattern, &self.date_format, &self.time_format)
    }
}

impl Webhook {
    pub(super) fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let at = |setting: &str| format!("outputs.{name}.{setting}");
        if !(1..=ROWS_MAX).contains(&self.max_rows) {
            return Err(wrong(at("maxRows"), format!("it lies within 1 and {ROWS_MAX}")));
        }
        if self.max_seconds > WAIT_MAX || !(1..=300).contains(&self.timeout_seconds) {
            let reason = format!("waits have at most {WAIT_MAX} seconds, and an answer 1 to 300");
            return Err(wrong(at("maxSeconds, timeoutSeconds"), reason));
        }
        for (header, value) in &self.headers {
            if HeaderName::from_bytes(header.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
                let reason = format!("{header:?} is no header, or its value cannot stand in one");
                return Err(wrong(at("headers"), reason));
            }
        }
        ironbrook_client::Poster::new(&self.url, &ironbrook_client::Transport::default())
            .map(drop)
            .map_err(|error| wrong(at("url"), error.to_string()))
    }
}

impl Receiver {
    pub(super) fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let at = |setting: &str| format!("outputs.{name}.{setting}");
        if self.patience_seconds > PATIENCE_MAX {
            return Err(wrong(at("patienceSeconds"), format!("it is at most {PATIENCE_MAX}")));
        }
        match (&self.device_id, &self.device_id_column) {
            (Some(id), None) => {
                DeviceId::new(id.clone()).map(drop).map_err(|error| wrong(at("deviceId"), error.to_string()))
            }
            (None, Some(column)) if !column.is_empty() => Ok(()),
            _ => Err(wrong(at("deviceId"), "give either deviceId or deviceIdColumn")),
        }
    }
}
