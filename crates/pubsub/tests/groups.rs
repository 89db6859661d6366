//! What a member of a group had not done when its session ended goes to another: section 4.8.2 of MQTT 5.0.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use ironbrook_log::{Log, Memory};
use ironbrook_pubsub::{Broker, QoS};
use support::{Answers, Client, NOW, info, later, log_on, message, open, to};

async fn member(broker: &Broker, id: &str, qos: QoS) -> Client {
    let mut client = Client::new();
    client.connect(broker, info(id, true, 100), NOW).await;
    client.subscribe(broker, to("$share/g/work/+", qos), NOW).await;
    client
}

async fn publish(broker: &Broker, qos: QoS, payloads: std::ops::Range<usize>) {
    let mut publisher = Client::new();
    publisher.connect(broker, info("publisher", true, 0), NOW).await;
    for payload in payloads {
        let one = message("work/a", &payload.to_string(), qos, false);
        publisher.publish(broker, one, 1, NOW).await.unwrap();
    }
}

fn payloads(client: &Client) -> Vec<String> {
    client.reliable.iter().map(|got| got.payload.clone()).collect()
}

async fn run(memory: Option<Memory>) {
    let log = memory.as_ref().map(log_on);
    let broker = open(log.clone()).await;
    let mut gone = member(&broker, "gone", QoS::ExactlyOnce).await;
    publish(&broker, QoS::AtLeastOnce, 0..3).await;
    publish(&broker, QoS::ExactlyOnce, 3..5).await;
    // All are sent, none is answered; two more wait behind them.
    gone.read(&broker, Answers::None, NOW).await;
    assert_eq!(payloads(&gone).len(), 5);
    gone.session = None;
    publish(&broker, QoS::AtLeastOnce, 5..6).await;
    publish(&broker, QoS::ExactlyOnce, 6..7).await;
    let mut other = member(&broker, "other", QoS::AtLeastOnce).await;
    other.read(&broker, Answers::All, NOW).await;
    assert_eq!(payloads(&other), [""; 0], "the session may still come back");
    // [MQTT-4.8.2-5]: but what of quality 2 was begun.
    broker.tick(later(101));
    other.read(&broker, Answers::All, later(101)).await;
    assert_eq!(payloads(&other), ["0", "1", "2", "5", "6"]);
    // Nobody is left: they are dropped.
    publish(&broker, QoS::AtLeastOnce, 7..9).await;
    let dropped = broker.snapshot().messages_dropped;
    let clean = broker.connect(info("other", true, 0), NOW).unwrap();
    drop(clean);
    assert_eq!(broker.snapshot().messages_dropped, dropped + 2);
    broker.synced().await.unwrap();
    assert_eq!(broker.snapshot().stored_bytes, 0);
    if let Some(log) = log {
        log.close().await;
    }
}

#[tokio::test]
async fn another_member_gets_what_was_not_done() {
    run(None).await;
}

#[tokio::test]
async fn another_member_gets_what_was_not_done_from_disk_too() {
    run(Some(Memory::forgetful())).await;
}

#[tokio::test]
async fn what_went_to_another_is_on_disk() {
    let memory = Memory::forgetful();
    let log = log_on(&memory);
    let broker = open(Some(log.clone())).await;
    let gone = member(&broker, "gone", QoS::AtLeastOnce).await;
    publish(&broker, QoS::AtLeastOnce, 0..3).await;
    let mut other = member(&broker, "other", QoS::AtLeastOnce).await;
    drop(gone);
    drop(broker.connect(info("gone", true, 0), NOW).unwrap());
    other.session = None;
    broker.synced().await.unwrap();
    drop(broker);
    log.close().await;
    let broker = open(Some(log_on(&memory))).await;
    assert!(other.connect(&broker, info("other", false, 100), NOW).await);
    other.read(&broker, Answers::All, NOW).await;
    assert_eq!(payloads(&other), ["0", "1", "2"]);
}
