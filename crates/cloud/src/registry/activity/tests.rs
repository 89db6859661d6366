use super::super::tests::{HandClock, clock, device, open};
use super::super::{IfMatch, Wish};
use super::*;
use crate::testing::{moment, within};
use ironbrook_hub::Delivery;
use ironbrook_hub::fabric::InProcess;
use ironbrook_hub::seams::{Identities as _, Mailbox};
use ironbrook_log::Memory;
use serde_json::Value;

/// A session that only did something.
struct Busy(Mutex<Activity>);

impl Mailbox for Busy {
    fn deliver(&self, delivery: Delivery) -> Result<(), Delivery> {
        Err(delivery)
    }

    fn close(&self, _: Refusal) {}

    fn changed(&self) {}

    fn takes_methods(&self) -> bool {
        false
    }

    fn takes_desired(&self) -> bool {
        false
    }

    fn activity(&self) -> Activity {
        *self.0.lock().unwrap()
    }
}

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(1_769_850_000_000).plus(Duration::from_secs(second.unsigned_abs())))
}

fn text(second: i64) -> Value {
    at(second).unwrap().to_string().into()
}

fn active(connection_changed: Option<Timestamp>, last: Option<Timestamp>) -> Activity {
    Activity { connection_changed, last }
}

async fn made(memory: &Memory) -> (Registry, Arc<HandClock>, String) {
    let clock = clock();
    let registry = open(memory, &clock);
    let generation_id = registry.create(device("d"), Wish::default()).await.unwrap().generation_id;
    (registry, clock, generation_id)
}

/// `connectionStateUpdatedTime` and `lastActivityTime`.
async fn shown(registry: &Registry) -> [Value; 2] {
    let stored = registry.get(device("d")).await.unwrap();
    let view = registry.identity_view(&device("d"), &stored);
    let listed = registry.list_devices(1).await.unwrap().remove(0);
    assert_eq!(registry.identity_view(&listed.0, &listed.1), view);
    let twin = registry.twin_view(device("d")).await.unwrap();
    let last = view["lastActivityTime"].as_str().unwrap();
    assert_eq!(twin["lastActivityTime"].as_str().unwrap().trim_end_matches('Z'), last.trim_end_matches('Z'));
    [view["connectionStateUpdatedTime"].clone(), view["lastActivityTime"].clone()]
}

const NEVER: &str = "0001-01-01T00:00:00";

#[tokio::test]
async fn what_a_session_left_is_shown_at_once_and_written_within_a_minute() {
    let memory = Memory::new();
    let (registry, clock, generation_id) = made(&memory).await;
    assert_eq!(shown(&registry).await, [NEVER, NEVER]);
    registry.note_activity(&device("d"), &generation_id, active(at(2), at(1)));
    registry.note_activity(&device("d"), &generation_id, active(None, at(5)));
    assert_eq!(shown(&registry).await, [text(2), text(5)]);
    let etag = registry.get(device("d")).await.unwrap().etag;

    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (registry, cancel) = (registry.clone(), cancel.clone());
        async move { registry.run(cancel).await }
    });
    // The task may begin to wait after the clock was turned, so turn it until it wrote.
    let written = async {
        while !registry.inner.activity.ended().is_empty() {
            clock.advance(EVERY);
            moment().await;
        }
    };
    within("the activity written", written).await;
    cancel.cancel();
    within("the end of the registry", running).await.unwrap();
    let after = open(&memory.power_cut(1), &clock);
    assert_eq!(shown(&after).await, [text(2), text(5)]);
    assert_eq!(after.get(device("d")).await.unwrap().etag, etag, "no change of the identity");
}

#[tokio::test]
async fn sessions_under_way_are_shown_and_written_while_they_last() {
    let memory = Memory::new();
    let (registry, clock, _) = made(&memory).await;
    let fabric = Arc::new(InProcess::new(clock.clone(), 10));
    registry.set_fabric(fabric.clone());
    let session = Arc::new(Busy(Mutex::new(active(at(0), at(3)))));
    fabric.claim(&device("d"), session.clone()).await.unwrap();
    assert_eq!(shown(&registry).await, [text(0), text(3)]);
    clock.advance(EVERY);
    registry.write_activity().await.unwrap();
    let stored = registry.get(device("d")).await.unwrap();
    assert_eq!(stored.activity, active(at(0), at(3)));
    *session.0.lock().unwrap() = active(at(0), at(70));
    registry.close().await;
    assert_eq!(shown(&open(&memory.power_cut(1), &clock)).await, [text(0), text(70)]);
}

#[tokio::test]
async fn an_identity_made_anew_did_nothing_yet() {
    let memory = Memory::new();
    let (registry, _, old) = made(&memory).await;
    registry.note_activity(&device("d"), &old, active(at(1), at(1)));
    registry.write_activity().await.unwrap();
    registry.note_activity(&device("d"), &old, active(at(2), at(2)));
    registry.delete(device("d"), IfMatch::Any).await.unwrap();
    registry.create(device("d"), Wish::default()).await.unwrap();
    // The end of the old one's session comes late.
    registry.note_activity(&device("d"), &old, active(at(3), at(3)));
    assert_eq!(shown(&registry).await, [NEVER, NEVER]);
    registry.write_activity().await.unwrap();
    assert_eq!(shown(&registry).await, [NEVER, NEVER]);
    assert!(registry.inner.activity.ended().is_empty());
}
