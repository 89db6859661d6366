//! Authorities of devices' certificates: registered, proven, taken away, through the router and on storage that stays.

use super::tests::{ANY, Hub, hub};
use crate::testing::Authority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, IF_MATCH};
use ironbrook_hub::{ConnectRequest, Credential, Delivery, Session};
use ironbrook_model::{Cause, DeviceId, Identity, Refusal};
use serde_json::{Value, json};

async fn with_device() -> Hub {
    let hub = hub().await;
    let wish = json!({"authentication": {"type": "certificateAuthority"}});
    let made = hub.ask("PUT", "/devices/ca-1", &[], wish).await;
    assert_eq!(made.body["authentication"]["type"], "certificateAuthority", "{}", made.body);
    hub
}

async fn connect(hub: &Hub, authority: &Authority) -> Result<Session, Refusal> {
    let leaf = Bytes::copy_from_slice(authority.sign("ca-1").der());
    let request = ConnectRequest {
        identity: Identity::device(DeviceId::new("ca-1").unwrap()),
        credential: Credential::Certificate(vec![leaf]),
        model_id: None,
        clean_session: true,
        lasting: true,
    };
    hub.cloud.hub().connect(request).await
}

// AUTH-14
#[tokio::test]
async fn auth_14_possession_of_an_uploaded_authority_is_proven_by_a_certificate_for_its_code() {
    let (hub, plant) = (with_device().await, Authority::new("Plant CA"));
    let made =
        hub.ask("PUT", "/certificates/plant", &[], json!({"properties": {"certificate": plant.pem}})).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let properties = &made.body["properties"];
    assert_eq!((&properties["subject"], &properties["isVerified"]), (&json!("Plant CA"), &json!(false)));
    assert_eq!(properties["thumbprint"].as_str().unwrap().len(), 40);
    assert_eq!(made.headers[ETAG], format!("\"{}\"", made.body["etag"].as_str().unwrap()));
    let refused = connect(&hub, &plant).await.unwrap_err();
    assert_eq!(refused.cause, Some(Cause::UnverifiedAuthority));

    let early = hub
        .ask("POST", "/certificates/plant/verify", &ANY, json!({"certificate": plant.sign("x").pem()}))
        .await;
    assert_eq!(early.status, StatusCode::BAD_REQUEST, "{}", early.body);
    let code = hub.ask("POST", "/certificates/plant/generateVerificationCode", &ANY, Value::Null).await;
    let word = code.body["properties"]["verificationCode"].as_str().unwrap().to_owned();
    assert_eq!(word.len(), 48);
    let stranger = Authority::new("Plant CA");
    for wrong in [stranger.sign(&word), plant.sign("another name")] {
        let body = json!({"certificate": wrong.pem()});
        let refused = hub.ask("POST", "/certificates/plant/verify", &ANY, body).await;
        assert_eq!(refused.headers["iothub-errorcode"], "ArgumentInvalid", "{}", refused.body);
    }
    // Base64 of DER, as `az iot hub certificate verify` sends it.
    let proof = STANDARD.encode(plant.sign(&word).der());
    let etag = format!("\"{}\"", code.body["etag"].as_str().unwrap());
    let body = json!({ "certificate": proof });
    let stale = [(IF_MATCH.as_str(), "\"stale\"")];
    let clash = hub.ask("POST", "/certificates/plant/verify", &stale, body.clone()).await;
    assert_eq!(clash.status, StatusCode::PRECONDITION_FAILED);
    let done =
        hub.ask("POST", "/certificates/plant/verify", &[(IF_MATCH.as_str(), &etag)], body.clone()).await;
    assert_eq!(done.body["properties"]["isVerified"], true, "{}", done.body);
    connect(&hub, &plant).await.unwrap();
    assert!(connect(&hub, &stranger).await.is_err());
    // A code proves once.
    assert_eq!(
        hub.ask("POST", "/certificates/plant/verify", &ANY, body).await.status,
        StatusCode::BAD_REQUEST
    );
    // Another certificate under the name has to be proven anew.
    let next = json!({"properties": {"certificate": STANDARD.encode(&stranger.pem)}});
    let changed = hub.ask("PUT", "/certificates/plant", &ANY, next).await;
    assert_eq!(changed.body["properties"]["isVerified"], false, "{}", changed.body);
}

// AUTH-16
#[tokio::test]
async fn auth_16_a_session_ends_when_its_authority_is_deleted() {
    let (hub, plant) = (with_device().await, Authority::new("Plant CA"));
    let vouched = json!({"properties": {"certificate": plant.pem, "isVerified": true}});
    hub.ask("PUT", "/certificates/plant", &[], vouched.clone()).await;
    hub.ask("PUT", "/certificates/twice", &[], vouched).await;
    let session = connect(&hub, &plant).await.unwrap();
    // The other entry still vouches for it.
    assert_eq!(
        hub.ask("DELETE", "/certificates/twice", &ANY, Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        hub.ask("DELETE", "/certificates/plant", &ANY, Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    match crate::testing::within("the session's end", session.next()).await {
        Delivery::Closed(why) => assert_eq!(why.cause, Some(Cause::UnknownAuthority), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(!hub.cloud.hub().is_connected(&Identity::device(DeviceId::new("d").unwrap())));
    let gone = hub.ask("GET", "/certificates/plant", &[], Value::Null).await;
    assert_eq!(gone.headers["iothub-errorcode"], "CertificateNotFound");
}

#[tokio::test]
async fn what_is_no_authority_is_not_registered_and_the_number_is_limited() {
    let (hub, plant) = (hub().await, Authority::new("Plant CA"));
    let put = async |name: &str, certificate: &str| {
        let body = json!({"properties": {"certificate": certificate, "isVerified": true}});
        hub.ask("PUT", &format!("/certificates/{name}"), &[], body).await
    };
    for (name, certificate, word) in [
        ("leaf", plant.sign("d").pem(), "is not an authority's"),
        ("text", "hello".to_owned(), "no X.509 certificate"),
        ("none", String::new(), "is missing"),
        ("a%20b", plant.pem.clone(), "letters, digits"),
    ] {
        let refused = put(name, &certificate).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(refused.body["Message"].as_str().unwrap().contains(word), "{}", refused.body);
    }
    for n in 0..25 {
        assert_eq!(put(&format!("c{n}"), &plant.pem).await.status, StatusCode::OK);
    }
    assert_eq!(put("c25", &plant.pem).await.headers["iothub-errorcode"], "IotHubQuotaExceeded");
    assert_eq!(put("c1", &plant.pem).await.status, StatusCode::PRECONDITION_FAILED);
    let list = hub.ask("GET", "/certificates", &[], Value::Null).await;
    assert_eq!(list.body["value"].as_array().unwrap().len(), 25);
    let key = plant.issuer.key().serialize_pem();
    assert!(!list.body.to_string().contains(&key[40..60]));
}
