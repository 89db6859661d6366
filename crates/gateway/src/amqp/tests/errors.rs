//! Every row of the table of errors over AMQP: of a link that is refused, and of a message that is rejected.

use super::client::Client;
use crate::fakes::errors::{ROWS, code};
use crate::fakes::{HOST, KEY};
use crate::{AmqpService, Attach, Metrics, ServiceSink, ServiceSource, Services};
use async_trait::async_trait;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{ErrorCode, Permissions, Refusal, SasToken, SharedAccessKey};
use ironbrook_wire::amqp::{AmqpError, DeliveryState, Event, LinkOptions, Message};
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;

const TEXT: &str = "the cause; the cure";

/// Refuses links to receive from with the number that is their address; takes links to send on and rejects every message with
/// the number that is its body.
struct Refusing;

fn refusal(number: &str) -> Refusal {
    Refusal::new(code(number.parse().unwrap()), TEXT)
}

#[async_trait]
impl AmqpService for Refusing {
    async fn authorize(&self, _: &SasToken) -> Result<Permissions, Refusal> {
        Ok(Permissions::SERVICE_CONNECT)
    }

    async fn attach_source(&self, attach: Attach) -> Result<Box<dyn ServiceSource>, Refusal> {
        Err(refusal(&attach.address))
    }

    async fn attach_sink(&self, _: Attach) -> Result<Box<dyn ServiceSink>, Refusal> {
        Ok(Box::new(Rejecting))
    }

    async fn request(&self, _: &[SasToken], _: Message) -> Result<Message, Refusal> {
        Err(Refusal::new(ErrorCode::ServerError, "nothing is asked here"))
    }
}

struct Rejecting;

#[async_trait]
impl ServiceSink for Rejecting {
    async fn send(&mut self, message: Message) -> Result<(), Refusal> {
        Err(refusal(std::str::from_utf8(&message.body_bytes()).unwrap()))
    }
}

fn check(error: &AmqpError, number: u32, condition: &str) {
    assert_eq!(&*error.condition, condition, "{number}");
    let description: Json = serde_json::from_str(error.description.as_deref().unwrap()).unwrap();
    // rule AMQP-08: as links see it, a newer connection stole them.
    let told = if number == 400_027 { 409_002 } else { number };
    assert_eq!(description["errorCode"], told);
    assert_eq!(description["message"], TEXT);
    for member in ["trackingId", "timestampUtc", "info"] {
        assert!(description.as_object().unwrap().contains_key(member), "{number}: {description}");
    }
}

// ERR-02
#[tokio::test]
async fn err_02_condition_and_description_of_every_code() {
    let services = Arc::new(Services {
        hub: None,
        topics: None,
        http: axum::Router::new(),
        amqp: Some(Arc::new(Refusing)),
        provisioning: None,
        websocket: false,
        metrics: Metrics::default(),
    });
    let expires = SystemClock.now().plus(Duration::from_secs(600));
    let token = SharedAccessKey::from_base64(KEY).unwrap().sign(HOST, expires, Some("service"));
    let (mut client, session) = Client::with_token(&services, &token).await;
    let sink = client.sender(session, "sink").await;
    for (number, name, condition, ..) in ROWS {
        let link = client.conn.attach(session, LinkOptions::receiver(*name, number.to_string())).unwrap();
        let error = client
            .until(|event| match event {
                Event::Detached(l, Some(error)) if *l == link => Some(error.clone()),
                _ => None,
            })
            .await;
        check(&error, *number, condition);

        let sent = client.send(sink, &Message::data(number.to_string()));
        match client.outcome(sent).await {
            DeliveryState::Rejected(Some(error)) => check(&error, *number, condition),
            other => panic!("{name}: {other:?}"),
        }
    }
}
