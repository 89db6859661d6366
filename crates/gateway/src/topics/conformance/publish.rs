//! PUBLISH as it comes and as it goes out.

use super::packet::{block, publish, short};
use super::*;

#[tokio::test(start_paused = true)]
async fn each_quality_is_answered_in_its_way() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 2).await;
        let mut client = door.client(v, "client").await;
        // [MQTT-3.3.4-1]; 3.1.1: [MQTT-2.3.1-6], [MQTT-4.3.1-1]; 5.0: [MQTT-2.2.1-5]
        client.wire.send(publish(v, 0, "a", 0, &[], "0")).await;
        assert_eq!(client.wire.pending().await, []);
        // 3.1.1: [MQTT-4.3.2-2]; 5.0: [MQTT-4.3.2-4]
        client.wire.send(publish(v, 2, "a", 11, &[], "1")).await;
        client.wire.expect(short(0x40, 11)).await;
        // 3.1.1: [MQTT-4.3.3-2]; 5.0: [MQTT-4.3.3-8], [MQTT-4.3.3-11]
        client.wire.send(publish(v, 4, "a", 12, &[], "2")).await;
        client.wire.expect(short(0x50, 12)).await;
        client.wire.send(short(0x62, 12)).await;
        client.wire.expect(short(0x70, 12)).await;
        let got: Vec<_> = reader.messages().await.into_iter().map(|got| (got.qos, got.payload)).collect();
        assert_eq!(got, [(0, "0".into()), (1, "1".into()), (2, "2".into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_identifier_that_is_answered_is_free() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 2).await;
        let mut client = door.client(v, "client").await;
        for (at, dup) in [0, 8].into_iter().enumerate() {
            // 3.1.1: [MQTT-4.3.2-2]; 5.0: [MQTT-4.3.2-5]: a new message, whatever DUP says.
            client.wire.send(publish(v, 2 | dup, "a", 5, &[], format!("1 {at}"))).await;
            client.wire.expect(short(0x40, 5)).await;
            // 3.1.1: [MQTT-4.3.3-2]; 5.0: [MQTT-4.3.3-12]
            client.wire.send(publish(v, 4 | dup, "a", 5, &[], format!("2 {at}"))).await;
            client.wire.expect(short(0x50, 5)).await;
            // 3.1.1: [MQTT-4.3.3-2]; 5.0: [MQTT-4.3.3-10]: until PUBREL it is the same message.
            client.wire.send(publish(v, 12, "a", 5, &[], "again")).await;
            client.wire.expect(short(0x50, 5)).await;
            client.wire.send(short(0x62, 5)).await;
            client.wire.expect(short(0x70, 5)).await;
        }
        assert_eq!(reader.payloads().await, ["1 0", "2 0", "1 1", "2 1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_numbers_its_messages_itself() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 2).await;
        let mut client = door.client(v, "client").await;
        // 3.1.1: [MQTT-2.3.1-4]; 5.0: [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]; DUP is not passed on: [MQTT-3.3.1-3]
        for qos in [2, 4, 2, 4] {
            client.wire.send(publish(v, qos | 8, "a", 7, &[], "x")).await;
            client.wire.packet().await;
            client.wire.send(short(0x62, 7)).await;
            if qos == 4 {
                client.wire.expect(short(0x70, 7)).await;
            } else {
                client.wire.packet().await;
            }
        }
        let mut ids = Vec::new();
        for _ in 0..4 {
            let got = reader.message().await;
            assert!(!got.dup && got.id != 0);
            ids.push(got.id);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4, "none of them is answered yet");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_messages_end_the_connection() {
    let door = Door::open().await;
    for v in BOTH {
        let with = |first: u8, body: &[u8]| packet::frame(first, body);
        let id_0 = [&text("a")[..], &[0, 0], &block(v, &[])].concat();
        for (what, bytes) in [
            // [MQTT-3.3.1-4]
            ("quality 3", publish(v, 6, "a", 1, &[], "x")),
            // [MQTT-3.3.1-2]; 5.0: [MQTT-4.3.1-1]
            ("DUP of quality 0", publish(v, 8, "a", 0, &[], "x")),
            // [MQTT-3.3.2-1]
            ("no topic", with(0x30, &[])),
            ("a topic that is no text", with(0x30, &[&text([0xc3, 0x28])[..], &block(v, &[])].concat())),
            // [MQTT-3.3.2-2], [MQTT-4.7.1-1]; 5.0: [MQTT-4.7.0-1]
            ("a wildcard", publish(v, 0, "a/+", 0, &[], "x")),
            ("a wildcard", publish(v, 0, "#", 0, &[], "x")),
            // [MQTT-4.7.3-1]
            ("an empty topic", publish(v, 0, "", 0, &[], "x")),
            // [MQTT-4.7.3-2]; 3.1.1: [MQTT-1.5.3-2]; 5.0: [MQTT-1.5.4-2]
            ("U+0000", publish(v, 0, "a\0", 0, &[], "x")),
            // 3.1.1: [MQTT-1.5.3-1]; 5.0: [MQTT-1.5.4-1]
            ("a surrogate", with(0x30, &[&text([0xed, 0xa0, 0x80])[..], &block(v, &[])].concat())),
            // 3.1.1: [MQTT-2.3.1-1]; 5.0: [MQTT-2.2.1-3]
            ("identifier 0", with(0x32, &id_0)),
        ] {
            let mut watcher = door.client(v, "watcher").await;
            watcher.subscribe("#", 0).await;
            // 3.1.1: [MQTT-4.8.0-1]; 5.0: [MQTT-4.13.1-1]
            let code = door.client(v, "client").await.violates(bytes).await;
            assert!(matches!(code, 0x80 | 0x81 | 0x82 | 0x90), "{what}: {code:#x}");
            assert_eq!(watcher.payloads().await, [""; 0], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_identifier_all_behind_the_topic_is_payload() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        client.subscribe("a", 2).await;
        // 3.1.1: [MQTT-2.3.1-5]; 5.0: [MQTT-2.2.1-2], both ways
        client.wire.send(publish(v, 0, "a", 0, &[], "\0\x05x")).await;
        assert_eq!(client.message().await.payload, "\0\x05x");
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_publish_is_told_where_it_can_be() {
    let door = Door::with(Config::default(), guarded(), TopicsSettings::default()).await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        assert!(reader.subscribe("denied/a", 0).await >= 0x80);
        let mut client = door.client(v, "client").await;
        // 3.1.1: [MQTT-3.3.5-2]: acknowledged as ever.
        let expected = if v == V::V4 { 0 } else { 0x87 };
        assert_eq!(client.publish(1, false, "denied/a", "x").await, expected);
        let id = client.id();
        client.wire.send(publish(v, 4, "denied/a", id, &[], "x")).await;
        let received = client.answer(0x50).await;
        assert_eq!(received.body.get(2).copied().unwrap_or(0), expected);
        // 5.0: [MQTT-4.3.3-9]: the identifier is free, and the next message is another.
        if v == V::V5 {
            client.wire.send(publish(v, 4, "allowed", id, &[], "x")).await;
            let received = client.answer(0x50).await;
            assert!(received.body.get(2).copied().unwrap_or(0) < 0x80);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_whom_it_matches() {
    let door = Door::open().await;
    for v in BOTH {
        let (mut one, mut other) = (door.client(v, "one").await, door.client(v, "other").await);
        one.subscribe("a/+", 2).await;
        other.subscribe("b/#", 2).await;
        // [MQTT-3.3.2-3], [MQTT-4.5.0-1]
        for topic in ["a/1", "b/1", "c"] {
            let mut publisher = door.client(v, "publisher").await;
            publisher.publish(2, false, topic, topic).await;
        }
        let topics = |got: Vec<packet::Got>| got.into_iter().map(|got| got.topic).collect::<Vec<_>>();
        assert_eq!(topics(one.messages().await), ["a/1"]);
        assert_eq!(topics(other.messages().await), ["b/1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_compared_as_they_are() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        let mut publisher = door.client(v, "publisher").await;
        // [MQTT-4.7.3-4]; a byte order mark stays: 3.1.1: [MQTT-1.5.3-3]; 5.0: [MQTT-1.5.4-3]
        let names = ["é", "e\u{301}", "E", "e", "\u{feff}e", " e", "e/", "/e", "e//", "\u{fffd}"];
        for name in names {
            client.subscribe(name, 0).await;
            for other in names {
                publisher.publish(0, false, other, other).await;
            }
            assert_eq!(client.payloads().await, [name]);
            client.wire.send(packet::unsubscribe(v, 3, &[name])).await;
            client.answer(0xb0).await;
        }
        // [MQTT-4.7.3-3]: 65,535 bytes are fine, and more cannot be said.
        let long = "x".repeat(65_535);
        client.subscribe(&long, 1).await;
        publisher.publish(1, false, &long, "long").await;
        assert_eq!(client.payloads().await, ["long"]);
    }
}
