//! Plans as text.

use super::super::plan::{Plan, Present, Wanted, plan};
use super::super::records::Record;
use super::super::settings::Settings;
use crate::manifest::ModuleDesired;
use crate::runtime::{ModuleInfo, ModuleSpec, ModuleState};
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::from_secs(10_000);

fn desired(more: Value) -> ModuleDesired {
    super::deployment(1, &json!({ "m": super::module("i", more) })).desired.modules["m"].clone()
}

fn spec(name: &str, image: &str) -> ModuleSpec {
    let kind = "docker".to_owned();
    let env = BTreeMap::new();
    ModuleSpec { name: name.to_owned(), kind, image: image.to_owned(), create_options: json!({}), env }
}

/// Deployed modules and those that are there.
#[derive(Default)]
struct Scene {
    wanted: BTreeMap<String, Wanted>,
    present: BTreeMap<String, Present>,
}

impl Scene {
    fn wants(mut self, name: &str, image: &str, more: Value) -> Self {
        let spec = Some(spec(name, image));
        self.wanted.insert(name.to_owned(), Wanted { desired: desired(more), spec, restarts: 0 });
        self
    }

    /// A module that ran, and in this state since 100 s.
    fn has(mut self, name: &str, image: &str, state: ModuleState, applied: Option<Value>) -> Self {
        let since = Timestamp::from_secs(9_900);
        let exited = matches!(state, ModuleState::Exited { .. }).then_some(since);
        let info = ModuleInfo {
            spec: spec(name, image),
            image_hash: String::new(),
            state,
            started: Some(since),
            exited,
            pid: None,
        };
        let record = Record { applied: applied.map(desired), ..Record::default() };
        self.present.insert(name.to_owned(), Present { info, record, ran: true });
        self
    }

    fn restarts(mut self, name: &str, restarts: u32) -> Self {
        self.present.get_mut(name).unwrap().record.restarts = restarts;
        self
    }

    fn plan(&self) -> Plan {
        plan(&self.wanted, &self.present, &Settings::default(), NOW)
    }

    fn text(&self) -> String {
        self.plan().to_string()
    }
}

const RUNNING: ModuleState = ModuleState::Running;

// AGENT-06
#[test]
fn groups_by_order_and_removals_first_in_each_rule_agent_06() {
    let scene = Scene::default()
        .wants("added", "i", json!({"startupOrder": 1}))
        .wants("added-stopped", "i", json!({"startupOrder": 1, "status": "stopped"}))
        .wants("changed", "new", json!({"startupOrder": 1}))
        .wants("dead", "i", json!({"startupOrder": 1}))
        .wants("ended", "i", json!({"startupOrder": 1}))
        .wants("fine", "i", json!({"startupOrder": 1}))
        .wants("first", "i", json!({"startupOrder": 0}))
        .wants("last", "i", json!({}))
        .wants("to-stop", "i", json!({"startupOrder": 1, "status": "stopped"}))
        .has("changed", "old", RUNNING, None)
        .has("dead", "i", ModuleState::Dead, None)
        .has("ended", "i", ModuleState::Exited { code: 1 }, None)
        .has("fine", "i", RUNNING, Some(json!({"startupOrder": 5})))
        .has("old", "i", RUNNING, Some(json!({"startupOrder": 1})))
        .has("to-stop", "i", RUNNING, Some(json!({})))
        .has("unknown", "i", RUNNING, None);
    let golden = "\
0 unknown: stop
0 unknown: remove
0 first: prepareUpdate create start
1 old: stop
1 old: remove
1 dead: remove
1 added: prepareUpdate create start
1 added-stopped: prepareUpdate create
1 changed: prepareUpdate update start
1 ended: restart
1 to-stop: stop
4294967295 last: prepareUpdate create start
";
    assert_eq!(scene.text(), golden);
}

#[test]
fn what_is_as_wanted_makes_no_plan() {
    for (before, after) in [
        (json!({}), json!({})),
        (json!({"restartPolicy": "always"}), json!({"restartPolicy": "never"})),
        (json!({"version": "1"}), json!({"version": "2"})),
        (json!({"startupOrder": 1}), json!({"startupOrder": 2})),
        (json!({"imagePullPolicy": "never"}), json!({})),
    ] {
        let scene = Scene::default().wants("m", "i", after.clone()).has("m", "i", RUNNING, Some(before));
        assert_eq!(scene.plan(), Plan::default(), "{after}");
    }
}

#[test]
fn a_changed_status_starts_or_stops() {
    let stopped = || json!({"status": "stopped"});
    let ended = ModuleState::Exited { code: 0 };
    let scene = Scene::default().wants("m", "i", stopped()).has("m", "i", RUNNING, Some(json!({})));
    assert_eq!(scene.text(), "4294967295 m: stop\n");
    let scene = Scene::default().wants("m", "i", json!({})).has("m", "i", ended, Some(stopped()));
    assert_eq!(scene.text(), "4294967295 m: start\n");
    let scene = Scene::default().wants("m", "i", stopped()).has("m", "i", ended, Some(stopped()));
    assert_eq!(scene.plan(), Plan::default());
    // A module that is to be stopped and runs all the same.
    let scene = Scene::default().wants("m", "i", stopped()).has("m", "i", RUNNING, Some(stopped()));
    assert_eq!(scene.text(), "4294967295 m: stop\n");
}

#[test]
fn policies_decide_about_what_ended_rule_agent_05_rule_agent_07() {
    let (done, broken) = (ModuleState::Exited { code: 0 }, ModuleState::Exited { code: 1 });
    for (state, policy, restarts, expected, wake) in [
        (broken, "always", 0, "restart", None),
        (done, "always", 3, "restart", None),
        // 160 s after an end 100 s ago.
        (broken, "always", 4, "", Some(60)),
        (broken, "on-failure", 19, "", Some(200)),
        (broken, "always", 20, "", None),
        (broken, "on-failure", 0, "restart", None),
        (broken, "on-unhealthy", 0, "restart", None),
        (broken, "never", 0, "", None),
        // AGENT-07: no wait, no count.
        (done, "on-failure", 19, "start", None),
        (done, "on-unhealthy", 20, "start", None),
        (done, "never", 0, "", None),
        (ModuleState::Created, "never", 0, "start", None),
        (ModuleState::Created, "always", 20, "", None),
    ] {
        let policy = json!({ "restartPolicy": policy });
        let scene =
            Scene::default().wants("m", "i", policy.clone()).has("m", "i", state, Some(policy.clone()));
        let plan = scene.restarts("m", restarts).plan();
        let expected =
            if expected.is_empty() { String::new() } else { format!("4294967295 m: {expected}\n") };
        assert_eq!(plan.to_string(), expected, "{state:?} {policy} {restarts}");
        assert_eq!(plan.wake.map(|wake| wake.since(NOW).as_secs()), wake, "{state:?} {policy} {restarts}");
    }
}

#[test]
fn restarts_are_forgotten_after_ten_minutes_up() {
    let mut scene = Scene::default().wants("m", "i", json!({})).has("m", "i", RUNNING, None).restarts("m", 2);
    assert_eq!(scene.plan().wake, Some(Timestamp::from_secs(10_500)));
    scene.present.get_mut("m").unwrap().info.started = Some(Timestamp::from_secs(9_400));
    assert_eq!(scene.text(), "4294967295 m: clearRestarts\n");
}

#[test]
fn what_ended_with_the_agent_starts_at_once() {
    let mut scene =
        Scene::default().wants("m", "i", json!({})).has("m", "i", ModuleState::Exited { code: 137 }, None);
    scene = scene.restarts("m", 7);
    assert_eq!(scene.text(), "");
    scene.present.get_mut("m").unwrap().ran = false;
    assert_eq!(scene.text(), "4294967295 m: start\n");
    assert_eq!(scene.restarts("m", 20).text(), "", "failed stays failed");
}

#[test]
fn without_an_identity_nothing_is_made_and_nothing_ends() {
    let mut scene = Scene::default().wants("new", "i", json!({})).wants("kept", "changed", json!({})).has(
        "kept",
        "i",
        RUNNING,
        Some(json!({})),
    );
    for wanted in scene.wanted.values_mut() {
        wanted.spec = None;
    }
    assert_eq!(scene.plan(), Plan::default());
}
