//! The document and its changes.

use super::limits::{SectionKind, TwinError, TwinLimits, check_len, check_section};
use super::merge::{Stamp, merge, merge_plain};
use super::{NEVER, Object};
use crate::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Version of a twin that was never changed, as observed on a new device.
const FIRST_TWIN_VERSION: u64 = 2;

/// Desired or reported properties: values, their metadata, their version.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Properties {
    /// `$version`; 1 when new, one more for each accepted change.
    pub version: u64,
    /// The values, without `$version` and `$metadata`.
    pub values: Object,
    /// `$metadata`.
    pub metadata: Object,
}

impl Default for Properties {
    fn default() -> Self {
        let metadata = Map::from_iter([("$lastUpdated".to_owned(), Value::from(NEVER))]);
        Self { version: 1, values: Map::new(), metadata }
    }
}

impl Properties {
    /// The values with `$version`: what a device sees.
    pub fn device_view(&self) -> Object {
        let mut view = self.values.clone();
        view.insert("$version".to_owned(), self.version.into());
        view
    }

    /// The values with `$metadata` and `$version`: what a service sees.
    pub fn service_view(&self) -> Object {
        let mut view = self.values.clone();
        view.insert("$metadata".to_owned(), Value::Object(self.metadata.clone()));
        view.insert("$version".to_owned(), self.version.into());
        view
    }
}

/// A twin without what the registry adds to it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Twin {
    /// One more for each accepted change of any section; 2 when new.
    pub version: u64,
    /// Counts changes by services; the number behind the etag.
    pub change_counter: u64,
    /// Tags; services only.
    #[serde(default)]
    pub tags: Object,
    /// Desired properties.
    pub desired: Properties,
    /// Reported properties.
    pub reported: Properties,
    /// Plug-and-play model id the device announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// What became of the configurations whose target condition the twin fulfils, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, ConfigurationStatus>,
}

/// What became of a configuration on one of its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ConfigurationStatus {
    /// It is for the twin, but another one prevails, or it cannot be applied.
    Targeted,
    /// The twin is as it says.
    Applied,
}

impl Default for Twin {
    fn default() -> Self {
        Self {
            version: FIRST_TWIN_VERSION,
            change_counter: 1,
            tags: Map::new(),
            desired: Properties::default(),
            reported: Properties::default(),
            model_id: None,
            configurations: BTreeMap::new(),
        }
    }
}

/// Reads a JSON object out of bytes a peer sent as a change of a section.
pub(crate) fn parse_object(kind: SectionKind, bytes: &[u8]) -> Result<Object, TwinError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(TwinError::NotAnObject(kind.name(), "another JSON value".to_owned())),
        // The parser's text names line and column but never the content.
        Err(error) => Err(TwinError::NotAnObject(kind.name(), format!("not JSON: {error}"))),
    }
}

impl Twin {
    /// The etag services see: base64 of the change counter, eight bytes, big-endian.
    pub fn etag(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.change_counter.to_be_bytes())
    }

    /// Merges a patch that a device sent into the reported properties.
    ///
    /// The etag stays: it guards what services write, and a reporting device would defeat every `If-Match`.
    pub fn patch_reported(&mut self, patch: &[u8], now: Timestamp) -> Result<Object, TwinError> {
        self.patch_reported_within(TwinLimits::AZURE, patch, now)
    }

    /// The same with other limits than Azure's.
    pub fn patch_reported_within(
        &mut self,
        limits: TwinLimits,
        patch: &[u8],
        now: Timestamp,
    ) -> Result<Object, TwinError> {
        let kind = SectionKind::Reported;
        let patch = parse_object(kind, patch)?;
        let changed = patched(kind, &self.reported, &patch, now, limits)?;
        self.reported = changed;
        self.version += 1;
        Ok(patch)
    }

    /// Merges what a service sent: tags and desired properties, each optional. All or nothing.
    pub fn patch(
        &mut self,
        tags: Option<&Object>,
        desired: Option<&Object>,
        now: Timestamp,
    ) -> Result<(), TwinError> {
        self.patch_within(TwinLimits::AZURE, tags, desired, now)
    }

    /// The same with other limits than Azure's.
    pub fn patch_within(
        &mut self,
        limits: TwinLimits,
        tags: Option<&Object>,
        desired: Option<&Object>,
        now: Timestamp,
    ) -> Result<(), TwinError> {
        let new_tags = tags
            .map(|patch| {
                check_section(SectionKind::Tags, patch)?;
                let mut merged = self.tags.clone();
                merge_plain(&mut merged, patch);
                check_len(SectionKind::Tags, &merged, limits).map(|()| merged)
            })
            .transpose()?;
        let new_desired = desired
            .map(|patch| patched(SectionKind::Desired, &self.desired, patch, now, limits))
            .transpose()?;
        self.commit(new_tags, new_desired);
        Ok(())
    }

    /// Replaces tags and desired properties as a whole; a missing section becomes empty. Reported properties stay.
    pub fn replace(&mut self, tags: &Object, desired: &Object, now: Timestamp) -> Result<(), TwinError> {
        self.replace_within(TwinLimits::AZURE, tags, desired, now)
    }

    /// The same with other limits than Azure's.
    pub fn replace_within(
        &mut self,
        limits: TwinLimits,
        tags: &Object,
        desired: &Object,
        now: Timestamp,
    ) -> Result<(), TwinError> {
        check_section(SectionKind::Tags, tags)?;
        let mut new_tags = Map::new();
        merge_plain(&mut new_tags, tags);
        check_len(SectionKind::Tags, &new_tags, limits)?;
        // rule TWIN-02: the version goes on counting, the metadata starts anew.
        let empty = Properties { version: self.desired.version, values: Map::new(), metadata: Map::new() };
        let new_desired = patched(SectionKind::Desired, &empty, desired, now, limits)?;
        self.commit(Some(new_tags), Some(new_desired));
        Ok(())
    }

    fn commit(&mut self, tags: Option<Object>, desired: Option<Properties>) {
        if let Some(tags) = tags {
            self.tags = tags;
        }
        if let Some(desired) = desired {
            self.desired = desired;
        }
        self.version += 1;
        self.change_counter += 1;
    }

    /// What a device reads: both property sections with `$version`, no metadata, no tags.
    pub fn device_view(&self) -> Value {
        json!({ "desired": self.desired.device_view(), "reported": self.reported.device_view() })
    }
}

/// `properties` with `patch` merged in, one version later, if every rule holds.
fn patched(
    kind: SectionKind,
    properties: &Properties,
    patch: &Object,
    now: Timestamp,
    limits: TwinLimits,
) -> Result<Properties, TwinError> {
    check_section(kind, patch)?;
    let mut next = properties.clone();
    next.version += 1;
    let version = (kind == SectionKind::Desired).then_some(next.version);
    merge(&mut next.values, &mut next.metadata, patch, &Stamp { updated: now.to_string(), version });
    check_len(kind, &next.values, limits)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_769_850_000_000);

    #[test]
    fn a_new_twin_has_the_observed_versions_and_etag() {
        let twin = Twin::default();
        assert_eq!((twin.version, twin.etag().as_str()), (2, "AAAAAAAAAAE="));
        assert_eq!(twin.device_view(), json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));
        assert_eq!(twin.reported.service_view()["$metadata"]["$lastUpdated"], NEVER);
    }

    // TWIN-02
    #[test]
    fn twin_02_replace_clears_what_is_missing_and_keeps_reported() {
        let mut twin = Twin::default();
        twin.patch(Some(&object(json!({"t": 1}))), Some(&object(json!({"a": 1, "b": 2}))), NOW).unwrap();
        twin.patch_reported(br#"{"r":1}"#, NOW).unwrap();
        twin.replace(&Map::new(), &object(json!({"b": 3})), NOW).unwrap();
        assert_eq!(twin.tags, Map::new());
        assert_eq!(
            twin.device_view(),
            json!({"desired": {"b": 3, "$version": 3}, "reported": {"r": 1, "$version": 2}})
        );
        assert!(!twin.desired.metadata.contains_key("a"));
        assert_eq!(twin.version, 5);
    }

    // TWIN-07
    #[test]
    fn twin_07_tags_alone_leave_section_versions_and_reported_leaves_the_etag() {
        let mut twin = Twin::default();
        twin.patch(Some(&object(json!({"t": 1}))), None, NOW).unwrap();
        assert_eq!((twin.version, twin.desired.version, twin.change_counter), (3, 1, 2));
        twin.patch_reported(b"{}", NOW).unwrap();
        assert_eq!((twin.version, twin.reported.version, twin.change_counter), (4, 2, 2));
    }

    // TWIN-08
    #[test]
    fn twin_08_a_patch_that_breaks_a_rule_changes_nothing() {
        let mut twin = Twin::default();
        let before = twin.clone();
        assert!(twin.patch(Some(&object(json!({"t": 1}))), Some(&object(json!({"a b": 1}))), NOW).is_err());
        assert!(twin.patch_reported(b"[1]", NOW).is_err());
        assert!(twin.patch_reported(b"{\"a\":", NOW).is_err());
        let big = json!({ "s": vec!["x".repeat(4000); 9] });
        assert!(matches!(
            twin.patch(None, Some(&object(big)), NOW),
            Err(TwinError::TooLarge("properties.desired", 36_001, 32_768))
        ));
        assert_eq!(twin, before);
    }

    // TWIN-06
    #[test]
    fn twin_06_raised_limits_take_what_azures_do_not() {
        let big = object(json!({ "s": vec!["x".repeat(4000); 9] }));
        let mut twin = Twin::default();
        assert!(twin.patch(None, Some(&big), NOW).is_err());
        twin.patch_within(TwinLimits::NATIVE, Some(&big), Some(&big), NOW).unwrap();
        let reported = serde_json::to_vec(&big).unwrap();
        twin.patch_reported_within(TwinLimits::NATIVE, &reported, NOW).unwrap();
        let huge = object(json!({ "s": vec!["x".repeat(4000); 17] }));
        assert_eq!(
            twin.replace_within(TwinLimits::NATIVE, &huge, &Map::new(), NOW),
            Err(TwinError::TooLarge("tags", 68_001, 65_536))
        );
    }

    #[test]
    fn desired_metadata_carries_the_version_reported_does_not() {
        let mut twin = Twin::default();
        twin.patch(None, Some(&object(json!({"a": 1, "$version": 99}))), NOW).unwrap();
        twin.patch_reported(br#"{"a":1}"#, NOW).unwrap();
        assert_eq!(twin.desired.metadata["a"]["$lastUpdatedVersion"], 2);
        assert_eq!(twin.reported.metadata["a"].get("$lastUpdatedVersion"), None);
    }

    #[test]
    fn it_is_stored_and_read_back() {
        let mut twin = Twin::default();
        twin.patch_reported(br#"{"a":{"b":[1,2.5,"x",null]}}"#, NOW).unwrap();
        let bytes = serde_json::to_vec(&twin).unwrap();
        assert_eq!(serde_json::from_slice::<Twin>(&bytes).unwrap(), twin);
    }
}
