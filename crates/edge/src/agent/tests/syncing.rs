//! The twin's two ends.

use super::super::metrics::Metrics;
use super::super::seams::DesiredChange;
use super::super::sync::{Ends, Sync};
use super::Bench;
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::twin::Object;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn change(version: u64, properties: Value) -> DesiredChange {
    DesiredChange { version, properties: object(properties), complete: false }
}

struct Synced {
    bench: Bench,
    ends: Ends,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Synced {
    fn start() -> Self {
        let bench = Bench::new();
        let (sync, ends) = Sync::new(bench.twin.clone(), Arc::new(bench.clock.clone()), Metrics::default());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(sync.run(cancel.clone()));
        Self { bench, ends, cancel, task }
    }

    fn seen(&self) -> Option<(u64, Value)> {
        let desired = self.ends.desired.borrow().clone();
        desired.map(|desired| (desired.version, Value::Object(desired.properties.clone())))
    }

    async fn sees(&self, version: u64, properties: Value) {
        let expected = Some((version, properties));
        self.bench.until(&format!("{expected:?}"), || self.seen() == expected).await;
    }
}

#[tokio::test]
async fn changes_are_merged_only_in_step_rule_agent_10() {
    let synced = Synced::start();
    let twin = &synced.bench.twin;
    synced.sees(1, json!({})).await;
    twin.set(object(json!({"a": 1, "b": 1})));
    twin.notify(change(2, json!({"a": 1, "b": 1}))).await;
    synced.sees(2, json!({"a": 1, "b": 1})).await;
    twin.set(object(json!({"a": 2})));
    twin.notify(change(3, json!({"a": 2, "b": null}))).await;
    synced.sees(3, json!({"a": 2})).await;
    assert_eq!(twin.gets(), 1);
    // An old one again changes nothing; a gap means reading the whole.
    twin.notify(change(2, json!({"a": 9}))).await;
    twin.set(object(json!({"c": 1})));
    twin.set(object(json!({"c": 1, "d": 1})));
    twin.notify(change(5, json!({"d": 1}))).await;
    synced.sees(5, json!({"c": 1, "d": 1})).await;
    assert_eq!(twin.gets(), 2);
}

#[tokio::test]
async fn the_twin_is_read_every_hour() {
    let synced = Synced::start();
    synced.sees(1, json!({})).await;
    synced.bench.twin.set(object(json!({"a": 1})));
    synced.bench.until_later("the second reading", || synced.bench.twin.gets() == 2).await;
    synced.sees(2, json!({"a": 1})).await;
}

#[tokio::test]
async fn the_twin_is_read_as_often_as_the_deployment_says_rule_agent_11() {
    let synced = Synced::start();
    synced.sees(1, json!({})).await;
    let began = synced.bench.clock.now();
    synced.ends.refresh.send_replace(Duration::from_secs(7));
    synced.bench.until_later("the second reading", || synced.bench.twin.gets() == 2).await;
    synced.bench.until_later("the third reading", || synced.bench.twin.gets() == 3).await;
    let took = synced.bench.clock.now().since(began);
    assert!(took >= Duration::from_secs(14) && took < Duration::from_secs(3600), "{took:?}");
}

#[tokio::test]
async fn only_differences_are_reported_and_others_members_stay() {
    let synced = Synced::start();
    let twin = &synced.bench.twin;
    twin.set_reported(
        json!({"modules": {"old": {"x": 1}}, "version": "damaged", "configurations": {"c": 1}}),
    );
    synced.sees(1, json!({})).await;
    let report = |document: Value| synced.ends.document.send_replace(Some(Arc::new(object(document))));
    report(json!({"modules": {"m": {"status": "running", "exitCode": 0}}, "version": {"version": "1"}}));
    synced.bench.until("the first report", || twin.reported()["modules"]["m"].is_object()).await;
    let patch = json!({"modules": {"old": null, "m": {"status": "running", "exitCode": 0}}, "version": {"version": "1"}});
    assert_eq!(twin.reports(), [patch]);
    assert_eq!(twin.reported()["configurations"], json!({"c": 1}));
    report(json!({"modules": {"m": {"status": "running", "exitCode": 0}}, "version": {"version": "1"}}));
    report(json!({"modules": {"m": {"status": "stopped", "exitCode": 0}}, "version": {"version": "1"}}));
    synced.bench.until("the second report", || twin.reported()["modules"]["m"]["status"] == "stopped").await;
    assert_eq!(twin.reports(), [json!({"modules": {"m": {"status": "stopped"}}})]);
}

#[tokio::test]
async fn reports_wait_for_the_hub_and_only_the_newest_is_sent() {
    let synced = Synced::start();
    let twin = &synced.bench.twin;
    synced.sees(1, json!({})).await;
    twin.set_away(true);
    for n in 1..=3 {
        synced.ends.document.send_replace(Some(Arc::new(object(json!({"lastDesiredVersion": n})))));
    }
    twin.set_away(false);
    synced.bench.until_later("the report", || twin.reported()["lastDesiredVersion"] == 3).await;
    assert_eq!(twin.reports().last(), Some(&json!({"lastDesiredVersion": 3})));
}

#[tokio::test]
async fn the_end_waits_for_the_last_report_but_not_for_ever() {
    for away in [false, true] {
        let synced = Synced::start();
        synced.sees(1, json!({})).await;
        synced.bench.twin.set_away(away);
        synced.ends.document.send_replace(Some(Arc::new(object(json!({"lastDesiredVersion": 7})))));
        synced.cancel.cancel();
        synced.bench.until_later("the end", || synced.task.is_finished()).await;
        assert_eq!(synced.bench.twin.reported().get("lastDesiredVersion").is_some(), !away);
    }
}
