//! Order, and the handshakes of what the server sends.

use super::packet::{frame, publish, short};
use super::*;

#[tokio::test(start_paused = true)]
async fn messages_of_one_publisher_keep_their_order() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a/#", 2).await;
        let mut client = door.client(v, "client").await;
        // [MQTT-4.6.0-5], [MQTT-4.6.0-6]; answers in order: 3.1.1: [MQTT-4.6.0-2], [MQTT-4.6.0-3] are for clients, and kept here too.
        for qos in [0_u8, 1, 2] {
            let mut all = Vec::new();
            for at in 0..200_u16 {
                all.extend(publish(v, qos << 1, "a/b", at + 1, &[], format!("{qos} {at}")));
            }
            client.wire.send(all).await;
            for at in (0..200_u16).filter(|_| qos > 0) {
                client.wire.expect(short(if qos == 1 { 0x40 } else { 0x50 }, at + 1)).await;
            }
            for at in (0..200_u16).filter(|_| qos == 2) {
                client.wire.send(short(0x62, at + 1)).await;
                client.wire.expect(short(0x70, at + 1)).await;
            }
            client.wire.pending().await;
            let expected: Vec<_> = (0..200).map(|at| format!("{qos} {at}")).collect();
            assert_eq!(reader.payloads().await, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pubrec_is_answered_with_pubrel_and_pubcomp_ends_it() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 2).await;
        let mut client = door.client(v, "client").await;
        client.publish(2, false, "a", "x").await;
        let got = reader.message().await;
        // 3.1.1: [MQTT-4.3.3-1], [MQTT-2.3.1-6]; 5.0: [MQTT-4.3.3-4], [MQTT-2.2.1-5]; a second PUBREC is answered too.
        for _ in 0..2 {
            reader.wire.send(short(0x50, got.id)).await;
            reader.wire.expect(short(0x62, got.id)).await;
        }
        reader.wire.send(short(0x70, got.id)).await;
        assert_eq!(reader.wire.pending().await, []);
        // Answers to what is not under way end nothing.
        for packet in [short(0x40, 999), short(0x70, 999)] {
            reader.wire.send(packet).await;
        }
        assert_eq!(reader.wire.pending().await, []);
        reader.wire.send(short(0x62, 998)).await;
        let answer = reader.answer(0x70).await;
        assert_eq!(answer.body[..2], 998_u16.to_be_bytes());
        assert_eq!(answer.body.get(2).copied().unwrap_or(0), if v == V::V5 { 0x92 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_is_done() {
    let door = Door::open().await;
    let kept = Connect::kept(V::V5, "reader");
    let (mut reader, _) = door.connected(&kept).await;
    reader.subscribe("a", 2).await;
    let mut client = door.client(V::V5, "client").await;
    client.publish(1, false, "a", "1").await;
    client.publish(2, false, "a", "2").await;
    // 5.0: [MQTT-4.4.0-2]: an answer of 0x80 or more is an answer.
    let (first, second) = (reader.message().await, reader.message().await);
    reader.wire.send(frame(0x40, &[&first.id.to_be_bytes()[..], &[0x80]].concat())).await;
    reader.wire.send(frame(0x50, &[&second.id.to_be_bytes()[..], &[0x97]].concat())).await;
    assert_eq!(reader.wire.pending().await, [], "no PUBREL");
    drop(reader);
    let (mut reader, present) = door.connected(&kept).await;
    assert!(present);
    assert_eq!(reader.wire.pending().await, []);
}
