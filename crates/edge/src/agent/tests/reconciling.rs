//! Turns of the agent on a fake runtime.

use super::super::records::Deployment;
use super::{Bench, agent_desired, deployment, module};
use crate::manifest::AgentDesired;
use crate::runtime::ModuleState;
use ironbrook_hub::seams::Clock as _;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn only_what_changed_restarts() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let first = deployment(
        1,
        &json!({"a": module("i", json!({})), "b": module("i", json!({})), "c": module("i", json!({}))}),
    );
    let turned = bench.turn(&mut engine, &first).await;
    assert_eq!(turned.wake, None);
    assert_eq!(bench.runtime.calls().len(), 9);
    let second = deployment(
        2,
        &json!({
            "a": module("i", json!({"restartPolicy": "never", "version": "2", "startupOrder": 1})),
            "b": module("i", json!({"env": {"A": {"value": "1"}}})),
            "c": module("i", json!({"status": "stopped"})),
            "d": module("i", json!({"settings": {"createOptions": "{\"A\":1}"}})),
        }),
    );
    bench.turn(&mut engine, &second).await;
    let calls = bench.runtime.calls();
    assert_eq!(calls, ["prepare d", "create d", "start d", "prepare b", "replace b", "start b", "stop c"]);
    bench.turn(&mut engine, &second).await;
    assert_eq!(bench.runtime.calls(), Vec::<String>::new());
    let turned = bench.turn(&mut engine, &deployment(3, &json!({"a": module("i", json!({}))}))).await;
    let mut calls = bench.runtime.calls();
    calls.sort();
    assert_eq!(calls, ["remove b", "remove c", "remove d", "stop b", "stop c", "stop d"]);
    assert_eq!(turned.view.modules.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(*bench.identities.released.lock().unwrap(), ["b", "c", "d"]);
}

#[tokio::test]
async fn a_deployment_cannot_override_what_a_module_is_told_of_itself_rule_agent_08() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let env = json!({"env": {"IOTEDGE_MODULEID": {"value": "other"}, "RuntimeLogLevel": {"value": "debug"}, "MINE": {"value": "1"}}});
    let modules = json!({"a": module("i", env), "b": module("i", json!({}))});
    bench.turn(&mut engine, &deployment(1, &modules)).await;
    let env = bench.runtime.info("a").spec.env;
    assert_eq!((env["IOTEDGE_MODULEID"].as_str(), env["RuntimeLogLevel"].as_str()), ("a", "debug"));
    assert_eq!(env["MINE"], "1");
    assert_eq!(bench.runtime.info("b").spec.env["RuntimeLogLevel"], "info");
}

#[tokio::test]
async fn a_module_that_keeps_failing_waits_longer_and_fails_after_twenty_restarts_rule_agent_05() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"m": module("i", json!({}))}));
    bench.turn(&mut engine, &deployed).await;
    let mut waits = Vec::new();
    loop {
        bench.runtime.exit("m", 1);
        let (ended, starts) = (bench.clock.now(), bench.runtime.starts("m"));
        let turned = bench.settle(&mut engine, &deployed, |_| bench.runtime.starts("m") > starts).await;
        if bench.runtime.starts("m") == starts {
            let module = &turned.view.modules["m"];
            assert_eq!((module.status.as_str(), module.restarts, module.exit_code), ("failed", 20, 1));
            break;
        }
        waits.push(bench.clock.now().since(ended).as_secs());
        // The agent's own restart does not forget the count.
        if waits.len() == 10 {
            engine = bench.engine(1).await;
            bench.turn(&mut engine, &deployed).await;
        }
    }
    assert_eq!(waits[..7], [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(waits.len(), 20);
    let next = deployment(2, &json!({"m": module("i", json!({}))}));
    bench.settle(&mut engine, &next, |_| bench.runtime.state("m") == Some(ModuleState::Running)).await;
    assert_eq!(bench.runtime.state("m"), Some(ModuleState::Running), "a new deployment is a new chance");
}

#[tokio::test]
async fn the_deployment_sets_how_the_agent_waits_rule_agent_11() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let env = |level: &str| json!({"MaxRestartCount": {"value": 2}, "CoolOffTimeUnitInSeconds": {"value": 3}, "RuntimeLogLevel": {"value": level}});
    let modules = json!({"m": module("i", json!({})), "n": module("i", json!({"env": {"RuntimeLogLevel": {"value": "x"}}}))});
    let deployed = |version, level: &str| {
        let mut desired = agent_desired(&modules);
        desired["systemModules"]["edgeAgent"]["env"] = env(level);
        Deployment { version, desired: AgentDesired::parse(&desired).unwrap() }
    };
    let first = deployed(1, "debug");
    bench.turn(&mut engine, &first).await;
    let level = |name: &str| bench.runtime.info(name).spec.env["RuntimeLogLevel"].clone();
    assert_eq!((level("m"), level("n")), ("debug".to_owned(), "x".to_owned()));
    let mut waits = Vec::new();
    for _ in 0..2 {
        bench.runtime.exit("m", 1);
        let (ended, starts) = (bench.clock.now(), bench.runtime.starts("m"));
        bench.settle(&mut engine, &first, |_| bench.runtime.starts("m") > starts).await;
        waits.push(bench.clock.now().since(ended).as_secs());
    }
    assert_eq!(waits, [3, 6]);
    bench.runtime.exit("m", 1);
    let turned = bench.settle(&mut engine, &first, |_| false).await;
    assert_eq!(turned.view.modules["m"].status.as_str(), "failed");
    // Another level is handed to modules that are made, and restarts none.
    bench.runtime.calls();
    let second = deployed(2, "warning");
    bench.turn(&mut engine, &second).await;
    assert_eq!(bench.runtime.calls(), Vec::<String>::new());
    bench.settle(&mut engine, &second, |_| bench.runtime.starts("m") == 4).await;
    assert_eq!(
        (bench.runtime.starts("m"), bench.runtime.starts("n"), level("m")),
        (4, 1, "debug".to_owned())
    );
}

#[tokio::test]
async fn ten_minutes_up_clear_the_count() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"m": module("i", json!({}))}));
    bench.turn(&mut engine, &deployed).await;
    bench.runtime.exit("m", 1);
    bench.settle(&mut engine, &deployed, |_| bench.runtime.starts("m") == 2).await;
    let started = bench.clock.now();
    let turned = bench.turn(&mut engine, &deployed).await;
    assert_eq!(turned.view.modules["m"].restarts, 1);
    let turned = bench.settle(&mut engine, &deployed, |_| false).await;
    assert_eq!(bench.clock.now().since(started), Duration::from_secs(600));
    assert_eq!((turned.view.modules["m"].restarts, turned.wake), (0, None));
}

#[tokio::test]
async fn an_end_with_0_under_on_failure_is_started_again_without_a_count_rule_agent_07() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"m": module("i", json!({"restartPolicy": "on-failure"}))}));
    bench.turn(&mut engine, &deployed).await;
    for starts in 2..30 {
        bench.runtime.exit("m", 0);
        let ended = bench.clock.now();
        assert_eq!(bench.turn(&mut engine, &deployed).await.view.modules["m"].status.as_str(), "stopped");
        let turned = bench.settle(&mut engine, &deployed, |_| bench.runtime.starts("m") == starts).await;
        assert_eq!(bench.clock.now().since(ended), Duration::from_secs(5), "the next turn of the loop");
        assert_eq!(turned.view.modules["m"].restarts, 0);
    }
}

#[tokio::test]
async fn after_a_restart_of_the_agent_modules_start_at_once_and_uncounted() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let deployed =
        deployment(1, &json!({"m": module("i", json!({})), "n": module("i", json!({"status": "stopped"}))}));
    bench.turn(&mut engine, &deployed).await;
    bench.runtime.exit("m", 137);
    bench.runtime.calls();
    let mut engine = bench.engine(1).await;
    let turned = bench.turn(&mut engine, &deployed).await;
    assert_eq!(bench.runtime.calls(), ["start m"]);
    assert_eq!(turned.view.modules["m"].restarts, 0);
    bench.runtime.reopen();
    let mut engine = bench.engine(1).await;
    bench.turn(&mut engine, &deployed).await;
    assert_eq!(bench.runtime.calls(), ["start m"]);
}

#[tokio::test]
async fn what_had_finished_does_not_run_again_after_a_restart_of_the_runtime() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let once = json!({"restartPolicy": "never"});
    let modules = json!({"done": module("i", once.clone()), "works": module("i", once.clone())});
    let deployed = deployment(1, &modules);
    bench.turn(&mut engine, &deployed).await;
    bench.runtime.exit("done", 0);
    bench.turn(&mut engine, &deployed).await;
    bench.runtime.reopen();
    let mut engine = bench.engine(1).await;
    let turned = bench.turn(&mut engine, &deployed).await;
    assert_eq!((bench.runtime.starts("done"), bench.runtime.starts("works")), (1, 2));
    assert_eq!(turned.view.modules["done"].status.as_str(), "stopped");
    assert!(turned.view.modules["done"].exited.is_some());
    // Another spec is another module: it has not ended yet.
    let modules = json!({"done": module("j", once.clone()), "works": module("i", once)});
    bench.turn(&mut engine, &deployment(2, &modules)).await;
    assert_eq!(bench.runtime.starts("done"), 2);
}

#[tokio::test]
async fn one_module_that_cannot_be_made_keeps_no_other() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    bench.runtime.fail("prepare a", 2);
    let deployed = deployment(1, &json!({"a": module("i", json!({})), "b": module("i", json!({}))}));
    let began = bench.clock.now();
    let turned = bench.turn(&mut engine, &deployed).await;
    assert_eq!(turned.view.modules["b"].status.as_str(), "running");
    let a = &turned.view.modules["a"];
    assert_eq!(a.status.as_str(), "failed");
    assert!(a.error.as_ref().unwrap().contains("prepare fails by order of the test"));
    assert_eq!(turned.view.errors.len(), 1);
    let turned = bench.settle(&mut engine, &deployed, |_| bench.runtime.starts("a") == 1).await;
    // 20 s and 40 s after the first and second run.
    assert_eq!(bench.clock.now().since(began), Duration::from_secs(60));
    assert_eq!(turned.view.errors, Vec::<String>::new());
}

#[tokio::test]
async fn a_new_version_is_tried_at_once() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    bench.runtime.fail("create a", 1);
    bench.turn(&mut engine, &deployment(1, &json!({"a": module("i", json!({}))}))).await;
    assert_eq!(bench.runtime.state("a"), None);
    bench.turn(&mut engine, &deployment(2, &json!({"a": module("i", json!({}))}))).await;
    assert_eq!(bench.runtime.state("a"), Some(ModuleState::Running));
}

#[tokio::test]
async fn an_update_that_cannot_be_prepared_leaves_the_old_running() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    bench.turn(&mut engine, &deployment(1, &json!({"a": module("old", json!({}))}))).await;
    bench.runtime.fail("prepare a", 1000);
    let turned = bench.turn(&mut engine, &deployment(2, &json!({"a": module("new", json!({}))}))).await;
    let a = &turned.view.modules["a"];
    assert_eq!((a.entry.image.as_str(), a.status.as_str()), ("old", "running"));
    assert!(a.error.is_some());
    let turned = bench.turn(&mut engine, &deployment(3, &json!({"a": module("old", json!({}))}))).await;
    assert_eq!((bench.runtime.starts("a"), turned.view.errors.len()), (1, 0));
}

#[tokio::test]
async fn a_dead_module_is_made_again() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"m": module("i", json!({}))}));
    bench.turn(&mut engine, &deployed).await;
    bench.runtime.kill("m");
    bench.settle(&mut engine, &deployed, |_| false).await;
    assert_eq!(bench.runtime.state("m"), Some(ModuleState::Running));
}

#[tokio::test]
async fn without_the_hub_known_modules_run_and_new_ones_wait() {
    let bench = Bench::new();
    bench.identities.managed.lock().unwrap().insert("known".to_owned());
    *bench.identities.away.lock().unwrap() = true;
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"known": module("i", json!({})), "new": module("i", json!({}))}));
    let turned = bench.turn(&mut engine, &deployed).await;
    assert_eq!(bench.runtime.starts("known"), 1);
    assert_eq!(turned.view.modules["new"].error.as_deref(), Some("the hub is away"));
    // No last try, however long it takes.
    for _ in 0..100 {
        let turned = bench.turn(&mut engine, &deployed).await;
        bench.clock.advance(turned.wake.unwrap().since(bench.clock.now()));
    }
    *bench.identities.away.lock().unwrap() = false;
    bench.settle(&mut engine, &deployed, |_| bench.runtime.starts("new") == 1).await;
    assert_eq!((bench.runtime.starts("known"), bench.runtime.starts("new")), (1, 1));
}

#[tokio::test]
async fn identities_of_removed_modules_go_once_the_hub_has_confirmed_the_deployment() {
    let bench = Bench::new();
    bench.identities.managed.lock().unwrap().insert("gone".to_owned());
    let mut engine = bench.engine(0).await;
    let deployed = deployment(1, &json!({"m": module("i", json!({}))}));
    engine.turn(Some(&deployed), false, &CancellationToken::new()).await.unwrap();
    assert!(bench.identities.managed.lock().unwrap().contains("gone"), "a stored deployment may be old");
    bench.turn(&mut engine, &deployed).await;
    assert_eq!(bench.identities.managed.lock().unwrap().iter().collect::<Vec<_>>(), ["m"]);
}

#[tokio::test]
async fn without_a_deployment_nothing_is_touched() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    bench.turn(&mut engine, &deployment(1, &json!({"m": module("i", json!({}))}))).await;
    bench.runtime.calls();
    let mut other = bench.engine(0).await;
    let turned = other.turn(None, false, &CancellationToken::new()).await.unwrap();
    assert_eq!(turned.view.modules["m"].status.as_str(), "running");
    assert_eq!(bench.runtime.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_plan_ends_before_its_next_step() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let deployed = deployment(1, &json!({"m": module("i", json!({}))}));
    engine.turn(Some(&deployed), true, &cancel).await.unwrap();
    assert_eq!(bench.runtime.calls(), Vec::<String>::new());
}
