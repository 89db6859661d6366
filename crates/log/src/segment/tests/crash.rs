//! A model of crashes: whatever was acknowledged is there, wherever the power goes off.

use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What a client knows.
#[derive(Default)]
struct Model {
    /// Bodies handed over, by offset; the later ones may be lost.
    sent: Vec<String>,
    /// How many of them are acknowledged.
    acknowledged: usize,
    /// Offsets before this may be trimmed.
    trimmed: u64,
    /// How many were ever sent; makes bodies different.
    count: usize,
}

async fn live(log: &SegmentLog, model: &mut Model, random: &mut StdRng) {
    for _ in 0..random.random_range(0..60) {
        let body = format!("{}:{}", model.count, "x".repeat(random.random_range(0..300)));
        let queues: &[QueueId] = if random.random_bool(0.7) { &[EVENTS] } else { &[OTHER] };
        let Ok(ticket) = append(log, queues, 0, &body) else { return };
        assert_eq!(ticket.offset.0 as usize, model.sent.len());
        model.sent.push(body);
        model.count += 1;
        if random.random_bool(0.3) {
            if log.durable(ticket).await.is_err() {
                return;
            }
            model.acknowledged = model.sent.len();
        }
        if random.random_bool(0.2) {
            // Nothing is visible before its sync: what a reader may see now, it must see for ever.
            model.acknowledged = model.acknowledged.max(log.bounds(P0).end.0 as usize);
        }
        if random.random_bool(0.03) {
            model.trimmed = model.trimmed.max(random.random_range(0..=model.acknowledged as u64));
            if log.trim(P0, Offset(model.trimmed)).await.is_err() {
                return;
            }
        }
    }
}

/// Everything acknowledged is there, in order, none twice, and the event sequence has no hole.
async fn check(log: &SegmentLog, model: &mut Model, seed: u64) {
    let bounds = log.bounds(P0);
    assert!(bounds.end.0 as usize >= model.acknowledged, "seed {seed}: {bounds:?} {}", model.acknowledged);
    assert!(bounds.first.0 <= model.trimmed, "seed {seed}");
    let (events, others) = (read_all(log, EVENTS).await, read_all(log, OTHER).await);
    let mut all: Vec<_> = events.iter().chain(&others).collect();
    all.sort_by_key(|record| record.offset);
    let offsets: Vec<_> = all.iter().map(|record| record.offset.0).collect();
    assert_eq!(offsets, (bounds.first.0..bounds.end.0).collect::<Vec<_>>(), "seed {seed}");
    for record in all {
        let sent = &model.sent[record.offset.0 as usize];
        assert_eq!(&record.body[..], sent.as_bytes(), "seed {seed} offset {:?}", record.offset);
    }
    let sequences: Vec<_> = events.iter().map(|record| record.event_sequence.unwrap()).collect();
    let expected = bounds.first_event_sequence..bounds.end_event_sequence;
    assert_eq!(sequences, expected.collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(log.damaged(), 0, "seed {seed}");
    // What was shown to a reader stays: it counts as acknowledged from now on.
    model.sent.truncate(bounds.end.0 as usize);
    model.acknowledged = model.sent.len();
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let config = Config {
        segment_bytes: random.random_range(300..400),
        cache_bytes: if random.random_bool(0.5) { 2000 } else { 0 },
        keys: if seed.is_multiple_of(2) { keys(KEY_1) } else { crate::Keys::default() },
        ..config()
    };
    let (mut memory, mut model) = (Memory::new(), Model::default());
    for _ in 0..4 {
        match random.random_range(0..4) {
            0 => memory.fail_sync(random.random_range(1..20)),
            _ => memory.power_off_after(random.random_range(0..80)),
        }
        if let Ok(log) = SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config.clone()) {
            live(&log, &mut model, &mut random).await;
            if random.random_bool(0.5) {
                // With the process still running, not after a polite end.
                memory = memory.power_cut(random.random());
            }
        }
        if random.random_bool(0.8) {
            memory = memory.power_cut(random.random());
        } else {
            // The end of the process alone, unless the power went off already.
            memory.heal();
            if memory.list(Path::new("")).is_err() {
                memory = memory.power_cut(random.random());
            }
        }
        check(&open_with(&memory, config.clone()), &mut model, seed).await;
        memory = memory.power_cut(random.random());
        check(&open_with(&memory, config.clone()), &mut model, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_survive_every_crash() {
    for seed in 0..400 {
        run(seed).await;
    }
}
