//! The contract of [`Inbox`].

use crate::TestClock;
use ironbrook_hub::Settlement;
use ironbrook_hub::seams::{Inbox, Kept};
use ironbrook_model::{ErrorCode, Identity, Message, SystemProperty};
use std::time::Duration;

const LOCK: Duration = Duration::from_secs(60);
/// Messages a device may have waiting (Azure docs, "Quotas and throttling").
const DEPTH_MAX: usize = 50;

fn message(id: &str, ack: &str) -> Message {
    let mut message = Message::new(id.to_owned());
    message.system.set(SystemProperty::MessageId, id.to_owned());
    message.system.set(SystemProperty::Ack, ack.to_owned());
    message
}

fn texts(locked: &[ironbrook_hub::LockedMessage]) -> Vec<&str> {
    locked.iter().map(|l| std::str::from_utf8(&l.message.body).unwrap()).collect()
}

/// Runs the whole suite. `known` are two enabled identities with empty queues, `unknown` does not exist.
pub async fn run(inbox: &dyn Inbox, clock: &TestClock, known: [&Identity; 2], unknown: &Identity) {
    let [a, b] = known;
    let refused = inbox.enqueue(unknown, message("x", "none")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceNotFound);

    for id in ["1", "2", "3"] {
        inbox.enqueue(a, message(id, "full")).await.unwrap();
    }
    inbox.available(a).await;
    assert!(inbox.lock(b, 10, LOCK).await.unwrap().is_empty(), "queues are apart");
    let first = inbox.lock(a, 2, LOCK).await.unwrap();
    assert_eq!(texts(&first), ["1", "2"]);
    assert_eq!(first[0].delivery_count, 0);

    inbox.settle(a, first[0].lock, Settlement::Complete).await.unwrap();
    let twice = inbox.settle(a, first[0].lock, Settlement::Complete).await.unwrap_err();
    assert_eq!(twice.code, ErrorCode::DeviceMessageLockLost);

    // Abandoned: back in its old place, before the one never delivered, and counted.
    inbox.settle(a, first[1].lock, Settlement::Abandon).await.unwrap();
    let again = inbox.lock(a, 10, LOCK).await.unwrap();
    assert_eq!(texts(&again), ["2", "3"]);
    assert_eq!((again[0].delivery_count, again[1].delivery_count), (1, 0));

    // The lock runs out: back in place, and the old lock is worth nothing.
    clock.advance(LOCK + Duration::from_secs(1));
    let relocked = inbox.lock(a, 10, LOCK).await.unwrap();
    assert_eq!(texts(&relocked), ["2", "3"]);
    let lost = inbox.settle(a, again[0].lock, Settlement::Complete).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::DeviceMessageLockLost);

    inbox.settle(a, relocked[0].lock, Settlement::Reject).await.unwrap();
    inbox.settle(a, relocked[1].lock, Settlement::Release).await.unwrap();
    assert_eq!(inbox.purge(a).await.unwrap(), 1);
    assert!(inbox.lock(a, 10, LOCK).await.unwrap().is_empty());

    clock.advance(Duration::from_secs(16));
    let feedback = inbox.lock_feedback(LOCK).await.unwrap();
    let mut ends: Vec<_> =
        feedback.records.iter().map(|r| (r.original_message_id.as_str(), r.status_code.as_str())).collect();
    ends.sort_unstable();
    assert_eq!(ends, [("1", "Success"), ("2", "Rejected"), ("3", "Purged")]);
    inbox.settle_feedback(feedback.lock, Settlement::Complete).await.unwrap();

    for n in 0..DEPTH_MAX {
        inbox.enqueue(b, message(&n.to_string(), "none")).await.unwrap();
    }
    let full = inbox.enqueue(b, message("too much", "none")).await.unwrap_err();
    assert_eq!(full.code, ErrorCode::DeviceMaximumQueueDepthExceeded);
    // The default time to live is an hour: all of them go.
    clock.advance(Duration::from_secs(3601));
    assert!(inbox.lock(b, 10, LOCK).await.unwrap().is_empty());
    inbox.enqueue(b, message("room again", "none")).await.unwrap();

    assert!(!inbox.is_subscribed(a).await.unwrap());
    inbox.set_subscribed(a, true).await.unwrap();
    assert!(inbox.is_subscribed(a).await.unwrap());
    inbox.set_subscribed(a, false).await.unwrap();
    assert!(!inbox.is_subscribed(a).await.unwrap());
    assert_eq!(inbox.kept(a).await.unwrap(), Kept::default());
    let kept = Kept { methods: true, inputs: true, ..Kept::default() };
    inbox.keep(a, kept).await.unwrap();
    assert_eq!(inbox.kept(a).await.unwrap(), kept);
    for bits in 0..16 {
        inbox.keep(a, Kept::from_bits(bits)).await.unwrap();
        assert_eq!(inbox.kept(a).await.unwrap().bits(), bits);
    }
    inbox.keep(a, Kept::default()).await.unwrap();
    assert_eq!(inbox.kept(a).await.unwrap(), Kept::default());
}
