//! A twin as it is known here: what the hub last told, and what is still to be told to it.

use ironbrook_client::Twin as HubTwin;
use ironbrook_model::twin::{Object, Properties, Twin, TwinError};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// Patches that wait for the hub at most, beyond those that are merged.
const PENDING_MAX: usize = 32;

/// A twin as known here.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Known {
    desired: Object,
    /// `$version`; 0 while the hub has told nothing.
    pub(super) desired_version: u64,
    reported: Object,
    reported_version: u64,
    /// Reported and not yet known to be at the hub: one patch after the other, merged where that says the same.
    pending: VecDeque<Object>,
    /// Whether the first of them is on its way, so that nothing may be merged into it.
    sending: bool,
    /// Patches the hub has taken.
    pub(super) sent: u64,
}

impl Known {
    /// As its device sees it.
    pub(super) fn device_view(&self) -> Vec<u8> {
        let view = |values: &Object, version: u64| {
            let mut view = values.clone();
            view.insert("$version".to_owned(), version.into());
            Value::Object(view)
        };
        let (desired, reported) =
            (view(&self.desired, self.desired_version), view(&self.reported, self.reported_version));
        json!({ "desired": desired, "reported": reported }).to_string().into_bytes()
    }

    /// As a service would see it, as far as it is known.
    pub(super) fn service_view(&self) -> Value {
        json!({ "properties": { "desired": self.desired, "reported": self.reported } })
    }

    /// Takes in the whole as the hub has it; what it was not told yet stays on top. Gives the change of the desired properties.
    pub(super) fn set(&mut self, hub: HubTwin) -> Option<Object> {
        let HubTwin { desired, desired_version, reported, reported_version } = hub;
        self.reported = reported;
        self.reported_version = reported_version;
        for patch in &self.pending {
            merge(&mut self.reported, patch);
            self.reported_version += 1;
        }
        self.set_desired(desired, desired_version)
    }

    /// Takes in all desired properties; gives what changed.
    pub(super) fn set_desired(&mut self, desired: Object, version: u64) -> Option<Object> {
        // A twin that was made anew begins with low versions again, so another version is a newer one.
        if version == self.desired_version && desired == self.desired {
            return None;
        }
        let patch = changes(&self.desired, &desired);
        self.desired = desired;
        self.desired_version = version;
        Some(patch)
    }

    /// Takes a change of desired properties in; `false` where changes before it are missing.
    pub(super) fn patch_desired(&mut self, patch: &Object, version: u64) -> bool {
        // rule EDGEHUB-06: a change counts only if it follows what is known; otherwise the whole is read.
        let follows = version == self.desired_version + 1;
        if follows {
            merge(&mut self.desired, patch);
            self.desired_version = version;
        }
        follows
    }

    /// Merges a client's patch into the reported properties, by the rules of twins; gives the new version.
    pub(super) fn report(&mut self, patch: &[u8], now: Timestamp) -> Result<u64, Refusal> {
        let reported = Properties {
            version: self.reported_version,
            values: self.reported.clone(),
            metadata: Map::new(),
        };
        let mut twin = Twin { reported, ..Twin::default() };
        let patch = twin.patch_reported(patch, now).map_err(|error: TwinError| Refusal::from(error))?;
        let count = self.pending.len();
        let is_free = count > usize::from(self.sending);
        match self.pending.back_mut().filter(|last| is_free && composes(last, &patch)) {
            Some(last) => compose(last, &patch),
            None if count >= PENDING_MAX => return Err(too_many()),
            None => self.pending.push_back(patch),
        }
        self.reported = twin.reported.values;
        self.reported_version = twin.reported.version;
        Ok(self.reported_version)
    }

    /// What is to be sent up next; the same again until it was [`sent`](Self::sent).
    pub(super) fn next_report(&mut self) -> Option<&Object> {
        self.sending = !self.pending.is_empty();
        self.pending.front()
    }

    /// The hub took what was sent, or refused it for good.
    pub(super) fn sent(&mut self) {
        self.pending.pop_front();
        self.sending = false;
        self.sent += 1;
    }

    /// Whether something waits to be sent.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Merges a patch: objects deep, `null` removes, everything else replaces.
pub(crate) fn merge(target: &mut Object, patch: &Object) {
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match value {
            Value::Null => _ = target.shift_remove(key),
            Value::Object(patch) => {
                let inner = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            other => _ = target.insert(key.clone(), other.clone()),
        }
    }
}

/// Whether one patch can say what these two do, one after the other: not where the first removes a member, or makes it plain, and
/// the second merges into it.
fn composes(first: &Object, second: &Object) -> bool {
    second.iter().all(|(key, value)| match (first.get(key), value) {
        (None, _) => true,
        (Some(Value::Object(first)), Value::Object(second)) => composes(first, second),
        (Some(_), Value::Object(_)) => false,
        _ => true,
    })
}

/// Makes of the first patch one that does what both do.
fn compose(first: &mut Object, second: &Object) {
    for (key, value) in second {
        match (first.get_mut(key), value) {
            (Some(Value::Object(first)), Value::Object(second)) => compose(first, second),
            _ => _ = first.insert(key.clone(), value.clone()),
        }
    }
}

fn too_many() -> Refusal {
    Refusal::new(
        ErrorCode::ThrottlingException,
        format!(
            "{PENDING_MAX} changes of reported properties wait for the hub; report again when it is back"
        ),
    )
}

/// The patch from old to new that holds changed members only.
fn changes(old: &Object, new: &Object) -> Object {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(key.clone(), Value::Object(changes(old, new)));
            }
            _ => _ = patch.insert(key.clone(), value.clone()),
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn hub(desired: Value, version: u64, reported: Value) -> HubTwin {
        HubTwin {
            desired: object(desired),
            desired_version: version,
            reported: object(reported),
            reported_version: 7,
        }
    }

    fn view(known: &Known) -> Value {
        serde_json::from_slice(&known.device_view()).unwrap()
    }

    #[test]
    fn what_the_hub_was_not_told_yet_stays_on_top() {
        let mut known = Known::default();
        assert_eq!(known.report(br#"{"a":1,"b":{"c":1}}"#, NOW), Ok(1));
        assert_eq!(known.next_report(), Some(&object(json!({"a": 1, "b": {"c": 1}}))));
        assert_eq!(known.report(br#"{"a":null,"b":{"d":2}}"#, NOW), Ok(2));
        assert_eq!(known.report(br#"{"b":{"d":3}}"#, NOW), Ok(3));
        known.set(hub(json!({"x": 1}), 3, json!({"a": 0, "old": true})));
        assert_eq!(
            view(&known),
            json!({"desired": {"x": 1, "$version": 3},
                   "reported": {"old": true, "b": {"c": 1, "d": 3}, "$version": 9}})
        );
        // No answer came: the first comes again, then all since then together.
        assert_eq!(known.next_report(), Some(&object(json!({"a": 1, "b": {"c": 1}}))));
        known.sent();
        assert_eq!(known.next_report(), Some(&object(json!({"a": null, "b": {"d": 3}}))));
        known.sent();
        assert!(!known.is_dirty());
    }

    #[test]
    fn what_one_patch_cannot_say_goes_in_two_and_there_is_a_bound() {
        let mut known = Known::default();
        known.report(br#"{"o":null}"#, NOW).unwrap();
        known.report(br#"{"o":{"x":1}}"#, NOW).unwrap();
        assert_eq!(known.pending.len(), 2);
        let refused = (0..PENDING_MAX).find_map(|_| {
            let gone = known.report(br#"{"o":null}"#, NOW).err();
            gone.or_else(|| known.report(br#"{"o":{"x":1}}"#, NOW).err())
        });
        assert_eq!(refused.unwrap().code, ErrorCode::ThrottlingException);
        assert_eq!(known.pending.len(), PENDING_MAX);
    }

    #[test]
    fn changes_must_follow_each_other_rule_edgehub_06() {
        let mut known = Known::default();
        assert_eq!(
            known.set_desired(object(json!({"a": 1, "b": {"c": 1}})), 4),
            Some(object(json!({"a": 1, "b": {"c": 1}})))
        );
        assert!(known.patch_desired(&object(json!({"b": {"c": null, "d": 1}, "$version": 5})), 5));
        assert!(!known.patch_desired(&object(json!({"a": 2})), 7));
        assert_eq!(
            known.set_desired(object(json!({"b": {"d": 1, "e": 2}})), 7),
            Some(object(json!({"a": null, "b": {"e": 2}})))
        );
        assert_eq!(known.set_desired(object(json!({"b": {"d": 1, "e": 2}})), 7), None);
    }

    #[test]
    fn a_patch_that_breaks_a_rule_changes_nothing() {
        let mut known = Known::default();
        let before = known.clone();
        assert!(known.report(b"[]", NOW).is_err());
        assert!(known.report(br#"{"a.b":1}"#, NOW).is_err());
        assert_eq!(known, before);
    }

    fn flat() -> impl Strategy<Value = Object> {
        let value = prop_oneof![Just(Value::Null), (0..3_i64).prop_map(Value::from)];
        proptest::collection::vec(("[a-c]", value), 0..4).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn patches_composed_do_what_they_do_one_by_one(start in flat(), first in flat(), second in flat()) {
            let wrap = |inner: &Object| { let mut o = inner.clone(); o.insert("o".to_owned(), Value::Object(inner.clone())); o };
            let (start, first, second) = (wrap(&start), wrap(&first), wrap(&second));
            let mut expected = Map::new();
            merge(&mut expected, &start);
            let mut found = expected.clone();
            merge(&mut expected, &first);
            merge(&mut expected, &second);
            let mut both = first.clone();
            if composes(&first, &second) {
                compose(&mut both, &second);
                merge(&mut found, &both);
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn changes_lead_from_old_to_new(old in flat(), new in flat()) {
            let (mut before, mut after) = (Map::new(), Map::new());
            merge(&mut before, &old);
            merge(&mut after, &new);
            let patch = changes(&before, &after);
            merge(&mut before, &patch);
            prop_assert_eq!(before, after);
        }
    }
}
