//! File upload as a device asks for it, on a whole hub on storage in memory.

use super::{Config, Target};
use crate::assembly::{self, Cloud, LogConfig, Profile};
use crate::registry::SeedFile;
use axum::body::Body;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, StatusCode};
use ironbrook_gateway::Peer;
use ironbrook_hub::seams::SystemClock;
use ironbrook_hub::{Settlement, Tier, Units};
use ironbrook_log::Memory;
use ironbrook_model::{Timestamp, percent_encode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

const LOCK: Duration = Duration::from_secs(60);

async fn hub(file_upload: Option<Config>) -> Cloud {
    hub_with(file_upload, assembly::Throttles::default()).await
}

async fn hub_with(file_upload: Option<Config>, throttles: assembly::Throttles) -> Cloud {
    let config = assembly::Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["hub.example".to_owned(), "localhost".to_owned()],
        profile: Profile::Azure,
        partitions: 1,
        routes: Vec::new(),
        throttles,
        fallback_route: true,
        storage_endpoints: Vec::new(),
        routing: Default::default(),
        consumer_groups: Vec::new(),
        log: LogConfig { segment_bytes: 1 << 20, retention_bytes: 1 << 20, ..LogConfig::default() },
        account_name: "account".to_owned(),
        file_upload,
        streaming: Default::default(),
    };
    let seed = SeedFile::parse(r#"{"devices":[{"deviceId":"d"},{"deviceId":"other"}]}"#).unwrap();
    let mut metrics = prometheus_client::registry::Registry::default();
    let storage = Arc::new(Memory::new());
    Cloud::open(storage, Arc::new(SystemClock), config, Some(&seed), &mut metrics).await.unwrap()
}

fn files(notifications: bool) -> Config {
    Config {
        container: "files".to_owned(),
        target: Target::BuiltIn,
        ttl: Duration::from_secs(3600),
        notifications,
        https_port: 8443,
    }
}

async fn send(
    cloud: &Cloud,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let peer = Peer { addr: ([127, 0, 0, 1], 40_000).into(), certificates: Vec::new(), tls: true };
    let mut request =
        Request::builder().method(method).uri(path).header(HOST, "localhost:8443").extension(peer);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = cloud.http().oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    (parts.status, parts.headers, body)
}

/// As the device `d`; gives the status, the name of the error and the body.
async fn ask(cloud: &Cloud, device: &str, path: &str, body: Value) -> (StatusCode, String, Value) {
    let policies = cloud.registry().policies();
    let policy = policies.iter().find(|policy| policy.name == "device").unwrap();
    let token = policy.primary_key.sign(
        &format!("localhost/devices/{device}"),
        Timestamp::from_secs(4_000_000_000),
        Some("device"),
    );
    let path = format!("/devices/d/{path}?api-version=2021-04-12");
    let authorization = [(AUTHORIZATION.as_str(), &*token)];
    let (status, headers, body) =
        send(cloud, "POST", &path, &authorization, Body::from(body.to_string())).await;
    let error = headers.get("iothub-errorcode").map_or("", |name| name.to_str().unwrap()).to_owned();
    (status, error, serde_json::from_slice(&body).unwrap_or_default())
}

async fn begin(cloud: &Cloud, name: &str) -> Value {
    let (status, error, ticket) = ask(cloud, "d", "files", json!({ "blobName": name })).await;
    assert_eq!(status, StatusCode::OK, "{error}");
    ticket
}

/// The path of a ticket's blob, as clients put it together.
fn path(ticket: &Value) -> String {
    let text = |name: &str| ticket[name].as_str().unwrap();
    let blob: Vec<_> = text("blobName").split('/').map(percent_encode).collect();
    format!("/{}/{}{}", text("containerName"), blob.join("/"), text("sasToken"))
}

async fn put(cloud: &Cloud, path: &str, bytes: &'static [u8]) -> StatusCode {
    let length = bytes.len().to_string();
    let headers = [("x-ms-blob-type", "BlockBlob"), ("content-length", &length)];
    send(cloud, "PUT", path, &headers, Body::from(bytes)).await.0
}

// FILE-03, FILE-05
#[tokio::test]
async fn file_05_a_file_goes_where_the_ticket_says_and_file_03_services_hear_of_it() {
    let cloud = hub(Some(files(true))).await;
    let ticket = begin(&cloud, "day 1/x.bin").await;
    assert_eq!(ticket["hostName"], "localhost:8443");
    assert_eq!((&ticket["containerName"], &ticket["blobName"]), (&json!("files"), &json!("d/day 1/x.bin")));

    // Until the file is there, nobody is told that it is.
    let correlation = ticket["correlationId"].as_str().unwrap();
    let done = json!({ "correlationId": correlation, "isSuccess": true, "statusCode": 200 });
    let early = ask(&cloud, "d", "files/notifications", done.clone()).await;
    assert_eq!((early.0, &*early.1), (StatusCode::BAD_REQUEST, "InvalidStorageEndpointOrBlob"));

    assert_eq!(put(&cloud, &path(&ticket), b"12345").await, StatusCode::CREATED);
    let (status, error, _) = ask(&cloud, "d", "files/notifications", done.clone()).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{error}");
    let (lock, _, notices) = cloud.registry().lock_file_notification(LOCK).await;
    let notice = serde_json::to_value(&notices[0]).unwrap();
    assert_eq!(notice["deviceId"], "d");
    assert_eq!(notice["blobUri"], "https://localhost:8443/files/d/day%201/x.bin");
    assert_eq!((&notice["blobName"], &notice["blobSizeInBytes"]), (&json!("d/day 1/x.bin"), &json!(5)));
    assert!(notice["lastUpdatedTime"].as_str().unwrap().ends_with("+00:00"), "{notice}");
    cloud.registry().settle_file_notification(lock, Settlement::Complete).await.unwrap();

    // It has ended.
    let again = ask(&cloud, "d", "files/notifications", done).await;
    assert_eq!((again.0, &*again.1), (StatusCode::BAD_REQUEST, "InvalidFileUploadCorrelationId"));
}

#[tokio::test]
async fn a_ticket_is_good_for_its_own_blob_only() {
    let cloud = hub(Some(files(true))).await;
    let own = path(&begin(&cloud, "x").await);
    for foreign in
        [own.replace("/d/x?", "/d/y?"), own.replace("/d/x?", "/other/x?"), own.replace("sp=rw", "sp=rwd")]
    {
        assert_eq!(put(&cloud, &foreign, b"1").await, StatusCode::FORBIDDEN, "{foreign}");
    }
    let without = own.split('?').next().unwrap();
    assert_eq!(put(&cloud, without, b"1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(put(&cloud, &own, b"1").await, StatusCode::CREATED);
}

// FILE-06, FILE-07
#[tokio::test]
async fn file_06_file_07_paths_of_all_clients_are_taken_and_a_failure_is_no_notice() {
    let cloud = hub(Some(files(true))).await;
    let ticket = begin(&cloud, "x").await;
    let end = format!("files/notifications/{}", ticket["correlationId"].as_str().unwrap());
    let vague = ask(&cloud, "d", &end, json!({ "statusCode": 200 })).await;
    assert_eq!((vague.0, &*vague.1), (StatusCode::BAD_REQUEST, "InvalidFileUploadCompletionStatus"));
    // FILE-07: the C client's slash.
    let other = ask(&cloud, "d", "files/", json!({ "blobName": "y" })).await.2;
    let named = json!({ "correlationId": other["correlationId"], "isSuccess": false });
    assert_eq!(ask(&cloud, "d", "files/notifications/", named).await.0, StatusCode::NO_CONTENT);
    let failed = json!({ "isSuccess": false, "statusCode": 500, "statusDescription": "lost" });
    assert_eq!(ask(&cloud, "d", &end, failed).await.0, StatusCode::NO_CONTENT);
    let waiting =
        tokio::time::timeout(Duration::from_millis(1), cloud.registry().lock_file_notification(LOCK));
    assert!(waiting.await.is_err());
}

// HUB-20
#[tokio::test]
async fn hub_20_uploads_over_the_rate_are_refused() {
    let units = Some(Units { tier: Tier::S1, units: 1 });
    let throttles = assembly::Throttles { units, ..assembly::Throttles::default() };
    let cloud = hub_with(Some(files(true)), throttles).await;
    let told = json!({ "correlationId": "none", "isSuccess": true });
    let mut taken = 0;
    let (status, error) = loop {
        match ask(&cloud, "d", "files/notifications", told.clone()).await {
            (StatusCode::BAD_REQUEST, ..) => taken += 1,
            (status, error, _) => break (status, error),
        }
    };
    assert_eq!((status, &*error), (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"));
    assert!(taken >= 100, "{taken}");
    // Who may not ask takes nothing of it, and learns nothing.
    assert_eq!(ask(&cloud, "other", "files", told).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn only_the_device_itself_asks_and_only_where_there_is_storage() {
    let cloud = hub(Some(files(true))).await;
    let body = json!({ "blobName": "x" });
    assert_eq!(ask(&cloud, "other", "files", body.clone()).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        send(&cloud, "POST", "/devices/d/files", &[], Body::from("{}")).await.0,
        StatusCode::UNAUTHORIZED
    );
    for bad in
        [json!({}), json!({"blobName": ""}), json!({"blobName": "../other/x"}), json!({"blobName": "a//b"})]
    {
        assert_eq!(ask(&cloud, "d", "files", bad.clone()).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let none = ask(&hub(None).await, "d", "files", body).await;
    assert_eq!((none.0, &*none.1), (StatusCode::BAD_REQUEST, "DefaultStorageEndpointNotConfigured"));
}

#[tokio::test]
async fn a_container_is_no_path_of_the_hub_and_times_are_azures() {
    let cloud = hub(None).await;
    for bad in [
        Config { container: "devices".to_owned(), ..files(true) },
        Config { ttl: Duration::from_secs(59), ..files(true) },
    ] {
        let opened = super::place::Place::open(&bad, cloud.account(), &[]).await;
        assert!(opened.is_err(), "{bad:?}");
    }
}
