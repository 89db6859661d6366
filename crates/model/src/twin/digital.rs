//! A twin as a digital twin: what a device with a plug-and-play model is, by the names of its model.
//!
//! Properties lose the wrapping that devices report them in (`value`, `ac`, `av`, `ad`), components lose their mark (`__t`), and what
//! is known of each stands in `$metadata` beside them. Source: Azure docs, "Understand IoT Plug and Play digital twins".

use super::{Object, Twin};
use serde_json::{Map, Value, json};

/// Marks an object of a section as a component.
const COMPONENT: &str = "__t";
/// What is known of properties, beside them.
const METADATA: &str = "$metadata";

/// One of the two sections, or the part of it that belongs to a component.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: Option<&'a Object>,
    metadata: Option<&'a Object>,
}

impl<'a> Part<'a> {
    fn value(self, name: &str) -> Option<&'a Value> {
        self.values?.get(name)
    }

    fn known(self, name: &str, what: &str) -> Option<&'a Value> {
        self.metadata?.get(name)?.get(what)
    }

    fn updated(self, name: &str) -> Option<&'a str> {
        self.known(name, "$lastUpdated")?.as_str()
    }

    fn inside(self, name: &str) -> Self {
        Self {
            values: self.value(name).and_then(Value::as_object),
            metadata: self.metadata.and_then(|metadata| metadata.get(name)?.as_object()),
        }
    }

    fn is_component(self, name: &str) -> bool {
        let marked = |object: &Object| object.get(COMPONENT).and_then(Value::as_str) == Some("c");
        self.value(name).and_then(Value::as_object).is_some_and(marked)
    }
}

/// The digital twin of `id`: `$dtId`, `$metadata` with `$model`, properties and components.
pub fn digital_twin(id: &str, twin: &Twin) -> Object {
    let part = |values, metadata| Part { values: Some(values), metadata: Some(metadata) };
    let reported = part(&twin.reported.values, &twin.reported.metadata);
    let desired = part(&twin.desired.values, &twin.desired.metadata);
    let mut metadata = Map::new();
    if let Some(model) = &twin.model_id {
        metadata.insert("$model".to_owned(), model.as_str().into());
    }
    let mut document = Map::from_iter([("$dtId".to_owned(), id.into())]);
    document.extend(members(reported, desired, metadata, true));
    document
}

/// The members of a twin or of a component.
fn members(reported: Part<'_>, desired: Part<'_>, mut metadata: Object, has_components: bool) -> Object {
    let mut values = Map::new();
    let own = reported.values.into_iter().flatten();
    let wanted = desired.values.into_iter().flatten();
    for name in own.chain(wanted).map(|(name, _)| name).filter(|name| *name != COMPONENT) {
        if metadata.contains_key(name) || values.contains_key(name) {
            continue;
        }
        if has_components && (reported.is_component(name) || desired.is_component(name)) {
            let component = members(reported.inside(name), desired.inside(name), Map::new(), false);
            values.insert(name.clone(), Value::Object(component));
            continue;
        }
        let (value, known) = property(name, reported, desired);
        metadata.insert(name.clone(), Value::Object(known));
        values.extend(value.map(|value| (name.clone(), value)));
    }
    let mut all = Map::from_iter([(METADATA.to_owned(), Value::Object(metadata))]);
    all.append(&mut values);
    all
}

/// What a property is, where the device has said so, and what is known of it.
fn property(name: &str, reported: Part<'_>, desired: Part<'_>) -> (Option<Value>, Object) {
    let mut known = Map::new();
    if let Some(wanted) = desired.value(name) {
        known.insert("desiredValue".to_owned(), wanted.clone());
        known.extend(
            desired
                .known(name, "$lastUpdatedVersion")
                .map(|version| ("desiredVersion".to_owned(), version.clone())),
        );
    }
    let mut value = reported.value(name).cloned();
    // An answer to a wish is wrapped: the value with code, version and words.
    if let Some(Value::Object(answer)) = reported.value(name)
        && let (Some(inner), Some(code)) = (answer.get("value"), answer.get("ac"))
    {
        value = Some(inner.clone());
        known.insert("ackCode".to_owned(), code.clone());
        for (short, long) in [("av", "ackVersion"), ("ad", "ackDescription")] {
            known.extend(answer.get(short).map(|said| (long.to_owned(), said.clone())));
        }
    }
    // Times of one width, so the later one is the greater text.
    if let Some(updated) = reported.updated(name).max(desired.updated(name)) {
        known.insert("lastUpdateTime".to_owned(), updated.into());
    }
    (value, known)
}

/// The JSON Patch (RFC 6902) that turns one document into another.
pub fn json_patch(old: &Object, new: &Object) -> Vec<Value> {
    let mut operations = Vec::new();
    compare("", old, new, &mut operations);
    operations
}

fn compare(path: &str, old: &Object, new: &Object, operations: &mut Vec<Value>) {
    let at = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        operations.push(json!({ "op": "remove", "path": at(name) }));
    }
    for (name, value) in new {
        match (old.get(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => compare(&at(name), old, new, operations),
            (Some(old), new) if old == new => {}
            (Some(_), new) => operations.push(json!({ "op": "replace", "path": at(name), "value": new })),
            (None, new) => operations.push(json!({ "op": "add", "path": at(name), "value": new })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const ONE: Timestamp = Timestamp::from_millis(1_769_850_000_000);
    const TWO: Timestamp = Timestamp::from_millis(1_769_850_060_000);

    fn twin() -> Twin {
        Twin { model_id: Some("dtmi:com:example:Thermostat;1".to_owned()), ..Twin::default() }
    }

    fn report(twin: &mut Twin, patch: &Value, now: Timestamp) {
        twin.patch_reported(patch.to_string().as_bytes(), now).unwrap();
    }

    #[test]
    fn values_are_bare_and_answers_stand_in_the_metadata() {
        let mut twin = twin();
        twin.patch(None, json!({"target": 21, "wanted": 1}).as_object(), ONE).unwrap();
        let answer = json!({"value": 20, "ac": 200, "av": 2, "ad": "done"});
        report(&mut twin, &json!({"target": answer, "serial": "7", "room": {"value": 1}}), TWO);
        let (one, two) = (ONE.to_string(), TWO.to_string());
        assert_eq!(
            Value::Object(digital_twin("d", &twin)),
            json!({
                "$dtId": "d",
                "$metadata": {
                    "$model": "dtmi:com:example:Thermostat;1",
                    "target": {"desiredValue": 21, "desiredVersion": 2, "ackCode": 200, "ackVersion": 2,
                        "ackDescription": "done", "lastUpdateTime": two},
                    "serial": {"lastUpdateTime": two},
                    "room": {"lastUpdateTime": two},
                    "wanted": {"desiredValue": 1, "desiredVersion": 2, "lastUpdateTime": one},
                },
                "target": 20, "serial": "7", "room": {"value": 1},
            })
        );
    }

    #[test]
    fn components_have_metadata_of_their_own() {
        let mut twin = twin();
        report(&mut twin, &json!({"thermostat1": {"__t": "c", "max": 29.1}, "plain": {"a": 1}}), ONE);
        let document = digital_twin("d", &twin);
        let one = ONE.to_string();
        assert_eq!(
            document["thermostat1"],
            json!({"$metadata": {"max": {"lastUpdateTime": one}}, "max": 29.1})
        );
        assert_eq!(document["plain"], json!({"a": 1}));
    }

    #[test]
    fn a_patch_is_as_recorded_ones_are() {
        let (mut before, id) = (twin(), "d");
        let mut after = before.clone();
        report(&mut after, &json!({"max": 34.9}), ONE);
        let patch =
            |old: &Twin, new: &Twin| Value::Array(json_patch(&digital_twin(id, old), &digital_twin(id, new)));
        assert_eq!(
            patch(&before, &after),
            json!([
                {"op": "add", "path": "/$metadata/max", "value": {"lastUpdateTime": ONE.to_string()}},
                {"op": "add", "path": "/max", "value": 34.9},
            ])
        );
        before = after.clone();
        report(&mut after, &json!({"max": 16.9}), TWO);
        assert_eq!(
            patch(&before, &after),
            json!([
                {"op": "replace", "path": "/$metadata/max/lastUpdateTime", "value": TWO.to_string()},
                {"op": "replace", "path": "/max", "value": 16.9},
            ])
        );
        before = after.clone();
        report(&mut after, &json!({"max": null, "a~/b": 1}), TWO);
        let removed = patch(&before, &after);
        let has = |operation: Value| removed.as_array().unwrap().contains(&operation);
        assert!(has(json!({"op": "remove", "path": "/$metadata/max"})), "{removed}");
        assert!(has(json!({"op": "remove", "path": "/max"})), "{removed}");
        assert!(has(json!({"op": "add", "path": "/a~0~1b", "value": 1})), "{removed}");
        assert_eq!(patch(&after, &after), json!([]));
    }
}
