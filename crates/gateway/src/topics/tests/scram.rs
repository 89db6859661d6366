//! Enhanced authentication: SCRAM-SHA-256, both sides.

use super::{Client5, Plan, World};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ironbrook_pubsub::acl::{Access, Acl, PasswordHash, Rule};
use ironbrook_wire::mqtt::QoS::AtLeastOnce;
use ironbrook_wire::mqtt::v5::{
    Auth, AuthData, AuthProperties, ConnAck, Connect, ConnectProperties, Packet, ReasonCode,
};
use std::num::NonZeroU32;

const METHOD: &str = "SCRAM-SHA-256";
const FIRST: &str = "n=ann,r=fyko";

async fn world() -> World {
    let hash = PasswordHash::with(b"pencil", NonZeroU32::new(4096).unwrap()).unwrap();
    let rule = Rule::new(Some("ann"), true, Access::Publish, "of/%u").unwrap();
    World::of(Plan { acl: Acl::new().user("ann", hash).rule(rule), ..Plan::default() }).await
}

fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// The client's last message, and what the server's has to be.
fn answer(server: &str, password: &[u8]) -> (String, String) {
    let part = |name: &str| server.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let (salt, iterations) = (BASE64.decode(part("s=")).unwrap(), part("i=").parse().unwrap());
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
    let without_proof = format!("c=biws,r={}", part("r="));
    let said = format!("{FIRST},{server},{without_proof}");
    let mut proof: [u8; 32] = sign(&salted, b"Client Key").as_ref().try_into().unwrap();
    let stored = digest::digest(&digest::SHA256, &proof);
    let signature = sign(stored.as_ref(), said.as_bytes());
    proof.iter_mut().zip(signature.as_ref()).for_each(|(byte, other)| *byte ^= other);
    let server = sign(sign(&salted, b"Server Key").as_ref(), said.as_bytes());
    (format!("{without_proof},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(server)))
}

fn auth(reason: ReasonCode, data: String) -> Packet {
    let properties = AuthProperties {
        authentication_method: Some(METHOD.into()),
        authentication_data: Some(AuthData(data.into())),
        ..AuthProperties::default()
    };
    Packet::Auth(Auth { reason, properties })
}

/// The data of the server's AUTH.
async fn challenge(client: &mut Client5, reason: ReasonCode) -> String {
    match client.next().await {
        Some(Packet::Auth(auth)) if auth.reason == reason => {
            let AuthData(data) = auth.properties.authentication_data.unwrap();
            String::from_utf8(data.to_vec()).unwrap()
        }
        other => panic!("{other:?} instead of an AUTH"),
    }
}

/// The CONNACK of a client that knows this password, and what the server has to prove.
async fn connect(world: &World, password: &[u8]) -> (Client5, ConnAck, String) {
    let properties = ConnectProperties {
        authentication_method: Some(METHOD.into()),
        authentication_data: Some(AuthData(Bytes::from(format!("n,,{FIRST}")))),
        ..ConnectProperties::default()
    };
    let mut client = Client5 { raw: world.open() };
    let hello = Connect { properties, ..Client5::hello("c") };
    client.send(Packet::Connect(Box::new(hello))).await;
    let server = challenge(&mut client, ReasonCode::ContinueAuthentication).await;
    let (last, proof) = answer(&server, password);
    client.send(auth(ReasonCode::ContinueAuthentication, last)).await;
    match client.next().await {
        Some(Packet::ConnAck(ack)) => (client, *ack, proof),
        other => panic!("{other:?} instead of a CONNACK"),
    }
}

#[tokio::test(start_paused = true)]
async fn scram_proves_both_sides_and_again_on_the_same_connection() {
    let world = world().await;
    let (mut client, ack, proof) = connect(&world, b"pencil").await;
    assert_eq!(ack.reason, ReasonCode::Success);
    assert_eq!(ack.properties.authentication_method.as_deref(), Some(METHOD));
    assert_eq!(ack.properties.authentication_data, Some(AuthData(proof.into())));
    // Who it is counts for the rules.
    let code = client.publish(Client5::message("of/ann", "x", AtLeastOnce, 1)).await;
    assert_eq!(code, ReasonCode::NoMatchingSubscribers);
    client.send(auth(ReasonCode::ReAuthenticate, format!("n,,{FIRST}"))).await;
    let server = challenge(&mut client, ReasonCode::ContinueAuthentication).await;
    let (last, proof) = answer(&server, b"pencil");
    client.send(auth(ReasonCode::ContinueAuthentication, last)).await;
    assert_eq!(challenge(&mut client, ReasonCode::Success).await, proof);
    client.expect_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_proof_is_refused_and_later_ends_the_connection() {
    let world = world().await;
    let (mut refused, ack, _) = connect(&world, b"wrong!").await;
    assert_eq!(ack.reason, ReasonCode::NotAuthorized);
    assert_eq!(refused.next().await, None);
    let (mut client, _, _) = connect(&world, b"pencil").await;
    client.send(auth(ReasonCode::ReAuthenticate, format!("n,,{FIRST}"))).await;
    let server = challenge(&mut client, ReasonCode::ContinueAuthentication).await;
    client.send(auth(ReasonCode::ContinueAuthentication, answer(&server, b"wrong!").0)).await;
    client.expect_end(ReasonCode::NotAuthorized).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_did_not_begin_or_another_method_ends_the_connection() {
    let world = world().await;
    let (mut client, _, _) = connect(&world, b"pencil").await;
    client.send(auth(ReasonCode::ContinueAuthentication, "x".into())).await;
    client.expect_end(ReasonCode::ProtocolError).await;
    let (mut client, _, _) = connect(&world, b"pencil").await;
    let properties =
        AuthProperties { authentication_method: Some("OTHER".into()), ..AuthProperties::default() };
    client.send(Packet::Auth(Auth { reason: ReasonCode::ReAuthenticate, properties })).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}
