//! Twins: any patches of devices and services. A patch is taken as a whole or not at all, and what devices are told leads them to
//! what services see.

use ironbrook_model::Timestamp;
use ironbrook_model::twin::{Object, SectionKind, Twin, change_view, device_patch, replacement_patch};
use serde_json::Value;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Lines, each a patch: of reported properties, of desired properties, of tags, in turn.
pub fn patches(data: &[u8]) {
    let mut twin = Twin::default();
    for (at, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let before = twin.clone();
        let object = match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        };
        let outcome = match (at % 3, &object) {
            (0, _) => twin.patch_reported(line, NOW).map(drop),
            (1, Some(desired)) => twin.patch(None, Some(desired), NOW),
            (_, Some(tags)) => twin.patch(Some(tags), None, NOW),
            (_, None) => continue,
        };
        match outcome {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(twin, before, "a patch that is refused changes nothing");
            }
            Ok(()) => accepted(&before, &twin, object.as_ref()),
        }
    }
    let stored = serde_json::to_vec(&twin).expect("it is JSON");
    assert_eq!(serde_json::from_slice::<Twin>(&stored).expect("it was written so"), twin);
}

fn accepted(before: &Twin, twin: &Twin, patch: Option<&Object>) {
    assert_eq!(twin.version, before.version + 1);
    for (old, new) in [(&before.desired, &twin.desired), (&before.reported, &twin.reported)] {
        assert!(new.version == old.version || new.version == old.version + 1);
        assert!(!has_null(&Value::Object(new.values.clone())), "null removes");
        // What leads a device from the one to the other.
        let told = replacement_patch(&old.values, &new.values);
        let mut device = Twin { desired: old.clone(), ..Twin::default() };
        if device.patch(None, Some(&told), NOW).is_ok() {
            assert_eq!(device.desired.values, new.values);
        }
    }
    if let Some(patch) = patch {
        drop(device_patch(patch, twin.desired.version));
        drop(change_view(SectionKind::Desired, patch, twin.desired.version, NOW));
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(has_null),
        // Inside of lists null is a value as any other.
        _ => false,
    }
}
