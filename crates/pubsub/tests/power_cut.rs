//! The power is cut at a random disk operation under load. What a publisher was told is safe comes to every persistent subscriber,
//! in order; with QoS 2 it comes once.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use ironbrook_log::Memory;
use ironbrook_pubsub::{Broker, Outgoing, QoS, Reason, SessionHandle, Wakes};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;
use support::{NOW, info, log_on, message, open, to};

/// Power cuts in a quick run, and with `IRONBROOK_SLOW` in the environment.
const CUTS: u64 = 200;
const CUTS_SLOW: u64 = 1000;
/// After so many cuts all begins anew, so that checks stay quick.
const CUTS_PER_STORAGE: u64 = 8;
/// How long sessions last without a connection, in seconds.
const EXPIRY: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with a session that outlives connections.
struct Subscriber {
    id: &'static str,
    qos: QoS,
    session: Option<SessionHandle>,
    is_new: bool,
    /// QoS 2 identifiers that came and are not released: the client's own part of the session, which no power cut takes.
    held: BTreeSet<u16>,
    got: Vec<u64>,
    /// Messages that came with DUP although they had come before: with QoS 1 after a cut.
    again: u64,
}

impl Subscriber {
    fn new(id: &'static str, qos: QoS) -> Self {
        let (session, held, got) = (None, BTreeSet::new(), Vec::new());
        Self { id, qos, session, is_new: true, held, got, again: 0 }
    }

    async fn connect(&mut self, broker: &Broker) -> Result<(), Reason> {
        let connected = broker.connect(info(self.id, false, EXPIRY), NOW)?;
        if let Some(mark) = connected.mark {
            broker.durable(mark).await?;
        }
        assert!(self.is_new || connected.session_present, "{}: the session is lost", self.id);
        let session = self.session.insert(connected.session);
        if self.is_new {
            let granted = session.subscribe(&[to("t/#", self.qos)], NOW)?;
            granted.answers[0]?;
            if let Some(mark) = granted.mark {
                broker.durable(mark).await?;
            }
            self.is_new = false;
        }
        Ok(())
    }

    /// Takes and answers what is there.
    async fn read(&mut self, broker: &Broker) -> Result<(), Reason> {
        // What waits for a sync comes a moment after it: nothing more is there when it stays quiet.
        let mut quiet = 0;
        while quiet < 3 {
            broker.synced().await?;
            let Some(session) = &mut self.session else { return Ok(()) };
            let mut out = Vec::new();
            session.take(NOW, 7, &mut out)?;
            quiet = if out.is_empty() { quiet + 1 } else { 0 };
            for packet in out {
                self.packet(broker, packet).await?;
            }
        }
        Ok(())
    }

    async fn packet(&mut self, broker: &Broker, packet: Outgoing) -> Result<(), Reason> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let publish = match packet {
            Outgoing::PubRel(id) => {
                self.held.remove(&id.get());
                return session.pubcomp(id);
            }
            Outgoing::Publish(publish) => publish,
        };
        let number = std::str::from_utf8(&publish.message.payload).unwrap().parse().unwrap();
        let id = publish.packet_id.unwrap();
        if publish.qos == QoS::AtLeastOnce {
            if self.got.contains(&number) {
                assert!(publish.dup, "{}: {number} again, without a sign", self.id);
                self.again += 1;
            } else {
                self.got.push(number);
            }
            return session.puback(id);
        }
        if self.held.insert(id.get()) {
            self.got.push(number);
        } else {
            assert!(publish.dup);
        }
        if let Some(mark) = session.pubrec(id, false, NOW)?.and_then(|answer| answer.mark) {
            broker.durable(mark).await?;
        }
        self.held.remove(&id.get());
        session.pubcomp(id)
    }
}

#[derive(Default)]
struct Publisher {
    next: u64,
    acknowledged: Vec<u64>,
}

impl Publisher {
    async fn publish(
        &mut self,
        broker: &Broker,
        session: &mut SessionHandle,
        retain: bool,
    ) -> Result<(), Reason> {
        let mut publish = message("t/a", &self.next.to_string(), QoS::ExactlyOnce, retain);
        let number = u16::try_from(self.next % 65_535 + 1).unwrap();
        publish.packet_id = NonZeroU16::new(number);
        self.next += 1;
        let answer = session.publish(&publish, NOW, &mut Wakes::new())?;
        if let Some(refused) = answer.reason.filter(|reason| !reason.is_success()) {
            return Err(refused);
        }
        if let Some(mark) = answer.mark {
            broker.durable(mark).await?;
        }
        // The PUBREC goes out: from here on it is the broker's.
        self.acknowledged.push(self.next - 1);
        if let Some(id) = publish.packet_id
            && let Some(mark) = session.pubrel(id, NOW)?.mark
        {
            broker.durable(mark).await?;
        }
        Ok(())
    }
}

struct World {
    subscribers: Vec<Subscriber>,
    publisher: Publisher,
    /// The newest message that was acknowledged as retained.
    retained: Option<u64>,
}

impl World {
    fn new() -> Self {
        let subscribers = vec![
            Subscriber::new("once or more", QoS::AtLeastOnce),
            Subscriber::new("once", QoS::ExactlyOnce),
            Subscriber::new("rarely there", QoS::ExactlyOnce),
        ];
        Self { subscribers, publisher: Publisher::default(), retained: None }
    }

    /// Publishes, reads and loses connections until the power is off.
    async fn live(&mut self, broker: &Broker, random: &mut StdRng) -> Result<(), Reason> {
        let mut sender = broker.connect(info("sender", true, 0), NOW)?.session;
        for subscriber in &mut self.subscribers {
            subscriber.connect(broker).await?;
        }
        loop {
            for _ in 0..random.random_range(1..6) {
                let retain = random.random_bool(0.3);
                self.publisher.publish(broker, &mut sender, retain).await?;
                if retain {
                    self.retained = self.publisher.acknowledged.last().copied();
                }
            }
            let who = random.random_range(0..self.subscribers.len());
            let subscriber = &mut self.subscribers[who];
            if who == 2 && random.random_bool(0.9) {
                subscriber.session = None;
            } else {
                if subscriber.session.is_none() {
                    subscriber.connect(broker).await?;
                }
                subscriber.read(broker).await?;
            }
            if random.random_bool(0.05) {
                broker.compact().await?;
            }
        }
    }

    /// Everything acknowledged has come to everybody, in order.
    async fn check(&mut self, broker: &Broker, cut: u64) {
        for subscriber in &mut self.subscribers {
            if subscriber.is_new {
                continue;
            }
            subscriber.connect(broker).await.unwrap();
            subscriber.read(broker).await.unwrap();
            subscriber.session = None;
            let (id, got) = (subscriber.id, &subscriber.got);
            assert!(got.is_sorted_by(|a, b| a < b), "cut {cut}, {id}: order, or one twice");
            for number in &self.publisher.acknowledged {
                assert!(
                    got.binary_search(number).is_ok(),
                    "cut {cut}, {id}: {number} was acknowledged and is lost"
                );
            }
        }
        if let Some(acknowledged) = self.retained {
            let mut late = Subscriber::new("late", QoS::AtLeastOnce);
            late.connect(broker).await.unwrap();
            late.read(broker).await.unwrap();
            let newest = late.got.last().copied();
            assert!(
                newest >= Some(acknowledged),
                "cut {cut}: {newest:?} is retained, {acknowledged} was acknowledged"
            );
            broker.connect(info("late", true, 0), NOW).unwrap().session.disconnect(false, None, NOW).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_comes_to_every_persistent_subscriber_after_every_power_cut() {
    let cuts = if std::env::var_os("IRONBROOK_SLOW").is_some() { CUTS_SLOW } else { CUTS };
    let (mut memory, mut world) = (Memory::new(), World::new());
    let (mut acknowledged, mut again) = (0, 0);
    for cut in 0..cuts {
        if cut % CUTS_PER_STORAGE == 0 {
            (memory, world) = (Memory::new(), World::new());
        }
        let before = world.publisher.acknowledged.len();
        let mut random = StdRng::seed_from_u64(cut);
        let broker = open(Some(log_on(&memory))).await;
        // The new subscribers' own first steps are part of it.
        memory.power_off_after(random.random_range(1..150));
        let lived = tokio::time::timeout(PATIENCE, world.live(&broker, &mut random)).await;
        assert!(lived.expect("the cut ends the load").is_err());
        for subscriber in &mut world.subscribers {
            subscriber.session = None;
        }
        drop(broker);
        memory = memory.power_cut(random.random());
        acknowledged += world.publisher.acknowledged.len() - before;
        let broker = open(Some(log_on(&memory))).await;
        tokio::time::timeout(PATIENCE, world.check(&broker, cut)).await.expect("all comes soon");
        again += world.subscribers.iter().map(|subscriber| subscriber.again).sum::<u64>();
        drop(broker);
    }
    println!("{cuts} cuts, {acknowledged} messages acknowledged, {again} came again with QoS 1");
    assert!(acknowledged as u64 > 5 * cuts, "only {acknowledged}: the test tests nothing");
}
