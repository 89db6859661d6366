use super::*;
use axum::extract::State as Shared;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use std::collections::VecDeque;

/// Answers as told, 200 once nothing is told any more, and keeps what came.
#[derive(Default)]
struct Receiver {
    answers: Mutex<VecDeque<StatusCode>>,
    requests: Mutex<Vec<(HeaderMap, Value)>>,
}

async fn take(Shared(receiver): Shared<Arc<Receiver>>, headers: HeaderMap, body: String) -> StatusCode {
    receiver.requests.lock().unwrap().push((headers, serde_json::from_str(&body).unwrap()));
    receiver.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
}

async fn receiver(answers: &[StatusCode]) -> (Arc<Receiver>, String) {
    let receiver = Arc::new(Receiver::default());
    receiver.answers.lock().unwrap().extend(answers);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/in", post(take)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (receiver, url)
}

#[tokio::test]
async fn a_web_hook_that_fails_gets_the_same_delivery_again_and_then_the_next() {
    let node = Node::start(&Memory::new()).await;
    let (receiver, url) = receiver(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::FOUND]).await;
    let outputs = json!({ "o": { "type": "webhook", "url": url, "headers": { "x-key": "canary" } } });
    node.job("one", "SELECT n INTO o FROM i", outputs).await;
    for n in 0..3 {
        node.send("d0", &json!({ "n": n })).await;
    }
    let report =
        node.report("one", "all rows", |r| r.outputs.get("o").is_some_and(|o| o.delivered_rows == 3)).await;
    assert!(report.outputs["o"].retries == 2 && report.outputs["o"].last_error.is_some());
    let requests = receiver.requests.lock().unwrap().clone();
    let text = |number: usize, name: &str| requests[number].0[name].to_str().unwrap().to_owned();
    assert_eq!(text(0, "ironbrook-delivery-id"), text(2, "ironbrook-delivery-id"));
    assert_eq!((&requests[0].1, text(0, "ironbrook-first-row")), (&requests[2].1, "0".to_owned()));
    assert_eq!((text(0, "x-key"), text(0, "ironbrook-job")), ("canary".to_owned(), "one".to_owned()));
    let rows: Vec<Value> =
        requests[2..].iter().flat_map(|(_, body)| body.as_array().unwrap().clone()).collect();
    assert_eq!(rows, [json!({ "n": 0 }), json!({ "n": 1 }), json!({ "n": 2 })]);
    node.stop().await;
}

#[tokio::test]
async fn what_a_receiver_refuses_is_left_out_or_stops_the_job() {
    let node = Node::start(&Memory::new()).await;
    let (receiver, url) = receiver(&[StatusCode::BAD_REQUEST]).await;
    let outputs = json!({ "o": { "type": "webhook", "url": url } });
    node.job("one", "SELECT n INTO o FROM i", outputs.clone()).await;
    node.send("d0", &json!({ "n": 1 })).await;
    node.report("one", "the refusal", |r| r.outputs.get("o").is_some_and(|o| o.dropped_rows == 1)).await;
    node.streaming.delete("one").await.unwrap();

    receiver.answers.lock().unwrap().push_back(StatusCode::BAD_REQUEST);
    let job = json!({
        "query": "SELECT n INTO o FROM i", "inputs": { "i": { "type": "events" } }, "outputs": outputs,
        "outputErrorPolicy": "Stop",
    });
    node.streaming.put("two", serde_json::from_value(job).unwrap()).await.unwrap();
    node.streaming.start("two", StartMode::default()).await.unwrap();
    node.send("d0", &json!({ "n": 2 })).await;
    let report = node.report("two", "the failure", |report| report.state == State::Failed).await;
    assert!(report.error.unwrap().contains("refuses a row"));
    node.streaming.start("two", StartMode::default()).await.unwrap();
    node.report("two", "the row", |r| r.outputs.get("o").is_some_and(|o| o.delivered_rows == 1)).await;
    node.stop().await;
}

#[tokio::test]
async fn rows_go_to_the_device_they_name() {
    let node = Node::start(&Memory::new()).await;
    let outputs = json!({ "o": { "type": "cloudToDevice", "deviceIdColumn": "to", "patienceSeconds": 60 } });
    node.job("one", "SELECT [to], n INTO o FROM i", outputs).await;
    for (to, n) in [("d1", 1), ("nobody", 2), ("d1", 3)] {
        node.send("d0", &json!({ "to": to, "n": n })).await;
    }
    let done = |r: &Report| r.outputs.get("o").is_some_and(|o| o.delivered_rows == 2 && o.dropped_rows == 1);
    node.report("one", "two messages and a row left out", done).await;
    let device = Identity::device(DeviceId::new("d1").unwrap());
    let inbox = node.cloud.hub().seams().inbox.clone();
    let messages = inbox.lock(&device, 10, Duration::from_secs(60)).await.unwrap();
    let bodies: Vec<Value> =
        messages.iter().map(|m| serde_json::from_slice(&m.message.body).unwrap()).collect();
    assert_eq!(bodies, [json!({ "to": "d1", "n": 1 }), json!({ "to": "d1", "n": 3 })]);
    let ids: Vec<&str> =
        messages.iter().map(|m| &**m.message.system.get(SystemProperty::MessageId).unwrap()).collect();
    assert!(ids[0].ends_with("/o/0") && ids[1].ends_with("/o/2") && ids[0].starts_with("one/"), "{ids:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_method_nobody_answers_is_given_up_in_time() {
    let node = Node::start(&Memory::new()).await;
    let outputs = json!({
        "o": { "type": "method", "methodName": "reboot", "deviceId": "d1", "patienceSeconds": 0 },
    });
    node.job("one", "SELECT n INTO o FROM i", outputs).await;
    node.send("d0", &json!({ "n": 1 })).await;
    let given_up = |r: &Report| r.outputs.get("o").is_some_and(|o| o.dropped_rows == 1);
    let report = node.report("one", "the end of patience", given_up).await;
    assert!(report.outputs["o"].last_error.as_ref().unwrap().contains("given up"));
    node.stop().await;
}

#[tokio::test]
async fn rows_that_are_routed_back_are_read_by_other_jobs_but_not_by_their_own() {
    let node = Node::start(&Memory::new()).await;
    let outputs = json!({ "o": { "type": "route", "deviceId": "d2" } });
    node.job("maker", "SELECT n + 100 AS n INTO o FROM i", outputs).await;
    let query = "SELECT n, IoTHub.ConnectionDeviceId AS d INTO o FROM i
                 WHERE GetMetadataPropertyValue(i, '[User].[streamingJob]') = 'maker'";
    node.job("reader", query, blob("box")).await;
    node.send("d0", &json!({ "n": 1 })).await;
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 101, "d": "d2" })]);
    let report = node.report("maker", "its own message", |report| report.input_messages == 2).await;
    assert_eq!(report.input_events, 1);
    node.stop().await;
}

#[tokio::test]
async fn arrays_are_whole_after_each_block_and_blobs_are_named_by_path() {
    let node = Node::start(&Memory::new()).await;
    let outputs = json!({ "o": {
        "type": "blob", "container": "box", "pathPattern": "{device}/{date}", "format": "jsonArray", "maxSeconds": 0,
    } });
    node.job("one", "SELECT n, device INTO o FROM i", outputs).await;
    let mut last = BTreeMap::new();
    for n in 0..6 {
        node.send("d0", &json!({ "n": n, "device": format!("x{}", n % 2) })).await;
        let look = async {
            loop {
                let blobs = node.blobs("box").await;
                let rows: Vec<Value> = blobs
                    .values()
                    .flat_map(|text| serde_json::from_str::<Vec<Value>>(text).unwrap())
                    .collect();
                if rows.len() == n + 1 {
                    return blobs;
                }
                moment().await;
            }
        };
        last = within("the next row", look).await;
    }
    let date = SystemClock.now().to_utc().strftime("%Y/%m/%d").to_string();
    assert!(last.keys().all(|name| name.contains(&date)) || last.len() > 2, "{last:?}");
    assert!(last.keys().any(|name| name.starts_with("x0/") && name.ends_with("_1.json")), "{last:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_blob_somebody_took_away_does_not_hold_the_job_up() {
    let node = Node::start(&Memory::new()).await;
    node.job("one", "SELECT n INTO o FROM i", blob("box")).await;
    node.send("d0", &json!({ "n": 1 })).await;
    node.wait_lines("box", 1).await;
    let name = node.blobs("box").await.into_keys().next().unwrap();
    node.cloud.account().delete_blob("box", &name, Default::default()).await.unwrap();
    node.send("d0", &json!({ "n": 2 })).await;
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 2 })]);
    node.stop().await;
}
