//! Twins and direct methods.

use super::*;
use crate::fakes::identity;
use ironbrook_hub::MethodCall;
use ironbrook_hub::seams::DesiredChange;
use serde_json::value::RawValue;

const ANSWERS: &str = "$iothub/twin/res/#";

async fn published(client: &mut Client) -> (String, String) {
    match client.next().await {
        Some(Packet::Publish(p)) if p.qos == QoS::AtMostOnce => {
            (p.topic.to_string(), String::from_utf8(p.payload.to_vec()).unwrap())
        }
        other => panic!("{other:?} instead of a message"),
    }
}

#[tokio::test]
async fn mqtt_10_get_and_patch_are_answered_in_order_with_the_request_id_as_it_came() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(ANSWERS, QoS::AtMostOnce)]).await;
    client.send(message("$iothub/twin/PATCH/properties/reported/?$rid=a%20b", "{\"a\":1}", None)).await;
    client.send(message("$iothub/twin/PATCH/properties/reported/?$rid=2", "{\"a\":2}", None)).await;
    client.send(message("$iothub/twin/GET/?$rid=3", " ", None)).await;
    assert_eq!(published(&mut client).await.0, "$iothub/twin/res/204/?$rid=a%20b&$version=1");
    assert_eq!(published(&mut client).await.0, "$iothub/twin/res/204/?$rid=2&$version=2");
    let (topic, twin) = published(&mut client).await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=3");
    assert_eq!(twin, "{\"desired\":{\"$version\":1},\"reported\":{\"$version\":2}}");
}

#[tokio::test]
async fn a_bad_patch_is_answered_with_the_code() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[(ANSWERS, QoS::AtMostOnce)]).await;
    client.send(message("$iothub/twin/PATCH/properties/reported/?$rid=1", "[]", None)).await;
    let (topic, body) = published(&mut client).await;
    assert_eq!(topic, "$iothub/twin/res/400/?$rid=1");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["errorCode"], 400_004);
    client.expect_quiet().await;
}

#[tokio::test]
async fn mqtt_26_without_a_subscription_there_is_no_answer() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.send(message("$iothub/twin/GET/?$rid=1", "", Some(1))).await;
    client.expect(Packet::PubAck(id(1))).await;
    // The next request is done after it, so the answer would have come before the SUBACK.
    client.subscribe(&[("$iothub/methods/POST/#", QoS::AtMostOnce)]).await;
}

#[tokio::test]
async fn changes_of_desired_properties_reach_subscribers() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[("$iothub/twin/PATCH/properties/desired/#", QoS::AtMostOnce)]).await;
    let patch = Bytes::from_static(b"{\"interval\":5,\"$version\":7}");
    world.twins.change_desired(&DesiredChange { identity: identity("d1"), version: 7, patch });
    let (topic, body) = published(&mut client).await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=7");
    assert_eq!(body, "{\"interval\":5,\"$version\":7}");
}

#[tokio::test]
async fn mqtt_11_a_method_is_called_and_answered() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[("$iothub/methods/POST/#", QoS::AtMostOnce)]).await;
    for (sent, got) in [("{\"ok\":true}", "{\"ok\":true}"), ("", "null"), ("not json", "null")] {
        let hub = world.hub.clone();
        let call = MethodCall {
            name: "reboot".into(),
            payload: RawValue::from_string("{\"delay\":3}".into()).unwrap(),
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        };
        let calling = tokio::spawn(async move { hub.invoke_method(&identity("d1"), call).await });
        let (topic, payload) = published(&mut client).await;
        let rid = topic.strip_prefix("$iothub/methods/POST/reboot/?$rid=").unwrap();
        assert!(rid.bytes().all(|b| b.is_ascii_alphanumeric()), "{rid}");
        assert_eq!(payload, "{\"delay\":3}");
        client.send(message(&format!("$iothub/methods/res/200/?$rid={rid}"), sent, None)).await;
        let answer = calling.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.payload.get()), (200, got));
    }
}

#[tokio::test]
async fn mqtt_30_twin_answers_reach_a_client_that_subscribed_in_a_session_before() {
    let world = World::new(&["d1"]);
    let mut client = Client::connected(&world, "d1").await;
    client.subscribe(&[("$iothub/twin/res/#", QoS::AtLeastOnce)]).await;
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
    let mut client = Client::connected(&world, "d1").await;
    client.send(message("$iothub/twin/GET/?$rid=1", " ", None)).await;
    match client.next().await {
        Some(Packet::Publish(got)) => assert_eq!(got.topic, "$iothub/twin/res/200/?$rid=1"),
        other => panic!("{other:?} instead of an answer"),
    }
}
