//! Shared subscriptions of MQTT 5.0.

use super::packet::{frame, short, subscribe};
use super::*;

const V: V = V::V5;

#[tokio::test(start_paused = true)]
async fn one_of_a_group_gets_each_message() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    let (mut one, mut other) = (door.client(V, "one").await, door.client(V, "other").await);
    for client in [&mut one, &mut other] {
        client.subscribe("$share/g/a/+", 1).await;
    }
    // Another group, and a filter that is not shared, each get their own.
    let (mut group, mut alone) = (door.client(V, "group").await, door.client(V, "alone").await);
    group.subscribe("$share/h/a/+", 1).await;
    alone.subscribe("a/+", 1).await;
    for at in 0..10 {
        publisher.publish(1, false, "a/b", &at.to_string()).await;
    }
    let (first, second) = (one.payloads().await, other.payloads().await);
    assert_eq!(first.len() + second.len(), 10);
    assert!(!first.is_empty() && !second.is_empty());
    assert_eq!((group.payloads().await.len(), alone.payloads().await.len()), (10, 10));
    // Section 4.8.2: none of what is retained.
    publisher.publish(1, true, "a/kept", "x").await;
    one.payloads().await;
    other.payloads().await;
    one.subscribe("$share/new/a/+", 1).await;
    assert_eq!(one.wire.pending().await, []);
}

#[tokio::test(start_paused = true)]
async fn share_names() {
    let door = Door::open().await;
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for filter in ["$share/g/#", "$share/g name/a", "$share/é/a"] {
        assert_eq!(door.client(V, "client").await.subscribe(filter, 1).await, 1, "{filter}");
    }
    for filter in ["$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share/g/a#"] {
        let code = door.client(V, "client").await.violates(subscribe(V, 1, &[], &[(filter, 0)])).await;
        assert!(matches!(code, 0x81 | 0x82 | 0x8f), "{filter}: {code:#x}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_member_has_its_own_quality() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    let mut members = Vec::new();
    for qos in 0..3 {
        let mut member = door.client(V, &format!("member{qos}")).await;
        member.subscribe("$share/g/a", qos).await;
        members.push(member);
    }
    for _ in 0..6 {
        publisher.publish(2, false, "a", "x").await;
    }
    // [MQTT-4.8.2-3]
    for (qos, member) in (0..).zip(&mut members) {
        let got = member.messages().await;
        assert!(got.len() == 2 && got.iter().all(|got| got.qos == qos), "{got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_member_had_another_gets() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    let mut lost = door.client(V, "lost").await;
    lost.subscribe("$share/g/a", 1).await;
    publisher.publish(1, false, "a", "x").await;
    assert_eq!(lost.message().await.payload, "x");
    let mut other = door.client(V, "other").await;
    other.subscribe("$share/g/a", 1).await;
    // Section 4.8.2: a session that ends without an answer of quality 1.
    drop(lost);
    assert_eq!(other.message().await.payload, "x");
}

#[tokio::test(start_paused = true)]
async fn what_a_member_began_it_ends() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    let kept = Connect::kept(V, "kept");
    let (mut member, _) = door.connected(&kept).await;
    member.subscribe("$share/g/a", 2).await;
    publisher.publish(2, false, "a", "x").await;
    let got = member.message().await;
    member.wire.send(short(0x50, got.id)).await;
    member.wire.expect(short(0x62, got.id)).await;
    let mut other = door.client(V, "other").await;
    other.subscribe("$share/g/a", 2).await;
    drop(member);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // [MQTT-4.8.2-4]
    let (mut member, _) = door.connected(&kept).await;
    member.wire.expect(short(0x62, got.id)).await;
    member.wire.send(short(0x70, got.id)).await;
    assert_eq!(member.wire.pending().await, []);
    // [MQTT-4.8.2-5]: begun, and the session ends: nobody else gets it.
    other.leave().await;
    publisher.publish(2, false, "a", "begun").await;
    assert_eq!(member.message().await.payload, "begun");
    let mut other = door.client(V, "other").await;
    other.subscribe("$share/g/a", 2).await;
    drop(member);
    door.client(V, "kept").await.leave().await;
    assert_eq!(other.wire.pending().await, []);
    // [MQTT-4.8.2-6]: refused by one, it is not offered to another.
    other.leave().await;
    let mut one = door.client(V, "one").await;
    one.subscribe("$share/g/a", 1).await;
    publisher.publish(1, false, "a", "refused").await;
    let got = one.message().await;
    let mut two = door.client(V, "two").await;
    two.subscribe("$share/g/a", 1).await;
    one.wire.send(frame(0x40, &[&got.id.to_be_bytes()[..], &[0x80]].concat())).await;
    assert_eq!((one.wire.pending().await, two.wire.pending().await), (vec![], vec![]));
}
