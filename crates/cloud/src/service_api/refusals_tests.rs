//! Why somebody was refused, as those who look after devices read it.

use super::tests::{Hub, LATER, hub};
use http::StatusCode;
use ironbrook_hub::Credential;
use ironbrook_hub::auth::refusals::{Origin, from};
use ironbrook_model::{DeviceId, Identity, ModuleId, SasToken, SharedAccessKey};
use serde_json::{Value, json};

async fn refuse(hub: &Hub, identity: &Identity, key: &SharedAccessKey) {
    let text = key.sign(&format!("localhost/{}", identity.resource()), LATER, None);
    let shown = Credential::Sas(SasToken::parse(&text).unwrap());
    let origin = Origin { protocol: "mqtt", address: ([10, 0, 0, 7], 5000).into() };
    from(origin, hub.cloud.hub().auth().device(identity, &shown)).await.unwrap_err();
}

// AUTH-21
#[tokio::test]
async fn auth_21_refusals_are_read_by_device_and_all_together_and_hold_no_secret() {
    let hub = hub().await;
    let device = |id: &str| Identity::device(DeviceId::new(id.to_owned()).unwrap());
    let canary = SharedAccessKey::from_bytes(b"a canary among keys");
    refuse(&hub, &device("d"), &canary).await;
    refuse(&hub, &device("stranger"), &canary).await;
    hub.ask("PUT", "/devices/d/modules/m", &[], json!({"deviceId": "d", "moduleId": "m"})).await;
    let module = Identity::module(DeviceId::new("d").unwrap(), ModuleId::new("m").unwrap());
    refuse(&hub, &module, &canary).await;

    let of_d = hub.ask("GET", "/devices/d/refusals", &[], Value::Null).await;
    assert_eq!(of_d.status, StatusCode::OK, "{}", of_d.body);
    let list = of_d.body.as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((&list[0]["moduleId"], &list[1]["moduleId"]), (&json!("m"), &Value::Null));
    let wrong = &list[1];
    assert_eq!((&wrong["cause"], &wrong["errorCode"]), (&json!("wrongKey"), &json!(401_003)));
    assert_eq!((&wrong["protocol"], &wrong["address"]), (&json!("mqtt"), &json!("10.0.0.7:5000")));
    assert!(wrong["message"].as_str().unwrap().contains("check the key"), "{wrong}");
    let unknown = hub.ask("GET", "/devices/stranger/refusals", &[], Value::Null).await;
    assert_eq!(unknown.body[0]["cause"], "unknownIdentity");
    assert_eq!(hub.ask("GET", "/devices/other/refusals", &[], Value::Null).await.body, json!([]));
    let all = hub.ask("GET", "/refusals", &[], Value::Null).await.body;
    assert_eq!(all.as_array().unwrap().len(), 3);

    let text = all.to_string();
    let signature = canary.sign("localhost/devices/d", LATER, None);
    let signature = signature.split("sig=").nth(1).unwrap().split('&').next().unwrap();
    for secret in [signature, &canary.to_base64(), "canary"] {
        assert!(!text.contains(secret), "{text}");
    }
}
