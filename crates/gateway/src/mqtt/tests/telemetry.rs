//! Telemetry: acknowledgement, back-pressure, wills.

use super::*;
use crate::fakes::idle;
use ironbrook_model::SystemProperty;

const TOPIC: &str = "devices/d1/messages/events/";

#[tokio::test]
async fn a_message_arrives_with_its_properties() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let topic = format!("{TOPIC}%24.ct=application%2Fjson&%24.ce=utf-8&temp%20alert=true");
    client.send(message(&topic, "{}", Some(1))).await;
    client.expect(Packet::PubAck(id(1))).await;
    let got = &world.log.messages()[0];
    assert_eq!(got.body, "{}");
    assert_eq!(got.system.get(SystemProperty::ContentType).unwrap(), "application/json");
    assert_eq!(got.system.get(SystemProperty::ConnectionDeviceId).unwrap(), "d1");
    assert_eq!(got.properties.get("temp alert").unwrap(), "true");
}

#[tokio::test]
async fn mqtt_17_puback_waits_for_the_disk_and_keeps_the_order() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut client = Client::connected(&world, "d1").await;
    for n in 1..=3 {
        client.send(message(TOPIC, "x", Some(n))).await;
    }
    // A twin request needs no disk, but its PUBACK must not overtake.
    client.send(message("$iothub/twin/GET/?$rid=1", "", Some(4))).await;
    world.log.appended(3).await;
    client.expect_quiet().await;
    // Reading goes on while the disk is waited for.
    client.send(message(TOPIC, "x", Some(5))).await;
    world.log.appended(4).await;
    // What is on disk is acknowledged, though more of the same read is not: a full disk may take long.
    world.log.sync(2);
    for n in 1..=2 {
        client.expect(Packet::PubAck(id(n))).await;
    }
    client.expect_quiet().await;
    world.log.sync(3);
    for n in 3..=4 {
        client.expect(Packet::PubAck(id(n))).await;
    }
    client.expect_quiet().await;
    world.log.sync(4);
    client.expect(Packet::PubAck(id(5))).await;
}

#[tokio::test]
async fn one_read_of_many_messages_is_parsed_to_the_end() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let mut bytes = BytesMut::new();
    for n in 1..=500 {
        encode(&message(TOPIC, &"x".repeat(100), Some(n)), &mut bytes).unwrap();
    }
    client.stream.write_all(&bytes).await.unwrap();
    for n in 1..=500 {
        client.expect(Packet::PubAck(id(n))).await;
    }
    assert_eq!(world.log.len(), 500);
}

/// A topic that comes again is not read again; one that changed is, however reads cut the packets.
#[tokio::test]
async fn topics_change_within_a_read_and_between_reads() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let (mut bytes, mut expected) = (BytesMut::new(), Vec::new());
    for n in 1..=60_u16 {
        let (bag, retain) =
            (["a=1", "a=1", "a=1", "a=2", "", "", "a=1&b=x%20y"][usize::from(n % 7)], n % 11 == 0);
        let Packet::Publish(mut publish) =
            message(&format!("{TOPIC}{bag}"), &n.to_string(), (n % 5 != 0).then_some(n))
        else {
            unreachable!()
        };
        publish.retain = retain;
        encode(&Packet::Publish(publish), &mut bytes).unwrap();
        let retained = if retain { "mqtt-retain=true" } else { "" };
        let pairs = [bag, retained].into_iter().filter(|pairs| !pairs.is_empty()).collect::<Vec<_>>();
        expected.push((n.to_string(), pairs.join("&").replace("%20", " ")));
    }
    for piece in bytes.chunks(97) {
        client.stream.write_all(piece).await.unwrap();
        idle().await;
    }
    for n in (1..=60).filter(|n| n % 5 != 0) {
        client.expect(Packet::PubAck(id(n))).await;
    }
    let told = |message: Message| {
        let pairs = message.properties.iter().map(|(name, value)| format!("{name}={value}"));
        (String::from_utf8(message.body.to_vec()).unwrap(), pairs.collect::<Vec<_>>().join("&"))
    };
    assert_eq!(world.log.messages().into_iter().map(told).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn mqtt_07_a_foreign_topic_ends_the_connection_also_behind_many_of_its_own() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let mut bytes = BytesMut::new();
    for n in 1..=10 {
        encode(&message(TOPIC, "x", Some(n)), &mut bytes).unwrap();
    }
    encode(&message("devices/d2/messages/events/", "x", Some(11)), &mut bytes).unwrap();
    encode(&message(TOPIC, "x", Some(12)), &mut bytes).unwrap();
    client.stream.write_all(&bytes).await.unwrap();
    while client.next().await.is_some() {}
    assert_eq!(world.log.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_messages_are_bounded() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut client = Client::connected(&world, "d1").await;
    let max = unacknowledged::UNACKNOWLEDGED_MAX;
    let mut bytes = BytesMut::new();
    for n in 1..=max + 10 {
        encode(&message(TOPIC, "x", Some(n as u16)), &mut bytes).unwrap();
    }
    client.stream.write_all(&bytes).await.unwrap();
    world.log.appended(max).await;
    idle().await;
    assert_eq!(world.log.len(), max);
    world.log.sync(max as u64);
    world.log.appended(max + 10).await;
    world.log.sync(max as u64 + 10);
    for n in 1..=max + 10 {
        client.expect(Packet::PubAck(id(n as u16))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn back_pressure_stops_reading_and_loses_nothing() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    world.log.set_room(1);
    for n in 1..=4 {
        client.send(message(TOPIC, &n.to_string(), Some(n))).await;
    }
    client.expect(Packet::PubAck(id(1))).await;
    idle().await;
    assert_eq!(world.log.len(), 1);
    world.log.set_room(100);
    for n in 2..=4 {
        client.expect(Packet::PubAck(id(n))).await;
    }
    let bodies: Vec<_> = world.log.messages().into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn mqtt_23_the_retain_flag_becomes_a_property() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let Packet::Publish(mut publish) = message(TOPIC, "x", Some(1)) else { unreachable!() };
    publish.retain = true;
    client.send(Packet::Publish(publish)).await;
    client.expect(Packet::PubAck(id(1))).await;
    assert_eq!(world.log.messages()[0].properties.get("mqtt-retain").unwrap(), "true");
}

fn with_will(name: &str) -> Connect {
    let topic = format!("devices/{name}/messages/events/reason=dead");
    let will = Will { topic: topic.into(), payload: "gone".into(), qos: QoS::AtLeastOnce, retain: true };
    Connect { will: Some(will), ..hello(name) }
}

#[tokio::test]
async fn mqtt_28_a_lost_client_leaves_its_will_as_telemetry() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    client.send(Packet::Connect(Box::new(with_will("d1")))).await;
    client.expect(accepted()).await;
    drop(client);
    world.log.appended(1).await;
    let will = &world.log.messages()[0];
    assert_eq!(will.body, "gone");
    assert_eq!(will.properties.get("iothub-MessageType").unwrap(), "Will");
    assert_eq!(will.properties.get("reason").unwrap(), "dead");
    assert_eq!(will.properties.get("mqtt-retain"), None);
}

#[tokio::test]
async fn mqtt_28_a_client_that_says_goodbye_leaves_no_will() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    client.send(Packet::Connect(Box::new(with_will("d1")))).await;
    client.expect(accepted()).await;
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
    assert_eq!(world.log.len(), 0);
}

#[tokio::test]
async fn a_stop_acknowledges_what_was_taken() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut client = Client::connected(&world, "d1").await;
    client.send(message(TOPIC, "x", Some(1))).await;
    world.log.appended(1).await;
    client.expect_quiet().await;
    client.cancel.cancel();
    world.log.sync(1);
    client.expect(Packet::PubAck(id(1))).await;
    client.expect_end().await;
}
