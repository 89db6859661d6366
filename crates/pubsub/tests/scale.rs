//! Many, large, deep, slow and hostile: bounded memory, others undisturbed. With `IRONBROOK_SLOW` in the environment the
//! numbers are those of a large plant.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use bytes::Bytes;
use ironbrook_log::{Log, Memory};
use ironbrook_pubsub::{
    Broker, Config, Outgoing, Publish, QoS, Reason, SessionHandle, Subscription, Version, Wakes,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Answers, Client, NOW, info, later, log_on, message, open, open_with, to};

fn many(quick: usize, slow: usize) -> usize {
    if std::env::var_os("IRONBROOK_SLOW").is_some() { slow } else { quick }
}

/// A payload that tells how many bytes of its kind are alive.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn payload(length: usize, alive: &Arc<AtomicUsize>) -> Bytes {
        alive.fetch_add(length, Ordering::Relaxed);
        Bytes::from_owner(Self { bytes: vec![b'x'; length], alive: alive.clone() })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

fn connect(broker: &Broker, id: &str) -> SessionHandle {
    broker.connect(info(id, true, 0), NOW).unwrap().session
}

fn subscribe(session: &mut SessionHandle, filter: &str, qos: QoS) -> Result<QoS, Reason> {
    session.subscribe(&[to(filter, qos)], NOW).unwrap().answers[0]
}

/// Takes all there is and acknowledges it; gives how many messages came.
fn drain(session: &mut SessionHandle) -> usize {
    let (mut out, mut count, mut more) = (Vec::new(), 0, true);
    while more {
        more = session.take(NOW, 1000, &mut out).unwrap() || !out.is_empty();
        for packet in out.drain(..) {
            let Outgoing::Publish(publish) = packet else { continue };
            count += 1;
            match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => session.puback(id).unwrap(),
                (QoS::ExactlyOnce, Some(id)) => {
                    session.pubrec(id, false, NOW).unwrap().unwrap();
                    session.pubcomp(id).unwrap();
                }
                _ => {}
            }
        }
    }
    count
}

fn publish(session: &mut SessionHandle, publish: &Publish) -> Option<Reason> {
    let answer = session.publish(publish, NOW, &mut Wakes::new()).unwrap();
    if publish.qos == QoS::AtLeastOnce {
        session.answered(1);
    }
    answer.reason
}

#[tokio::test]
async fn who_does_not_read_costs_a_queue_and_nobody_else_anything() {
    let config = Config { queued_messages_max: 100_000, queued_bytes_max: 1 << 20, ..Config::default() };
    let broker = open_with(config, None, NOW).await;
    let alive = Arc::new(AtomicUsize::new(0));
    let (mut publisher, mut reader) = (connect(&broker, "publisher"), connect(&broker, "reader"));
    let (mut stuck, mut slow) = (connect(&broker, "stuck"), connect(&broker, "slow"));
    for session in [&mut reader, &mut stuck, &mut slow] {
        subscribe(session, "#", QoS::AtLeastOnce).unwrap();
    }
    let (rounds, mut read, mut read_slowly) = (many(5_000, 200_000), 0, 0);
    for at in 0..rounds {
        let mut message = message(&format!("topic/{}", at % 100), "", QoS::AtLeastOnce, false);
        if at % 2 == 0 {
            message.qos = QoS::AtMostOnce;
        } else {
            message.packet_id = u16::try_from(at % 60_000 + 1).ok().and_then(std::num::NonZeroU16::new);
        }
        message.payload = Counted::payload(2048, &alive);
        assert_eq!(publish(&mut publisher, &message), None);
        drop(message);
        read += drain(&mut reader);
        if at % 3 == 0 {
            let mut out = Vec::new();
            slow.take(NOW, 1, &mut out).unwrap();
            for packet in out {
                let Outgoing::Publish(publish) = packet else { continue };
                read_slowly += 1;
                publish.packet_id.into_iter().for_each(|id| slow.puback(id).unwrap());
            }
        }
        // Two full queues, though both may hold different messages.
        assert!(alive.load(Ordering::Relaxed) <= 2 * (1 << 20), "{at}");
    }
    assert_eq!(read, rounds, "the reader got each message");
    assert!(read_slowly > rounds / 4, "{read_slowly}");
    assert!(broker.snapshot().messages_dropped > 0);
    // What has to arrive drove out what has not: the stuck client finds a full queue of it.
    let kept = drain(&mut stuck);
    assert!(kept > (1 << 20) / 2048 * 3 / 4, "{kept}");
    drop((stuck, slow, reader, publisher));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_stuck_persistent_session_costs_a_queue_and_its_disk() {
    let memory = Memory::forgetful();
    let log = log_on(&memory);
    let config = Config { queued_messages_max: 1000, compact_bytes: 256 * 1024, ..Config::default() };
    let broker = open_with(config.clone(), Some(log.clone()), NOW).await;
    let (mut publisher, mut gone) = (Client::new(), Client::new());
    gone.connect(&broker, info("gone", true, 1000), NOW).await;
    gone.subscribe(&broker, to("a/#", QoS::AtLeastOnce), NOW).await;
    gone.session = None;
    publisher.connect(&broker, info("publisher", true, 0), NOW).await;
    let never = message("a/first", "never expires", QoS::AtLeastOnce, false);
    publisher.publish(&broker, never, 1, NOW).await.unwrap();
    let rounds = many(6, 200);
    for round in 0..rounds {
        let now = later(2 * round as u64);
        broker.tick(now);
        for at in 0..1000 {
            let one = support::expiring(message(&format!("a/{at}"), "soon", QoS::AtLeastOnce, false), 1);
            publisher.publish(&broker, one, 1, now).await.unwrap();
        }
        broker.compact().await.unwrap();
    }
    let now = later(2 * rounds as u64);
    let stored = broker.snapshot().stored_bytes;
    assert!(stored < 1000 * 1000, "{stored} bytes");
    drop(publisher);
    drop(broker);
    log.close().await;
    let broker = open_with(config, Some(log_on(&memory)), now).await;
    let present = gone.connect(&broker, info("gone", false, 1000), now).await;
    assert!(present);
    gone.read(&broker, Answers::All, now).await;
    assert_eq!(gone.reliable.len(), 1, "what did not expire, from before all that did");
}

#[tokio::test]
async fn who_reads_goes_on_though_the_store_is_full_of_what_others_leave() {
    let memory = Memory::forgetful();
    let config = Config { stored_bytes_max: 1 << 20, ..Config::default() };
    let broker = open_with(config, Some(log_on(&memory)), NOW).await;
    let (mut publisher, mut reader) = (Client::new(), Client::new());
    publisher.connect(&broker, info("publisher", true, 0), NOW).await;
    reader.connect(&broker, info("reader", true, 1000), NOW).await;
    reader.subscribe(&broker, to("read", QoS::AtLeastOnce), NOW).await;
    let stuck = many(3, 30);
    for who in 0..stuck {
        let mut gone = Client::new();
        gone.connect(&broker, info(&format!("stuck{who}"), true, 1000), NOW).await;
        gone.subscribe(&broker, to(&format!("left/{who}"), QoS::AtLeastOnce), NOW).await;
    }
    let payload = "x".repeat(1000);
    for at in 0..2000 {
        let left = message(&format!("left/{}", at % stuck), &payload, QoS::AtLeastOnce, false);
        publisher.publish(&broker, left, 1, NOW).await.unwrap();
        let read = message("read", &payload, QoS::AtLeastOnce, false);
        publisher.publish(&broker, read, 1, NOW).await.unwrap();
        reader.read(&broker, Answers::All, NOW).await;
        assert_eq!(reader.reliable.len(), at + 1);
        let stored = broker.snapshot().stored_bytes;
        assert!(stored <= (1 << 20) * 5 / 4, "{stored}");
    }
    // Nothing is retained out of the reserve.
    let retained = message("kept", &payload, QoS::AtLeastOnce, true);
    assert_eq!(publisher.publish(&broker, retained, 1, NOW).await, Err(Reason::QuotaExceeded));
}

#[tokio::test]
async fn retained_messages_by_the_hundred_thousand() {
    let broker = open_with(Config::default(), None, NOW).await;
    let count = many(5_000, 100_000);
    let mut publisher = connect(&broker, "publisher");
    for at in 0..count {
        let name = format!("site{}/line{}/machine{at}/status", at % 10, at % 100);
        assert!(publish(&mut publisher, &message(&name, "on", QoS::AtMostOnce, true)).is_some());
    }
    assert_eq!(broker.snapshot().retained as usize, count);
    for (filter, expected) in [
        ("#", count),
        ("site3/#", count / 10),
        ("+/+/+/status", count),
        ("+/+/machine7/status", 1),
        ("site3/line13/+/+", count / 100),
        ("+/+/+/none", 0),
        ("none/#", 0),
        ("+/line5/#", count / 100),
    ] {
        let mut reader = connect(&broker, "reader");
        subscribe(&mut reader, filter, QoS::AtLeastOnce).unwrap();
        assert_eq!(drain(&mut reader), expected, "{filter}");
        // Nothing comes twice.
        assert_eq!(drain(&mut reader), 0, "{filter}");
    }
}

#[tokio::test]
async fn retained_messages_behind_a_filter_that_has_none_come_at_once() {
    let broker = open(None).await;
    let (mut publisher, mut reader) = (connect(&broker, "publisher"), connect(&broker, "reader"));
    publish(&mut publisher, &message("there", "1", QoS::AtMostOnce, true));
    let filters: Vec<Subscription> = ["none/+", "nothing", "there", "+/none"]
        .into_iter()
        .map(|filter| to(filter, QoS::AtMostOnce))
        .collect();
    reader.subscribe(&filters, NOW).unwrap();
    // As a door does: it takes while there is more, then waits for the bell.
    let mut out = Vec::new();
    loop {
        while reader.take(NOW, 16, &mut out).unwrap() {}
        if !out.is_empty() {
            break;
        }
        tokio::time::timeout(std::time::Duration::from_secs(10), reader.rung()).await.unwrap();
    }
    assert_eq!(out.len(), 1);
}

#[tokio::test]
async fn retained_messages_that_are_owed_outlive_the_connection() {
    // [MQTT-3.3.1-9] of 5.0
    let broker = open(None).await;
    let mut publisher = connect(&broker, "publisher");
    for at in 0..1000 {
        publish(&mut publisher, &message(&format!("a/{at}"), "1", QoS::AtMostOnce, true));
    }
    let mut reader = broker.connect(info("reader", true, 100), NOW).unwrap().session;
    subscribe(&mut reader, "a/#", QoS::AtLeastOnce).unwrap();
    let mut out = Vec::new();
    reader.take(NOW, 10, &mut out).unwrap();
    drop(reader);
    let again = broker.connect(info("reader", false, 100), NOW).unwrap();
    assert!(again.session_present);
    let mut reader = again.session;
    let count = drain(&mut reader);
    // Those of quality 0 that were in the queue went with the connection.
    assert!((900..=1000).contains(&count), "{count}");
}

#[tokio::test]
async fn subscriptions_by_the_million() {
    let clients = many(200, 10_000);
    let each = 100;
    let config = Config { sessions_max: clients + 1, ..Config::default() };
    let broker = open_with(config, None, NOW).await;
    let mut sessions: Vec<SessionHandle> = Vec::new();
    for client in 0..clients {
        let mut session = connect(&broker, &format!("client{client}"));
        let mut filters = vec![
            to(&format!("plant/{}/+/state", client % 50), QoS::AtLeastOnce),
            to("plant/+/alarm", QoS::AtLeastOnce),
        ];
        filters.extend(
            (2..each).map(|at| to(&format!("plant/{}/c{client}/p{at}", client % 50), QoS::AtMostOnce)),
        );
        let granted = session.subscribe(&filters, NOW).unwrap();
        assert!(granted.answers.iter().all(Result::is_ok));
        sessions.push(session);
    }
    let full = broker.snapshot();
    assert_eq!(full.subscriptions as usize, clients * each);
    let bytes = full.subscription_bytes as usize / (clients * each);
    assert!(bytes < 150, "{bytes} bytes for each subscription");
    let mut publisher = connect(&broker, "publisher");
    for (topic, expected) in [
        ("plant/7/c7/p50", 1),
        ("plant/7/x/state", clients / 50),
        ("plant/x/alarm", clients),
        ("plant/x/y", 0),
    ] {
        publish(&mut publisher, &message(topic, "1", QoS::AtMostOnce, false));
        let got: usize = sessions.iter_mut().map(drain).sum();
        assert_eq!(got, expected, "{topic}");
    }
    drop(sessions);
    let empty = broker.snapshot();
    assert_eq!((empty.subscriptions, empty.sessions), (0, 1));
}

#[tokio::test]
async fn payloads_of_256_kb_and_a_name_of_65535_bytes() {
    let memory = Memory::forgetful();
    let log = log_on(&memory);
    let broker = open(Some(log.clone())).await;
    let long = format!("long/{}", "é".repeat((65_535 - 5) / 2));
    assert_eq!(long.len(), 65_535);
    let deep = "/".repeat(65_535);
    let payload = "x".repeat(256 * 1024);
    let mut reader = Client::new();
    reader.connect(&broker, info("reader", true, 1000), NOW).await;
    for filter in ["#", &long, &deep] {
        reader.subscribe(&broker, to(filter, QoS::ExactlyOnce), NOW).await;
    }
    let mut publisher = Client::new();
    publisher.connect(&broker, info("publisher", true, 0), NOW).await;
    let rounds = many(2, 50);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for _ in 0..rounds {
            for name in [&long, &deep] {
                publisher.publish(&broker, message(name, &payload, qos, false), 1, NOW).await.unwrap();
                reader.read(&broker, Answers::All, NOW).await;
            }
        }
    }
    assert_eq!((reader.plain.len(), reader.reliable.len()), (2 * rounds, 4 * rounds));
    assert!(reader.reliable.iter().all(|got| got.payload.len() == payload.len()));
    for name in [&long, &deep] {
        publisher.publish(&broker, message(name, &payload, QoS::AtLeastOnce, true), 1, NOW).await.unwrap();
    }
    // One byte more is no name at all.
    let more = message(&format!("{long}x"), "x", QoS::AtMostOnce, false);
    assert_eq!(publisher.publish(&broker, more, 1, NOW).await, Err(Reason::TopicNameInvalid));
    // Subscriptions, the queue and what is retained come back from disk.
    (publisher.session, reader.session) = (None, None);
    reader.reliable.clear();
    broker.synced().await.unwrap();
    drop(broker);
    log.close().await;
    let broker = open(Some(log_on(&memory))).await;
    assert!(reader.connect(&broker, info("reader", false, 1000), NOW).await);
    reader.read(&broker, Answers::All, NOW).await;
    assert_eq!(reader.reliable.len(), 2);
    let mut late = Client::new();
    late.connect(&broker, info("late", true, 0), NOW).await;
    late.subscribe(&broker, to("long/+", QoS::AtLeastOnce), NOW).await;
    late.subscribe(&broker, to(&format!("{}#", "+/".repeat(30_000)), QoS::AtLeastOnce), NOW).await;
    late.read(&broker, Answers::All, NOW).await;
    assert_eq!(late.reliable.len(), 2);
}

#[tokio::test]
async fn hostile_filters_are_refused_before_they_cost_much() {
    let config = Config { subscription_bytes_max: 8 << 20, ..Config::default() };
    let broker = open_with(config, None, NOW).await;
    let mut sessions: Vec<SessionHandle> =
        (0..4).map(|at| connect(&broker, &format!("client{at}"))).collect();
    // Deep ones: each level costs a node.
    let mut refused = 0;
    for (who, session) in sessions.iter_mut().enumerate() {
        for at in 0..10 {
            let filter = format!("{who}/{at}/{}", "a/".repeat(20_000));
            refused +=
                usize::from(subscribe(session, &filter, QoS::AtMostOnce) == Err(Reason::QuotaExceeded));
        }
    }
    assert!(refused > 20, "{refused}");
    let bytes = broker.snapshot().subscription_bytes;
    assert!(bytes < 16 << 20, "{bytes}");
    // Who goes gives back what it took.
    sessions.clear();
    let mut session = connect(&broker, "client");
    assert_eq!(subscribe(&mut session, "a/b", QoS::AtMostOnce), Ok(QoS::AtMostOnce));
    // All ways to write a name of many levels; the message comes once.
    let levels = 12;
    for bits in 0..(1 << levels) {
        let levels: Vec<&str> = (0..levels).map(|at| if bits >> at & 1 == 1 { "+" } else { "x" }).collect();
        subscribe(&mut session, &levels.join("/"), QoS::AtMostOnce).unwrap();
    }
    let mut publisher = connect(&broker, "publisher");
    publish(&mut publisher, &message(&vec!["x"; levels].join("/"), "1", QoS::AtMostOnce, false));
    assert_eq!(drain(&mut session), 1);
}

#[tokio::test]
async fn as_many_filters_as_a_session_may_have() {
    let broker = open(None).await;
    let mut session = connect(&broker, "client");
    let max = Config::default().subscriptions_max;
    let filters: Vec<Subscription> = (0..=max).map(|at| to(&format!("a/{at}"), QoS::AtMostOnce)).collect();
    for _ in 0..2 {
        let granted = session.subscribe(&filters, NOW).unwrap();
        assert_eq!(granted.answers.iter().filter(|answer| answer.is_ok()).count(), max);
        assert_eq!(granted.answers[max], Err(Reason::QuotaExceeded));
    }
    let texts: Vec<_> = filters.iter().map(|one| one.filter.clone()).collect();
    let gone = session.unsubscribe(&texts, NOW).unwrap();
    assert_eq!(gone.answers.iter().filter(|answer| answer.is_ok()).count(), max);
    assert_eq!(broker.snapshot().subscriptions, 0);
}

#[tokio::test]
async fn a_client_of_3_1_1_was_told_of_no_receive_maximum() {
    let config = Config { receive_maximum: 10, ..Config::default() };
    let broker = open_with(config, None, NOW).await;
    for (version, taken) in [(Version::V3, 1000), (Version::V5, 10)] {
        let mut client = info("client", true, 0);
        client.version = version;
        let mut session = broker.connect(client, NOW).unwrap().session;
        let mut count = 0;
        for id in 1..=1000 {
            let mut one = message("a", "x", QoS::ExactlyOnce, false);
            one.packet_id = std::num::NonZeroU16::new(id);
            match session.publish(&one, NOW, &mut Wakes::new()) {
                Ok(_) => count += 1,
                Err(reason) => {
                    assert_eq!(reason, Reason::ReceiveMaximumExceeded);
                    break;
                }
            }
        }
        assert_eq!(count, taken);
    }
}

#[tokio::test]
async fn a_will_does_not_come_back_to_who_wants_nothing_of_its_own() {
    // [MQTT-3.8.3-3] of 5.0
    let broker = open(None).await;
    let mut client = info("client", true, 100);
    client.will =
        Some(ironbrook_pubsub::Will { topic: "a".into(), qos: QoS::AtLeastOnce, ..Default::default() });
    let mut session = broker.connect(client, NOW).unwrap().session;
    let mut own = to("a", QoS::AtLeastOnce);
    own.options.no_local = true;
    session.subscribe(&[own, to("b", QoS::AtLeastOnce)], NOW).unwrap();
    let mut other = connect(&broker, "other");
    subscribe(&mut other, "a", QoS::AtLeastOnce).unwrap();
    drop(session);
    let mut session = broker.connect(info("client", false, 100), NOW).unwrap().session;
    assert_eq!((drain(&mut session), drain(&mut other)), (0, 1));
}

#[tokio::test]
async fn a_group_of_thousands_gets_each_message_once() {
    let members = many(500, 20_000);
    let broker = open(None).await;
    let mut sessions: Vec<SessionHandle> =
        (0..members).map(|at| connect(&broker, &format!("m{at}"))).collect();
    for session in &mut sessions {
        subscribe(session, "$share/all/work/#", QoS::AtLeastOnce).unwrap();
    }
    let mut publisher = connect(&broker, "publisher");
    for at in 0..2 * members {
        publish(&mut publisher, &message(&format!("work/{at}"), "x", QoS::AtMostOnce, false));
    }
    for session in &mut sessions {
        assert_eq!(drain(session), 2, "in turn");
    }
    // Who is gone is skipped.
    sessions.truncate(1);
    for at in 0..10 {
        publish(&mut publisher, &message(&format!("work/{at}"), "x", QoS::AtMostOnce, false));
    }
    assert_eq!(drain(&mut sessions[0]), 10);
}
