//! Against a server on a loopback port.

use super::*;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::post;
use bytes::Bytes;
use ironbrook_hub::seams::SystemClock;
use ironbrook_model::{Message, MessageSource, SystemProperty as P};
use serde_json::Value;
use std::collections::VecDeque;

const PARTITION: PartitionId = PartitionId(0);
const KEY: &[u8] = b"canary-signing-key";

/// A request as it came.
type Request = (HeaderMap, Bytes);
type Answer = (u16, Vec<(&'static str, String)>, &'static str);

/// Answers as told, 200 once nothing is told any more.
#[derive(Default)]
struct Receiver {
    requests: Mutex<Vec<Request>>,
    answers: Mutex<VecDeque<Answer>>,
}

impl Receiver {
    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn answer(&self, status: u16, headers: &[(&'static str, &str)], body: &'static str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.answers.lock().unwrap().push_back((status, headers, body));
    }
}

async fn take(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    receiver.requests.lock().unwrap().push((headers, body));
    let told = receiver.answers.lock().unwrap().pop_front();
    let (status, headers, body) = told.unwrap_or((200, Vec::new(), ""));
    let mut answer = HeaderMap::new();
    for (name, value) in headers {
        answer.insert(name, value.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), answer, body)
}

async fn receiver() -> (Arc<Receiver>, String) {
    let receiver = Arc::new(Receiver::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/in?code=1", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/in", post(take)).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (receiver, url)
}

fn config(url: &str, format: Format) -> Config {
    Config {
        url: url.to_owned(),
        format,
        gather: Gather::default(),
        timeout: Duration::from_secs(60),
        headers: vec![("Authorization".to_owned(), "Bearer canary-token".to_owned())],
        signing_key: Some(SharedAccessKey::from_bytes(KEY)),
        transport: Transport::default(),
    }
}

fn webhook(url: &str, format: Format) -> Webhook {
    Webhook::open("hook", "hub", config(url, format), 1, Arc::new(SystemClock)).unwrap()
}

fn message(offset: u64) -> Routed {
    let mut message = Message::new(format!("{{\"n\": {offset}}}"));
    message.system.set(P::MessageId, format!("m{offset}"));
    message.system.set(P::ConnectionDeviceId, "d1");
    message.system.set(P::ContentType, "application/json");
    message.system.set(P::ContentEncoding, "utf-8");
    message.properties.set("level", "hot %");
    message.properties.set("not a token", "x");
    Routed {
        offset: Offset(offset),
        event_sequence: None,
        enqueued: Timestamp::from_secs(1_700_000_000),
        source: MessageSource::DeviceMessages,
        message,
    }
}

fn batch(range: std::ops::Range<u64>) -> Vec<Routed> {
    range.map(message).collect()
}

fn ns(body: &Bytes) -> Vec<u64> {
    let array: Vec<Value> = serde_json::from_slice(body).unwrap();
    array.iter().map(|message| message["Body"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_one_signed_array_with_headers_that_come_again() {
    let (receiver, url) = receiver().await;
    let hook = webhook(&url, Format::Batch);
    assert_eq!(hook.send(PARTITION, &batch(7..9)).await, Sent::Done);
    let (headers, body) = receiver.requests().remove(0);
    assert_eq!(ns(&body), [7, 8]);
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("content-type"), "application/json; charset=utf-8");
    assert_eq!(text("authorization"), "Bearer canary-token");
    assert_eq!(text("ironbrook-delivery-id"), "hub/hook/0/7-8");
    assert_eq!(
        (text("ironbrook-messages"), text("ironbrook-first-offset")),
        ("2".to_owned(), "7".to_owned())
    );
    // As a receiver checks it.
    let signature = text("ironbrook-signature");
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let signed = [time.as_bytes(), b".", &body].concat();
    let wanted = SharedAccessKey::from_bytes(KEY).hmac_sha256(&signed);
    assert_eq!(hex, wanted.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[tokio::test]
async fn a_single_message_is_its_body_with_its_properties_as_headers() {
    let (receiver, url) = receiver().await;
    let hook = webhook(&url, Format::Single);
    assert_eq!(hook.send(PARTITION, &batch(0..2)).await, Sent::Done);
    let requests = receiver.requests();
    assert_eq!(requests.iter().map(|(_, body)| &**body).collect::<Vec<_>>(), [b"{\"n\": 0}", b"{\"n\": 1}"]);
    let text = |name: &str| requests[1].0.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(text("content-type").as_deref(), Some("application/json"));
    assert_eq!(text("iothub-connection-device-id").as_deref(), Some("d1"));
    assert_eq!(text("iothub-message-id").as_deref(), Some("m1"));
    assert_eq!(text("iothub-message-source").as_deref(), Some("Telemetry"));
    assert_eq!(
        text("iothub-app-level").as_deref(),
        Some("hot%20%25"),
        "it could be taken for an encoded one"
    );
    assert_eq!(text("content-encoding"), None, "a charset is none of HTTP");
    assert_eq!(text("ironbrook-delivery-id").as_deref(), Some("hub/hook/0/1-1"));
}

#[tokio::test]
async fn later_is_later_by_what_the_receiver_says_and_grows() {
    let (receiver, url) = receiver().await;
    let hook = webhook(&url, Format::Batch);
    receiver.answer(429, &[("retry-after", "7")], "slow\ndown");
    receiver.answer(503, &[], "");
    receiver.answer(408, &[("retry-after", "100000")], "");
    receiver.answer(302, &[("location", "http://elsewhere/")], "");
    let far = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
    let date = far.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    receiver.answer(500, &[("retry-after", &date)], "");
    let mut told = Vec::new();
    for _ in 0..5 {
        match hook.send(PARTITION, &batch(0..1)).await {
            Sent::RetryAfter(wait, why) => told.push((wait.as_secs(), why)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told[0], (7, "HTTP 429 Too Many Requests: slowdown".to_owned()));
    assert_eq!((told[1].0, told[2].0, told[3].0), (2, 300, 8));
    assert!(told[3].1.contains("redirects are not followed"), "{}", told[3].1);
    assert!((90..=100).contains(&told[4].0), "{}", told[4].0);
    assert_eq!(hook.send(PARTITION, &batch(0..1)).await, Sent::Done);
}

#[tokio::test]
async fn a_bad_message_does_not_take_the_others_with_it() {
    let (receiver, url) = receiver().await;
    let hook = webhook(&url, Format::Batch);
    receiver.answer(400, &[], "");
    receiver.answer(200, &[], "");
    receiver.answer(422, &[], "no such field");
    // Then the receiver is gone for a moment: what it has is not sent again.
    receiver.answer(503, &[], "");
    let sent = hook.send(PARTITION, &batch(0..4)).await;
    assert!(matches!(sent, Sent::RetryAfter(..)), "{sent:?}");
    let sent = hook.send(PARTITION, &batch(0..4)).await;
    let why = "HTTP 422 Unprocessable Entity: no such field".to_owned();
    assert_eq!(sent, Sent::Reject(vec![(1, why)]));
    let bodies: Vec<_> = receiver.requests().iter().map(|(_, body)| ns(body)).collect();
    assert_eq!(bodies, [vec![0, 1, 2, 3], vec![0], vec![1], vec![2], vec![2], vec![3]]);
    assert_eq!(hook.send(PARTITION, &batch(4..6)).await, Sent::Done, "the next batch is whole again");
    assert_eq!(ns(&receiver.requests().last().unwrap().1), [4, 5]);
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_each() {
    let (receiver, url) = receiver().await;
    let hook = webhook(&url, Format::Batch);
    receiver.answer(403, &[], "");
    let why = || "HTTP 403 Forbidden".to_owned();
    assert_eq!(hook.send(PARTITION, &batch(0..2)).await, Sent::Reject(vec![(0, why()), (1, why())]));
    assert_eq!(receiver.requests().len(), 1, "it is about the request, not about a message");
}

#[tokio::test]
async fn nobody_there_is_later_and_no_secret_is_told() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/canary-path", listener.local_addr().unwrap());
    drop(listener);
    let hook = webhook(&url, Format::Batch);
    let sent = hook.send(PARTITION, &batch(0..1)).await;
    let Sent::RetryAfter(wait, why) = sent else { panic!("{sent:?}") };
    assert_eq!(wait.as_secs(), 1);
    let told = format!("{why} {:?}", config(&url, Format::Batch));
    assert!(!told.contains("canary"), "{told}");
    for headers in [vec![("a b".to_owned(), "x".to_owned())], vec![("a".to_owned(), "x\ny".to_owned())]] {
        let config = Config { headers, ..config(&url, Format::Batch) };
        assert!(Webhook::open("hook", "hub", config, 1, Arc::new(SystemClock)).is_err());
    }
}
