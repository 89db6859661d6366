//! The calls through the router, on a whole hub on storage in memory.

use crate::assembly::{Cloud, Config, Encoding, LogConfig, Profile, StorageEndpointConfig, StorageTarget};
use crate::registry::SeedFile;
use crate::testing::within;
use axum::body::Body;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use ironbrook_hub::seams::SystemClock;
use ironbrook_hub::{ConnectRequest, Credential, Hub, Route};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, Message, SasToken, SystemProperty, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const LATER: Timestamp = Timestamp::from_secs(4_000_000_000);
const SEED: &str = r#"{"devices": [{"deviceId": "d", "tags": {"site": "north"}}]}"#;

fn route(name: &str, condition: &str, endpoints: &[&str]) -> Route {
    Route {
        name: name.to_owned(),
        condition: condition.to_owned(),
        endpoints: endpoints.iter().map(|name| (*name).to_owned()).collect(),
        ..Route::default()
    }
}

fn config() -> Config {
    let box_ = |name: &str| StorageEndpointConfig {
        name: name.to_owned(),
        container: "container".to_owned(),
        encoding: Encoding::Json,
        file_name_format: "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}".to_owned(),
        batch_frequency: Duration::from_millis(1),
        max_chunk_bytes: 10 << 20,
        target: StorageTarget::BuiltIn,
    };
    Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile: Profile::Native,
        partitions: 1,
        routes: vec![
            route("north", "$twin.tags.site = 'north' AND level = 'hot'", &["box"]),
            Route { enabled: false, ..route("off", "true", &["box"]) },
        ],
        fallback_route: true,
        storage_endpoints: vec![box_("box")],
        routing: Default::default(),
        throttles: Default::default(),
        consumer_groups: Vec::new(),
        log: LogConfig::default(),
        account_name: "account".to_owned(),
        file_upload: None,
        streaming: Default::default(),
    }
}

struct World {
    api: axum::Router,
    hub: Hub,
    token: String,
    device_key: String,
    cancel: CancellationToken,
    running: JoinHandle<Result<(), crate::assembly::Error>>,
}

impl World {
    async fn new(storage: &Memory) -> Self {
        let seed = SeedFile::parse(SEED).unwrap();
        let mut metrics = prometheus_client::registry::Registry::default();
        let storage = Arc::new(storage.clone());
        let cloud =
            Cloud::open(storage, Arc::new(SystemClock), config(), Some(&seed), &mut metrics).await.unwrap();
        let policies = cloud.registry().policies();
        let policy = policies.iter().find(|policy| policy.name == "service").unwrap();
        let token = policy.primary_key.sign("localhost", LATER, Some("service"));
        let (api, hub, cancel) = (cloud.http(), cloud.hub().clone(), CancellationToken::new());
        let devices = cloud.registry().list_devices(10).await.unwrap();
        let crate::registry::StoredAuthentication::Sas { primary, .. } = &devices[0].1.authentication else {
            panic!("a device with keys")
        };
        let device_key = primary.sign("localhost/devices/d", LATER, None);
        let running = tokio::spawn(cloud.run(cancel.clone()));
        Self { api, hub, token, device_key, cancel, running }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, &self.token);
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.api.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn send(&self, id: &str, level: &str) {
        let identity = Identity::device(DeviceId::new("d").unwrap());
        let credential = Credential::Sas(SasToken::parse(&self.device_key).unwrap());
        let request =
            ConnectRequest { identity, credential, model_id: None, clean_session: true, lasting: false };
        let session = self.hub.connect(request).await.unwrap();
        let mut message = Message::new("{}");
        message.system.set(SystemProperty::MessageId, id.to_owned());
        message.properties.set("level", level.to_owned());
        let ticket = self.hub.telemetry(&session, &message).unwrap().unwrap();
        self.hub.durable(ticket).await.unwrap();
    }

    /// Asks until an endpoint has reached an outcome.
    async fn fate(&self, id: &str, outcome: &str) -> Value {
        let looking = async {
            loop {
                let (status, told) = self.ask("GET", &format!("/routing/messages/{id}"), &Value::Null).await;
                assert_eq!(status, StatusCode::OK, "{told}");
                if told["messages"][0]["endpoints"][0]["outcome"] == outcome {
                    return told["messages"][0].clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{id} {outcome}"), looking).await
    }

    async fn stop(self) {
        self.cancel.cancel();
        drop((self.api, self.hub));
        within("the end", self.running).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn all_routes_are_tried_with_reasons_and_the_device_s_own_twin() {
    let world = World::new(&Memory::new()).await;
    let message = |level: &str| {
        json!({ "message": { "body": "{}", "appProperties": { "level": level },
                             "systemProperties": { "iothub-connection-device-id": "d" } } })
    };
    let (status, told) = world.ask("POST", "/routing/routes/$testall", &message("hot")).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_eq!(told["routes"][0]["properties"]["name"], "north");
    assert_eq!(told["routes"][0]["properties"]["endpointNames"], json!(["box"]));
    assert_eq!((&told["endpoints"], &told["fallback"]), (&json!(["box"]), &json!(false)));
    assert_eq!(told["trials"][1]["why"], "the route is not in force");

    let (_, told) = world.ask("POST", "/routing/routes/$testall", &message("cold")).await;
    assert_eq!(told["routes"], json!([]));
    assert_eq!((&told["endpoints"], &told["fallback"]), (&json!(["events"]), &json!(true)));
    assert_eq!(
        told["trials"][0]["reasons"],
        json!([
            { "comparison": "$twin.tags.site = 'north'", "result": "true", "reason": "$twin.tags.site is \"north\"" },
            { "comparison": "level = 'hot'", "result": "false", "reason": "level is \"cold\"" },
        ])
    );
    let mut elsewhere = message("hot");
    elsewhere["twin"] = json!({ "tags": { "site": "south" } });
    let (_, told) = world.ask("POST", "/routing/routes/$testall", &elsewhere).await;
    assert_eq!(told["routes"], json!([]), "the twin that is given counts");
    let wrong = json!({ "message": { "systemProperties": { "nonsense": "x" } } });
    assert_eq!(world.ask("POST", "/routing/routes/$testall", &wrong).await.0, StatusCode::BAD_REQUEST);
    world.stop().await;
}

#[tokio::test]
async fn a_new_route_is_tried_and_its_errors_have_a_place() {
    let world = World::new(&Memory::new()).await;
    let body = json!({ "temperature": 30 });
    let test = |condition: &str| {
        json!({ "message": { "body": body }, "route": {
            "name": "new", "source": "DeviceMessages", "condition": condition, "endpointNames": ["box"] } })
    };
    let (_, told) = world.ask("POST", "/routing/routes/$testnew", &test("$body.temperature > 20")).await;
    assert_eq!((&told["result"], &told["details"]["compilationErrors"]), (&json!("true"), &json!([])));
    let (_, told) = world.ask("POST", "/routing/routes/$testnew", &test("$body.humidity > 20")).await;
    assert_eq!(told["result"], "undefined");
    assert_eq!(
        told["reasons"][0]["reason"],
        "$body.humidity is not there; nothing compares with what is missing or null"
    );
    let (status, told) = world.ask("POST", "/routing/routes/$testnew", &test("a = 1 AND\n foo(2)")).await;
    assert_eq!(status, StatusCode::OK);
    let error = &told["details"]["compilationErrors"][0];
    assert_eq!(error["location"]["start"], json!({ "line": 2, "column": 2 }));
    assert!(error["message"].as_str().unwrap().starts_with("there is no function foo"), "{error}");
    world.stop().await;
}

#[tokio::test]
async fn what_became_of_a_message_is_told_also_after_a_restart() {
    let storage = Memory::new();
    let world = World::new(&storage).await;
    world.send("m1", "hot").await;
    let fate = world.fate("m1", "delivered").await;
    assert_eq!((&fate["deviceId"], &fate["source"]), (&json!("d"), &json!("DeviceMessages")));
    let endpoint = &fate["endpoints"][0];
    assert_eq!((&endpoint["endpoint"], &endpoint["attempts"]), (&json!("box"), &json!(1)));
    let place = endpoint["place"].as_str().unwrap();
    assert!(place.starts_with("container/hub/00/") && place.ends_with(".json"), "{place}");
    assert_eq!((&fate["routes"][0]["name"], &fate["routes"][0]["result"]), (&json!("north"), &json!("true")));

    world.send("m2", "cold").await;
    let fate = world.fate("m2", "stored").await;
    assert_eq!(fate["endpoints"][0]["endpoint"], "events");
    assert_eq!(fate["routes"].as_array().unwrap().last().unwrap()["name"], "$fallback");

    let (status, told) = world.ask("GET", "/routing/messages/nothing", &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{told}");
    let later = world.ask("GET", "/routing/messages/m1?since=2099-01-01T00:00:00Z", &Value::Null).await;
    assert_eq!(later.0, StatusCode::NOT_FOUND);
    let hinted = world.ask("GET", "/routing/messages/m1?device=d", &Value::Null).await;
    assert_eq!(hinted.0, StatusCode::OK);
    world.stop().await;

    let world = World::new(&storage).await;
    let again = world.fate("m1", "delivered").await;
    assert_eq!(again["endpoints"][0]["place"], place);
    world.stop().await;
}

#[tokio::test]
async fn health_names_every_endpoint_rule_route_15() {
    let world = World::new(&Memory::new()).await;
    world.send("m1", "hot").await;
    world.fate("m1", "delivered").await;
    let (status, told) = world.ask("GET", "/routingEndpointsHealth", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let box_ = &told["value"][1];
    assert_eq!(
        (&box_["endpointId"], &box_["healthStatus"], &box_["sent"]),
        (&json!("box"), &json!("healthy"), &json!(1))
    );
    assert!(
        box_["lastSuccessfulSendAttemptTime"].is_string() && box_.get("lastKnownError").is_none(),
        "{box_}"
    );
    assert_eq!(told["unrouted"], 0);
    let (_, told) = world.ask("GET", "/routing", &Value::Null).await;
    assert_eq!(
        (&told["endpoints"], &told["fallbackRoute"]["isEnabled"]),
        (&json!(["events", "box"]), &json!(true))
    );
    assert_eq!(told["routes"][1]["isEnabled"], false);
    world.stop().await;
}
