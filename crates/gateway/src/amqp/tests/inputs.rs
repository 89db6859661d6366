//! Messages to the inputs of a module, and clients behind a gateway.

use super::client::Client;
use crate::fakes::{World, identity, token, within};
use ironbrook_hub::seams::Routed;
use ironbrook_hub::{InputOutcome, InputStop, Settlement};
use ironbrook_log::Offset;
use ironbrook_model::{
    DeviceId, Identity, Message as HubMessage, MessageSource, SystemProperty as P, Timestamp,
};
use ironbrook_wire::amqp::{AmqpError, DeliveryState, Message, Value};
use std::time::Duration;
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);
const INPUTS: &str = "/devices/d1/modules/m1/messages/events";

fn deliver(world: &World, count: u64) -> JoinHandle<InputOutcome> {
    let routed = |n: u64| {
        let mut message = HubMessage::new(n.to_string());
        message.system.set(P::OutputName, "out");
        message.system.set(P::ConnectionModuleId, "sensor");
        let (offset, enqueued) = (Offset(n), Timestamp::from_secs(1));
        Routed { offset, event_sequence: None, enqueued, source: MessageSource::DeviceMessages, message }
    };
    let messages: Vec<_> = (0..count).map(routed).collect();
    let hub = world.hub.clone();
    tokio::spawn(async move { hub.deliver_inputs(&identity("d1/m1"), "in1", &messages).await })
}

async fn outcome(delivering: JoinHandle<InputOutcome>) -> InputOutcome {
    within("the outcome", delivering).await.unwrap()
}

#[tokio::test]
async fn a_module_settles_its_inputs_one_by_one() {
    let world = World::new(&["d1", "d1/m1"]);
    let (mut client, session) = Client::with_token(&world.services(), &token("d1/m1", HOUR)).await;
    let ready = {
        let hub = world.hub.clone();
        tokio::spawn(async move { hub.inputs_ready(&identity("d1/m1")).await })
    };
    let link = client.receiver(session, INPUTS, 10).await;
    client.flush().await;
    within("the subscription", ready).await.unwrap();
    let delivering = deliver(&world, 2);
    let (number, _, message) = client.take(link).await;
    assert_eq!(message.body_bytes(), "0");
    assert_eq!(message.annotation("x-opt-input-name"), Some(&Value::from("in1")));
    assert_eq!(message.annotation("iothub-connection-module-id"), Some(&Value::from("sensor")));
    assert_eq!(
        message.application_property("iothub-outputname"),
        None,
        "passed on it would name an own output"
    );
    client.conn.settle(link, number, number, DeliveryState::Accepted);
    let (number, _, _) = client.take(link).await;
    client.conn.settle(link, number, number, DeliveryState::Rejected(None::<AmqpError>));
    client.flush().await;
    let both = vec![Some(Settlement::Complete), Some(Settlement::Reject)];
    assert_eq!(outcome(delivering).await, InputOutcome { settled: both, stopped: None });

    let delivering = deliver(&world, 2);
    let (number, _, _) = client.take(link).await;
    client.conn.settle(link, number, number, DeliveryState::Released);
    let (number, _, _) = client.take(link).await;
    client.conn.settle(link, number, number, DeliveryState::Accepted);
    client.flush().await;
    let outcome = outcome(delivering).await;
    assert_eq!(outcome.settled, [None, Some(Settlement::Complete)], "it had the second already");
    assert_eq!(outcome.stopped, Some(InputStop::Abandoned(0)));
}

#[tokio::test]
async fn a_detached_link_gives_its_inputs_back_without_a_word_about_them() {
    let world = World::new(&["d1", "d1/m1"]);
    let (mut client, session) = Client::with_token(&world.services(), &token("d1/m1", HOUR)).await;
    // Another link keeps the session.
    client.sender(session, INPUTS).await;
    let link = client.receiver(session, INPUTS, 10).await;
    client.flush().await;
    within("the subscription", world.hub.inputs_ready(&identity("d1/m1"))).await;
    let delivering = deliver(&world, 1);
    client.take(link).await;
    client.conn.detach(link, None);
    client.flush().await;
    let outcome = outcome(delivering).await;
    assert_eq!(outcome.settled, [None]);
    let gone = [InputStop::SessionEnded, InputStop::NotSubscribed];
    assert!(gone.contains(&outcome.stopped.unwrap()), "{outcome:?}");
}

#[tokio::test]
async fn inputs_without_credit_are_not_even_delivered() {
    let world = World::new(&["d1", "d1/m1"]);
    let (mut client, session) = Client::with_token(&world.services(), &token("d1/m1", HOUR)).await;
    client.receiver(session, INPUTS, 0).await;
    assert_eq!(outcome(deliver(&world, 1)).await.stopped, Some(InputStop::NotSubscribed));
}

#[tokio::test]
async fn the_token_of_a_gateway_opens_links_of_those_behind_it_rule_auth_11() {
    let gateway = Identity::gateway(DeviceId::new("gateway").unwrap()).to_string();
    let world = World::new(&["gateway", &gateway, "gateway/m1", "leaf", "d1"]);
    let (mut client, session) = Client::with_token(&world.services(), &token(&gateway, HOUR)).await;
    for name in ["leaf", "gateway/m1"] {
        let link = client.sender(session, &format!("/{}/messages/events", identity(name).resource())).await;
        let sent = client.send(link, &Message::data(name));
        assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    }
    let bodies: Vec<_> = world.log.messages().into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, ["leaf", "gateway/m1"]);
    let options = ironbrook_wire::amqp::LinkOptions::sender("t", "/devices/d1/messages/events");
    assert_eq!(client.refusal(session, options).await, "amqp:unauthorized-access");
}
