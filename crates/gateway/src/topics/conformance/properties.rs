//! Properties of MQTT 5.0 on their way through.

use super::packet::{Got, publish};
use super::*;

const V: V = V::V5;

#[tokio::test(start_paused = true)]
async fn properties_of_a_message_are_passed_on_unaltered() {
    let door = Door::open().await;
    let (mut live, mut late) = (door.client(V, "live").await, door.client(V, "late").await);
    live.subscribe("a", 1).await;
    let pair = |name: &str, value: &str| [&[0x26][..], &text(name), &text(value)].concat();
    let properties = [
        &[0x01, 1][..],
        &[0x08],
        &text("answer/here"),
        &[0x09],
        &text([0, 255, 1]),
        &pair("z", "1"),
        &pair("a", "é"),
        &pair("z", "1"),
        &pair("", ""),
        &[0x03],
        &text("text/plain"),
    ]
    .concat();
    door.client(V, "publisher").await.publish_with(3, "a", &properties, "x").await;
    late.subscribe("a", 1).await;
    for client in [&mut live, &mut late] {
        let got = client.messages().await.remove(0);
        // [MQTT-3.3.2-4]
        assert_eq!(got.property(0x01), Some(&[1][..]));
        // [MQTT-3.3.2-15]
        assert_eq!(got.property(0x08), Some(&b"answer/here"[..]));
        // [MQTT-3.3.2-16]
        assert_eq!(got.property(0x09), Some(&[0, 255, 1][..]));
        // [MQTT-3.3.2-20]
        assert_eq!(got.property(0x03), Some(&b"text/plain"[..]));
        // [MQTT-3.3.2-17], [MQTT-3.3.2-18]
        let user: Vec<_> =
            got.properties.iter().filter(|(id, _)| *id == 0x26).map(|(_, pair)| pair.clone()).collect();
        assert_eq!(
            user,
            ["z=1", "a=é", "z=1", "="].map(|pair| {
                let (name, value) = pair.split_once('=').unwrap();
                [text(name), text(value)].concat()
            })
        );
    }
    // And none is made up: [MQTT-2.2.2-1], [MQTT-2.2.1-2].
    door.client(V, "publisher").await.publish_with(0, "a", &[], "plain").await;
    let packet = live.wire.packet().await;
    assert_eq!(packet, Packet { first: 0x30, body: [&text("a")[..], &[0], b"plain"].concat() });
}

#[tokio::test(start_paused = true)]
async fn malformed_properties_end_the_connection() {
    let door = Door::open().await;
    let wrong = text([0xff]);
    for (what, properties, codes) in [
        // [MQTT-3.3.2-13], [MQTT-1.5.4-1]
        ("a response topic that is no text", [&[0x08][..], &wrong].concat(), &[0x81][..]),
        // [MQTT-3.3.2-14]
        ("a response topic with a wildcard", [&[0x08][..], &text("a/+")].concat(), &[0x81, 0x82, 0x90]),
        // [MQTT-3.3.2-19]
        ("a content type that is no text", [&[0x03][..], &wrong].concat(), &[0x81]),
        // [MQTT-1.5.7-1]
        ("a pair that is no text", [&[0x26][..], &text("a"), &wrong].concat(), &[0x81]),
        // Section 3.3.2.3: each once
        ("two expiries", vec![2, 0, 0, 0, 1, 2, 0, 0, 0, 1], &[0x82]),
        ("a property of CONNECT", vec![0x11, 0, 0, 0, 1], &[0x81, 0x82]),
        // [MQTT-3.3.2-8]
        ("alias 0", vec![0x23, 0, 0], &[0x94, 0x82]),
    ] {
        let code = door.client(V, "client").await.violates(publish(V, 0, "a", 0, &properties, "x")).await;
        assert!(codes.contains(&code), "{what}: {code:#x}");
    }
    // [MQTT-1.5.5-1]: a length in more bytes than it needs
    let long = packet::frame(0x30, &[&text("a")[..], &[0x80, 0x00]].concat());
    assert_eq!(door.client(V, "client").await.violates(long).await, 0x81);
}

fn expiring(seconds: u32) -> Vec<u8> {
    [&[0x02][..], &seconds.to_be_bytes()].concat()
}

fn expiry(got: &Got) -> Option<u32> {
    got.property(0x02).map(|value| u32::from_be_bytes(value.try_into().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn messages_expire_where_they_wait() {
    let door = Door::open().await;
    let kept = Connect::kept(V, "kept");
    let (mut client, _) = door.connected(&kept).await;
    client.subscribe("a", 2).await;
    let mut publisher = door.client(V, "publisher").await;
    publisher.publish_with(2, "a", &expiring(50), "at once").await;
    assert_eq!(expiry(&client.messages().await[0]), Some(50));
    drop(client);
    for (seconds, payload) in [(5, "short"), (50, "long"), (6, "short too")] {
        publisher.publish_with(2, "a", &expiring(seconds), payload).await;
    }
    publisher.publish_with(3, "b", &expiring(5), "retained").await;
    publisher.publish_with(3, "c", &expiring(50), "retained long").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let (mut client, _) = door.connected(&kept).await;
    let got = client.messages().await;
    assert_eq!((got.len(), got[0].payload.as_str()), (1, "long"));
    assert!((39..=40).contains(&expiry(&got[0]).unwrap()));
    client.subscribe("b", 1).await;
    client.subscribe("c", 1).await;
    let got = client.messages().await;
    assert_eq!((got.len(), got[0].payload.as_str()), (1, "retained long"));
    assert!((39..=40).contains(&expiry(&got[0]).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_does_not_expire() {
    let door = Door::open().await;
    let kept = Connect::kept(V, "kept");
    let (mut client, _) = door.connected(&kept).await;
    client.subscribe("a", 2).await;
    door.client(V, "publisher").await.publish_with(4, "a", &expiring(5), "x").await;
    let sent = client.message().await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(20)).await;
    // [MQTT-4.3.3-7], [MQTT-4.3.3-13]
    let (mut client, _) = door.connected(&kept).await;
    let again = client.message().await;
    assert_eq!((again.id, again.dup), (sent.id, true));
    client.wire.send(packet::short(0x50, sent.id)).await;
    client.wire.expect(packet::short(0x62, sent.id)).await;
    client.wire.send(packet::short(0x70, sent.id)).await;
    assert_eq!(client.wire.pending().await, []);
}

#[tokio::test(start_paused = true)]
async fn aliases_of_a_client() {
    let config = Config { topic_alias_maximum: 10, ..Config::default() };
    let door = Door::with(config, Acl::open(), TopicsSettings::default()).await;
    let mut reader = door.client(V, "reader").await;
    reader.subscribe("#", 0).await;
    let mut wire = door.wire();
    wire.send(Connect::new(V, "client").bytes()).await;
    let told = wire.packet().await.properties().into_iter().find(|(id, _)| *id == 0x22).unwrap().1;
    assert_eq!(told, [0, 10]);
    let mut client = Client::new(wire, V);
    // [MQTT-3.3.2-12]
    for alias in 1..=10 {
        client.publish_with(0, &format!("t{alias}"), &[0x23, 0, alias], "named").await;
    }
    for alias in (1..=10).rev() {
        client.publish_with(2, "", &[0x23, 0, alias], "by alias").await;
    }
    client.publish_with(0, "another", &[0x23, 0, 3], "named").await;
    client.publish_with(0, "", &[0x23, 0, 3], "by alias").await;
    let got: Vec<_> = reader.messages().await;
    let topics: Vec<_> = got.iter().map(|got| got.topic.as_str()).collect();
    assert_eq!(topics[..3], ["t1", "t2", "t3"]);
    assert_eq!(topics[10..12], ["t10", "t9"]);
    assert_eq!(topics[20..], ["another", "another"]);
    assert!(got.iter().all(|got| got.property(0x23).is_none()), "an alias is for one connection");
    // [MQTT-3.3.2-9]
    assert_eq!(client.violates(publish(V, 0, "a", 0, &[0x23, 0, 11], "x")).await, 0x94);
    // [MQTT-3.3.2-7]
    let client = door.client(V, "client").await;
    assert!(matches!(client.violates(publish(V, 0, "", 0, &[0x23, 0, 1], "x")).await, 0x82 | 0x94));
}

#[tokio::test(start_paused = true)]
async fn aliases_of_the_server() {
    let door = Door::open().await;
    let mut publisher = door.client(V, "publisher").await;
    for maximum in [0_u8, 2] {
        let connect = Connect::new(V, "reader").with(if maximum > 0 { &[0x22, 0, 2] } else { &[] });
        let (mut reader, _) = door.connected(&connect).await;
        reader.subscribe("#", 0).await;
        for topic in ["long/name/1", "long/name/1", "long/name/2", "long/name/3", "long/name/2"] {
            publisher.publish(0, false, topic, topic).await;
        }
        let mut known = std::collections::HashMap::<Vec<u8>, String>::new();
        for got in reader.messages().await {
            // [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-11], [MQTT-3.3.2-8]
            let alias = got.property(0x23).map(<[u8]>::to_vec);
            assert!(
                alias.as_ref().is_none_or(|alias| alias[0] == 0 && (1..=maximum).contains(&alias[1])),
                "{got:?}"
            );
            let topic = match alias {
                Some(alias) if got.topic.is_empty() => known[&alias].clone(),
                Some(alias) => {
                    known.insert(alias, got.topic.clone());
                    got.topic
                }
                None => got.topic,
            };
            assert_eq!(topic, got.payload);
        }
        assert_eq!(known.len(), usize::from(maximum));
    }
}

#[tokio::test(start_paused = true)]
async fn response_information_is_for_who_asks() {
    let settings =
        TopicsSettings { response_information: Some("answers/%c".into()), ..TopicsSettings::default() };
    let door = Door::with(Config::default(), Acl::open(), settings).await;
    // [MQTT-3.1.2-28]
    for (property, told) in [(&[][..], None), (&[0x19, 0], None), (&[0x19, 1], Some(&b"answers/me"[..]))] {
        let mut wire = door.wire();
        wire.send(Connect::new(V, "me").with(property).bytes()).await;
        let properties = wire.packet().await.properties();
        let found = properties.iter().find(|(id, _)| *id == 0x1a);
        assert_eq!(found.map(|(_, value)| &value[..]), told);
    }
}

#[tokio::test(start_paused = true)]
async fn explanations_are_for_who_wants_them() {
    let door = Door::with(Config::default(), guarded(), TopicsSettings::default()).await;
    // [MQTT-3.1.2-29]
    for (property, explained) in [(&[][..], true), (&[0x17, 1], true), (&[0x17, 0], false)] {
        let (mut client, _) = door.connected(&Connect::new(V, "client").with(property)).await;
        let has_text = |packet: &Packet| packet.properties().iter().any(|(id, _)| *id == 0x1f);
        client.wire.send(packet::subscribe(V, 1, &[], &[("denied/a", 0)])).await;
        assert_eq!(has_text(&client.answer(0x90).await), explained);
        client.wire.send(publish(V, 2, "denied/a", 2, &[], "x")).await;
        assert_eq!(has_text(&client.answer(0x40).await), explained);
        client.wire.send(packet::short(0x62, 77)).await;
        assert_eq!(has_text(&client.answer(0x70).await), explained);
    }
}
