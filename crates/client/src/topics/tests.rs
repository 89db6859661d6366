//! Promises of the client, against a scripted server.

use super::script::{OldServer, Server, id, message, old, start, welcome, within};
use super::*;
use ironbrook_wire::mqtt::v4;
use ironbrook_wire::mqtt::v5::{Ack, ConnAck, Disconnect, Packet, Publish};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

fn at_least_once(topic: &'static str) -> Message {
    Message::new(topic, "x").qos(QoS::AtLeastOnce)
}

fn exactly_once(topic: &'static str) -> Message {
    Message::new(topic, "x").qos(QoS::ExactlyOnce)
}

fn keeps(builder: Builder) -> Builder {
    builder.session_expiry(Duration::MAX)
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_goes_out_again_in_order_and_as_a_duplicate() {
    let (client, _messages, mut dials) = start(keeps);
    let mut server = Server::welcome(&mut dials, false).await;
    let first = client.enqueue(at_least_once("a")).await.unwrap();
    let second = client.enqueue(at_least_once("b")).await.unwrap();
    let (a, b) = (server.publish().await, server.publish().await);
    assert!(!a.dup && a.packet_id != b.packet_id);
    server.ack(a.packet_id).await;
    assert_eq!(within("the receipt", first).await.unwrap(), ReasonCode::Success);
    drop(server);

    let (mut server, connect) = Server::accept(&mut dials, welcome(true)).await;
    assert!(!connect.clean_start && connect.properties.session_expiry_interval == Some(u32::MAX));
    let again = server.publish().await;
    assert!(again.dup && again.topic == "b" && again.packet_id == b.packet_id);
    server.send(Packet::PubAck(Ack::new(again.packet_id.unwrap(), ReasonCode::NoMatchingSubscribers))).await;
    assert_eq!(within("the receipt", second).await.unwrap(), ReasonCode::NoMatchingSubscribers);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_qos_2_that_the_server_has_is_released_and_not_sent_again() {
    let (client, _messages, mut dials) = start(keeps);
    let mut server = Server::welcome(&mut dials, false).await;
    let receipt = client.enqueue(exactly_once("a")).await.unwrap();
    let sent = server.publish().await.packet_id.unwrap();
    server.send(Packet::PubRec(Ack::success(sent))).await;
    assert_eq!(server.receive().await, Packet::PubRel(Ack::success(sent)));
    drop(server);

    let mut server = Server::welcome(&mut dials, true).await;
    assert_eq!(server.receive().await, Packet::PubRel(Ack::success(sent)));
    server.send(Packet::PubComp(Ack::success(sent))).await;
    assert!(within("the receipt", receipt).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lost_the_session_gets_what_it_had_not_and_what_it_had_is_told_as_unsure() {
    let (client, _messages, mut dials) = start(keeps);
    let mut server = Server::welcome(&mut dials, false).await;
    let had = client.enqueue(exactly_once("a")).await.unwrap();
    let not = client.enqueue(exactly_once("b")).await.unwrap();
    let (a, _) = (server.publish().await, server.publish().await);
    server.send(Packet::PubRec(Ack::success(a.packet_id.unwrap()))).await;
    let Packet::PubRel(_) = server.receive().await else { panic!("no PUBREL") };
    drop(server);

    let mut server = Server::welcome(&mut dials, false).await;
    let again = server.publish().await;
    assert!(!again.dup && again.topic == "b", "for this server it is new");
    assert!(matches!(within("the receipt", had).await, Err(Error::SessionLost(topic)) if topic == "a"));
    let sent = again.packet_id.unwrap();
    server.send(Packet::PubRec(Ack::new(sent, ReasonCode::QuotaExceeded))).await;
    let refused = within("the receipt", not).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { reason: ReasonCode::QuotaExceeded, .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_are_under_way_than_the_server_takes() {
    let (client, _messages, mut dials) = start(|builder| builder);
    let mut limited = welcome(false);
    limited.properties.receive_maximum = NonZeroU16::new(1);
    let (mut server, _) = Server::accept(&mut dials, limited).await;
    let receipts = [client.enqueue(at_least_once("a")).await, client.enqueue(at_least_once("b")).await];
    let first = server.publish().await;
    let early = tokio::time::timeout(Duration::from_secs(20), server.next()).await;
    assert!(early.is_err(), "{early:?}");
    server.ack(first.packet_id).await;
    let second = server.publish().await;
    assert_eq!(second.topic, "b");
    server.ack(second.packet_id).await;
    for receipt in receipts {
        within("the receipt", receipt.unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_take_is_told_and_not_sent() {
    let (client, _messages, mut dials) = start(|builder| builder);
    let mut limited = welcome(false);
    limited.properties.maximum_qos = Some(QoS::AtLeastOnce);
    limited.properties.retain_available = Some(false);
    limited.properties.maximum_packet_size = NonZeroU32::new(64);
    let (mut server, _) = Server::accept(&mut dials, limited).await;
    let large = Message::new("a", vec![0; 100]).qos(QoS::AtLeastOnce);
    for (message, word) in
        [(exactly_once("a"), "QoS 1"), (at_least_once("a").retain(true), "retains"), (large, "64")]
    {
        let error = within("the refusal", client.publish(message)).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    for wrong in ["a/+", ""] {
        assert!(matches!(client.publish(Message::new(wrong, "")).await, Err(Error::Configuration(_))));
    }
    let receipt = client.enqueue(at_least_once("b")).await.unwrap();
    let sent = server.publish().await;
    assert_eq!(sent.topic, "b");
    server.ack(sent.packet_id).await;
    within("the receipt", receipt).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn aliases_stand_for_topics_within_a_connection() {
    let (client, _messages, mut dials) = start(keeps);
    let mut with_aliases = welcome(false);
    with_aliases.properties.topic_alias_maximum = Some(1);
    let (mut server, _) = Server::accept(&mut dials, with_aliases.clone()).await;
    for topic in ["a", "a", "b"] {
        client.publish(Message::new(topic, "x")).await.unwrap();
    }
    let shown = |publish: Publish| (publish.topic.to_string(), publish.properties.topic_alias.map(u16::from));
    assert_eq!(shown(server.publish().await), ("a".to_owned(), Some(1)));
    assert_eq!(shown(server.publish().await), (String::new(), Some(1)));
    assert_eq!(shown(server.publish().await), ("b".to_owned(), None));
    drop(server);
    with_aliases.session_present = true;
    let (mut server, _) = Server::accept(&mut dials, with_aliases).await;
    client.publish(Message::new("a", "x")).await.unwrap();
    assert_eq!(shown(server.publish().await), ("a".to_owned(), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgot_the_session_is_told_the_subscriptions_again_and_another_is_not() {
    let (client, _messages, mut dials) = start(keeps);
    let mut server = Server::welcome(&mut dials, false).await;
    let mut wish = Subscription::new("a/#", QoS::AtLeastOnce);
    wish.id = SubscriptionId::new(7);
    let (granted, asked) = tokio::join!(client.subscribe_all(vec![wish]), server.grant());
    assert_eq!(granted.unwrap(), [Ok(QoS::AtLeastOnce)]);
    assert_eq!(asked.properties.subscription_identifier, SubscriptionId::new(7));
    drop(server);

    let mut server = Server::welcome(&mut dials, true).await;
    let (granted, asked) = tokio::join!(client.subscribe("b", QoS::ExactlyOnce), server.grant());
    assert_eq!((granted.unwrap(), &*asked.filters[0].filter), (QoS::ExactlyOnce, "b"));
    drop(server);

    let mut server = Server::welcome(&mut dials, false).await;
    let (one, other) = (server.grant().await, server.grant().await);
    assert_eq!((&*one.filters[0].filter, &*other.filters[0].filter), ("b", "a/#"));
    assert_eq!(other.properties.subscription_identifier, SubscriptionId::new(7));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_by_hand_or_when_it_is_taken() {
    for by_hand in [true, false] {
        let (client, mut messages, mut dials) = start(|builder| builder.acknowledge_by_hand(by_hand));
        let mut server = Server::welcome(&mut dials, false).await;
        server.say("a", QoS::AtLeastOnce, 3).await;
        server.say("b", QoS::ExactlyOnce, 4).await;
        let first = within("a message", messages.next()).await.unwrap();
        let second = within("a message", messages.next()).await.unwrap();
        assert_eq!((&*first.message.topic, &*second.message.topic), ("a", "b"));
        if by_hand {
            let early = tokio::time::timeout(Duration::from_secs(20), server.next()).await;
            assert!(early.is_err(), "{early:?}");
        }
        first.acknowledge();
        second.acknowledge();
        assert_eq!(server.receive().await, Packet::PubAck(Ack::success(id(3))));
        assert_eq!(server.receive().await, Packet::PubRec(Ack::success(id(4))));
        server.send(Packet::PubRel(Ack::success(id(4)))).await;
        assert_eq!(server.receive().await, Packet::PubComp(Ack::success(id(4))));
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_slow_stops_the_server_and_loses_nothing_and_pings_go_on() {
    const COUNT: usize = 3000;
    let (client, mut messages, mut dials) = start(|builder| builder.keep_alive(Duration::from_secs(10)));
    let Server { stream, .. } = Server::welcome(&mut dials, false).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    // More bytes than the stream between holds, so that this waits while nothing is read.
    let sending = tokio::spawn(async move {
        let mut out = bytes::BytesMut::new();
        for _ in 0..COUNT {
            let mut publish = message("a", QoS::AtMostOnce, 0);
            publish.payload = vec![0; 100].into();
            ironbrook_wire::mqtt::v5::encode(&Packet::Publish(publish), &mut out).unwrap();
        }
        tokio::io::AsyncWriteExt::write_all(&mut writer, &out).await.unwrap();
        writer
    });
    let mut pings = Vec::new();
    let pinged = async {
        while pings.len() < 20 {
            let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut pings).await.unwrap();
            assert_ne!(read, 0, "the connection lives although no ping is answered");
        }
    };
    within("ten pings", pinged).await;
    assert!(!sending.is_finished(), "the server waits");
    for _ in 0..COUNT {
        within("a message", messages.next()).await.unwrap();
    }
    assert!(messages.try_next().is_none());
    let _writer = within("the server", sending).await.unwrap();
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_names_the_cure_unless_the_builder_wants_otherwise() {
    let refusal = ConnAck::refusal(ReasonCode::BadUserNameOrPassword);
    let (client, _messages, mut dials) = start(|builder| builder.password("canary"));
    let (_, connect) = Server::accept(&mut dials, refusal.clone()).await;
    assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"canary"[..])));
    let error = within("the refusal", client.publish(at_least_once("a"))).await.unwrap_err();
    assert!(error.to_string().contains("check the user name"), "{error}");
    assert!(matches!(&*client.state().borrow(), ConnectionState::Closed(Some(Error::Rejected { .. }))));

    let (_client, _messages, mut dials) = start(|builder| builder.retry_always(true));
    Server::accept(&mut dials, refusal).await;
    Server::welcome(&mut dials, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_id_another_took_does_not_fight_for_it() {
    let (client, _messages, mut dials) = start(|builder| builder);
    let mut server = Server::welcome(&mut dials, false).await;
    server.send(Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver))).await;
    let error = within("the end", client.publish(at_least_once("a"))).await.unwrap_err();
    assert!(error.to_string().contains("same client id"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_acknowledgements_and_says_goodbye() {
    let (client, _messages, mut dials) = start(|builder| builder);
    let mut server = Server::welcome(&mut dials, false).await;
    let receipt = client.enqueue(at_least_once("a")).await.unwrap();
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close().await }
    });
    let sent = server.publish().await;
    server.ack(sent.packet_id).await;
    within("the receipt", receipt).await.unwrap();
    assert_eq!(server.receive().await, Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    within("the end", closing).await.unwrap().unwrap();
    assert!(matches!(client.publish(at_least_once("a")).await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_protocol_is_told_and_left() {
    let (_client, _messages, mut dials) = start(|builder| builder);
    let mut server = Server::welcome(&mut dials, false).await;
    server.send(Packet::ConnAck(Box::new(welcome(false)))).await;
    assert_eq!(server.receive().await, Packet::Disconnect(Disconnect::new(ReasonCode::ProtocolError)));
    Server::welcome(&mut dials, false).await;
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_takes_are_acknowledged() {
    let (_client, messages, mut dials) = start(|builder| builder);
    let mut server = Server::welcome(&mut dials, false).await;
    drop(messages);
    server.say("a", QoS::AtLeastOnce, 1).await;
    assert_eq!(server.receive().await, Packet::PubAck(Ack::success(id(1))));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_last_that_is_taken_by_hand_stays_with_the_server() {
    let (client, mut messages, mut dials) = start(|builder| builder.acknowledge_by_hand(true));
    let mut server = Server::welcome(&mut dials, false).await;
    server.say("a", QoS::AtLeastOnce, 1).await;
    within("a message", messages.next()).await.unwrap().acknowledge();
    drop(messages);
    server.say("b", QoS::AtLeastOnce, 2).await;
    server.say("c", QoS::ExactlyOnce, 3).await;
    assert_eq!(server.receive().await, Packet::PubAck(Ack::success(id(1))));
    let closing = tokio::spawn(async move { client.close().await });
    assert_eq!(server.receive().await, Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    within("the end", closing).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn mqtt_3_1_1_is_spoken_without_what_it_lacks() {
    let (client, mut messages, mut dials) = start(|builder| keeps(old(builder)).password("p"));
    let (mut server, connect) = OldServer::welcome(&mut dials).await;
    assert!(!connect.clean_session);
    let properties = Properties { expiry: Some(1), ..Properties::default() };
    let error = client.publish(Message::new("a", "").properties(properties)).await.unwrap_err();
    assert!(error.to_string().contains("MQTT 5.0"), "{error}");
    let receipt = client.enqueue(at_least_once("a")).await.unwrap();
    let v4::Packet::Publish(sent) = server.receive().await else { panic!("no PUBLISH") };
    server.send(v4::Packet::PubAck(sent.packet_id.unwrap())).await;
    assert_eq!(within("the receipt", receipt).await.unwrap(), ReasonCode::Success);
    let granting = async {
        let v4::Packet::Subscribe(subscribe) = server.receive().await else { panic!("no SUBSCRIBE") };
        let codes = vec![v4::SubAckCode::Failure];
        server.send(v4::Packet::SubAck(v4::SubAck { packet_id: subscribe.packet_id, codes })).await;
    };
    let (refused, ()) = tokio::join!(client.subscribe("a/#", QoS::AtLeastOnce), granting);
    assert!(matches!(refused, Err(Error::Refused { .. })));
    server
        .send(v4::Packet::Publish(v4::Publish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "a/b".into(),
            packet_id: Some(id(9)),
            payload: "y".into(),
        }))
        .await;
    let received = within("a message", messages.next()).await.unwrap();
    assert!(received.duplicate && received.message.retain && received.message.topic == "a/b");
    let ack = server.receive().await;
    assert_eq!(ack, v4::Packet::PubAck(id(9)));
}

#[test]
fn settings_that_contradict_each_other_are_told_before_anything_is_dialled() {
    let builder = || Client::builder("mqtt://h").unwrap();
    let wrong = [
        builder().session_expiry(Duration::from_secs(1)),
        old(builder().client_id("c")).clean_start(true).session_expiry(Duration::MAX),
        old(builder().client_id("c")).password("p"),
        builder().keep_alive(Duration::from_secs(70_000)),
        old(builder()).will(Will { message: Message::new("a", ""), delay: Duration::from_secs(1) }),
    ];
    for builder in wrong {
        let text = format!("{builder:?}");
        assert!(matches!(builder.build(), Err(Error::Configuration(_))), "{text}");
    }
    let shown = format!("{:?}", builder().password("canary"));
    assert!(!shown.contains("canary"), "{shown}");
}
