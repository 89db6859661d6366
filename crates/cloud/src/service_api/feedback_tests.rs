//! Feedback over HTTP.

use super::tests::hub_on;
use crate::registry::tests::clock;
use http::StatusCode;
use http::header::ETAG;
use ironbrook_hub::Settlement;
use ironbrook_hub::seams::Inbox as _;
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, Message, SystemProperty};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "/messages/serviceBound/feedback";

// C2D-10
#[tokio::test]
async fn c2d_10_feedback_is_read_over_http() {
    let clock = clock();
    let hub = hub_on(Arc::new(Memory::new()), clock.clone(), Vec::new()).await;
    let registry = hub.cloud.registry();
    assert_eq!(hub.ask("GET", PATH, &[], Value::Null).await.status, StatusCode::NO_CONTENT);
    let device = Identity::device(DeviceId::new("d").unwrap());
    let mut message = Message::new("m".to_owned());
    message.system.set(SystemProperty::MessageId, "m-1".to_owned());
    message.system.set(SystemProperty::Ack, "full");
    registry.enqueue(&device, message).await.unwrap();
    let locked = registry.lock(&device, 1, Duration::from_secs(60)).await.unwrap().remove(0);
    registry.settle(&device, locked.lock, Settlement::Complete).await.unwrap();
    clock.advance(Duration::from_secs(15));
    let read = async || {
        let batch = hub.ask("GET", PATH, &[], Value::Null).await;
        assert_eq!((batch.status, &batch.body[0]["originalMessageId"]), (StatusCode::OK, &json!("m-1")));
        assert_eq!(batch.body[0]["statusCode"], "Success");
        batch.headers[ETAG].to_str().unwrap().trim_matches('"').to_owned()
    };
    let lock = read().await;
    let abandoned = hub.ask("POST", &format!("{PATH}/{lock}/abandon"), &[], Value::Null).await;
    assert_eq!(abandoned.status, StatusCode::NO_CONTENT);
    let lock = read().await;
    let path = format!("{PATH}/{lock}");
    assert_eq!(hub.ask("DELETE", &path, &[], Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(hub.ask("DELETE", &path, &[], Value::Null).await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        hub.ask("DELETE", &format!("{PATH}/x"), &[], Value::Null).await.status,
        StatusCode::BAD_REQUEST
    );
}
