//! The client of a device against a scripted hub.

use super::script::{Hub, STRING, beside, start};
use super::*;
use crate::error::Error;
use ironbrook_model::{Message, SasToken, SharedAccessKey, SystemProperty, Timestamp};
use ironbrook_wire::mqtt::v4::{ConnectReturnCode, Packet, QoS, SubAckCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const TELEMETRY: &str = "devices/d1/messages/events/";

#[tokio::test(start_paused = true)]
async fn rule_client_01_connect_names_the_device_and_carries_a_token_that_holds() {
    let (client, mut dials) = start(|b| b.client_type("test/1 x"));
    let (_hub, connect) = Hub::accept(&mut dials, ConnectReturnCode::Accepted).await;
    client.first_connection().await.unwrap();
    assert_eq!(&*connect.client_id, "d1");
    assert_eq!(
        connect.username.as_deref(),
        Some("hub.test/d1/?api-version=2021-04-12&DeviceClientType=test%2F1%20x")
    );
    assert!(!connect.clean_session);
    let token = SasToken::parse(std::str::from_utf8(&connect.password.unwrap()).unwrap()).unwrap();
    let key = SharedAccessKey::from_base64(STRING.rsplit_once("Key=").unwrap().1).unwrap();
    token.check(Timestamp::from_secs(0), [&key, &key]).unwrap();
    token.check_scope(&["hub.test"], "devices/d1").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_when_it_is_acknowledged() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let mut message = Message::new("21.5");
    message.system.set(SystemProperty::ContentType, "text/plain");
    let receipt = client.enqueue(message).await.unwrap();
    let publish = hub.publish().await;
    assert_eq!(publish.topic, format!("{TELEMETRY}%24.ct=text%2Fplain").as_str());
    assert!(publish.qos == QoS::AtLeastOnce && !publish.dup && !publish.retain);
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    receipt.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rule_client_03_what_was_not_acknowledged_goes_out_again_in_order_before_anything_new() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let mut receipts = Vec::new();
    for body in ["1", "2", "3"] {
        receipts.push(client.enqueue(Message::new(body)).await.unwrap());
    }
    let first = hub.publish().await;
    hub.send(Packet::PubAck(first.packet_id.unwrap())).await;
    let (second, third) = (hub.publish().await, hub.publish().await);
    receipts.remove(0).await.unwrap();
    drop(hub);
    receipts.push(client.enqueue(Message::new("4")).await.unwrap());
    let mut hub = Hub::welcome(&mut dials).await;
    for (wanted, dup, id) in [("2", true, second.packet_id), ("3", true, third.packet_id), ("4", false, None)]
    {
        let again = hub.publish().await;
        assert_eq!((&again.payload[..], again.dup), (wanted.as_bytes(), dup));
        assert!(id.is_none() || again.packet_id == id);
        hub.send(Packet::PubAck(again.packet_id.unwrap())).await;
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_window_of_messages_is_under_way() {
    let (client, mut dials) = start(|b| b.in_flight(2));
    let mut hub = Hub::welcome(&mut dials).await;
    let _receipts = [
        client.enqueue(Message::new("1")).await.unwrap(),
        client.enqueue(Message::new("2")).await.unwrap(),
        client.enqueue(Message::new("3")).await.unwrap(),
    ];
    let first = hub.publish().await;
    hub.publish().await;
    let quiet = tokio::time::timeout(Duration::from_secs(20), hub.publish()).await;
    assert!(quiet.is_err(), "a third message went out: {quiet:?}");
    hub.send(Packet::PubAck(first.packet_id.unwrap())).await;
    assert_eq!(&hub.publish().await.payload[..], b"3");
}

#[tokio::test(start_paused = true)]
async fn rule_client_02_the_token_is_renewed_before_it_ends_by_a_graceful_reconnect() {
    let (client, mut dials) = start(|b| b.token_lifetime(Duration::from_secs(3600)));
    let began = Instant::now();
    let mut hub = Hub::welcome(&mut dials).await;
    assert_eq!(hub.receive().await, Some(Packet::Disconnect));
    assert_eq!(hub.receive().await, None);
    assert_eq!(began.elapsed().as_secs(), 3060);
    let mut hub = Hub::welcome(&mut dials).await;
    assert_eq!(began.elapsed().as_secs(), 3060, "no wait before a renewal");
    let receipt = client.enqueue(Message::new("x")).await.unwrap();
    let publish = hub.publish().await;
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    receipt.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_for_acknowledgements_that_are_due() {
    let (client, mut dials) =
        start(|b| b.token_lifetime(Duration::from_secs(100)).keep_alive(Duration::from_secs(600)));
    let mut hub = Hub::welcome(&mut dials).await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(84)).await;
    let receipt = client.enqueue(Message::new("x")).await.unwrap();
    let publish = hub.publish().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    receipt.await.unwrap();
    assert_eq!(hub.receive().await, Some(Packet::Disconnect));
    assert_eq!(began.elapsed().as_secs(), 87);
}

#[tokio::test(start_paused = true)]
async fn rule_client_06_a_refused_credential_is_final_unless_configured() {
    let (client, mut dials) = start(|b| b);
    let receipt = client.enqueue(Message::new("x")).await.unwrap();
    Hub::accept(&mut dials, ConnectReturnCode::NotAuthorized).await;
    assert!(matches!(client.first_connection().await, Err(Error::Unauthorized(_))));
    assert!(matches!(receipt.await, Err(Error::Unauthorized(_))));
    assert!(matches!(client.send(Message::new("y")).await, Err(Error::Unauthorized(_))));
    assert!(dials.recv().await.is_none(), "nothing is dialled any more");

    let (client, mut dials) = start(|b| b.retry_unauthorized(true));
    Hub::accept(&mut dials, ConnectReturnCode::NotAuthorized).await;
    let _hub = Hub::welcome(&mut dials).await;
    client.state().wait_for(|s| matches!(s, ConnectionState::Connected)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_growing_waits() {
    let policy = RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(8) };
    let (_client, mut dials) = start(|b| b.retry(policy));
    let mut last = Instant::now();
    for longest in [0_u64, 1, 2, 4, 8, 8] {
        drop(dials.recv().await.unwrap());
        let waited = last.elapsed().as_secs_f64();
        let longest = longest as f64;
        assert!(
            (longest / 2.0 - 0.01..=longest + 0.01).contains(&waited),
            "{waited} s instead of {longest} s"
        );
        last = Instant::now();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_falls_silent_is_left() {
    let (_client, mut dials) = start(|b| b.keep_alive(Duration::from_secs(60)));
    let silent = Hub::welcome(&mut dials).await;
    let began = Instant::now();
    let _again = Hub::welcome(&mut dials).await;
    assert!((60..62).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn rule_client_04_a_message_of_the_hub_is_completed_on_its_own_connection_only() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    // A kept session may deliver before anything is subscribed.
    hub.say("devices/d1/messages/devicebound/%24.mid=m1&%24.to=x&color=red%20ish", "hello", Some(7)).await;
    let subscribing = beside({
        let client = client.clone();
        async move { client.messages().await }
    });
    assert_eq!(hub.grant().await, "devices/d1/messages/devicebound/#");
    let mut messages = subscribing.await.unwrap().unwrap();
    let received = messages.next().await.unwrap();
    assert_eq!(&received.message.body[..], b"hello");
    assert_eq!(received.message.system.get(SystemProperty::MessageId).map(|v| &**v), Some("m1"));
    assert_eq!(received.message.properties.get("color").map(|v| &**v), Some("red ish"));
    received.complete().await.unwrap();
    assert_eq!(hub.receive().await, Some(Packet::PubAck(7.try_into().unwrap())));

    hub.say("devices/d1/messages/devicebound/%24.to=x", "late", Some(8)).await;
    let late = messages.next().await.unwrap();
    drop(hub);
    let mut hub = Hub::welcome(&mut dials).await;
    hub.grant().await;
    assert!(matches!(late.complete().await, Err(Error::LockLost)));
    assert!(matches!(client.messages().await, Err(Error::Configuration(_))), "a feed is taken once");
}

#[tokio::test(start_paused = true)]
async fn twin_requests_survive_a_lost_connection() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let reporting = beside({
        let client = client.clone();
        async move { client.report(&json!({"a": 1})).await }
    });
    assert_eq!(hub.grant().await, "$iothub/twin/res/#");
    assert_eq!(hub.publish().await.topic, "$iothub/twin/PATCH/properties/reported/?$rid=1");
    drop(hub);
    let mut hub = Hub::welcome(&mut dials).await;
    hub.grant().await;
    let again = hub.publish().await;
    assert_eq!(
        (&*again.topic, &again.payload[..]),
        ("$iothub/twin/PATCH/properties/reported/?$rid=1", &br#"{"a":1}"#[..])
    );
    hub.say("$iothub/twin/res/204/?$rid=1&$version=5", "", None).await;
    assert_eq!(reporting.await.unwrap().unwrap(), 5);

    let reading = beside(async move { client.twin().await });
    assert_eq!(hub.publish().await.topic, "$iothub/twin/GET/?$rid=2");
    hub.say("$iothub/twin/res/429/?$rid=2", r#"{"message":"slow down"}"#, None).await;
    let refused = reading.await.unwrap();
    assert!(
        matches!(&refused, Err(e @ Error::Refused { status: 429, .. }) if e.is_transient()),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn rule_client_05_desired_properties_come_whole_and_then_as_changes() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let subscribing = beside(async move { (client.desired_updates().await, client) });
    let mut filters = [hub.grant().await, hub.grant().await];
    filters.sort();
    assert_eq!(filters, ["$iothub/twin/PATCH/properties/desired/#", "$iothub/twin/res/#"]);
    let (updates, _client) = subscribing.await.unwrap();
    let mut updates = updates.unwrap();
    assert_eq!(hub.publish().await.topic, "$iothub/twin/GET/?$rid=1");
    hub.say("$iothub/twin/res/200/?$rid=1", r#"{"desired":{"a":1,"$version":4},"reported":{}}"#, None).await;
    let first = updates.next().await.unwrap();
    assert_eq!((first.version, first.complete, Value::Object(first.properties)), (4, true, json!({"a": 1})));
    hub.say("$iothub/twin/PATCH/properties/desired/?$version=5", r#"{"a":null,"$version":5}"#, None).await;
    let change = updates.next().await.unwrap();
    assert_eq!(
        (change.version, change.complete, Value::Object(change.properties)),
        (5, false, json!({"a": null}))
    );
}

#[tokio::test(start_paused = true)]
async fn methods_are_answered_and_refused_when_nobody_listens() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let serving = beside({
        let client = client.clone();
        async move { client.serve_methods(|name, payload| async move { (200, json!([name, payload])) }).await }
    });
    assert_eq!(hub.grant().await, "$iothub/methods/POST/#");
    hub.say("$iothub/methods/POST/echo/?$rid=a1", r#"{"x":1}"#, None).await;
    let answer = hub.publish().await;
    assert_eq!(
        (&*answer.topic, &answer.payload[..]),
        ("$iothub/methods/res/200/?$rid=a1", &br#"["echo",{"x":1}]"#[..])
    );
    hub.say("$iothub/methods/POST/echo/?$rid=a2", "not json", None).await;
    assert_eq!(hub.publish().await.topic, "$iothub/methods/res/400/?$rid=a2");
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    hub.say("$iothub/methods/POST/echo/?$rid=a3", "", None).await;
    assert_eq!(hub.publish().await.topic, "$iothub/methods/res/501/?$rid=a3");
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_takes_no_feed_and_may_be_tried_again() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let ask = |client: DeviceClient| beside(async move { client.methods().await });
    let asking = ask(client.clone());
    hub.answer_subscribe(SubAckCode::Failure).await;
    assert!(matches!(asking.await.unwrap(), Err(Error::Refused { .. })));
    let asking = ask(client.clone());
    hub.grant().await;
    let mut calls = asking.await.unwrap().unwrap();
    hub.say("$iothub/methods/POST/echo/?$rid=a1", "1", None).await;
    assert_eq!(calls.next().await.unwrap().name, "echo");
    assert!(matches!(client.methods().await, Err(Error::Configuration(_))));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_is_under_way_and_ends_every_clone() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let receipt = client.enqueue(Message::new("last")).await.unwrap();
    let publish = hub.publish().await;
    let closing = beside({
        let client = client.clone();
        async move { client.close().await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    assert_eq!(hub.receive().await, Some(Packet::Disconnect));
    closing.await.unwrap().unwrap();
    receipt.await.unwrap();
    assert!(matches!(client.send(Message::new("x")).await, Err(Error::Closed)));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_tells_when_messages_may_be_lost() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    let receipt = client.enqueue(Message::new("last")).await.unwrap();
    hub.publish().await;
    assert!(matches!(client.close().await, Err(Error::Timeout(_))));
    assert!(receipt.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn dropping_every_handle_says_goodbye() {
    let (client, mut dials) = start(|b| b);
    let mut hub = Hub::welcome(&mut dials).await;
    client.first_connection().await.unwrap();
    drop(client);
    assert_eq!(hub.receive().await, Some(Packet::Disconnect));
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_here() {
    let (client, _dials) = start(|b| b);
    let refused = client.send(Message::new(vec![0; 256 * 1024 + 1])).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}
