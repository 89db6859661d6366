//! MQTT 3.1.1, and what both versions have in common.

use super::client::id;
use super::{Client3, Plan, World, eventually, idle};
use crate::fakes::token;
use ironbrook_pubsub::acl::{Access, Acl, PasswordHash, Rule};
use ironbrook_wire::mqtt::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use ironbrook_wire::mqtt::v4::{ConnAck, ConnectReturnCode, Packet, Publish, SubAckCode, Will};
use std::num::NonZeroU32;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_its_subscribers_with_the_lesser_quality() {
    let world = World::new().await;
    let mut subscriber = world.client3("s").await;
    let granted = subscriber.subscribe(&[("a/+", AtLeastOnce), ("b", ExactlyOnce)]).await;
    assert_eq!(granted, [SubAckCode::Granted(AtLeastOnce), SubAckCode::Granted(ExactlyOnce)]);
    let mut publisher = world.client3("p").await;
    publisher.publish(Client3::message("a/b", "1", ExactlyOnce, 1)).await;
    publisher.publish(Client3::message("b", "2", AtMostOnce, 0)).await;
    publisher.publish(Client3::message("c", "3", AtLeastOnce, 2)).await;
    let first = subscriber.message_in().await;
    assert_eq!((&*first.topic, &first.payload[..], first.qos), ("a/b", &b"1"[..], AtLeastOnce));
    subscriber.send(Packet::PubAck(first.packet_id.unwrap())).await;
    assert_eq!(subscriber.message_in().await, Client3::message("b", "2", AtMostOnce, 0));
    subscriber.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn quality_2_arrives_once_however_often_it_is_sent() {
    let world = World::new().await;
    let mut subscriber = world.client3("s").await;
    subscriber.subscribe(&[("a", ExactlyOnce)]).await;
    let mut publisher = world.client3("p").await;
    let message = Client3::message("a", "1", ExactlyOnce, 5);
    publisher.send(Packet::Publish(message.clone())).await;
    publisher.expect(Packet::PubRec(id(5))).await;
    publisher.send(Packet::Publish(Publish { dup: true, ..message })).await;
    publisher.expect(Packet::PubRec(id(5))).await;
    publisher.send(Packet::PubRel(id(5))).await;
    publisher.expect(Packet::PubComp(id(5))).await;
    let packet_id = subscriber.message_in().await.packet_id.unwrap();
    subscriber.send(Packet::PubRec(packet_id)).await;
    subscriber.expect(Packet::PubRel(packet_id)).await;
    subscriber.send(Packet::PubComp(packet_id)).await;
    subscriber.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn topic_01_answers_wait_for_the_disk_and_keep_their_order() {
    let world = World::new().await;
    let hello = ironbrook_wire::mqtt::v4::Connect { clean_session: false, ..Client3::hello("s") };
    let mut subscriber = Client3::connected(world.open(), &hello).await;
    subscriber.subscribe(&[("a", AtLeastOnce)]).await;
    let mut publisher = world.client3("p").await;
    world.log.hold();
    let before = world.log.len() as u64;
    // The second one is for nobody and needs no disk, but waits for the first.
    for message in [Client3::message("a", "1", AtLeastOnce, 1), Client3::message("b", "2", AtLeastOnce, 2)] {
        publisher.send(Packet::Publish(message)).await;
    }
    publisher.expect_quiet().await;
    subscriber.expect_quiet().await;
    world.log.sync(before + 1);
    publisher.expect(Packet::PubAck(id(1))).await;
    publisher.expect(Packet::PubAck(id(2))).await;
    assert_eq!(&subscriber.message_in().await.payload[..], b"1");
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_where_it_was_lost() {
    let world = World::new().await;
    let hello = ironbrook_wire::mqtt::v4::Connect { clean_session: false, ..Client3::hello("s") };
    let (mut subscriber, present) = Client3::enter(world.open(), &hello).await;
    assert!(!present);
    subscriber.subscribe(&[("a", AtLeastOnce)]).await;
    let mut publisher = world.client3("p").await;
    publisher.publish(Client3::message("a", "1", AtLeastOnce, 1)).await;
    let first = subscriber.message_in().await;
    drop(subscriber);
    eventually("the loss", || world.broker.snapshot().clients_connected == 1).await;
    publisher.publish(Client3::message("a", "2", AtLeastOnce, 2)).await;
    let (mut subscriber, present) = Client3::enter(world.open(), &hello).await;
    assert!(present);
    assert_eq!(subscriber.message_in().await, Publish { dup: true, ..first });
    assert_eq!(&subscriber.message_in().await.payload[..], b"2");
}

#[tokio::test(start_paused = true)]
async fn the_newest_connection_of_a_client_wins() {
    let world = World::new().await;
    let mut first = world.client3("c").await;
    let mut second = world.client3("c").await;
    first.expect_end().await;
    second.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_will_is_for_those_who_go_without_a_word() {
    let world = World::new().await;
    let mut subscriber = world.client3("s").await;
    subscriber.subscribe(&[("will/#", AtMostOnce)]).await;
    let with_will = |id: &str| ironbrook_wire::mqtt::v4::Connect {
        will: Some(Will {
            topic: format!("will/{id}").into(),
            payload: "gone".into(),
            qos: AtMostOnce,
            retain: false,
        }),
        ..Client3::hello(id)
    };
    let mut polite = Client3::connected(world.open(), &with_will("polite")).await;
    polite.send(Packet::Disconnect).await;
    polite.expect_end().await;
    drop(Client3::connected(world.open(), &with_will("rude")).await);
    assert_eq!(subscriber.message_in().await, Client3::message("will/rude", "gone", AtMostOnce, 0));
    subscriber.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn silence_of_one_and_a_half_keep_alives_ends_a_connection() {
    let world = World::new().await;
    let hello = ironbrook_wire::mqtt::v4::Connect { keep_alive: 10, ..Client3::hello("c") };
    let mut client = Client3::connected(world.open(), &hello).await;
    let since = tokio::time::Instant::now();
    client.expect_end().await;
    let silent = since.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(16)).contains(&silent), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_is_refused_in_the_words_of_3_1_1() {
    let hash = PasswordHash::with(b"secret", NonZeroU32::MIN).unwrap();
    let rule = Rule::new(Some("ann"), true, Access::Publish, "of/%u/#").unwrap();
    let acl = Acl::new().user("ann", hash).rule(rule);
    let world = World::of(Plan { acl, ..Plan::default() }).await;
    let login = |name: Option<&str>, password: Option<&str>| ironbrook_wire::mqtt::v4::Connect {
        username: name.map(|name| name.to_owned().into()),
        password: password.map(|password| password.to_owned().into()),
        ..Client3::hello("c")
    };
    for (name, password) in [(None, None), (Some("ann"), Some("wrong")), (Some("bob"), Some("secret"))] {
        let mut client = Client3 { raw: world.open() };
        client.send(Packet::Connect(Box::new(login(name, password)))).await;
        let code = ConnectReturnCode::BadUserNameOrPassword;
        client.expect(Packet::ConnAck(ConnAck { session_present: false, code })).await;
        client.expect_end().await;
    }
    let mut client = Client3::connected(world.open(), &login(Some("ann"), Some("secret"))).await;
    assert_eq!(client.subscribe(&[("of/ann/a", AtLeastOnce)]).await, [SubAckCode::Failure]);
    // There is no refusal in 3.1.1: it is acknowledged and goes nowhere.
    client.publish(Client3::message("of/bob/a", "1", AtLeastOnce, 1)).await;
    client.publish(Client3::message("of/ann/a", "1", AtLeastOnce, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn topic_02_topic_03_the_user_name_tells_the_namespace() {
    let world = World::of(Plan { hub: true, ..Plan::default() }).await;
    let device = ironbrook_wire::mqtt::v4::Connect {
        username: Some("localhost/d1/?api-version=2021-04-12".into()),
        password: Some(token("d1", Duration::from_secs(3600)).into()),
        ..Client3::hello("d1")
    };
    let mut device = Client3::connected(world.open(), &device).await;
    device.publish(Client3::message("devices/d1/messages/events/", "1", AtLeastOnce, 1)).await;
    let mut other = world.client3("other").await;
    other.publish(Client3::message("any/topic", "1", AtLeastOnce, 1)).await;
    // In the hub namespace that topic ends the connection.
    device.send(Packet::Publish(Client3::message("any/topic", "1", AtLeastOnce, 2))).await;
    device.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_takes_nothing_is_cut_and_the_others_do_not_notice() {
    let world = World::new().await;
    let mut stuck = Client3::connected(world.open_with(64), &Client3::hello("stuck")).await;
    stuck.subscribe(&[("a", AtMostOnce)]).await;
    let mut publisher = world.client3("p").await;
    let payload = "x".repeat(1000);
    for n in 1..=10_000 {
        publisher.publish(Client3::message("a", &payload, AtLeastOnce, n)).await;
    }
    let figures = world.broker.snapshot();
    assert!(figures.messages_dropped > 5000, "{figures:?}");
    tokio::time::sleep(Duration::from_secs(31)).await;
    idle().await;
    assert_eq!(world.broker.snapshot().clients_connected, 1);
    publisher.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_packet_that_is_not_served_is_answered_in_its_version() {
    let world = World::new().await;
    let cases: [(&[u8], &[u8]); 4] = [
        (b"\x10\x0e\0\x06MQIsdp\x03\x02\0\0\0\0", &[0x20, 2, 0, 1]),
        (b"\x10\x0c\0\x04MQTT\x06\x02\0\0\0\0", &[0x20, 3, 0, 0x84, 0]),
        // A will without its topic: malformed, and 3.1.1 has no answer to that.
        (b"\x10\x0c\0\x04MQTT\x04\x06\0\0\0\0", &[]),
        (b"\xc0\0", &[]),
    ];
    for (first, answer) in cases {
        let mut raw = world.open();
        raw.send(first).await;
        assert_eq!(raw.rest().await, answer, "{first:?}");
    }
}
