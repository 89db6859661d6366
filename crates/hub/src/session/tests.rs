use super::*;
use crate::seams::{Identities, Inbox};
use crate::testing::{Bench, closed, device, eventually, key, module, record, request, signed, told, within};
use crate::{ConnectRequest, Operation, Subscription};
use ironbrook_model::{AuthenticationType, IdentityRecord, IdentityStatus, Message, SymmetricKeys};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;

const COMMANDS: Subscription = Subscription::CloudToDevice { persistent: false };

async fn subscribe(bench: &Bench, session: &Session, subscription: Subscription) {
    bench.hub.perform(session, Operation::Subscribe(subscription)).await.unwrap();
}

async fn enqueue(bench: &Bench, texts: std::ops::Range<u32>) {
    for text in texts {
        bench.inbox.enqueue(&device("d1"), Message::new(text.to_string())).await.unwrap();
    }
}

async fn command(session: &Session) -> (LockToken, String) {
    match told(session).await {
        Delivery::CloudToDevice(locked) => {
            (locked.lock, String::from_utf8(locked.message.body.to_vec()).unwrap())
        }
        other => panic!("not a command: {other:?}"),
    }
}

/// Whether the session has nothing to tell now.
///
/// All it waits for here answers in the same thread, so one poll takes it as far as it can come: to the delivery, or to where
/// it waits for something that did not happen.
async fn is_silent(session: &Session) -> bool {
    let mut next = std::pin::pin!(tokio::task::unconstrained(session.next()));
    std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn the_newest_connection_wins_rule_hub_01() {
    let bench = Bench::new();
    let old = bench.connect("d1").await;
    let other = bench.connect("d2").await;
    let new = bench.connect("d1").await;
    assert_eq!(closed(&old).await, ErrorCode::ConnectionForcefullyClosedOnNewConnection);
    assert!(is_silent(&old).await, "nothing follows the end");
    assert!(is_silent(&new).await && is_silent(&other).await);
    let refused = bench.hub.telemetry(&old, &Message::new("late")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::ConnectionForcefullyClosedOnNewConnection);
    assert!(bench.hub.will(&old, &Message::new("will")).unwrap().is_some(), "but its will is heard");
    drop(old);
    assert!(bench.hub.is_connected(&device("d1")), "the old one's end takes nothing from the new one");
    drop(new);
    assert!(!bench.hub.is_connected(&device("d1")));
    assert_eq!(bench.metrics.connected.get(), 1);
}

#[tokio::test]
async fn a_request_that_does_not_last_claims_nothing() {
    let bench = Bench::new();
    let lasting = bench.connect("d1").await;
    let once = ConnectRequest { lasting: false, ..request(&device("d1")) };
    let http = bench.hub.connect(once).await.unwrap();
    bench.hub.perform(&http, Operation::GetTwin).await.unwrap();
    drop(http);
    assert!(is_silent(&lasting).await);
}

#[tokio::test]
async fn the_end_of_the_token_ends_the_session_and_a_renewal_puts_it_off() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let ends = session.expires().unwrap();
    assert!(is_silent(&session).await);
    let later = signed("hub.test/devices/d1", ends.plus(Duration::from_secs(3600)), None, &key("d1"));
    bench.hub.renew(&session, Credential::Sas(later)).await.unwrap();
    bench.clock.advance(ends.since(crate::testing::START));
    assert!(is_silent(&session).await);
    let wrong = signed("hub.test/devices/d1", ends.plus(Duration::from_secs(9999)), None, &key("d2"));
    bench.hub.renew(&session, Credential::Sas(wrong)).await.unwrap_err();
    bench.clock.advance(Duration::from_secs(3900));
    assert_eq!(closed(&session).await, ErrorCode::IotHubUnauthorized);
}

#[tokio::test]
async fn a_changed_identity_is_checked_again_rule_hub_08() {
    let bench = Bench::new();
    let d1 = device("d1");
    let session = bench.connect("d1").await;
    // A change that leaves the credential valid.
    bench.identities.put(record(&d1));
    assert!(is_silent(&session).await);
    bench.identities.put(IdentityRecord { status: IdentityStatus::Disabled, ..record(&d1) });
    assert_eq!(closed(&session).await, ErrorCode::DeviceDisabled);

    bench.identities.put(record(&d1));
    let session = bench.connect("d1").await;
    let keys = SymmetricKeys { primary: key("new"), secondary: key("newer") };
    bench.identities.put(IdentityRecord { authentication: AuthenticationType::Sas(keys), ..record(&d1) });
    assert_eq!(closed(&session).await, ErrorCode::IotHubUnauthorized);

    bench.identities.put(record(&d1));
    let session = bench.connect("d1").await;
    bench.identities.put(IdentityRecord { generation_id: "2".to_owned(), ..record(&d1) });
    assert_eq!(closed(&session).await, ErrorCode::IotHubUnauthorized);

    bench.identities.put(record(&d1));
    let session = bench.connect("d1").await;
    bench.identities.remove(&d1);
    assert_eq!(closed(&session).await, ErrorCode::DeviceNotFound);
}

#[tokio::test]
async fn a_disabled_device_takes_its_modules_with_it() {
    let bench = Bench::new();
    let session = bench.hub.connect(request(&module("d1", "m1"))).await.unwrap();
    let other = bench.connect("d2").await;
    bench.identities.put(IdentityRecord { status: IdentityStatus::Disabled, ..record(&device("d1")) });
    assert_eq!(closed(&session).await, ErrorCode::DeviceDisabled);
    assert!(is_silent(&other).await);
}

#[tokio::test]
async fn an_expired_but_once_accepted_token_survives_a_change_of_the_identity() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    session.renew(None);
    bench.clock.advance(Duration::from_secs(100_000));
    bench.identities.put(record(&device("d1")));
    assert!(is_silent(&session).await);
}

#[tokio::test]
async fn commands_come_in_order_and_only_ten_unsettled_rule_hub_03() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    enqueue(&bench, 0..12).await;
    assert!(is_silent(&session).await, "nothing before a subscription");
    subscribe(&bench, &session, COMMANDS).await;
    let mut tokens = Vec::new();
    for wanted in 0..10 {
        let (token, text) = command(&session).await;
        assert_eq!(text, wanted.to_string());
        tokens.push(token);
    }
    assert!(is_silent(&session).await, "the window is full");
    let complete = Operation::Settle { lock: tokens[0], settlement: Settlement::Complete };
    bench.hub.perform(&session, complete).await.unwrap();
    assert_eq!(command(&session).await.1, "10");
    assert!(is_silent(&session).await);
    let lost = Operation::Settle { lock: tokens[0], settlement: Settlement::Complete };
    let refused = bench.hub.perform(&session, lost).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceMessageLockLost);
    // Locks that ended by themselves no longer fill the window.
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(command(&session).await.1, "11");
}

#[tokio::test]
async fn dropping_a_session_gives_all_its_locks_back() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    enqueue(&bench, 0..12).await;
    subscribe(&bench, &session, COMMANDS).await;
    command(&session).await;
    assert_eq!(bench.inbox.waiting(), 2, "one handed out, nine ready");
    drop(session);
    within("the end of the hub", bench.hub.close()).await;
    assert_eq!(bench.inbox.waiting(), 12);
}

#[tokio::test]
async fn a_lock_under_way_is_lost_neither_by_a_cancelled_next_nor_by_a_drop() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let permits = bench.inbox.gate.forget_permits(Semaphore::MAX_PERMITS);
    enqueue(&bench, 0..1).await;
    subscribe(&bench, &session, COMMANDS).await;
    for _ in 0..5 {
        assert!(is_silent(&session).await);
    }
    bench.inbox.gate.add_permits(permits);
    assert_eq!(command(&session).await.1, "0");
    assert_eq!(bench.inbox.locks.load(Ordering::Relaxed), 1, "one lock, however often next was cancelled");

    bench.inbox.gate.forget_permits(permits);
    enqueue(&bench, 1..2).await;
    assert!(is_silent(&session).await);
    drop(session);
    bench.inbox.gate.add_permits(permits);
    within("the end of the hub", bench.hub.close()).await;
    assert_eq!(bench.inbox.waiting(), 2);
}

#[tokio::test]
async fn an_unsubscription_gives_back_what_was_not_handed_out() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    enqueue(&bench, 0..3).await;
    subscribe(&bench, &session, COMMANDS).await;
    let (token, _) = command(&session).await;
    bench.hub.perform(&session, Operation::Unsubscribe(COMMANDS)).await.unwrap();
    assert!(is_silent(&session).await);
    eventually("two messages given back", || bench.inbox.waiting() == 2).await;
    let complete = Operation::Settle { lock: token, settlement: Settlement::Complete };
    bench.hub.perform(&session, complete).await.unwrap();
    assert_eq!(bench.inbox.len(), 2);
}

#[tokio::test]
async fn a_persistent_subscription_counts_before_the_first_subscribe_rule_hub_04() {
    let bench = Bench::new();
    let lasting = || ConnectRequest { clean_session: false, ..request(&device("d1")) };
    let session = bench.hub.connect(lasting()).await.unwrap();
    enqueue(&bench, 0..1).await;
    assert!(is_silent(&session).await);
    subscribe(&bench, &session, Subscription::CloudToDevice { persistent: true }).await;
    drop(session);
    let clean = bench.connect("d1").await;
    assert!(is_silent(&clean).await, "a clean session waits for its own subscription");
    let session = bench.hub.connect(lasting()).await.unwrap();
    assert_eq!(command(&session).await.1, "0");
}

#[tokio::test]
async fn desired_changes_reach_subscribers_in_order_and_a_deaf_one_is_closed() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    bench.twins.change(&device("d1"), 2);
    assert!(is_silent(&session).await, "not subscribed");
    subscribe(&bench, &session, Subscription::DesiredProperties).await;
    bench.twins.change(&device("d1"), 3);
    bench.twins.change(&device("d2"), 9);
    bench.twins.change(&device("d1"), 4);
    for wanted in [3, 4] {
        let Delivery::DesiredProperties { version, .. } = told(&session).await else { panic!("not desired") };
        assert_eq!(version, wanted);
    }
    for version in 5..100 {
        bench.twins.change(&device("d1"), version);
    }
    assert_eq!(closed(&session).await, ErrorCode::DeviceThrottlingLimitExceeded);
}

#[tokio::test]
async fn activity_is_seen_while_connected_and_noted_at_the_end() {
    let bench = Bench::new();
    let minute = |n: u64| Some(crate::testing::START.plus(Duration::from_secs(60 * n)));
    let seen = || bench.hub.seams().fabric.find(&device("d1")).map(|(_, mailbox)| mailbox.activity());
    let active = |connection_changed, last| Activity { connection_changed, last };
    let pass = || bench.clock.advance(Duration::from_secs(60));
    let session = bench.connect("d1").await;
    assert_eq!(seen(), Some(active(minute(0), minute(0))));
    pass();
    bench.hub.telemetry(&session, &Message::new("x")).unwrap();
    assert_eq!(seen(), Some(active(minute(0), minute(1))));
    pass();
    bench.hub.telemetry(&session, &Message::new(vec![0; 300_000])).unwrap_err();
    bench.hub.perform(&session, Operation::GetTwin).await.unwrap();
    assert_eq!(seen(), Some(active(minute(0), minute(1))), "neither refused telemetry nor a twin counts");
    subscribe(&bench, &session, COMMANDS).await;
    enqueue(&bench, 0..1).await;
    command(&session).await;
    assert_eq!(seen(), Some(active(minute(0), minute(2))));
    let fabric = &bench.hub.seams().fabric;
    assert_eq!(fabric.active_since(minute(2).unwrap()).len(), 1);
    assert_eq!(fabric.active_since(minute(3).unwrap()), []);

    pass();
    let new = bench.connect("d1").await;
    drop(session);
    pass();
    drop(new);
    let once = ConnectRequest { lasting: false, ..request(&device("d1")) };
    let http = bench.hub.connect(once.clone()).await.unwrap();
    bench.hub.telemetry(&http, &Message::new("x")).unwrap();
    drop(http);
    drop(bench.hub.connect(once).await.unwrap());
    let noted: Vec<_> = bench.identities.noted.lock().unwrap().drain(..).map(|(_, a)| a).collect();
    // The superseded one tells no end, and a request that moved no message tells nothing.
    let wanted = [active(minute(0), minute(2)), active(minute(4), minute(3)), active(None, minute(4))];
    assert_eq!(noted, wanted);
}

#[tokio::test]
async fn closing_the_hub_ends_sessions() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    within("the end of the hub", bench.hub.close()).await;
    assert_eq!(closed(&session).await, ErrorCode::ServiceUnavailable);
}

#[tokio::test]
async fn the_announced_model_reaches_the_twin() {
    let bench = Bench::new();
    let with = ConnectRequest { model_id: Some("dtmi:x;1".to_owned()), ..request(&device("d1")) };
    bench.hub.connect(with).await.unwrap();
    assert_eq!(*bench.twins.models.lock().unwrap(), ["dtmi:x;1"]);
    assert!(bench.identities.find(&device("d1")).await.unwrap().is_some());
}
