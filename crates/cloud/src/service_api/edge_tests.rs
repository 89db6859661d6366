//! What the service API does for edge devices: setting modules, and the identities in scope.

use super::tests::{ANY, Hub, LATER, hub};
use http::StatusCode;
use ironbrook_hub::seams::Twins as _;
use ironbrook_model::{DeviceId, Identity, ModuleId, SharedAccessKey};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A hub with edge device `edge`, and the token of its `$edgeHub`.
async fn with_edge() -> (Hub, String) {
    let hub = hub().await;
    let made = hub.ask("PUT", "/devices/edge", &[], json!({"capabilities": {"iotEdge": true}})).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let keys =
        json!({"authentication": {"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}}});
    let set = hub.ask("PUT", "/devices/edge/modules/$edgeHub", &ANY, keys).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    (hub, key.sign("localhost/devices/edge/modules/%24edgeHub", LATER, None))
}

const APPLY: &str = "/devices/edge/applyConfigurationContent";

#[tokio::test]
async fn setting_modules_replaces_whole_twins_makes_missing_modules_and_tells_who_listens() {
    let (hub, _) = with_edge().await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    hub.cloud.registry().listen(Box::new(move |change| {
        let patch: Value = serde_json::from_slice(&change.patch).unwrap();
        listener.lock().unwrap().push((change.identity.to_string(), patch));
    }));
    let content = |agent: Value, module: Value| json!({"modulesContent": {"$edgeAgent": {"properties.desired": agent}, "m": {"properties.desired": module}}});
    let first = hub.ask("POST", APPLY, &[], content(json!({"a": 1, "b": {"c": 2}}), json!({"x": 1}))).await;
    assert_eq!((first.status, first.body), (StatusCode::NO_CONTENT, Value::Null));
    let second = hub.ask("POST", APPLY, &[], json!({"content": content(json!({"b": {}}), json!({}))})).await;
    assert_eq!(second.status, StatusCode::NO_CONTENT);
    let twin = hub.ask("GET", "/twins/edge/modules/$edgeAgent", &[], Value::Null).await.body;
    assert_eq!(
        (&twin["properties"]["desired"]["a"], &twin["properties"]["desired"]["b"]),
        (&Value::Null, &json!({}))
    );
    let module = hub.ask("GET", "/devices/edge/modules/m", &[], Value::Null).await.body;
    assert_eq!(module["managedBy"], "IotEdge");
    let heard = heard.lock().unwrap();
    let agent: Vec<&Value> =
        heard.iter().filter(|(id, _)| id.ends_with("$edgeAgent")).map(|(_, p)| p).collect();
    assert_eq!(agent[1]["a"], Value::Null);
    assert!(agent[1].as_object().unwrap().contains_key("a"), "{agent:?}");
}

#[tokio::test]
async fn content_that_breaks_a_rule_changes_nothing_at_all() {
    let (hub, _) = with_edge().await;
    let too_deep = (0..12).fold(json!(1), |inner, _| json!({ "k": inner }));
    let content = json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {"a": 1}},
        "new": {"properties.desired": too_deep},
    }});
    let refused = hub.ask("POST", APPLY, &[], content).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    let twin = hub.ask("GET", "/twins/edge/modules/$edgeAgent", &[], Value::Null).await.body;
    assert_eq!(twin["properties"]["desired"]["a"], Value::Null);
    assert_eq!(
        hub.ask("GET", "/devices/edge/modules/new", &[], Value::Null).await.status,
        StatusCode::NOT_FOUND
    );

    let content = json!({"modulesContent": {"m": {"properties.desired": {}}}});
    for (path, code) in [
        ("/devices/d/applyConfigurationContent", "InvalidConfigurationContent"),
        ("/devices/nobody/applyConfigurationContent", "DeviceNotFound"),
    ] {
        assert_eq!(hub.ask("POST", path, &[], content.clone()).await.headers["iothub-errorcode"], code);
    }
    let reader = hub.token("registryRead");
    let refused = hub.send(Some(&reader), "POST", APPLY, &[], &content).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

/// Leaves `leaf1` (with a module) and `leaf2` below `edge`; `d` and `other` are not.
async fn with_leaves(hub: &Hub) {
    let scope = hub.ask("GET", "/devices/edge", &[], Value::Null).await.body["deviceScope"].clone();
    for (leaf, wish) in
        [("leaf1", json!({"parentScopes": [scope]})), ("leaf2", json!({"deviceScope": scope}))]
    {
        let made = hub.ask("PUT", &format!("/devices/{leaf}"), &[], wish).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    }
    assert_eq!(hub.ask("PUT", "/devices/leaf1/modules/m", &[], json!({})).await.status, StatusCode::OK);
}

fn ids(reply: &Value) -> (Vec<String>, Vec<String>) {
    let id = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let devices = reply["devices"].as_array().unwrap().iter().map(|d| id(d, "deviceId")).collect();
    let module = |m: &Value| format!("{}/{}", id(m, "deviceId"), id(m, "moduleId"));
    (devices, reply["modules"].as_array().unwrap().iter().map(module).collect())
}

#[tokio::test]
async fn the_scope_comes_in_pages_with_keys_in_both_forms() {
    let (hub, token) = with_edge().await;
    with_leaves(&hub).await;
    let base = "/devices/edge/modules/%24edgeHub";
    let mut path = format!("{base}/devicesAndModulesInDeviceScope?deviceCount=2&z=");
    let (mut devices, mut modules, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = hub.send(Some(&token), "GET", &path, &[], &Value::Null).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let (more_devices, more_modules) = ids(&page.body);
        devices.extend(more_devices);
        modules.extend(more_modules);
        pages += 1;
        match page.body["continuationLink"].as_str() {
            Some(link) => path = link.to_owned(),
            None => break,
        }
    }
    assert_eq!((devices.join(" "), pages), ("edge leaf1 leaf2".to_owned(), 2));
    assert_eq!(modules, ["edge/$edgeAgent", "edge/$edgeHub", "leaf1/m"]);

    let path = format!("{base}/devicesAndModulesInTargetDeviceScope");
    let body = json!({"pageSize": 1000, "continuationLink": "", "authChain": "edge"});
    let all = hub.send(Some(&token), "POST", &path, &[], &body).await.body;
    assert_eq!(ids(&all).0.join(" "), "edge leaf1 leaf2");
    assert_eq!(all["continuationLink"], Value::Null);
    let leaf = all["devices"].as_array().unwrap().iter().find(|d| d["deviceId"] == "leaf1").unwrap();
    assert!(leaf["authentication"]["symmetricKey"]["primaryKey"].is_string(), "{leaf}");
    assert_eq!(leaf.get("connectionState"), None);
}

#[tokio::test]
async fn one_identity_in_scope_in_both_forms_and_none_of_others() {
    let (hub, token) = with_edge().await;
    with_leaves(&hub).await;
    let base = "/devices/edge/modules/$edgeHub";
    for (device, module, found) in
        [("leaf1", "", 1), ("leaf1", "m", 1), ("edge", "$edgeAgent", 1), ("d", "", 0), ("x", "", 0)]
    {
        let path =
            format!("{base}/deviceAndModuleInDeviceScope?targetDeviceId={device}&targetModuleId={module}&z=");
        let old = hub.send(Some(&token), "GET", &path, &[], &Value::Null).await.body;
        let body = json!({"targetDeviceId": device, "targetModuleId": module, "authChain": "edge"});
        let path = format!("{base}/getDeviceAndModuleOnBehalfOf");
        let new = hub.send(Some(&token), "POST", &path, &[], &body).await.body;
        assert_eq!(old, new);
        let (devices, modules) = ids(&old);
        assert_eq!(devices.len() + modules.len(), found, "{device}/{module}: {old}");
    }
}

// REG-07
#[tokio::test]
async fn reg_07_the_scope_is_for_the_edge_hub_alone() {
    let (hub, token) = with_edge().await;
    let owner = hub.token("iothubowner");
    let device = SharedAccessKey::from_base64(
        hub.ask("GET", "/devices/edge", &[], Value::Null).await.body["authentication"]["symmetricKey"]["primaryKey"]
            .as_str()
            .unwrap(),
    )
    .unwrap()
    .sign("localhost/devices/edge", LATER, None);
    let other_edge = "/devices/d/modules/$edgeHub/devicesAndModulesInDeviceScope";
    let other_module = "/devices/edge/modules/$edgeAgent/devicesAndModulesInDeviceScope";
    let own = "/devices/edge/modules/$edgeHub/devicesAndModulesInDeviceScope";
    for (token, path) in [(&owner, own), (&device, own), (&token, other_edge), (&token, other_module)] {
        let refused = hub.send(Some(token), "GET", path, &[], &Value::Null).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}: {}", refused.body);
    }
    assert_eq!(hub.send(Some(&token), "GET", own, &[], &Value::Null).await.status, StatusCode::OK);
    let unknown = Identity::module(DeviceId::new("edge").unwrap(), ModuleId::new("x").unwrap());
    assert!(hub.cloud.registry().get(unknown).await.is_err());
}

// REG-20
#[tokio::test]
async fn reg_20_a_parent_reads_the_scopes_of_the_edge_devices_below_it_and_of_no_other() {
    let (hub, token) = with_edge().await;
    let scope_of = async |device: &str| {
        hub.ask("GET", &format!("/devices/{device}"), &[], Value::Null).await.body["deviceScope"].clone()
    };
    let low = json!({"capabilities": {"iotEdge": true}, "parentScopes": [scope_of("edge").await]});
    hub.ask("PUT", "/devices/low", &[], low).await;
    let leaf = json!({"parentScopes": [scope_of("low").await]});
    hub.ask("PUT", "/devices/deep", &[], leaf).await;
    hub.ask("PUT", "/devices/elsewhere", &[], json!({"capabilities": {"iotEdge": true}})).await;
    let own = "/devices/edge/modules/$edgeHub";
    let page = async |chain: &str| {
        let path = format!("{own}/devicesAndModulesInTargetDeviceScope");
        let body = json!({"pageSize": 10, "continuationLink": "", "authChain": chain});
        hub.send(Some(&token), "POST", &path, &[], &body).await
    };
    let ids = |reply: &super::tests::Reply| -> Vec<String> {
        let devices = reply.body["devices"].as_array().unwrap();
        devices.iter().map(|device| device["deviceId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&page("edge").await), ["edge", "low"]);
    assert_eq!(ids(&page("low;edge").await), ["low", "deep"]);
    for wrong in ["elsewhere;edge", "d;edge", "nobody;edge"] {
        assert_eq!(page(wrong).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let one = async |device: &str| {
        let path = format!("{own}/getDeviceAndModuleOnBehalfOf");
        let body = json!({"targetDeviceId": device, "targetModuleId": "", "authChain": format!("{device};low;edge")});
        ids(&hub.send(Some(&token), "POST", &path, &[], &body).await)
    };
    assert_eq!(one("deep").await, ["deep"]);
    assert!(one("elsewhere").await.is_empty());
}

// REG-21
#[tokio::test]
async fn reg_21_a_parent_looks_after_the_modules_of_edge_devices_below_it_and_of_no_other() {
    let (hub, token) = with_edge().await;
    let scope = hub.ask("GET", "/devices/edge", &[], Value::Null).await.body["deviceScope"].clone();
    let low = json!({"capabilities": {"iotEdge": true}, "parentScopes": [scope]});
    hub.ask("PUT", "/devices/low", &[], low).await;
    let call = async |method: &str, name: &str, headers: &[(&str, &str)], body: Value| {
        let path = format!("/devices/edge/modules/$edgeHub/{name}");
        hub.send(Some(&token), method, &path, headers, &body).await
    };
    let module = json!({"moduleId": "m", "deviceId": "low", "managedBy": "IotEdge"});
    let put = json!({"authChain": "low;edge", "module": module});
    let made = call("POST", "putModuleOnBehalfOf", &[], put.clone()).await;
    assert_eq!((made.status, &made.body["deviceId"]), (StatusCode::OK, &json!("low")), "{}", made.body);
    let twice = call("PUT", "putModuleOnBehalfOf", &[], put.clone()).await;
    assert_eq!((twice.status, &twice.body["errorCode"]), (StatusCode::CONFLICT, &json!(409_301)));
    let changed = call("PUT", "putModuleOnBehalfOf", &ANY, put.clone()).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);

    let named = json!({"authChain": "low;edge", "targetModuleId": "m"});
    let read = call("POST", "getModuleOnBehalfOf", &[], named).await;
    assert!(read.body["authentication"]["symmetricKey"]["primaryKey"].is_string(), "{}", read.body);
    let listed = call("POST", "getModulesOnTargetDevice", &[], json!({"authChain": "low;edge"})).await;
    let ids: Vec<_> = listed.body.as_array().unwrap().iter().map(|module| &module["moduleId"]).collect();
    assert_eq!(ids, ["$edgeAgent", "$edgeHub", "m"]);
    let gone = json!({"authChain": "low;edge", "moduleId": "m"});
    assert_eq!(
        call("POST", "deleteModuleOnBehalfOf", &[], gone.clone()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(call("POST", "deleteModuleOnBehalfOf", &[], gone).await.body["errorCode"], 404_010);

    for (name, more) in [
        ("putModuleOnBehalfOf", json!({"module": {"moduleId": "m"}})),
        ("getModuleOnBehalfOf", json!({"targetModuleId": "m"})),
        ("getModulesOnTargetDevice", json!({})),
        ("deleteModuleOnBehalfOf", json!({"moduleId": "m"})),
    ] {
        let mut body = more;
        body["authChain"] = "d;edge".into();
        assert_eq!(call("POST", name, &[], body).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let other = json!({"authChain": "low;edge", "module": {"moduleId": "m", "deviceId": "edge"}});
    assert_eq!(call("POST", "putModuleOnBehalfOf", &[], other).await.status, StatusCode::BAD_REQUEST);
}
