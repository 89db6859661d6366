//! Wills.

use super::packet::{Will, disconnect, varint};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_lost_client_is_missed_and_one_that_leaves_is_not() {
    let door = Door::open().await;
    for v in BOTH {
        let mut watcher = door.client(v, "watcher").await;
        watcher.subscribe("gone", 2).await;
        for qos in [0, 1, 2] {
            // [MQTT-3.1.2-8]; 3.1.1: [MQTT-3.1.2-9]; 5.0: [MQTT-3.1.2-7], [MQTT-3.2.2-12]
            let connect = Connect::new(v, "client").will("gone", "lost");
            let connect = Connect { will: connect.will.clone().map(|will| Will { qos, ..will }), ..connect };
            let (client, _) = door.connected(&connect).await;
            drop(client);
            let got = within("the will", watcher.wire.packet()).await.message(v);
            assert_eq!((got.payload.as_str(), got.qos, got.retain), ("lost", qos, false));
            if qos > 0 {
                watcher.wire.send(packet::short(if qos == 1 { 0x40 } else { 0x50 }, got.id)).await;
            }
            if qos == 2 {
                watcher.wire.expect(packet::short(0x62, got.id)).await;
                watcher.wire.send(packet::short(0x70, got.id)).await;
            }
            // [MQTT-3.14.4-3], [MQTT-3.1.2-10]: who says goodbye leaves none.
            let (client, _) = door.connected(&connect).await;
            client.leave().await;
            // 3.1.1: [MQTT-3.1.2-12]
            drop(door.client(v, "client").await);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(watcher.wire.pending().await, []);
        }
        // A broken rule is a loss as well.
        let (client, _) = door.connected(&Connect::new(v, "client").will("gone", "fault")).await;
        client.violates([0xf1, 0]).await;
        assert_eq!(watcher.payloads().await, ["fault"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_is_published_once() {
    let door = Door::open().await;
    for v in BOTH {
        let mut watcher = door.client(v, "watcher").await;
        watcher.subscribe("gone", 1).await;
        let connect = Connect::kept(v, "client");
        drop(door.connected(&connect.clone().will("gone", "x")).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(watcher.payloads().await, ["x"]);
        // [MQTT-3.1.2-10]: the session goes on without it.
        drop(door.connected(&connect).await);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(watcher.wire.pending().await, []);
        door.client(v, "client").await.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_is_kept_if_it_says_so() {
    let door = Door::open().await;
    for v in BOTH {
        for retain in [false, true] {
            // 3.1.1: [MQTT-3.1.2-16], [MQTT-3.1.2-17]; 5.0: [MQTT-3.1.2-14], [MQTT-3.1.2-15], [MQTT-3.2.2-13]
            let connect = Connect::new(v, "client").will("gone", "x");
            let connect =
                Connect { will: connect.will.clone().map(|will| Will { retain, ..will }), ..connect };
            drop(door.connected(&connect).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut late = door.client(v, "late").await;
            late.subscribe("gone", 1).await;
            assert_eq!(late.messages().await.len(), usize::from(retain));
        }
        door.client(v, "client").await.publish(1, true, "gone", "").await;
    }
}

fn delayed(seconds: u32, expiry: u32) -> Connect {
    let mut connect = Connect { clean: false, ..Connect::new(V::V5, "client") }.will("gone", "x");
    connect.properties = [&[0x11][..], &expiry.to_be_bytes()].concat();
    if let Some(will) = &mut connect.will {
        will.properties = [&[0x18][..], &seconds.to_be_bytes()].concat();
    }
    connect
}

#[tokio::test(start_paused = true)]
async fn a_will_waits_and_who_comes_back_is_not_missed() {
    let door = Door::open().await;
    let mut watcher = door.client(V::V5, "watcher").await;
    watcher.subscribe("gone", 1).await;
    // 5.0: [MQTT-3.1.2-8]: at the end of its delay, or of the session.
    for (delay, expiry, due) in [(10, 100, 10), (100, 10, 10)] {
        drop(door.connected(&delayed(delay, expiry)).await);
        tokio::time::sleep(Duration::from_secs(due - 1)).await;
        assert_eq!(watcher.wire.pending().await, []);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(watcher.payloads().await, ["x"]);
    }
    // 5.0: [MQTT-3.1.3-9]
    drop(door.connected(&delayed(10, 100)).await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (client, present) = door.connected(&Connect { will: None, ..delayed(0, 100) }).await;
    assert!(present);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(watcher.wire.pending().await, []);
    client.leave().await;
    // A session that is ended by a clean start ends its will's delay.
    drop(door.connected(&delayed(10, 100)).await);
    door.client(V::V5, "client").await.leave().await;
    assert_eq!(watcher.payloads().await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_leave_with_its_will() {
    let door = Door::open().await;
    let mut watcher = door.client(V::V5, "watcher").await;
    watcher.subscribe("gone", 1).await;
    // 5.0: [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    for (code, missed) in [(0x04, 1), (0x00, 0), (0x80, 1)] {
        let (mut client, _) = door.connected(&Connect::new(V::V5, "client").will("gone", "x")).await;
        client.wire.send(disconnect(V::V5, code, &[])).await;
        client.wire.rest().await;
        assert_eq!(watcher.messages().await.len(), missed, "{code:#x}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_keeps_its_properties_in_order() {
    let door = Door::open().await;
    let mut watcher = door.client(V::V5, "watcher").await;
    watcher.subscribe("gone", 1).await;
    let pair = |name: &str, value: &str| [&[0x26][..], &text(name), &text(value)].concat();
    let mut connect = Connect::new(V::V5, "client").will("gone", "x");
    if let Some(will) = &mut connect.will {
        // 5.0: [MQTT-3.1.3-10]
        let pairs = [pair("b", "1"), pair("a", "2"), pair("b", "0")].concat();
        will.properties = [&[0x01, 1][..], &[0x03], &text("text"), &pairs].concat();
        assert!(varint(will.properties.len()).len() == 1);
    }
    drop(door.connected(&connect).await);
    let got = watcher.message().await;
    let user: Vec<_> =
        got.properties.iter().filter(|(id, _)| *id == 0x26).map(|(_, pair)| &pair[1..]).collect();
    assert_eq!(user, [b"\x01b\0\x011", b"\x01a\0\x012", b"\x01b\0\x010"]);
    assert_eq!((got.property(0x01), got.property(0x03)), (Some(&[1][..]), Some(&b"text"[..])));
}
