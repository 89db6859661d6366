//! The smallest merge patch between two JSON objects.

use ironbrook_model::twin::Object;
use serde_json::{Map, Value};

/// What, merged into `old`, gives `new`: only what differs, `null` for what is gone. Empty if nothing differs.
pub(super) fn difference(old: &Object, new: &Object) -> Object {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(difference(before, after)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch
}

/// Merges a patch: objects deep, `null` removes.
pub(super) fn merge(target: &mut Object, patch: &Object) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(inner_patch) => {
                let inner = target.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, inner_patch);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn only_what_differs_is_in_the_patch() {
        let old = object(json!({"a": 1, "b": {"c": 1, "d": 2}, "e": {}, "f": 1}));
        let new = object(json!({"a": 1, "b": {"c": 1, "d": 3}, "g": {}, "f": {"x": 1}}));
        let expected = json!({"b": {"d": 3}, "e": null, "g": {}, "f": {"x": 1}});
        assert_eq!(Value::Object(difference(&old, &new)), expected);
    }

    fn json_object() -> impl Strategy<Value = Object> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0_i64..3).prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect()))
        });
        prop::collection::btree_map("[a-d]", value, 0..5).prop_map(|m| m.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_patch_turns_old_into_new_and_is_empty_between_equals(old in json_object(), new in json_object()) {
            let mut merged = old.clone();
            merge(&mut merged, &difference(&old, &new));
            prop_assert_eq!(&merged, &new);
            prop_assert!(difference(&merged, &new).is_empty());
        }
    }
}
