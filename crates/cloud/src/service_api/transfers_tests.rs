//! Import and export through the service API, from and to this hub's own account over HTTP.

use super::tests::{ANY, Hub, LATER, hub};
use crate::storage::account::Share;
use crate::testing::{moment, within};
use http::StatusCode;
use ironbrook_client::{Trust, download, upload};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A hub whose account is served and which does imports and exports.
struct Site {
    hub: Hub,
    endpoint: String,
}

impl Site {
    async fn new() -> Self {
        let hub = hub().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = hub.cloud.account().router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let registry = hub.cloud.registry().clone();
        tokio::spawn(async move { registry.run_transfers(CancellationToken::new()).await });
        hub.cloud.account().ensure_container("box").await.unwrap();
        Self { hub, endpoint }
    }

    fn share(&self, blob: Option<&str>, permissions: &str) -> String {
        let share = Share {
            container: "box".to_owned(),
            blob: blob.map(str::to_owned),
            permissions: permissions.to_owned(),
            expires: LATER,
        };
        self.hub.cloud.account().sas_url(&self.endpoint, &share)
    }

    fn container(&self) -> String {
        self.share(None, "racwdl")
    }

    async fn read(&self, blob: &str) -> Vec<Value> {
        let bytes = download(&self.share(Some(blob), "r"), &Trust::System, 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn write(&self, blob: &str, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let url = self.share(Some(blob), "rcw");
        upload(&url, &Trust::System, "text/plain", text.into()).await.unwrap();
    }

    /// Makes one and waits for its end.
    async fn transfer(&self, body: Value) -> Value {
        let made = self.hub.ask("POST", "/jobs/create", &[], body).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        let path = format!("/jobs/{}", made.body["jobId"].as_str().unwrap());
        let wait = async {
            loop {
                let job = self.hub.ask("GET", &path, &[], Value::Null).await.body;
                if job["endTimeUtc"].is_string() {
                    return job;
                }
                moment().await;
            }
        };
        within("the end of an import or export", wait).await
    }
}

// REG-08
#[tokio::test]
async fn reg_08_what_is_exported_here_is_imported_elsewhere_with_its_keys() {
    let from = Site::new().await;
    let hub = &from.hub;
    hub.ask("PUT", "/devices/edge", &[], json!({"capabilities": {"iotEdge": true}})).await;
    let scope = hub.ask("GET", "/devices/edge", &[], Value::Null).await.body["deviceScope"].clone();
    hub.ask("PUT", "/devices/leaf", &[], json!({"deviceScope": scope, "parentScopes": [scope]})).await;
    hub.ask("PUT", "/devices/leaf/modules/m", &[], json!({})).await;
    let twin = json!({"tags": {"site": "a"}, "properties": {"desired": {"x": 1}}});
    hub.ask("PATCH", "/twins/leaf", &[], twin).await;
    let configuration = json!({"content": {"deviceContent": {"properties.desired.c": 1}}, "targetCondition": "tags.none = 1"});
    hub.ask("PUT", "/configurations/c", &[], configuration).await;
    let export =
        json!({"type": "export", "outputBlobContainerUri": from.container(), "includeConfigurations": true});
    let done = from.transfer(export).await;
    assert_eq!((&done["status"], &done["progress"]), (&json!("completed"), &json!(100)), "{done}");
    assert!(!done.to_string().contains("sig="), "{done}");
    let items = from.read("devices.txt").await;
    let leaf = items.iter().find(|item| item["id"] == "leaf" && item.get("moduleId").is_none()).unwrap();
    assert_eq!((&leaf["tags"]["site"], &leaf["properties"]["desired"]["x"]), (&json!("a"), &json!(1)));
    let keys = leaf["authentication"]["symmetricKey"].clone();
    assert!(keys["primaryKey"].is_string() && leaf["eTag"].is_string() && leaf["twinETag"].is_string());

    let to = Site::new().await;
    // As a person puts them together: a module before its device, an empty line, and one that nobody can read.
    let mut lines = items.clone();
    lines.reverse();
    lines.push(json!({"id": "bad id!/"}));
    to.write("in.txt", &lines).await;
    to.write("configurations.txt", &from.read("configurations.txt").await).await;
    let import = json!({"type": "import", "inputBlobContainerUri": to.container(), "inputBlobName": "in.txt",
        "outputBlobContainerUri": to.container(), "includeConfigurations": true});
    let done = to.transfer(import).await;
    assert_eq!(done["status"], "failed");
    assert!(done["failureReason"].as_str().unwrap().starts_with("1 items were refused"), "{done}");
    let errors = to.read("importErrors.log").await;
    assert_eq!(
        (errors.len(), &errors[0]["deviceId"], &errors[0]["errorCode"]),
        (1, &json!("bad id!/"), &json!(400_004))
    );
    let leaf = to.hub.ask("GET", "/devices/leaf", &[], Value::Null).await.body;
    assert_eq!(leaf["authentication"]["symmetricKey"], keys);
    let scope = to.hub.ask("GET", "/devices/edge", &[], Value::Null).await.body["deviceScope"].clone();
    assert_eq!(
        (&leaf["parentScopes"], &leaf["deviceScope"]),
        (&json!([scope]), &scope),
        "the scope of this hub"
    );
    let twin = to.hub.ask("GET", "/twins/leaf", &[], Value::Null).await.body;
    assert_eq!((&twin["tags"]["site"], &twin["properties"]["desired"]["x"]), (&json!("a"), &json!(1)));
    assert_eq!(to.hub.ask("GET", "/devices/leaf/modules/m", &[], Value::Null).await.status, StatusCode::OK);
    assert_eq!(to.hub.ask("GET", "/configurations/c", &[], Value::Null).await.status, StatusCode::OK);
}

#[tokio::test]
async fn keys_can_be_left_out_and_items_delete_and_update() {
    let site = Site::new().await;
    let export = json!({"type": "export", "outputBlobContainerUri": site.container(), "outputBlobName": "x/all.txt", "excludeKeysInExport": true});
    assert_eq!(site.transfer(export).await["status"], "completed");
    let items = site.read("x/all.txt").await;
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item["authentication"]["symmetricKey"]["primaryKey"].is_null()));
    let lines = [
        json!({"id": "d", "importMode": "Delete"}),
        json!({"id": "other", "importMode": "updateTwin", "tags": {"a": 1}}),
        json!({"id": "new", "importMode": "create", "status": "disabled"}),
    ];
    site.write("devices.txt", &lines).await;
    let import = json!({"type": "import", "inputBlobContainerUri": site.container(), "outputBlobContainerUri": site.container()});
    let done = site.transfer(import).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(site.hub.ask("GET", "/devices/d", &[], Value::Null).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.hub.ask("GET", "/twins/other", &[], Value::Null).await.body["tags"]["a"], 1);
    assert_eq!(site.hub.ask("GET", "/devices/new", &[], Value::Null).await.body["status"], "disabled");
    let all = site.hub.ask("GET", "/jobs", &[], Value::Null).await.body;
    assert_eq!(
        all.as_array().unwrap().iter().map(|job| &job["type"]).collect::<Vec<_>>(),
        ["export", "import"]
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_or_fails_without_the_signature() {
    let site = Site::new().await;
    let container = site.container();
    for (body, code) in [
        (json!({"type": "export"}), "ArgumentInvalid"),
        (json!({"type": "move", "outputBlobContainerUri": container}), "ArgumentInvalid"),
        (json!({"type": "import", "outputBlobContainerUri": container}), "ArgumentInvalid"),
        (json!({"type": "export", "outputBlobContainerUri": "nonsense"}), "BlobContainerValidationError"),
        (
            json!({"type": "export", "outputBlobContainerUri": container, "storageAuthenticationType": "identityBased"}),
            "ArgumentInvalid",
        ),
    ] {
        let refused = site.hub.ask("POST", "/jobs/create", &[], body).await;
        assert_eq!(
            (refused.status, &refused.headers["iothub-errorcode"]),
            (StatusCode::BAD_REQUEST, &code.parse().unwrap())
        );
    }
    let missing =
        json!({"type": "import", "inputBlobContainerUri": container, "outputBlobContainerUri": container});
    let done = site.transfer(missing).await;
    let why = done["failureReason"].as_str().unwrap();
    assert!(
        done["status"] == "failed" && why.contains("devices.txt") && !done.to_string().contains("sig="),
        "{done}"
    );
    let read_only = json!({"type": "export", "outputBlobContainerUri": site.share(None, "rl")});
    assert_eq!(site.transfer(read_only).await["status"], "failed");
    for (verb, path) in [("GET", "/jobs/none"), ("DELETE", "/jobs/none")] {
        let refused = site.hub.ask(verb, path, &ANY, Value::Null).await;
        assert_eq!(refused.headers["iothub-errorcode"], "JobNotFound");
    }
    for (policy, verb, path, status) in [
        ("service", "GET", "/jobs", 401),
        ("registryRead", "GET", "/jobs", 200),
        ("registryRead", "POST", "/jobs/create", 401),
    ] {
        let token = site.hub.token(policy);
        let reply = site.hub.send(Some(&token), verb, path, &[], &json!({})).await;
        assert_eq!(reply.status.as_u16(), status, "{policy} {verb} {path}");
    }
}
