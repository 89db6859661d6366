//! The registry as its callers see it, on storage in memory.

use super::*;
use crate::testing::{moment, within};
use async_trait::async_trait;
use ironbrook_hub::Settlement;
use ironbrook_hub::seams::{Identities, Inbox, Twins};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, ErrorCode, Message, ModuleId, SystemProperty, Timestamp};
use serde_json::json;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;

const LOCK: Duration = Duration::from_secs(60);

/// A clock that stands still until a test turns it.
pub(crate) struct HandClock(watch::Sender<Timestamp>);

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.plus(by));
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut now = self.0.subscribe();
        let _ = now.wait_for(|now| *now >= deadline).await;
    }
}

pub(crate) fn clock() -> Arc<HandClock> {
    Arc::new(HandClock(watch::Sender::new(Timestamp::from_millis(1_769_850_000_000))))
}

pub(super) fn open(memory: &Memory, clock: &Arc<HandClock>) -> Registry {
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    Registry::open(storage, Path::new("registry"), clock.clone(), Config::azure("hub")).unwrap()
}

pub(super) fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id).unwrap())
}

fn module(device: &str, id: &str) -> Identity {
    Identity::module(DeviceId::new(device).unwrap(), ModuleId::new(id).unwrap())
}

fn wish(value: serde_json::Value) -> Wish {
    serde_json::from_value(value).unwrap()
}

async fn with_device(id: &str) -> (Registry, Arc<HandClock>) {
    let clock = clock();
    let registry = open(&Memory::new(), &clock);
    registry.create(device(id), Wish::default()).await.unwrap();
    (registry, clock)
}

fn message(id: &str) -> Message {
    let mut message = Message::new(id.to_owned());
    message.system.set(SystemProperty::MessageId, id.to_owned());
    message.system.set(SystemProperty::Ack, "full");
    message
}

// REG-01
#[tokio::test]
async fn reg_01_create_find_update_and_delete_with_preconditions() {
    let (registry, _) = with_device("d").await;
    let twice = registry.create(device("d"), Wish::default()).await.unwrap_err();
    assert_eq!(twice.code, ErrorCode::DeviceAlreadyExists);
    let stored = registry.get(device("d")).await.unwrap();
    let record = registry.find(&device("d")).await.unwrap().unwrap();
    assert_eq!(record.generation_id, stored.generation_id);

    let stale = IfMatch::Etag("stale".to_owned());
    let disable = wish(json!({"status": "disabled"}));
    let refused = registry.update(device("d"), disable.clone(), stale.clone()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    let changed = registry.update(device("d"), disable.clone(), IfMatch::Etag(stored.etag)).await.unwrap();
    assert_eq!(changed.authentication, stored.authentication);
    let record = registry.find(&device("d")).await.unwrap().unwrap();
    assert_eq!(record.status, ironbrook_model::IdentityStatus::Disabled);

    let missing = registry.update(device("x"), disable, IfMatch::Any).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::DeviceNotFound);
    assert!(registry.delete(device("d"), stale).await.is_err());
    registry.delete(device("d"), IfMatch::Any).await.unwrap();
    assert_eq!(registry.find(&device("d")).await.unwrap(), None);
    let again = registry.create(device("d"), Wish::default()).await.unwrap();
    assert_ne!(again.generation_id, stored.generation_id);
}

#[tokio::test]
async fn modules_belong_to_their_device_and_are_limited() {
    let (registry, _) = with_device("d").await;
    let orphan = registry.create(module("x", "m"), Wish::default()).await.unwrap_err();
    assert_eq!(orphan.code, ErrorCode::DeviceNotFound);
    for n in 0..20 {
        registry.create(module("d", &n.to_string()), Wish::default()).await.unwrap();
    }
    let more = registry.create(module("d", "more"), Wish::default()).await.unwrap_err();
    assert_eq!(more.code, ErrorCode::TooManyModulesOnDevice);
    assert_eq!(registry.list_modules(DeviceId::new("d").unwrap()).await.unwrap().len(), 20);
    assert_eq!(registry.list_devices(1000).await.unwrap().len(), 1);
    registry.delete(device("d"), IfMatch::Any).await.unwrap();
    assert_eq!(registry.get(module("d", "1")).await.unwrap_err().code, ErrorCode::ModuleNotFound);
}

// REG-03
#[tokio::test]
async fn reg_03_an_edge_device_has_its_system_modules_at_once() {
    let clock = clock();
    let registry = open(&Memory::new(), &clock);
    let edge = wish(json!({"capabilities": {"iotEdge": true}}));
    registry.create(device("e"), edge).await.unwrap();
    let modules = registry.list_modules(DeviceId::new("e").unwrap()).await.unwrap();
    let names: Vec<_> = modules.iter().map(|(i, _)| i.module.as_ref().unwrap().as_str()).collect();
    assert_eq!(names, ["$edgeAgent", "$edgeHub"]);
    assert!(modules.iter().all(|(_, m)| m.authentication == StoredAuthentication::None));
    let refused = registry.delete(module("e", "$edgeHub"), IfMatch::Any).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::SystemModuleModifyUnauthorizedAccess);
}

#[tokio::test]
async fn listeners_hear_of_a_device_and_its_modules_before_the_caller_does() {
    let (registry, _) = with_device("d").await;
    registry.create(module("d", "m"), Wish::default()).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    Identities::listen(&registry, Box::new(move |i| ear.lock().unwrap().push(i.clone())));
    registry.update(device("d"), wish(json!({"status": "disabled"})), IfMatch::Any).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [device("d"), module("d", "m")]);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (memory, clock) = (Memory::new(), clock());
    let registry = open(&memory, &clock);
    let policies = registry.policies();
    assert_eq!(policies.len(), 5);
    registry.create(device("d"), Wish::default()).await.unwrap();
    registry.patch_reported(&device("d"), br#"{"a":1}"#).await.unwrap();
    registry.enqueue(&device("d"), message("m")).await.unwrap();
    registry.set_subscribed(&device("d"), true).await.unwrap();
    let number = registry.queue_id("storage").unwrap();
    assert_eq!((registry.queue_id("events").unwrap(), number), (QueueId::EVENTS, QueueId(1)));
    let stored = registry.get(device("d")).await.unwrap();
    registry.close().await;
    assert_eq!(registry.get(device("d")).await.map(|s| s.etag), Ok(stored.etag.clone()));
    assert!(registry.purge(&device("d")).await.is_err());
    drop(registry);

    let registry = open(&memory, &clock);
    assert_eq!(registry.get(device("d")).await.unwrap(), stored);
    assert_eq!(registry.queue_id("storage").unwrap(), number);
    assert_eq!(registry.queue_id("other").unwrap(), QueueId(2));
    assert_eq!(registry.policies()[0].primary_key, policies[0].primary_key);
    let view = registry.device_view(&device("d")).await.unwrap();
    assert_eq!(view, r#"{"desired":{"$version":1},"reported":{"a":1,"$version":2}}"#);
    assert!(registry.is_subscribed(&device("d")).await.unwrap());
    let locked = registry.lock(&device("d"), 10, LOCK).await.unwrap();
    assert_eq!(&locked[0].message.body[..], b"m");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    for seed in 0..20 {
        let (memory, clock) = (Memory::new(), clock());
        let registry = open(&memory, &clock);
        for n in 0..3_u64 {
            registry.create(device(&n.to_string()), Wish::default()).await.unwrap();
        }
        let one = device("1");
        let (a, b) =
            tokio::join!(registry.delete(device("0"), IfMatch::Any), registry.enqueue(&one, message("m")),);
        a.unwrap();
        b.unwrap();
        let unfinished = registry.create(device("unfinished"), Wish::default());
        tokio::select! { biased; _ = unfinished => {} () = std::future::ready(()) => {} }
        let after = memory.power_cut(seed);
        let registry = open(&after, &clock);
        assert!(registry.find(&device("0")).await.unwrap().is_none());
        assert!(registry.find(&device("2")).await.unwrap().is_some());
        assert_eq!(registry.lock(&device("1"), 10, LOCK).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_heals_by_itself() {
    let (memory, clock) = (Memory::new(), clock());
    let registry = open(&memory, &clock);
    registry.create(device("d"), Wish::default()).await.unwrap();
    memory.set_capacity(Some(memory.used()));
    let value = "x".repeat(4000);
    let big = |n: usize| format!("{{\"a{n}\":\"{value}\"}}");
    let mut refused = None;
    for n in 0..10_000 {
        let id = device(&n.to_string());
        let made = match registry.create(id.clone(), Wish::default()).await {
            Ok(_) => registry.patch_reported(&id, big(n).as_bytes()).await.map(|_| ()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = made {
            refused = Some((id, refusal));
            break;
        }
    }
    let (id, refusal) = refused.unwrap();
    assert_eq!(refusal.code, ErrorCode::ServiceUnavailable, "{refusal}");
    assert!(refusal.message.contains("full"), "{refusal}");
    memory.set_capacity(None);
    let _ = registry.create(id.clone(), Wish::default()).await;
    assert_eq!(registry.patch_reported(&id, big(0).as_bytes()).await, Ok(2));
    assert!(registry.find(&device("d")).await.unwrap().is_some());
}

/// Who works on the database while another one finds the disk full is told the same, and not that only a restart helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_all_who_meet_it_at_once() {
    for round in 0..5 {
        let (memory, clock) = (Memory::new(), clock());
        let registry = open(&memory, &clock);
        registry.create(device("d"), Wish::default()).await.unwrap();
        memory.set_capacity(Some(memory.used()));
        let filling = format!("{{\"a\":\"{}\"}}", "x".repeat(4000));
        let (mut tasks, mut refused) = (tokio::task::JoinSet::new(), 0);
        for n in 0..2000 {
            let (registry, filling) = (registry.clone(), filling.clone());
            tasks.spawn(async move {
                let id = device(&n.to_string());
                registry.create(id.clone(), Wish::default()).await?;
                registry.patch_reported(&id, filling.as_bytes()).await?;
                registry.get(device("d")).await.map(drop)
            });
            if tasks.len() < 50 {
                continue;
            }
            while let Some(done) = tasks.join_next().await {
                if let Err(refusal) = done.unwrap() {
                    refused += 1;
                    assert_eq!(refusal.code, ErrorCode::ServiceUnavailable, "round {round}: {refusal}");
                }
            }
            if refused > 0 {
                break;
            }
        }
        assert!(refused > 0, "the disk was never full");
    }
}

#[tokio::test]
async fn twins_are_changed_by_both_sides_and_desired_changes_are_told_in_order() {
    let (registry, _) = with_device("d").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = told.clone();
    Twins::listen(
        &registry,
        Box::new(move |c| {
            ear.lock().unwrap().push((c.version, String::from_utf8(c.patch.to_vec()).unwrap()))
        }),
    );
    let object = |v: serde_json::Value| v.as_object().unwrap().clone();
    let patch = |desired| TwinChange::Patch { tags: None, desired: Some(object(desired)) };
    let view = registry.change_twin(device("d"), patch(json!({"a": 1, "b": 1})), IfMatch::Any).await.unwrap();
    assert_eq!(view["properties"]["desired"]["$version"], 2);
    let stale = IfMatch::Etag("AAAAAAAAAAE=".to_owned());
    let refused = registry.change_twin(device("d"), patch(json!({"a": 2})), stale).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert_eq!(registry.patch_reported(&device("d"), br#"{"r":1}"#).await.unwrap(), 2);
    // TWIN-09
    let replace = TwinChange::Replace { tags: object(json!({"t": 1})), desired: object(json!({"b": 2})) };
    let etag = IfMatch::Etag(view["etag"].as_str().unwrap().to_owned());
    let view = registry.change_twin(device("d"), replace, etag).await.unwrap();
    assert_eq!((&view["tags"], &view["version"]), (&json!({"t": 1}), &json!(5)));
    assert_eq!(
        *told.lock().unwrap(),
        [(2, r#"{"a":1,"b":1,"$version":2}"#.to_owned()), (3, r#"{"a":null,"b":2,"$version":3}"#.to_owned()),]
    );
    let missing = registry.device_view(&module("d", "m")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::ModuleNotFound);
}

#[tokio::test]
async fn an_announced_model_stands_in_the_twin_and_costs_a_change_once() {
    let (registry, _) = with_device("d").await;
    for _ in 0..2 {
        registry.announce_model(&device("d"), "dtmi:example:Thermistor;1").await.unwrap();
        let twin = registry.twin_view(device("d")).await.unwrap();
        assert_eq!((&twin["modelId"], &twin["version"]), (&json!("dtmi:example:Thermistor;1"), &json!(3)));
    }
    assert!(registry.announce_model(&device("x"), "dtmi:x;1").await.is_err());
}

#[tokio::test]
async fn many_changes_at_once_all_count() {
    let (registry, _) = with_device("d").await;
    let patches = (0..200).map(|n| {
        let registry = registry.clone();
        tokio::spawn(async move {
            registry.patch_reported(&device("d"), format!("{{\"k{n}\":{n}}}").as_bytes()).await.unwrap()
        })
    });
    let mut versions = Vec::new();
    for patch in patches.collect::<Vec<_>>() {
        versions.push(patch.await.unwrap());
    }
    versions.sort_unstable();
    assert!(versions.into_iter().eq(2..202));
}

#[tokio::test]
async fn a_wish_for_events_fills_the_outbox_with_the_change() {
    let (registry, _) = with_device("d").await;
    registry.patch_reported(&device("d"), b"{}").await.unwrap();
    assert!(registry.outbox_is_empty().await.unwrap(), "nobody asked");
    registry.set_wanted_sources(&[MessageSource::TwinChangeEvents]);
    registry.patch_reported(&device("d"), br#"{"a":1}"#).await.unwrap();
    assert!(!registry.outbox_is_empty().await.unwrap());
}

// C2D-02
#[tokio::test]
async fn c2d_02_the_earlier_of_both_expiries_counts_and_the_past_is_refused() {
    let (registry, clock) = with_device("d").await;
    let until = |secs: u64| {
        let mut message = message("m");
        let at = clock.now().plus(Duration::from_secs(secs)).to_string();
        message.system.set(SystemProperty::Expiry, at);
        message
    };
    registry.enqueue(&device("d"), until(10)).await.unwrap();
    registry.enqueue(&device("d"), until(1_000_000)).await.unwrap();
    let past = registry.enqueue(&device("d"), until(0)).await.unwrap_err();
    assert_eq!(past.code, ErrorCode::InvalidMessageExpiryTime);
    clock.advance(Duration::from_secs(11));
    assert_eq!(registry.lock(&device("d"), 10, LOCK).await.unwrap().len(), 1);
    clock.advance(Duration::from_secs(3600));
    assert!(registry.lock(&device("d"), 10, LOCK).await.unwrap().is_empty());
}

// C2D-04
#[tokio::test]
async fn c2d_04_every_message_says_to_whom() {
    let (registry, _) = with_device("d").await;
    registry.enqueue(&device("d"), message("m")).await.unwrap();
    let locked = registry.lock(&device("d"), 10, LOCK).await.unwrap();
    let to = locked[0].message.system.get(SystemProperty::To).unwrap();
    assert_eq!(&**to, "/devices/d/messages/devicebound");
}

// C2D-03
#[tokio::test]
async fn c2d_03_feedback_follows_the_wish_and_too_many_refusals_end_a_message() {
    let (registry, clock) = with_device("d").await;
    for ack in ["none", "positive", "negative", "full"] {
        let mut message = message(ack);
        message.system.set(SystemProperty::Ack, ack);
        registry.enqueue(&device("d"), message).await.unwrap();
    }
    for round in 0..10 {
        let locked = registry.lock(&device("d"), 10, LOCK).await.unwrap();
        assert_eq!((locked.len(), locked[0].delivery_count), (4, round));
        for one in locked {
            registry.settle(&device("d"), one.lock, Settlement::Abandon).await.unwrap();
        }
    }
    assert!(registry.lock(&device("d"), 10, LOCK).await.unwrap().is_empty());
    clock.advance(Duration::from_secs(15));
    let feedback = registry.lock_feedback(LOCK).await.unwrap();
    let heard: Vec<_> =
        feedback.records.iter().map(|r| (r.original_message_id.as_str(), r.status_code.as_str())).collect();
    assert_eq!(heard, [("negative", "DeliveryCountExceeded"), ("full", "DeliveryCountExceeded")]);
}

#[tokio::test]
async fn expired_messages_leave_with_feedback_while_the_registry_runs() {
    let (registry, clock) = with_device("d").await;
    registry.enqueue(&device("d"), message("m")).await.unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (registry, cancel) = (registry.clone(), cancel.clone());
        async move { registry.run(cancel).await }
    });
    clock.advance(Duration::from_secs(3600));
    let feedback = tokio::spawn({
        let registry = registry.clone();
        async move { registry.lock_feedback(LOCK).await.unwrap() }
    });
    // The record comes at some moment after the clock was turned; its 15 seconds count from there.
    let expired = async {
        while registry.inner.inbox.count(&device("d")) > 0 {
            moment().await;
        }
    };
    within("the end of the message", expired).await;
    clock.advance(Duration::from_secs(15));
    let feedback = within("feedback", feedback).await.unwrap();
    assert_eq!(feedback.records[0].status_code, "Expired");
    cancel.cancel();
    within("the end of the registry", running).await.unwrap();
}

#[tokio::test]
async fn a_waiter_is_woken_by_a_message_and_by_a_lock_given_back() {
    let (registry, _) = with_device("d").await;
    let wait = || {
        let registry = registry.clone();
        tokio::spawn(async move { registry.available(&device("d")).await })
    };
    let waiting = wait();
    registry.enqueue(&device("d"), message("m")).await.unwrap();
    within("a waiter woken", waiting).await.unwrap();
    let locked = registry.lock(&device("d"), 10, LOCK).await.unwrap();
    let waiting = wait();
    registry.settle(&device("d"), locked[0].lock, Settlement::Release).await.unwrap();
    within("a waiter woken", waiting).await.unwrap();
}

#[tokio::test]
async fn a_seed_is_made_once_and_changes_nothing_later() {
    let clock = clock();
    let registry = open(&Memory::new(), &clock);
    let seed = SeedFile::parse(
        r#"{"devices":[{"deviceId":"t","primaryKey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "tags":{"site":"a"},"desired":{"interval":5},"modules":[{"moduleId":"m"}]}],
            "policies":[{"name":"own","permissions":"ServiceConnect"},
                {"name":"service","primaryKey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}],
            "routes":[{"name":"all","endpoints":["events"]}]}"#,
    )
    .unwrap();
    assert_eq!(registry.seed(&seed).await.unwrap(), SeedSummary { created: 2, kept: 0 });
    let stored = registry.get(device("t")).await.unwrap();
    let key = registry.policy("own").await.unwrap().unwrap().primary_key.clone();
    let service = registry.policy("service").await.unwrap().unwrap();
    assert_eq!(service.primary_key.to_base64(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_eq!(registry.seed(&seed).await.unwrap(), SeedSummary { created: 0, kept: 2 });
    assert_eq!(registry.get(device("t")).await.unwrap(), stored);
    assert_eq!(registry.policy("own").await.unwrap().unwrap().primary_key, key);
    let again = registry.policy("service").await.unwrap().unwrap();
    assert_eq!(again.secondary_key, service.secondary_key);
    let twin = registry.twin_view(device("t")).await.unwrap();
    assert_eq!((&twin["tags"]["site"], &twin["properties"]["desired"]["interval"]), (&json!("a"), &json!(5)));
    assert_eq!(seed.routes[0].condition, "true");
}

#[test]
fn a_wrong_seed_names_line_and_column_and_no_secret() {
    let error =
        SeedFile::parse("{\"devices\":[\n {\"deviceId\":\"a\",\"primrayKey\":\"canary\"}]}").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("line 2, column"), "{text}");
    assert!(text.contains("primrayKey") && !text.contains("canary"), "{text}");
}
