//! Sessions: kept, found again, discarded.

use super::packet::{disconnect, publish, short};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_where_it_was() {
    let door = Door::open().await;
    for v in BOTH {
        let mut publisher = door.client(v, "publisher").await;
        // 3.1.1: [MQTT-3.1.2-4], [MQTT-3.2.2-3], [MQTT-3.1.4-3]; 5.0: [MQTT-3.1.2-6], [MQTT-3.2.2-3], [MQTT-3.1.4-4]
        let (mut client, present) = door.connected(&Connect::kept(v, "kept")).await;
        assert!(!present);
        client.subscribe("a/#", 2).await;
        drop(client);
        // 3.1.1: [MQTT-3.1.2-5], [MQTT-4.1.0-1], [MQTT-4.5.0-1]; 5.0: [MQTT-3.1.2-23], [MQTT-4.5.0-1]
        for qos in [1, 2] {
            publisher.publish(qos, false, "a/b", &format!("of quality {qos}")).await;
        }
        // 3.1.1: [MQTT-3.1.2-4], [MQTT-3.2.2-2]; 5.0: [MQTT-3.1.2-5], [MQTT-3.2.2-3]
        let (mut client, present) = door.connected(&Connect::kept(v, "kept")).await;
        assert!(present);
        assert_eq!(client.payloads().await, ["of quality 1", "of quality 2"]);
        publisher.publish(1, false, "a/b", "and on").await;
        assert_eq!(client.payloads().await, ["and on"]);
        // 3.1.1: [MQTT-3.1.2-6], [MQTT-3.2.2-1]; 5.0: [MQTT-3.1.2-4], [MQTT-3.2.2-2]
        let (mut client, present) =
            door.connected(&Connect { clean: true, ..Connect::kept(v, "kept") }).await;
        assert!(!present);
        publisher.publish(1, false, "a/b", "for nobody").await;
        assert_eq!(client.payloads().await, [""; 0]);
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_session_leaves_nothing() {
    let door = Door::open().await;
    for v in BOTH {
        let mut publisher = door.client(v, "publisher").await;
        let mut client = door.client(v, "clean").await;
        client.subscribe("a", 1).await;
        drop(client);
        // 3.1.1: [MQTT-3.1.2-6]
        let kept = Connect::kept(v, "clean");
        let (mut client, present) = door.connected(&kept).await;
        assert!(!present);
        publisher.publish(1, false, "a", "x").await;
        assert_eq!(client.payloads().await, [""; 0]);
        door.client(v, "clean").await.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn retained_messages_outlive_sessions() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-3.1.2-7]
        let mut publisher = door.client(v, "publisher").await;
        publisher.publish(1, true, "a", "kept").await;
        publisher.leave().await;
        let mut client = door.client(v, "reader").await;
        client.subscribe("a", 0).await;
        assert_eq!(client.payloads().await, ["kept"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_lasts_as_long_as_it_was_asked_for() {
    let door = Door::open().await;
    for (expiry, pause, lives) in [(10_u32, 9, true), (10, 11, false), (0, 0, false)] {
        let connect = Connect::new(V::V5, "client").with(&[&[0x11][..], &expiry.to_be_bytes()].concat());
        let (mut client, _) = door.connected(&connect).await;
        client.subscribe("a", 1).await;
        // [MQTT-4.1.0-1] of 5.0, [MQTT-4.1.0-2] of 3.1.1: not while it is connected.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let mut publisher = door.client(V::V5, "publisher").await;
        publisher.publish(1, false, "a", "x").await;
        assert_eq!(client.payloads().await, ["x"]);
        client.leave().await;
        // [MQTT-4.1.0-2] of 5.0, [MQTT-3.1.2-23] of 5.0
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let resumed = Connect { clean: false, ..Connect::new(V::V5, "client") };
        let (client, present) = door.connected(&resumed).await;
        assert_eq!(present, lives, "{expiry} s, {pause} s later");
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_may_change_the_expiry_but_not_from_none() {
    let door = Door::open().await;
    let expiry = |seconds: u32| [&[0x11][..], &seconds.to_be_bytes()].concat();
    let resumed = Connect { clean: false, ..Connect::new(V::V5, "client") };
    for (wanted, present) in [(0, false), (1000, true)] {
        let (mut client, _) = door.connected(&Connect::new(V::V5, "client").with(&expiry(100))).await;
        client.wire.send(disconnect(V::V5, 0, &expiry(wanted))).await;
        assert_eq!(client.wire.rest().await, []);
        tokio::time::sleep(Duration::from_secs(500)).await;
        assert_eq!(door.connected(&resumed).await.1, present);
    }
    // Section 3.14.2.2.2 of 5.0; the server itself never sends one, [MQTT-3.14.2-2].
    let client = door.client(V::V5, "client").await;
    assert_eq!(client.violates(disconnect(V::V5, 0, &expiry(5))).await, 0x82);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_sessions_shorter_says_so() {
    let config = Config { session_expiry_max: Duration::from_secs(20), ..Config::default() };
    let door = Door::with(config, Acl::open(), TopicsSettings::default()).await;
    let mut wire = door.wire();
    wire.send(Connect::kept(V::V5, "client").bytes()).await;
    // Section 3.2.2.3.2 of 5.0
    let told = wire.packet().await.properties().into_iter().find(|(id, _)| *id == 0x11).unwrap();
    assert_eq!(told.1, [0, 0, 0, 20]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_answered_comes_again() {
    let door = Door::open().await;
    for v in BOTH {
        let mut publisher = door.client(v, "publisher").await;
        let (mut client, _) = door.connected(&Connect::kept(v, "kept")).await;
        client.subscribe("a", 2).await;
        for (qos, payload) in [(1, "1"), (2, "2"), (2, "3"), (1, "4"), (1, "5")] {
            publisher.publish(qos, false, "a", payload).await;
        }
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.push(client.message().await);
        }
        // [MQTT-3.3.1-2]; 3.1.1: [MQTT-4.3.2-1], [MQTT-4.3.3-1]; 5.0: [MQTT-4.3.2-2], [MQTT-4.3.3-2]
        assert!(sent.iter().all(|got| !got.dup));
        // The third is released, the fourth is done.
        client.wire.send(short(0x50, sent[2].id)).await;
        client.wire.expect(short(0x62, sent[2].id)).await;
        client.wire.send(short(0x40, sent[3].id)).await;
        // Not answered, and not sent again while the connection lasts: 5.0: [MQTT-4.4.0-1].
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert_eq!(client.wire.pending().await, []);
        drop(client);
        let (mut client, present) = door.connected(&Connect::kept(v, "kept")).await;
        assert!(present);
        // [MQTT-3.3.1-1], [MQTT-4.4.0-1], [MQTT-4.6.0-1]; 3.1.1: [MQTT-2.3.1-3], [MQTT-2.3.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1];
        // 5.0: [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.3.3-5], [MQTT-4.3.3-6]
        for at in [0, 1] {
            let again = client.message().await;
            assert!(again.dup);
            assert_eq!(again, packet::Got { dup: true, ..sent[at].clone() });
        }
        client.wire.expect(short(0x62, sent[2].id)).await;
        let last = client.message().await;
        assert_eq!(last, packet::Got { dup: true, ..sent[4].clone() });
        client.wire.send(short(0x40, sent[0].id)).await;
        client.wire.send(short(0x50, sent[1].id)).await;
        client.wire.expect(short(0x62, sent[1].id)).await;
        for id in [sent[1].id, sent[2].id] {
            client.wire.send(short(0x70, id)).await;
        }
        client.wire.send(short(0x40, sent[4].id)).await;
        client.wire.pending().await;
        // Done with all of it.
        drop(client);
        let (mut client, _) = door.connected(&Connect::kept(v, "kept")).await;
        assert_eq!(client.wire.pending().await, []);
        client.leave().await;
        door.client(v, "kept").await.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_sent_again_by_its_publisher_is_passed_on_once() {
    let door = Door::open().await;
    for v in BOTH {
        let mut reader = door.client(v, "reader").await;
        reader.subscribe("a", 2).await;
        let (mut client, _) = door.connected(&Connect::kept(v, "kept")).await;
        client.wire.send(publish(v, 4, "a", 9, &[], "once")).await;
        client.wire.expect(short(0x50, 9)).await;
        drop(client);
        // Over a lost connection too: 3.1.1: [MQTT-4.3.3-2]; 5.0: [MQTT-4.3.3-10]
        let (mut client, _) = door.connected(&Connect::kept(v, "kept")).await;
        client.wire.send(publish(v, 12, "a", 9, &[], "once")).await;
        client.wire.expect(short(0x50, 9)).await;
        client.wire.send(short(0x62, 9)).await;
        client.wire.expect(short(0x70, 9)).await;
        assert_eq!(reader.payloads().await, ["once"]);
        client.leave().await;
        door.client(v, "kept").await.leave().await;
    }
}
