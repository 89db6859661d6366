//! Queues, windows, aliases and what is owed, without a broker.

use super::*;
use crate::topic::{Filter, Ids};
use crate::{Message, Publish, QoS, Reason, SubscriptionOptions, Version};
use ironbrook_model::Timestamp;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const SHOWN: Sealed = Sealed(u64::MAX);

fn message(topic: &str, payload: &str) -> Message {
    let payload = payload.to_owned().into();
    Message::new(Publish { topic: topic.into(), payload, ..Publish::default() }, NOW)
}

fn delivery(message: Message, qos: QoS) -> Delivery {
    Delivery { message: Arc::new(message), qos, retain: false, gated: false, ids: Ids::new(), group: None }
}

fn expiring(seconds: u64) -> Message {
    Message { expires: Some(NOW.plus(Duration::from_secs(seconds))), ..message("a", "x") }
}

fn link(version: Version) -> Link {
    Link::new(version, 10, None, 0)
}

fn take(outbound: &mut Outbound, link: &mut Link) -> Vec<OutgoingPublish> {
    let mut out = Vec::new();
    outbound.take(link, NOW, SHOWN, 1000, &mut out);
    let publishes = out.into_iter().filter_map(|packet| match packet {
        Outgoing::Publish(publish) => Some(publish),
        Outgoing::PubRel(_) => None,
    });
    publishes.collect()
}

#[test]
fn what_expires_behind_a_message_that_does_not_leaves_nothing_behind() {
    let mut outbound = Outbound::default();
    outbound.restored(None);
    outbound.push(delivery(message("a", "first"), QoS::AtLeastOnce), 100, 1 << 20);
    for round in 1..200 {
        for _ in 0..99 {
            let pushed = outbound.push(delivery(expiring(round), QoS::AtLeastOnce), 100, 1 << 20);
            assert!(matches!(pushed, Pushed::Numbered(_)));
        }
        assert!(!outbound.has_room(QoS::AtLeastOnce, 1, 100, 1 << 20));
        outbound.drop_expired(NOW.plus(Duration::from_secs(round)));
        assert_eq!(outbound.len(), 1);
        assert!(outbound.slots() < 300, "{} slots in round {round}", outbound.slots());
        assert_eq!(outbound.settled().len(), 99);
    }
    outbound.connected();
    let mut link = link(Version::V5);
    let sent = take(&mut outbound, &mut link);
    assert_eq!(sent.len(), 1);
    outbound.puback(sent[0].packet_id.unwrap()).unwrap();
    // Numbers of what is gone are not used again.
    assert_eq!(outbound.next_number(), 1 + 199 * 99);
    outbound.push(delivery(message("a", "last"), QoS::AtLeastOnce), 100, 1 << 20);
    let sent = take(&mut outbound, &mut link);
    assert_eq!(sent[0].packet_id.unwrap().get(), 2 + 199 * 99);
}

#[test]
fn one_message_never_answered_holds_others_but_no_memory() {
    let mut outbound = Outbound::default();
    let mut link = link(Version::V5);
    outbound.connected();
    outbound.push(delivery(message("a", "never"), QoS::AtLeastOnce), 100, 1 << 20);
    let first = take(&mut outbound, &mut link)[0].packet_id.unwrap();
    let mut answered = 0;
    for at in 0..70_000 {
        outbound.push(delivery(message("a", "x"), QoS::AtLeastOnce), 100, 1 << 20);
        for publish in take(&mut outbound, &mut link) {
            assert_ne!(publish.packet_id, Some(first), "in use");
            outbound.puback(publish.packet_id.unwrap()).unwrap();
            answered += 1;
        }
        assert!(outbound.slots() < 400, "{} slots after {at}", outbound.slots());
    }
    // Its identifier is not given to another: all others were used once.
    assert_eq!(answered, 65_534);
    outbound.puback(first).unwrap();
    assert!(!take(&mut outbound, &mut link).is_empty());
}

#[test]
fn answers_in_any_order_are_found() {
    let mut outbound = Outbound::default();
    let mut link = Link::new(Version::V5, 1000, None, 0);
    outbound.connected();
    for at in 0..1000 {
        outbound.push(delivery(message("a", &at.to_string()), QoS::AtLeastOnce), 2000, 1 << 20);
    }
    let ids: Vec<_> = take(&mut outbound, &mut link).iter().filter_map(|sent| sent.packet_id).collect();
    let odd_last = ids.iter().filter(|id| id.get() % 3 == 0).chain(ids.iter().filter(|id| id.get() % 3 != 0));
    for (at, id) in odd_last.enumerate() {
        outbound.puback(*id).unwrap();
        assert_eq!(outbound.puback(*id), Err(Reason::PacketIdentifierNotFound));
        assert_eq!(outbound.len(), 999 - at);
    }
    assert!(outbound.is_empty() && outbound.slots() == 0);
}

#[test]
fn what_is_not_answered_comes_again_in_order_behind_gaps() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1] of 3.1.1
    let mut outbound = Outbound::default();
    let mut first = Link::new(Version::V5, 1000, None, 0);
    outbound.connected();
    for at in 0..500 {
        outbound.push(delivery(message("a", &at.to_string()), QoS::AtLeastOnce), 2000, 1 << 20);
    }
    let sent = take(&mut outbound, &mut first);
    for publish in sent.iter().filter(|publish| publish.packet_id.unwrap().get() % 10 != 1) {
        outbound.puback(publish.packet_id.unwrap()).unwrap();
    }
    outbound.connected();
    let again = take(&mut outbound, &mut Link::new(Version::V5, 1000, None, 0));
    let expected: Vec<_> = sent.iter().filter(|publish| publish.packet_id.unwrap().get() % 10 == 1).collect();
    assert_eq!(again.len(), 50);
    for (again, before) in again.iter().zip(expected) {
        assert!(again.dup && again.packet_id == before.packet_id);
        assert!(Arc::ptr_eq(&again.message, &before.message));
    }
}

#[test]
fn quality_0_makes_room_for_what_has_to_arrive() {
    let mut outbound = Outbound::default();
    for at in 0..10 {
        assert_eq!(
            outbound.push(delivery(message("a", &at.to_string()), QoS::AtMostOnce), 10, 1 << 20),
            Pushed::Plain
        );
    }
    assert_eq!(outbound.push(delivery(message("a", "x"), QoS::AtMostOnce), 10, 1 << 20), Pushed::Full);
    for number in 0..10 {
        let pushed = outbound.push(delivery(message("a", "kept"), QoS::AtLeastOnce), 10, 1 << 20);
        assert_eq!(pushed, Pushed::Numbered(number));
        assert_eq!((outbound.len(), outbound.left_out), (10, number + 1));
    }
    assert_eq!(outbound.push(delivery(message("a", "x"), QoS::AtLeastOnce), 10, 1 << 20), Pushed::Full);
    outbound.disconnected();
    assert_eq!(outbound.len(), 10);
}

#[test]
fn a_packet_of_just_the_maximum_goes_out() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25] of 5.0; with aliases too, which may make it larger or smaller
    let length = publish_len(Version::V5, &message("topic", "payload"), true, &[7], None);
    for (maximum, aliases, expected) in [
        (length, 0, Some(None)),
        (length - 1, 0, None),
        (length, 5, Some(None)),
        (length + 2, 5, Some(None)),
        (length + 3, 5, Some(Some((1, true)))),
    ] {
        let mut outbound = Outbound::default();
        let mut link = Link::new(Version::V5, 10, Some(u32::try_from(maximum).unwrap()), aliases);
        let mut one = delivery(message("topic", "payload"), QoS::AtLeastOnce);
        one.ids.push(7);
        outbound.push(one, 10, 1 << 20);
        let sent = take(&mut outbound, &mut link);
        assert_eq!(sent.first().map(|sent| sent.alias), expected, "{maximum} {aliases}");
        // What cannot go counts as sent.
        assert_eq!(
            (outbound.left_out, outbound.is_empty()),
            (u64::from(expected.is_none()), expected.is_none())
        );
    }
    // With its name replaced by an alias a message fits that would not.
    let mut outbound = Outbound::default();
    let short = message("a/long/topic", "");
    let maximum = publish_len(Version::V5, &short, false, &[], Some((1, true)));
    let mut link = Link::new(Version::V5, 10, Some(u32::try_from(maximum).unwrap()), 5);
    outbound.push(delivery(short, QoS::AtMostOnce), 10, 1 << 20);
    outbound.push(delivery(message("a/long/topic", "twelve bytes"), QoS::AtMostOnce), 10, 1 << 20);
    let sent = take(&mut outbound, &mut link);
    assert_eq!(sent.iter().map(|sent| sent.alias).collect::<Vec<_>>(), [Some((1, true)), Some((1, false))]);
}

#[test]
fn a_line_read_back_goes_on_where_it_was() {
    let mut outbound = Outbound::default();
    let qos = QoS::AtLeastOnce;
    assert!(outbound.restore(5, State::Waiting, qos, Some(delivery(message("a", "5"), qos))));
    assert!(!outbound.restore(5, State::Waiting, qos, Some(delivery(message("a", "5"), qos))));
    // However much was done in between.
    assert!(outbound.restore(10_000_000, State::Waiting, qos, Some(delivery(message("a", "far"), qos))));
    outbound.restore_sent(6);
    outbound.restore_next(10_000_005);
    outbound.restored(None);
    assert_eq!((outbound.len(), outbound.slots(), outbound.next_number()), (2, 2, 10_000_005));
    outbound.connected();
    let mut link = link(Version::V5);
    let sent = take(&mut outbound, &mut link);
    assert_eq!((sent.len(), sent[0].dup), (1, true));
    outbound.puback(sent[0].packet_id.unwrap()).unwrap();
    let sent = take(&mut outbound, &mut link);
    assert_eq!((sent.len(), sent[0].dup), (1, false));
}

#[test]
fn receive_maximum_and_aliases() {
    let mut inbound = Inbound::default();
    let publish = |topic: &str, alias, qos, id| Publish {
        topic: topic.into(),
        alias,
        qos,
        packet_id: NonZeroU16::new(id),
        ..Publish::default()
    };
    // [MQTT-3.3.2-7] to [MQTT-3.3.2-12]
    for (topic, alias, wrong) in [
        ("a", Some(0), Reason::TopicAliasInvalid),
        ("a", Some(3), Reason::TopicAliasInvalid),
        ("", Some(1), Reason::ProtocolError),
        ("", None, Reason::ProtocolError),
    ] {
        assert_eq!(inbound.receive(publish(topic, alias, QoS::AtMostOnce, 0), 2, 2), Err(wrong));
    }
    for alias in [1, 2] {
        inbound.receive(publish(&format!("t{alias}"), Some(alias), QoS::AtMostOnce, 0), 2, 2).unwrap();
    }
    for alias in [1, 2] {
        let Ok(Received::New(got)) = inbound.receive(publish("", Some(alias), QoS::AtMostOnce, 0), 2, 2)
        else {
            panic!("not passed on");
        };
        assert_eq!((&*got.topic, got.alias), (&*format!("t{alias}"), None));
    }
    inbound.connected();
    assert_eq!(inbound.receive(publish("", Some(1), QoS::AtMostOnce, 0), 2, 2), Err(Reason::ProtocolError));
    // [MQTT-4.9.0-2]: one of QoS 1 and one of QoS 2 are what a maximum of 2 allows.
    inbound.receive(publish("a", None, QoS::AtLeastOnce, 1), 2, 0).unwrap();
    inbound.receive(publish("a", None, QoS::ExactlyOnce, 2), 2, 0).unwrap();
    assert_eq!(inbound.receive(publish("a", None, QoS::ExactlyOnce, 2), 2, 0), Ok(Received::Again));
    let third = publish("a", None, QoS::AtLeastOnce, 3);
    assert_eq!(inbound.receive(third.clone(), 2, 0), Err(Reason::ReceiveMaximumExceeded));
    inbound.answered(1);
    inbound.receive(third, 2, 0).unwrap();
}

#[test]
fn filters_are_counted_and_bounded() {
    let mut subscriptions = Subscriptions::default();
    let filter = |text: &str| Filter::parse(text.into()).unwrap();
    let deepest = filter(&"/".repeat(65_535));
    assert!(subscriptions.has_room(&deepest));
    assert!(subscriptions.insert(deepest.clone(), SubscriptionOptions::default()));
    assert!(!subscriptions.insert(deepest.clone(), SubscriptionOptions::default()));
    for at in 0..2 {
        subscriptions.insert(filter(&format!("{at}{}", "/".repeat(65_534))), SubscriptionOptions::default());
    }
    assert!(!subscriptions.has_room(&deepest), "levels");
    assert!(subscriptions.has_room(&filter("a")));
    assert!(subscriptions.remove(&deepest) && !subscriptions.remove(&deepest));
    assert!(subscriptions.has_room(&deepest));
    assert_eq!(subscriptions.take().count(), 2);
    let long = |at: usize| filter(&format!("{at:05}{}", "x".repeat(65_000)));
    let fits = (0..).take_while(|at| {
        let room = subscriptions.has_room(&long(*at));
        room && subscriptions.insert(long(*at), SubscriptionOptions::default())
    });
    assert_eq!(fits.count(), (2 << 20) / 65_005);
}

#[test]
fn retained_messages_are_owed_in_turn_and_once_per_filter() {
    let mut replays = Replays::default();
    let filter = |text: &str| Filter::parse(text.into()).unwrap();
    let owed = |qos| Owed { after: None, qos, ids: Ids::new() };
    for text in ["a", "b", "c"] {
        replays.add(filter(text), owed(QoS::AtMostOnce));
    }
    replays.advance(&filter("a"), "a/1".into());
    // Subscribed again: from the start, behind the others.
    for _ in 0..10_000 {
        replays.add(filter("a"), owed(QoS::AtLeastOnce));
    }
    assert!(replays.turns_len() <= 3 * 2 + 16 + 1, "{}", replays.turns_len());
    replays.remove(&filter("b"));
    let (first, _) = replays.front().unwrap();
    assert_eq!(first, filter("c"));
    replays.advance(&first, "c/1".into());
    assert_eq!(replays.front().unwrap().1.after.as_deref(), Some("c/1"));
    replays.remove(&first);
    let (last, rest) = replays.front().unwrap();
    assert_eq!((last.as_str(), rest.after, rest.qos), ("a", None, QoS::AtLeastOnce));
    replays.remove(&last);
    assert!(replays.is_empty() && replays.front().is_none());
}
