//! Kills and broken connections: nothing is lost, and nothing counts twice.

use super::Bench;
use serde_json::{Value, json};
use std::time::Duration;

const QUERY: &str = "SELECT COUNT(*) AS n, SUM(v) AS s, System.Timestamp() AS t INTO o
FROM i TIMESTAMP BY at GROUP BY TumblingWindow(second, 1)";
/// Messages of a run, three at a time.
const MESSAGES: i64 = 15;

/// Sends all messages, whoever listens.
async fn feed(bench: &Bench) {
    for v in 0..MESSAGES {
        bench.event("i", json!({ "v": v }));
        tokio::time::sleep(Duration::from_millis(if v % 3 == 2 { 790 } else { 10 })).await;
    }
}

/// A run with a kill at a step of the module; gives the rows, and the number of steps.
async fn run(kill_at: Option<usize>) -> (Vec<Value>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on_disk(&folder);
    bench.query(QUERY);
    bench.hub.kill_at(kill_at);
    let link = bench.start();
    let restart = async {
        if let Some(step) = kill_at {
            bench.hub.killed(link.process).await;
            // Sometimes everybody has waited for longer than the tolerance for late events.
            bench.sleep(if step % 2 == 0 { 0.3 } else { 9.0 }).await;
            bench.start();
        }
        bench.hub.until("all rows", |_| sum(&bench) == MESSAGES * (MESSAGES - 1) / 2).await;
        bench.hub.until("completion", |hub| hub.waiting() == 0).await;
        // What could come twice comes by then.
        bench.sleep(20.0).await;
    };
    tokio::join!(feed(&bench), restart);
    assert_eq!(bench.hub.completed(), MESSAGES as u64);
    (bench.rows("o"), bench.hub.steps())
}

fn sum(bench: &Bench) -> i64 {
    bench.rows("o").iter().filter_map(|row| row["s"].as_i64()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_step_changes_no_row() {
    let (wanted, steps) = run(None).await;
    assert!(wanted.len() > 3 && steps > 2 * MESSAGES as usize, "{wanted:?} {steps}");
    for step in 1..=steps {
        let (rows, _) = run(Some(step)).await;
        assert_eq!(rows, wanted, "killed at step {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_repeats_messages_and_none_counts_twice() {
    let bench = Bench::in_memory();
    bench.query(QUERY);
    let link = bench.start();
    bench.status("running").await;
    let disturb = async {
        for _ in 0..40 {
            bench.sleep(0.11).await;
            bench.hub.reconnect(&link);
        }
        bench.hub.until("completion", |hub| hub.waiting() == 0).await;
        bench.sleep(20.0).await;
    };
    tokio::join!(feed(&bench), disturb);
    let count: i64 = bench.rows("o").iter().filter_map(|row| row["n"].as_i64()).sum();
    assert_eq!((count, sum(&bench)), (MESSAGES, MESSAGES * (MESSAGES - 1) / 2));
}

#[tokio::test(start_paused = true)]
async fn what_an_old_connection_brought_counts_when_the_new_one_brings_it_again() {
    let bench = Bench::in_memory();
    bench.query(QUERY);
    let link = bench.start();
    bench.status("running").await;
    for v in [1, 2, 4] {
        bench.event("i", json!({ "v": v }));
    }
    // Nobody has looked at them yet.
    bench.hub.reconnect(&link);
    bench.hub.until("completion", |hub| hub.waiting() == 0).await;
    bench.wait_for_rows("o", 1).await;
    bench.sleep(20.0).await;
    assert_eq!(sum(&bench), 7);
}

#[tokio::test(start_paused = true)]
async fn rows_that_were_acknowledged_do_not_come_again_after_a_later_start() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on_disk(&folder);
    bench.query(QUERY);
    bench.start();
    bench.status("running").await;
    bench.event("i", json!({ "v": 1 }));
    bench.wait_for_rows("o", 1).await;
    bench.sleep(5.0).await;
    let sent = bench.hub.outputs().len();
    for _ in 0..3 {
        bench.start();
        bench.status("running").await;
        bench.sleep(30.0).await;
    }
    assert_eq!(bench.hub.outputs().len(), sent);
}

#[tokio::test(start_paused = true)]
async fn damaged_state_is_left_aside_and_the_query_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on_disk(&folder);
    bench.query(QUERY);
    bench.start();
    bench.event("i", json!({ "v": 1 }));
    bench.wait_for_rows("o", 1).await;
    for file in ["state", "job.json"] {
        std::fs::write(folder.path().join(file), b"x").unwrap();
    }
    bench.start();
    bench.event("i", json!({ "v": 2 }));
    let rows = bench.wait_for_rows("o", 2).await;
    assert_eq!(rows[1]["s"], 2);
    let lines = bench.lines();
    assert!(lines.contains("The state of the windows is lost") && lines.contains("kept job"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_holds_everything_back_until_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("state-folder");
    let mut bench = Bench::on_disk(&folder);
    bench.folder = Some(inner.clone());
    bench.query("SELECT v INTO o FROM i");
    bench.start();
    bench.status("running").await;
    // A file where the folder should be.
    std::fs::remove_dir_all(&inner).unwrap();
    std::fs::write(&inner, b"").unwrap();
    bench.event("i", json!({ "v": 1 }));
    bench.hub.until("a line", |_| true).await;
    while !bench.lines().contains("The state cannot be kept") {
        bench.sleep(0.5).await;
    }
    assert_eq!((bench.hub.outputs().len(), bench.hub.completed()), (0, 0));
    std::fs::remove_file(&inner).unwrap();
    assert_eq!(bench.wait_for_rows("o", 1).await, [json!({ "v": 1 })]);
    bench.hub.until("completion", |hub| hub.completed() == 1).await;
}
