//! Tests of checkpoints, power cuts among them.

use super::*;
use crate::Memory;
use rand::{Rng, SeedableRng, rngs::StdRng};

fn open(memory: &Memory) -> FileCheckpoints {
    FileCheckpoints::open(Arc::new(memory.clone()), Path::new("log/checkpoints")).unwrap()
}

#[tokio::test]
async fn a_checkpoint_moves_forward_only_and_survives_a_restart() {
    let memory = Memory::new();
    let checkpoints = open(&memory);
    let part = PartitionId(1);
    assert_eq!(checkpoints.load("a", part).await.unwrap(), None);
    checkpoints.store("a", part, Offset(7)).await.unwrap();
    checkpoints.store("a", part, Offset(3)).await.unwrap();
    checkpoints.store("b", part, Offset(5)).await.unwrap();
    drop(checkpoints);
    let checkpoints = open(&memory.power_cut(1));
    assert_eq!(checkpoints.load("a", part).await.unwrap(), Some(Offset(7)));
    assert_eq!(checkpoints.lowest(&["a", "b"], part).await.unwrap(), Some(Offset(5)));
    assert_eq!(checkpoints.lowest(&["a", "new"], part).await.unwrap(), Some(Offset(0)));
    assert_eq!(checkpoints.lowest(&[], part).await.unwrap(), None);
    assert_eq!(checkpoints.load("a", PartitionId(0)).await.unwrap(), None);
}

#[tokio::test]
async fn stored_checkpoints_survive_power_cuts_at_any_call() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut memory = Memory::new();
        let mut stored = BTreeMap::new();
        for round in 0..4 {
            memory.power_off_after(random.random_range(0..40));
            let opened = FileCheckpoints::open(Arc::new(memory.clone()), Path::new("log/checkpoints"));
            if let Ok(checkpoints) = opened {
                for step in 0..20 {
                    let (consumer, partition) =
                        (random.random_range(0..3).to_string(), random.random_range(0..2));
                    let next = round * 100 + step;
                    if checkpoints.store(&consumer, PartitionId(partition), Offset(next)).await.is_ok() {
                        stored.insert((consumer, partition), next);
                    }
                }
            }
            memory = memory.power_cut(random.random());
            let checkpoints = open(&memory);
            for ((consumer, partition), next) in &stored {
                let found = checkpoints.load(consumer, PartitionId(*partition)).await.unwrap();
                assert!(found >= Some(Offset(*next)), "seed {seed}: {consumer} {partition} {next} {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_long_file_is_rewritten_and_a_power_cut_finds_the_old_or_the_new_one() {
    let long = "x".repeat(1000);
    for seed in 0..20 {
        let memory = Memory::new();
        let checkpoints = open(&memory);
        let mut last = 0;
        // The rewrite comes at about the 130th store.
        memory.power_off_after(2 * 125 + 2 * seed);
        for next in 1..200 {
            if checkpoints.store(&long, PartitionId(0), Offset(next)).await.is_err() {
                break;
            }
            last = next;
        }
        assert!(memory.used() < 300 << 10);
        let found = open(&memory.power_cut(seed)).load(&long, PartitionId(0)).await.unwrap().unwrap();
        assert!(found.0 == last || found.0 == last + 1, "seed {seed}: {found:?} after {last}");
    }
}

#[tokio::test]
async fn a_full_disk_heals_and_a_failed_sync_poisons() {
    let memory = Memory::new();
    let checkpoints = open(&memory);
    memory.set_capacity(Some(memory.used() + 20));
    checkpoints.store("a", PartitionId(0), Offset(1)).await.unwrap();
    assert!(matches!(checkpoints.store("a", PartitionId(0), Offset(2)).await, Err(Error::Full)));
    memory.set_capacity(None);
    checkpoints.store("b", PartitionId(0), Offset(3)).await.unwrap();
    assert_eq!(checkpoints.load("a", PartitionId(0)).await.unwrap(), Some(Offset(2)), "kept from before");
    memory.fail_sync(1);
    assert!(matches!(checkpoints.store("a", PartitionId(0), Offset(9)).await, Err(Error::Poisoned)));
    assert!(matches!(checkpoints.store("a", PartitionId(0), Offset(10)).await, Err(Error::Poisoned)));
    assert_eq!(checkpoints.load("a", PartitionId(0)).await.unwrap(), Some(Offset(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_stores_share_a_sync() {
    let memory = Memory::new();
    let checkpoints = Arc::new(open(&memory));
    let before = memory.operations();
    let mut tasks = tokio::task::JoinSet::new();
    for consumer in 0..200 {
        let checkpoints = checkpoints.clone();
        tasks.spawn(async move { checkpoints.store(&consumer.to_string(), PartitionId(0), Offset(1)).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(checkpoints.shared.lock().stored.len(), 200);
    assert!(memory.operations() - before <= 2 * 200);
}
