//! Configurations through the service API.

use super::tests::{ANY, Hub, hub};
use http::StatusCode;
use http::header::{ETAG, IF_MATCH};
use serde_json::{Value, json};

const PATH: &str = "/configurations/c-1";

fn body() -> Value {
    json!({"id": "c-1", "schemaVersion": "1.0", "labels": {"App": "Mongo"},
        "content": {"deviceContent": {"properties.desired.Settings": {"On": true}}},
        "targetCondition": "tags.site = 'a'", "priority": 3,
        "metrics": {"queries": {"Seen": "SELECT deviceId FROM devices WHERE properties.reported.Seen = true"}}})
}

async fn status(hub: &Hub, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, String) {
    let reply = hub.ask(method, path, headers, body).await;
    let code = reply.headers.get("iothub-errorcode").map(|code| code.to_str().unwrap().to_owned());
    (reply.status.as_u16(), code.unwrap_or_default())
}

// CONF-02
#[tokio::test]
async fn conf_02_put_creates_and_with_if_match_changes_all_but_the_content() {
    let hub = hub().await;
    let made = hub.ask("PUT", PATH, &[], body()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    for name in ["id", "schemaVersion", "labels", "content", "targetCondition", "priority"] {
        assert_eq!(made.body[name], body()[name], "{name}");
    }
    let etag = made.headers[ETAG].to_str().unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", made.body["etag"].as_str().unwrap()));
    assert!(made.body["systemMetrics"]["queries"]["targetedCount"].is_string());
    assert_eq!(status(&hub, "PUT", PATH, &[], body()).await, (409, "ConfigurationAlreadyExists".into()));
    let stale = [(IF_MATCH.as_str(), "\"stale\"")];
    assert_eq!(status(&hub, "PUT", PATH, &stale, body()).await, (412, "PreconditionFailed".into()));

    let mut other = body();
    other["content"]["deviceContent"]["properties.desired.Settings"]["On"] = json!(false);
    let refused = status(&hub, "PUT", PATH, &ANY, other).await;
    assert_eq!(refused, (400, "CannotModifyImmutableConfigurationContent".into()));
    let mut changed = body();
    (changed["priority"], changed["labels"]) = (json!(4), json!({}));
    let changed = hub.ask("PUT", PATH, &[(IF_MATCH.as_str(), &etag)], changed).await;
    assert_eq!((changed.status, &changed.body["priority"]), (StatusCode::OK, &json!(4)));
    assert_ne!(changed.body["etag"], made.body["etag"]);

    let got = hub.ask("GET", PATH, &[], Value::Null).await;
    assert_eq!(got.body["metrics"]["results"], json!({"Seen": 0}));
    assert_eq!(hub.ask("GET", "/configurations", &[], Value::Null).await.body[0]["id"], "c-1");
    assert_eq!(status(&hub, "DELETE", PATH, &stale, Value::Null).await.0, 412);
    assert_eq!(status(&hub, "DELETE", PATH, &ANY, Value::Null).await.0, 204);
    let gone = (404, "ConfigurationNotFound".to_owned());
    assert_eq!(status(&hub, "GET", PATH, &[], Value::Null).await, gone);
    assert_eq!(status(&hub, "DELETE", PATH, &[], Value::Null).await, gone);
    assert_eq!(status(&hub, "PUT", PATH, &ANY, body()).await, gone);
}

#[tokio::test]
async fn what_breaks_a_rule_has_its_code() {
    let hub = hub().await;
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        body
    };
    for (body, code) in [
        (with("id", json!("other")), "ArgumentInvalid"),
        (with("priority", json!(-1)), "ArgumentInvalid"),
        (with("targetCondition", json!("tags.site =")), "InvalidConfigurationTargetCondition"),
        (with("content", json!({})), "InvalidConfigurationContent"),
        (with("metrics", json!({"queries": {"q": "SELECT"}})), "InvalidConfigurationCustomMetricsQuery"),
    ] {
        assert_eq!(status(&hub, "PUT", PATH, &[], body).await, (400, code.to_owned()));
    }
}

#[tokio::test]
async fn queries_are_tried_without_making_anything() {
    let hub = hub().await;
    let body = json!({"targetCondition": "tags.a = ", "customMetricQueries": {
        "good": "SELECT deviceId FROM devices", "bad": "SELECT FROM devices", "jobs": "SELECT * FROM devices.jobs"}});
    let tested = hub.ask("POST", "/configurations/testQueries", &[], body).await;
    assert_eq!(tested.status, StatusCode::OK);
    let error = tested.body["targetConditionError"].as_str().unwrap();
    assert!(error.contains("line 1, column 10"), "{error}");
    let errors = tested.body["customMetricQueryErrors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["bad", "jobs"]);
    let good = json!({"targetCondition": "*", "customMetricQueries": {}});
    let tested = hub.ask("POST", "/configurations/testQueries", &[], good).await;
    assert_eq!(tested.body, json!({"targetConditionError": null, "customMetricQueryErrors": {}}));
}

// CONF-06
#[tokio::test]
async fn conf_06_registry_or_service_rights_are_enough() {
    let hub = hub().await;
    for (policy, read, write) in [
        ("registryRead", 200, 401),
        ("registryReadWrite", 200, 200),
        ("service", 200, 409),
        ("device", 401, 401),
    ] {
        let token = hub.token(policy);
        let got = hub.send(Some(&token), "GET", "/configurations", &[], &Value::Null).await;
        assert_eq!(got.status.as_u16(), read, "{policy}");
        let put = hub.send(Some(&token), "PUT", PATH, &[], &body()).await;
        assert_eq!(put.status.as_u16(), write, "{policy}");
    }
}
