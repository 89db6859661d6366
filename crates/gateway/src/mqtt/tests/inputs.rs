//! Messages to the inputs of a module.

use super::*;
use crate::fakes::identity;
use ironbrook_hub::seams::Routed;
use ironbrook_hub::{InputOutcome, InputStop, Settlement};
use ironbrook_log::Offset;
use ironbrook_model::{MessageSource, SystemProperty, Timestamp};
use tokio::task::JoinHandle;

/// As Python and Node ask for it.
const FILTER: &str = "devices/d1/modules/m1/inputs/#";

fn world() -> World {
    World::new(&["d1", "d1/m1"])
}

fn deliver(world: &World, count: u64) -> JoinHandle<InputOutcome> {
    let routed = |n: u64| {
        let mut message = Message::new(n.to_string());
        message.system.set(SystemProperty::OutputName, "temperatureOutput");
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ConnectionModuleId, "sensor");
        message.properties.set("sequenceNumber", n.to_string());
        let (offset, enqueued) = (Offset(n), Timestamp::from_secs(1));
        Routed { offset, event_sequence: None, enqueued, source: MessageSource::DeviceMessages, message }
    };
    let messages: Vec<_> = (0..count).map(routed).collect();
    let hub = world.hub.clone();
    tokio::spawn(async move { hub.deliver_inputs(&identity("d1/m1"), "in1", &messages).await })
}

async fn publish(client: &mut Client) -> Publish {
    match client.next().await {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("{other:?} instead of a message"),
    }
}

async fn outcome(delivering: JoinHandle<InputOutcome>) -> InputOutcome {
    within("the outcome", delivering).await.unwrap()
}

#[tokio::test]
async fn mqtt_29_puback_completes_a_message_to_an_input() {
    let world = world();
    let mut client = Client::connected(&world, "d1/m1").await;
    assert_eq!(
        client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await,
        [SubAckCode::Granted(QoS::AtLeastOnce)]
    );
    let delivering = deliver(&world, 1);
    let got = publish(&mut client).await;
    assert_eq!(
        got.topic,
        "devices/d1/modules/m1/inputs/in1/%24.ct=application%2Fjson&%24.cmid=sensor&sequenceNumber=0"
    );
    assert_eq!((got.qos, &got.payload[..]), (QoS::AtLeastOnce, &b"0"[..]));
    client.expect_quiet().await;
    assert!(!delivering.is_finished());
    client.send(Packet::PubAck(got.packet_id.unwrap())).await;
    let done = InputOutcome { settled: vec![Some(Settlement::Complete)], stopped: None };
    assert_eq!(outcome(delivering).await, done);
    assert_eq!(world.inbox.settled(), [], "no cloud-to-device message is meant");
}

#[tokio::test]
async fn the_whole_window_is_under_way_without_a_puback_and_the_rest_waits() {
    let world = world();
    let mut client = Client::connected(&world, "d1/m1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    let window = ironbrook_hub::input::INPUTS_UNSETTLED_MAX as u64;
    let delivering = deliver(&world, window + 1);
    let mut ids = Vec::new();
    for n in 0..window {
        let got = publish(&mut client).await;
        assert_eq!(got.payload, n.to_string());
        ids.push(got.packet_id.unwrap());
    }
    client.expect_quiet().await;
    client.send(Packet::PubAck(ids[0])).await;
    let last = publish(&mut client).await;
    assert_eq!(last.payload, window.to_string());
    for id in ids[1..].iter().copied().chain(last.packet_id) {
        client.send(Packet::PubAck(id)).await;
    }
    assert_eq!(outcome(delivering).await.stopped, None);
}

#[tokio::test]
async fn quality_0_is_complete_when_written() {
    let world = world();
    let mut client = Client::connected(&world, "d1/m1").await;
    client.subscribe(&[("devices/d1/modules/m1/#", QoS::AtMostOnce)]).await;
    let delivering = deliver(&world, 2);
    assert_eq!(publish(&mut client).await.packet_id, None);
    assert_eq!(outcome(delivering).await.settled, [Some(Settlement::Complete); 2]);
}

#[tokio::test]
async fn a_lost_connection_ends_the_delivery_and_the_next_one_gets_it() {
    let world = world();
    let mut client = Client::connected(&world, "d1/m1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    let delivering = deliver(&world, 1);
    publish(&mut client).await;
    drop(client);
    assert_eq!(outcome(delivering).await.stopped, Some(InputStop::SessionEnded));
    assert_eq!(outcome(deliver(&world, 1)).await.stopped, Some(InputStop::NotConnected));
    let mut client = Client::connected(&world, "d1/m1").await;
    client.subscribe(&[(FILTER, QoS::AtLeastOnce)]).await;
    let delivering = deliver(&world, 1);
    let got = publish(&mut client).await;
    client.send(Packet::PubAck(got.packet_id.unwrap())).await;
    assert_eq!(outcome(delivering).await.stopped, None);
}

#[tokio::test]
async fn devices_have_no_inputs_to_subscribe_to() {
    let world = world();
    let mut client = Client::connected(&world, "d1").await;
    let filter = SubscribeFilter { filter: "devices/d1/inputs/#".into(), qos: QoS::AtLeastOnce };
    client.send(Packet::Subscribe(Subscribe { packet_id: id(1), filters: vec![filter] })).await;
    client.expect_end().await;
}
