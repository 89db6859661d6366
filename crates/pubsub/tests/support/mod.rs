//! A client that keeps to the standard, and a broker on a log in memory.
#![allow(dead_code)] // each test uses its part

use bytes::Bytes;
use ironbrook_log::{Config as LogConfig, Log, Memory, PartitionId, Retention, SegmentLog};
use ironbrook_model::Timestamp;
use ironbrook_pubsub::acl::{Access, Acl, Rule};
use ironbrook_pubsub::{
    Broker, ClientInfo, Config, Outgoing, OutgoingPublish, Properties, Publish, QoS, Reason, SessionHandle,
    Subscription, SubscriptionOptions, Version, Wakes,
};
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A log with small segments, so that trimming shows.
pub fn log_on(memory: &Memory) -> Arc<SegmentLog> {
    let retention = Retention { max_age: None, max_bytes: None };
    let config = LogConfig { partitions: 1, segment_bytes: 16 * 1024, retention, ..LogConfig::default() };
    Arc::new(SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config).unwrap())
}

pub async fn open_with(config: Config, log: Option<Arc<SegmentLog>>, now: Timestamp) -> Broker {
    let journal = log.map(|log| (log as Arc<dyn Log>, PartitionId(0)));
    Broker::open(config, everything(), journal, now).await.unwrap()
}

/// `$x` too, which `#` is not for.
fn everything() -> Acl {
    let hidden = |access| Rule::new(None, true, access, "$x/#").unwrap();
    Acl::open().rule(hidden(Access::Publish)).rule(hidden(Access::Subscribe))
}

pub async fn open(log: Option<Arc<SegmentLog>>) -> Broker {
    open_with(Config::default(), log, NOW).await
}

pub fn info(id: &str, clean: bool, expiry: u32) -> ClientInfo {
    let info = ClientInfo::new(id.to_owned(), Version::V5);
    ClientInfo { clean_start: clean, session_expiry: expiry, ..info }
}

pub fn message(topic: &str, payload: &str, qos: QoS, retain: bool) -> Publish {
    Publish {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain,
        ..Publish::default()
    }
}

pub fn expiring(mut publish: Publish, seconds: u32) -> Publish {
    publish.properties = Some(Box::new(Properties { expiry: Some(seconds), ..Properties::default() }));
    publish
}

pub fn to(filter: &str, qos: QoS) -> Subscription {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Subscription { filter: filter.into(), options }
}

/// A message as a client got it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    pub ids: Vec<u32>,
}

impl Got {
    pub fn of(publish: &OutgoingPublish) -> Self {
        let mut ids = publish.ids.to_vec();
        ids.sort_unstable();
        Self {
            topic: publish.message.topic.to_string(),
            payload: String::from_utf8_lossy(&publish.message.payload).into_owned(),
            qos: publish.qos.level(),
            retain: publish.retain,
            ids,
        }
    }
}

/// How a client answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    All,
    /// PUBREC but no PUBCOMP, PUBACK for every second one.
    Half,
    None,
}

/// A client, and what of its own side of a session lives on without a connection.
pub struct Client {
    pub session: Option<SessionHandle>,
    /// QoS 2 identifiers that came and are not released.
    pub received: BTreeSet<u16>,
    /// QoS 1 identifiers that came and are not acknowledged.
    pub unacknowledged: BTreeSet<u16>,
    /// To be answered on this connection.
    open: Vec<(NonZeroU16, Step)>,
    pub reliable: Vec<Got>,
    pub plain: Vec<Got>,
    /// Messages that came with DUP although they were acknowledged: fine after a crash only.
    pub again: Vec<Got>,
    next_id: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Ack,
    Rec,
    Comp,
}

impl Client {
    pub fn new() -> Self {
        Self {
            session: None,
            received: BTreeSet::new(),
            unacknowledged: BTreeSet::new(),
            open: Vec::new(),
            reliable: Vec::new(),
            plain: Vec::new(),
            again: Vec::new(),
            next_id: 0,
        }
    }

    pub async fn connect(&mut self, broker: &Broker, info: ClientInfo, now: Timestamp) -> bool {
        let connected = broker.connect(info, now).unwrap();
        if let Some(mark) = connected.mark {
            broker.durable(mark).await.unwrap();
        }
        self.open.clear();
        if !connected.session_present {
            self.received.clear();
            self.unacknowledged.clear();
        }
        // The old handle goes after the new one came, as with a takeover.
        self.session = Some(connected.session);
        connected.session_present
    }

    pub fn session(&mut self) -> &mut SessionHandle {
        self.session.as_mut().unwrap()
    }

    pub async fn subscribe(&mut self, broker: &Broker, subscription: Subscription, now: Timestamp) {
        let granted = self.session().subscribe(&[subscription], now).unwrap();
        granted.answers[0].unwrap();
        if let Some(mark) = granted.mark {
            broker.durable(mark).await.unwrap();
        }
    }

    pub fn next_id(&mut self) -> NonZeroU16 {
        self.next_id = self.next_id % 65_535 + 1;
        NonZeroU16::new(self.next_id).unwrap()
    }

    /// Publishes to the end of the handshake; the first packet `times` times where that is allowed.
    pub async fn publish(
        &mut self,
        broker: &Broker,
        mut publish: Publish,
        times: usize,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let qos = publish.qos;
        let id = (qos > QoS::AtMostOnce).then(|| self.next_id());
        publish.packet_id = id;
        let times = if qos == QoS::ExactlyOnce { times } else { 1 };
        for _ in 0..times {
            let answer = self.session().publish(&publish, now, &mut Wakes::new())?;
            if let Some(mark) = answer.mark {
                broker.durable(mark).await?;
            }
            if qos == QoS::AtLeastOnce {
                self.session().answered(1);
            }
            if let Some(reason) = answer.reason.filter(|reason| !reason.is_success()) {
                return Err(reason);
            }
        }
        if let Some(id) = id.filter(|_| qos == QoS::ExactlyOnce) {
            let answer = self.session().pubrel(id, now)?;
            if let Some(mark) = answer.mark {
                broker.durable(mark).await?;
            }
            assert_eq!(answer.reason, None);
        }
        Ok(())
    }

    /// Reads until nothing more comes.
    pub async fn read(&mut self, broker: &Broker, answers: Answers, now: Timestamp) {
        let mut quiet = 0;
        while quiet < 3 {
            broker.synced().await.unwrap();
            let mut out = Vec::new();
            self.session().take(now, 7, &mut out).unwrap();
            quiet = if out.is_empty() { quiet + 1 } else { 0 };
            for packet in out {
                self.packet(packet);
            }
            if self.answer(broker, answers, now).await {
                quiet = 0;
            }
        }
    }

    fn packet(&mut self, packet: Outgoing) {
        let publish = match packet {
            Outgoing::PubRel(id) => {
                self.received.remove(&id.get());
                return self.open.push((id, Step::Comp));
            }
            Outgoing::Publish(publish) => publish,
        };
        let got = Got::of(&publish);
        let Some(id) = publish.packet_id else { return self.plain.push(got) };
        assert!(!self.open.iter().any(|(open, _)| *open == id), "identifier {id} is in use");
        if publish.qos == QoS::AtLeastOnce {
            if self.unacknowledged.insert(id.get()) {
                let known = publish.dup && self.reliable.contains(&got);
                if known { self.again.push(got) } else { self.reliable.push(got) }
            } else {
                assert!(publish.dup);
            }
            self.open.push((id, Step::Ack));
        } else {
            if self.received.insert(id.get()) {
                self.reliable.push(got);
            } else {
                assert!(publish.dup);
            }
            self.open.push((id, Step::Rec));
        }
    }

    async fn answer(&mut self, broker: &Broker, answers: Answers, now: Timestamp) -> bool {
        let mut did = false;
        if answers == Answers::None {
            return did;
        }
        for (at, (id, step)) in std::mem::take(&mut self.open).into_iter().enumerate() {
            let half = answers == Answers::Half;
            match step {
                Step::Ack if !half || at % 2 == 0 => {
                    self.unacknowledged.remove(&id.get());
                    self.session().puback(id).unwrap();
                }
                Step::Rec => {
                    let answer = self.session().pubrec(id, false, now).unwrap().unwrap();
                    assert_eq!(answer.reason, None);
                    if let Some(mark) = answer.mark {
                        broker.durable(mark).await.unwrap();
                    }
                    self.received.remove(&id.get());
                    self.open.push((id, Step::Comp));
                }
                Step::Comp if !half => self.session().pubcomp(id).unwrap(),
                kept => {
                    self.open.push((id, kept));
                    continue;
                }
            }
            did = true;
        }
        did
    }
}
