//! Configurations as twins come to see them, step by step and without waiting.

use super::super::tests::{HandClock, clock, device, open};
use super::super::{Config, IfMatch, Registry, TwinChange, Wish};
use super::*;
use ironbrook_hub::seams::Twins as _;
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, ModuleId};
use std::sync::Arc;
use std::time::Duration;

fn registry() -> (Registry, Memory, Arc<HandClock>) {
    let (memory, clock) = (Memory::new(), clock());
    (open(&memory, &clock), memory, clock)
}

fn module(device: &str, id: &str) -> Identity {
    Identity::module(DeviceId::new(device).unwrap(), ModuleId::new(id).unwrap())
}

fn wish(value: Value) -> ConfigurationWish {
    serde_json::from_value(value).unwrap()
}

async fn make(registry: &Registry, id: &str, edge: bool, tags: Value) {
    let body = json!({"capabilities": {"iotEdge": edge}});
    registry.create(device(id), serde_json::from_value::<Wish>(body).unwrap()).await.unwrap();
    tag(registry, &device(id), tags).await;
}

async fn tag(registry: &Registry, identity: &Identity, tags: Value) {
    let change = TwinChange::Patch { tags: tags.as_object().cloned(), desired: None };
    registry.change_twin(identity.clone(), change, IfMatch::Any).await.unwrap();
}

async fn put(registry: &Registry, id: &str, value: Value) -> Value {
    registry.put_configuration(id.to_owned(), wish(value), None).await.unwrap()
}

/// Until nothing is left to do; tells in how many steps.
async fn settle(registry: &Registry) -> usize {
    let mut steps = 0;
    while registry.settle_some().await.unwrap() {
        steps += 1;
        assert!(steps < 100, "it never settles");
    }
    steps
}

/// Desired properties and statuses of configurations.
async fn seen(registry: &Registry, identity: Identity) -> (Value, Value) {
    let mut twin = registry.twin_view(identity).await.unwrap();
    let desired = twin["properties"]["desired"].as_object_mut().unwrap();
    desired.retain(|name, _| !name.starts_with('$'));
    let desired = Value::Object(std::mem::take(desired));
    let statuses = twin["configurations"].as_object().cloned().unwrap_or_default();
    (desired, statuses.into_iter().map(|(id, of)| (id, of["status"].clone())).collect::<Map<_, _>>().into())
}

fn content(value: Value) -> Value {
    json!({"deviceContent": value})
}

// CONF-03
#[tokio::test]
async fn conf_03_devices_take_the_strongest_and_fall_back_to_the_next_when_it_goes() {
    let (registry, _, _) = registry();
    make(&registry, "north", false, json!({"site": "north"})).await;
    make(&registry, "south", false, json!({"site": "south"})).await;
    let low = json!({"content": content(json!({"properties.desired.s": {"a": 1}, "properties.desired.low": 1})),
        "targetCondition": "*", "priority": 1});
    put(&registry, "low", low).await;
    let high = json!({"content": content(json!({"properties.desired.s": {"a": 2}})),
        "targetCondition": "tags.site = 'north'", "priority": 2});
    put(&registry, "high", high).await;
    settle(&registry).await;
    let both = (json!({"s": {"a": 2}, "low": 1}), json!({"high": "Applied", "low": "Applied"}));
    assert_eq!(seen(&registry, device("north")).await, both);
    let one = (json!({"s": {"a": 1}, "low": 1}), json!({"low": "Applied"}));
    assert_eq!(seen(&registry, device("south")).await, one);
    let version = registry.twin_view(device("south")).await.unwrap()["version"].clone();

    // Devices come, and come to fulfil a condition; only they are looked at.
    make(&registry, "new", false, json!({"site": "north"})).await;
    tag(&registry, &device("south"), json!({"site": "north"})).await;
    assert_eq!(settle(&registry).await, 1);
    assert_eq!(seen(&registry, device("new")).await, both);
    assert_eq!(seen(&registry, device("south")).await, both);

    // What somebody else wrote there does not stay.
    let by_hand = json!({"s": {"a": 9}, "own": 1}).as_object().cloned();
    let change = TwinChange::Patch { tags: None, desired: by_hand };
    registry.change_twin(device("new"), change, IfMatch::Any).await.unwrap();
    settle(&registry).await;
    assert_eq!(seen(&registry, device("new")).await.0, json!({"s": {"a": 2}, "low": 1, "own": 1}));

    registry.delete_configuration("high".to_owned(), IfMatch::Any).await.unwrap();
    settle(&registry).await;
    assert_eq!(seen(&registry, device("south")).await, one);
    registry.delete_configuration("low".to_owned(), IfMatch::Any).await.unwrap();
    settle(&registry).await;
    assert_eq!(seen(&registry, device("south")).await, (one.0, json!({})), "what was applied last stays");
    assert_ne!(registry.twin_view(device("south")).await.unwrap()["version"], version);
    assert_eq!(settle(&registry).await, 0);
}

#[tokio::test]
async fn of_equals_the_newer_prevails_and_a_hidden_one_is_only_targeted() {
    let (registry, _, _) = registry();
    make(&registry, "d", false, json!({})).await;
    for (id, value) in [("first", 1), ("second", 2)] {
        let body = json!({"content": content(json!({"properties.desired.x": value})), "targetCondition": "*", "priority": 7});
        put(&registry, id, body).await;
    }
    settle(&registry).await;
    let wanted = (json!({"x": 2}), json!({"first": "Targeted", "second": "Applied"}));
    assert_eq!(seen(&registry, device("d")).await, wanted);
    // A higher priority turns it round, and the etag guards it.
    let stale = Some(IfMatch::Etag("stale".to_owned()));
    let refused = registry.put_configuration("first".to_owned(), wish(json!({"priority": 8})), stale).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::PreconditionFailed);
    let raise =
        registry.put_configuration("first".to_owned(), wish(json!({"priority": 8})), Some(IfMatch::Any));
    raise.await.unwrap();
    settle(&registry).await;
    let wanted = (json!({"x": 1}), json!({"first": "Applied", "second": "Targeted"}));
    assert_eq!(seen(&registry, device("d")).await, wanted);
}

#[tokio::test]
async fn modules_are_configured_by_their_own_condition() {
    let (registry, _, _) = registry();
    make(&registry, "d", false, json!({})).await;
    for id in ["a", "b"] {
        registry.create(module("d", id), Wish::default()).await.unwrap();
    }
    let body = json!({"content": {"moduleContent": {"properties.desired.x": 1}},
        "targetCondition": "FROM devices.modules WHERE moduleId = 'a'"});
    put(&registry, "m", body.clone()).await;
    settle(&registry).await;
    assert_eq!(seen(&registry, module("d", "a")).await, (json!({"x": 1}), json!({"m": "Applied"})));
    assert_eq!(seen(&registry, module("d", "b")).await, (json!({}), json!({})));
    for condition in ["*", "moduleId = 'a'"] {
        let body = json!({"content": body["content"], "targetCondition": condition});
        let refused = registry.put_configuration("n".to_owned(), wish(body), None).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidConfigurationTargetCondition);
    }
}

fn base(image: &str) -> Value {
    json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {"m": {"image": image}}}},
        "$edgeHub": {"properties.desired": {"routes": {"r": "FROM /* INTO $upstream"}}},
        "m": {"properties.desired": {"interval": 5}},
    }})
}

// CONF-04
#[tokio::test]
async fn conf_04_layers_stand_on_the_strongest_deployment_and_not_without_one() {
    let (registry, _, _) = registry();
    make(&registry, "edge", true, json!({})).await;
    make(&registry, "leaf", false, json!({})).await;
    let agent = || module("edge", "$edgeAgent");
    let layer = json!({"modulesContent": {
        "$edgeAgent": {"properties.desired.modules.x": {"image": "x"}},
        "$edgeHub": {"properties.desired.routes.up": "FROM /messages/modules/x/* INTO $upstream"},
        "m": {"properties.desired.interval": 1},
        "x": {"properties.desired.settings": {"a": 1}},
    }});
    put(&registry, "layer", json!({"content": layer, "targetCondition": "*", "priority": 5})).await;
    settle(&registry).await;
    assert_eq!(seen(&registry, agent()).await, (json!({}), json!({"layer": "Targeted"})));
    assert!(registry.get(module("edge", "x")).await.is_err());

    put(
        &registry,
        "old",
        json!({"content": base("1"), "targetCondition": "deviceId = 'edge'", "priority": 1}),
    )
    .await;
    settle(&registry).await;
    let of = |image: &str, id: &str| json!({"image": image, "configuration": {"id": id}});
    let modules = |image: &str, id: &str| json!({"m": of(image, id), "x": of("x", "layer")});
    let (desired, statuses) = seen(&registry, agent()).await;
    assert_eq!(
        (&desired["modules"], statuses),
        (&modules("1", "old"), json!({"layer": "Applied", "old": "Applied"}))
    );
    assert_eq!(seen(&registry, module("edge", "m")).await.0, json!({"interval": 1}));
    assert_eq!(seen(&registry, module("edge", "x")).await.0, json!({"settings": {"a": 1}}));
    assert_eq!(registry.get(module("edge", "x")).await.unwrap().managed_by.as_deref(), Some("IotEdge"));
    let routes = seen(&registry, module("edge", "$edgeHub")).await.0["routes"].clone();
    assert_eq!(routes.as_object().unwrap().len(), 2);

    // One above the layer hides it; below the layer it replaces the old one.
    put(&registry, "new", json!({"content": base("2"), "targetCondition": "*", "priority": 9})).await;
    settle(&registry).await;
    let (desired, statuses) = seen(&registry, agent()).await;
    assert_eq!(desired["modules"], json!({"m": of("2", "new")}));
    assert_eq!(statuses, json!({"layer": "Targeted", "new": "Applied", "old": "Targeted"}));
    let lower =
        registry.put_configuration("new".to_owned(), wish(json!({"priority": 2})), Some(IfMatch::Any));
    lower.await.unwrap();
    settle(&registry).await;
    assert_eq!(seen(&registry, agent()).await.0["modules"], modules("2", "new"));

    registry.delete_configuration("layer".to_owned(), IfMatch::Any).await.unwrap();
    registry.delete_configuration("new".to_owned(), IfMatch::Any).await.unwrap();
    settle(&registry).await;
    let (desired, statuses) = seen(&registry, agent()).await;
    assert_eq!((&desired["modules"], statuses), (&json!({"m": of("1", "old")}), json!({"old": "Applied"})));
    assert_eq!(seen(&registry, module("edge", "m")).await.0, json!({"interval": 5}));
}

#[tokio::test]
async fn a_deployment_that_cannot_be_applied_whole_is_not_applied_at_all() {
    let (registry, _, _) = registry();
    make(&registry, "edge", true, json!({})).await;
    let mut deep = base("1");
    let nested = (0..12).fold(json!(1), |inner, _| json!({ "k": inner }));
    deep["modulesContent"]["m"] = json!({"properties.desired": nested});
    put(&registry, "deep", json!({"content": deep, "targetCondition": "*"})).await;
    settle(&registry).await;
    let agent = module("edge", "$edgeAgent");
    assert_eq!(seen(&registry, agent.clone()).await, (json!({}), json!({"deep": "Targeted"})));
    // More modules than a device may have.
    let many: Map<String, Value> =
        (0..60).map(|n| (format!("m{n}"), json!({"properties.desired": {}}))).collect();
    let mut content = base("1");
    content["modulesContent"].as_object_mut().unwrap().extend(many);
    put(&registry, "many", json!({"content": content, "targetCondition": "*", "priority": 1})).await;
    settle(&registry).await;
    let statuses = json!({"deep": "Targeted", "many": "Targeted"});
    assert_eq!(seen(&registry, agent).await, (json!({}), statuses));
}

#[tokio::test]
async fn a_condition_on_reported_properties_follows_the_device() {
    let (registry, _, _) = registry();
    make(&registry, "d", false, json!({})).await;
    let body = |condition: &str| json!({"content": content(json!({"properties.desired.x": 1})), "targetCondition": condition});
    put(&registry, "tags", body("tags.a = 1")).await;
    settle(&registry).await;
    registry.patch_reported(&device("d"), br#"{"fw":1}"#).await.unwrap();
    assert_eq!(settle(&registry).await, 0, "nobody looks at what is reported");
    put(&registry, "fw", body("properties.reported.fw < 2")).await;
    settle(&registry).await;
    assert_eq!(seen(&registry, device("d")).await.1, json!({"fw": "Applied"}));
    registry.patch_reported(&device("d"), br#"{"fw":2}"#).await.unwrap();
    settle(&registry).await;
    assert_eq!(seen(&registry, device("d")).await.1, json!({}));
}

#[tokio::test]
async fn what_a_crash_interrupts_is_done_after_it() {
    for seed in 0..5 {
        let (registry, memory, clock) = registry();
        for n in 0..70 {
            make(&registry, &format!("d{n}"), false, json!({"n": n})).await;
        }
        let body =
            json!({"content": content(json!({"properties.desired.x": 1})), "targetCondition": "tags.n >= 0"});
        put(&registry, "c", body).await;
        for _ in 0..seed {
            registry.settle_some().await.unwrap();
        }
        tag(&registry, &device("d69"), json!({"n": -1})).await;
        let registry = open(&memory.power_cut(seed), &clock);
        settle(&registry).await;
        for n in 0..69 {
            let wanted = (json!({"x": 1}), json!({"c": "Applied"}));
            assert_eq!(seen(&registry, device(&format!("d{n}"))).await, wanted, "d{n}");
        }
        assert_eq!(seen(&registry, device("d69")).await.1, json!({}));
    }
}

#[tokio::test]
async fn metrics_count_what_their_queries_find() {
    let (registry, _, clock) = registry();
    for n in 0..3 {
        make(&registry, &format!("edge{n}"), true, json!({"n": n})).await;
    }
    let queries = json!({"queries": {"few": "SELECT deviceId FROM devices WHERE tags.n < 2",
        "counted": "SELECT COUNT() FROM devices"}});
    let body = json!({"content": base("1"), "targetCondition": "tags.n > 0", "metrics": queries});
    put(&registry, "c", body).await;
    settle(&registry).await;
    let reported = br#"{"lastDesiredVersion":2,"lastDesiredStatus":{"code":200}}"#;
    registry.patch_reported(&module("edge1", "$edgeAgent"), reported).await.unwrap();
    let reported = br#"{"lastDesiredVersion":2,"lastDesiredStatus":{"code":400}}"#;
    registry.patch_reported(&module("edge2", "$edgeAgent"), reported).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let shown = registry.configuration("c".to_owned()).await.unwrap();
    let system = json!({"targetedCount": 2, "appliedCount": 2, "reportedSuccessfulCount": 1, "reportedFailedCount": 1});
    assert_eq!(shown["systemMetrics"]["results"], system);
    assert_eq!(shown["metrics"]["results"], json!({"few": 2, "counted": 3}));
    assert_eq!(registry.list_configurations(20).await.unwrap(), [shown]);
}

// CONF-01
#[tokio::test]
async fn conf_01_ids_and_counts_are_limited() {
    let memory = Memory::new();
    let config = Config { configurations: 2, ..Config::azure("hub") };
    let storage: Arc<dyn ironbrook_log::Storage> = Arc::new(memory);
    let registry = Registry::open(storage, std::path::Path::new("r"), clock(), config).unwrap();
    let body = json!({"content": content(json!({"properties.desired.x": 1}))});
    let try_put =
        |id: &str, body: &Value| registry.put_configuration(id.to_owned(), wish(body.clone()), None);
    for bad in ["", "Upper", "a b", "a/b", "a[b", &"x".repeat(129)] {
        assert_eq!(try_put(bad, &body).await.unwrap_err().code, ErrorCode::ArgumentInvalid, "{bad}");
    }
    try_put("a-1.b", &body).await.unwrap();
    assert_eq!(try_put("a-1.b", &body).await.unwrap_err().code, ErrorCode::ConfigurationAlreadyExists);
    let mut with_metrics = body.clone();
    let queries: Map<String, Value> =
        (0..6).map(|n| (n.to_string(), json!("SELECT * FROM devices"))).collect();
    with_metrics["metrics"] = json!({"queries": queries});
    let refused = try_put("m", &with_metrics).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidConfigurationCustomMetricsQuery);
    try_put("b", &body).await.unwrap();
    assert_eq!(try_put("c", &body).await.unwrap_err().code, ErrorCode::ConfigurationCountLimitExceeded);
}
