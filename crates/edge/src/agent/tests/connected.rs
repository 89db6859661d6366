//! The agent on a real connection to a hub.

use super::super::ClientTwin;
use super::{Bench, agent_desired, module};
use ironbrook_hub::operation::MethodCall;
use ironbrook_log::storage::Memory;
use ironbrook_model::{DeviceId, Identity};
use ironbrook_testkit::Node;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the twin has this at a place of its reported properties.
async fn reported(node: &Node, identity: &Identity, pointer: &str, expected: Value) {
    let look = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            let twin = node.twin(identity).await;
            if twin["properties"]["reported"].pointer(pointer) == Some(&expected) {
                return;
            }
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{pointer} = {expected}"));
}

#[tokio::test]
async fn deployment_report_method_and_goodbye_over_mqtt() {
    let node = Node::start(Arc::new(Memory::new()), &["edge-1"]).await.unwrap();
    let identity = Identity::device(DeviceId::new("edge-1").unwrap());
    let client = node.device("edge-1").start().unwrap();
    let bench = Bench::new();
    let cancel = CancellationToken::new();
    let agent = bench.agent_on(Arc::new(ClientTwin::new(client.clone())));
    let running = tokio::spawn(agent.run(cancel.clone()));
    reported(&node, &identity, "/lastDesiredStatus/code", json!(417)).await;
    let modules = json!({"a": module("i", json!({}))});
    node.patch_desired(&identity, Value::Object(agent_desired(&modules))).await;
    reported(&node, &identity, "/modules/a/runtimeStatus", json!("running")).await;
    reported(&node, &identity, "/lastDesiredStatus/code", json!(200)).await;
    // A change comes as a patch of one member, and restarts nothing.
    node.patch_desired(&identity, json!({"modules": {"a": {"version": "2"}, "b": module("i", json!({}))}}))
        .await;
    reported(&node, &identity, "/modules/b/runtimeStatus", json!("running")).await;
    reported(&node, &identity, "/modules/a/version", json!("2")).await;
    assert_eq!(bench.runtime.starts("a"), 1);
    let call = MethodCall {
        name: "ping".into(),
        payload: RawValue::from_string("null".to_owned()).unwrap(),
        response_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
    };
    assert_eq!(node.hub().invoke_method(&identity, call).await.unwrap().status, 200);
    cancel.cancel();
    tokio::time::timeout(PATIENCE, running).await.expect("the agent ends").unwrap();
    reported(&node, &identity, "/lastDesiredStatus/code", json!(406)).await;
    client.close().await.unwrap();
    node.stop().await;
}
