//! The portal against a whole hub: what a browser is told of an edge device whose agent and modules are real MQTT clients.
#![allow(clippy::unwrap_used, reason = "a test")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use ironbrook_client::{Builder, DeviceClient, Identity, Message, ServiceClient, Trust};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, SharedAccessKey, Timestamp};
use ironbrook_portal::{Config, Portal};
use ironbrook_testkit::Node;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Nothing here takes so long, however busy the machine; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "t0ken";

/// A hub, a service's client of it, and the portal beside it.
struct World {
    node: Node,
    service: ServiceClient,
    portal: Portal,
    stop: CancellationToken,
    ca: tempfile::NamedTempFile,
}

impl World {
    async fn start() -> Self {
        let node = Node::start(Arc::new(Memory::new()), &["leaf"]).await.unwrap();
        let policies = node.registry().policies();
        let owner = policies.iter().find(|policy| policy.name == "iothubowner").unwrap();
        let access =
            format!("SharedAccessKeyName=iothubowner;SharedAccessKey={}", owner.primary_key.to_base64());
        let service_string = format!("HostName=localhost;{access}");
        let service =
            ServiceClient::builder(&service_string).unwrap().trust(node.trust()).address(node.address());
        let ca = tempfile::NamedTempFile::new().unwrap();
        let Trust::Pem(pem) = node.trust() else { panic!("the hub's own authority") };
        std::fs::write(ca.path(), pem).unwrap();
        let config = Config {
            service: service_string,
            service_address: Some(node.address()),
            events: format!("Endpoint=sb://localhost/;{access};EntityPath=test"),
            events_address: Some(node.address()),
            ca_file: ca.path().into(),
            setup_token: TOKEN.into(),
            hub_name: "test".into(),
            host: "localhost".into(),
        };
        let stop = CancellationToken::new();
        let portal = Portal::new(config, stop.clone()).unwrap();
        Self { node, service: service.build().unwrap(), portal, stop, ca }
    }

    /// A client with the own key of an identity, which is made if it is not there.
    async fn connect(&self, identity: &Identity) -> DeviceClient {
        let body = json!({
            "deviceId": identity.device, "moduleId": identity.module, "authentication": {"type": "sas"},
        });
        let known = self.service.identity(identity).await.is_ok();
        let made = self.service.put_identity(identity, &body, known.then_some("*")).await.unwrap();
        let key = made["authentication"]["symmetricKey"]["primaryKey"].as_str().unwrap();
        let key = SharedAccessKey::from_base64(key).unwrap();
        let builder = Builder::with_key("localhost", identity.clone(), key);
        builder.trust(self.node.trust()).address(self.node.address()).connect().await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.node.stop().await;
        drop(self.ca);
    }
}

/// A signed-in browser.
struct Browser {
    router: Router,
    cookie: String,
}

impl Browser {
    async fn sign_in(portal: &Portal) -> Self {
        let router = portal.router();
        let request = Request::post("/api/session")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(json!({ "token": TOKEN }).to_string()));
        let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        Self { router, cookie }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).header(header::COOKIE, &self.cookie).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Asks again and again, as the page does, until the answer is as wanted.
    async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let asked = tokio::time::timeout(PATIENCE, async {
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            loop {
                pause.tick().await;
                last = self.get(path).await.1;
                if wanted(&last) {
                    return;
                }
            }
        });
        assert!(asked.await.is_ok(), "waited {PATIENCE:?} in vain for {what}; last: {last}");
        last
    }
}

fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id).unwrap())
}

fn module(id: &str) -> Identity {
    Identity::module(DeviceId::new("edge-1").unwrap(), id.parse().unwrap())
}

async fn make_edge_device(service: &ServiceClient) {
    let body = json!({
        "deviceId": "edge-1", "authentication": {"type": "sas"}, "capabilities": {"iotEdge": true},
        "status": "enabled",
    });
    service.put_identity(&device("edge-1"), &body, None).await.unwrap();
}

/// What an agent reports of a module.
fn entry(image: &str, started: &str) -> Value {
    json!({
        "type": "docker", "status": "running", "runtimeStatus": "running", "statusDescription": "running",
        "settings": {"image": image, "imageHash": "", "createOptions": "{}"},
        "exitCode": 0, "restartCount": 0, "lastStartTimeUtc": started, "lastExitTimeUtc": "0001-01-01T00:00:00",
    })
}

#[tokio::test]
async fn a_browser_sees_what_the_agent_reports_and_who_is_connected() {
    let world = World::start().await;
    let browser = Browser::sign_in(&world.portal).await;
    let (status, none) = browser.get("/api/edge").await;
    assert_eq!((status, none), (StatusCode::OK, json!({"devices": [], "more": false})));

    make_edge_device(&world.service).await;
    let is_silent = |told: &Value| told["devices"][0]["device"] == "edge-1";
    let silent = browser.until("/api/edge", "the new device", is_silent).await;
    assert_eq!(silent["devices"].as_array().unwrap().len(), 1, "leaf is no edge device");
    assert_eq!(
        (&silent["devices"][0]["deployment"], &silent["devices"][0]["modules"]),
        (&Value::Null, &json!([]))
    );

    let agent = world.connect(&module("$edgeAgent")).await;
    let started = Timestamp::from_secs(1_700_000_000).to_string();
    let reported = json!({
        "lastDesiredStatus": {"code": 200, "description": ""},
        "systemModules": {
            "edgeAgent": entry("test/azureiotedge-agent:1.5", &started),
            "edgeHub": entry("test/azureiotedge-hub:1.5", &started),
        },
        "modules": {"SimulatedTemperatureSensor": entry("test/azureiotedge-simulated-temperature-sensor:1.5", &started)},
    });
    agent.report(&reported).await.unwrap();
    let is_complete = |told: &Value| told["devices"][0]["modules"].as_array().is_some_and(|m| m.len() == 3);
    let told = browser.until("/api/edge", "three modules", is_complete).await;
    let edge = &told["devices"][0];
    assert_eq!(edge["deployment"], json!({"code": 200, "description": ""}));
    assert_eq!((&edge["agent_connected"], &edge["hub_connected"]), (&json!(true), &json!(false)));
    let names: Vec<_> =
        edge["modules"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["SimulatedTemperatureSensor", "edgeAgent", "edgeHub"]);
    let sensor = &edge["modules"][0];
    assert_eq!(
        (&sensor["status"], &sensor["config"]),
        (&json!("running"), &json!("test/azureiotedge-simulated-temperature-sensor:1.5"))
    );
    assert_eq!((&sensor["started_at"], &sensor["restarts"]), (&json!(started), &json!(0)));
    assert!(sensor["description"].as_str().unwrap().starts_with("Up "), "{sensor}");

    let hub = world.connect(&module("$edgeHub")).await;
    browser
        .until("/api/edge", "the edge hub's connection", |told| told["devices"][0]["hub_connected"] == true)
        .await;
    agent.close().await.unwrap();
    let is_alone = |told: &Value| told["devices"][0]["agent_connected"] == false;
    let told = browser.until("/api/edge", "the agent's going", is_alone).await;
    let description = told["devices"][0]["modules"][0]["description"].as_str().unwrap();
    assert!(description.starts_with("Started "), "{description}");

    hub.close().await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn temperatures_and_alerts_of_modules_come_with_their_names() {
    let world = World::start().await;
    let browser = Browser::sign_in(&world.portal).await;
    make_edge_device(&world.service).await;
    let reader = tokio::spawn(world.portal.clone().run());
    let sensor = world.connect(&module("SimulatedTemperatureSensor")).await;
    let job = world.connect(&module("edgeAlertJob")).await;
    let leaf = world.node.device("leaf").connect().await.unwrap();
    let body = r#"{"machine":{"temperature":70.5,"pressure":6},"ambient":{"temperature":21,"humidity":25}}"#;
    sensor.send_output("temperatureOutput", Message::new(body)).await.unwrap();
    job.send_output("alert", Message::new(r#"[{"command":"reset"}]"#)).await.unwrap();
    leaf.send(Message::new(r#"{"temperature":22.5}"#)).await.unwrap();

    let is_complete = |told: &Value| {
        let count = |list: &str| told[list].as_array().map_or(0, Vec::len);
        (count("series"), count("alerts")) == (2, 1)
    };
    let told = browser.until("/api/telemetry", "two series and an alert", is_complete).await;
    let series = told["series"].as_array().unwrap();
    let of = |device: &str| series.iter().find(|series| series["device"] == device).unwrap();
    assert_eq!(of("edge-1")["module"], "SimulatedTemperatureSensor");
    assert_eq!(of("edge-1")["points"][0][1], 70.5);
    assert_eq!((&of("leaf")["module"], &of("leaf")["points"][0][1]), (&Value::Null, &json!(22.5)));
    let alert = &told["alerts"][0];
    assert_eq!((&alert["device"], &alert["module"]), (&json!("edge-1"), &json!("edgeAlertJob")));
    assert_eq!((&alert["command"], &alert["body"]), (&json!("reset"), &json!(r#"[{"command":"reset"}]"#)));
    assert!(told["now"].as_i64() >= alert["time"].as_i64(), "{told}");

    for client in [sensor, job, leaf] {
        client.close().await.unwrap();
    }
    world.stop().await;
    tokio::time::timeout(PATIENCE, reader).await.expect("the reader ends").unwrap();
}

#[tokio::test]
async fn a_hub_that_does_not_answer_is_named_on_the_page() {
    let world = World::start().await;
    let browser = Browser::sign_in(&world.portal).await;
    world.node.stop().await;
    for path in ["/api/edge", "/api/devices"] {
        let (status, told) = browser.get(path).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{path}");
        let text = told["error"].as_str().unwrap();
        assert!(text.contains("localhost") || text.contains("127.0.0.1"), "{path}: {text}");
    }
    drop((world.stop, world.ca));
}
