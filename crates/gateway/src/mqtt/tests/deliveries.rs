//! Cloud-to-device messages: topics, settlement, stored subscriptions.

use super::*;
use ironbrook_hub::Settlement;
use ironbrook_model::SystemProperty;
use ironbrook_wire::mqtt::v4::Unsubscribe;

const FILTER: &str = "devices/d1/messages/devicebound/#";

fn command() -> Message {
    let mut command = Message::new("{\"interval\":5}");
    command.system.set(SystemProperty::MessageId, "m1");
    command.system.set(SystemProperty::Ack, "full");
    command.properties.set("kind", "a b");
    command
}

#[tokio::test]
async fn mqtt_20_quality_1_is_complete_with_puback() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    world.inbox.put(command());
    let Some(Packet::Publish(got)) = client.next().await else { panic!("no message") };
    assert_eq!(
        got.topic,
        "devices/d1/messages/devicebound/%24.mid=m1&%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&iothub-ack=full&kind=a%20b"
    );
    assert_eq!((got.qos, &got.payload[..]), (QoS::AtLeastOnce, &b"{\"interval\":5}"[..]));
    client.expect_quiet().await;
    assert_eq!(world.inbox.settled(), []);
    client.send(Packet::PubAck(got.packet_id.unwrap())).await;
    assert_eq!(world.inbox.settlements(1).await, [(1, Settlement::Complete)]);
}

#[tokio::test]
async fn mqtt_19_quality_0_is_complete_when_written() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(FILTER, QoS::AtMostOnce)]).await;
    world.inbox.put(command());
    let Some(Packet::Publish(got)) = client.next().await else { panic!("no message") };
    assert_eq!((got.qos, got.packet_id), (QoS::AtMostOnce, None));
    assert_eq!(world.inbox.settlements(1).await, [(1, Settlement::Complete)]);
}

#[tokio::test]
async fn a_message_without_puback_comes_again_after_reconnecting() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    world.inbox.put(command());
    assert!(matches!(client.next().await, Some(Packet::Publish(_))));
    drop(client);
    assert_eq!(world.inbox.settlements(1).await, [(1, Settlement::Release)]);
    // mqtt_18, mqtt_25: with clean session 0 the subscription was stored and needs no SUBSCRIBE.
    let mut client = Client::connected(&world, "d1").await;
    assert!(matches!(client.next().await, Some(Packet::Publish(p)) if p.qos == QoS::AtLeastOnce));
}

#[tokio::test]
async fn mqtt_25_a_clean_session_stores_no_subscription() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    client.send(Packet::Connect(Box::new(Connect { clean_session: true, ..hello("d1") }))).await;
    client.expect(accepted()).await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
    world.inbox.put(command());
    let mut client = Client::connected(&world, "d1").await;
    client.expect_quiet().await;
}

#[tokio::test]
async fn at_most_ten_messages_are_under_way() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    for _ in 0..12 {
        world.inbox.put(command());
    }
    let mut ids = Vec::new();
    for _ in 0..10 {
        let Some(Packet::Publish(got)) = client.next().await else { panic!("no message") };
        ids.push(got.packet_id.unwrap());
    }
    client.expect_quiet().await;
    client.send(Packet::PubAck(ids[0])).await;
    assert!(matches!(client.next().await, Some(Packet::Publish(_))));
}

#[tokio::test]
async fn after_unsubscribing_nothing_comes() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    let filters = vec![FILTER.into(), "never/subscribed".into()];
    client.send(Packet::Unsubscribe(Unsubscribe { packet_id: id(9), filters })).await;
    client.expect(Packet::UnsubAck(id(9))).await;
    world.inbox.put(command());
    client.expect_quiet().await;
}
