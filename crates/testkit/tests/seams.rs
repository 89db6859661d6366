//! Every implementation of a seam passes the suite of its seam.
#![allow(clippy::unwrap_used, reason = "a test")]

use ironbrook_cloud::registry::{self, Registry, SeedFile};
use ironbrook_hub::seams::Clock;
use ironbrook_log::{Config, FileCheckpoints, Memory, SegmentLog, Storage};
use ironbrook_model::{DeviceId, Identity, Timestamp};
use ironbrook_testkit::{TestClock, suites};
use std::path::Path;
use std::sync::Arc;

#[tokio::test]
async fn segment_log_keeps_the_contract_of_logs() {
    suites::log::run(|| {
        // Small segments, so that the suite crosses their borders.
        let config = Config { partitions: 2, segment_bytes: 2048, ..Config::default() };
        Arc::new(SegmentLog::open(Arc::new(Memory::new()), Path::new("log"), config).unwrap())
    })
    .await;
}

#[tokio::test]
async fn file_checkpoints_keep_the_contract_of_checkpoints() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    suites::checkpoints::run(&FileCheckpoints::open(storage, Path::new("checkpoints")).unwrap()).await;
}

fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id.to_owned()).unwrap())
}

async fn registry(clock: &TestClock) -> Registry {
    let config = registry::Config::azure("test");
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let registry = Registry::open(Arc::new(Memory::new()), Path::new(""), clock, config).unwrap();
    let seed = SeedFile::parse(r#"{"devices": [{"deviceId": "a"}, {"deviceId": "b"}]}"#).unwrap();
    registry.seed(&seed).await.unwrap();
    registry
}

#[tokio::test]
async fn registry_keeps_the_contract_of_twins() {
    let registry = registry(&TestClock::new(Timestamp::from_secs(1_790_000_000))).await;
    suites::twins::run(&registry, &device("a"), &device("nobody")).await;
}

#[tokio::test]
async fn registry_keeps_the_contract_of_inboxes() {
    let clock = TestClock::new(Timestamp::from_secs(1_790_000_000));
    let registry = registry(&clock).await;
    suites::inbox::run(&registry, &clock, [&device("a"), &device("b")], &device("nobody")).await;
}
