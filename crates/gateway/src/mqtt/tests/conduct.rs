//! Who is let in, and what ends a connection.

use super::*;

async fn return_code(world: &World, connect: Connect) -> ConnectReturnCode {
    let mut client = Client::open(world);
    client.send(Packet::Connect(Box::new(connect))).await;
    let Some(Packet::ConnAck(ack)) = client.next().await else { panic!("no CONNACK") };
    // mqtt_27: whatever is stored.
    assert!(!ack.session_present);
    if ack.code != ConnectReturnCode::Accepted {
        client.expect_end().await;
    }
    ack.code
}

#[tokio::test]
async fn mqtt_16_refused_clients_are_told_why_and_closed() {
    let world = World::new(&["d1"]);
    assert_eq!(return_code(&world, hello("d1")).await, ConnectReturnCode::Accepted);
    assert_eq!(return_code(&world, hello("unknown")).await, ConnectReturnCode::NotAuthorized);
    let wrong_key = format!("{}A", token("d1", Duration::from_secs(60)).replace("sig=", "sig=AAAA"));
    let wrong = Connect { password: Some(wrong_key.replace("&se", "&x=1&se").into()), ..hello("d1") };
    assert_eq!(return_code(&world, wrong).await, ConnectReturnCode::BadUserNameOrPassword);
    let other = Connect { password: Some(token("d2", Duration::from_secs(60)).into()), ..hello("d1") };
    assert_eq!(return_code(&world, other).await, ConnectReturnCode::NotAuthorized);
    let none = Connect { password: None, ..hello("d1") };
    assert_eq!(return_code(&world, none).await, ConnectReturnCode::NotAuthorized);
}

#[tokio::test]
async fn another_protocol_level_gets_return_code_1() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    client.stream.write_all(b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0").await.unwrap();
    let code = ConnectReturnCode::UnacceptableProtocolVersion;
    client.expect(Packet::ConnAck(ConnAck { session_present: false, code })).await;
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn mqtt_01_connect_must_come_in_60_seconds() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    let opened = Instant::now();
    client.stream.write_all(b"\x10").await.unwrap();
    client.expect_end().await;
    assert_eq!(opened.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn mqtt_15_a_silent_client_is_cut_after_one_and_a_half_intervals() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.expect_quiet().await;
    let heard = Instant::now();
    client.expect_end().await;
    assert_eq!(heard.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    let pings = [0xc0, 0].repeat(300_000);
    let began = Instant::now();
    // The server stops reading when its answers are not taken, and at last hangs up.
    assert!(client.stream.write_all(&pings).await.is_err());
    assert_eq!(began.elapsed().as_secs(), 30);
}

async fn ends(packet: Packet) {
    let world = World::new(&["d1", "d2", "d1/m1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.send(packet.clone()).await;
    assert_eq!(client.next().await, None, "{packet:?}");
    assert_eq!(world.log.len(), 0);
}

fn subscribe_to(filter: &str) -> Packet {
    let filters = vec![SubscribeFilter { filter: filter.into(), qos: QoS::AtMostOnce }];
    Packet::Subscribe(Subscribe { packet_id: id(1), filters })
}

#[tokio::test]
async fn mqtt_07_topics_of_others_end_the_connection() {
    ends(message("devices/d2/messages/events/", "x", Some(1))).await;
    ends(message("devices/d1/modules/m1/messages/events/", "x", Some(1))).await;
    ends(subscribe_to("devices/d2/messages/devicebound/#")).await;
}

#[tokio::test]
async fn mqtt_08_unknown_topics_end_the_connection() {
    ends(message("home/kitchen", "x", None)).await;
    ends(subscribe_to("#")).await;
}

#[tokio::test]
async fn mqtt_21_a_second_connect_ends_the_connection() {
    ends(Packet::Connect(Box::new(hello("d1")))).await;
    ends(Packet::PingResp).await;
}

#[tokio::test]
async fn mqtt_22_quality_2_ends_the_connection() {
    let Packet::Publish(mut publish) = message("devices/d1/messages/events/", "x", Some(1)) else {
        unreachable!()
    };
    publish.qos = QoS::ExactlyOnce;
    ends(Packet::Publish(publish)).await;
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_connection() {
    let body = "x".repeat(256 * 1024 + 1);
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.send(message("devices/d1/messages/events/", &body, Some(1))).await;
    client.expect_end().await;
    assert_eq!(world.log.len(), 0);
}

#[tokio::test]
async fn the_newest_connection_wins() {
    let world = World::new(&["d1"]);
    let mut first = Client::connected(&world, "d1").await;
    let mut second = Client::connected(&world, "d1").await;
    first.expect_end().await;
    second.expect_quiet().await;
}

#[tokio::test]
async fn mqtt_24_quality_2_is_granted_as_1_and_filters_are_answered_in_order() {
    let world = World::new(&["d1", "d1/m1"]);
    let mut client = Client::connected(&world, "d1/m1").await;
    let codes = client
        .subscribe(&[
            ("devices/d1/modules/m1/#", QoS::ExactlyOnce),
            ("$iothub/twin/res/#", QoS::AtMostOnce),
            ("$iothub/methods/POST/#", QoS::AtLeastOnce),
        ])
        .await;
    let granted = [QoS::AtLeastOnce, QoS::AtMostOnce, QoS::AtLeastOnce].map(SubAckCode::Granted);
    assert_eq!(codes, granted);
    // Its own telemetry does not come back by the wide filter.
    client.send(message("devices/d1/modules/m1/messages/events/%24.on=out/", "x", Some(1))).await;
    client.expect(Packet::PubAck(id(1))).await;
    client.expect_quiet().await;
}
