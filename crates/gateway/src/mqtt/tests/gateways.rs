//! Clients that come with the token of a gateway they are behind.

use super::*;
use ironbrook_model::{DeviceId, Identity};

fn gateway() -> String {
    Identity::gateway(DeviceId::new("gateway").unwrap()).to_string()
}

/// A CONNECT of an identity with the gateway's token.
fn behind(name: &str, query: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        username: Some(format!("{HOST}/{name}/?{query}").into()),
        password: Some(token(&gateway(), Duration::from_secs(3600)).into()),
        ..hello(name)
    }))
}

#[tokio::test]
async fn mqtt_31_the_chain_of_gateways_may_stand_anywhere_in_the_user_name() {
    let world = World::new(&["gateway", &gateway(), "gateway/m1", "leaf", "leaf/m1"]);
    for (name, query) in [
        ("gateway/m1", "api-version=2021-04-12"),
        ("leaf", "api-version=2021-04-12&auth-chain=leaf;gateway"),
        ("leaf", "auth-chain=leaf%3Bgateway&api-version=2021-04-12&DeviceClientType=x"),
        ("leaf/m1", "api-version=2021-04-12&auth-chain=leaf/m1;leaf;gateway&model-id=dtmi%3Ax%3B1"),
    ] {
        let mut client = Client::open(&world);
        client.send(behind(name, query)).await;
        client.expect(accepted()).await;
        let identity = crate::fakes::identity(name);
        client.send(message(&format!("{}/messages/events/", identity.resource()), name, Some(1))).await;
        client.expect(Packet::PubAck(id(1))).await;
        assert_eq!(world.log.messages().last().unwrap().body, name);
    }
}

#[tokio::test]
async fn a_device_behind_nobody_is_refused() {
    let world = World::new(&["gateway", &gateway(), "d1"]);
    let mut client = Client::open(&world);
    client.send(behind("d1", "api-version=2021-04-12&auth-chain=d1;gateway")).await;
    let code = ConnectReturnCode::NotAuthorized;
    client.expect(Packet::ConnAck(ConnAck { session_present: false, code })).await;
}
