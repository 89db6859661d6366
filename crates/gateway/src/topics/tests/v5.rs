//! What MQTT 5.0 adds.

use super::client::id;
use super::{Client5, Plan, World};
use crate::fakes::token;
use crate::topics::TopicsSettings;
use ironbrook_pubsub::Config;
use ironbrook_wire::mqtt::QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use ironbrook_wire::mqtt::v5::{
    Ack, Auth, AuthProperties, Connect, ConnectProperties, Disconnect, Packet, Publish, PublishProperties,
    ReasonCode, SubscribeFilter, UserProperties, Will, WillProperties,
};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn connack_says_what_the_broker_takes() {
    let settings = TopicsSettings {
        keep_alive_max: NonZeroU16::new(60),
        response_information: Some("answers/%c/".into()),
        ..TopicsSettings::default()
    };
    let config = Config { session_expiry_max: Duration::from_secs(100), ..Config::default() };
    let world = World::of(Plan { settings, config, ..Plan::default() }).await;
    let properties = ConnectProperties {
        session_expiry_interval: Some(1000),
        request_response_information: Some(true),
        ..ConnectProperties::default()
    };
    let hello = Connect { keep_alive: 120, properties, ..Client5::hello("c") };
    let (_, ack) = Client5::enter(world.open(), &hello).await;
    let said = ack.properties;
    assert_eq!(said.server_keep_alive, Some(60));
    assert_eq!(said.session_expiry_interval, Some(100));
    assert_eq!(said.receive_maximum, NonZeroU16::new(1024));
    assert_eq!(said.topic_alias_maximum, Some(64));
    assert_eq!(said.response_information.as_deref(), Some("answers/c/"));
    assert!(said.maximum_packet_size.is_some_and(|bytes| bytes.get() > 4 << 20));
    assert_eq!((said.assigned_client_identifier, said.maximum_qos), (None, None));
    let (_, ack) = Client5::enter(world.open(), &Client5::hello("")).await;
    assert!(ack.properties.assigned_client_identifier.is_some());
}

#[tokio::test(start_paused = true)]
async fn properties_reach_the_other_side_as_they_were() {
    let world = World::new().await;
    let mut subscriber = world.client5("s").await;
    subscriber.subscribe_with(vec![SubscribeFilter::new("a/#", AtMostOnce)], Some(9)).await;
    let mut publisher = world.client5("p").await;
    let properties = PublishProperties {
        payload_format_indicator: Some(true),
        message_expiry_interval: Some(60),
        response_topic: Some("answer/here".into()),
        correlation_data: Some("c".into()),
        content_type: Some("text/plain".into()),
        user: UserProperties::from_pairs([("a", "1"), ("b", ""), ("a", "2")]).unwrap(),
        ..PublishProperties::default()
    };
    let message = Publish { properties: properties.clone(), ..Client5::message("a/b", "x", AtMostOnce, 0) };
    publisher.publish(message.clone()).await;
    let mut got = subscriber.message_in().await;
    let ids: Vec<u32> = got.properties.subscription_identifiers.drain(..).map(|id| id.get()).collect();
    assert_eq!((got, &ids[..]), (message, &[9][..]));
}

#[tokio::test(start_paused = true)]
async fn aliases_stand_for_names_both_ways() {
    let world = World::new().await;
    let properties = ConnectProperties { topic_alias_maximum: Some(1), ..ConnectProperties::default() };
    let hello = Connect { properties, ..Client5::hello("s") };
    let mut subscriber = Client5::connected(world.open(), &hello).await;
    subscriber.subscribe("#", AtMostOnce).await;
    let mut publisher = world.client5("p").await;
    let aliased = |topic: &str, alias| Publish {
        properties: PublishProperties { topic_alias: NonZeroU16::new(alias), ..Default::default() },
        ..Client5::message(topic, "x", AtMostOnce, 0)
    };
    publisher.publish(aliased("long/name", 3)).await;
    publisher.publish(aliased("", 3)).await;
    let (first, second) = (subscriber.message_in().await, subscriber.message_in().await);
    assert_eq!((&*first.topic, first.properties.topic_alias), ("long/name", NonZeroU16::new(1)));
    assert_eq!((&*second.topic, second.properties.topic_alias), ("", NonZeroU16::new(1)));
    publisher.publish(aliased("x", 65)).await;
    publisher.expect_end(ReasonCode::TopicAliasInvalid).await;
}

#[tokio::test(start_paused = true)]
async fn the_window_of_a_client_is_kept() {
    let world = World::new().await;
    let properties =
        ConnectProperties { receive_maximum: NonZeroU16::new(2), ..ConnectProperties::default() };
    let hello = Connect { properties, ..Client5::hello("s") };
    let mut subscriber = Client5::connected(world.open(), &hello).await;
    subscriber.subscribe("a", AtLeastOnce).await;
    let mut publisher = world.client5("p").await;
    for n in 1..=3 {
        let code = publisher.publish(Client5::message("a", &n.to_string(), AtLeastOnce, n)).await;
        assert_eq!(code, ReasonCode::Success);
    }
    let first = subscriber.message_in().await;
    assert_eq!(&subscriber.message_in().await.payload[..], b"2");
    subscriber.expect_quiet().await;
    subscriber.send(Packet::PubAck(Ack::success(first.packet_id.unwrap()))).await;
    assert_eq!(&subscriber.message_in().await.payload[..], b"3");
}

#[tokio::test(start_paused = true)]
async fn more_messages_than_the_broker_takes_at_once_end_a_connection() {
    let config = Config { receive_maximum: 2, ..Config::default() };
    let world = World::of(Plan { config, ..Plan::default() }).await;
    let mut client = world.client5("p").await;
    for n in 1..=3 {
        client.send(Packet::Publish(Client5::message("a", "x", ExactlyOnce, n))).await;
    }
    for n in 1..=2 {
        let ack = Ack::new(id(n), ReasonCode::NoMatchingSubscribers);
        assert_eq!(client.next().await, Some(Packet::PubRec(ack)));
    }
    client.expect_end(ReasonCode::ReceiveMaximumExceeded).await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_will_is_not_missed_by_who_comes_back_in_time() {
    let world = World::new().await;
    let mut subscriber = world.client5("s").await;
    subscriber.subscribe("will", AtMostOnce).await;
    let hello = Connect {
        clean_start: false,
        will: Some(Will {
            topic: "will".into(),
            payload: "gone".into(),
            qos: AtMostOnce,
            retain: false,
            properties: WillProperties { will_delay_interval: Some(5), ..WillProperties::default() },
        }),
        properties: ConnectProperties { session_expiry_interval: Some(60), ..ConnectProperties::default() },
        ..Client5::hello("c")
    };
    drop(Client5::connected(world.open(), &hello).await);
    world.pass(Duration::from_secs(4)).await;
    subscriber.expect_quiet().await;
    let (client, ack) = Client5::enter(world.open(), &hello).await;
    assert!(ack.session_present);
    world.pass(Duration::from_secs(10)).await;
    subscriber.expect_quiet().await;
    drop(client);
    world.pass(Duration::from_millis(4_900)).await;
    subscriber.expect_quiet().await;
    world.pass(Duration::from_millis(200)).await;
    assert_eq!(&subscriber.message_in().await.payload[..], b"gone");
}

#[tokio::test(start_paused = true)]
async fn the_server_says_why_it_ends_a_connection() {
    let world = World::new().await;
    let mut first = world.client5("c").await;
    let second = world.client5("c").await;
    first.expect_end(ReasonCode::SessionTakenOver).await;
    let mut second = second;
    second.raw.cancel.cancel();
    second.expect_end(ReasonCode::ServerShuttingDown).await;

    let mut malformed = world.client5("m").await;
    malformed.raw.send(&[0x00, 0x00]).await;
    malformed.expect_end(ReasonCode::MalformedPacket).await;

    let mut twice = world.client5("t").await;
    twice.send(Packet::Connect(Box::new(Client5::hello("t")))).await;
    twice.expect_end(ReasonCode::ProtocolError).await;

    let mut wild = world.client5("w").await;
    wild.send(Packet::Publish(Client5::message("a/+", "x", AtMostOnce, 0))).await;
    wild.expect_end(ReasonCode::TopicNameInvalid).await;

    // The length alone is enough: nobody waits for the rest.
    let mut large = world.client5("l").await;
    large.raw.try_send(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1]).await;
    large.expect_end(ReasonCode::PacketTooLarge).await;

    let hello = Connect { keep_alive: 10, ..Client5::hello("q") };
    let mut quiet = Client5::connected(world.open(), &hello).await;
    quiet.expect_end(ReasonCode::KeepAliveTimeout).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_may_not_be_lengthened_at_its_end_if_it_had_no_length() {
    let world = World::new().await;
    let mut client = world.client5("c").await;
    let mut end = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
    end.properties.session_expiry_interval = Some(10);
    client.send(Packet::Disconnect(end)).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test(start_paused = true)]
async fn an_authentication_method_that_is_not_served_is_named_so() {
    let world = World::new().await;
    let properties =
        ConnectProperties { authentication_method: Some("NO-SUCH".into()), ..ConnectProperties::default() };
    let (mut client, ack) =
        Client5::enter(world.open(), &Connect { properties, ..Client5::hello("c") }).await;
    assert_eq!(ack.reason, ReasonCode::BadAuthenticationMethod);
    assert_eq!(client.next().await, None);
    let mut client = world.client5("d").await;
    let properties =
        AuthProperties { authentication_method: Some("NO-SUCH".into()), ..AuthProperties::default() };
    client.send(Packet::Auth(Auth { reason: ReasonCode::ReAuthenticate, properties })).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test(start_paused = true)]
async fn a_reason_in_words_is_left_out_where_it_is_not_wanted() {
    let world = World::new().await;
    for wanted in [true, false] {
        let properties =
            ConnectProperties { request_problem_information: Some(wanted), ..ConnectProperties::default() };
        let hello = Connect { properties, ..Client5::hello("c") };
        let mut client = Client5::connected(world.open(), &hello).await;
        let message = Client5::message("$SYS/broker/x", "x", AtLeastOnce, 1);
        client.send(Packet::Publish(message)).await;
        let Some(Packet::PubAck(ack)) = client.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.reason, ReasonCode::NotAuthorized);
        assert_eq!(ack.properties.reason_string.is_some(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn why_something_is_forbidden_need_not_be_told() {
    let settings = TopicsSettings { explain_refusals: false, ..TopicsSettings::default() };
    let world = World::of(Plan { settings, ..Plan::default() }).await;
    let mut client = world.client5("c").await;
    assert_eq!(client.subscribe("$SYS/#", AtMostOnce).await, [ReasonCode::UnspecifiedError]);
    client.send(Packet::Publish(Client5::message("$SYS/broker/x", "x", AtLeastOnce, 1))).await;
    assert_eq!(client.next().await, Some(Packet::PubAck(Ack::new(id(1), ReasonCode::UnspecifiedError))));
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_a_client_takes_is_not_sent_to_it() {
    let world = World::new().await;
    let properties =
        ConnectProperties { maximum_packet_size: NonZeroU32::new(100), ..ConnectProperties::default() };
    let hello = Connect { properties, ..Client5::hello("s") };
    let mut subscriber = Client5::connected(world.open(), &hello).await;
    subscriber.subscribe("a", AtLeastOnce).await;
    let mut publisher = world.client5("p").await;
    publisher.publish(Client5::message("a", &"x".repeat(100), AtLeastOnce, 1)).await;
    publisher.publish(Client5::message("a", "small", AtLeastOnce, 2)).await;
    assert_eq!(&subscriber.message_in().await.payload[..], b"small");
}

#[tokio::test(start_paused = true)]
async fn topic_02_the_hub_namespace_is_3_1_1_only() {
    let world = World::of(Plan { hub: true, ..Plan::default() }).await;
    let hello = Connect {
        username: Some("localhost/d1/?api-version=2021-04-12".into()),
        password: Some(token("d1", Duration::from_secs(3600)).into()),
        ..Client5::hello("d1")
    };
    let (mut client, ack) = Client5::enter(world.open(), &hello).await;
    assert_eq!(ack.reason, ReasonCode::UnsupportedProtocolVersion);
    assert_eq!(client.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn topic_04_identities_of_the_hub_get_in_only_where_the_settings_allow_it() {
    let hello = |lives: u64| Connect {
        username: Some("localhost/d1/?api-version=2021-04-12".into()),
        password: Some(token("d1", Duration::from_secs(lives)).into()),
        ..Client5::hello("d1")
    };
    let world = World::of(Plan { identities: true, ..Plan::default() }).await;
    let (_, ack) = Client5::enter(world.open(), &hello(60)).await;
    assert_eq!(ack.reason, ReasonCode::NotAuthorized);
    let settings = TopicsSettings { hub_identities: true, ..TopicsSettings::default() };
    let world = World::of(Plan { identities: true, settings, ..Plan::default() }).await;
    let forged = Connect { password: Some("SharedAccessSignature sr=x&sig=x&se=1".into()), ..hello(60) };
    let (_, ack) = Client5::enter(world.open(), &forged).await;
    assert_eq!(ack.reason, ReasonCode::NotAuthorized);
    let mut client = Client5::connected(world.open(), &hello(60)).await;
    client.subscribe("any/topic", AtMostOnce).await;
    // When the token is over, five minutes' grace and all, so is the connection.
    world.pass(Duration::from_secs(350)).await;
    client.expect_quiet().await;
    client.expect_end(ReasonCode::NotAuthorized).await;
}
