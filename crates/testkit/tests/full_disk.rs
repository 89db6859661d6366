//! The disk of a whole hub is full, with so many bytes free when it happens. Every door pushes back or says so with the right code;
//! nothing acknowledged is lost, nothing refused is half there, and all goes on by itself when there is room again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod doors;

use ironbrook_client::topics::{Client, Message as Publish, QoS, ReasonCode};
use ironbrook_client::{DeviceClient, Error, Message, ServiceClient, topics};
use ironbrook_cloud::storage::account::Share;
use ironbrook_hub::seams::{Clock as _, Routed, SystemClock};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, SystemProperty};
use ironbrook_testkit::{CONTAINER, Node};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// Bytes that are still free; with `IRONBROOK_SLOW` in the environment all multiples of [`STEP`] up to [`FREE_MAX`].
const FREE: [u64; 5] = [0, 150, 3_000, 17_000, 50_000];
const STEP: u64 = 1_009;
const FREE_MAX: u64 = 60_000;
/// Longest time anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages by each door, and their bytes: more than any disk here has room for.
const MESSAGES: usize = 150;
const BYTES: usize = 2_000;
/// Topics that retain a message each.
const RETAINED: usize = 10;
/// Changes that a full disk may still have room for; past so many it is not full.
const CHANGES_MAX: usize = 2_000;

fn body(number: usize) -> String {
    format!(r#"{{"n": {number}, "filling": "{}"}}"#, "x".repeat(BYTES))
}

fn number(body: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(body).unwrap()["n"].as_u64().unwrap()
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id).unwrap())
}

/// Sends telemetry until all of it is acknowledged, and counts that.
fn telemetry(client: DeviceClient, acknowledged: Arc<AtomicUsize>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut receipts = Vec::new();
        for number in 0..MESSAGES {
            let receipt = client.enqueue(Message::new(body(number))).await.unwrap();
            let acknowledged = acknowledged.clone();
            receipts.push(tokio::spawn(async move {
                receipt.await.unwrap();
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }));
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
    })
}

/// Publishes until all of it is acknowledged.
fn publish(client: Client, topic: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut receipts = Vec::new();
        for number in 0..MESSAGES {
            let message = Publish::new(topic, body(number)).qos(QoS::AtLeastOnce);
            receipts.push(client.enqueue(message).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
    })
}

async fn owner(node: &Node) -> ServiceClient {
    let policies = node.registry().policies();
    let owner = policies.iter().find(|policy| policy.name == "iothubowner").unwrap();
    let key = owner.primary_key.to_base64();
    let text = format!("HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey={key}");
    let builder = ServiceClient::builder(&text).unwrap().trust(node.trust());
    builder.address(node.address()).amqp_address(node.address()).build().unwrap()
}

/// Changes until one is refused; gives how many were done, and what the refusal was.
async fn until_refused(
    what: &str,
    mut change: impl AsyncFnMut(usize) -> Result<(), Error>,
) -> (usize, Error) {
    for done in 0..CHANGES_MAX {
        if let Err(error) = within(what, change(done)).await {
            return (done, error);
        }
    }
    panic!("{what}: the disk is never full")
}

/// Whether a refusal says that it is the server's affair and heals, and what it is.
fn is_told(error: &Error) {
    let text = error.to_string();
    assert!(error.is_transient(), "not to be tried again: {text}");
    assert!(text.contains("full"), "it does not say what is wrong: {text}");
}

async fn put_blob(node: &Node, name: &str) -> (u16, String) {
    let share = Share {
        container: CONTAINER.to_owned(),
        blob: Some(name.to_owned()),
        permissions: "cw".to_owned(),
        expires: SystemClock.now().plus(Duration::from_secs(600)),
    };
    let request = axum::http::Request::put(node.account().sas_url("http://test", &share))
        .header("x-ms-version", "2024-08-04")
        .header("x-ms-blob-type", "BlockBlob")
        .header("content-length", "100000")
        .body(axum::body::Body::from(vec![b'x'; 100_000]))
        .unwrap();
    let response = node.account().router().oneshot(request).await.unwrap();
    let code = response.headers().get("x-ms-error-code").map(|code| code.to_str().unwrap().to_owned());
    (response.status().as_u16(), code.unwrap_or_default())
}

async fn persistent(node: &Node, id: &str) -> Result<(Client, topics::Messages), topics::Error> {
    node.topics(id).clean_start(false).session_expiry(Duration::from_secs(10_000)).connect().await
}

/// A message that was posted while the disk is full.
enum Post {
    Answered(u16),
    Waits(JoinHandle<u16>),
}

/// The numbers of a device's events.
fn numbers_of(events: &[Routed], device: &str) -> Vec<u64> {
    let sent = |event: &&Routed| {
        let sender = event.message.system.get(SystemProperty::ConnectionDeviceId);
        sender.is_some_and(|sender| &**sender == device)
    };
    events.iter().filter(sent).map(|event| number(&event.message.body)).collect()
}

/// All numbers in order, none twice.
fn complete(numbers: &[u64], door: &str) {
    assert_eq!(numbers, (0..MESSAGES as u64).collect::<Vec<_>>(), "{door}");
}

async fn fill_and_heal(free: u64) {
    let storage = Memory::new();
    let node =
        Node::start_with_topics(Arc::new(storage.clone()), &["a", "amqp", "https", "bridged", "reports"])
            .await
            .unwrap();
    let service = owner(&node).await;
    let sender = node.device("a").keep_alive(2 * PATIENCE).connect().await.unwrap();
    let reports = node.device("reports").connect().await.unwrap();
    let (keeper, mut kept) = persistent(&node, "keeper").await.unwrap();
    keeper.subscribe("line/1", QoS::AtLeastOnce).await.unwrap();
    let (live, mut lively) = node.topics("live").connect().await.unwrap();
    live.subscribe("live/#", QoS::AtLeastOnce).await.unwrap();
    let [to_line, to_device, to_live] = ["line", "device", "talk"].map(|id| node.topics(id));
    let to_line = to_line.connect().await.unwrap().0;
    let to_device = to_device.connect().await.unwrap().0;
    let to_live = to_live.connect().await.unwrap().0;

    storage.set_capacity(Some(storage.used() + free));
    // Doors with an acknowledgement push back: it stays away.
    let (address, token) = doors::place(&node, "amqp");
    let bodies = (0..MESSAGES).map(body).collect();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let sending = [
        telemetry(sender, acknowledged.clone()),
        publish(to_line, "line/1"),
        publish(to_device, "plant/bridged/telemetry"),
        tokio::spawn(doors::by_amqp(address, "amqp".to_owned(), token, bodies)),
    ];
    let pushing_back = async {
        while node.is_well() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the disk is full", pushing_back).await;
    within("what is on disk is acknowledged", async {
        while acknowledged.load(Ordering::SeqCst) < numbers_of(&node.events().await, "a").len() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;

    // Doors with an answer say so. What comes in a moment in which the log found a little room waits for more, as an
    // acknowledgement does.
    let (address, token) = doors::place(&node, "https");
    let mut posts = Vec::new();
    loop {
        let (token, body) = (token.clone(), body(posts.len()));
        let mut post = tokio::spawn(async move { doors::by_http(address, "https", &token, &body).await });
        let answer = tokio::time::timeout(Duration::from_secs(2), &mut post).await;
        posts.push(match answer {
            Ok(code) => Post::Answered(code.unwrap()),
            Err(_) => Post::Waits(post),
        });
        assert!(posts.len() < 20, "the hub does not say that its disk is full");
        if matches!(posts.last(), Some(Post::Answered(503))) {
            break;
        }
    }
    let filling = "x".repeat(3_000);
    let twin = json!({"tags": {"a": filling, "b": filling}});
    let (made, error) = until_refused("the service API", async |n| {
        let id = device(&format!("new-{n}"));
        service.create(&id).await?;
        service.patch_twin(&id, twin.clone()).await.map(drop)
    })
    .await;
    is_told(&error);
    let (queued, error) = until_refused("messages to devices", async |n| {
        service.send_message(&device("a"), &Message::new(format!("{n}{}", "x".repeat(4_000)))).await
    })
    .await;
    is_told(&error);
    let (_, error) = until_refused("reported properties", async |n| {
        reports.report(&json!({ format!("p{}", n % 7): "x".repeat(3_000 + n) })).await.map(drop)
    })
    .await;
    assert!(error.is_transient(), "{error}");
    let blob = put_blob(&node, "large").await;
    assert_eq!(blob, (503, "ServerBusy".to_owned()));
    // A session that has to be kept is refused, or comes when there is room; one that need not be kept works all the time.
    let late = tokio::time::timeout(Duration::from_millis(200), persistent(&node, "late")).await;
    if let Ok(Err(error)) = late {
        assert!(error.is_transient(), "{error}");
    }
    for n in 0..20 {
        let message = Publish::new("live/x", n.to_string()).qos(QoS::AtLeastOnce);
        let reason = within("clean sessions talk", to_live.publish(message)).await.unwrap();
        assert_eq!(reason, ReasonCode::Success);
        let received = within("clean sessions hear", lively.next()).await.unwrap();
        assert_eq!(received.message.payload, n.to_string());
    }

    storage.set_capacity(None);
    for (door, sending) in ["telemetry", "a topic", "a bridged topic", "AMQP"].iter().zip(sending) {
        within(door, sending).await.unwrap();
    }
    let mut taken = Vec::new();
    for (number, post) in posts.into_iter().enumerate() {
        let code = match post {
            Post::Answered(code) => code,
            Post::Waits(post) => within("an answer", post).await.unwrap(),
        };
        assert!(code == 204 || code == 503, "{code}");
        taken.extend((code == 204).then_some(number as u64));
    }
    let last = body(MESSAGES);
    assert_eq!(within("an answer", doors::by_http(address, "https", &token, &last)).await, 204);
    taken.push(MESSAGES as u64);
    within("the log is well", async {
        while !node.is_well() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let mut numbers = Vec::new();
    while numbers.len() < MESSAGES {
        let received = within("the persistent session", kept.next()).await.unwrap();
        numbers.push(number(&received.message.payload));
    }
    complete(&numbers, "a persistent session");
    within("all telemetry", async {
        loop {
            let events = node.events().await;
            let doors = ["a", "amqp", "bridged"].map(|id| (id, numbers_of(&events, id)));
            if doors.iter().all(|(_, numbers)| numbers.len() >= MESSAGES) {
                doors.iter().for_each(|(id, numbers)| complete(numbers, id));
                let mut posted = numbers_of(&events, "https");
                posted.sort_unstable();
                return assert_eq!(posted, taken, "what was taken is there, and what was refused is not");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // What was done is there, and what was refused can be done.
    for n in 0..made {
        let there = service.twin(&device(&format!("new-{n}"))).await.unwrap();
        assert_eq!(there["tags"], twin["tags"], "new-{n}");
    }
    within("a device", service.create(&device("after"))).await.unwrap();
    let waiting =
        service.identity(&device("a")).await.unwrap()["cloudToDeviceMessageCount"].as_u64().unwrap();
    assert_eq!(waiting, queued as u64, "messages that were taken wait, those that were refused do not");
    within("a message", service.send_message(&device("a"), &Message::new("after"))).await.unwrap();
    within("reported properties", reports.report(&json!({"after": 1}))).await.unwrap();
    assert_eq!(put_blob(&node, "large").await.0, 201);
    within("a late session", persistent(&node, "later")).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_says_that_the_disk_is_full_and_heals_alone() {
    let all: Vec<u64> = match std::env::var_os("IRONBROOK_SLOW") {
        Some(_) => (0..FREE_MAX / STEP).map(|n| n * STEP).collect(),
        None => FREE.into(),
    };
    for free in all {
        fill_and_heal(free).await;
    }
}

/// Retained messages are on disk before they are acknowledged or shown: on a full disk they wait for room, as does one that clears
/// another.
async fn retain_and_heal(seed: u64, free: u64) {
    let storage = Memory::new();
    let node = Node::start_with_topics(Arc::new(storage.clone()), &["a"]).await.unwrap();
    let clearing = node.topics("clearing").connect().await.unwrap().0;
    within("there is room", clearing.publish(retained("old/1", "0"))).await.unwrap();
    // Without a ping in the time of the test, which would have the door look for what it can acknowledge.
    let filling = node.topics("filling").keep_alive(2 * PATIENCE).connect().await.unwrap().0;
    storage.set_capacity(Some(storage.used() + free));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let count = acknowledged.clone();
    let publishing = tokio::spawn(async move {
        let mut receipts = Vec::new();
        for n in 0..MESSAGES {
            let topic = format!("kept/{}", n % RETAINED);
            receipts.push(filling.enqueue(retained(&topic, &body(n))).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    within("the disk is full", async {
        while node.is_well() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let clears = tokio::spawn(async move {
        clearing.publish(retained("quiet/1", "1").qos(QoS::AtMostOnce)).await.unwrap();
        clearing.publish(retained("old/1", "")).await.unwrap();
    });
    let (early, mut seen) = node.topics("early").connect().await.unwrap();
    within("an answer", early.subscribe("old/1", QoS::AtLeastOnce)).await.unwrap();
    let old = within("what nobody could clear", seen.next()).await.unwrap();
    assert_eq!(old.message.payload, "0");
    within("an answer", early.subscribe("kept/#", QoS::AtLeastOnce)).await.unwrap();
    let mut shown = Vec::new();
    while let Ok(Some(received)) = tokio::time::timeout(Duration::from_millis(50), seen.next()).await {
        shown.push(number(&received.message.payload));
    }
    within("what was shown is acknowledged", async {
        // Messages are acknowledged in order.
        while shown.iter().any(|n| acknowledged.load(Ordering::SeqCst) as u64 <= *n) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(acknowledged.load(Ordering::SeqCst) < MESSAGES && !clears.is_finished() && !node.is_well());

    storage.set_capacity(None);
    within("all is acknowledged", publishing).await.unwrap();
    within("it is cleared", clears).await.unwrap();
    let last = (MESSAGES - RETAINED) as u64..MESSAGES as u64;
    while !last.clone().all(|n| shown.contains(&n)) {
        let received = within("the newest", seen.next()).await.unwrap();
        if received.message.topic.starts_with("kept/") {
            shown.push(number(&received.message.payload));
        }
    }
    for topic in 0..RETAINED as u64 {
        let of_topic: Vec<_> = shown.iter().filter(|n| *n % RETAINED as u64 == topic).collect();
        assert!(of_topic.is_sorted_by(|a, b| a < b), "older behind newer, or twice: {of_topic:?}");
    }
    only_the_newest_is_retained(&node).await;
    let found = storage.power_cut(seed);
    node.stop().await;
    let node = Node::start_with_topics(Arc::new(found), &["a"]).await.unwrap();
    only_the_newest_is_retained(&node).await;
    node.stop().await;
}

fn retained(topic: &str, payload: &str) -> Publish {
    Publish::new(topic, payload.to_owned()).qos(QoS::AtLeastOnce).retain(true)
}

async fn only_the_newest_is_retained(node: &Node) {
    let (client, mut messages) = node.topics("fresh").connect().await.unwrap();
    for filter in ["old/#", "kept/#", "quiet/1", "end"] {
        within("an answer", client.subscribe(filter, QoS::AtLeastOnce)).await.unwrap();
    }
    within("an answer", client.publish(Publish::new("end", "").qos(QoS::AtLeastOnce))).await.unwrap();
    let mut found = Vec::new();
    loop {
        let Publish { topic, payload, retain, .. } =
            within("the end", messages.next()).await.unwrap().message;
        match &*topic {
            "end" => break,
            "quiet/1" => found.push((topic.to_string(), 1)),
            _ => found.push((topic.to_string(), number(&payload))),
        }
        assert!(retain, "{topic}");
    }
    let kept = (0..RETAINED).map(|n| (format!("kept/{n}"), (MESSAGES - RETAINED + n) as u64));
    assert_eq!(found, kept.chain([("quiet/1".to_owned(), 1)]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_wait_for_room_and_are_there_once_acknowledged() {
    for (seed, free) in FREE.into_iter().enumerate() {
        retain_and_heal(seed as u64, free).await;
    }
}

/// A hub that ends on a full disk tells why it does not start, or starts; in either case nothing is lost when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_ended_on_a_full_disk_has_all_that_it_acknowledged() {
    for (seed, free) in FREE.into_iter().enumerate() {
        let storage = Memory::new();
        let node = Node::start_with_topics(Arc::new(storage.clone()), &["a"]).await.unwrap();
        let client = node.device("a").connect().await.unwrap();
        for n in 0..10 {
            client.send(Message::new(body(n))).await.unwrap();
        }
        storage.set_capacity(Some(storage.used() + free));
        let mut acknowledged = 10;
        while let Ok(sent) =
            tokio::time::timeout(Duration::from_millis(300), client.send(Message::new(body(acknowledged))))
                .await
        {
            sent.unwrap();
            acknowledged += 1;
        }
        let found = storage.power_cut(seed as u64);
        node.stop().await;
        found.set_capacity(Some(found.used()));
        match Node::start_with_topics(Arc::new(found.clone()), &["a"]).await {
            Ok(node) => node.stop().await,
            Err(text) => assert!(text.contains("full") || text.contains("space"), "{text}"),
        }
        found.set_capacity(None);
        let node = Node::start_with_topics(Arc::new(found), &["a"]).await.unwrap();
        let numbers: Vec<u64> = node.events().await.iter().map(|event| number(&event.message.body)).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers.len() >= acknowledged, "{acknowledged} acknowledged, {} found", numbers.len());
        let client = node.device("a").connect().await.unwrap();
        within("it goes on", client.send(Message::new("1"))).await.unwrap();
        node.stop().await;
    }
}
