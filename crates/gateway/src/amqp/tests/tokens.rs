//! Credentials: CBS, SASL, and what they open.

use super::client::Client;
use crate::fakes::{HOST, KEY, World, token};
use bytes::Bytes;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{SharedAccessKey, Timestamp};
use ironbrook_wire::amqp::{
    ClientSasl, CommandError, DeliveryState, Event, LinkOptions, Message, Outgoing, Value,
};
use std::time::Duration;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

/// rule AMQP-15, rule AMQP-16
#[tokio::test]
async fn an_answer_carries_200_and_the_message_id_in_its_own_type() {
    let services = World::new(&["d1"]).services();
    for id in [Value::from(0_u64), Value::Uuid(Uuid::nil()), Value::from("text")] {
        let (mut client, session) = Client::open(&services).await;
        let answer = client.put_token(session, &token("d1", HOUR), id.clone()).await;
        assert_eq!(answer.properties.correlation_id, Some(id));
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)));
    }
}

#[tokio::test]
async fn bad_tokens_are_answered_with_401() {
    let services = World::new(&["d1"]).services();
    let other = SharedAccessKey::from_bytes(&[9; 32]);
    let expires = SystemClock.now().plus(HOUR);
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    let long_ago = Timestamp::from_secs(1_000_000);
    for bad in [
        "nonsense".to_owned(),
        other.sign(&format!("{HOST}/devices/d1"), expires, None),
        key.sign(&format!("{HOST}/devices/d1"), long_ago, None),
        key.sign("elsewhere/devices/d1", expires, None),
        key.sign(HOST, expires, None),
        key.sign(HOST, expires, Some("nobody")),
    ] {
        let (mut client, session) = Client::open(&services).await;
        let answer = client.put_token(session, &bad, Value::from("1")).await;
        assert_eq!(answer.application_property("status-code"), Some(&Value::Int(401)), "{bad}");
        let telemetry = LinkOptions::sender("t", "/devices/d1/messages/events");
        assert_eq!(client.refusal(session, telemetry).await, "amqp:unauthorized-access");
    }
}

#[tokio::test]
async fn an_unknown_device_is_not_found() {
    let services = World::new(&["d1"]).services();
    let (mut client, session) = Client::open(&services).await;
    let answer = client.put_token(session, &token("d2", HOUR), Value::from("1")).await;
    assert_eq!(answer.application_property("status-code"), Some(&Value::Int(404)));
}

#[tokio::test]
async fn a_token_opens_its_own_device_only() {
    let services = World::new(&["d1", "d2", "d1/m1"]).services();
    let (mut client, session) = Client::with_token(&services, &token("d1", HOUR)).await;
    for address in ["/devices/d2/messages/events", "/devices/d2/twin", "/messages/devicebound", "/nowhere"] {
        let options = LinkOptions::sender(address, address);
        let condition = client.refusal(session, options).await;
        let wanted =
            if address.starts_with("/devices") { "amqp:unauthorized-access" } else { "amqp:not-found" };
        assert_eq!(condition, wanted, "{address}");
    }
    client.sender(session, "amqps://localhost:5671/devices/d1/messages/events").await;
}

#[tokio::test]
async fn a_device_cannot_send_where_it_receives() {
    let services = World::new(&["d1"]).services();
    let (mut client, session) = Client::with_token(&services, &token("d1", HOUR)).await;
    let to = LinkOptions::sender("a", "/devices/d1/messages/devicebound");
    assert_eq!(client.refusal(session, to).await, "amqp:not-allowed");
    let from = LinkOptions::receiver("b", "/devices/d1/messages/events");
    assert_eq!(client.refusal(session, from).await, "amqp:not-allowed");
}

#[tokio::test(start_paused = true)]
async fn links_end_with_their_token_unless_it_is_renewed() {
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    let short = |world: &World| key.sign(&format!("{HOST}/devices/d1"), world.soon(), None);
    let world = World::new(&["d1"]);
    let (mut renewed, session) = Client::with_token(&world.services(), &short(&world)).await;
    let kept = renewed.sender(session, "/devices/d1/messages/events").await;
    renewed.put_token(session, &token("d1", HOUR), Value::from("2")).await;

    let world = World::new(&["d1"]);
    let (mut expired, session) = Client::with_token(&world.services(), &short(&world)).await;
    let link = expired.sender(session, "/devices/d1/messages/events").await;
    assert_eq!(expired.detached(link).await, "amqp:unauthorized-access");

    let sent = renewed.send(kept, &Message::data("still here"));
    assert_eq!(renewed.outcome(sent).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn plain_credentials_open_without_cbs() {
    let services = World::new(&["d1"]).services();
    let plain = |password: String| ClientSasl::Plain { user: "d1@sas.localhost".into(), password };
    let mut client = Client::dial(&services, plain(token("d1", HOUR)));
    client.until(|e| matches!(e, Event::Opened(_)).then_some(())).await;
    let session = client.conn.begin().unwrap();
    client.sender(session, "/devices/d1/messages/events").await;
    for bad in ["canary".to_owned(), token("d9", HOUR)] {
        assert!(Client::dial(&services, plain(bad)).ends().await);
    }
    // No client certificate was shown.
    assert!(Client::dial(&services, ClientSasl::External).ends().await);
}

/// rule AMQP-04
#[tokio::test]
async fn a_connection_may_start_without_sasl() {
    let services = World::new(&["d1"]).services();
    let mut client = Client::dial(&services, ClientSasl::None);
    client.until(|e| matches!(e, Event::Opened(_)).then_some(())).await;
}

#[tokio::test]
async fn who_is_not_known_yet_sends_little() {
    let services = World::new(&["d1"]).services();
    let (mut client, session) = Client::open(&services).await;
    let link = client.sender(session, "$cbs").await;
    let long = Message::value("x".repeat(70_000)).to_bytes();
    let too_large = Outgoing { tag: Bytes::from_static(b"t"), format: 0, settled: true, payload: long };
    assert_eq!(client.conn.send(link, too_large), Err(CommandError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn who_proves_nothing_is_cut() {
    let services = World::new(&["d1"]).services();
    let (mut client, _) = Client::open(&services).await;
    tokio::time::sleep(Duration::from_secs(140)).await;
    let condition = client
        .until(|e| match e {
            Event::Closed(Some(error)) => Some(error.condition.to_string()),
            _ => None,
        })
        .await;
    assert_eq!(condition, "amqp:unauthorized-access");
}
