//! Devices that want to be provisioned.

use super::client::Client;
use crate::fakes::World;
use crate::fakes::provisioning::{SCOPE, registration_token};
use ironbrook_wire::amqp::{ClientSasl, DeliveryState, Event, LinkOptions, Message, Value};
use serde_json::Value as Json;

fn plain(id: &str, token: String) -> ClientSasl {
    ClientSasl::Plain { user: format!("{SCOPE}/registrations/{id}"), password: token }
}

fn request(operation: &str, id: &str) -> Message {
    let mut message = Message::data(r#"{"registrationId":"reg-1"}"#);
    message.properties.correlation_id = Some(Value::from(id.to_owned()));
    message.set_property("iotdps-operation-type", operation.to_owned());
    message
}

// DPS-04
#[tokio::test]
async fn dps_04_registering_over_amqp() {
    let services = World::new(&[]).services();
    let mut client = Client::dial(&services, plain("reg-1", registration_token("reg-1")));
    client.until(|e| matches!(e, Event::Opened(_)).then_some(())).await;
    let session = client.conn.begin().unwrap();
    let address = format!("{SCOPE}/registrations/reg-1");
    let answers = client.receiver(session, &address, 10).await;
    let requests = client.sender(session, &address).await;

    let sent = client.send(requests, &request("iotdps-register", "c-1"));
    assert!(matches!(client.outcome(sent).await, DeliveryState::Accepted));
    let (_, _, answer) = client.take(answers).await;
    assert_eq!(answer.properties.correlation_id, Some(Value::from("c-1")));
    assert_eq!(answer.application_property("retry-after"), Some(&Value::Int(3)));
    let body: Json = serde_json::from_slice(&answer.body_bytes()).unwrap();
    assert_eq!(body["status"], "assigning");

    let mut poll = request("iotdps-get-operationstatus", "c-2");
    poll.set_property("iotdps-operation-id", "op 1");
    let sent = client.send(requests, &poll);
    assert!(matches!(client.outcome(sent).await, DeliveryState::Accepted));
    let (_, _, answer) = client.take(answers).await;
    let body: Json = serde_json::from_slice(&answer.body_bytes()).unwrap();
    assert_eq!(body["registrationState"]["deviceId"], "reg-1");

    for wrong in [request("iotdps-get-operationstatus", "c-3"), request("iotdps-fly", "c-4")] {
        let sent = client.send(requests, &wrong);
        assert!(matches!(client.outcome(sent).await, DeliveryState::Rejected(Some(_))));
    }
    // The registration of another is not open to this one.
    let other = LinkOptions::sender("other", format!("{SCOPE}/registrations/reg-2"));
    assert_eq!(client.refusal(session, other).await, "amqp:unauthorized-access");
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_sasl() {
    let services = World::new(&[]).services();
    let mut client =
        Client::dial(&services, plain("reg-1", "SharedAccessSignature sr=x&sig=AAAA&se=1".to_owned()));
    assert!(client.ends().await);
}
