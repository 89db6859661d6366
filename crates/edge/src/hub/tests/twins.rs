//! Twins, methods, and what `$edgeHub` tells of itself.

use super::{World, until};
use ironbrook_client::{Message, SystemProperty};
use ironbrook_hub::MethodCall;
use ironbrook_model::{DeviceId, Identity};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

fn call(name: &str, payload: &str) -> MethodCall {
    MethodCall {
        name: name.into(),
        payload: RawValue::from_string(payload.to_owned()).unwrap(),
        response_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
    }
}

async fn reported(world: &World, module: &str, wanted: Value) {
    let id = World::id(module);
    until("the hub has what was reported", async || {
        let mut reported = world.node().twin(&id).await["properties"]["reported"].take();
        let reported = reported.as_object_mut().unwrap();
        reported.retain(|key, _| !key.starts_with('$'));
        (Value::Object(reported.clone()) == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_are_the_hubs_and_serve_while_it_is_away() {
    let mut world = World::new().await;
    world.make_module("m").await;
    world.node().patch_desired(&World::id("m"), json!({"interval": 5})).await;
    let client = world.module("m").await;
    let mut updates = client.desired_updates().await.unwrap();
    let first = updates.next().await.unwrap();
    assert_eq!(Value::Object(first.properties), json!({"interval": 5}));
    world.node().patch_desired(&World::id("m"), json!({"interval": 6})).await;
    let second = updates.next().await.unwrap();
    assert_eq!(Value::Object(second.properties), json!({"interval": 6}));
    client.report(&json!({"a": 1})).await.unwrap();
    reported(&world, "m", json!({"a": 1})).await;

    world.stop_hub().await;
    world.offline().await;
    let twin = client.twin().await.unwrap();
    assert_eq!(Value::Object(twin.desired), json!({"interval": 6}));
    client.report(&json!({"a": 2, "o": {"x": 1}})).await.unwrap();
    client.report(&json!({"o": null})).await.unwrap();
    client.report(&json!({"o": {"y": 1}})).await.unwrap();
    assert_eq!(Value::Object(client.twin().await.unwrap().reported), json!({"a": 2, "o": {"y": 1}}));

    // What was answered survives; changes made meanwhile come down.
    world.stop_edge(true).await;
    world.start_edge().await;
    let client = world.module("m").await;
    let mut updates = client.desired_updates().await.unwrap();
    assert_eq!(Value::Object(updates.next().await.unwrap().properties), json!({"interval": 6}));
    world.start_hub().await;
    world.node().patch_desired(&World::id("m"), json!({"interval": 7})).await;
    reported(&world, "m", json!({"a": 2, "o": {"y": 1}})).await;
    assert_eq!(Value::Object(updates.next().await.unwrap().properties), json!({"interval": 7}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_come_down_and_answers_go_up() {
    let world = World::new().await;
    world.make_module("m").await;
    let client = world.module("m").await;
    let mut calls = client.methods().await.unwrap();
    let served = tokio::spawn(async move {
        let call = calls.next().await.unwrap();
        assert_eq!((call.name.as_str(), &call.payload), ("reset", &json!({"a": 1})));
        call.respond(201, &json!({"done": true})).await.unwrap();
    });
    let answer =
        world.node().hub().invoke_method(&World::id("m"), call("reset", r#"{"a":1}"#)).await.unwrap();
    assert_eq!((answer.status, answer.payload.get()), (201, r#"{"done":true}"#));
    served.await.unwrap();

    let own = World::id("$edgeHub");
    let answer = world.node().hub().invoke_method(&own, call("ping", "null")).await.unwrap();
    assert_eq!((answer.status, answer.payload.get()), (200, "null"));
    let ids = r#"{"deviceIds":["edge-1"]}"#;
    let refresh = call("RefreshDeviceScopeIdentityCache", ids);
    assert_eq!(world.node().hub().invoke_method(&own, refresh).await.unwrap().status, 200);
    let answer = world.node().hub().invoke_method(&own, call("other", "null")).await.unwrap();
    assert_eq!(answer.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_reported_and_shown_to_the_hub_rule_edgehub_03_rule_edgehub_08() {
    let world = World::new().await;
    world.make_module("m.1").await;
    let status = async |wanted: &str| {
        until("the client's state is reported", async || {
            let twin = world.node().twin(&World::id("$edgeHub")).await;
            let client = &twin["properties"]["reported"]["clients"]["edge-1/m%2E1"];
            (client["status"] == wanted).then(|| client.clone())
        })
        .await
    };
    let client = world.module("m.1").await;
    let told = status("Connected").await;
    assert!(told["lastConnectedTimeUtc"].is_string(), "{told}");
    let id = World::id("m.1");
    until("the hub sees it", async || world.node().hub().is_connected(&id).then_some(())).await;
    client.close().await.unwrap();
    assert!(status("Disconnected").await["lastDisconnectedTimeUtc"].is_string());
    until("the hub sees it go", async || (!world.node().hub().is_connected(&id)).then_some(())).await;
    assert!(!world.edge_hub().is_connected(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_calls_a_method_of_another_over_https() {
    let world = World::new().await;
    for module in ["caller", "target"] {
        world.make_module(module).await;
    }
    let target = world.module("target").await;
    let mut calls = target.methods().await.unwrap();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let payload = call.payload.clone();
            call.respond(200, &payload).await.unwrap();
        }
    });
    let body = r#"{"methodName":"echo","payload":{"a":1},"responseTimeoutInSeconds":60,"connectTimeoutInSeconds":60}"#;
    let ask = async |path: &str, caller: &str, token: String, body: &'static str| {
        let request = axum::http::Request::post(path)
            .header("x-ms-edge-moduleId", caller)
            .header("authorization", token)
            .body(axum::body::Body::from(body))
            .unwrap();
        let response = tower::ServiceExt::oneshot(world.http(), request).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let path = "/twins/edge-1/modules/target/methods?api-version=2019-10-01";
    let answer = ask(path, "edge-1/caller", world.token("caller"), body).await;
    assert_eq!(answer, (200, json!({"status": 200, "payload": {"a": 1}})));
    // Another's token, none of ours, nobody there, nothing asked.
    assert_eq!(ask(path, "edge-1/caller", world.token("target"), body).await.0, 401);
    assert_eq!(ask(path, "edge-1/caller", "x".to_owned(), body).await.0, 401);
    let away = r#"{"methodName":"echo"}"#;
    let (status, told) = ask("/twins/leaf/methods", "edge-1/caller", world.token("caller"), away).await;
    assert_eq!(status, 404);
    assert!(told["message"].is_string(), "{told}");
    assert_eq!(ask(path, "edge-1/caller", world.token("caller"), "{}").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_twins_go_by_their_routes_rule_edgehub_09() {
    let world = World::new().await;
    world.make_module("m").await;
    world
        .set_routes(json!({"twins": "FROM /twinChangeNotifications WHERE moduleId = 'm' INTO $upstream"}))
        .await;
    let client = world.module("m").await;
    client.report(&json!({"a": 1})).await.unwrap();
    let told = until("the change arrives", async || {
        let mut events = world.node().events().await;
        events.retain(|event| event.message.properties.get("moduleId").is_some());
        events.into_iter().next().map(|event| event.message)
    })
    .await;
    assert_eq!(told.body, r#"{"properties":{"reported":{"a":1}}}"#);
    assert_eq!(told.system.get(SystemProperty::ConnectionModuleId).unwrap(), "$edgeHub");
    assert_eq!(told.system.get(SystemProperty::MessageSchema).unwrap(), "twinChangeNotification");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_behind_gets_the_hubs_messages_and_completes_them_there() {
    let world = World::new().await;
    world.put_leaf("leaf").await;
    let leaf = world.leaf("leaf").await;
    let mut messages = leaf.messages().await.unwrap();
    let inbox = world.node().hub().seams().inbox.clone();
    let id = Identity::device(DeviceId::new("leaf").unwrap());
    for text in ["one", "two"] {
        inbox.enqueue(&id, Message::new(text)).await.unwrap();
        let received = messages.next().await.unwrap();
        assert_eq!(received.message.body, text);
        received.complete().await.unwrap();
    }
    until("the hub has nothing left for it", async || {
        let waiting = world.node().twin(&id).await["cloudToDeviceMessageCount"].as_u64();
        (waiting == Some(0)).then_some(())
    })
    .await;
    leaf.send(Message::new("up")).await.unwrap();
    until("its telemetry arrives in its name", async || {
        let events = world.node().events().await;
        let of_leaf = |device: &&str| *device == "leaf";
        let senders = events.iter().filter_map(|e| e.message.system.get(SystemProperty::ConnectionDeviceId));
        senders.map(|device| &**device).find(of_leaf).map(drop)
    })
    .await;
}
