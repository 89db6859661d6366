//! Messages on their ways.

use super::world::message;
use super::{World, until};
use ironbrook_client::{DeviceClient, SystemProperty};
use ironbrook_hub::{Delivery, Operation, Settlement, Subscription};
use serde_json::json;

async fn send(client: &DeviceClient, numbers: std::ops::Range<u32>) {
    let mut receipts = Vec::new();
    for number in numbers {
        receipts.push(client.enqueue(message(number, "out")).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn arrive(world: &World, module: &str, wanted: &[String]) {
    until("all messages arrive", async || {
        let arrived = world.arrived(module).await;
        assert!(wanted.starts_with(&arrived), "in order, none twice: {arrived:?}");
        (arrived.len() == wanted.len()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_up_in_the_name_of_its_module_rule_edgehub_04() {
    let world = World::new().await;
    world.make_module("m").await;
    let client = world.module("m").await;
    let mut sent = message("x", "temperatureOutput");
    sent.system.set(SystemProperty::MessageId, "id-1");
    sent.system.set(SystemProperty::CorrelationId, "id-2");
    sent.system.set(SystemProperty::ContentType, "application/json");
    sent.system.set(SystemProperty::ContentEncoding, "utf-8");
    sent.system.set(SystemProperty::CreationTime, "2026-01-31T09:00:00.1230000Z");
    sent.properties.set("sequenceNumber", "1");
    client.send(sent.clone()).await.unwrap();
    arrive(&world, "m", &["x".to_owned()]).await;
    let got = world.node().events().await.remove(0).message;
    assert_eq!(got.properties, sent.properties);
    for (property, value) in sent.system.iter() {
        assert_eq!(got.system.get(property), Some(value), "{property:?}");
    }
    assert_eq!(got.system.get(SystemProperty::ConnectionDeviceId).unwrap(), "edge-1");
    let method = got.system.get(SystemProperty::ConnectionAuthMethod).unwrap();
    assert!(method.contains("module"), "{method}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_hub_is_away_everything_is_kept_in_order() {
    let mut world = World::new().await;
    for module in ["a", "b"] {
        world.make_module(module).await;
    }
    let (a, b) = (world.module("a").await, world.module("b").await);
    send(&a, 0..50).await;
    world.stop_hub().await;
    world.offline().await;
    send(&a, 50..150).await;
    send(&b, 0..100).await;
    // Clients come and go, known ones without the hub.
    a.close().await.unwrap();
    let a = world.module("a").await;
    send(&a, 150..200).await;
    world.start_hub().await;
    arrive(&world, "a", &numbers(0..200)).await;
    arrive(&world, "b", &numbers(0..100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut_and_a_start_without_the_hub() {
    let mut world = World::new().await;
    world.make_module("m").await;
    let client = world.module("m").await;
    world.set_routes(json!({"up": "FROM /messages/modules/m/outputs/out INTO $upstream"})).await;
    world.stop_hub().await;
    world.offline().await;
    send(&client, 0..100).await;
    world.stop_edge(true).await;
    world.start_edge().await;
    let client = world.module("m").await;
    send(&client, 100..150).await;
    client.send(message("not routed", "other")).await.unwrap();
    world.start_hub().await;
    arrive(&world, "m", &numbers(0..150)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_change_while_messages_flow_and_lead_to_inputs() {
    let world = World::new().await;
    for module in ["sensor", "filter"] {
        world.make_module(module).await;
    }
    let sensor = world.module("sensor").await;
    world
        .set_routes(json!({
            "in": "FROM /messages/modules/sensor/outputs/out INTO BrokeredEndpoint(\"/modules/filter/inputs/in\")",
            "up": {"route": "FROM /messages/modules/filter/* INTO $upstream", "priority": 1},
        }))
        .await;
    // Kept until the module is there.
    send(&sensor, 0..20).await;
    let filter = world.module("filter").await;
    let mut inputs = filter.messages().await.unwrap();
    for number in 0..20 {
        let received = inputs.next().await.unwrap();
        assert_eq!(received.input.as_deref(), Some("in"));
        assert_eq!(received.message.body, number.to_string());
        filter.send(message(number, "alert")).await.unwrap();
        received.complete().await.unwrap();
    }
    arrive(&world, "filter", &numbers(0..20)).await;
    assert_eq!(world.arrived("sensor").await, [] as [&str; 0]);

    world.set_routes(json!({"in": null, "all": "FROM /messages/* INTO $upstream"})).await;
    send(&sensor, 20..40).await;
    arrive(&world, "sensor", &numbers(20..40)).await;
    let names: Vec<String> = world.handle().endpoints().into_iter().map(|endpoint| endpoint.name).collect();
    assert_eq!(names, ["iothub"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_module_did_not_complete_comes_again_to_its_next_connection() {
    let world = World::new().await;
    for module in ["sensor", "filter"] {
        world.make_module(module).await;
    }
    let route = "FROM /messages/modules/sensor/* INTO BrokeredEndpoint(\"/modules/filter/inputs/in\")";
    world.set_routes(json!({ "in": route })).await;
    let sensor = world.module("sensor").await;
    let first = world.module("filter").await;
    let mut inputs = first.messages().await.unwrap();
    send(&sensor, 0..5).await;
    inputs.next().await.unwrap().complete().await.unwrap();
    let _kept = inputs.next().await.unwrap();
    first.close().await.unwrap();
    let second = world.module("filter").await;
    let mut inputs = second.messages().await.unwrap();
    for number in 1..5 {
        let received = inputs.next().await.unwrap();
        assert_eq!(received.message.body, number.to_string());
        received.complete().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_module_gives_back_is_dropped_and_what_it_leaves_comes_again_rule_edgehub_05() {
    let world = World::new().await;
    for module in ["sensor", "filter"] {
        world.make_module(module).await;
    }
    let route = "FROM /messages/modules/sensor/* INTO BrokeredEndpoint(\"/modules/filter/inputs/in\")";
    world.set_routes(json!({ "in": route })).await;
    let sensor = world.module("sensor").await;
    let hub = world.edge_hub();
    let mut answers = [Settlement::Abandon, Settlement::Reject, Settlement::Complete].into_iter();
    let mut got = Vec::new();
    send(&sensor, 0..3).await;
    let session = world.session("filter").await;
    hub.perform(&session, Operation::Subscribe(Subscription::Inputs)).await.unwrap();
    while got.len() < 3 {
        let Delivery::Input { message, .. } = session.next().await else { panic!("no input") };
        got.push(message.message.body.clone());
        let settlement = answers.next().unwrap();
        hub.perform(&session, Operation::Settle { lock: message.lock, settlement }).await.unwrap();
        if settlement == Settlement::Abandon {
            // What came behind it is taken back, and comes again in order.
            drop(session);
            break;
        }
    }
    let session = world.session("filter").await;
    hub.perform(&session, Operation::Subscribe(Subscription::Inputs)).await.unwrap();
    while got.len() < 3 {
        let Delivery::Input { message, .. } = session.next().await else { panic!("no input") };
        got.push(message.message.body.clone());
        let settlement = answers.next().unwrap();
        hub.perform(&session, Operation::Settle { lock: message.lock, settlement }).await.unwrap();
    }
    assert_eq!(got, numbers(0..3));
    until("all are done", async || {
        let health = world.handle().endpoints();
        (health[0].sent == 1 && health[0].dead_letters == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_routes_are_told_and_the_old_ones_stay_rule_edgehub_07() {
    let world = World::new().await;
    world.make_module("m").await;
    world.set_routes(json!({"up": "FROM /messages/* INTO $upstream"})).await;
    world.set_routes(json!({"up": "FROM /messages/* INTO $downstream", "no": "FROM x INTO $upstream"})).await;
    let status =
        world.node().twin(&World::id("$edgeHub")).await["properties"]["reported"]["lastDesiredStatus"].take();
    assert_eq!(status["code"], 400);
    let text = status["description"].as_str().unwrap();
    assert!(text.starts_with("Error while parsing desired properties"), "{text}");
    assert!(
        text.contains("route up") && text.contains("route no") && text.contains("BrokeredEndpoint"),
        "{text}"
    );
    let client = world.module("m").await;
    send(&client, 0..3).await;
    arrive(&world, "m", &numbers(0..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_that_found_no_room_on_the_disk_are_in_force_when_there_is_room_again() {
    let world = World::new().await;
    world.make_module("m").await;
    world.set_routes(json!({"up": "FROM /messages/modules/nobody/* INTO $upstream"})).await;
    let status = async || {
        let mut twin = world.node().twin(&World::id("$edgeHub")).await;
        twin["properties"]["reported"]["lastDesiredStatus"]["code"].take()
    };
    world.disk_full(true);
    world.set_routes(json!({"up": "FROM /messages/* INTO $upstream"})).await;
    assert_eq!(status().await, 500);
    world.disk_full(false);
    until("the routes are in force", async || (status().await == 200).then_some(())).await;
    let client = world.module("m").await;
    send(&client, 0..3).await;
    arrive(&world, "m", &numbers(0..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_find_no_room_on_the_disk_wait_and_come_when_there_is_room_again() {
    let world = World::new().await;
    for module in ["sensor", "filter"] {
        world.make_module(module).await;
    }
    world
        .set_routes(json!({
            "in": "FROM /messages/modules/sensor/* INTO BrokeredEndpoint(\"/modules/filter/inputs/in\")",
            "up": "FROM /messages/modules/sensor/* INTO $upstream",
        }))
        .await;
    let (sensor, filter) = (world.module("sensor").await, world.module("filter").await);
    let mut inputs = filter.messages().await.unwrap();
    send(&sensor, 0..10).await;
    world.disk_full(true);
    let sending = tokio::spawn(async move { send(&sensor, 10..60).await });
    until("the log says that the disk is full", async || world.handle().log_health().is_err().then_some(()))
        .await;
    assert!(!sending.is_finished(), "nobody is told that it is there before it is");
    // Inputs go on meanwhile with what is there: how far they are can be written down later.
    for number in 0..10 {
        let received = inputs.next().await.unwrap();
        assert_eq!(received.message.body, number.to_string());
        received.complete().await.unwrap();
    }
    world.disk_full(false);
    sending.await.unwrap();
    for number in 10..60 {
        let received = inputs.next().await.unwrap();
        assert_eq!(received.message.body, number.to_string());
        received.complete().await.unwrap();
    }
    arrive(&world, "sensor", &numbers(0..60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_deleted_module_do_not_hold_up_the_others() {
    let mut world = World::new().await;
    for module in ["gone", "stays"] {
        world.make_module(module).await;
    }
    let (gone, stays) = (world.module("gone").await, world.module("stays").await);
    world.stop_hub().await;
    world.offline().await;
    send(&gone, 0..3).await;
    send(&stays, 0..3).await;
    gone.close().await.unwrap();
    world.start_hub().await;
    world.delete_module("gone").await;
    arrive(&world, "stays", &numbers(0..3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_their_stock_names_rule_edgehub_10() {
    let mut world = World::new().await;
    world.make_module("m").await;
    let input = r#"BrokeredEndpoint("/modules/away/inputs/in")"#;
    world
        .set_routes(json!({"up": "FROM /messages/modules/m/outputs/up INTO $upstream",
            "in": {"route": format!("FROM /messages/modules/m/outputs/in INTO {input}"), "priority": 3}}))
        .await;
    let client = world.module("m").await;
    for (output, count) in [("up", 2), ("in", 3), ("nowhere", 1)] {
        for n in 0..count {
            client.send(message(n, output)).await.unwrap();
        }
    }
    let upstream = r#"to="iothub""#;
    until("both are upstream", async || {
        let sent = world.metric("edgehub_messages_sent_total");
        sent.contains(&(upstream.to_owned(), 2)).then_some(())
    })
    .await;
    let value = |name: &str| world.metric(name);
    assert_eq!(value("edgehub_messages_received_total"), [(String::new(), 6)]);
    let dropped: Vec<u64> =
        value("edgehub_messages_dropped_total").into_iter().map(|(_, count)| count).collect();
    assert_eq!(dropped, [1, 0, 0], "no_route, ttl_expiry, rejected");
    // The input's module is away: what is for it waits; what was for others is skipped.
    let waiting = (r#"endpoint="edge-1/away/in",priority="3""#.to_owned(), 3);
    until("the queue", async || value("edgehub_queue_length").contains(&waiting).then_some(())).await;
    assert_eq!(value("edgehub_connected_clients"), [(String::new(), 1)]);
    world.stop_hub().await;
}
