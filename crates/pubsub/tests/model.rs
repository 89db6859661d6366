//! The broker against a naive model of MQTT's semantics, under random operations: connects, takeovers, losses, restarts.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use ironbrook_log::{Log, Memory, SegmentLog};
use ironbrook_pubsub::topic::matches;
use ironbrook_pubsub::{Broker, QoS, SubscriptionOptions, Version, Will};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use support::{Answers, Client, Got, NOW, info, log_on, message, open, to};

const CLIENTS: usize = 3;
const TOPICS: &[&str] = &["a", "a/b", "a/c", "b", "$x/a"];
const FILTERS: &[&str] = &["a", "a/b", "a/+", "a/#", "#", "+", "b", "$x/#", "+/b"];

#[derive(Debug, Clone)]
enum Op {
    Connect { who: usize, clean: bool, keeps: bool, will: bool, v3: bool },
    Disconnect(usize),
    Lose(usize),
    Subscribe { who: usize, filter: usize, qos: u8, no_local: bool, as_published: bool, id: u32 },
    Unsubscribe(usize, usize),
    Publish { who: usize, topic: usize, qos: u8, retain: bool, empty: bool, times: usize },
    Read(usize, Answers),
    Restart,
    Compact,
}

/// What the standard says of a session.
#[derive(Default, Clone)]
struct Session {
    alive: bool,
    connected: bool,
    keeps: bool,
    will: Option<String>,
    subscriptions: BTreeMap<&'static str, SubscriptionOptions>,
    reliable: Vec<Got>,
    plain: Vec<Got>,
}

#[derive(Default)]
struct Model {
    sessions: Vec<Session>,
    retained: BTreeMap<&'static str, (String, u8)>,
    count: usize,
}

impl Model {
    fn publish(&mut self, topic: &'static str, payload: &str, qos: u8, retain: bool, by: Option<usize>) {
        if retain && payload.is_empty() {
            self.retained.remove(topic);
        } else if retain {
            self.retained.insert(topic, (payload.to_owned(), qos));
        }
        for (who, session) in self.sessions.iter_mut().enumerate().filter(|(_, session)| session.alive) {
            let fits: Vec<_> = session
                .subscriptions
                .iter()
                .filter(|(filter, options)| matches(filter, topic) && !(options.no_local && by == Some(who)))
                .map(|(_, options)| options)
                .collect();
            let Some(best) = fits.iter().map(|options| options.qos.level()).max() else { continue };
            let mut ids: Vec<u32> =
                fits.iter().filter_map(|options| options.id).map(NonZeroU32::get).collect();
            ids.sort_unstable();
            let got = Got {
                topic: topic.to_owned(),
                payload: payload.to_owned(),
                qos: best.min(qos),
                retain: retain && fits.iter().any(|options| options.retain_as_published),
                ids,
            };
            if got.qos > 0 {
                session.reliable.push(got);
            } else if session.connected {
                session.plain.push(got);
            }
        }
    }

    fn retained_for(&mut self, who: usize, filter: &str, options: SubscriptionOptions) {
        for (topic, (payload, qos)) in self.retained.iter().filter(|(topic, _)| matches(filter, topic)) {
            let got = Got {
                topic: (*topic).to_owned(),
                payload: payload.clone(),
                qos: options.qos.level().min(*qos),
                retain: true,
                ids: options.id.map(NonZeroU32::get).into_iter().collect(),
            };
            let session = &mut self.sessions[who];
            if got.qos > 0 { session.reliable.push(got) } else { session.plain.push(got) }
        }
    }

    /// The connection goes; the will comes back where it is to be published.
    fn leave(&mut self, who: usize, with_will: bool) {
        let session = &mut self.sessions[who];
        if !session.connected {
            return;
        }
        session.connected = false;
        session.plain.clear();
        let will = session.will.take().filter(|_| with_will);
        if !session.keeps {
            *session = Session::default();
        }
        if let Some(will) = will {
            self.publish("a", &will, 1, false, Some(who));
        }
    }
}

struct World {
    memory: Option<Memory>,
    log: Option<Arc<SegmentLog>>,
    broker: Broker,
    clients: Vec<Client>,
    model: Model,
}

impl World {
    async fn new(durable: bool) -> Self {
        let memory = durable.then(Memory::forgetful);
        let log = memory.as_ref().map(log_on);
        let broker = open(log.clone()).await;
        let clients = (0..CLIENTS).map(|_| Client::new()).collect();
        let model = Model { sessions: vec![Session::default(); CLIENTS], ..Model::default() };
        Self { memory, log, broker, clients, model }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Connect { who, clean, keeps, will, v3 } => self.connect(who, clean, keeps, will, v3).await,
            Op::Disconnect(who) => {
                if let Some(session) = self.clients[who].session.take() {
                    session.disconnect(false, None, NOW).unwrap();
                }
                self.model.leave(who, false);
                self.check_gone(who);
            }
            Op::Lose(who) => {
                self.clients[who].session = None;
                self.model.leave(who, true);
                self.check_gone(who);
            }
            Op::Subscribe { who, filter, qos, no_local, as_published, id } => {
                if self.clients[who].session.is_some() {
                    self.subscribe(who, FILTERS[filter], qos, no_local, as_published, id).await;
                }
            }
            Op::Unsubscribe(who, filter) => {
                let Some(session) = &mut self.clients[who].session else { return };
                let known = self.model.sessions[who].subscriptions.remove(FILTERS[filter]).is_some();
                let granted = session.unsubscribe(&[FILTERS[filter].into()], NOW).unwrap();
                assert_eq!(granted.answers[0].is_ok(), known);
            }
            Op::Publish { who, topic, qos, retain, empty, times } => {
                if self.clients[who].session.is_none() {
                    return;
                }
                self.model.count += 1;
                let payload = if empty { String::new() } else { self.model.count.to_string() };
                let level = QoS::from_level(qos).unwrap();
                let publish = message(TOPICS[topic], &payload, level, retain);
                self.clients[who].publish(&self.broker, publish, times, NOW).await.unwrap();
                self.model.publish(TOPICS[topic], &payload, qos, retain, Some(who));
            }
            Op::Read(who, answers) => self.read(who, answers).await,
            Op::Restart => self.restart().await,
            Op::Compact => self.broker.compact().await.unwrap(),
        }
    }

    async fn connect(&mut self, who: usize, clean: bool, keeps: bool, will: bool, v3: bool) {
        self.model.count += 1;
        let text = format!("will {}", self.model.count);
        let expiry = if keeps { 1000 } else { 0 };
        let mut info = info(&format!("client{who}"), clean, expiry);
        info.receive_maximum = 5;
        if v3 {
            info.version = Version::V3;
        }
        info.will = will.then(|| Will {
            topic: "a".into(),
            payload: text.clone().into(),
            qos: QoS::AtLeastOnce,
            ..Will::default()
        });
        let present = self.clients[who].connect(&self.broker, info, NOW).await;
        let session = &self.model.sessions[who];
        // A will without delay goes out whoever comes; before the session is emptied, so that it may hold it itself.
        let goes_on = !clean && session.alive && session.keeps;
        if clean && session.connected {
            self.model.sessions[who].keeps = false;
        }
        self.leave_by_takeover(who);
        if !goes_on {
            self.model.sessions[who] = Session::default();
            self.clients[who].reliable.clear();
            self.clients[who].plain.clear();
        }
        assert_eq!(present, goes_on);
        let session = &mut self.model.sessions[who];
        (session.alive, session.connected, session.keeps) = (true, true, keeps);
        session.will = will.then_some(text);
        self.clients[who].plain.clear();
    }

    fn leave_by_takeover(&mut self, who: usize) {
        // The successor is there when the will goes out: it gets it where it goes on, but as a connected client.
        let session = &mut self.model.sessions[who];
        if !session.connected {
            return;
        }
        session.plain.clear();
        let will = session.will.take();
        if !session.keeps {
            *session = Session::default();
        }
        if let Some(will) = will {
            self.model.publish("a", &will, 1, false, Some(who));
        }
    }

    fn check_gone(&mut self, who: usize) {
        self.clients[who].plain.clear();
        if !self.model.sessions[who].alive {
            self.clients[who].reliable.clear();
        }
    }

    async fn subscribe(
        &mut self,
        who: usize,
        filter: &'static str,
        qos: u8,
        no_local: bool,
        rap: bool,
        id: u32,
    ) {
        // Retained messages come between others; with nothing else in the queue their place is sure.
        self.read(who, Answers::All).await;
        let mut subscription = to(filter, QoS::from_level(qos).unwrap());
        subscription.options.no_local = no_local;
        subscription.options.retain_as_published = rap;
        subscription.options.id = NonZeroU32::new(id);
        let options = subscription.options;
        self.clients[who].subscribe(&self.broker, subscription, NOW).await;
        self.model.sessions[who].subscriptions.insert(filter, options);
        self.model.retained_for(who, filter, options);
        self.read(who, Answers::All).await;
    }

    /// With all answers given everything has come; else what came is a beginning of it.
    async fn read(&mut self, who: usize, answers: Answers) {
        if self.clients[who].session.is_none() {
            return;
        }
        self.clients[who].read(&self.broker, answers, NOW).await;
        let (client, session) = (&mut self.clients[who], &mut self.model.sessions[who]);
        assert!(client.again.is_empty(), "{:?}", client.again);
        assert_eq!(client.plain, session.plain);
        client.plain.clear();
        session.plain.clear();
        if answers == Answers::All {
            // What was left open on an earlier connection came again and was answered.
            assert!(client.unacknowledged.is_empty() && client.received.is_empty());
            assert_eq!(client.reliable, session.reliable);
            client.reliable.clear();
            session.reliable.clear();
        } else {
            assert!(
                session.reliable.starts_with(&client.reliable),
                "{:?} {:?}",
                session.reliable,
                client.reliable
            );
        }
    }

    /// The process goes down in order and comes up again: connections are lost, the rest is as it was.
    async fn restart(&mut self) {
        let Some(memory) = self.memory.clone() else { return };
        for who in 0..CLIENTS {
            self.clients[who].session = None;
            self.model.leave(who, true);
            self.check_gone(who);
        }
        self.broker.synced().await.unwrap();
        if let Some(log) = self.log.take() {
            log.close().await;
        }
        self.log = Some(log_on(&memory));
        self.broker = open(self.log.clone()).await;
    }
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..CLIENTS;
    let answers = prop::sample::select(vec![Answers::All, Answers::Half, Answers::None]);
    prop_oneof![
        4 => (who.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.7), any::<bool>(), any::<bool>())
            .prop_map(|(who, clean, keeps, will, v3)| Op::Connect { who, clean, keeps, will, v3 }),
        1 => who.clone().prop_map(Op::Disconnect),
        1 => who.clone().prop_map(Op::Lose),
        4 => (who.clone(), 0..FILTERS.len(), 0u8..3, prop::bool::weighted(0.2), any::<bool>(), 0u32..3).prop_map(
            |(who, filter, qos, no_local, as_published, id)|
                Op::Subscribe { who, filter, qos, no_local, as_published, id }),
        1 => (who.clone(), 0..FILTERS.len()).prop_map(|(who, filter)| Op::Unsubscribe(who, filter)),
        10 => (who.clone(), 0..TOPICS.len(), 0u8..3, prop::bool::weighted(0.3), prop::bool::weighted(0.1), 1usize..3)
            .prop_map(|(who, topic, qos, retain, empty, times)|
                Op::Publish { who, topic, qos, retain, empty, times }),
        4 => (who, answers).prop_map(|(who, answers)| Op::Read(who, answers)),
        1 => Just(Op::Restart),
        1 => Just(Op::Compact),
    ]
}

fn run(ops: Vec<Op>, durable: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(durable).await;
        for op in ops {
            world.apply(op).await;
        }
        for who in 0..CLIENTS {
            world.read(who, Answers::All).await;
        }
        if let Some(log) = world.log {
            log.close().await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_it_does_what_the_standard_says(ops in prop::collection::vec(op(), 1..150)) {
        run(ops, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_a_journal_and_restarts_it_does_the_same(ops in prop::collection::vec(op(), 1..150)) {
        run(ops, true);
    }
}
