//! What a device does: telemetry, messages to it, twin, methods.

use super::client::Client;
use crate::fakes::{World, identity, token};
use bytes::Bytes;
use ironbrook_hub::seams::DesiredChange;
use ironbrook_hub::{MethodCall, Settlement};
use ironbrook_model::SystemProperty as P;
use ironbrook_wire::amqp::{
    BATCH_FORMAT, Body, DeliveryState, Disposition, Event, LinkId, LinkOptions, Message, Performative,
    ReceiverSettleMode, Role, SenderSettleMode, SessionId, Value,
};
use std::time::Duration;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);
const EVENTS: &str = "/devices/d1/messages/events";
const COMMANDS: &str = "/devices/d1/messages/deviceBound";

async fn device(world: &World) -> (Client, SessionId) {
    Client::with_token(&world.services(), &token("d1", HOUR)).await
}

#[tokio::test(start_paused = true)]
async fn telemetry_is_accepted_once_it_is_on_disk_and_not_before() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let (mut client, session) = device(&world).await;
    let link = client.sender(session, EVENTS).await;
    let mut message = Message::data(r#"{"t":1}"#);
    message.properties.content_type = Some("application/json".into());
    message.set_property("alert", "yes");
    let sent = client.send(link, &message);
    client.flush().await;
    world.log.appended(1).await;
    // On a paused clock this ends when every task waits.
    let early = tokio::time::timeout(Duration::from_millis(1), client.outcome(sent)).await;
    assert!(early.is_err(), "accepted before it was on disk");
    world.log.sync(1);
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    let got = &world.log.messages()[0];
    assert_eq!(&got.body[..], br#"{"t":1}"#);
    assert_eq!(got.system.get(P::ContentType).map(|t| &**t), Some("application/json"));
    assert_eq!(got.properties.get("alert").map(|t| &**t), Some("yes"));
}

#[tokio::test]
async fn a_batch_is_many_messages_and_one_delivery() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let link = client.sender(session, EVENTS).await;
    let sections = ["a", "b", "c"].map(|b| Message::data(b).to_bytes()).to_vec();
    let batch = Message { body: Body::Data(sections), ..Message::default() };
    let sent = client.send_bytes(link, BATCH_FORMAT, batch.to_bytes());
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    let bodies: Vec<_> = world.log.messages().into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, ["a", "b", "c"]);
}

#[tokio::test]
async fn many_messages_keep_their_order_and_the_credit_is_renewed() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let mut options = LinkOptions::sender("t", EVENTS);
    options.snd_settle_mode = SenderSettleMode::Settled;
    let link = client.attach(session, options).await;
    for n in 0..1500_u32 {
        while client.conn.sendable(link) == 0 {
            client.until(|e| matches!(e, Event::Credit(_)).then_some(())).await;
        }
        let outgoing = ironbrook_wire::amqp::Outgoing {
            tag: Bytes::from_static(b"t"),
            format: 0,
            settled: true,
            payload: Message::data(n.to_string()).to_bytes(),
        };
        client.conn.send(link, outgoing).unwrap();
        client.flush().await;
    }
    world.log.appended(1500).await;
    let bodies: Vec<_> = world.log.messages().into_iter().map(|m| m.body).collect();
    assert!(bodies.iter().enumerate().all(|(n, body)| body[..] == *n.to_string().as_bytes()));
}

#[tokio::test]
async fn a_full_log_holds_back_and_loses_nothing() {
    let world = World::new(&["d1"]);
    world.log.set_room(1);
    let (mut client, session) = device(&world).await;
    let link = client.sender(session, EVENTS).await;
    let sent: Vec<_> = ["a", "b", "c"].map(|b| client.send(link, &Message::data(b))).to_vec();
    assert_eq!(client.outcome(sent[0]).await, DeliveryState::Accepted);
    world.log.set_room(10);
    assert_eq!(client.outcome(sent[2]).await, DeliveryState::Accepted);
    let bodies: Vec<_> = world.log.messages().into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_is_too_large_or_no_message_is_rejected_and_the_link_lives_on() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let link = client.sender(session, EVENTS).await;
    let condition = |state| match state {
        DeliveryState::Rejected(Some(error)) => {
            let error: ironbrook_wire::amqp::AmqpError = error;
            error.condition.to_string()
        }
        other => panic!("{other:?}"),
    };
    let sent = client.send(link, &Message::data(vec![0_u8; 256 * 1024 + 1]));
    assert_eq!(condition(client.outcome(sent).await), "amqp:link:message-size-exceeded");
    let sent = client.send_bytes(link, 0, Bytes::from_static(b"\xff\xff"));
    assert_eq!(condition(client.outcome(sent).await), "amqp:decode-error");
    let mut many = Message::data("x");
    for n in 0..300 {
        many.set_property(n.to_string(), "v");
    }
    let sent = client.send(link, &many);
    assert_eq!(condition(client.outcome(sent).await), "com.microsoft:argument-error");
    let sent = client.send(link, &Message::data("good"));
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    assert_eq!(world.log.len(), 1);
}

/// rule AMQP-10
#[tokio::test]
async fn commands_end_as_the_device_says() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let link = client.receiver(session, COMMANDS, 10).await;
    let ends = [
        (DeliveryState::Accepted, Settlement::Complete),
        (DeliveryState::Rejected(None), Settlement::Reject),
        (DeliveryState::Released, Settlement::Abandon),
        (DeliveryState::Modified { delivery_failed: true, undeliverable_here: false }, Settlement::Abandon),
    ];
    for (n, (state, wanted)) in ends.into_iter().enumerate() {
        world.inbox.put(ironbrook_model::Message::new("go"));
        let (id, tag, message) = client.take(link).await;
        assert_eq!((tag.len(), &message.body_bytes()[..]), (16, &b"go"[..]));
        client.conn.settle(link, id, id, state);
        client.flush().await;
        assert_eq!(world.inbox.settlements(n + 1).await[n].1, wanted);
    }
}

/// rule AMQP-13
#[tokio::test]
async fn a_receiver_that_settles_second_hears_that_its_disposition_is_known() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let mut options = LinkOptions::receiver("c", COMMANDS);
    options.rcv_settle_mode = ReceiverSettleMode::Second;
    options.credit = 5;
    let link = client.attach(session, options).await;
    world.inbox.put(ironbrook_model::Message::new("go"));
    let (id, ..) = client.take(link).await;
    let told = Disposition {
        role: Role::Receiver,
        first: id,
        last: None,
        settled: false,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    client.put(&Performative::Disposition(Box::new(told)));
    client.flush().await;
    let answer = client
        .until_frame(|p| match p {
            Performative::Disposition(d) if d.role == Role::Sender => Some(d),
            _ => None,
        })
        .await;
    assert_eq!((answer.first, answer.settled, answer.state), (id, true, Some(DeliveryState::Accepted)));
    assert_eq!(world.inbox.settled(), [(1, Settlement::Complete)]);
}

#[tokio::test]
async fn commands_without_credit_are_not_even_locked() {
    let world = World::new(&["d1"]);
    world.inbox.put(ironbrook_model::Message::new("go"));
    let (mut client, session) = device(&world).await;
    let link = client.receiver(session, COMMANDS, 0).await;
    // An exchange that the server answers shows that it had its chance.
    let answers = client.receiver(session, "/devices/d1/twin", 1).await;
    let requests = client.sender(session, "/devices/d1/twin").await;
    client.send(requests, &twin_request("GET", None, "1"));
    client.take(answers).await;
    assert_eq!(world.inbox.settled(), []);
    client.conn.set_credit(link, 1);
    client.take(link).await;
}

#[tokio::test]
async fn a_detached_device_gives_its_commands_back() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    client.sender(session, EVENTS).await;
    let link = client.receiver(session, COMMANDS, 10).await;
    world.inbox.put(ironbrook_model::Message::new("go"));
    client.take(link).await;
    client.conn.detach(link, None);
    client.flush().await;
    assert_eq!(world.inbox.settlements(1).await, [(1, Settlement::Release)]);
}

#[tokio::test]
async fn a_lost_connection_gives_its_commands_back() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let link = client.receiver(session, COMMANDS, 10).await;
    world.inbox.put(ironbrook_model::Message::new("go"));
    client.take(link).await;
    drop(client);
    assert_eq!(world.inbox.settlements(1).await, [(1, Settlement::Release)]);
}

fn twin_request(operation: &'static str, resource: Option<&'static str>, id: &str) -> Message {
    let mut message = Message::data(if operation == "PATCH" { r#"{"a":1}"# } else { " " });
    message.properties.correlation_id = Some(Value::from(id));
    message.annotate("operation", operation);
    if let Some(resource) = resource {
        message.annotate("resource", resource);
    }
    message
}

/// rule AMQP-11, rule AMQP-12
#[tokio::test]
async fn twins_are_read_reported_and_told_of() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let answers = client.receiver(session, "/devices/d1/twin", 10).await;
    let requests = client.sender(session, "/devices/d1/twin").await;
    client.send(requests, &twin_request("GET", None, "GET1"));
    let (_, _, got) = client.take(answers).await;
    assert_eq!(got.annotation("status"), Some(&Value::Int(200)));
    assert_eq!(got.properties.correlation_id, Some(Value::from("GET1")));
    assert!(got.body_bytes().starts_with(b"{\"desired\""));
    client.send(requests, &twin_request("PATCH", Some("/properties/reported"), "P2"));
    let (_, _, got) = client.take(answers).await;
    assert_eq!(got.annotation("status"), Some(&Value::Int(204)));
    assert_eq!(got.annotation("version"), Some(&Value::Long(1)));
    client.send(requests, &twin_request("PUT", Some("/notifications/twin/properties/desired"), "N3"));
    let (_, _, got) = client.take(answers).await;
    assert_eq!(got.annotation("status"), Some(&Value::Int(200)));
    let patch = Bytes::from_static(br#"{"x":1,"$version":2}"#);
    world.twins.change_desired(&DesiredChange { identity: identity("d1"), version: 2, patch: patch.clone() });
    let (_, _, got) = client.take(answers).await;
    assert_eq!((got.properties.correlation_id.as_ref(), got.body_bytes()), (None, patch));
    client.send(requests, &twin_request("POST", None, "?"));
    let (_, _, got) = client.take(answers).await;
    assert_eq!(got.annotation("status"), Some(&Value::Int(400)));
}

/// rule AMQP-14
#[tokio::test]
async fn a_method_is_called_and_answered() {
    let world = World::new(&["d1"]);
    let (mut client, session) = device(&world).await;
    let calls = client.receiver(session, "/devices/d1/methods/devicebound", 10).await;
    let answers = client.sender(session, "/devices/d1/methods/devicebound").await;
    let hub = world.hub.clone();
    let call = MethodCall {
        name: "reboot".into(),
        payload: serde_json::value::RawValue::from_string("[1]".into()).unwrap(),
        response_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
    };
    let invoked = tokio::spawn(async move { hub.invoke_method(&identity("d1"), call).await });
    let (_, _, got) = client.take(calls).await;
    assert_eq!(got.application_property("IoThub-methodname"), Some(&Value::from("reboot")));
    assert_eq!(&got.body_bytes()[..], b"[1]");
    let Some(Value::Uuid(_)) = got.properties.correlation_id else { panic!("{got:?}") };
    let reply = |id| {
        let mut reply = Message::data("{\"ok\":true}");
        reply.properties.correlation_id = Some(id);
        reply.set_property("IoThub-status", 201_i32);
        reply
    };
    // An answer nobody waits for changes nothing.
    client.send(answers, &reply(Value::Uuid(Uuid::nil())));
    client.send(answers, &reply(got.properties.correlation_id.unwrap()));
    client.flush().await;
    let answer = invoked.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.payload.get()), (201, "{\"ok\":true}"));
}

/// rule AMQP-08
#[tokio::test]
async fn the_newest_connection_of_a_device_wins() {
    let world = World::new(&["d1"]);
    let (mut old, session) = device(&world).await;
    let link: LinkId = old.sender(session, EVENTS).await;
    let (mut new, session) = device(&world).await;
    new.sender(session, EVENTS).await;
    assert_eq!(old.detached(link).await, "amqp:link:stolen");
}

#[tokio::test]
async fn many_devices_share_a_connection() {
    let world = World::new(&["d1", "d2"]);
    let (mut client, first) = device(&world).await;
    client.put_token(first, &token("d2", HOUR), Value::from("2")).await;
    let second = client.conn.begin().unwrap();
    let named = |address| LinkOptions::sender("telemetry", address);
    let a = client.attach(first, named("/devices/d1/messages/events")).await;
    let b = client.attach(second, named("/devices/d2/messages/events")).await;
    let sent = [client.send(a, &Message::data("1")), client.send(b, &Message::data("2"))];
    let mut left = sent.to_vec();
    while !left.is_empty() {
        let tag = client
            .until(|e| match e {
                Event::Disposition { tag, state: Some(DeliveryState::Accepted), .. } => Some(tag[0]),
                _ => None,
            })
            .await;
        left.retain(|t| *t != tag);
    }
    let mut ids: Vec<_> = world
        .log
        .messages()
        .iter()
        .map(|m| m.system.get(P::ConnectionDeviceId).map(ToString::to_string).unwrap_or_default())
        .collect();
    ids.sort();
    assert_eq!(ids, ["d1", "d2"]);
}

#[tokio::test]
async fn a_module_has_links_of_its_own() {
    let world = World::new(&["d1", "d1/m1"]);
    let (mut client, session) = Client::with_token(&world.services(), &token("d1/m1", HOUR)).await;
    let events = "/devices/d1/modules/m1/messages/events";
    let link = client.sender(session, events).await;
    client.receiver(session, events, 1).await;
    let mut message = Message::data("x");
    message.set_property("iothub-outputname", "out");
    let sent = client.send(link, &message);
    assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    let got = &world.log.messages()[0];
    assert_eq!(got.system.get(P::OutputName).map(|t| &**t), Some("out"));
    assert_eq!(got.system.get(P::ConnectionModuleId).map(|t| &**t), Some("m1"));
}

#[tokio::test]
async fn at_shutdown_what_was_taken_is_acknowledged_first() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let (mut client, session) = device(&world).await;
    let link = client.sender(session, EVENTS).await;
    let sent = client.send(link, &Message::data("last"));
    client.flush().await;
    world.log.appended(1).await;
    client.cancel.cancel();
    world.log.sync(1);
    let mut accepted = false;
    let condition = client
        .until(|e| match e {
            Event::Disposition { tag, .. } => {
                accepted = tag[..] == [sent];
                None
            }
            Event::Closed(Some(error)) => Some(error.condition.to_string()),
            _ => None,
        })
        .await;
    assert!(accepted);
    assert_eq!(condition, "amqp:connection:forced");
    assert!(client.ends().await);
}
