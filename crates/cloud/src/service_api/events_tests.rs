//! Events of digital twins and jobs, from what is asked of a hub to what its routes take.

use super::jobs_tests::{Site, method, update};
use super::tests::{Hub, hub_on};
use crate::registry::tests::clock;
use crate::testing::within;
use ironbrook_hub::seams::{Routed, Twins as _};
use ironbrook_hub::{Route, record};
use ironbrook_log::{Memory, Offset, PartitionId, QueueId};
use ironbrook_model::{DeviceId, Identity, MessageSource, SystemProperty};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn all_of(source: MessageSource) -> Vec<Route> {
    vec![Route { name: "all".to_owned(), source, endpoints: vec!["events".to_owned()], ..Route::default() }]
}

/// The first events of a hub, as they come out of the routes.
async fn events(hub: &Hub, count: usize) -> Vec<Routed> {
    let (registry, core, cancel) =
        (hub.cloud.registry().clone(), hub.cloud.hub().clone(), CancellationToken::new());
    let (stop, log) = (cancel.clone(), core.seams().log.clone());
    let pump = tokio::spawn(async move { registry.pump_outbox(core, stop).await });
    let mut events = Vec::new();
    while events.len() < count {
        let next = Offset(events.len() as u64);
        within("an event", log.tail(PartitionId(0), next)).await.unwrap();
        let batch = log.read(PartitionId(0), QueueId::EVENTS, next, 1000, 1 << 20).await.unwrap();
        events.extend(batch.records.iter().map(|r| record::decode(r).unwrap()));
    }
    cancel.cancel();
    within("the end of the pump", pump).await.unwrap();
    events
}

fn body(event: &Routed) -> Value {
    serde_json::from_slice(&event.message.body).unwrap()
}

fn property<'a>(event: &'a Routed, name: &str) -> &'a str {
    event.message.properties.get(name).unwrap()
}

// EVENT-02
#[tokio::test]
async fn event_02_a_digital_twin_s_changes_are_told_as_json_patches() {
    let routes = all_of(MessageSource::DigitalTwinChangeEvents);
    let hub = hub_on(Arc::new(Memory::new()), clock(), routes).await;
    let registry = hub.cloud.registry();
    let [plain, d] = ["other", "d"].map(|id| Identity::device(DeviceId::new(id).unwrap()));
    registry.patch_reported(&plain, br#"{"no": "model"}"#).await.unwrap();
    registry.announce_model(&d, "dtmi:com:example:Thermostat;1").await.unwrap();
    registry.patch_reported(&d, br#"{"max": 34.9}"#).await.unwrap();
    registry.patch_reported(&d, br#"{"thermostat1": {"__t": "c", "max": 1}}"#).await.unwrap();
    hub.ask("PATCH", "/twins/d", &[], json!({"tags": {"not": "a property"}})).await;
    hub.ask("PATCH", "/twins/d", &[], json!({"properties": {"desired": {"target": 21}}})).await;
    hub.ask("PUT", "/twins/d", &super::tests::ANY, json!({})).await;
    let told = events(&hub, 5).await;
    let now = "2026-01-31T09:00:00.0000000Z";
    assert_eq!(
        told.iter().map(body).collect::<Vec<_>>(),
        [
            json!([{"op": "add", "path": "/$metadata/$model", "value": "dtmi:com:example:Thermostat;1"}]),
            json!([
                {"op": "add", "path": "/$metadata/max", "value": {"lastUpdateTime": now}},
                {"op": "add", "path": "/max", "value": 34.9},
            ]),
            json!([{"op": "add", "path": "/thermostat1",
                "value": {"$metadata": {"max": {"lastUpdateTime": now}}, "max": 1}}]),
            json!([{"op": "add", "path": "/$metadata/target",
                "value": {"desiredValue": 21, "desiredVersion": 2, "lastUpdateTime": now}}]),
            json!([{"op": "remove", "path": "/$metadata/target"}]),
        ]
    );
    let kinds: Vec<_> = told.iter().map(|event| property(event, "opType")).collect();
    assert_eq!(kinds, ["updateTwin", "updateTwin", "updateTwin", "updateTwin", "replaceTwin"]);
    let first = &told[0];
    assert_eq!(first.source, MessageSource::DigitalTwinChangeEvents);
    assert_eq!(property(first, "iothub-message-schema"), "digitalTwinChangeNotification");
    assert_eq!((property(first, "deviceId"), property(first, "hubName")), ("d", "hub"));
    let content_type = first.message.system.get(SystemProperty::ContentType);
    assert_eq!(content_type.map(|text| &**text), Some("application/json-patch+json"));
}

// EVENT-03
#[tokio::test]
async fn event_03_the_end_of_a_job_is_told_for_each_of_its_devices() {
    /// More than a job works on at a time.
    const CONNECTED: usize = 40;
    let routes = all_of(MessageSource::DeviceJobLifecycleEvents);
    let site = Site::with(Arc::new(Memory::new()), clock(), routes).await;
    site.devices(CONNECTED + 1).await;
    site.put("twins", update(7)).await;
    site.when("twins", "completed").await;
    let absent = format!("d{CONNECTED:03}");
    site.put("absent", method(&format!("deviceId = '{absent}'"))).await;
    site.when("absent", "completed").await;
    let mut sessions = Vec::new();
    for n in 0..CONNECTED {
        sessions.push(site.connect(&format!("d{n:03}")).await);
    }
    site.put("stopped", method(&format!("tags.in = true AND deviceId != '{absent}'"))).await;
    // All that is under way at a time is, and nobody answers.
    within("a method", futures_util::future::select_all(sessions.iter().map(|s| Box::pin(s.next())))).await;
    site.hub.ask("POST", "/jobs/v2/stopped/cancel", &[], Value::Null).await;
    let told = events(&site.hub, 2 * CONNECTED + 2).await;
    let of = |job: &str, operation: &str| {
        let wanted = |event: &&Routed| body(event)["jobId"] == job && property(event, "opType") == operation;
        told.iter().filter(wanted).map(body).collect::<Vec<_>>()
    };
    assert_eq!(of("twins", "completeDeviceJob").len(), CONNECTED + 1);
    let failed = of("absent", "failDeviceJob");
    assert_eq!((failed.len(), &failed[0]["error"]["code"]), (1, &json!("DeviceNotOnline")));
    let (out, undone) = (of("stopped", "failDeviceJob"), of("stopped", "cancelDeviceJob"));
    assert_eq!(out.len() + undone.len(), CONNECTED);
    assert!(!out.is_empty() && !undone.is_empty(), "{} were out", out.len());
    assert_eq!(
        (&undone[0]["status"], &out[0]["error"]["code"]),
        (&json!("canceled"), &json!("JobCancelled"))
    );
    let records = site.records("jobId = 'absent'").await;
    assert_eq!(records, failed);
    assert_eq!(told[0].source, MessageSource::DeviceJobLifecycleEvents);
    assert_eq!(property(&told[0], "iothub-message-schema"), "deviceJobLifecycleNotification");
    assert_eq!(property(&told[0], "deviceId"), body(&told[0])["deviceId"]);
}
