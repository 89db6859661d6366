//! How a change is told to others: to the device, and to routes as an event.

use super::limits::OWN_MEMBERS;
use super::merge::{Stamp, merge};
use super::{Object, SectionKind};
use crate::Timestamp;
use serde_json::{Map, Value};

/// A patch as applied: nulls kept, the hub's own members replaced by `$version`. What a device is sent.
pub fn device_patch(patch: &Object, version: u64) -> Object {
    let mut told = strip(patch);
    told.insert("$version".to_owned(), version.into());
    told
}

/// A patch as applied, with the metadata of what it touched and `$version`: a section in a twin change event.
pub fn change_view(kind: SectionKind, patch: &Object, version: u64, now: Timestamp) -> Object {
    let (mut values, mut metadata) = (Map::new(), Map::new());
    let stamp =
        Stamp { updated: now.to_string(), version: (kind == SectionKind::Desired).then_some(version) };
    merge(&mut values, &mut metadata, patch, &stamp);
    let mut view = strip(patch);
    view.insert("$metadata".to_owned(), Value::Object(metadata));
    view.insert("$version".to_owned(), version.into());
    view
}

/// The patch that turns `old` into `new`: all of `new`, and null for every key that is gone.
pub fn replacement_patch(old: &Object, new: &Object) -> Object {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let value = match (old.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(replacement_patch(old, new)),
            (_, value) => value.clone(),
        };
        patch.insert(key.clone(), value);
    }
    patch
}

/// The smallest patch that turns `old` into `new`: what differs, and null for every key that is gone.
pub fn difference(old: &Object, new: &Object) -> Object {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
        let value = match (old.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(difference(old, new)),
            (_, value) => value.clone(),
        };
        patch.insert(key.clone(), value);
    }
    patch
}

fn strip(patch: &Object) -> Object {
    patch
        .iter()
        .filter(|(key, _)| !OWN_MEMBERS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::merge::merge_plain;
    use super::super::merge::strategies::json_object;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_device_hears_nulls_and_the_version() {
        let patch = json!({"a": {"b": null}, "$version": 1, "$metadata": {}});
        assert_eq!(
            Value::Object(device_patch(patch.as_object().unwrap(), 7)),
            json!({"a": {"b": null}, "$version": 7})
        );
    }

    #[test]
    fn an_event_shows_the_change_with_its_metadata() {
        let patch = json!({"a": 1, "b": null});
        let now = Timestamp::from_millis(0);
        let view = change_view(SectionKind::Reported, patch.as_object().unwrap(), 4, now);
        let updated = now.to_string();
        assert_eq!(
            Value::Object(view),
            json!({
                "a": 1, "b": null, "$version": 4,
                "$metadata": {"$lastUpdated": updated, "a": {"$lastUpdated": updated}},
            })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_replacement_patch_turns_old_into_new(old in json_object(), new in json_object()) {
            let (mut before, mut after) = (Map::new(), Map::new());
            merge_plain(&mut before, &old);
            merge_plain(&mut after, &new);
            let patch = replacement_patch(&before, &after);
            let smallest = difference(&before, &after);
            prop_assert_eq!(smallest.is_empty(), before == after);
            let mut other = before.clone();
            merge_plain(&mut other, &smallest);
            prop_assert_eq!(&other, &after);
            merge_plain(&mut before, &patch);
            prop_assert_eq!(before, after);
        }
    }
}
