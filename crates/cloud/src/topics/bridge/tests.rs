//! Bridges to devices and certificates of Sparkplug B, on a whole hub and a broker in memory.

use super::*;
use crate::assembly::{Cloud, Config, LogConfig, Profile, Throttles};
use crate::registry::{IfMatch, Registry as Devices, SeedFile, TwinChange};
use crate::testing::{moment, within};
use ironbrook_hub::seams::{Routed, SystemClock};
use ironbrook_hub::{ConnectRequest, Credential};
use ironbrook_log::{
    Config as JournalConfig, Log, Memory, Offset, PartitionId, QueueId, Retention, SegmentLog,
};
use ironbrook_model::{DeviceId, Identity, Message, SystemProperty};
use ironbrook_pubsub::acl::Acl;
use ironbrook_pubsub::{
    ClientInfo, Outgoing, OutgoingPublish, Properties, QoS, SessionHandle, Subscription, SubscriptionOptions,
    Version,
};
use serde_json::json;
use std::path::Path;

const SEED: &str = r#"{"devices":[{"deviceId":"pump"},{"deviceId":"off","status":"disabled"}]}"#;

struct World {
    broker: Broker,
    hub: Hub,
    devices: Devices,
    log: Arc<SegmentLog>,
    metrics: BridgeFigures,
    cancel: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn config() -> Config {
    Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile: Profile::Native,
        partitions: 1,
        routes: Vec::new(),
        throttles: Throttles::default(),
        fallback_route: true,
        storage_endpoints: Vec::new(),
        routing: Default::default(),
        consumer_groups: Vec::new(),
        log: LogConfig {
            segment_bytes: 1 << 20,
            retention: Duration::from_secs(600),
            retention_bytes: 1 << 20,
            ..LogConfig::default()
        },
        account_name: "account".to_owned(),
        file_upload: None,
        streaming: Default::default(),
    }
}

async fn broker(memory: &Memory) -> Broker {
    let retention = Retention { max_age: None, max_bytes: None };
    let config =
        JournalConfig { partitions: 1, segment_bytes: 1 << 20, retention, ..JournalConfig::default() };
    let log = SegmentLog::open(Arc::new(memory.clone()), Path::new("topics"), config).unwrap();
    let journal = Some((Arc::new(log) as Arc<dyn Log>, PartitionId(0)));
    Broker::open(ironbrook_pubsub::Config::default(), Acl::open(), journal, now()).await.unwrap()
}

fn now() -> ironbrook_model::Timestamp {
    SystemClock.now()
}

impl World {
    async fn new() -> Self {
        let seed = SeedFile::parse(SEED).unwrap();
        let mut metrics = Registry::default();
        let (storage, clock) = (Arc::new(Memory::new()), Arc::new(SystemClock));
        let cloud = Cloud::open(storage, clock, config(), Some(&seed), &mut metrics).await.unwrap();
        let broker = broker(&Memory::new()).await;
        let (hub, devices, log) = (cloud.hub().clone(), cloud.registry().clone(), cloud.log().clone());
        let cancel = CancellationToken::new();
        tokio::spawn(cloud.run(cancel.clone()));
        tokio::spawn(broker.clone().run(cancel.clone()));
        Self { broker, hub, devices, log, metrics: BridgeFigures::default(), cancel }
    }

    /// Runs bridges until the end, or until the token given is cancelled.
    fn bridge(&self, bridges: Bridges) -> CancellationToken {
        let cancel = self.cancel.child_token();
        let (broker, clock) = (self.broker.clone(), Arc::new(SystemClock));
        tokio::spawn(bridges.run(broker, clock, self.hub.clone(), self.metrics.clone(), cancel.clone()));
        cancel
    }

    fn client(&self, id: &'static str) -> SessionHandle {
        self.broker.connect(ClientInfo::new(id, Version::V5), now()).unwrap().session
    }

    fn publish(&self, client: &mut SessionHandle, publish: Publish) {
        client.publish(&publish, now(), &mut Wakes::new()).unwrap();
        client.answered(1);
    }

    /// So many messages of the log, once they are there.
    async fn telemetry(&self, count: usize) -> Vec<Routed> {
        let mut end = Offset(0);
        loop {
            let batch =
                self.log.read(PartitionId(0), QueueId::EVENTS, Offset(0), 1000, 1 << 20).await.unwrap();
            if batch.records.len() >= count {
                return batch
                    .records
                    .iter()
                    .map(|record| ironbrook_hub::record::decode(record).unwrap())
                    .collect();
            }
            end = within("telemetry", self.log.tail(PartitionId(0), end)).await.unwrap();
        }
    }

    /// Waits until there are so many subscriptions.
    async fn subscriptions(&self, count: u64) {
        within("subscriptions", async {
            while self.broker.snapshot().subscriptions < count {
                moment().await;
            }
        })
        .await;
    }
}

fn subscription(filter: &'static str) -> Subscription {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    Subscription { filter: filter.into(), options }
}

async fn next(client: &mut SessionHandle) -> OutgoingPublish {
    let mut out = Vec::new();
    within("a message", async {
        loop {
            client.take(now(), 1, &mut out).unwrap();
            if let Some(Outgoing::Publish(publish)) = out.pop() {
                if let Some(id) = publish.packet_id {
                    client.puback(id).unwrap();
                }
                return publish;
            }
            client.rung().await;
        }
    })
    .await
}

fn message(topic: &'static str, payload: &'static str) -> Publish {
    let packet_id = Some(std::num::NonZeroU16::MIN);
    Publish {
        topic: topic.into(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        packet_id,
        ..Publish::default()
    }
}

fn plant() -> DeviceBridge {
    DeviceBridge {
        name: "plant".to_owned(),
        telemetry: Some("plant/{device}/telemetry".parse().unwrap()),
        reported: Some("plant/{device}/reported".parse().unwrap()),
        commands: Some("plant/{device}/commands".parse().unwrap()),
        desired: Some("plant/{device}/desired".parse().unwrap()),
        devices: vec![pump()],
        content_type: Some("application/json".to_owned()),
    }
}

fn pump() -> DeviceId {
    DeviceId::new("pump").unwrap()
}

fn with(device: DeviceBridge) -> Bridges {
    Bridges { devices: vec![device], ..Bridges::default() }
}

#[tokio::test]
async fn telemetry_goes_the_whole_way_with_its_properties_and_says_that_a_bridge_brought_it() {
    let world = World::new().await;
    world.bridge(with(plant()));
    world.subscriptions(2).await;
    let mut publisher = world.client("publisher");
    let properties = Properties {
        content_type: Some("text/plain".into()),
        is_text: Some(true),
        correlation_data: Some("c1".into()),
        user: vec![("fault".into(), "open".into())],
        ..Properties::default()
    };
    let first = Publish { properties: Some(Box::new(properties)), ..message("plant/pump/telemetry", "21.5") };
    // Devices that are disabled, unknown, or no devices at all stop nobody.
    world.publish(&mut publisher, message("plant/off/telemetry", "x"));
    world.publish(&mut publisher, message("plant/nobody/telemetry", "x"));
    world.publish(&mut publisher, message("plant/not an id/telemetry", "x"));
    world.publish(&mut publisher, first);
    world.publish(&mut publisher, message("plant/pump/telemetry", r#"{"t":22}"#));
    let telemetry = world.telemetry(2).await;
    assert_eq!(telemetry.len(), 2);
    let system = |at: usize, property| telemetry[at].message.system.get(property).map(|value| &**value);
    assert_eq!(&telemetry[0].message.body[..], b"21.5");
    assert_eq!(telemetry[0].message.properties.get("fault").map(|value| &**value), Some("open"));
    assert_eq!(system(0, SystemProperty::ContentType), Some("text/plain"));
    assert_eq!(system(0, SystemProperty::ContentEncoding), Some("utf-8"));
    assert_eq!(system(0, SystemProperty::CorrelationId), Some("c1"));
    assert_eq!(system(0, SystemProperty::ConnectionDeviceId), Some("pump"));
    assert!(system(0, SystemProperty::ConnectionAuthMethod).unwrap().contains(r#""type":"bridge""#));
    assert_eq!(system(1, SystemProperty::ContentType), Some("application/json"), "as the bridge says");
    let figures = world.metrics.of("plant");
    assert_eq!((figures.passed_in.get(), figures.refused.get()), (2, 2));
}

#[tokio::test]
async fn what_came_while_the_bridge_was_away_is_not_lost() {
    let world = World::new().await;
    let stop = world.bridge(with(plant()));
    world.subscriptions(2).await;
    let mut publisher = world.client("publisher");
    world.publish(&mut publisher, message("plant/pump/telemetry", "1"));
    world.telemetry(1).await;
    stop.cancel();
    // Its session is connected no more.
    within("the end", async {
        while world.broker.snapshot().clients_connected > 1 {
            moment().await;
        }
    })
    .await;
    world.publish(&mut publisher, message("plant/pump/telemetry", "2"));
    world.bridge(with(plant()));
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|last| last != "2") {
        let telemetry = world.telemetry(bodies.len().max(1) + 1).await;
        bodies = telemetry.into_iter().map(|routed| routed.message.body).collect();
    }
    // The first comes again where the bridge ended before it had acknowledged it.
    bodies.dedup();
    assert_eq!(bodies, ["1", "2"]);
}

#[tokio::test]
async fn twins_go_both_ways() {
    let world = World::new().await;
    world.bridge(with(plant()));
    let mut client = world.client("client");
    client.subscribe(&[subscription("plant/+/desired")], now()).unwrap();
    let first = next(&mut client).await;
    let desired: serde_json::Value = serde_json::from_slice(&first.message.payload).unwrap();
    assert_eq!((&*first.message.topic, &desired["$version"]), ("plant/pump/desired", &json!(1)));
    assert!(first.message.retain);

    let identity = Identity::device(pump());
    let desired = json!({"rate": 5}).as_object().cloned();
    let change = TwinChange::Patch { tags: None, desired };
    world.devices.change_twin(identity.clone(), change, IfMatch::Any).await.unwrap();
    let changed = next(&mut client).await;
    let desired: serde_json::Value = serde_json::from_slice(&changed.message.payload).unwrap();
    assert_eq!((&desired["rate"], &desired["$version"]), (&json!(5), &json!(2)));

    world.subscriptions(3).await;
    world.publish(&mut client, message("plant/pump/reported", r#"{"rate":5}"#));
    within("the reported properties", async {
        loop {
            let twin = world.devices.twin_view(identity.clone()).await.unwrap();
            if twin["properties"]["reported"]["rate"] == json!(5) {
                return;
            }
            moment().await;
        }
    })
    .await;
}

#[tokio::test]
async fn messages_to_a_device_go_out_and_are_completed() {
    let world = World::new().await;
    let mut client = world.client("client");
    client.subscribe(&[subscription("plant/pump/commands")], now()).unwrap();
    let mut command = Message::new(r#"{"on":true}"#);
    command.properties.set("priority", "high");
    command.system.set(SystemProperty::ContentType, "application/json");
    command.system.set(SystemProperty::CorrelationId, "c7");
    let identity = Identity::device(pump());
    world.hub.seams().inbox.enqueue(&identity, command).await.unwrap();
    world.bridge(with(plant()));
    let come = next(&mut client).await;
    let properties = come.message.properties.as_deref().unwrap();
    assert_eq!(&come.message.payload[..], br#"{"on":true}"#);
    assert_eq!(properties.user, [("priority".into(), "high".into())]);
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"c7"[..]));
    within("its completion", async {
        while world.hub.metrics().commands_completed.get() == 0 {
            moment().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_bridge_does_not_take_the_place_of_a_device_that_is_connected() {
    let world = World::new().await;
    let own = ConnectRequest {
        identity: Identity::device(pump()),
        // Any session does: what counts is that somebody has the identity.
        credential: Credential::Bridge(ironbrook_hub::BridgeName::new("the device itself")),
        model_id: None,
        clean_session: true,
        lasting: true,
    };
    let session = world.hub.connect(own).await.unwrap();
    world.bridge(with(plant()));
    world.subscriptions(2).await;
    let mut publisher = world.client("publisher");
    world.publish(&mut publisher, message("plant/pump/telemetry", "x"));
    world.telemetry(1).await;
    let twin = ironbrook_hub::Operation::GetTwin;
    world.hub.perform(&session, twin).await.expect("the device still has its place");
}

#[tokio::test]
async fn births_of_sparkplug_b_are_kept_for_those_who_come_later() {
    let world = World::new().await;
    world.bridge(Bridges { sparkplug: true, ..Bridges::default() });
    world.subscriptions(2).await;
    let mut node = world.client("node");
    let birth = |topic: &'static str, payload: &'static str| Publish {
        qos: QoS::AtMostOnce,
        packet_id: None,
        ..message(topic, payload)
    };
    for publish in [
        birth("spBv1.0/plant/NBIRTH/line", "old"),
        birth("spBv1.0/plant/NDEATH/line", "death"),
        birth("spBv1.0/plant/NBIRTH/line", "new"),
        birth("spBv1.0/plant/DBIRTH/line/pump", "device"),
    ] {
        world.publish(&mut node, publish);
    }
    within("certificates", async {
        while world.broker.snapshot().retained < 2 {
            moment().await;
        }
    })
    .await;
    let all = SubscriptionOptions { qos: QoS::AtMostOnce, ..SubscriptionOptions::default() };
    let filter = "$sparkplug/certificates/#";
    // The rules of this broker are for topics without a dollar sign.
    world.broker.set_acl(
        Acl::open().rule(
            ironbrook_pubsub::acl::Rule::new(None, true, ironbrook_pubsub::acl::Access::Subscribe, filter)
                .unwrap(),
        ),
        now(),
    );
    let mut host = world.client("host");
    host.subscribe(&[Subscription { filter: filter.into(), options: all }], now()).unwrap();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let publish = next(&mut host).await;
        kept.push((publish.message.topic.to_string(), publish.message.payload.clone()));
    }
    kept.sort();
    let topic = |rest: &str| format!("$sparkplug/certificates/spBv1.0/plant/{rest}");
    assert_eq!(kept, [(topic("DBIRTH/line/pump"), "device".into()), (topic("NBIRTH/line"), "new".into()),]);
}
