//! The power is cut at a random disk operation of a whole hub with ordinary topics. What a publisher got a PUBACK or PUBCOMP for
//! comes to every persistent subscriber, and from topics that are devices to the events endpoint, in order; what comes twice was
//! not acknowledged yet by whoever it was for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use futures_util::FutureExt as _;
use ironbrook_client::topics::{Client, ConnectionState, Message, Messages, QoS, Received};
use ironbrook_log::Memory;
use ironbrook_model::SystemProperty;
use ironbrook_testkit::{BRIDGED, Node};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Power cuts in a quick run, and with `IRONBROOK_SLOW` in the environment.
const CUTS: u64 = 40;
const CUTS_SLOW: u64 = 1000;
/// After so many cuts the storage is begun anew, so that checks stay quick.
const CUTS_PER_STORAGE: u64 = 6;
/// Longest time anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
const KEPT: Duration = Duration::from_secs(100_000);
const DEVICES: [&str; 2] = ["a", "b"];
/// What is published to: two topics that are devices, two that are not.
const TOPICS: [(&str, QoS); 4] = [
    ("plant/a/telemetry", QoS::AtLeastOnce),
    ("plant/b/telemetry", QoS::ExactlyOnce),
    ("line/1", QoS::AtLeastOnce),
    ("line/2", QoS::ExactlyOnce),
];

/// Of one topic: the numbers acknowledged, and the next number to publish.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<u64>,
    next: u64,
}

/// A client with a persistent session, and what it got, in order of coming.
struct Subscriber {
    id: &'static str,
    qos: QoS,
    is_new: bool,
    got: BTreeMap<String, Vec<u64>>,
    /// Messages that came once more.
    again: u64,
}

#[derive(Default)]
struct World {
    sent: BTreeMap<&'static str, Sent>,
    /// Events that were there twice at the last look.
    again_at_events: usize,
    subscribers: Vec<Subscriber>,
}

#[derive(Default, Debug)]
struct Totals {
    acknowledged: usize,
    again_to_subscribers: u64,
    again_at_events: usize,
}

impl World {
    fn new() -> Self {
        let subscriber = |id, qos| Subscriber { id, qos, is_new: true, got: BTreeMap::new(), again: 0 };
        let subscribers = [("at least once", QoS::AtLeastOnce), ("exactly once", QoS::ExactlyOnce)];
        Self {
            sent: BTreeMap::new(),
            again_at_events: 0,
            subscribers: subscribers.map(|(id, qos)| subscriber(id, qos)).into(),
        }
    }

    fn acknowledged(&self) -> usize {
        self.sent.values().map(|sent| sent.acknowledged.len()).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_publisher_was_told_survives_every_power_cut() {
    let cuts = if std::env::var_os("IRONBROOK_SLOW").is_some() { CUTS_SLOW } else { CUTS };
    let (mut storage, mut world, mut totals) = (Memory::new(), World::new(), Totals::default());
    for cut in 0..cuts {
        if cut % CUTS_PER_STORAGE == 0 {
            (storage, world) = (Memory::new(), World::new());
        }
        let before = world.acknowledged();
        let mut random = StdRng::seed_from_u64(cut);
        storage = tokio::time::timeout(PATIENCE, load_until_cut(storage, &mut world, &mut random))
            .await
            .expect("the cut ends the load");
        totals.acknowledged += world.acknowledged() - before;
        tokio::time::timeout(PATIENCE, check(&storage, &mut world, cut, &mut totals))
            .await
            .unwrap_or_else(|_| panic!("cut {cut}: not all that was acknowledged came"));
    }
    println!("{cuts} power cuts: {totals:?}");
    assert!(totals.acknowledged as u64 > 10 * cuts, "{totals:?}: the test tests nothing");
}

/// Publishes and reads until the power goes off, and gives the storage as it is found afterwards.
async fn load_until_cut(storage: Memory, world: &mut World, random: &mut StdRng) -> Memory {
    let node = Node::start_with_topics(Arc::new(storage.clone()), &DEVICES).await.unwrap();
    let (stop, mut publishers, mut readers) = (CancellationToken::new(), JoinSet::new(), JoinSet::new());
    let mut away = Vec::new();
    for mut subscriber in world.subscribers.drain(..) {
        let (client, messages) = connect(&node, &mut subscriber).await;
        if random.random_bool(0.3) {
            client.close().await.unwrap();
            away.push(subscriber);
        } else {
            readers.spawn(read(subscriber, client, messages, stop.clone()));
        }
    }
    for (topic, qos) in TOPICS {
        let sent = world.sent.remove(topic).unwrap_or_default();
        let (client, _) = node.topics(&format!("publisher of {topic}")).connect().await.unwrap();
        publishers.spawn(publish(topic, qos, client, sent, stop.clone()));
    }
    storage.power_off_after(random.random_range(1..150));
    node.failed().await;
    stop.cancel();
    while let Some(publisher) = publishers.join_next().await {
        let (topic, sent) = publisher.unwrap();
        world.sent.insert(topic, sent);
    }
    while let Some(reader) = readers.join_next().await {
        world.subscribers.push(reader.unwrap());
    }
    world.subscribers.append(&mut away);
    node.stop().await;
    storage.power_cut(random.random())
}

async fn connect(node: &Node, subscriber: &mut Subscriber) -> (Client, Messages) {
    let builder = node.topics(subscriber.id).clean_start(false).session_expiry(KEPT);
    let (client, messages) = builder.connect().await.unwrap();
    let is_new = matches!(&*client.state().borrow(), ConnectionState::Connected { session_present: false });
    assert!(is_new || !subscriber.is_new, "a session that nobody made");
    if is_new {
        assert!(subscriber.is_new, "{}: the session is lost", subscriber.id);
        client.subscribe("line/#", subscriber.qos).await.unwrap();
        subscriber.is_new = false;
    }
    (client, messages)
}

async fn read(
    mut subscriber: Subscriber,
    client: Client,
    mut messages: Messages,
    stop: CancellationToken,
) -> Subscriber {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            received = messages.next() => match received {
                Some(received) => subscriber.took(&received),
                None => break,
            }
        }
    }
    drop(client);
    subscriber
}

impl Subscriber {
    fn took(&mut self, received: &Received) {
        let topic = received.message.topic.to_string();
        let number = number(&received.message.payload);
        let got = self.got.entry(topic).or_default();
        if got.contains(&number) {
            assert!(received.duplicate, "{}: {number} came again without a sign", self.id);
            self.again += 1;
        } else {
            got.push(number);
        }
    }

    fn has(&self, topic: &str, number: u64) -> bool {
        self.got.get(topic).is_some_and(|got| got.contains(&number))
    }
}

async fn publish(
    topic: &'static str,
    qos: QoS,
    client: Client,
    mut sent: Sent,
    stop: CancellationToken,
) -> (&'static str, Sent) {
    let mut under_way = VecDeque::new();
    while !stop.is_cancelled() {
        let message = Message::new(topic, format!(r#"{{"n": {}}}"#, sent.next)).qos(qos);
        tokio::select! {
            () = stop.cancelled() => break,
            receipt = client.enqueue(message) => {
                let Ok(receipt) = receipt else { break };
                under_way.push_back((sent.next, receipt));
                sent.next += 1;
            }
        }
        if under_way.len() >= 16 {
            let Some((number, receipt)) = under_way.front_mut() else { break };
            tokio::select! {
                () = stop.cancelled() => break,
                result = receipt => {
                    sent.acknowledged.extend(result.is_ok().then_some(*number));
                    under_way.pop_front();
                }
            }
        }
    }
    // What was acknowledged before the cut but not looked at yet counts as well.
    for (number, receipt) in under_way {
        if let Some(Ok(_)) = receipt.now_or_never() {
            sent.acknowledged.push(number);
        }
    }
    (topic, sent)
}

/// Reads until all that was acknowledged has come, and looks at the order.
async fn check(storage: &Memory, world: &mut World, cut: u64, totals: &mut Totals) {
    let node = Node::start_with_topics(Arc::new(storage.clone()), &DEVICES).await.unwrap();
    let (bridged, ordinary): (Vec<_>, Vec<_>) =
        world.sent.iter().partition(|(topic, _)| topic.starts_with("plant/"));
    for subscriber in &mut world.subscribers {
        let (client, mut messages) = connect(&node, subscriber).await;
        let wanted = |subscriber: &Subscriber| {
            let all = |sent: &Sent, topic: &str| sent.acknowledged.iter().all(|n| subscriber.has(topic, *n));
            ordinary.iter().all(|(topic, sent)| all(sent, topic))
        };
        while !wanted(subscriber) {
            let received = tokio::time::timeout(PATIENCE / 2, messages.next()).await;
            let Ok(Some(received)) = received else { break };
            subscriber.took(&received);
        }
        client.close().await.unwrap();
        for (topic, sent) in &ordinary {
            let lost = sent.acknowledged.iter().filter(|number| !subscriber.has(topic, **number));
            let lost: Vec<_> = lost.collect();
            assert!(lost.is_empty(), "cut {cut}: {} did not get {lost:?} of {topic}", subscriber.id);
            let got = subscriber.got.get(**topic).map(Vec::as_slice).unwrap_or_default();
            assert!(got.is_sorted_by(|a, b| a < b), "cut {cut}: {}: {topic} out of order", subscriber.id);
        }
        totals.again_to_subscribers += std::mem::take(&mut subscriber.again);
    }
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        pause.tick().await;
        let events = events(&node).await;
        let found = |topic: &str, number: u64| events.get(topic).is_some_and(|got| got.contains(&number));
        let has_all =
            |(topic, sent): &(&&str, &Sent)| sent.acknowledged.iter().all(|number| found(topic, *number));
        if bridged.iter().all(has_all) {
            let mut again = 0;
            for (topic, got) in events {
                let mut seen = HashSet::new();
                let first: Vec<_> = got.iter().filter(|number| seen.insert(**number)).collect();
                assert!(first.is_sorted(), "cut {cut}: {topic} out of order");
                again += got.len() - first.len();
            }
            totals.again_at_events += again - std::mem::replace(&mut world.again_at_events, again);
            break;
        }
    }
    node.stop().await;
}

/// The numbers at the events endpoint by the topic they were published on.
async fn events(node: &Node) -> BTreeMap<String, Vec<u64>> {
    let mut events = BTreeMap::<String, Vec<u64>>::new();
    for event in node.events().await {
        let device = event.message.system.get(SystemProperty::ConnectionDeviceId).unwrap();
        let topic = BRIDGED.replace("{device}", device);
        events.entry(topic).or_default().push(number(&event.message.body));
    }
    events
}

fn number(body: &[u8]) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["n"].as_u64().unwrap()
}
