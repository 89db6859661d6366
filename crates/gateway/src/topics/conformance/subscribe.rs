//! SUBSCRIBE and UNSUBSCRIBE.

use super::packet::{block, frame, publish, short, subscribe, unsubscribe};
use super::*;

#[tokio::test(start_paused = true)]
async fn each_filter_is_answered_in_its_place() {
    let door = Door::with(Config::default(), guarded(), TopicsSettings::default()).await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-5], [MQTT-3.9.3-1], [MQTT-3.9.3-2]; 3.1.1: [MQTT-2.3.1-7], [MQTT-3.8.4-4];
        // 5.0: [MQTT-2.2.1-6], [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.2.2-9]: all qualities are granted.
        let filters = [("a", 2), ("denied/#", 1), ("b/+", 0), ("c", 1)];
        client.wire.send(subscribe(v, 0x1234, &[], &filters)).await;
        let ack = client.answer(0x90).await;
        assert_eq!(ack.body[..2], [0x12, 0x34]);
        assert_eq!(client.codes(&ack), [2, if v == V::V4 { 0x80 } else { 0x87 }, 0, 1]);
        // [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6]; 3.1.1: [MQTT-2.3.1-7]; 5.0: [MQTT-2.2.1-6], [MQTT-3.11.3-1],
        // [MQTT-3.11.3-2]
        client.wire.send(unsubscribe(v, 0x4321, &["a", "never", "c"])).await;
        let ack = client.answer(0xb0).await;
        assert_eq!(ack.body[..2], [0x43, 0x21]);
        assert_eq!(client.codes(&ack), if v == V::V4 { vec![] } else { vec![0, 0x11, 0] });
        client.wire.send(unsubscribe(v, 5, &["never"])).await;
        client.answer(0xb0).await;
        // What was not named stays.
        let mut publisher = door.client(v, "publisher").await;
        for topic in ["a", "b/1", "c"] {
            publisher.publish(1, false, topic, topic).await;
        }
        assert_eq!(client.payloads().await, ["b/1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_subscriptions_end_the_connection() {
    let door = Door::open().await;
    for v in BOTH {
        let head = [&[0, 1][..], &block(v, &[])].concat();
        let with = |first: u8, payload: &[u8]| frame(first, &[&head[..], payload].concat());
        let wrong_text = text([0xff]);
        for (what, bytes) in [
            // [MQTT-3.8.1-1]; 3.1.1: [MQTT-2.2.2-1], [MQTT-2.2.2-2]; 5.0: [MQTT-2.1.3-1]
            ("flags of SUBSCRIBE", with(0x80, &[&text("a")[..], &[0]].concat())),
            // [MQTT-3.10.1-1]
            ("flags of UNSUBSCRIBE", with(0xa0, &text("a"))),
            // [MQTT-3.6.1-1]
            ("flags of PUBREL", short(0x60, 1)),
            // [MQTT-3.14.1-1]
            ("flags of DISCONNECT", frame(0xe1, &[])),
            // [MQTT-3.8.3-1]
            ("a filter that is no text", with(0x82, &[&wrong_text[..], &[0]].concat())),
            // [MQTT-3.10.3-1]
            ("a filter that is no text", with(0xa2, &wrong_text)),
            // 3.1.1: [MQTT-3.8.3-3]; 5.0: [MQTT-3.8.3-2]
            ("SUBSCRIBE of nothing", with(0x82, &[])),
            // [MQTT-3.10.3-2]
            ("UNSUBSCRIBE of nothing", with(0xa2, &[])),
            // 3.1.1: [MQTT-3.8.3-4]
            ("quality 3", subscribe(v, 1, &[], &[("a", 3)])),
            // 3.1.1: [MQTT-3.8.3-4]; 5.0: [MQTT-3.8.3-5]
            ("reserved bits", subscribe(v, 1, &[], &[("a", 0xc0)])),
            // [MQTT-4.7.3-1]
            ("an empty filter", subscribe(v, 1, &[], &[("", 0)])),
            // [MQTT-4.7.3-2]
            ("U+0000", subscribe(v, 1, &[], &[("a\0", 0)])),
            // 3.1.1: [MQTT-2.3.1-1]; 5.0: [MQTT-2.2.1-3]
            ("identifier 0", subscribe(v, 0, &[], &[("a", 0)])),
            ("identifier 0", unsubscribe(v, 0, &["a"])),
        ] {
            let code = door.client(v, "client").await.violates(bytes).await;
            assert!(matches!(code, 0x80..=0x82 | 0x8f), "{what}: {code:#x}");
        }
    }
    // 5.0: [MQTT-3.8.3-4]
    let client = door.client(V::V5, "client").await;
    assert_eq!(client.violates(subscribe(V::V5, 1, &[], &[("$share/g/a", 4)])).await, 0x82);
    // Sections 3.8.2.1.2 and 3.8.3.1 of 5.0
    let client = door.client(V::V5, "client").await;
    assert_eq!(client.violates(subscribe(V::V5, 1, &[0x0b, 0], &[("a", 0)])).await, 0x82);
    let client = door.client(V::V5, "client").await;
    assert!(matches!(client.violates(subscribe(V::V5, 1, &[], &[("a", 0x30)])).await, 0x81 | 0x82));
}

#[tokio::test(start_paused = true)]
async fn the_lesser_quality_counts() {
    let door = Door::open().await;
    for v in BOTH {
        let mut publisher = door.client(v, "publisher").await;
        for granted in 0..3 {
            let mut client = door.client(v, "client").await;
            assert_eq!(client.subscribe("a", granted).await, granted);
            for published in 0..3 {
                publisher.publish(published, false, "a", "x").await;
                // 3.1.1: [MQTT-3.8.4-6]; 5.0: [MQTT-3.8.4-8], [MQTT-3.2.2-10]
                assert_eq!(client.messages().await[0].qos, published.min(granted));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn overlapping_filters_give_one_message_of_the_best_quality() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        for (filter, qos) in [("a/#", 0), ("a/b", 1), ("+/b", 2), ("#", 0)] {
            client.subscribe(filter, qos).await;
        }
        door.client(v, "publisher").await.publish(2, false, "a/b", "x").await;
        // 3.1.1: [MQTT-3.3.5-1]; 5.0: [MQTT-3.3.4-2]
        let got = client.messages().await;
        assert_eq!((got.len(), got[0].qos), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_filter_again_replaces_without_a_gap() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        let mut publisher = door.client(v, "publisher").await;
        publisher.publish(1, true, "a", "kept").await;
        client.subscribe("a", 2).await;
        assert_eq!(client.payloads().await, ["kept"]);
        // [MQTT-3.8.4-3]; 5.0: [MQTT-3.8.4-4]: what is retained comes again, and nothing that was on its way is lost.
        publisher.publish(2, false, "a", "before").await;
        client.wire.send(subscribe(v, 1, &[], &[("a", 0)])).await;
        publisher.publish(2, false, "a", "after").await;
        let mut got = Vec::new();
        let mut packets = client.wire.pending().await;
        packets.retain(|packet| {
            packet.first >> 4 == 3 || {
                assert_eq!(packet.first, 0x90);
                false
            }
        });
        got.extend(packets.iter().map(|packet| packet.message(v)));
        let seen: Vec<_> = got.iter().map(|got| (got.payload.as_str(), got.qos)).collect();
        assert_eq!(seen.len(), 3, "{seen:?}");
        for expected in [("before", 2), ("kept", 0), ("after", 0)] {
            assert!(seen.contains(&expected), "{seen:?}");
        }
        publisher.publish(1, true, "a", "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn unsubscribing_stops_what_is_new_and_ends_what_is_under_way() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        let mut publisher = door.client(v, "publisher").await;
        client.subscribe("a/+", 2).await;
        client.subscribe("a/b", 2).await;
        publisher.publish(2, false, "a/b", "before").await;
        let got = client.message().await;
        // 3.1.1 and 5.0: [MQTT-3.10.4-1]: character by character, whatever it matches.
        client.wire.send(unsubscribe(v, 1, &["a/#", "A/b"])).await;
        client.answer(0xb0).await;
        client.wire.send(unsubscribe(v, 2, &["a/+", "a/b"])).await;
        client.answer(0xb0).await;
        // [MQTT-3.10.4-2]
        publisher.publish(2, false, "a/b", "after").await;
        assert_eq!(client.wire.pending().await, []);
        // [MQTT-3.10.4-3]
        client.wire.send(short(0x50, got.id)).await;
        client.wire.expect(short(0x62, got.id)).await;
        client.wire.send(short(0x70, got.id)).await;
        assert_eq!(client.wire.pending().await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn own_messages_come_back_unless_they_are_not_wanted() {
    let door = Door::open().await;
    let mut client = door.client(V::V5, "client").await;
    // 5.0: [MQTT-3.8.3-3]
    for (option, expected) in [(0, 1), (4, 0)] {
        client.subscribe("a", option).await;
        client.wire.send(publish(V::V5, 0, "a", 0, &[], "own")).await;
        assert_eq!(client.messages().await.len(), expected);
    }
    door.client(V::V5, "other").await.publish(0, false, "a", "theirs").await;
    assert_eq!(client.payloads().await, ["theirs"]);
}

#[tokio::test(start_paused = true)]
async fn subscription_identifiers_come_back() {
    let door = Door::open().await;
    let mut client = door.client(V::V5, "client").await;
    let mut publisher = door.client(V::V5, "publisher").await;
    for (filter, id) in [("a/#", Some(1_u8)), ("a/+", Some(2)), ("a/b", None)] {
        let property = id.map_or_else(Vec::new, |id| vec![0x0b, id]);
        client.subscribe_with(&property, &[(filter, 1)]).await;
    }
    let ids = |got: &packet::Got| {
        let ids = got.properties.iter().filter(|(id, _)| *id == 0x0b);
        let mut ids: Vec<_> = ids.map(|(_, value)| *value.last().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    // 5.0: [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5]
    publisher.publish(1, false, "a/b", "x").await;
    let got = client.messages().await;
    assert_eq!((got.len(), ids(&got[0])), (1, vec![1, 2]));
    // A new one takes the place of the old, or none does.
    client.subscribe_with(&[0x0b, 9], &[("a/#", 1)]).await;
    client.subscribe_with(&[], &[("a/+", 1)]).await;
    publisher.publish(1, false, "a/b", "x").await;
    assert_eq!(ids(&client.messages().await[0]), [9]);
    // The largest there is.
    client.subscribe_with(&[0x0b, 0xff, 0xff, 0xff, 0x7f], &[("a/#", 1)]).await;
    publisher.publish(1, false, "a/b", "x").await;
    let got = client.messages().await;
    assert_eq!(got[0].property(0x0b), Some(&0x0fff_ffff_u32.to_be_bytes()[..]));
    // 5.0: [MQTT-3.3.4-6]
    let code = door.client(V::V5, "other").await.violates(publish(V::V5, 0, "a", 0, &[0x0b, 1], "x")).await;
    assert_eq!(code, 0x82);
}
