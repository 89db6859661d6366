//! The device twin as a device sees it.

use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// Both sections of the twin, with their versions, as a device reads them (no tags, no metadata).
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// What the service wants.
    pub desired: Map<String, Value>,
    /// Version of `desired`; grows with each change.
    pub desired_version: u64,
    /// What the device last reported.
    pub reported: Map<String, Value>,
    /// Version of `reported`.
    pub reported_version: u64,
}

/// A change to the desired properties.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredUpdate {
    /// Version of the desired section after this change.
    pub version: u64,
    /// The changed members, `null` for removed ones; or all members where `complete`.
    pub properties: Map<String, Value>,
    /// Whether `properties` is the whole section: first after subscribing, and after a gap in the connection.
    pub complete: bool,
}

impl Twin {
    /// Reads the body of an answered twin request.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let mut twin: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|e| Error::Protocol(format!("the twin is not a JSON object: {e}")))?;
        let (desired, desired_version) = section(twin.remove("desired"));
        let (reported, reported_version) = section(twin.remove("reported"));
        Ok(Self { desired, desired_version, reported, reported_version })
    }
}

impl DesiredUpdate {
    /// Reads the body of a notification; the version stands in the body, and in the topic as a fallback.
    pub(crate) fn parse(body: &[u8], version_in_topic: Option<u64>) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        value.is_object().then(|| {
            let (properties, version) = section(Some(value));
            let version = if version == 0 { version_in_topic.unwrap_or(0) } else { version };
            Self { version, properties, complete: false }
        })
    }
}

/// Splits `$version` off a section.
fn section(value: Option<Value>) -> (Map<String, Value>, u64) {
    let Some(Value::Object(mut members)) = value else { return (Map::new(), 0) };
    let version = members.remove("$version").and_then(|v| v.as_u64()).unwrap_or(0);
    members.remove("$metadata");
    (members, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_split_from_properties() {
        let twin =
            Twin::parse(br#"{"desired":{"interval":2,"$version":3},"reported":{"$version":1}}"#).unwrap();
        assert_eq!((twin.desired_version, twin.reported_version), (3, 1));
        assert_eq!(serde_json::to_string(&twin.desired).unwrap(), r#"{"interval":2}"#);
        assert!(twin.reported.is_empty());
    }

    #[test]
    fn a_notification_without_version_takes_it_from_the_topic() {
        let update = DesiredUpdate::parse(br#"{"a":null}"#, Some(8)).unwrap();
        assert_eq!((update.version, update.complete), (8, false));
        assert_eq!(DesiredUpdate::parse(b"[]", None), None);
    }
}
