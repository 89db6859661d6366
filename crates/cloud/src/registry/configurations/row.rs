//! A configuration as callers send it, as it is stored, and as it is shown.

use super::super::error::Error;
use super::super::stored::new_etag;
use super::content::{self, Content};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use ironbrook_query::twin::{Source, TargetCondition, TwinQuery};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest id, in characters.
const ID_LEN_MAX: usize = 128;
/// Labels at most, and characters of a label's name or value.
const LABELS_MAX: usize = 100;
const LABEL_LEN_MAX: usize = 128;

/// What a caller wants of a configuration; members left out or null mean "as it is", or a default at creation. Others, such
/// as the results of metrics, are the hub's own and are not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationWish {
    /// Must be the id of the path, where given.
    pub id: Option<String>,
    /// `1.0` where left out.
    pub schema_version: Option<String>,
    /// Words for people.
    pub labels: Option<BTreeMap<String, String>>,
    /// `modulesContent`, `deviceContent` or `moduleContent`; never changes afterwards.
    pub content: Option<Value>,
    /// Which twins it is for; `*` all devices, nothing none.
    pub target_condition: Option<String>,
    /// The higher prevails; of equals the newer.
    pub priority: Option<i64>,
    /// Custom metrics: `{"queries": {"name": "SELECT …"}}`.
    pub metrics: Option<MetricsWish>,
}

/// `metrics` of a configuration.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct MetricsWish {
    /// Queries by name.
    pub queries: Option<BTreeMap<String, String>>,
}

/// A configuration as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub schema_version: String,
    pub labels: BTreeMap<String, String>,
    pub content: Value,
    pub target_condition: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Counts creations, so that of two made in one instant one is the newer.
    pub number: u64,
    pub priority: i64,
    pub metrics: BTreeMap<String, String>,
    pub etag: String,
}

impl Row {
    /// A new configuration, without what its wish says.
    pub fn new(now: Timestamp, number: u64) -> Self {
        Self {
            schema_version: "1.0".to_owned(),
            labels: BTreeMap::new(),
            content: Value::Null,
            target_condition: String::new(),
            created: now,
            updated: now,
            number,
            priority: 0,
            metrics: BTreeMap::new(),
            etag: String::new(),
        }
    }

    /// Takes a wish in. 400401, 400402, 400403, 400404 and 400004 where it breaks a rule.
    pub fn apply(
        &mut self,
        wish: ConfigurationWish,
        now: Timestamp,
        metrics_max: usize,
    ) -> Result<(), Error> {
        if let Some(content) = wish.content.filter(|content| !content.is_null()) {
            self.set_content(content)?;
        } else if self.content.is_null() {
            return Err(content::invalid("content is missing").into());
        }
        if let Some(condition) = wish.target_condition {
            condition_error(&condition).map_or(Ok(()), |text| {
                Err(Error::refuse(ErrorCode::InvalidConfigurationTargetCondition, text))
            })?;
            self.target_condition = condition;
        }
        if let Some(priority) = wish.priority {
            if priority < 0 {
                return Err(Error::refuse(ErrorCode::ArgumentInvalid, "priority is a number from 0"));
            }
            self.priority = priority;
        }
        if let Some(queries) = wish.metrics.and_then(|metrics| metrics.queries) {
            check_metrics(&queries, metrics_max)?;
            self.metrics = queries;
        }
        if let Some(labels) = wish.labels {
            check_labels(&labels)?;
            self.labels = labels;
        }
        self.check_source()?;
        self.schema_version = wish.schema_version.unwrap_or(std::mem::take(&mut self.schema_version));
        self.updated = now;
        self.etag = new_etag();
        Ok(())
    }

    /// rule CONF-02: what a configuration says never changes.
    fn set_content(&mut self, content: Value) -> Result<(), Error> {
        let read = Content::read(&content)?;
        if !self.content.is_null() && content::stored(&self.content)? != read {
            return Err(Error::refuse(
                ErrorCode::CannotModifyImmutableConfigurationContent,
                "the content of a configuration cannot be changed; make a new one with a higher priority",
            ));
        }
        if self.content.is_null() {
            self.content = content;
        }
        Ok(())
    }

    /// The condition of `moduleContent` is about modules, that of all others about devices.
    fn check_source(&self) -> Result<(), Error> {
        let wanted = match self.content()? {
            Content::Module(_) => Source::Modules,
            Content::Device(_) | Content::Edge(_) => Source::Devices,
        };
        // Nothing is for nobody, whoever nobody is.
        let target = TargetCondition::parse(&self.target_condition).ok().map(|target| target.source());
        if !self.target_condition.trim().is_empty() && target != Some(wanted) {
            let text = "the target condition of moduleContent begins with FROM devices.modules WHERE, that of others does not";
            return Err(Error::refuse(ErrorCode::InvalidConfigurationTargetCondition, text));
        }
        Ok(())
    }

    /// What it says.
    pub fn content(&self) -> Result<Content, Error> {
        content::stored(&self.content)
    }

    /// The queries of the metrics that every configuration has.
    pub fn system_metrics(&self, id: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let has = |status: &str| format!("configurations.[[{id}]].status = '{status}'");
        let targeted = format!("configurations.[[{id}]].status IN ['Applied', 'Targeted']");
        let of = |source: &str, condition: &str| format!("SELECT deviceId FROM {source} WHERE {condition}");
        Ok(match self.content()? {
            Content::Device(_) => vec![
                ("targetedCount", of("devices", &targeted)),
                ("appliedCount", of("devices", &has("Applied"))),
            ],
            Content::Module(_) => vec![
                ("targetedCount", of("devices.modules", &targeted)),
                ("appliedCount", of("devices.modules", &has("Applied"))),
            ],
            Content::Edge(_) => {
                let agent = "moduleId = '$edgeAgent' AND";
                let applied = format!(
                    "{agent} {} AND properties.desired.$version = properties.reported.lastDesiredVersion AND",
                    has("Applied")
                );
                let code = "properties.reported.lastDesiredStatus.code";
                vec![
                    ("targetedCount", of("devices.modules", &targeted)),
                    ("appliedCount", of("devices.modules", &has("Applied"))),
                    ("reportedSuccessfulCount", of("devices.modules", &format!("{applied} {code} = 200"))),
                    ("reportedFailedCount", of("devices.modules", &format!("{applied} {code} != 200"))),
                ]
            }
        })
    }

    /// The configuration as the service API shows it; the etag is bare.
    pub fn view(
        &self,
        id: &str,
        system: &Map<String, Value>,
        custom: &Map<String, Value>,
    ) -> Result<Value, Error> {
        let queries: Map<String, Value> = self
            .system_metrics(id)?
            .into_iter()
            .map(|(name, query)| (name.to_owned(), query.into()))
            .collect();
        Ok(json!({
            "id": id,
            "schemaVersion": self.schema_version,
            "labels": self.labels,
            "content": self.content,
            "targetCondition": self.target_condition,
            "createdTimeUtc": self.created.to_string(),
            "lastUpdatedTimeUtc": self.updated.to_string(),
            "priority": self.priority,
            "systemMetrics": { "results": system, "queries": queries },
            "metrics": { "results": custom, "queries": self.metrics },
            "etag": self.etag,
        }))
    }
}

/// rule CONF-01: 1 to 128 lower-case letters, digits and marks.
pub(super) fn check_id(id: &str) -> Result<(), Refusal> {
    let plain = |c: u8| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !b"&^[]{}\\|\"<>/$`~".contains(&c);
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(plain) {
        return Err(Refusal::new(
            ErrorCode::ArgumentInvalid,
            format!(
                "the id of a configuration has 1 to {ID_LEN_MAX} lower-case letters, digits and marks of - : . + % _ # * ? ! ( ) , = @ ; '"
            ),
        ));
    }
    Ok(())
}

/// Why a target condition cannot be used.
pub(super) fn condition_error(text: &str) -> Option<String> {
    TargetCondition::parse(text).err().map(|error| format!("the target condition cannot be read: {error}"))
}

/// Why the query of a metric cannot be used.
pub(super) fn metric_error(query: &str) -> Option<String> {
    match TwinQuery::parse(query) {
        Ok(query) if query.source() == Source::Jobs => {
            Some("a metric counts devices or devices.modules, not devices.jobs".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn check_metrics(queries: &BTreeMap<String, String>, most: usize) -> Result<(), Error> {
    let refuse = |text: String| Error::refuse(ErrorCode::InvalidConfigurationCustomMetricsQuery, text);
    if queries.len() > most {
        return Err(refuse(format!("{} custom metrics, {most} are allowed", queries.len())));
    }
    match queries.iter().find_map(|(name, query)| Some((name, metric_error(query)?))) {
        Some((name, text)) => Err(refuse(format!("the query of the metric {name} cannot be used: {text}"))),
        None => Ok(()),
    }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Error> {
    let is_short = |text: &String| text.chars().count() <= LABEL_LEN_MAX;
    if labels.len() > LABELS_MAX || !labels.iter().all(|(name, value)| is_short(name) && is_short(value)) {
        let text = format!("at most {LABELS_MAX} labels with names and values of {LABEL_LEN_MAX} characters");
        return Err(Error::refuse(ErrorCode::ArgumentInvalid, text));
    }
    Ok(())
}
