//! Streaming jobs by the service API.

use super::tests::hub;
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_is_made_shown_changed_started_stopped_and_removed() {
    let hub = hub().await;
    let wish = json!({
        "query": "SELECT a INTO o FROM i",
        "inputs": { "i": { "type": "events" } },
        "outputs": { "o": { "type": "webhook", "url": "http://127.0.0.1:1/?code=canary" } },
    });
    let made = hub.ask("PUT", "/streamingjobs/my-job", &[], wish.clone()).await;
    assert_eq!((made.status, &made.body["state"]), (StatusCode::OK, &json!("Stopped")), "{}", made.body);
    assert!(!made.body.to_string().contains("canary"), "{}", made.body);
    let list = hub.ask("GET", "/streamingjobs", &[], Value::Null).await;
    assert_eq!(list.body["value"][0]["name"], "my-job");
    let started = hub.ask("POST", "/streamingjobs/my-job/start", &[], Value::Null).await;
    assert_eq!(started.body["isWanted"], true, "{}", started.body);
    let stopped = hub.ask("POST", "/streamingjobs/my-job/stop", &[], Value::Null).await;
    assert_eq!(stopped.body["isWanted"], false);
    let gone = hub.ask("DELETE", "/streamingjobs/my-job", &[], Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let gone = hub.ask("GET", "/streamingjobs/my-job", &[], Value::Null).await;
    assert_eq!(gone.headers["iothub-errorcode"], "JobNotFound");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_the_reason() {
    let hub = hub().await;
    let refused = async |path: &str, body: Value| {
        let reply = hub.ask(if path.ends_with("start") { "POST" } else { "PUT" }, path, &[], body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
        reply.body["Message"].as_str().unwrap().to_owned()
    };
    let job = |query: &str| json!({ "query": query, "inputs": {}, "outputs": {} });
    let text = refused("/streamingjobs/my-job", job("SELECT a FRMO i")).await;
    assert!(text.contains("did you mean FROM?"), "{text}");
    let text = refused("/streamingjobs/my-job", job("SELECT a INTO o FROM i")).await;
    assert!(text.contains("has no input of that name"), "{text}");
    let text = refused("/streamingjobs/x", job("SELECT a FROM i")).await;
    assert!(text.contains("3 to 63"), "{text}");
    let text = refused("/streamingjobs/my-job", json!({ "query": "q", "inputs": {} })).await;
    assert!(text.contains("outputs"), "{text}");
    let text = refused("/streamingjobs/my-job/start", json!({ "outputStartMode": "Tomorrow" })).await;
    assert!(text.contains("outputStartMode"), "{text}");
}
