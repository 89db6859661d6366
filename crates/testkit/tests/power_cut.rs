//! The power is cut at a random disk operation under load. Whatever was acknowledged must be at the events endpoint and in the blobs
//! afterwards, each device's messages in order; what a blob holds stands in it once.
#![allow(clippy::unwrap_used, reason = "a test")]

use ironbrook_client::{Message, SystemProperty};
use ironbrook_log::Memory;
use ironbrook_testkit::Node;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DEVICES: [&str; 3] = ["a", "b", "c"];
/// Power cuts in a quick run, and with `IRONBROOK_SLOW` in the environment.
const CUTS: u64 = 200;
const CUTS_SLOW: u64 = 5000;
/// After so many cuts the storage is begun anew, so that checks stay quick.
const CUTS_PER_STORAGE: u64 = 6;
/// Longest time anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Per device: the numbers acknowledged, and the next number to send.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<u64>,
    next: u64,
}

type Ledger = BTreeMap<&'static str, Sent>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_power_cut() {
    let cuts = if std::env::var_os("IRONBROOK_SLOW").is_some() { CUTS_SLOW } else { CUTS };
    let mut storage = Memory::new();
    let mut ledger = Ledger::new();
    let mut acknowledged = 0;
    for cut in 0..cuts {
        if cut % CUTS_PER_STORAGE == 0 {
            acknowledged += total(&ledger);
            (storage, ledger) = (Memory::new(), Ledger::new());
        }
        let mut random = StdRng::seed_from_u64(cut);
        storage = tokio::time::timeout(PATIENCE, load_until_cut(storage, &mut ledger, &mut random))
            .await
            .expect("the cut ends the load");
        tokio::time::timeout(PATIENCE, check(&storage, &ledger, cut))
            .await
            .unwrap_or_else(|_| panic!("cut {cut}: not all came to the blobs"));
    }
    acknowledged += total(&ledger);
    println!("{cuts} power cuts: {acknowledged} messages acknowledged, none lost, none twice");
    assert!(
        acknowledged > 20 * cuts,
        "only {acknowledged} messages were acknowledged: the test tests nothing"
    );
}

fn total(ledger: &Ledger) -> u64 {
    ledger.values().map(|sent| sent.acknowledged.len() as u64).sum()
}

/// Sends from all devices until the power goes off, and gives the storage as it is found afterwards.
async fn load_until_cut(storage: Memory, ledger: &mut Ledger, random: &mut StdRng) -> Memory {
    let node = Node::start(Arc::new(storage.clone()), &DEVICES).await.unwrap();
    let stop = CancellationToken::new();
    let mut devices = JoinSet::new();
    for id in DEVICES {
        let sent = ledger.remove(id).unwrap_or_default();
        let client = node.device(id).connect().await.unwrap();
        devices.spawn(send(id, client, sent, stop.clone()));
    }
    storage.power_off_after(random.random_range(1..150));
    node.failed().await;
    stop.cancel();
    while let Some(device) = devices.join_next().await {
        let (id, sent) = device.unwrap();
        ledger.insert(id, sent);
    }
    node.stop().await;
    storage.power_cut(random.random())
}

async fn send(
    id: &'static str,
    client: ironbrook_client::DeviceClient,
    mut sent: Sent,
    stop: CancellationToken,
) -> (&'static str, Sent) {
    let mut under_way = std::collections::VecDeque::new();
    loop {
        let number = sent.next;
        let mut message = Message::new(format!(r#"{{"n": {number}}}"#));
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            receipt = client.enqueue(message) => {
                sent.next += 1;
                let Ok(receipt) = receipt else { break };
                under_way.push_back((number, receipt));
            }
        }
        if under_way.len() >= 32 {
            let (number, receipt) = under_way.pop_front().unwrap();
            tokio::select! {
                () = stop.cancelled() => break,
                result = receipt => if result.is_ok() { sent.acknowledged.push(number) },
            }
        }
    }
    // What was acknowledged before the cut but not looked at yet counts as well.
    for (number, receipt) in under_way {
        tokio::select! {
            biased;
            result = receipt => if result.is_ok() { sent.acknowledged.push(number) },
            () = std::future::ready(()) => {}
        }
    }
    (id, sent)
}

async fn check(storage: &Memory, ledger: &Ledger, cut: u64) {
    let node = Node::start(Arc::new(storage.clone()), &DEVICES).await.unwrap();
    let events: Vec<(String, u64)> = node
        .events()
        .await
        .iter()
        .map(|event| {
            let device = event.message.system.get(SystemProperty::ConnectionDeviceId).unwrap();
            (device.to_string(), number(std::str::from_utf8(&event.message.body).unwrap()))
        })
        .collect();
    verify(&events, ledger, &format!("cut {cut}, events"));
    // Stored again from the checkpoint on: a matter of time, bounded by the caller.
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    loop {
        let lines: Vec<(String, u64)> = node.stored_lines().await.iter().map(|line| stored(line)).collect();
        if lines.len() >= events.len() {
            verify(&lines, ledger, &format!("cut {cut}, blobs"));
            assert_eq!(lines.len(), events.len(), "cut {cut}: a blob holds a message twice");
            break;
        }
        pause.tick().await;
    }
    node.stop().await;
}

/// Every acknowledged number is there, and each device's numbers rise.
fn verify(found: &[(String, u64)], ledger: &Ledger, place: &str) {
    for (id, sent) in ledger {
        let numbers: Vec<u64> = found.iter().filter(|(device, _)| device == id).map(|(_, n)| *n).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{place}: {id} out of order or twice");
        for acknowledged in &sent.acknowledged {
            assert!(numbers.binary_search(acknowledged).is_ok(), "{place}: {id} lost {acknowledged}");
        }
    }
}

fn number(body: &str) -> u64 {
    body.trim_start_matches(r#"{"n": "#).trim_end_matches('}').trim().parse().unwrap()
}

fn stored(line: &str) -> (String, u64) {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    (
        line["SystemProperties"]["connectionDeviceId"].as_str().unwrap().to_owned(),
        line["Body"]["n"].as_u64().unwrap(),
    )
}
