//! Merging a patch into a section, and the metadata that mirrors it.

use super::Object;
use super::limits::OWN_MEMBERS;
use serde_json::{Map, Value};

/// What a change writes into the metadata of everything it touches.
pub(super) struct Stamp {
    /// Time of the change, ISO 8601.
    pub updated: String,
    /// The section's new version; desired properties only.
    pub version: Option<u64>,
}

impl Stamp {
    fn put(&self, metadata: &mut Object) {
        metadata.insert("$lastUpdated".to_owned(), Value::String(self.updated.clone()));
        if let Some(version) = self.version {
            metadata.insert("$lastUpdatedVersion".to_owned(), version.into());
        }
    }

    fn new_node(&self) -> Object {
        let mut node = Map::new();
        self.put(&mut node);
        node
    }
}

/// Merges `patch` into `target`: objects deep, `null` deletes, everything else replaces. `metadata` mirrors it.
pub(super) fn merge(target: &mut Object, metadata: &mut Object, patch: &Object, stamp: &Stamp) {
    stamp.put(metadata);
    for (key, value) in patch.iter().filter(|(key, _)| !OWN_MEMBERS.contains(&key.as_str())) {
        merge_member(target, metadata, key, value, stamp);
    }
}

fn merge_member(target: &mut Object, metadata: &mut Object, key: &str, value: &Value, stamp: &Stamp) {
    match value {
        Value::Null => {
            // `shift_remove` keeps the order of the others, as devices sent them.
            target.shift_remove(key);
            metadata.shift_remove(key);
        }
        Value::Object(patch) => {
            let inner = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
            let node = metadata.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                // rule TWIN-01: an object over a scalar replaces it.
                *inner = Value::Object(Map::new());
                *node = Value::Object(Map::new());
            }
            if let (Value::Object(inner), Value::Object(node)) = (inner, node) {
                merge(inner, node, patch, stamp);
            }
        }
        other => {
            target.insert(key.to_owned(), other.clone());
            metadata.insert(key.to_owned(), Value::Object(stamp.new_node()));
        }
    }
}

/// A merge without metadata, for tags.
pub(super) fn merge_plain(target: &mut Object, patch: &Object) {
    let stamp = Stamp { updated: String::new(), version: None };
    merge(target, &mut Map::new(), patch, &stamp);
}

/// Made-up sections for property tests.
#[cfg(test)]
pub(super) mod strategies {
    use super::super::Object;
    use proptest::prelude::*;
    use serde_json::Value;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_i64..9).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::btree_map("[a-d]", inner.clone(), 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
                prop::collection::vec(inner, 0..3).prop_map(Value::from),
            ]
        })
    }

    pub(crate) fn json_object() -> impl Strategy<Value = Object> {
        prop::collection::btree_map("[a-d]", json_value(), 0..5).prop_map(|m| m.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::strategies::json_object;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn merged(target: Value, patch: Value) -> Value {
        let mut target = object(target);
        merge_plain(&mut target, &object(patch));
        Value::Object(target)
    }

    // TWIN-01
    #[test]
    fn twin_01_objects_merge_deep_and_null_deletes() {
        assert_eq!(
            merged(
                json!({"a": {"b": 1, "c": 2}, "d": 3}),
                json!({"a": {"b": null, "e": [1, null]}, "d": {"x": 1}})
            ),
            json!({"a": {"c": 2, "e": [1, null]}, "d": {"x": 1}})
        );
        assert_eq!(merged(json!({"a": {"b": 1}}), json!({"a": {"b": null}})), json!({"a": {}}));
        assert_eq!(merged(json!({"a": {"b": 1}}), json!({"a": 5})), json!({"a": 5}));
        assert_eq!(merged(json!({}), json!({"a": {"b": null}})), json!({"a": {}}));
    }

    #[test]
    fn metadata_mirrors_the_structure_and_stamps_the_touched_path_only() {
        let (mut target, mut metadata) = (Map::new(), Map::new());
        let stamp = |t: &str, v| Stamp { updated: t.to_owned(), version: Some(v) };
        merge(&mut target, &mut metadata, &object(json!({"a": {"b": 1}, "c": [1]})), &stamp("t1", 2));
        merge(&mut target, &mut metadata, &object(json!({"a": {"d": 1}})), &stamp("t2", 3));
        assert_eq!(
            Value::Object(metadata),
            json!({
                "$lastUpdated": "t2", "$lastUpdatedVersion": 3,
                "a": {
                    "$lastUpdated": "t2", "$lastUpdatedVersion": 3,
                    "b": {"$lastUpdated": "t1", "$lastUpdatedVersion": 2},
                    "d": {"$lastUpdated": "t2", "$lastUpdatedVersion": 3},
                },
                "c": {"$lastUpdated": "t1", "$lastUpdatedVersion": 2},
            })
        );
    }

    /// Keys of `metadata` without its own members must be the keys of `target`, at every level.
    fn mirrors(target: &Object, metadata: &Object) -> bool {
        let stamped = metadata.contains_key("$lastUpdated");
        let keys = metadata.keys().filter(|k| !k.starts_with('$')).count();
        stamped
            && keys == target.len()
            && target.iter().all(|(key, value)| match (value, metadata.get(key)) {
                (Value::Object(inner), Some(Value::Object(node))) => mirrors(inner, node),
                (_, Some(Value::Object(node))) => node.keys().all(|k| k.starts_with('$')),
                _ => false,
            })
    }

    fn has_null_member(object: &Object) -> bool {
        object.values().any(|v| v.is_null() || v.as_object().is_some_and(has_null_member))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merging_twice_is_merging_once(base in json_object(), patch in json_object()) {
            let mut once = Map::new();
            merge_plain(&mut once, &base);
            merge_plain(&mut once, &patch);
            let mut twice = once.clone();
            merge_plain(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn an_empty_patch_changes_nothing_and_no_null_stays(base in json_object()) {
            let mut target = Map::new();
            merge_plain(&mut target, &base);
            let before = target.clone();
            merge_plain(&mut target, &Map::new());
            prop_assert_eq!(&before, &target);
            prop_assert!(!has_null_member(&target));
        }

        #[test]
        fn metadata_mirrors_any_history(patches in prop::collection::vec(json_object(), 1..6)) {
            let (mut target, mut metadata) = (Map::new(), Map::new());
            for (n, patch) in patches.iter().enumerate() {
                let stamp = Stamp { updated: n.to_string(), version: None };
                merge(&mut target, &mut metadata, patch, &stamp);
                prop_assert!(mirrors(&target, &metadata), "{target:?} {metadata:?}");
            }
        }
    }
}
