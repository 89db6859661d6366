//! The power goes off, or the process is killed, at each disk operation of each call that changes the registry, twins, queues or
//! configurations. Whoever got an answer finds what it said: after a success the new state; after an error or no answer either
//! the old one or the new one, and never a part.
//!
//! A new call joins by a line in [`calls`], and by one in [`SHOWN`] where what it changes is not shown yet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use axum::body::Body;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use ironbrook_cloud::assembly::Cloud;
use ironbrook_hub::seams::Inbox as _;
use ironbrook_hub::seams::Twins as _;
use ironbrook_hub::{Settlement, seams::Clock as _, seams::SystemClock};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, Message, Refusal};
use ironbrook_testkit::open_cloud;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

/// Longest time anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Operations of one call; one that needs more never ends.
const OPERATIONS_MAX: u64 = 500;
/// Power cuts per operation in a quick run, and with `IRONBROOK_SLOW` in the environment: what is lost is drawn anew each time.
const SEEDS: u64 = 2;
const SEEDS_SLOW: u64 = 20;
const DEVICES: [&str; 2] = ["d", "other"];
/// What is looked at before and after: all that the calls change.
const SHOWN: &[&str] = &[
    "/devices",
    "/twins/d",
    "/twins/new",
    "/twins/edge",
    "/devices/d/modules",
    "/devices/new/modules",
    "/devices/edge/modules",
    "/twins/d/modules/m",
    "/twins/edge/modules/$edgeAgent",
    "/twins/edge/modules/filter",
    "/configurations/c",
    "/jobs/v2/j",
    "/statistics/devices",
];
/// Those that show many identities at once.
const OF_MANY: [&str; 2] = ["/devices", "/statistics/devices"];
/// Members that say when something happened, or are drawn by chance: they differ from one run to the other.
const CHANCE: &[&str] = &[
    "etag",
    "deviceEtag",
    "generationId",
    "deviceScope",
    "parentScopes",
    "scopeId",
    "statusUpdatedTime",
    "statusUpdateTime",
    "connectionStateUpdatedTime",
    "lastActivityTime",
    "$lastUpdated",
    "createdTime",
    "createdTimeUtc",
    "lastUpdatedTimeUtc",
    "lastUpdatedDateTimeUtc",
    "endTime",
    "primaryKey",
    "secondaryKey",
];

type Direct = fn(&Cloud) -> BoxFuture<'static, Result<(), Refusal>>;

/// How a change is asked for.
enum Way {
    /// Method, path and body, with `If-Match: *` where it is said.
    Api(&'static str, &'static str, bool, Value),
    /// By the seam that a door stands on.
    Seam(Direct),
}

/// A call, and what has to be there before.
struct Call {
    name: &'static str,
    before: Vec<Way>,
    call: Way,
    /// Whether all of it happens or nothing; else each shown document for itself.
    whole: bool,
}

fn api(method: &'static str, path: &'static str, body: Value) -> Way {
    Way::Api(method, path, false, body)
}

fn if_match(method: &'static str, path: &'static str, body: Value) -> Way {
    Way::Api(method, path, true, body)
}

fn device() -> Identity {
    Identity::device(DeviceId::new("d").unwrap())
}

fn enqueue(cloud: &Cloud) -> BoxFuture<'static, Result<(), Refusal>> {
    let registry = cloud.registry().clone();
    Box::pin(async move { registry.enqueue(&device(), Message::new("command")).await })
}

fn settle(cloud: &Cloud) -> BoxFuture<'static, Result<(), Refusal>> {
    let registry = cloud.registry().clone();
    Box::pin(async move {
        let locked = registry.lock(&device(), 1, Duration::from_secs(60)).await?;
        registry.settle(&device(), locked[0].lock, Settlement::Complete).await
    })
}

fn report(cloud: &Cloud) -> BoxFuture<'static, Result<(), Refusal>> {
    let registry = cloud.registry().clone();
    Box::pin(async move { registry.patch_reported(&device(), br#"{"a": {"b": 1}}"#).await.map(drop) })
}

fn new_device() -> Value {
    json!({"deviceId": "new", "status": "enabled", "statusReason": "made"})
}

fn module() -> Way {
    api("PUT", "/devices/d/modules/m", json!({"deviceId": "d", "moduleId": "m"}))
}

fn edge() -> Way {
    api("PUT", "/devices/edge", json!({"deviceId": "edge", "capabilities": {"iotEdge": true}}))
}

fn configuration(priority: u32) -> Value {
    json!({"id": "c", "targetCondition": "tags.site = 'a'", "priority": priority,
        "content": {"deviceContent": {"properties.desired.settings": {"on": true}}}})
}

/// One that begins long after the test.
fn job() -> Way {
    let update = json!({"etag": "*", "tags": {"floor": 8}});
    api(
        "PUT",
        "/jobs/v2/j",
        json!({"jobId": "j", "type": "scheduleUpdateTwin", "startTime": "2096-01-31T09:10:00Z",
            "maxExecutionTimeInSeconds": 60, "queryCondition": "deviceId = 'd'", "updateTwin": update}),
    )
}

fn calls() -> Vec<Call> {
    let call = |name, before, call| Call { name, before, call, whole: true };
    let part = |name, before, call| Call { name, before, call, whole: false };
    let desired = || json!({"tags": {"floor": 7}, "properties": {"desired": {"speed": {"rpm": 900}}}});
    let modules = json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1"}},
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.1"}},
        "filter": {"properties.desired": {"limit": 25}},
    }});
    let many = json!([
        {"id": "new", "importMode": "create", "status": "enabled"},
        {"id": "other", "importMode": "delete", "eTag": "*"},
        {"id": "d", "importMode": "updateTwin", "tags": {"bulk": true}},
    ]);
    vec![
        call("create a device", vec![], api("PUT", "/devices/new", new_device())),
        call("create an edge device", vec![], edge()),
        call(
            "update a device",
            vec![],
            if_match("PUT", "/devices/d", json!({"deviceId": "d", "status": "disabled"})),
        ),
        call("delete a device", vec![], if_match("DELETE", "/devices/d", Value::Null)),
        call("delete a device with a module", vec![module()], if_match("DELETE", "/devices/d", Value::Null)),
        part("many changes in one request", vec![], api("POST", "/devices", many)),
        call("create a module", vec![], module()),
        call(
            "update a module",
            vec![module()],
            if_match(
                "PUT",
                "/devices/d/modules/m",
                json!({"deviceId": "d", "moduleId": "m", "managedBy": "x"}),
            ),
        ),
        call("delete a module", vec![module()], if_match("DELETE", "/devices/d/modules/m", Value::Null)),
        call("patch a twin", vec![], api("PATCH", "/twins/d", desired())),
        call("replace a twin", vec![], if_match("PUT", "/twins/d", desired())),
        call("patch a module's twin", vec![module()], api("PATCH", "/twins/d/modules/m", desired())),
        call("report properties", vec![], Way::Seam(report)),
        call("queue a message", vec![], Way::Seam(enqueue)),
        call("complete a message", vec![Way::Seam(enqueue)], Way::Seam(settle)),
        call(
            "purge a queue",
            vec![Way::Seam(enqueue), Way::Seam(enqueue)],
            api("DELETE", "/devices/d/commands", Value::Null),
        ),
        call("create a configuration", vec![], api("PUT", "/configurations/c", configuration(3))),
        call(
            "change a configuration",
            vec![api("PUT", "/configurations/c", configuration(3))],
            if_match("PUT", "/configurations/c", configuration(4)),
        ),
        call(
            "delete a configuration",
            vec![api("PUT", "/configurations/c", configuration(3))],
            if_match("DELETE", "/configurations/c", Value::Null),
        ),
        call("schedule a job", vec![], job()),
        call("cancel a job", vec![job()], api("POST", "/jobs/v2/j/cancel", Value::Null)),
        call(
            "set the modules of an edge device",
            vec![edge()],
            api("POST", "/devices/edge/applyConfigurationContent", modules),
        ),
    ]
}

/// What a call was answered: done, refused, or nothing that can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Failed(u16),
}

async fn ask(cloud: &Cloud, way: &Way) -> Answer {
    match way {
        Way::Seam(call) => match call(cloud).await {
            Ok(()) => Answer::Done,
            Err(refusal) => Answer::Failed(refusal.code.http_status()),
        },
        Way::Api(method, path, if_match, body) => {
            let (status, _) = request(cloud, method, path, *if_match, body).await;
            if (200..300).contains(&status) { Answer::Done } else { Answer::Failed(status) }
        }
    }
}

async fn request(cloud: &Cloud, method: &str, path: &str, if_match: bool, body: &Value) -> (u16, Value) {
    let policies = cloud.registry().policies();
    let owner = policies.iter().find(|policy| policy.name == "iothubowner").unwrap();
    let expires = SystemClock.now().plus(Duration::from_secs(600));
    let token = owner.primary_key.sign("localhost", expires, Some(&owner.name));
    let mut request = axum::http::Request::builder()
        .method(method)
        .uri(format!("{path}?api-version=2021-04-12"))
        .header("authorization", token);
    if if_match {
        request = request.header("if-match", "\"*\"");
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let response = cloud.http().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// All that is shown, without what chance or time made.
async fn shown(cloud: &Cloud) -> Vec<(u16, Value)> {
    let mut all = Vec::new();
    for path in SHOWN {
        let (status, mut body) = request(cloud, "GET", path, false, &Value::Null).await;
        if status >= 400 {
            // The text names a tracking id; the status says enough.
            body = Value::Null;
        }
        forget_chance(&mut body);
        all.push((status, body));
    }
    all
}

fn forget_chance(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !CHANCE.contains(&name.as_str()));
            members.values_mut().for_each(forget_chance);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(forget_chance);
            items.sort_by_key(|item| item.to_string());
        }
        _ => {}
    }
}

async fn open(storage: &Memory) -> Cloud {
    // Without the seed, which would make anew what was deleted.
    open_cloud(Arc::new(storage.clone()), &[]).await.unwrap()
}

/// The storage that a call finds.
async fn prepared(call: &Call) -> Memory {
    let storage = Memory::new();
    let cloud = open_cloud(Arc::new(storage.clone()), &DEVICES).await.unwrap();
    for way in &call.before {
        assert_eq!(ask(&cloud, way).await, Answer::Done, "{}: what has to be there", call.name);
    }
    cloud.registry().close().await;
    storage.copy()
}

/// One call with a fault behind so many operations. `None` where it was answered before that.
async fn interrupted(call: &Call, base: &Memory, operations: u64) -> Option<(Answer, Memory)> {
    let storage = base.copy();
    let cloud = open(&storage).await;
    storage.power_off_after(operations);
    let answer =
        tokio::time::timeout(PATIENCE, ask(&cloud, &call.call)).await.expect("an answer, or an error");
    storage.is_off().then_some((answer, storage))
}

struct Seen {
    old: Vec<(u16, Value)>,
    new: Vec<(u16, Value)>,
}

impl Seen {
    /// What of the documents that change is as before, and what as after it.
    fn mixed(&self, found: &[(u16, Value)]) -> Vec<(&'static str, bool, bool)> {
        let all = SHOWN.iter().zip(found).zip(self.old.iter().zip(&self.new));
        let changed = all.filter(|(_, (old, new))| old != new);
        changed.map(|((path, found), (old, new))| (*path, found == old, found == new)).collect()
    }

    fn judge(&self, call: &Call, answer: Answer, found: &[(u16, Value)], place: &str) {
        let Call { name, whole, .. } = call;
        if answer == Answer::Done {
            assert_eq!(found, self.new, "{name}, {place}: it was said to be done");
        } else if *whole {
            let is_one = found == self.old || found == self.new;
            assert!(is_one, "{name}, {place}: {answer:?}, and a part is there: {:#?}", self.mixed(found));
        } else {
            let documents = found.iter().zip(SHOWN).enumerate();
            for (at, (document, path)) in documents.filter(|(_, (_, path))| !OF_MANY.contains(path)) {
                let is_one = *document == self.old[at] || *document == self.new[at];
                assert!(is_one, "{name}, {place}: a part of {path} is there: {document:#?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_given_and_the_state_found_agree() {
    let seeds = if std::env::var_os("IRONBROOK_SLOW").is_some() { SEEDS_SLOW } else { SEEDS };
    let mut cuts = 0;
    for call in calls() {
        let base = prepared(&call).await;
        let old = shown(&open(&base.copy()).await).await;
        let storage = base.copy();
        let cloud = open(&storage).await;
        assert_eq!(ask(&cloud, &call.call).await, Answer::Done, "{}", call.name);
        let seen = Seen { old, new: shown(&cloud).await };
        assert_ne!(seen.old, seen.new, "{}: nothing of what it does is shown", call.name);
        let mut operations = 0;
        while let Some((answer, storage)) = interrupted(&call, &base, operations).await {
            // Killed, what was written stays; without power, only what was synced must.
            let killed = std::iter::once(("killed".to_owned(), storage.copy()));
            let cut = (0..seeds).map(|seed| (format!("power cut {seed}"), storage.power_cut(seed)));
            for (fault, found) in killed.chain(cut) {
                let found = shown(&open(&found).await).await;
                seen.judge(&call, answer, &found, &format!("operation {operations}, {fault}"));
                cuts += 1;
            }
            operations += 1;
            assert!(operations < OPERATIONS_MAX, "{}: it never ends", call.name);
        }
        assert!(operations > 0, "{}: it changes nothing on the disk", call.name);
    }
    println!("{} calls, {cuts} ends in their middle, all as answered", calls().len());
}
