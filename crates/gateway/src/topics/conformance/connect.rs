//! CONNECT and CONNACK.

use super::packet::{publish, subscribe};
use super::*;
use std::num::NonZeroU16;

#[tokio::test(start_paused = true)]
async fn connect_comes_first() {
    let door = Door::open().await;
    // [MQTT-3.1.0-1]
    for first in [&[0xc0, 0][..], &publish(V::V4, 0, "a", 0, &[], "x"), &[0xe0, 0], &[0x20, 2, 0, 0]] {
        assert_eq!(door.refused(first).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_connect_ends_the_connection() {
    let door = Door::open().await;
    for v in BOTH {
        // [MQTT-3.1.0-2]; 5.0: [MQTT-4.13.1-1], [MQTT-4.13.2-1]
        let client = door.client(v, "twice").await;
        assert!(client.violates(Connect::new(v, "twice").bytes()).await >= 0x80);
    }
}

#[tokio::test(start_paused = true)]
async fn other_protocols_are_not_processed() {
    let door = Door::open().await;
    let body = |name: &str, level: u8| [&text(name)[..], &[level, 2, 0, 0], &text("id")].concat();
    let connect = |name: &str, level: u8| packet::frame(0x10, &body(name, level));
    // [MQTT-3.1.2-1]
    for level in [4, 5] {
        assert_eq!(door.refused(connect("MQTX", level)).await, []);
        assert_eq!(door.refused(connect("mqtt", level)).await, []);
    }
    // [MQTT-3.1.2-2] of 3.1.1 and 5.0: each in the words of its version.
    assert_eq!(door.refused(connect("MQIsdp", 3)).await, [Packet { first: 0x20, body: vec![0, 1] }]);
    let refusal = door.refused(connect("MQTT", 6)).await;
    assert_eq!((refusal.len(), refusal[0].first, refusal[0].code()), (1, 0x20, 0x84));
}

/// What a CONNECT that breaks a rule is answered: nothing in 3.1.1, a reason in 5.0 that tells of malformed packets or broken rules.
async fn is_malformed(door: &Door, v: V, what: &str, bytes: Vec<u8>) {
    let answer = door.refused(bytes).await;
    match v {
        V::V4 => assert_eq!(answer, [], "{what}"),
        V::V5 => {
            assert_eq!((answer.len(), answer[0].first), (1, 0x20), "{what}");
            assert!(matches!(answer[0].code(), 0x81 | 0x82 | 0x85 | 0x90), "{what}: {answer:?}");
            assert_eq!(answer[0].body[0], 0, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_connects_are_not_let_in() {
    let door = Door::open().await;
    for v in BOTH {
        let plain = || Connect::new(v, "id");
        let user = || Connect { user: Some("u".into()), ..plain() };
        let both = || Connect { password: Some("p".into()), ..user() };
        let will = || plain().will("w", "x");
        let cut = |connect: Connect, by: usize| {
            let whole = connect.bytes();
            let body = &whole[2..whole.len() - by];
            packet::frame(0x10, body)
        };
        let invalid = |connect: Connect, text: &str| {
            let mut bytes = connect.bytes();
            let at = bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).unwrap();
            bytes[at] = 0xff;
            bytes
        };
        for (what, bytes) in [
            // [MQTT-3.1.2-3], [MQTT-3.1.4-1]
            ("the reserved flag", plain().bytes_with(3)),
            // [MQTT-3.1.2-9]
            ("a will without its fields", plain().bytes_with(6)),
            // 3.1.1: [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 5.0: [MQTT-3.1.2-11]
            ("the quality of no will", plain().bytes_with(2 | 1 << 3)),
            // 3.1.1: [MQTT-3.1.2-14]; 5.0: [MQTT-3.1.2-12]
            ("a will of quality 3", will().bytes_with(6 | 3 << 3)),
            // 3.1.1: [MQTT-3.1.2-15]; 5.0: [MQTT-3.1.2-13]
            ("the retain flag of no will", plain().bytes_with(2 | 1 << 5)),
            // 3.1.1: [MQTT-3.1.2-18]; 5.0: [MQTT-3.1.2-16]
            ("a user name without its flag", user().bytes_with(2)),
            // 3.1.1: [MQTT-3.1.2-19]; 5.0: [MQTT-3.1.2-17]
            ("no user name behind its flag", plain().bytes_with(2 | 1 << 7)),
            // 3.1.1: [MQTT-3.1.2-20]; 5.0: [MQTT-3.1.2-18]
            ("a password without its flag", both().bytes_with(2 | 1 << 7)),
            // 3.1.1: [MQTT-3.1.2-21]; 5.0: [MQTT-3.1.2-19]
            ("no password behind its flag", user().bytes_with(2 | 3 << 6)),
            // [MQTT-3.1.3-3]
            ("no client id", cut(plain(), 4)),
            // [MQTT-3.1.3-4]; 3.1.1: [MQTT-1.5.3-1]; 5.0: [MQTT-1.5.4-1]
            ("a client id that is no text", invalid(Connect::new(v, "client"), "client")),
            // 3.1.1: [MQTT-1.5.3-2]; 5.0: [MQTT-1.5.4-2]
            ("U+0000", Connect::new(v, "a\0b").bytes()),
            // 3.1.1: [MQTT-3.1.3-10]; 5.0: [MQTT-3.1.3-11]
            ("a will topic that is no text", invalid(plain().will("wwww", "x"), "wwww")),
            // 3.1.1: [MQTT-3.1.3-11]; 5.0: [MQTT-3.1.3-12]
            (
                "a user name that is no text",
                invalid(Connect { user: Some("uuuu".into()), ..plain() }, "uuuu"),
            ),
        ] {
            is_malformed(&door, v, what, bytes).await;
        }
        if v == V::V4 {
            // [MQTT-3.1.2-22] of 3.1.1
            let alone = Connect { password: Some("p".into()), ..plain() };
            is_malformed(&door, v, "a password alone", alone.bytes()).await;
        }
        // [MQTT-3.1.3-1]: in this order they are taken.
        let all = Connect { will: will().will, ..both() };
        let answer = door.refused([all.bytes(), packet::disconnect(v, 0, &[])].concat()).await;
        assert_eq!((answer.len(), answer[0].first), (1, 0x20));
        assert!(matches!(answer[0].code(), 4 | 5 | 0x86), "a user nobody knows: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_ids() {
    let door = Door::open().await;
    for v in BOTH {
        // [MQTT-3.1.3-5]; 3.1.1: [MQTT-3.1.3-9], and 5.0: [MQTT-3.1.3-8]: no name is refused but the empty one of 3.1.1, below.
        let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for id in ["0", &all[..23], &all[23..46], &all[46..], "with / and + and #", &"é".repeat(1000)] {
            door.client(v, id).await.leave().await;
        }
        // [MQTT-3.1.3-2]: the name is what a session is found by.
        let (mut client, _) = door.connected(&Connect::kept(v, "one")).await;
        client.subscribe("a", 1).await;
        client.leave().await;
        let (mut other, present) = door.connected(&Connect::kept(v, "other")).await;
        assert!(!present);
        other.publish(1, false, "a", "for one").await;
        let (mut client, present) = door.connected(&Connect::kept(v, "one")).await;
        assert!(present);
        assert_eq!(client.payloads().await, ["for one"]);
        // The next version's turn begins without sessions.
        for id in ["one", "other"] {
            door.client(v, id).await.leave().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_name_is_given_one() {
    let door = Door::open().await;
    // 3.1.1: [MQTT-3.1.3-6]: two of them are two.
    let mut first = door.client(V::V4, "").await;
    let mut second = door.client(V::V4, "").await;
    first.subscribe("a", 0).await;
    second.publish(0, false, "a", "x").await;
    assert_eq!(first.payloads().await, ["x"]);
    // 3.1.1: [MQTT-3.1.3-8], [MQTT-3.1.3-9], [MQTT-3.2.2-5]
    let refusal = door.refused(Connect::kept(V::V4, "").bytes()).await;
    assert_eq!(refusal, [Packet { first: 0x20, body: vec![0, 2] }]);
    // 5.0: [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut wire = door.wire();
        wire.send(Connect::kept(V::V5, "").bytes()).await;
        let ack = wire.packet().await;
        let assigned = ack.properties().into_iter().find(|(id, _)| *id == 0x12).expect("no name").1;
        names.push(String::from_utf8(assigned).unwrap());
    }
    assert_ne!(names[0], names[1]);
    let (_, present) = door.connected(&Connect::kept(V::V5, &names[0])).await;
    assert!(present, "its session is that of the name");
}

#[tokio::test(start_paused = true)]
async fn the_last_of_one_name_stays() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-3.1.4-2]; 5.0: [MQTT-3.1.4-3]
        let mut old = door.client(v, "same").await;
        let mut new = door.client(v, "same").await;
        let last = old.wire.rest().await;
        match v {
            V::V4 => assert_eq!(last, []),
            V::V5 => assert_eq!((last.len(), last[0].first, last[0].code()), (1, 0xe0, 0x8e)),
        }
        new.subscribe("a", 0).await;
        new.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn connack_comes_first_and_once() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-3.2.0-1], [MQTT-3.1.4-4], [MQTT-7.0.0-2]; 5.0: [MQTT-3.2.0-1], [MQTT-3.2.0-2], [MQTT-3.1.4-5], [MQTT-3.2.2-1]; the rest of
        // what came with CONNECT is taken.
        let mut wire = door.wire();
        let all = [Connect::new(v, "id").bytes(), subscribe(v, 7, &[], &[("a", 0)]), vec![0xc0, 0]].concat();
        wire.send(all).await;
        let ack = wire.packet().await;
        assert_eq!((ack.first, &ack.body[..2]), (0x20, &[0, 0][..]));
        let mut rest = [wire.packet().await.first, wire.packet().await.first];
        rest.sort_unstable();
        assert_eq!(rest, [0x90, 0xd0]);
        wire.send(packet::disconnect(v, 0, &[])).await;
        assert_eq!(wire.rest().await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_and_nothing_more_is_taken() {
    let acl = Acl::new().user("u", ironbrook_pubsub::acl::PasswordHash::new(b"right").unwrap());
    let door = Door::with(Config::default(), acl, TopicsSettings::default()).await;
    for v in BOTH {
        let wrong =
            Connect { user: Some("u".into()), password: Some("wrong".into()), ..Connect::new(v, "id") };
        let nobody = Connect::new(v, "id");
        for connect in [wrong, nobody] {
            // 3.1.1: [MQTT-3.1.4-5], [MQTT-3.2.2-4], [MQTT-3.2.2-5]; 5.0: [MQTT-3.1.4-2], [MQTT-3.1.4-6], [MQTT-3.2.2-6],
            // [MQTT-3.2.2-7], [MQTT-3.2.2-8], [MQTT-3.14.0-1], [MQTT-4.13.2-1]
            let kept = publish(v, 1, "kept", 0, &[], "by nobody");
            let answer = door.refused([connect.bytes(), kept, vec![0xc0, 0]].concat()).await;
            assert_eq!((answer.len(), answer[0].first, answer[0].body[0]), (1, 0x20, 0));
            match v {
                V::V4 => assert!(matches!(answer[0].code(), 4 | 5)),
                V::V5 => assert!(matches!(answer[0].code(), 0x86 | 0x87)),
            }
        }
        assert!(door.services.topics.as_ref().unwrap().broker().snapshot().retained == 0);
        let right =
            Connect { user: Some("u".into()), password: Some("right".into()), ..Connect::new(v, "id") };
        door.connected(&right).await.0.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_return_code_says_is_said_by_closing() {
    // 3.1.1: [MQTT-3.2.2-6]: a will that could never be published
    let door = Door::open().await;
    assert_eq!(door.refused(Connect::new(V::V4, "id").will("a/#", "x").bytes()).await, []);
    let refusal = door.refused(Connect::new(V::V5, "id").will("a/#", "x").bytes()).await;
    assert_eq!((refusal.len(), refusal[0].code()), (1, 0x90));
}

#[tokio::test(start_paused = true)]
async fn silence_for_one_and_a_half_keep_alives_is_the_end() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-3.1.2-24]; 5.0: [MQTT-3.1.2-22], [MQTT-3.2.2-22]
        let connect = Connect { keep_alive: 10, ..Connect::new(v, "id") }.will("gone", "silent");
        let mut watcher = door.client(v, "watcher").await;
        watcher.subscribe("gone", 0).await;
        let (mut client, _) = door.connected(&connect).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(14)).await;
            // [MQTT-3.12.4-1]
            client.wire.send([0xc0, 0]).await;
            client.wire.expect([0xd0, 0]).await;
        }
        let since = Instant::now();
        let last = client.wire.rest().await;
        assert!((15_000..16_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
        if v == V::V5 {
            assert_eq!(last[0].code(), 0x8d);
        }
        // As if the network had failed.
        assert_eq!(watcher.payloads().await, ["silent"]);
        // 0 is for ever.
        let mut patient = door.client(v, "patient").await;
        tokio::time::sleep(Duration::from_secs(20_000)).await;
        assert_eq!(patient.wire.pending().await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_that_the_server_names_is_the_one_that_counts() {
    let settings = TopicsSettings { keep_alive_max: NonZeroU16::new(4), ..TopicsSettings::default() };
    let door = Door::with(Config::default(), Acl::open(), settings).await;
    // 5.0: [MQTT-3.2.2-22]
    for (wanted, told, silence) in [(0, Some(4), 6), (60, Some(4), 6), (2, None, 3)] {
        let mut wire = door.wire();
        wire.send(Connect { keep_alive: wanted, ..Connect::new(V::V5, "id") }.bytes()).await;
        let server = wire.packet().await.properties().into_iter().find(|(id, _)| *id == 0x13);
        assert_eq!(server.map(|(_, value)| u16::from_be_bytes(value.try_into().unwrap())), told);
        let since = Instant::now();
        wire.rest().await;
        assert_eq!(since.elapsed().as_secs(), silence);
    }
}
