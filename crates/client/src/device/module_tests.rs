//! What modules and gateways do besides: outputs and inputs, signers elsewhere, acting for others, and slow users.

use super::script::{Hub, beside, run, start};
use super::*;
use crate::credentials::Signer;
use crate::error::Error;
use async_trait::async_trait;
use ironbrook_model::{DeviceId, Identity, Message, ModuleId, SasToken, SharedAccessKey, Timestamp};
use ironbrook_wire::mqtt::v4::{ConnectReturnCode, Packet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const INPUT: &str = "devices/d1/modules/m1/inputs/in1/";

fn module(device: &str, module: &str) -> Identity {
    Identity::module(DeviceId::new(device).unwrap(), ModuleId::new(module).unwrap())
}

fn key() -> SharedAccessKey {
    SharedAccessKey::from_bytes(b"the key of m1")
}

fn as_module() -> Builder {
    Builder::with_key("hub.test", module("d1", "m1"), key())
}

/// Signs after so many failures.
struct Moody {
    failures: AtomicU32,
    asked: AtomicU32,
}

impl Moody {
    fn new(failures: u32) -> Arc<Self> {
        Arc::new(Self { failures: AtomicU32::new(failures), asked: AtomicU32::new(0) })
    }
}

#[async_trait]
impl Signer for Moody {
    async fn sign(&self, data: &[u8]) -> crate::Result<[u8; 32]> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Err(Error::network("connecting", std::io::ErrorKind::NotFound.into()));
        }
        Ok(key().hmac_sha256(data))
    }
}

/// The token of a CONNECT, checked for its key and resource.
fn check_token(connect: &ironbrook_wire::mqtt::v4::Connect, resource: &str) {
    let token = SasToken::parse(std::str::from_utf8(connect.password.as_ref().unwrap()).unwrap()).unwrap();
    token.check(Timestamp::from_secs(0), [&key(), &key()]).unwrap();
    assert_eq!(token.resource(), format!("hub.test/{resource}"));
}

/// A client that has taken its feed of messages.
async fn subscribed(client: &DeviceClient, hub: &mut Hub) -> Messages {
    let subscribing = beside({
        let client = client.clone();
        async move { client.messages().await }
    });
    assert_eq!(hub.grant().await, "devices/d1/modules/m1/inputs/#");
    subscribing.await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_module_sends_by_an_output_and_receives_by_an_input() {
    let (client, mut dials) = run(as_module());
    let (mut hub, connect) = Hub::accept(&mut dials, ConnectReturnCode::Accepted).await;
    assert_eq!(&*connect.client_id, "d1/m1");
    check_token(&connect, "devices/d1/modules/m1");
    let sending = beside({
        let client = client.clone();
        async move { client.send_output("out1", Message::new("x")).await }
    });
    let publish = hub.publish().await;
    assert_eq!(publish.topic, "devices/d1/modules/m1/messages/events/%24.on=out1");
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    sending.await.unwrap().unwrap();

    let mut messages = subscribed(&client, &mut hub).await;
    hub.say(&format!("{INPUT}%24.cdid=d1&%24.cmid=sensor&sequenceNumber=1"), "hello", Some(3)).await;
    let received = messages.next().await.unwrap();
    assert_eq!(received.input.as_deref(), Some("in1"));
    assert_eq!(received.message.properties.get("sequenceNumber").map(|v| &**v), Some("1"));
    received.complete().await.unwrap();
    assert_eq!(hub.receive().await, Some(Packet::PubAck(3.try_into().unwrap())));
}

#[tokio::test(start_paused = true)]
async fn messages_are_completed_in_any_order_without_waiting_for_the_connection() {
    let (client, mut dials) = run(as_module());
    let mut hub = Hub::welcome(&mut dials).await;
    let mut messages = subscribed(&client, &mut hub).await;
    for id in 1..=3 {
        hub.say(INPUT, "x", Some(id)).await;
    }
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(messages.next().await.unwrap());
    }
    // Each is done at the first poll: nothing is waited for.
    for message in received.into_iter().rev() {
        let done = std::pin::pin!(message.complete());
        assert!(matches!(futures_util::poll!(done), std::task::Poll::Ready(Ok(()))));
    }
    for id in [3_u16, 2, 1] {
        assert_eq!(hub.receive().await, Some(Packet::PubAck(id.try_into().unwrap())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_user_keeps_the_socket_served_and_gets_every_message_in_order() {
    const COUNT: u16 = 300;
    let (client, mut dials) = run(as_module().keep_alive(Duration::from_secs(60)));
    let mut hub = Hub::welcome(&mut dials).await;
    let mut messages = subscribed(&client, &mut hub).await;
    for id in 1..=COUNT {
        hub.say(INPUT, &id.to_string(), Some(id)).await;
    }
    // Pings go on and other packets are handled while messages wait for longer than any keep alive.
    let quiet = tokio::time::timeout(Duration::from_secs(600), hub.receive()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let reading = beside({
        let client = client.clone();
        async move { client.twin().await }
    });
    assert_eq!(hub.grant().await, "$iothub/twin/res/#");
    assert_eq!(hub.publish().await.topic, "$iothub/twin/GET/?$rid=1");
    hub.say("$iothub/twin/res/200/?$rid=1", r#"{"desired":{},"reported":{}}"#, None).await;
    reading.await.unwrap().unwrap();

    let mut seen = Vec::new();
    let taken = beside(async move {
        while seen.len() < usize::from(COUNT) {
            let received = messages.next().await.unwrap();
            seen.push(String::from_utf8(received.message.body.to_vec()).unwrap());
            received.complete().await.unwrap();
        }
        (seen, messages)
    });
    // What found room is completed; for the rest the client comes back.
    let mut completed = 0;
    while let Some(packet) = hub.receive().await {
        match packet {
            Packet::PubAck(id) => {
                completed += 1;
                assert_eq!(id.get(), completed);
            }
            Packet::Disconnect => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..COUNT).contains(&completed), "{completed}");
    let mut hub = Hub::welcome(&mut dials).await;
    hub.grant().await;
    hub.grant().await;
    for id in completed + 1..=COUNT {
        hub.say(INPUT, &id.to_string(), Some(id)).await;
    }
    let (seen, _messages) = taken.await.unwrap();
    assert_eq!(seen, (1..=COUNT).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn telemetry_of_a_module_is_kept_bounded_and_goes_out_again_in_order() {
    let (client, mut dials) = run(as_module().in_flight(8));
    let mut hub = Hub::welcome(&mut dials).await;
    let filling = beside({
        let client = client.clone();
        async move {
            let mut receipts = Vec::new();
            for number in 0..200 {
                receipts.push(client.enqueue_output("o", Message::new(number.to_string())).await.unwrap());
            }
            receipts
        }
    });
    for number in 0..8 {
        assert_eq!(hub.publish().await.payload, number.to_string());
    }
    let quiet = tokio::time::timeout(Duration::from_secs(100), hub.publish()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(!filling.is_finished(), "200 messages found room without any acknowledgement");
    drop(hub);
    let mut hub = Hub::welcome(&mut dials).await;
    for number in 0..200 {
        let publish = hub.publish().await;
        assert_eq!((publish.payload, publish.dup), (number.to_string().into(), number < 8));
        hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    }
    for receipt in filling.await.unwrap() {
        receipt.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn rule_client_08_who_acts_for_another_shows_its_own_token_and_the_chain() {
    let gateway = Builder::with_key("hub.test", module("g1", "$hub"), key());
    for (target, user, chain) in [
        (module("g1", "m1"), "g1/m1", "g1%2Fm1%3Bg1"),
        (Identity::device(DeviceId::new("leaf").unwrap()), "leaf", "leaf%3Bg1"),
    ] {
        let (_client, mut dials) = run(gateway.clone().acting_for(target).client_type("t"));
        let (_hub, connect) = Hub::accept(&mut dials, ConnectReturnCode::Accepted).await;
        assert_eq!(&*connect.client_id, user);
        let wanted = format!("hub.test/{user}/?api-version=2021-04-12&DeviceClientType=t&auth-chain={chain}");
        assert_eq!(connect.username.as_deref(), Some(&*wanted));
        check_token(&connect, "devices/g1/modules/$hub");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_fails_is_asked_again() {
    let signer = Moody::new(2);
    let (client, mut dials) = run(Builder::with_signer("hub.test", module("d1", "m1"), signer.clone()));
    assert!(matches!(client.first_connection().await, Err(Error::Signing(_))));
    let (_hub, connect) = Hub::accept(&mut dials, ConnectReturnCode::Accepted).await;
    check_token(&connect, "devices/d1/modules/m1");
    assert_eq!(signer.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_on_while_its_token_cannot_be_renewed_yet() {
    let signer = Moody::new(0);
    let identity = module("d1", "m1");
    let lifetime = Duration::from_secs(1000);
    let (client, mut dials) =
        run(Builder::with_signer("hub.test", identity, signer.clone()).token_lifetime(lifetime));
    let mut hub = Hub::welcome(&mut dials).await;
    let began = Instant::now();
    signer.failures.store(3, Ordering::Relaxed);
    let receipt = beside({
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(865)).await;
            client.send(Message::new("between two attempts")).await
        }
    });
    let publish = hub.publish().await;
    hub.send(Packet::PubAck(publish.packet_id.unwrap())).await;
    receipt.await.unwrap().unwrap();
    assert_eq!(hub.receive().await, Some(Packet::Disconnect));
    // Due at 850 s, and three failures of ten seconds each.
    assert_eq!(began.elapsed().as_secs(), 880);
    let (_hub, connect) = Hub::accept(&mut dials, ConnectReturnCode::Accepted).await;
    check_token(&connect, "devices/d1/modules/m1");
    assert_eq!(
        signer.asked.load(Ordering::Relaxed),
        5,
        "the fresh token is used, and none signed for nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_takes_do_not_end_the_connection() {
    let (client, mut dials) = start(|b| b.keep_alive(Duration::from_secs(60)));
    let mut hub = Hub::welcome(&mut dials).await;
    for id in 1..=400 {
        hub.say("devices/d1/messages/devicebound/", "x", Some(id)).await;
    }
    let quiet = tokio::time::timeout(Duration::from_secs(600), hub.receive()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert!(matches!(&*client.state().borrow(), ConnectionState::Connected));
}
