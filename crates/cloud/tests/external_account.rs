//! The storage endpoint into an account reached over HTTP, through the `object_store` client.
//!
//! The account is our own on a loopback port, or the one named by `IRONBROOK_TEST_BLOB_ACCOUNT` (a connection string): that is how
//! the same test runs against Azurite. The container `external` must exist there.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use ironbrook_cloud::storage::account::{Account, Config as AccountConfig};
use ironbrook_cloud::storage::endpoint::{Config, Encoding, StorageEndpoint, Target};
use ironbrook_hub::seams::{Endpoint, Routed, Sent, SystemClock};
use ironbrook_log::{Memory, Offset, PartitionId};
use ironbrook_model::{Message, MessageSource, SharedAccessKey, SymmetricKeys, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Serves an account with the container and gives its connection string.
async fn serve() -> String {
    if let Ok(other) = std::env::var("IRONBROOK_TEST_BLOB_ACCOUNT") {
        return other;
    }
    let keys = SymmetricKeys { primary: SharedAccessKey::generate(), secondary: SharedAccessKey::generate() };
    let config = AccountConfig { name: "ironbrook".into(), keys };
    let account =
        Account::open(Arc::new(Memory::new()), Path::new("account"), config, Arc::new(SystemClock)).unwrap();
    account.ensure_container("external").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = account.connection_string(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, account.router()).await });
    text
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn batch(start: i64, range: std::ops::Range<u64>) -> Vec<Routed> {
    let message = |offset: u64| Routed {
        offset: Offset(offset),
        event_sequence: None,
        enqueued: Timestamp::from_millis(start + offset as i64),
        source: MessageSource::DeviceMessages,
        message: Message::new(format!("message {offset}").into_bytes()),
    };
    range.map(message).collect()
}

async fn endpoint(connection_string: &str, hub: &str) -> StorageEndpoint {
    let config = Config {
        encoding: Encoding::Json,
        batch_frequency: Duration::from_secs(5),
        ..Config::new("storage", hub, "external")
    };
    StorageEndpoint::open(config, Target::ConnectionString(connection_string.to_owned())).await.unwrap()
}

#[tokio::test]
async fn batches_are_stored_and_recognised_when_they_come_again() {
    let connection_string = serve().await;
    let (start, partition) = (now(), PartitionId(0));
    let hub = format!("hub{start}");
    let first = endpoint(&connection_string, &hub).await;
    assert_eq!(first.send(partition, &batch(start, 0..5)).await, Sent::Done);
    // After a crash the same batch comes longer, then shorter; neither makes a second blob or shortens the first.
    let second = endpoint(&connection_string, &hub).await;
    assert_eq!(second.send(partition, &batch(start, 0..8)).await, Sent::Done);
    let third = endpoint(&connection_string, &hub).await;
    assert_eq!(third.send(partition, &batch(start, 0..3)).await, Sent::Done);
    assert_eq!(third.send(partition, &batch(start, 3..10)).await, Sent::Done);

    let lines = read_all(&connection_string, &hub).await;
    let mut blobs: Vec<_> = lines.iter().map(|(name, lines)| (name.as_str(), *lines)).collect();
    blobs.sort_unstable();
    assert_eq!(blobs.iter().map(|(_, lines)| lines).sum::<usize>(), 10, "{blobs:?}");
    assert!(blobs[0].0.ends_with("-000000000000.json") && blobs[0].1 == 8, "{blobs:?}");
    assert!(blobs[1].0.ends_with("-000000000008.json") && blobs[1].1 == 2, "{blobs:?}");
}

#[tokio::test]
async fn wrong_key_is_a_failure_to_try_again_that_names_no_secret() {
    let connection_string = serve().await;
    let wrong = SharedAccessKey::from_bytes(b"canary-canary-canary").to_base64();
    let text: String = connection_string
        .split(';')
        .map(|part| if part.starts_with("AccountKey=") { format!("AccountKey={wrong}") } else { part.into() })
        .collect::<Vec<_>>()
        .join(";");
    let endpoint = endpoint(&text, "hub").await;
    match endpoint.send(PartitionId(0), &batch(now(), 0..1)).await {
        Sent::RetryAfter(wait, reason) => {
            assert_eq!(wait, Duration::from_secs(1));
            assert!(reason.contains("403") && !reason.contains(&wrong), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

/// Names and numbers of lines of a hub's blobs.
async fn read_all(connection_string: &str, hub: &str) -> Vec<(String, usize)> {
    use futures_util::TryStreamExt as _;
    use object_store::ObjectStore as _;
    let part = |name: &str| {
        let prefix = format!("{name}=");
        connection_string.split(';').find_map(|part| part.strip_prefix(&prefix)).unwrap().to_owned()
    };
    let store = object_store::azure::MicrosoftAzureBuilder::new()
        .with_account(part("AccountName"))
        .with_access_key(part("AccountKey"))
        .with_endpoint(part("BlobEndpoint"))
        .with_allow_http(true)
        .with_container_name("external")
        .build()
        .unwrap();
    let found: Vec<_> = store.list(Some(&hub.into())).try_collect().await.unwrap();
    let mut lines = Vec::new();
    for blob in found {
        let bytes = store.get(&blob.location).await.unwrap().bytes().await.unwrap();
        assert_eq!(blob.size, bytes.len() as u64);
        lines.push((blob.location.to_string(), bytes.iter().filter(|b| **b == b'\n').count()));
    }
    lines
}
