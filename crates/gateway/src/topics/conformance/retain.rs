//! Retained messages.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_last_retained_message_is_for_who_comes_later() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        let mut reader = door.client(v, "reader").await;
        // 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-8]; 5.0: [MQTT-3.3.1-5], [MQTT-3.3.1-9]
        client.publish(2, true, "a/1", "first").await;
        client.publish(1, true, "a/1", "last").await;
        client.publish(0, true, "a/2", "other").await;
        reader.subscribe("a/+", 2).await;
        let got = reader.messages().await;
        let seen: Vec<_> = got.iter().map(|got| (got.payload.as_str(), got.qos, got.retain)).collect();
        assert_eq!(seen, [("last", 1, true), ("other", 0, true)]);
        // 3.1.1: [MQTT-3.3.1-7]: one of quality 0 takes the place too.
        client.publish(0, true, "a/1", "of quality 0").await;
        let mut late = door.client(v, "late").await;
        late.subscribe("a/1", 2).await;
        assert_eq!(late.payloads().await, ["of quality 0"]);
        // 3.1.1: [MQTT-3.3.1-12]; 5.0: [MQTT-3.3.1-8]: without the flag nothing is replaced, or removed.
        client.publish(1, false, "a/1", "passing").await;
        client.publish(1, false, "a/1", "").await;
        let mut late = door.client(v, "late").await;
        late.subscribe("a/1", 2).await;
        assert_eq!(late.payloads().await, ["of quality 0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_flag_is_for_what_was_there_before() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 1).await;
        let mut client = door.client(v, "client").await;
        // 3.1.1: [MQTT-3.3.1-9]; 5.0: [MQTT-3.3.1-12]
        client.publish(1, true, "a", "x").await;
        let got = reader.messages().await;
        assert_eq!((got.len(), got[0].retain), (1, false));
        client.publish(1, true, "a", "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_message_removes_and_is_not_kept() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 1).await;
        let mut client = door.client(v, "client").await;
        client.publish(1, true, "a", "x").await;
        // 3.1.1: [MQTT-3.3.1-10], [MQTT-3.3.1-11]; 5.0: [MQTT-3.3.1-6], [MQTT-3.3.1-7]; it is delivered as any other.
        client.publish(1, true, "a", "").await;
        assert_eq!(reader.payloads().await, ["x", ""]);
        let mut late = door.client(v, "late").await;
        late.subscribe("a", 1).await;
        assert_eq!(late.wire.pending().await, []);
        assert_eq!(door.services.topics.as_ref().unwrap().broker().snapshot().retained, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn retain_handling_says_when_they_are_sent() {
    let door = Door::open().await;
    let mut client = door.client(V::V5, "client").await;
    client.publish(1, true, "a", "kept").await;
    for (handling, first, second) in [
        // 5.0: [MQTT-3.3.1-9], [MQTT-3.8.4-4]
        (0, 1, 1),
        // 5.0: [MQTT-3.3.1-10]
        (1, 1, 0),
        // 5.0: [MQTT-3.3.1-11]
        (2, 0, 0),
    ] {
        let mut reader = door.client(V::V5, "reader").await;
        for expected in [first, second] {
            reader.subscribe("a", 1 | handling << 4).await;
            assert_eq!(reader.messages().await.len(), expected, "handling {handling}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retain_as_published_keeps_the_flag() {
    let door = Door::open().await;
    let mut reader = door.client(V::V5, "reader").await;
    let mut client = door.client(V::V5, "client").await;
    // 5.0: [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    for (option, retain, expected) in [(0, true, false), (8, true, true), (8, false, false)] {
        reader.subscribe("a", 1 | option | 2 << 4).await;
        client.publish(1, retain, "a", "x").await;
        let got = reader.messages().await;
        assert_eq!((got.len(), got[0].retain), (1, expected));
    }
}
