use super::*;
use crate::testing::{Bench, device, module, request, told, within};
use crate::{Delivery, Operation, Session, Subscription};
use ironbrook_log::Offset;
use ironbrook_model::{Message, MessageSource};
use std::time::Duration;
use tokio::task::JoinHandle;

fn messages(bodies: impl IntoIterator<Item = String>) -> Vec<Routed> {
    let routed = |(offset, body): (u64, String)| Routed {
        offset: Offset(offset),
        event_sequence: None,
        enqueued: Timestamp::from_secs(1),
        source: MessageSource::DeviceMessages,
        message: Message::new(body),
    };
    (0..).zip(bodies).map(routed).collect()
}

fn numbered(count: usize) -> Vec<Routed> {
    messages((0..count).map(|n| n.to_string()))
}

fn deliver(bench: &Bench, messages: Vec<Routed>) -> JoinHandle<InputOutcome> {
    let hub = bench.hub.clone();
    tokio::spawn(async move { hub.deliver_inputs(&module("d1", "m1"), "in1", &messages).await })
}

async fn outcome(delivering: JoinHandle<InputOutcome>) -> InputOutcome {
    within("the outcome", delivering).await.unwrap()
}

async fn connect(bench: &Bench) -> Session {
    let session = bench.hub.connect(request(&module("d1", "m1"))).await.unwrap();
    bench.hub.perform(&session, Operation::Subscribe(Subscription::Inputs)).await.unwrap();
    session
}

async fn next(session: &Session) -> (LockToken, String) {
    match told(session).await {
        Delivery::Input { input, message } => {
            assert_eq!(input, "in1");
            (message.lock, String::from_utf8(message.message.body.to_vec()).unwrap())
        }
        other => panic!("not an input: {other:?}"),
    }
}

async fn settle(bench: &Bench, session: &Session, lock: LockToken, settlement: Settlement) {
    bench.hub.perform(session, Operation::Settle { lock, settlement }).await.unwrap();
}

const COMPLETE: Option<Settlement> = Some(Settlement::Complete);

#[tokio::test]
async fn messages_come_in_order_and_are_settled_one_by_one() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(3));
    let mut locks = Vec::new();
    for expected in ["0", "1", "2"] {
        let (lock, body) = next(&session).await;
        assert_eq!(body, expected);
        locks.push(lock);
    }
    settle(&bench, &session, locks[2], Settlement::Complete).await;
    settle(&bench, &session, locks[0], Settlement::Complete).await;
    settle(&bench, &session, locks[1], Settlement::Reject).await;
    let all = InputOutcome { settled: vec![COMPLETE, Some(Settlement::Reject), COMPLETE], stopped: None };
    assert_eq!(outcome(delivering).await, all);
    let again = Operation::Settle { lock: locks[0], settlement: Settlement::Complete };
    bench.hub.perform(&session, again).await.unwrap_err();
    assert_eq!((bench.metrics.inputs_completed.get(), bench.metrics.inputs_rejected.get()), (2, 1));
}

#[tokio::test]
async fn nobody_there_or_not_subscribed_is_told_at_once() {
    let bench = Bench::new();
    let stopped = |outcome: InputOutcome| {
        assert_eq!(outcome.settled, [None]);
        outcome.stopped
    };
    assert_eq!(stopped(outcome(deliver(&bench, numbered(1))).await), Some(InputStop::NotConnected));
    let session = bench.hub.connect(request(&module("d1", "m1"))).await.unwrap();
    assert_eq!(stopped(outcome(deliver(&bench, numbered(1))).await), Some(InputStop::NotSubscribed));
    let nothing = InputOutcome { settled: Vec::new(), stopped: None };
    assert_eq!(outcome(deliver(&bench, numbered(0))).await, nothing);
    drop(session);
}

#[tokio::test]
async fn the_window_bounds_what_a_session_has_unsettled() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    // Two calls share the window.
    let first = deliver(&bench, numbered(INPUTS_UNSETTLED_MAX));
    let mut locks = Vec::new();
    for _ in 0..INPUTS_UNSETTLED_MAX {
        locks.push(next(&session).await.0);
    }
    let second = deliver(&bench, messages(["late".to_owned()]));
    settle(&bench, &session, locks.remove(0), Settlement::Complete).await;
    let (late, body) = next(&session).await;
    assert_eq!(body, "late");
    settle(&bench, &session, late, Settlement::Complete).await;
    assert_eq!(outcome(second).await.settled, [COMPLETE]);
    for lock in locks {
        settle(&bench, &session, lock, Settlement::Complete).await;
    }
    assert_eq!(outcome(first).await.stopped, None);
}

#[tokio::test]
async fn bytes_bound_the_window_but_never_a_message_alone() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let large = "x".repeat(INPUTS_UNSETTLED_BYTES_MAX + 1);
    let delivering = deliver(&bench, messages([large, "small".to_owned()]));
    let (lock, body) = next(&session).await;
    assert_eq!(body.len(), INPUTS_UNSETTLED_BYTES_MAX + 1);
    settle(&bench, &session, lock, Settlement::Complete).await;
    let (lock, body) = next(&session).await;
    assert_eq!(body, "small", "only after the large one");
    settle(&bench, &session, lock, Settlement::Complete).await;
    assert_eq!(outcome(delivering).await.stopped, None);
}

#[tokio::test]
async fn after_one_given_back_nothing_more_is_delivered_and_what_was_settled_is_told() {
    let stops = [InputStop::Abandoned(1), InputStop::SessionEnded];
    for (back, stopped) in [Settlement::Abandon, Settlement::Release].into_iter().zip(stops) {
        let bench = Bench::new();
        let session = connect(&bench).await;
        let delivering = deliver(&bench, numbered(5));
        let mut locks = Vec::new();
        for _ in 0..3 {
            locks.push(next(&session).await.0);
        }
        settle(&bench, &session, locks[0], Settlement::Complete).await;
        settle(&bench, &session, locks[1], back).await;
        // It has the third already, and settles it.
        settle(&bench, &session, locks[2], Settlement::Complete).await;
        let outcome = outcome(delivering).await;
        assert_eq!(outcome.settled, [COMPLETE, None, COMPLETE, None, None]);
        assert_eq!(outcome.stopped, Some(stopped));
        let again = deliver(&bench, messages(["again".to_owned()]));
        assert_eq!(next(&session).await.1, "again", "the others were taken back");
        again.abort();
    }
}

#[tokio::test]
async fn the_end_of_the_session_ends_the_call_with_what_was_settled() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(2));
    let (lock, _) = next(&session).await;
    next(&session).await;
    settle(&bench, &session, lock, Settlement::Complete).await;
    drop(session);
    let ended = InputOutcome { settled: vec![COMPLETE, None], stopped: Some(InputStop::SessionEnded) };
    assert_eq!(outcome(delivering).await, ended);

    let old = connect(&bench).await;
    let delivering = deliver(&bench, numbered(1));
    next(&old).await;
    let new = connect(&bench).await;
    assert_eq!(outcome(delivering).await.stopped, Some(InputStop::SessionEnded), "superseded");
    let delivering = deliver(&bench, numbered(1));
    let (lock, body) = next(&new).await;
    assert_eq!(body, "0", "and the new one gets it");
    settle(&bench, &new, lock, Settlement::Complete).await;
    assert_eq!(outcome(delivering).await.stopped, None);
}

#[tokio::test]
async fn an_unsubscription_stops_what_waits_and_leaves_what_the_module_has() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(2));
    let (lock, _) = next(&session).await;
    bench.hub.perform(&session, Operation::Unsubscribe(Subscription::Inputs)).await.unwrap();
    settle(&bench, &session, lock, Settlement::Complete).await;
    let outcome = outcome(delivering).await;
    assert_eq!((outcome.settled, outcome.stopped), (vec![COMPLETE, None], Some(InputStop::NotSubscribed)));
}

#[tokio::test]
async fn a_module_that_settles_nothing_for_a_while_gets_all_again_and_slowness_is_none() {
    let bench = Bench::new();
    let timeout = bench.hub.limits().input_ack_timeout;
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(3));
    let mut locks = Vec::new();
    for _ in 0..3 {
        locks.push(next(&session).await.0);
    }
    let start = crate::testing::START;
    bench.clock.sleeper(start.plus(timeout)).await;
    // Just in time, which gives it the whole time again for the others.
    bench.clock.advance(timeout - Duration::from_secs(1));
    settle(&bench, &session, locks[0], Settlement::Complete).await;
    bench.clock.sleeper(start.plus(timeout * 2 - Duration::from_secs(1))).await;
    bench.clock.advance(timeout);
    let outcome = outcome(delivering).await;
    assert_eq!((outcome.settled, outcome.stopped), (vec![COMPLETE, None, None], Some(InputStop::TimedOut)));
    let late = Operation::Settle { lock: locks[1], settlement: Settlement::Complete };
    bench.hub.perform(&session, late).await.unwrap_err();
    assert_eq!(bench.metrics.inputs_completed.get(), 1, "too late");
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_back_what_is_out() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(2));
    let (lock, _) = next(&session).await;
    delivering.abort();
    within("the end of the call", delivering).await.unwrap_err();
    let late = Operation::Settle { lock, settlement: Settlement::Complete };
    bench.hub.perform(&session, late).await.unwrap_err();
    let delivering = deliver(&bench, messages(["new".to_owned()]));
    assert_eq!(next(&session).await.1, "new");
    delivering.abort();
}

#[tokio::test]
async fn readiness_is_told_without_asking_again_and_again() {
    let bench = Bench::new();
    let to = module("d1", "m1");
    let hub = bench.hub.clone();
    let waiting = tokio::spawn(async move { hub.inputs_ready(&module("d1", "m1")).await });
    let session = bench.hub.connect(request(&to)).await.unwrap();
    bench.hub.perform(&session, Operation::Subscribe(Subscription::Methods)).await.unwrap();
    assert!(!waiting.is_finished());
    bench.hub.perform(&session, Operation::Subscribe(Subscription::Inputs)).await.unwrap();
    within("readiness", waiting).await.unwrap();
    within("readiness at once", bench.hub.inputs_ready(&to)).await;
}

#[tokio::test]
async fn other_deliveries_are_not_held_up_by_inputs() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    bench.hub.perform(&session, Operation::Subscribe(Subscription::DesiredProperties)).await.unwrap();
    let delivering = deliver(&bench, numbered(INPUTS_UNSETTLED_MAX));
    next(&session).await;
    bench.twins.change(&module("d1", "m1"), 7);
    assert!(matches!(told(&session).await, Delivery::DesiredProperties { version: 7, .. }));
    delivering.abort();
}

#[tokio::test]
async fn locks_of_inputs_are_of_their_session_only() {
    let bench = Bench::new();
    let session = connect(&bench).await;
    let delivering = deliver(&bench, numbered(1));
    let (lock, _) = next(&session).await;
    let other = bench.hub.connect(request(&device("d2"))).await.unwrap();
    let foreign = Operation::Settle { lock, settlement: Settlement::Complete };
    bench.hub.perform(&other, foreign).await.unwrap_err();
    settle(&bench, &session, lock, Settlement::Complete).await;
    assert_eq!(outcome(delivering).await.settled, [COMPLETE]);
}
