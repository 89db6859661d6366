//! Tests of the endpoint into the built-in account, crashes included.

use super::super::account::{Config as AccountConfig, Entry, ListBlobs};
use super::*;
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::{Memory, Offset};
use ironbrook_model::{Message, MessageSource, SharedAccessKey, SymmetricKeys, Timestamp};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const PARTITION: PartitionId = PartitionId(1);

fn open_account(storage: &Memory) -> Result<Account, account::Error> {
    let key = SharedAccessKey::from_bytes(b"key");
    let keys = SymmetricKeys { primary: key.clone(), secondary: key };
    let config = AccountConfig { name: "acc".into(), keys };
    Account::open(Arc::new(storage.clone()), Path::new("account"), config, Arc::new(SystemClock))
}

fn config(frequency: Duration) -> Config {
    Config { encoding: Encoding::Json, batch_frequency: frequency, ..Config::new("storage", "hub", "box") }
}

async fn endpoint(account: &Account, frequency: Duration) -> Result<StorageEndpoint, Error> {
    StorageEndpoint::open(config(frequency), Target::BuiltIn(account.clone())).await
}

/// Message number `offset`, one per second from midnight.
fn message(offset: u64) -> Routed {
    Routed {
        offset: Offset(offset),
        event_sequence: None,
        enqueued: Timestamp::from_secs(offset as i64),
        source: MessageSource::DeviceMessages,
        message: Message::new(offset.to_string().into_bytes()),
    }
}

fn batch(range: std::ops::Range<u64>) -> Vec<Routed> {
    range.map(message).collect()
}

async fn names(account: &Account) -> Vec<String> {
    let page = account.list_blobs("box", ListBlobs::default()).await.unwrap();
    let name = |entry| match entry {
        Entry::Blob(name, _) | Entry::Prefix(name) => name,
    };
    page.entries.into_iter().map(name).collect()
}

/// The offsets of all stored messages, in order of names.
async fn stored(account: &Account) -> Vec<u64> {
    use base64::Engine as _;
    let mut offsets = Vec::new();
    for name in names(account).await {
        for line in account.get("box", &name).await.unwrap().split(|b| *b == b'\n').filter(|l| !l.is_empty())
        {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            let body =
                base64::engine::general_purpose::STANDARD.decode(line["Body"].as_str().unwrap()).unwrap();
            offsets.push(String::from_utf8(body).unwrap().parse().unwrap());
        }
    }
    offsets
}

#[tokio::test]
async fn stock_names_where_batches_are_rare() {
    let account = open_account(&Memory::new()).unwrap();
    let endpoint = endpoint(&account, Duration::from_secs(300)).await.unwrap();
    assert_eq!(endpoint.send(PARTITION, &batch(0..10)).await, Sent::Done);
    // A second batch in the same minute, after a restart or a full chunk, never replaces the first.
    assert_eq!(endpoint.send(PARTITION, &batch(10..20)).await, Sent::Done);
    assert_eq!(endpoint.send(PARTITION, &batch(60..61)).await, Sent::Done);
    assert_eq!(
        names(&account).await,
        [
            "hub/01/1970/01/01/00/00-000000000010.json",
            "hub/01/1970/01/01/00/00.json",
            "hub/01/1970/01/01/00/01.json"
        ]
    );
    let mut all = stored(&account).await;
    all.sort_unstable();
    assert_eq!(all, (0..20).chain([60]).collect::<Vec<_>>());
}

#[tokio::test]
async fn names_have_the_offset_where_batches_are_frequent() {
    let account = open_account(&Memory::new()).unwrap();
    let endpoint = endpoint(&account, Duration::from_secs(5)).await.unwrap();
    assert_eq!(endpoint.send(PARTITION, &batch(3..5)).await, Sent::Done);
    assert_eq!(names(&account).await, ["hub/01/1970/01/01/00/00-000000000003.json"]);
}

#[tokio::test]
async fn batch_that_comes_again_longer_or_shorter_is_stored_once() {
    let account = open_account(&Memory::new()).unwrap();
    for range in [0..5, 0..3, 3..7, 0..9, 5..9] {
        // Each time as after a crash: a new endpoint that remembers nothing itself.
        let endpoint = endpoint(&account, Duration::from_secs(5)).await.unwrap();
        assert_eq!(endpoint.send(PARTITION, &batch(range)).await, Sent::Done);
    }
    assert_eq!(stored(&account).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn new_log_over_an_old_account_loses_nothing() {
    let account = open_account(&Memory::new()).unwrap();
    let endpoint = endpoint(&account, Duration::from_secs(5)).await.unwrap();
    assert_eq!(endpoint.send(PARTITION, &batch(0..5)).await, Sent::Done);
    // Offsets begin anew, time does not.
    let mut again = batch(0..2);
    for message in &mut again {
        message.enqueued = Timestamp::from_secs(1000);
    }
    assert_eq!(endpoint.send(PARTITION, &again).await, Sent::Done);
    assert_eq!(stored(&account).await, [0, 1, 2, 3, 4, 0, 1]);
}

#[tokio::test]
async fn deleted_container_is_made_again() {
    let account = open_account(&Memory::new()).unwrap();
    let endpoint = endpoint(&account, Duration::from_secs(5)).await.unwrap();
    account.delete_container("box", Conditions::default()).await.unwrap();
    assert!(matches!(endpoint.send(PARTITION, &batch(0..5)).await, Sent::RetryAfter(..)));
    assert_eq!(endpoint.send(PARTITION, &batch(0..5)).await, Sent::Done);
    assert_eq!(stored(&account).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn waits_grow_with_failures_and_start_anew() {
    let storage = Memory::new();
    let account = open_account(&storage).unwrap();
    let endpoint = endpoint(&account, Duration::from_secs(5)).await.unwrap();
    storage.set_capacity(Some(0));
    let mut waits = Vec::new();
    for _ in 0..8 {
        match endpoint.send(PARTITION, &batch(0..5)).await {
            Sent::RetryAfter(wait, _) => waits.push(wait.as_secs()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    storage.set_capacity(None);
    assert_eq!(endpoint.send(PARTITION, &batch(0..5)).await, Sent::Done);
    assert_eq!(stored(&account).await, [0, 1, 2, 3, 4]);
}

#[test]
fn azure_profile_demands_its_ranges() {
    assert!(config(Duration::from_secs(60)).check_azure_limits().is_ok());
    assert!(matches!(config(Duration::from_secs(5)).check_azure_limits(), Err(Error::Frequency(_))));
    let small = Config { max_chunk_bytes: 1, ..config(Duration::from_secs(300)) };
    assert!(matches!(small.check_azure_limits(), Err(Error::Chunk(1))));
}

/// Sends batches of the given lengths from the checkpoint on until all is stored or the power goes.
async fn run(storage: &Memory, lengths: &[u64], end: u64, checkpoint: &mut u64) -> Option<()> {
    let account = open_account(storage).ok()?;
    let endpoint = endpoint(&account, Duration::from_secs(5)).await.ok()?;
    let mut lengths = lengths.iter().cycle();
    while *checkpoint < end {
        let next = (*checkpoint + lengths.next().copied()?).min(end);
        match endpoint.send(PARTITION, &batch(*checkpoint..next)).await {
            Sent::Done => *checkpoint = next,
            _ => return None,
        }
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_is_stored_exactly_once_whatever_crashes(
        runs in proptest::collection::vec((0_u64..60, any::<u64>(), proptest::collection::vec(1_u64..7, 1..4), 0_u64..4), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut storage, mut checkpoint, end) = (Memory::new(), 0, 20);
            for (off_after, seed, lengths, lag) in runs {
                storage.power_off_after(off_after);
                let before = checkpoint;
                let _ = run(&storage, &lengths, end, &mut checkpoint).await;
                // The checkpoint may be behind what the endpoint said, never before where it was.
                checkpoint = checkpoint.saturating_sub(lag).max(before);
                storage = storage.power_cut(seed);
            }
            run(&storage, &[5], end, &mut checkpoint).await.expect("the power is on");
            let mut all = stored(&open_account(&storage).unwrap()).await;
            all.sort_unstable();
            assert_eq!(all, (0..end).collect::<Vec<_>>());
        });
    }
}
