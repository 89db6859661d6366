//! A job alone: its state as bytes.

use crate::stream_analytics::job::{Job, Taken};
use crate::stream_analytics::outgoing::Outgoing;
use crate::stream_analytics::package::Package;
use crate::stream_analytics::program::Program;
use ironbrook_analytics::value::DateTime;
use ironbrook_client::Message;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

fn program(query: &str) -> Program {
    let mut package = Package::new("n", "e", query);
    package.policies.out_of_order_seconds = 2;
    Program::compile(&package).unwrap()
}

const QUERY: &str =
    "SELECT k, COUNT(*) AS n, SUM(v) AS s INTO o FROM i TIMESTAMP BY at GROUP BY k, TumblingWindow(second, 3)
SELECT v INTO p FROM i TIMESTAMP BY at WHERE v > 80";

/// Arrivals and messages in some disorder.
fn messages(seed: u64) -> Vec<(DateTime, Message)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut now = 1_769_850_000_000_i64;
    let mut message = |v: i64| {
        now += rng.random_range(0..900);
        let at = DateTime::from_unix_millis(now - rng.random_range(0..3000)).unwrap();
        let event = json!({ "at": at.to_string(), "k": rng.random_range(0..3), "v": v });
        (DateTime::from_unix_millis(now).unwrap(), Message::new(event.to_string()))
    };
    (0..100).map(&mut message).collect()
}

/// Runs all messages with a checkpoint each so many; goes on from it, or not.
fn run(seed: u64, each: usize, is_restored: bool) -> Vec<Outgoing> {
    let mut job = Job::new(program(QUERY));
    let mut sent = Vec::new();
    for (number, (now, message)) in messages(seed).iter().enumerate() {
        assert_eq!(job.take(*now, "I", message), Ok(Taken::Counted));
        job.advance(*now).unwrap();
        if number % each == 0 {
            let state = job.checkpoint();
            if is_restored {
                job = Job::restore(program(QUERY), &state).unwrap();
            }
            sent.extend(job.outbox().iter().cloned());
            job.sent();
        }
    }
    sent
}

#[test]
fn a_job_goes_on_from_any_checkpoint_as_if_nothing_had_been() {
    for seed in 0..20 {
        for each in [1, 2, 7] {
            let straight = run(seed, each, false);
            assert!(straight.len() > 10);
            assert_eq!(run(seed, each, true), straight, "seed {seed}, each {each}");
        }
    }
}

#[test]
fn what_was_kept_and_not_sent_is_there_again() {
    let mut job = Job::new(program(QUERY));
    for (now, message) in messages(1) {
        job.take(now, "i", &message).unwrap();
    }
    let state = job.checkpoint();
    assert!(!job.outbox().is_empty());
    let restored = Job::restore(program("SELECT a INTO other FROM j"), &state).unwrap();
    assert_eq!(restored.outbox(), job.outbox());
    job.sent();
    assert!(!job.has_output());
}

#[test]
fn damaged_state_gives_an_error_and_never_a_panic() {
    let mut job = Job::new(program(QUERY));
    for (now, message) in messages(2).iter().take(20) {
        job.take(*now, "i", message).unwrap();
    }
    let state = job.checkpoint();
    for cut in 0..state.len() {
        assert!(Job::restore(program(QUERY), &state[..cut]).is_err(), "{cut}");
    }
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..2000 {
        let mut damaged = state.clone();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..damaged.len());
            damaged[place] = rng.random_range(0..=255);
        }
        // Some damage is only seen by the sum of the file; here it must just do no harm.
        let _ = Job::restore(program(QUERY), &damaged);
    }
}
