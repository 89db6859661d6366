//! Authorization against requests recorded from azure-storage-blob 12.31.1 (Python), and answers over HTTP types.

use super::super::{Account, Config};
use super::operation::Operation;
use super::*;
use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use ironbrook_gateway::Peer;
use ironbrook_hub::seams::Clock;
use ironbrook_log::Memory;
use ironbrook_model::{SharedAccessKey, SymmetricKeys, Timestamp};
use std::path::Path;
use std::sync::Arc;

const KEY: &[u8] = b"ironbrook test key, not a secret";
const DATE: &str = "Sun, 22 Nov 2026 12:00:00 GMT";

/// A clock that stands still.
struct At(Timestamp);

#[async_trait]
impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, _deadline: Timestamp) {
        std::future::pending().await
    }
}

fn account_at(time: &str) -> Account {
    let keys = SymmetricKeys {
        primary: SharedAccessKey::from_bytes(b"the other key"),
        secondary: SharedAccessKey::from_bytes(KEY),
    };
    let clock = Arc::new(At(Timestamp::parse(time).unwrap()));
    let config = Config { name: "acc".into(), keys };
    Account::open(Arc::new(Memory::new()), Path::new("account"), config, clock).unwrap()
}

fn account() -> Account {
    account_at("2026-11-22T12:00:30Z")
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> axum::http::Request<()> {
    let mut builder = axum::http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let peer = Peer { addr: ([127, 0, 0, 1], 40_000).into(), certificates: Vec::new(), tls: false };
    builder.extension(peer).body(()).unwrap()
}

fn authorize(account: &Account, request: axum::http::Request<()>) -> Result<bool, Code> {
    let request = Request::parse(request.into_parts().0, "acc")?;
    let operation = Operation::of(&request).ok();
    account.authorize(&request, operation)
}

fn put_blob(authorization: &str) -> axum::http::Request<()> {
    let headers = [
        ("content-length", "5"),
        ("x-ms-meta-a_b", "1"),
        ("x-ms-meta-ab", "2"),
        ("x-ms-meta-a1", "3"),
        ("x-ms-meta-unit", "celsius"),
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-blob-content-type", "text/plain"),
        ("x-ms-version", "2026-10-06"),
        ("content-type", "application/octet-stream"),
        ("accept", "application/xml"),
        ("x-ms-date", DATE),
        ("x-ms-client-request-id", "a4299c12-e677-11f1-845c-02fc00000001"),
        ("authorization", authorization),
    ];
    request(Method::PUT, "/acc/box/a%20b/%C3%BC%2B1.json", &headers)
}

#[test]
fn shared_key_of_the_stock_client_blob_01_blob_02() {
    let account = account();
    let good = "SharedKey acc:o4/DCBNWhadHudlb3RVisoIqKrFFOEYO9DucN55Fju4=";
    assert_eq!(authorize(&account, put_blob(good)), Ok(false));
    let list =
        "/acc/box?restype=container&comp=list&prefix=a%20b%2F%2B%26&maxresults=2&include=metadata,tags";
    let headers = [
        ("x-ms-version", "2026-10-06"),
        ("x-ms-date", DATE),
        ("x-ms-client-request-id", "a429c372-e677-11f1-845c-02fc00000001"),
        ("authorization", "SharedKey acc:C9vsVlWY9o0TU17LsxrkjrLmvPFe0vamiF3daz8Tjj0="),
        // Date beside x-ms-date is not signed (BLOB-03): proxies add it.
        ("date", "Sun, 22 Nov 2026 12:00:01 GMT"),
    ];
    assert_eq!(authorize(&account, request(Method::GET, list, &headers)), Ok(false));
    let headers = [
        ("x-ms-range", "bytes=5-14"),
        ("x-ms-version", "2026-10-06"),
        ("x-ms-date", DATE),
        ("x-ms-client-request-id", "a429e320-e677-11f1-845c-02fc00000001"),
        ("authorization", "SharedKey acc:OldeKBbero0O7YyaEeeGIGOhCuDVGo72MheteF0jd8k="),
    ];
    assert_eq!(authorize(&account, request(Method::GET, "/acc/box/x", &headers)), Ok(false));
}

#[test]
fn anything_changed_is_refused() {
    let good = "SharedKey acc:o4/DCBNWhadHudlb3RVisoIqKrFFOEYO9DucN55Fju4=";
    let account = account();
    for bad in
        ["SharedKey acc:AAAA", "SharedKey acc:", "SharedKey acc:o4/DCBNWhadHudlb3RVisoIqKrFFOEYO9DucN55Fju5="]
    {
        assert_eq!(authorize(&account, put_blob(bad)), Err(Code::AuthenticationFailed), "{bad}");
    }
    assert_eq!(authorize(&account, put_blob("SharedKey other:AAAA")), Err(Code::AuthenticationFailed));
    assert_eq!(authorize(&account, put_blob("Bearer x")), Err(Code::InvalidAuthenticationInfo));
    for (name, value) in [("x-ms-meta-a1", "4"), ("content-length", "6"), ("x-ms-more", "1")] {
        let mut changed = put_blob(good);
        changed.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(authorize(&account, changed), Err(Code::AuthenticationFailed), "{name}");
    }
    for late in ["2026-11-22T12:16:00Z", "2026-11-22T11:44:00Z"] {
        assert_eq!(authorize(&account_at(late), put_blob(good)), Err(Code::DateTooFar), "{late}");
    }
    let without = request(Method::GET, "/acc/box/x", &[("x-ms-date", DATE)]);
    assert_eq!(authorize(&account, without), Err(Code::NoAuthenticationInformation));
}

const BLOB_SAS: &str = "st=2026-11-22T11%3A00%3A00Z&se=2026-11-22T13%3A00%3A00Z&sp=r&sip=127.0.0.1&spr=https%2Chttp&sv=2026-10-06\
    &sr=b&rscc=no-cache&rsct=text/x&sig=mjW680WH0B3kNBknZ0RM4y4tIHbEt64%2ByI0yBryl/q0%3D";
const CONTAINER_SAS: &str =
    "se=2026-11-22T13%3A00%3A00Z&sp=rl&sv=2026-10-06&sr=c&sig=0tCV3lXuYVzYxObTLSX5Cief9coG/uKBslQkQxhxfB4%3D";
const ACCOUNT_SAS: &str = "se=2026-11-22T13%3A00%3A00Z&sp=rwl&sv=2026-10-06&ss=b&srt=sco\
    &sig=Qs32DEktS%2BeMFq4pgz/q5aaJgoWDYqdfVPbt3aCXCxQ%3D";

fn get(path: &str, sas: &str) -> axum::http::Request<()> {
    let joint = if path.contains('?') { '&' } else { '?' };
    request(Method::GET, &format!("{path}{joint}{sas}"), &[])
}

#[test]
fn signatures_of_the_stock_client() {
    let account = account();
    let blob = "/acc/box/a%20b/%C3%BC%2B1.json";
    let list = "/acc/box?restype=container&comp=list";
    assert_eq!(authorize(&account, get(blob, BLOB_SAS)), Ok(false));
    assert_eq!(authorize(&account, get("/acc/box/other", BLOB_SAS)), Err(Code::AuthenticationFailed));
    assert_eq!(authorize(&account, get("/acc/box/other", CONTAINER_SAS)), Ok(false));
    assert_eq!(authorize(&account, get(list, CONTAINER_SAS)), Ok(false));
    assert_eq!(authorize(&account, get("/acc/box2/other", CONTAINER_SAS)), Err(Code::AuthenticationFailed));
    assert_eq!(
        authorize(&account, get("/acc/box?restype=container", CONTAINER_SAS)),
        Err(Code::AuthorizationPermissionMismatch)
    );
    assert_eq!(authorize(&account, get("/acc?comp=list", ACCOUNT_SAS)), Ok(false));
    let delete = request(Method::DELETE, &format!("{blob}?{ACCOUNT_SAS}"), &[]);
    assert_eq!(authorize(&account, delete), Err(Code::AuthorizationPermissionMismatch));
    // A signature that was changed in any field, among them the permissions.
    let raised = CONTAINER_SAS.replace("sp=rl", "sp=rwl");
    assert_eq!(authorize(&account, get(list, &raised)), Err(Code::AuthenticationFailed));
    let early = account_at("2026-11-22T10:59:59Z");
    assert_eq!(authorize(&early, get(blob, BLOB_SAS)), Err(Code::SignatureNotInTime));
    let late = account_at("2026-11-22T13:00:00Z");
    assert_eq!(authorize(&late, get(blob, BLOB_SAS)), Err(Code::SignatureNotInTime));
    let mut elsewhere = get(blob, BLOB_SAS);
    elsewhere.extensions_mut().get_mut::<Peer>().unwrap().addr = ([192, 0, 2, 1], 1).into();
    assert_eq!(authorize(&account, elsewhere), Err(Code::AuthorizationSourceIPMismatch));
}

#[test]
fn own_signatures_are_accepted() {
    let account = account();
    let mut share = super::super::Share {
        container: "box".into(),
        blob: Some("a b/ü.json".into()),
        permissions: "cw".into(),
        expires: Timestamp::parse("2026-11-22T13:00:00Z").unwrap(),
    };
    let url = account.sas_url("http://127.0.0.1:10000/", &share);
    let path = url.strip_prefix("http://127.0.0.1:10000").unwrap();
    assert_eq!(authorize(&account, request(Method::PUT, path, &[])), Ok(false));
    share.permissions = "c".into();
    let url = account.sas_url("http://127.0.0.1:10000", &share);
    let path = url.strip_prefix("http://127.0.0.1:10000").unwrap();
    assert_eq!(
        authorize(&account, request(Method::PUT, path, &[])),
        Ok(true),
        "it may create but not replace"
    );
    assert_eq!(
        authorize(&account, request(Method::GET, path, &[])),
        Err(Code::AuthorizationPermissionMismatch)
    );
}

async fn answer(account: &Account, method: Method, uri: &str) -> Response<Body> {
    let request = request(method, uri, &[]).map(|()| Body::empty());
    handle(State(account.clone()), request).await
}

#[tokio::test]
async fn errors_have_a_code_in_header_and_body_and_heads_have_none() {
    let account = account();
    let uri = format!("/acc/none?restype=container&comp=list&{ACCOUNT_SAS}");
    let response = answer(&account, Method::GET, &uri).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["x-ms-error-code"], "ContainerNotFound");
    assert_eq!(response.headers()["x-ms-version"], "2021-12-02");
    assert!(response.headers().contains_key("x-ms-request-id"));
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    assert!(std::str::from_utf8(&body).unwrap().contains("<Code>ContainerNotFound</Code>"));
    let response =
        answer(&account, Method::HEAD, &format!("/acc/none?restype=container&{ACCOUNT_SAS}")).await;
    assert_eq!(response.headers()["x-ms-error-code"], "ContainerNotFound");
    assert!(axum::body::to_bytes(response.into_body(), 4096).await.unwrap().is_empty());
}

#[test]
fn strangers_are_told_one_code_for_all_failures_of_authentication() {
    for code in [Code::AuthenticationFailed, Code::SignatureNotInTime, Code::DateTooFar] {
        assert_eq!((code.as_str(), code.status()), ("AuthenticationFailed", 403));
    }
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_again() {
    let account = account();
    let uri = format!("/acc?comp=list&{ACCOUNT_SAS}");
    let all = account.inner.requests.acquire_many(super::super::REQUESTS_MAX as u32).await.unwrap();
    let response = answer(&account, Method::GET, &uri).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["x-ms-error-code"], "ServerBusy");
    drop(all);
    assert_eq!(answer(&account, Method::GET, &uri).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn strangers_whose_bodies_never_come_take_no_place_of_others() {
    use futures_util::FutureExt as _;
    let account = account();
    let mut strangers: Vec<_> = (0..=super::super::REQUESTS_MAX)
        .map(|_| {
            let body = Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
            let upload = request(Method::PUT, "/acc/box/x", &[("content-length", "9")]).map(|()| body);
            Box::pin(handle(State(account.clone()), upload))
        })
        .collect();
    for stranger in &mut strangers {
        assert!(stranger.now_or_never().is_none(), "the body is waited for, so that the answer can be read");
    }
    let listed = answer(&account, Method::GET, &format!("/acc?comp=list&{ACCOUNT_SAS}")).await;
    assert_eq!(listed.status(), StatusCode::OK);
}
