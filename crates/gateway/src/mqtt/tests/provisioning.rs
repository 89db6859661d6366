//! Devices that want to be provisioned.

use super::*;
use crate::fakes::provisioning::{SCOPE, registration_token};
use serde_json::{Value, json};

fn registering(id: &str, scope: &str, token: String) -> Packet {
    Packet::Connect(Box::new(Connect {
        client_id: id.into(),
        username: Some(
            format!("{scope}/registrations/{id}/api-version=2019-03-31&ClientVersion=x%2F1").into(),
        ),
        password: Some(token.into()),
        ..hello("d1")
    }))
}

/// The next answer: its topic and body.
async fn answer(client: &mut Client) -> (String, Value) {
    match client.next().await {
        Some(Packet::Publish(publish)) => {
            (publish.topic.to_string(), serde_json::from_slice(&publish.payload).unwrap())
        }
        other => panic!("{other:?} instead of an answer"),
    }
}

// DPS-03
#[tokio::test]
async fn dps_03_registering_over_mqtt() {
    let world = World::new(&["d1"]);
    let mut client = Client::open(&world);
    client.send(registering("reg-1", SCOPE, registration_token("reg-1"))).await;
    client.expect(accepted()).await;
    // Nobody is answered who does not listen.
    client.send(message("$dps/registrations/PUT/iotdps-register/?$rid=0", "{}", Some(1))).await;
    client.expect(Packet::PubAck(id(1))).await;
    client.expect_quiet().await;
    let granted = client.subscribe(&[("$dps/registrations/res/#", QoS::AtLeastOnce)]).await;
    assert_eq!(granted, [SubAckCode::Granted(QoS::AtLeastOnce)]);

    client.send(message("$dps/registrations/PUT/iotdps-register/?$rid=a-1", "{}", Some(2))).await;
    client.expect(Packet::PubAck(id(2))).await;
    let (topic, body) = answer(&mut client).await;
    assert_eq!(topic, "$dps/registrations/res/202/?$rid=a-1&retry-after=3");
    assert_eq!(body["status"], "assigning");
    let ask = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=b%2F2&operationId=op%201";
    client.send(message(ask, " ", None)).await;
    let (topic, body) = answer(&mut client).await;
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=b%2F2");
    assert_eq!(body["registrationState"], json!({"assignedHub": HOST, "deviceId": "reg-1"}));

    let ask = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=3&operationId=other";
    client.send(message(ask, "", None)).await;
    let (topic, body) = answer(&mut client).await;
    assert_eq!((topic.as_str(), &body["errorCode"]), ("$dps/registrations/res/404/?$rid=3", &json!(404_000)));
    client.send(message("$dps/registrations/PUT/iotdps-register/?$rid=4", "too much", None)).await;
    let (topic, _) = answer(&mut client).await;
    assert_eq!(topic, "$dps/registrations/res/429/?$rid=4&retry-after=5");
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
}

#[tokio::test]
async fn who_may_not_be_provisioned_is_refused_and_other_topics_end_the_connection() {
    let world = World::new(&["d1"]);
    for (scope, token) in [
        ("0neOther", registration_token("reg-1")),
        (SCOPE, "SharedAccessSignature sr=x&sig=AAAA&se=1".to_owned()),
    ] {
        let mut client = Client::open(&world);
        client.send(registering("reg-1", scope, token)).await;
        let code = ConnectReturnCode::NotAuthorized;
        client.expect(Packet::ConnAck(ConnAck { session_present: false, code })).await;
        client.expect_end().await;
    }
    for packet in [
        message("devices/reg-1/messages/events/", "x", None),
        message("$dps/registrations/PUT/iotdps-register/", "{}", None),
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            filters: vec![SubscribeFilter { filter: "#".into(), qos: QoS::AtMostOnce }],
        }),
    ] {
        let mut client = Client::open(&world);
        client.send(registering("reg-1", SCOPE, registration_token("reg-1"))).await;
        client.expect(accepted()).await;
        client.send(packet).await;
        client.expect_end().await;
    }
}
