//! The service API through its router, on a whole hub on storage in memory.

use crate::assembly::{Cloud, Config, LogConfig, Profile, Throttles};
use crate::registry::SeedFile;
use crate::testing::{moment, within};
use axum::body::Body;
use http::header::{AUTHORIZATION, ETAG, IF_MATCH};
use http::{HeaderMap, Method, Request, StatusCode};
use ironbrook_hub::seams::{Clock, Inbox as _, SystemClock};
use ironbrook_hub::{ConnectRequest, Credential, Route, Tier, Units, record};
use ironbrook_log::{Memory, Offset, PartitionId, QueueId};
use ironbrook_model::{
    DeviceId, Identity, Message, MessageSource, SasToken, SharedAccessKey, SystemProperty, Timestamp,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const LATER: Timestamp = Timestamp::from_secs(4_000_000_000);

pub(crate) struct Hub {
    pub(crate) cloud: Cloud,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) async fn hub() -> Hub {
    hub_with_routes(Vec::new()).await
}

async fn hub_with_routes(routes: Vec<Route>) -> Hub {
    hub_with(Arc::new(Memory::new()), Arc::new(SystemClock), routes, Throttles::default()).await
}

/// A hub on storage that may hold one already.
pub(super) async fn hub_on(storage: Arc<Memory>, clock: Arc<dyn Clock>, routes: Vec<Route>) -> Hub {
    hub_with(storage, clock, routes, Throttles::default()).await
}

pub(super) async fn hub_with(
    storage: Arc<Memory>,
    clock: Arc<dyn Clock>,
    routes: Vec<Route>,
    throttles: Throttles,
) -> Hub {
    let config = Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile: Profile::Azure,
        partitions: 1,
        routes,
        throttles,
        fallback_route: true,
        routing: Default::default(),
        storage_endpoints: Vec::new(),
        consumer_groups: Vec::new(),
        log: LogConfig {
            segment_bytes: 1 << 20,
            retention: Duration::from_secs(60),
            retention_bytes: 1 << 20,
            ..LogConfig::default()
        },
        account_name: "account".to_owned(),
        file_upload: None,
        streaming: Default::default(),
    };
    let seed = SeedFile::parse(r#"{"devices":[{"deviceId":"d"},{"deviceId":"other"}]}"#).unwrap();
    let mut metrics = prometheus_client::registry::Registry::default();
    let cloud = Cloud::open(storage, clock, config, Some(&seed), &mut metrics).await.unwrap();
    Hub { cloud }
}

impl Hub {
    pub(crate) fn token(&self, policy: &str) -> String {
        let policies = self.cloud.registry().policies();
        let policy = policies.iter().find(|p| p.name == policy).unwrap();
        policy.primary_key.sign("localhost", LATER, Some(&policy.name))
    }

    pub(crate) async fn send(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(format!("{path}?api-version=2021-04-12"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.cloud.http().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// As the hub's owner.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        let token = self.token("iothubowner");
        self.send(Some(&token), method, path, headers, &body).await
    }
}

pub(super) const ANY: [(&str, &str); 1] = [("if-match", "\"*\"")];

// REG-05
#[tokio::test]
async fn reg_05_put_creates_and_with_if_match_updates() {
    let hub = hub().await;
    let wish = json!({
        "deviceId": "new", "status": "enabled", "capabilities": {"iotEdge": false}, "unknownMember": 1,
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
    });
    let made = hub.ask("PUT", "/devices/new", &[], wish.clone()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let key = made.body["authentication"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    assert!(SharedAccessKey::from_base64(key).is_some());
    let etag = made.body["etag"].as_str().unwrap();
    assert_eq!(made.headers[ETAG], format!("\"{etag}\""));

    let twice = hub.ask("PUT", "/devices/new", &[], wish.clone()).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    assert_eq!(twice.headers["iothub-errorcode"], "DeviceAlreadyExists");
    let text = twice.body["Message"].as_str().unwrap();
    assert!(text.starts_with("ErrorCode:DeviceAlreadyExists;A device"), "{text}");

    let stale = [(IF_MATCH.as_str(), "\"stale\"")];
    assert_eq!(
        hub.ask("PUT", "/devices/new", &stale, wish.clone()).await.status,
        StatusCode::PRECONDITION_FAILED
    );
    let quoted = format!("\"{etag}\"");
    let disabled = json!({"deviceId": "new", "status": "disabled", "statusReason": "why"});
    let changed = hub.ask("PUT", "/devices/new", &[(IF_MATCH.as_str(), &quoted)], disabled).await;
    assert_eq!((&changed.body["status"], &changed.body["statusReason"]), (&json!("disabled"), &json!("why")));
    assert_eq!(changed.body["authentication"], made.body["authentication"]);

    assert_eq!(hub.ask("DELETE", "/devices/new", &ANY, Value::Null).await.status, StatusCode::NO_CONTENT);
    let gone = hub.ask("GET", "/devices/new", &[], Value::Null).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert!(gone.body["Message"].as_str().unwrap().starts_with("ErrorCode:DeviceNotFound;"));
    let other = hub.ask("PUT", "/devices/x", &[], json!({"deviceId": "y"})).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
}

// HTTP-10
#[tokio::test]
async fn http_10_lists_with_and_without_a_slash_and_counts() {
    let hub = hub().await;
    for path in ["/devices", "/devices/"] {
        let list = hub.ask("GET", path, &[], Value::Null).await;
        assert_eq!(list.body.as_array().unwrap().len(), 2);
        assert_eq!(list.body[0]["statusUpdatedTime"], "0001-01-01T00:00:00");
    }
    let registry = hub.cloud.registry();
    let (first, next) = registry.devices_page(Default::default(), 1).await.unwrap();
    let (second, end) = registry.devices_page(next.unwrap(), 1).await.unwrap();
    assert_eq!((first[0].0.device.as_str(), second[0].0.device.as_str(), end), ("d", "other", None));
    let counts = hub.ask("GET", "/statistics/devices", &[], Value::Null).await;
    assert_eq!(
        counts.body,
        json!({"totalDeviceCount": 2, "enabledDeviceCount": 2, "disabledDeviceCount": 0})
    );
    let counts = hub.ask("GET", "/statistics/service", &[], Value::Null).await;
    assert_eq!(counts.body, json!({"connectedDeviceCount": 0}));
}

#[tokio::test]
async fn a_connection_and_its_end_are_told_in_identity_twin_and_query() {
    let hub = hub().await;
    let key = hub.ask("GET", "/devices/d", &[], Value::Null).await.body["authentication"]["symmetricKey"]
        ["primaryKey"]
        .clone();
    let key = SharedAccessKey::from_base64(key.as_str().unwrap()).unwrap();
    let request = ConnectRequest {
        identity: Identity::device(DeviceId::new("d").unwrap()),
        credential: Credential::Sas(SasToken::parse(&key.sign("localhost/devices/d", LATER, None)).unwrap()),
        model_id: None,
        clean_session: true,
        lasting: true,
    };
    let time = |value: &Value| Timestamp::parse(value.as_str().unwrap()).unwrap();
    let before = SystemClock.now();
    let session = hub.cloud.hub().connect(request).await.unwrap();
    let connected = hub.ask("GET", "/devices/d", &[], Value::Null).await.body;
    assert_eq!(connected["connectionState"], "Connected");
    let began = time(&connected["connectionStateUpdatedTime"]);
    assert!(began >= before && time(&connected["lastActivityTime"]) == began);
    drop(session);
    let gone = hub.ask("GET", "/devices", &[], Value::Null).await.body[0].clone();
    assert_eq!(gone["connectionState"], "Disconnected");
    assert!(time(&gone["connectionStateUpdatedTime"]) >= began);
    let twin = hub.ask("GET", "/twins/d", &[], Value::Null).await.body;
    assert_eq!(twin["lastActivityTime"], gone["lastActivityTime"]);
    let query = json!({ "query": "SELECT * FROM devices WHERE lastActivityTime > '2020-01-01T00:00:00Z'" });
    let found = hub.ask("POST", "/devices/query", &[], query).await.body;
    assert_eq!((&found[0]["deviceId"], found.as_array().unwrap().len()), (&json!("d"), 1));
}

#[tokio::test]
async fn ids_may_hold_every_documented_character() {
    let hub = hub().await;
    let path = "/devices/a%2Bb%25c%23d%3Fe%40f%24";
    let made = hub.ask("PUT", path, &[], json!({"deviceId": "a+b%c#d?e@f$"})).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    assert_eq!(hub.ask("GET", path, &[], Value::Null).await.body["deviceId"], "a+b%c#d?e@f$");
    assert_eq!(hub.ask("GET", "/devices/a%2Fb", &[], Value::Null).await.status, StatusCode::BAD_REQUEST);
}

// REG-04
#[tokio::test]
async fn reg_04_a_device_looks_after_its_own_modules_and_no_others() {
    let hub = hub().await;
    let device = hub.ask("GET", "/devices/d", &[], Value::Null).await;
    let key = device.body["authentication"]["symmetricKey"]["secondaryKey"].as_str().unwrap();
    let token = SharedAccessKey::from_base64(key).unwrap().sign("localhost/devices/d", LATER, None);
    let own = async |method, path, headers, body| hub.send(Some(&token), method, path, headers, &body).await;

    let none =
        json!({"moduleId": "m", "deviceId": "d", "authentication": {"type": "none"}, "managedBy": "IotEdge"});
    let made = own("PUT", "/devices/d/modules/m", &[], none.clone()).await;
    assert_eq!((made.status, &made.body["managedBy"]), (StatusCode::OK, &json!("IotEdge")));
    let twice = own("PUT", "/devices/d/modules/m", &[], none).await;
    assert_eq!((twice.status, &twice.body["errorCode"]), (StatusCode::CONFLICT, &json!(409_301)));
    let keys = json!({"authentication": {"type": "sas", "symmetricKey": {
        "primaryKey": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "secondaryKey": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}});
    let set = own("PUT", "/devices/d/modules/m", &[("if-match", "*")], keys).await;
    assert_eq!(set.body["generationId"], made.body["generationId"]);
    assert_eq!(own("GET", "/devices/d/modules", &[], Value::Null).await.body.as_array().unwrap().len(), 1);

    assert_eq!(own("GET", "/devices/other/modules", &[], Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(own("GET", "/devices/d", &[], Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(own("GET", "/twins/d", &[], Value::Null).await.status, StatusCode::UNAUTHORIZED);
    let gone = own("DELETE", "/devices/d/modules/m", &[("if-match", "*")], Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn twins_are_read_patched_and_replaced() {
    let hub = hub().await;
    let fresh = hub.ask("GET", "/twins/d", &[], Value::Null).await;
    assert_eq!((&fresh.body["etag"], &fresh.body["version"]), (&json!("AAAAAAAAAAE="), &json!(2)));
    let patch = json!({"tags": {"site": "a"}, "properties": {"desired": {"interval": 5}}});
    let patched = hub.ask("PATCH", "/twins/d", &[("if-match", "\"AAAAAAAAAAE=\"")], patch.clone()).await;
    assert_eq!(patched.body["properties"]["desired"]["interval"], 5);
    assert_eq!(patched.headers[ETAG], "\"AAAAAAAAAAI=\"");
    let stale = hub.ask("PATCH", "/twins/d", &[("if-match", "\"AAAAAAAAAAE=\"")], patch).await;
    assert_eq!(stale.headers["iothub-errorcode"], "PreconditionFailed");
    let replaced =
        hub.ask("PUT", "/twins/d", &ANY, json!({"properties": {"desired": {"x": null, "y": 1}}})).await;
    assert_eq!(
        (&replaced.body["tags"], &replaced.body["properties"]["desired"]["y"]),
        (&json!({}), &json!(1))
    );
    let bad = hub.ask("PATCH", "/twins/d", &[], json!({"tags": {"a b": 1}})).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    let large = json!({"tags": {"a": vec!["x".repeat(4000); 3]}});
    assert_eq!(hub.ask("PATCH", "/twins/d", &[], large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(hub.ask("GET", "/twins/d/modules/m", &[], Value::Null).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn methods_answer_in_their_own_envelope() {
    let hub = hub().await;
    let offline =
        hub.ask("POST", "/twins/d/methods", &[], json!({"methodName": "reboot", "payload": null})).await;
    assert_eq!(offline.headers["iothub-errorcode"], "DeviceNotOnline");
    let inner: Value = serde_json::from_str(offline.body["Message"].as_str().unwrap()).unwrap();
    assert_eq!(inner["errorCode"], 404_103);
    let body = json!({"methodName": "reboot", "responseTimeoutInSeconds": 4});
    assert_eq!(
        hub.ask("POST", "/twins/d/methods", &[], body).await.headers["iothub-errorcode"],
        "ArgumentInvalid"
    );
    let unnamed = hub.ask("POST", "/twins/d/methods", &[], json!({"payload": 1})).await;
    assert_eq!(unnamed.status, StatusCode::BAD_REQUEST);
}

// HTTP-13
#[tokio::test]
async fn http_13_query_pages_by_headers() {
    let hub = hub().await;
    for n in 0..7 {
        hub.ask("PUT", &format!("/devices/q{n}"), &[], json!({})).await;
        hub.ask("PATCH", &format!("/twins/q{n}"), &[], json!({"tags": {"n": n, "even": n % 2 == 0}})).await;
    }
    let query = async |text: &str| {
        let (mut ids, mut pages, mut place) = (Vec::new(), 0, None::<String>);
        loop {
            let mut headers = vec![("x-ms-max-item-count", "3")];
            headers.extend(place.as_deref().map(|place| ("x-ms-continuation", place)));
            let page = hub.ask("POST", "/devices/query", &headers, json!({"query": text})).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            ids.extend(page.body.as_array().unwrap().iter().map(|item| item["deviceId"].clone()));
            pages += 1;
            place = page.headers.get("x-ms-continuation").map(|p| p.to_str().unwrap().to_owned());
            if place.is_none() {
                return (ids, pages, page);
            }
        }
    };
    let (ids, pages, last) = query("SELECT * FROM devices WHERE tags.n >= 0").await;
    assert_eq!((ids.len(), pages, &ids[6]), (7, 3, &json!("q6")));
    assert_eq!(last.headers["x-ms-item-type"], "twin");
    let (ids, pages, _) = query("SELECT TOP 4 * FROM devices WHERE tags.n >= 0").await;
    assert_eq!((ids.len(), pages), (4, 2));
    let (ids, _, last) = query("SELECT deviceId FROM devices WHERE tags.even = true").await;
    assert_eq!((ids.len(), last.headers["x-ms-item-type"].as_bytes()), (4, &b"raw"[..]));
    let (_, _, last) = query("SELECT COUNT() AS total FROM devices WHERE tags.even = true").await;
    assert_eq!(last.body[0]["total"], 4);
    let (ids, _, _) = query("SELECT * FROM devices.modules").await;
    assert!(ids.is_empty());

    let bad = hub.ask("POST", "/devices/query", &[], json!({"query": "SELECT * FRM devices"})).await;
    assert_eq!(bad.headers["iothub-errorcode"], "ArgumentInvalid");
    let forged = [("x-ms-continuation", "forged")];
    let forged = hub.ask("POST", "/devices/query", &forged, json!({"query": "SELECT * FROM devices"})).await;
    assert_eq!(forged.status, StatusCode::BAD_REQUEST);
}

// HUB-20
#[tokio::test]
async fn hub_20_the_service_api_answers_429_with_retry_after() {
    let units = Some(Units { tier: Tier::S1, units: 1 });
    let throttles = Throttles { units, ..Throttles::default() };
    let hub = hub_with(Arc::new(Memory::new()), Arc::new(SystemClock), Vec::new(), throttles).await;
    let query =
        async || hub.ask("POST", "/devices/query", &[], json!({"query": "SELECT * FROM devices"})).await;
    for _ in 0..20 {
        assert_eq!(query().await.status, StatusCode::OK);
    }
    let over = query().await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS, "{}", over.body);
    assert_eq!(over.headers["iothub-errorcode"], "ThrottlingException");
    assert!(over.headers.contains_key("retry-after"));
    // Other kinds of operations go on, and who has no right learns nothing of throttles.
    assert_eq!(hub.ask("GET", "/devices/d", &[], Value::Null).await.status, StatusCode::OK);
    let stranger = hub.send(None, "POST", "/devices/query", &[], &Value::Null).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

// REG-06
#[tokio::test]
async fn reg_06_bulk_takes_modes_in_any_case_and_tells_every_error() {
    let hub = hub().await;
    let items = json!([
        {"id": "b1", "importMode": "Create", "tags": {"site": "x"}},
        {"id": "d", "importMode": "updateIfMatchETag", "eTag": "stale", "status": "disabled"},
        {"id": "other", "importMode": "delete"},
        {"id": "b2", "importMode": "createOrUpdate", "properties": {"desired": {"a": 1}}},
        {"id": "nobody", "importMode": "updateTwin", "tags": {}},
        {"id": "d", "importMode": "fly"},
    ]);
    let reply = hub.ask("POST", "/devices", &[], items).await;
    assert_eq!((reply.status, &reply.body["isSuccessful"]), (StatusCode::BAD_REQUEST, &json!(false)));
    let codes: Vec<_> = reply.body["errors"].as_array().unwrap().iter().map(|e| &e["errorCode"]).collect();
    assert_eq!(codes, [&json!(412_001), &json!(404_001), &json!(400_004)]);
    assert_eq!(hub.ask("GET", "/twins/b1", &[], Value::Null).await.body["tags"]["site"], "x");
    assert_eq!(hub.ask("GET", "/devices/other", &[], Value::Null).await.status, StatusCode::NOT_FOUND);
    let fine = hub.ask("POST", "/devices", &[], json!([{"id": "b3"}])).await;
    assert_eq!((fine.status, &fine.body["isSuccessful"]), (StatusCode::OK, &json!(true)));
}

#[tokio::test]
async fn purge_counts_what_waited() {
    let hub = hub().await;
    let device = Identity::device(DeviceId::new("d").unwrap());
    for _ in 0..3 {
        hub.cloud.registry().enqueue(&device, Message::new("x")).await.unwrap();
    }
    let view = hub.ask("GET", "/devices/d", &[], Value::Null).await;
    assert_eq!(view.body["cloudToDeviceMessageCount"], 3);
    let purged = hub.ask("DELETE", "/devices/d/commands", &[], Value::Null).await;
    assert_eq!(purged.body, json!({"totalMessagesPurged": 3, "deviceId": "d", "moduleId": null}));
}

// EVENT-01
#[tokio::test]
async fn event_01_changes_of_twins_and_identities_reach_their_routes_in_order() {
    let route = |source| Route {
        name: format!("{source:?}"),
        source,
        condition: "true".to_owned(),
        endpoints: vec!["events".to_owned()],
        ..Route::default()
    };
    let sources = [MessageSource::TwinChangeEvents, MessageSource::DeviceLifecycleEvents];
    let hub = hub_with_routes(sources.map(route).into()).await;
    hub.ask("PUT", "/devices/n", &[], json!({})).await;
    hub.ask("PATCH", "/twins/n", &[], json!({"tags": {"a": 1}, "properties": {"desired": {"x": null}}}))
        .await;
    hub.ask("PUT", "/twins/n", &ANY, json!({})).await;
    hub.ask("DELETE", "/devices/n", &ANY, Value::Null).await;

    let (registry, core, cancel) =
        (hub.cloud.registry().clone(), hub.cloud.hub().clone(), CancellationToken::new());
    let pump = tokio::spawn({
        let (registry, core, cancel) = (registry.clone(), core.clone(), cancel.clone());
        async move { registry.pump_outbox(core, cancel).await }
    });
    let log = core.seams().log.clone();
    let mut events = Vec::new();
    while events.len() < 4 {
        let next = Offset(events.len() as u64);
        within("four events", log.tail(PartitionId(0), next)).await.unwrap();
        let batch = log.read(PartitionId(0), QueueId::EVENTS, next, 10, 1 << 20).await.unwrap();
        events.extend(batch.records.iter().map(|r| record::decode(r).unwrap()));
    }
    let property = |n: usize, name: &str| events[n].message.properties.get(name).unwrap().to_string();
    let kinds: Vec<_> = (0..4).map(|n| property(n, "opType")).collect();
    assert_eq!(kinds, ["createDeviceIdentity", "updateTwin", "replaceTwin", "deleteDeviceIdentity"]);
    assert_eq!(property(1, "iothub-message-schema"), "twinChangeNotification");
    assert_eq!((property(1, "deviceId"), property(1, "hubName")), ("n".to_owned(), "hub".to_owned()));
    assert_eq!(events[1].source, MessageSource::TwinChangeEvents);
    let device = events[1].message.system.get(SystemProperty::ConnectionDeviceId);
    assert_eq!(device.map(|d| &**d), Some("n"));
    let body: Value = serde_json::from_slice(&events[1].message.body).unwrap();
    assert_eq!((&body["version"], &body["tags"]), (&json!(3), &json!({"a": 1})));
    assert_eq!(body["properties"]["desired"]["x"], Value::Null);
    assert_eq!(body["properties"]["desired"]["$version"], 2);
    // What was published is taken out of the outbox, which may be a moment later.
    let emptied = async {
        while !registry.outbox_is_empty().await.unwrap() {
            moment().await;
        }
    };
    within("an empty outbox", emptied).await;
    cancel.cancel();
    within("the end of the pump", pump).await.unwrap();
}
