//! Bounds that both sides name: receive maximum and packet size, of MQTT 5.0.

use super::packet::{frame, publish, short, subscribe};
use super::*;

const V: V = V::V5;

#[tokio::test(start_paused = true)]
async fn no_more_is_under_way_than_the_client_takes() {
    let door = Door::open().await;
    let (mut client, _) = door.connected(&Connect::new(V, "client").with(&[0x21, 0, 2])).await;
    client.subscribe("#", 2).await;
    let mut publisher = door.client(V, "publisher").await;
    for (at, qos) in [1, 2, 1, 2, 1].into_iter().enumerate() {
        publisher.publish(qos, false, "a", &at.to_string()).await;
    }
    publisher.publish(0, false, "a", "of quality 0").await;
    // [MQTT-3.3.4-9], [MQTT-4.9.0-1], [MQTT-4.9.0-2]; quality 0 is not counted.
    let (first, second) = (client.message().await, client.message().await);
    assert_eq!((first.payload.as_str(), second.payload.as_str()), ("0", "1"));
    let rest = client.wire.pending().await;
    assert_eq!(rest.iter().map(|packet| packet.message(V).qos).collect::<Vec<_>>(), [0]);
    // [MQTT-3.3.4-10], [MQTT-4.9.0-3]: all else goes on.
    assert_eq!(client.subscribe("b", 1).await, 1);
    client.wire.send(publish(V, 2, "nobody/reads", 5, &[], "x")).await;
    let packets = client.wire.pending().await;
    assert!(packets.iter().any(|packet| packet.first == 0x40), "{packets:?}");
    assert!(packets.iter().all(|packet| packet.first >> 4 != 3 || packet.first & 6 == 0), "{packets:?}");
    // PUBREC is not the end of a message, PUBCOMP is, and so is a refusal.
    client.wire.send(short(0x50, second.id)).await;
    client.wire.expect(short(0x62, second.id)).await;
    assert_eq!(client.wire.pending().await, []);
    client.wire.send(short(0x70, second.id)).await;
    assert_eq!(client.message().await.payload, "2");
    client.wire.send(short(0x40, first.id)).await;
    let fourth = client.message().await;
    assert_eq!(fourth.payload, "3");
    client.wire.send(frame(0x50, &[&fourth.id.to_be_bytes()[..], &[0x80]].concat())).await;
    assert_eq!(client.message().await.payload, "4");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_more_than_it_was_told_is_closed() {
    let config = Config { receive_maximum: 3, ..Config::default() };
    let door = Door::with(config, Acl::open(), TopicsSettings::default()).await;
    let mut wire = door.wire();
    wire.send(Connect::new(V, "client").bytes()).await;
    let told = wire.packet().await.properties().into_iter().find(|(id, _)| *id == 0x21).unwrap().1;
    assert_eq!(told, [0, 3]);
    // Section 3.3.4: [MQTT-3.3.4-7] is for clients; who does not keep to it is told 0x93.
    let mut client = Client::new(wire, V);
    for id in 1..=3 {
        client.wire.send(publish(V, 4, "a", id, &[], "x")).await;
        client.answer(0x50).await;
    }
    assert_eq!(client.violates(publish(V, 4, "a", 4, &[], "x")).await, 0x93);
    // Receive maximum 0 is none: section 3.1.2.11.3.
    let refusal = door.refused(Connect::new(V, "client").with(&[0x21, 0, 0]).bytes()).await;
    assert_eq!((refusal.len(), refusal[0].code()), (1, 0x82));
}

#[tokio::test(start_paused = true)]
async fn packets_too_large_for_the_client_are_left_out() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    let kept = Connect::kept(V, "client").with(&[0x27, 0, 0, 0, 50]);
    let (mut client, _) = door.connected(&kept).await;
    client.subscribe("#", 1).await;
    // Head, length, topic, identifier, length of properties: 2 + 3 + 2 + 1, and the payload.
    for (length, comes) in [(42, true), (43, false), (20, true)] {
        publisher.publish(1, false, "a", &"x".repeat(length)).await;
        // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
        let packets = client.wire.pending().await;
        assert_eq!(packets.len(), usize::from(comes), "{length}");
        for packet in packets {
            assert!(frame(packet.first, &packet.body).len() <= 50);
            client.wire.send(short(0x40, packet.message(V).id)).await;
        }
    }
    // It counts as sent.
    drop(client);
    let (mut client, _) = door.connected(&kept).await;
    assert_eq!(client.wire.pending().await, []);
    // Answers are short enough as well, without what explains them: [MQTT-3.9.2-1], [MQTT-3.14.2-3], [MQTT-3.2.2-19].
    client.wire.send(subscribe(V, 1, &[], &[("$share/g/a", 0)])).await;
    client.answer(0x90).await;
    client.wire.send([0xf1, 0]).await;
    for packet in client.wire.rest().await {
        assert!(frame(packet.first, &packet.body).len() <= 50);
    }
}

#[tokio::test(start_paused = true)]
async fn packets_too_large_for_the_server_end_the_connection() {
    let config = Config { payload_bytes_max: 1000, ..Config::default() };
    let door = Door::with(config, Acl::open(), TopicsSettings::default()).await;
    for v in BOTH {
        // Section 3.2.2.3.6 of 5.0: [MQTT-3.2.2-15] is for clients.
        let code =
            door.client(v, "client").await.violates(publish(v, 0, "a", 0, &[], vec![b'x'; 1001])).await;
        assert!(matches!(code, 0x80 | 0x95 | 0x97), "{code:#x}");
        let code = door.client(v, "client").await.violates([0x30, 0xff, 0xff, 0xff, 0x7f]).await;
        assert!(matches!(code, 0x80 | 0x95), "{code:#x}");
    }
}
