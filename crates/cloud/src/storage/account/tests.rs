//! Tests of the account over storage in memory, power cuts included.

use super::*;
use bytes::Bytes;
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Memory;
use ironbrook_model::SharedAccessKey;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn config() -> Config {
    let key = |text: &[u8]| SharedAccessKey::from_bytes(text);
    Config { name: "acc".into(), keys: SymmetricKeys { primary: key(b"first"), secondary: key(b"second") } }
}

fn open(storage: &Memory) -> Result<Account, Error> {
    Account::open(Arc::new(storage.clone()), Path::new("account"), config(), Arc::new(SystemClock))
}

async fn account() -> (Memory, Account) {
    let storage = Memory::new();
    let account = open(&storage).unwrap();
    account.create_container("box", Metadata::new()).await.unwrap();
    (storage, account)
}

fn code<T>(result: Result<T, Error>) -> Code {
    match result {
        Err(error) => error.code(),
        Ok(_) => panic!("it was not refused"),
    }
}

async fn stage(account: &Account, blob: &str, id: &str, text: &'static str) -> Result<(), Error> {
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(text))]);
    let stored = account.store(body, text.len() as u64).await?;
    account.put_block("box", blob, id, stored).await
}

fn latest(ids: &[&str]) -> Vec<BlockChoice> {
    ids.iter().map(|id| BlockChoice { id: (*id).into(), source: BlockSource::Latest }).collect()
}

fn files(storage: &Memory) -> usize {
    let folder = |c: char| Path::new("account/content").join(c.to_string());
    "0123456789abcdef".chars().map(|c| storage.list(&folder(c)).unwrap().len()).sum()
}

#[tokio::test]
async fn replaced_and_deleted_blobs_leave_no_files() {
    let (storage, account) = account().await;
    account.put("box", "a", "one", "text/plain").await.unwrap();
    account.put("box", "a", "two", "text/plain").await.unwrap();
    assert_eq!(account.get("box", "a").await.unwrap(), "two");
    assert_eq!(files(&storage), 1);
    let refused = NewBlob { conditions: Conditions::if_absent(), ..NewBlob::default() };
    assert_eq!(code(account.put_new("box", "a", "three".into(), refused).await), Code::BlobAlreadyExists);
    assert_eq!(files(&storage), 1);
    account.delete_blob("box", "a", Conditions::default()).await.unwrap();
    assert_eq!(code(account.get("box", "a").await), Code::BlobNotFound);
    assert_eq!(files(&storage), 0);
}

#[tokio::test]
async fn reader_reads_on_while_the_blob_is_deleted() {
    let (storage, account) = account().await;
    account.put("box", "a", "content", "text/plain").await.unwrap();
    let open = account.open_blob("box", "a").await.unwrap();
    account.delete_blob("box", "a", Conditions::default()).await.unwrap();
    let chunks: Vec<Bytes> = futures_util::TryStreamExt::try_collect(account.read(open, 2..5)).await.unwrap();
    assert_eq!(chunks.concat(), b"nte");
    assert_eq!(files(&storage), 0);
}

#[tokio::test]
async fn blocks_become_a_blob_in_the_order_of_the_list() {
    let (storage, account) = account().await;
    for (id, text) in [("QQ==", "aa"), ("Qg==", "bbb"), ("Qw==", "unused")] {
        stage(&account, "blob", id, text).await.unwrap();
    }
    assert_eq!(code(account.get("box", "blob").await), Code::BlobNotFound);
    account.commit_blocks("box", "blob", latest(&["Qg==", "QQ=="]), NewBlob::default()).await.unwrap();
    assert_eq!(account.get("box", "blob").await.unwrap(), "bbbaa");
    // A second list keeps one committed block, takes a new one and drops the other.
    stage(&account, "blob", "RA==", "d").await.unwrap();
    account.commit_blocks("box", "blob", latest(&["RA==", "QQ=="]), NewBlob::default()).await.unwrap();
    assert_eq!(account.get("box", "blob").await.unwrap(), "daa");
    assert_eq!(files(&storage), 2);
    let list = account.blocks("box", "blob").await.unwrap();
    assert_eq!(list.committed, [("RA==".to_owned(), 1), ("QQ==".to_owned(), 2)]);
    let gone = account.commit_blocks("box", "blob", latest(&["Qw=="]), NewBlob::default()).await;
    assert_eq!(code(gone), Code::InvalidBlockList);
    assert_eq!(code(stage(&account, "new", "not base64", "x").await), Code::InvalidQueryParameterValue);
    stage(&account, "new", "QQ==", "x").await.unwrap();
    assert_eq!(code(stage(&account, "new", "QUFBQQ==", "x").await), Code::InvalidBlobOrBlock);
}

#[tokio::test]
async fn container_goes_with_all_that_is_in_it() {
    let (storage, account) = account().await;
    account.create_container("box2", Metadata::new()).await.unwrap();
    account.put("box2", "kept", "x", "text/plain").await.unwrap();
    account.put("box", "a", "x", "text/plain").await.unwrap();
    stage(&account, "b", "QQ==", "x").await.unwrap();
    account.delete_container("box", Conditions::default()).await.unwrap();
    assert_eq!(files(&storage), 1);
    assert_eq!(code(account.put("box", "a", "x", "text/plain").await), Code::ContainerNotFound);
    account.create_container("box", Metadata::new()).await.unwrap();
    assert_eq!(account.list_blobs("box", ListBlobs::default()).await.unwrap().entries, []);
    assert_eq!(account.get("box2", "kept").await.unwrap(), "x");
}

#[tokio::test]
async fn body_must_be_as_long_as_announced() {
    let (storage, account) = account().await;
    let body = || futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from("four"))]);
    assert_eq!(code(account.store(body(), 3).await), Code::InvalidInput);
    assert_eq!(code(account.store(body(), 5).await), Code::InvalidInput);
    let broken = futures_util::stream::iter([Ok(Bytes::from("fo")), Err(std::io::Error::other("gone"))]);
    assert_eq!(code(account.store(broken, 4).await), Code::InvalidInput);
    assert_eq!(files(&storage), 0);
}

#[tokio::test(start_paused = true)]
async fn upload_that_stops_coming_is_given_up() {
    let storage = Memory::new();
    let account = open(&storage).unwrap();
    let stuck = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    assert_eq!(code(account.store(stuck, 4).await), Code::OperationTimedOut);
    assert_eq!(files(&storage), 0);
}

#[tokio::test]
async fn full_disk_is_told_and_heals_by_itself() {
    let (storage, account) = account().await;
    account.put("box", "before", "x", "text/plain").await.unwrap();
    storage.set_capacity(Some(storage.used() + 1000));
    assert_eq!(code(account.put("box", "large", vec![7; 100_000], "text/plain").await), Code::ServerBusy);
    storage.set_capacity(None);
    account.put("box", "large", vec![7; 100_000], "text/plain").await.unwrap();
    assert_eq!(account.get("box", "before").await.unwrap(), "x");
    assert_eq!(account.get("box", "large").await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn index_without_room_is_opened_anew_when_there_is_some() {
    let (storage, account) = account().await;
    storage.set_capacity(Some(0));
    let metadata = Metadata::from([("filling".to_owned(), "x".repeat(8000))]);
    let mut made = 0;
    let failure = loop {
        match account.create_container(&format!("full-{made}"), metadata.clone()).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1000, "the disk is never full");
    };
    assert_eq!(failure.code(), Code::ServerBusy);
    storage.set_capacity(None);
    account.create_container("after", metadata).await.unwrap();
    let listed = account.list_containers("full-", None, 0).await.unwrap().entries.len();
    assert!(listed == made || listed == made + 1, "{listed} of {made}");
}

#[tokio::test]
async fn failed_sync_poisons_until_restart() {
    let (storage, account) = account().await;
    account.put("box", "a", "x", "text/plain").await.unwrap();
    storage.fail_sync(1);
    assert_eq!(code(account.create_container("other", Metadata::new()).await), Code::InternalError);
    assert!(account.is_poisoned());
    assert!(matches!(account.get("box", "a").await, Err(Error::Poisoned)));
    drop(account);
    let account = open(&storage.power_cut(1)).unwrap();
    assert_eq!(account.get("box", "a").await.unwrap(), "x");
    account.create_container("other", Metadata::new()).await.unwrap();
}

#[tokio::test]
async fn pages_and_folders_cover_all_names_once() {
    let (_, account) = account().await;
    for name in ["a", "a/1", "a/2/x", "a/2/y", "a0", "b/1", "ä", "z"] {
        account.put("box", name, "x", "text/plain").await.unwrap();
    }
    let page = |prefix: &str, delimiter: Option<&str>, from: Option<String>, max| {
        let what = ListBlobs { prefix: prefix.into(), delimiter: delimiter.map(str::to_owned), from, max };
        let account = account.clone();
        async move {
            let page = account.list_blobs("box", what).await.unwrap();
            let names: Vec<String> = page.entries.iter().map(label).collect();
            (names, page.next)
        }
    };
    let (flat, _) = page("", None, None, 0).await;
    assert_eq!(flat, ["a", "a/1", "a/2/x", "a/2/y", "a0", "b/1", "z", "ä"]);
    let (top, _) = page("", Some("/"), None, 0).await;
    assert_eq!(top, ["a", "a/ >", "a0", "b/ >", "z", "ä"]);
    assert_eq!(page("a/", Some("/"), None, 0).await.0, ["a/1", "a/2/ >"]);
    for (delimiter, wanted) in [(None, &flat), (Some("/"), &top)] {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let (names, next) = page("", delimiter, from, 1).await;
            assert_eq!(names.len(), 1);
            all.extend(names);
            from = next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(&all, wanted);
    }
}

fn label(entry: &Entry) -> String {
    match entry {
        Entry::Blob(name, _) => name.clone(),
        Entry::Prefix(name) => format!("{name} >"),
    }
}

#[tokio::test]
async fn sweep_removes_what_is_part_of_nothing() {
    let (storage, account) = account().await;
    account.put("box", "a", "x", "text/plain").await.unwrap();
    storage.open(Path::new("account/content/3/3b7e0c4e8d604d6d9d3c8a2a4f6b8c01"), true).unwrap();
    let half_done = account.blocking(|inner| inner.contents.create()).await.unwrap();
    assert_eq!(account.blocking(|inner| inner.sweep()).await.unwrap(), 1);
    drop(half_done);
    assert_eq!(files(&storage), 1);
    assert_eq!(account.get("box", "a").await.unwrap(), "x");
}

/// What a client did until the power went, and what it was answered.
async fn work_until_the_power_goes(
    storage: &Memory,
    steps: &[(u8, u8)],
) -> BTreeMap<String, Vec<Option<Vec<u8>>>> {
    // For each blob the contents it may have: the acknowledged one, then those of changes that were not answered.
    let mut may_be: BTreeMap<String, Vec<Option<Vec<u8>>>> = BTreeMap::new();
    let Ok(account) = open(storage) else { return may_be };
    if account.ensure_container("box").await.is_err() {
        return may_be;
    }
    for (step, (name, len)) in steps.iter().enumerate() {
        let name = format!("blob-{}", name % 4);
        let states = may_be.entry(name.clone()).or_insert_with(|| vec![None]);
        let (wanted, done) = if *len == 0 {
            let result = account.delete_blob("box", &name, Conditions::default()).await;
            (None, result.is_ok())
        } else {
            let content = vec![step as u8; usize::from(*len) * 40];
            let result = account.put("box", &name, content.clone(), "text/plain").await;
            (Some(content), result.is_ok())
        };
        if done {
            *states = vec![wanted];
        } else {
            states.push(wanted);
        }
    }
    may_be
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn acknowledged_blobs_survive_power_cuts_whole(
        steps in proptest::collection::vec((any::<u8>(), 0_u8..40), 1..12),
        off_after in 0_u64..160,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let storage = Memory::new();
            storage.power_off_after(off_after);
            let may_be = work_until_the_power_goes(&storage, &steps).await;
            let found = storage.power_cut(seed);
            let account = open(&found).unwrap();
            account.blocking(|inner| inner.sweep()).await.unwrap();
            let mut blobs = 0;
            for (name, states) in may_be {
                let content = match account.get("box", &name).await {
                    Ok(bytes) => Some(bytes.to_vec()),
                    Err(Error::Refused(_)) => None,
                    Err(error) => panic!("{name}: {error}"),
                };
                blobs += usize::from(content.is_some());
                assert!(states.contains(&content), "{name} is none of {} states", states.len());
            }
            assert_eq!(files(&found), blobs, "no file is left over");
        });
    }
}
