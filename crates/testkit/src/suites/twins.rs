//! The contract of [`Twins`] on the device's side.

use ironbrook_hub::seams::Twins;
use ironbrook_model::{ErrorCode, Identity};
use serde_json::{Value, json};

async fn view(twins: &dyn Twins, identity: &Identity) -> Value {
    serde_json::from_slice(&twins.device_view(identity).await.unwrap()).unwrap()
}

/// Runs the whole suite; `known` has an untouched twin, `unknown` does not exist.
pub async fn run(twins: &dyn Twins, known: &Identity, unknown: &Identity) {
    let refused = twins.device_view(unknown).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceNotFound);
    assert_eq!(view(twins, known).await, json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));

    assert_eq!(
        twins.patch_reported(known, br#"{"a": {"b": 1, "c": 2}, "list": [1, {"x": null}]}"#).await.unwrap(),
        2
    );
    assert_eq!(twins.patch_reported(known, br#"{"a": {"b": null}, "d": "text"}"#).await.unwrap(), 3);
    let reported = view(twins, known).await["reported"].clone();
    assert_eq!(reported["a"], json!({"c": 2}));
    assert_eq!(reported["d"], "text");
    assert_eq!(reported["$version"], 3);

    for bad in ["", "[]", "7", "{\"a\": }", r#"{"a.b": 1}"#, r#"{"a b": 1}"#, r#"{"$x": 1}"#] {
        let refused = twins.patch_reported(known, bad.as_bytes()).await.unwrap_err();
        assert_eq!(refused.code.http_status(), 400, "{bad}: {refused}");
    }
    let large = json!({ "a": "x".repeat(4000), "b": "x".repeat(4000), "c": vec!["x".repeat(4000); 8] });
    let refused = twins.patch_reported(known, large.to_string().as_bytes()).await.unwrap_err();
    assert!(matches!(refused.code.http_status(), 400 | 413), "{refused}");
    assert_eq!(view(twins, known).await["reported"], reported, "a refused patch changes nothing");
}
