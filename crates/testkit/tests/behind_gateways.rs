//! A whole hub and stock-like clients over real MQTT and TLS: messages to inputs, and a gateway that speaks for others.
#![allow(clippy::unwrap_used, reason = "a test")]

use ironbrook_client::{Builder, DeviceClient, Messages, ReceivedMessage, RetryPolicy};
use ironbrook_cloud::registry::{StoredAuthentication, Wish};
use ironbrook_hub::seams::Routed;
use ironbrook_hub::{InputOutcome, InputStop, Settlement};
use ironbrook_log::{Memory, Offset};
use ironbrook_model::{DeviceId, Identity, Message, MessageSource, SystemProperty, Timestamp};
use ironbrook_testkit::{Node, Place};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Nothing here takes so long, however busy the machine; past it a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

fn device(id: &str) -> Identity {
    Identity::device(DeviceId::new(id).unwrap())
}

fn module(device: &str, id: &str) -> Identity {
    Identity::module(DeviceId::new(device).unwrap(), id.parse().unwrap())
}

fn gateway() -> Identity {
    Identity::gateway(DeviceId::new("g").unwrap())
}

/// A hub with gateway device `g` and its modules `$edgeHub` and `m`, `leaf` behind it, and `stranger`.
async fn start() -> Node {
    let seed = r#"{"devices": [{"deviceId": "stranger"}]}"#;
    let node = Node::start_at(Arc::new(Memory::new()), seed, &Place::default()).await.unwrap();
    let registry = node.registry();
    let make = async |identity: Identity, wish: serde_json::Value| {
        let wish: Wish = serde_json::from_value(wish).unwrap();
        match registry.create(identity.clone(), wish.clone()).await {
            Ok(made) => made,
            // The modules of the system come with their device, without keys.
            Err(_) => registry.update(identity, wish, ironbrook_cloud::registry::IfMatch::Any).await.unwrap(),
        }
    };
    let keys = json!({"authentication": {"type": "sas"}});
    let made = make(device("g"), json!({"capabilities": {"iotEdge": true}})).await;
    make(gateway(), keys.clone()).await;
    make(module("g", "m"), keys).await;
    make(device("leaf"), json!({"parentScopes": [made.device_scope.unwrap()]})).await;
    node
}

/// A client with the own key of an identity.
async fn client(node: &Node, identity: &Identity) -> Builder {
    let stored = node.registry().get(identity.clone()).await.unwrap();
    let StoredAuthentication::Sas { primary, .. } = stored.authentication else { panic!("no key") };
    let builder = Builder::with_key("localhost", identity.clone(), primary);
    // No client comes back by itself: the tests say who is connected.
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { first: hour, longest: hour };
    builder.trust(node.trust()).address(node.address()).retry(retry)
}

fn messages(range: std::ops::Range<u64>) -> Vec<Routed> {
    let routed = |n: u64| Routed {
        offset: Offset(n),
        event_sequence: None,
        enqueued: Timestamp::from_secs(1),
        source: MessageSource::DeviceMessages,
        message: Message::new(n.to_string()),
    };
    range.map(routed).collect()
}

fn deliver(node: &Node, range: std::ops::Range<u64>) -> JoinHandle<InputOutcome> {
    let hub = node.hub().clone();
    tokio::spawn(async move { hub.deliver_inputs(&module("g", "m"), "in1", &messages(range)).await })
}

async fn receive(inputs: &mut Messages) -> (u64, ReceivedMessage) {
    let received = within("a message", inputs.next()).await.unwrap();
    assert_eq!(received.input.as_deref(), Some("in1"));
    (std::str::from_utf8(&received.message.body).unwrap().parse().unwrap(), received)
}

/// As an endpoint does it: what was settled is never sent again, the rest is, from the first on.
#[tokio::test]
async fn inputs_come_in_order_and_again_after_the_connection_of_the_module_ended() {
    const COUNT: u64 = 150;
    let node = start().await;
    let me = module("g", "m");
    let mut settled = 0;
    let mut handled = Vec::new();
    for stays in [20, 1, COUNT] {
        let client = client(&node, &me).await.connect().await.unwrap();
        let mut inputs = client.messages().await.unwrap();
        within("the subscription", node.hub().inputs_ready(&me)).await;
        let delivering = deliver(&node, settled..COUNT);
        for _ in 0..stays.min(COUNT - settled) {
            let (number, received) = receive(&mut inputs).await;
            handled.push(number);
            received.complete().await.unwrap();
        }
        drop(inputs);
        client.close().await.unwrap();
        let outcome = within("the outcome", delivering).await.unwrap();
        let done = outcome.settled.iter().take_while(|s| **s == Some(Settlement::Complete)).count();
        assert!(outcome.settled[done..].iter().all(Option::is_none), "in order");
        settled += done as u64;
        if settled < COUNT {
            assert_eq!(outcome.stopped, Some(InputStop::SessionEnded));
        }
    }
    assert_eq!(settled, COUNT);
    // What was handled but not heard of any more came twice; each connection got its messages in order.
    let mut all = handled.clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    let breaks = handled.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(breaks <= 2, "only at new connections: {handled:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_connection_taken_over_by_another_of_the_same_module_loses_nothing() {
    let node = start().await;
    let me = module("g", "m");
    let first = client(&node, &me).await.connect().await.unwrap();
    let mut inputs = first.messages().await.unwrap();
    within("the subscription", node.hub().inputs_ready(&me)).await;
    let delivering = deliver(&node, 0..2);
    receive(&mut inputs).await;
    let second = client(&node, &me).await.connect().await.unwrap();
    let outcome = within("the outcome", delivering).await.unwrap();
    assert_eq!((outcome.settled, outcome.stopped), (vec![None, None], Some(InputStop::SessionEnded)));
    let mut inputs = second.messages().await.unwrap();
    within("the subscription", node.hub().inputs_ready(&me)).await;
    let delivering = deliver(&node, 0..2);
    for expected in 0..2 {
        let (number, received) = receive(&mut inputs).await;
        assert_eq!(number, expected);
        received.complete().await.unwrap();
    }
    assert_eq!(within("the outcome", delivering).await.unwrap().stopped, None);
    second.close().await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_gateway_speaks_for_those_behind_it_and_they_are_named_as_senders() {
    let node = start().await;
    let behind = [module("g", "m"), device("leaf")];
    let mut clients: Vec<DeviceClient> = Vec::new();
    for identity in &behind {
        let acting = client(&node, &gateway()).await.acting_for(identity.clone());
        let acting = acting.connect().await.unwrap();
        acting.send(Message::new(identity.to_string())).await.unwrap();
        clients.push(acting);
    }
    let own = client(&node, &gateway()).await.connect().await.unwrap();
    assert!(node.hub().is_connected(&device("leaf")), "beside its own connection");
    let refused = client(&node, &gateway()).await.acting_for(device("stranger")).connect().await;
    assert!(refused.is_err());
    let events = node.events().await;
    assert_eq!(events.len(), behind.len());
    for identity in &behind {
        let text = identity.to_string();
        let event = events.iter().find(|event| event.message.body == text).unwrap();
        let system = |property| event.message.system.get(property).map(|value| value.to_string());
        assert_eq!(system(SystemProperty::ConnectionDeviceId), Some(identity.device.to_string()));
        assert_eq!(
            system(SystemProperty::ConnectionModuleId),
            identity.module.as_ref().map(ToString::to_string)
        );
    }
    // Disabled, the gateway takes all with it that came through it.
    let off: Wish = serde_json::from_value(json!({"status": "disabled"})).unwrap();
    node.registry().update(device("g"), off, ironbrook_cloud::registry::IfMatch::Any).await.unwrap();
    for mut state in clients.iter().chain([&own]).map(DeviceClient::state) {
        let ended = state.wait_for(|state| !matches!(state, ironbrook_client::ConnectionState::Connected));
        within("the end of the connection", ended).await.unwrap();
    }
    node.stop().await;
}
