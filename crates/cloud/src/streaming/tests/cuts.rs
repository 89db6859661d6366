//! The power is cut at a random disk operation while a job works. Each event that was safe is in the blobs once.

use super::*;

/// Power cuts in a quick run, and with `IRONBROOK_SLOW` in the environment.
const CUTS: u64 = 40;
const CUTS_SLOW: u64 = 1000;
/// After so many cuts the storage is begun anew, so that checks stay quick.
const CUTS_PER_STORAGE: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_lost_or_doubled_by_any_power_cut() {
    let cuts = if std::env::var_os("IRONBROOK_SLOW").is_some() { CUTS_SLOW } else { CUTS };
    let mut total = 0;
    for first in (0..cuts).step_by(usize::try_from(CUTS_PER_STORAGE).unwrap()) {
        let mut storage = Memory::new();
        let node = Node::start(&storage).await;
        let outputs =
            json!({ "o": { "type": "blob", "container": "box", "pathPattern": "x", "maxSeconds": 0 } });
        node.job("one", "SELECT n INTO o FROM i", outputs).await;
        node.stop().await;
        // Parts of that hub may be open for a moment yet.
        storage = storage.power_cut(first);
        let mut safe = Vec::new();
        let mut next = 0_i64;
        for cut in first..first + CUTS_PER_STORAGE {
            storage = load_until_cut(storage, cut, &mut next, &mut safe).await;
        }
        let node = Node::start(&storage).await;
        check(&node, &safe, first).await;
        total += safe.len();
        node.stop().await;
    }
    assert!(total as u64 > 5 * cuts, "only {total} events were safe: the test tests nothing");
}

/// Sends until the power goes off, and gives the storage as it is found afterwards.
async fn load_until_cut(storage: Memory, cut: u64, next: &mut i64, safe: &mut Vec<i64>) -> Memory {
    let node = Node::start(&storage).await;
    // Spread over what one round of the job and its sender do; the seed makes a failure come again.
    storage.power_off_after(cut.wrapping_mul(2_654_435_761) % 400);
    while !storage.is_off() {
        let n = *next;
        *next += 1;
        let (device, body) = (format!("d{}", n % 3), json!({ "n": n }));
        let sent = node.send(&device, &body);
        if within("the event to be safe or the power to be off", sent).await {
            safe.push(n);
        }
        if n % 8 == 0 {
            moment().await;
        }
    }
    // Who is without power closes nothing: a database that met the dead disk must not be asked to put itself in order.
    let cloud = node.cloud.clone();
    node.stop().await;
    std::mem::forget(cloud);
    storage.power_cut(cut)
}

async fn check(node: &Node, safe: &[i64], seed: u64) {
    let look = async {
        loop {
            let lines = node.lines("box").await;
            let mut found: Vec<i64> = lines.iter().map(|line| line["n"].as_i64().unwrap()).collect();
            found.sort_unstable();
            let all = found.len();
            found.dedup();
            assert_eq!(found.len(), all, "storage {seed}: a row is doubled");
            if safe.iter().all(|n| found.binary_search(n).is_ok()) {
                return;
            }
            moment().await;
        }
    };
    within(&format!("storage {seed}: all rows"), look).await;
}
