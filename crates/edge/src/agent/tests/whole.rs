//! The whole agent on its fakes.

use super::super::{AgentStatus, Handle};
use super::{Bench, agent_desired, module};
use crate::daemon::management::{ModuleStatusProvider as _, RestartError};
use crate::runtime::ModuleState;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Running {
    bench: Bench,
    handle: Handle,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(bench: Bench) -> Self {
        let agent = bench.agent();
        let (handle, cancel) = (agent.handle(), CancellationToken::new());
        let task = tokio::spawn(agent.run(cancel.clone()));
        Self { bench, handle, cancel, task }
    }

    fn reported(&self, pointer: &str) -> Option<Value> {
        self.bench.twin.reported().pointer(pointer).cloned()
    }

    async fn reports(&self, pointer: &str, value: Value) {
        let what = format!("{pointer} = {value}");
        self.bench.until_later(&what, || self.reported(pointer).as_ref() == Some(&value)).await;
    }

    async fn stop(self) -> Bench {
        self.cancel.cancel();
        self.bench.until_later("the end", || self.task.is_finished()).await;
        self.task.await.unwrap();
        self.bench
    }
}

fn two() -> Value {
    json!({"a": module("i", json!({})), "b": module("i", json!({}))})
}

#[tokio::test]
async fn a_deployment_runs_and_is_reported() {
    let running = Running::start(Bench::new());
    running.reports("/lastDesiredStatus/code", json!(417)).await;
    assert_eq!(running.reported("/systemModules/edgeAgent/runtimeStatus"), Some(json!("running")));
    assert_eq!(running.reported("/systemModules/edgeHub"), None);
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/lastDesiredStatus", json!({"code": 200, "description": ""})).await;
    assert_eq!(running.reported("/lastDesiredVersion"), Some(json!(2)));
    for module in ["/modules/a", "/modules/b", "/systemModules/edgeHub"] {
        assert_eq!(running.reported(&format!("{module}/runtimeStatus")), Some(json!("running")), "{module}");
    }
    let status: AgentStatus = running.handle.status();
    let names: Vec<&str> = status.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!((names, status.deployment.code), (vec!["a", "b", "edgeAgent", "edgeHub"], 200));
    for text in [running.bench.twin.reported().to_string(), running.bench.store.text()] {
        assert!(!text.contains("canary-secret"), "{text}");
    }
}

#[tokio::test]
async fn an_end_is_noticed_and_reported_once() {
    let running = Running::start(Bench::new());
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/modules/a/runtimeStatus", json!("running")).await;
    running.bench.twin.reports();
    running.bench.runtime.exit("a", 9);
    // The clock stands still: what ended is noticed by itself.
    running
        .bench
        .until("backoff", || running.reported("/modules/a/runtimeStatus") == Some(json!("backoff")))
        .await;
    let [report] = &running.bench.twin.reports()[..] else { panic!("one report per change") };
    let keys: Vec<&String> = report["modules"]["a"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["exitCode", "statusDescription", "lastExitTimeUtc", "runtimeStatus"]);
    let listed = &running.handle.modules()[0];
    assert_eq!(listed.description, "Failed (9) 0 seconds ago, starts again in 10 seconds");
    running.reports("/modules/a/restartCount", json!(1)).await;
    assert_eq!(running.bench.runtime.starts("b"), 1);
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_rule_agent_01() {
    let running = Running::start(Bench::new());
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/modules/b/runtimeStatus", json!("running")).await;
    running.bench.runtime.calls();
    let mut wrong_version = agent_desired(&two());
    wrong_version.insert("schemaVersion".to_owned(), json!("2.0"));
    let mut wrong_modules = agent_desired(&two());
    wrong_modules.insert("modules".to_owned(), json!(5));
    for (desired, code) in
        [(wrong_version, 412), (wrong_modules, 400), (json!({}).as_object().unwrap().clone(), 417)]
    {
        let version = running.bench.twin.deploy(desired).await;
        running.reports("/lastDesiredStatus/code", json!(code)).await;
        assert_eq!(running.reported("/lastDesiredVersion"), Some(json!(version)));
        assert_ne!(running.reported("/lastDesiredStatus/description"), Some(json!("")));
    }
    assert_eq!(running.bench.runtime.calls(), Vec::<String>::new());
    // A module that ends is still looked after.
    running.bench.runtime.exit("a", 1);
    running.bench.until_later("a restart", || running.bench.runtime.starts("a") == 2).await;
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/lastDesiredStatus/code", json!(200)).await;
}

#[tokio::test]
async fn a_start_without_the_hub_runs_the_stored_deployment() {
    let running = Running::start(Bench::new());
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/modules/b/runtimeStatus", json!("running")).await;
    let bench = running.stop().await;
    bench.runtime.reopen();
    bench.twin.set_away(true);
    let running = Running::start(bench);
    running
        .bench
        .until_later("both run", || {
            ["a", "b"].iter().all(|name| running.bench.runtime.state(name) == Some(ModuleState::Running))
        })
        .await;
    assert_eq!(running.reported("/lastDesiredStatus/code"), Some(json!(406)));
    running.bench.twin.set(agent_desired(&json!({"b": module("i", json!({}))})));
    running.bench.twin.set_away(false);
    running.reports("/lastDesiredVersion", json!(3)).await;
    running.bench.until_later("a is gone", || running.bench.runtime.state("a").is_none()).await;
    assert_eq!(running.bench.runtime.starts("b"), 2);
}

#[tokio::test]
async fn the_end_stops_all_modules_and_says_so() {
    let running = Running::start(Bench::new());
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/modules/b/runtimeStatus", json!("running")).await;
    let bench = running.stop().await;
    assert_eq!(bench.twin.reported()["lastDesiredStatus"]["code"], 406);
    assert_eq!(bench.twin.reported()["modules"]["a"]["runtimeStatus"], "unknown");
    for name in ["a", "b"] {
        assert!(matches!(bench.runtime.state(name), Some(ModuleState::Exited { .. })), "{name}");
    }
}

#[tokio::test]
async fn a_module_is_restarted_by_hand_without_a_count() {
    let running = Running::start(Bench::new());
    running.bench.twin.deploy(agent_desired(&two())).await;
    running.reports("/modules/b/runtimeStatus", json!("running")).await;
    running.handle.restart("a").await.unwrap();
    assert_eq!(running.bench.runtime.starts("a"), 2);
    let answer = running.bench.twin.call("restartmodule", json!({"schemaVersion": "1.0", "id": "a"})).await;
    assert_eq!((answer.status, answer.payload), (200, Value::Null));
    assert_eq!(running.bench.runtime.starts("a"), 3);
    let started = running.bench.runtime.info("a").started.unwrap().to_string();
    running.reports("/modules/a/lastStartTimeUtc", json!(started)).await;
    assert_eq!(running.reported("/modules/a/restartCount"), Some(json!(0)));
    assert!(matches!(running.handle.restart("x").await, Err(RestartError::NotFound(_))));
    assert!(matches!(running.handle.restart("edgeHub").await, Err(RestartError::Refused(_))));
}

#[tokio::test]
async fn a_deployment_that_found_no_room_is_stored_when_there_is_some() {
    let running = Running::start(Bench::new());
    running.bench.store.set_full(true);
    running.bench.twin.deploy(agent_desired(&json!({"roomless": module("i", json!({}))}))).await;
    running.reports("/modules/roomless/runtimeStatus", json!("running")).await;
    assert!(!running.bench.store.text().contains("roomless"));
    running.bench.store.set_full(false);
    let stored = || running.bench.store.text().contains("\"desired\"");
    running.bench.until_later("the deployment on disk", stored).await;
    running.stop().await;
}
