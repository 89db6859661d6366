//! The provisioning service on a whole hub on storage in memory, through its HTTP routes and its seam.

use super::ProvisioningService;
use crate::service_api::tests::{Hub, LATER, hub};
use crate::testing::Authority;
use bytes::Bytes;
use http::StatusCode;
use ironbrook_gateway::{Provisioning as _, Registrant, RegistrationAnswer};
use ironbrook_hub::{ConnectRequest, Credential};
use ironbrook_model::{Cause, DeviceId, ErrorCode, Identity, Refusal, SasToken, SharedAccessKey};
use serde_json::{Value, json};

const PRIMARY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECONDARY: &str = "HxECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn key(text: &str) -> SharedAccessKey {
    SharedAccessKey::from_base64(text).unwrap()
}

fn keys() -> Value {
    json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}})
}

async fn ask(hub: &Hub, method: &str, path: &str, body: Value) -> crate::service_api::tests::Reply {
    let token = hub.token("provisioningserviceowner");
    hub.send(Some(&token), method, path, &[], &body).await
}

async fn enrol(hub: &Hub, path: &str, body: Value) -> Value {
    let reply = ask(hub, "PUT", path, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    reply.body
}

fn by_key(service: &ProvisioningService, id: &str, key: &SharedAccessKey) -> Registrant {
    let scope = service.id_scope();
    let text = key.sign(&format!("{scope}/registrations/{id}"), LATER, Some("registration"));
    let credential = Credential::Sas(SasToken::parse(&text).unwrap());
    Registrant { id_scope: scope.to_owned(), registration_id: id.to_owned(), credential }
}

async fn provision(
    service: &ProvisioningService,
    registrant: &Registrant,
) -> Result<RegistrationAnswer, Refusal> {
    let first = service.register(registrant, b"").await?;
    assert_eq!((first.status, &first.body["status"]), (202, &json!("assigning")), "{first:?}");
    assert!(first.retry_after.is_some());
    service.operation(registrant, first.body["operationId"].as_str().unwrap()).await
}

async fn state(service: &ProvisioningService, registrant: &Registrant) -> Value {
    let answer = provision(service, registrant).await.unwrap();
    assert_eq!(answer.body["status"], answer.body["registrationState"]["status"]);
    answer.body["registrationState"].clone()
}

async fn connects(hub: &Hub, device: &str, credential: Credential) -> Result<(), Refusal> {
    let request = ConnectRequest {
        identity: Identity::device(DeviceId::new(device.to_owned()).unwrap()),
        credential,
        model_id: None,
        clean_session: true,
        lasting: true,
    };
    hub.cloud.hub().connect(request).await.map(drop)
}

fn hub_token(device: &str, key: &SharedAccessKey) -> Credential {
    Credential::Sas(SasToken::parse(&key.sign(&format!("localhost/devices/{device}"), LATER, None)).unwrap())
}

/// A certificate as a device shows it and as an operator uploads it.
fn leaf(authority: &Authority, name: &str) -> (Bytes, String) {
    let signed = authority.sign(name);
    (Bytes::copy_from_slice(signed.der()), signed.pem())
}

fn by_certificate(service: &ProvisioningService, id: &str, leaf: &Bytes) -> Registrant {
    Registrant {
        id_scope: service.id_scope().to_owned(),
        registration_id: id.to_owned(),
        credential: Credential::Certificate(vec![leaf.clone()]),
    }
}

// DPS-07
#[tokio::test]
async fn dps_07_a_device_with_keys_is_assigned_and_connects_with_the_same_keys() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    let body = json!({
        "registrationId": "reg-1", "deviceId": "oven-1", "attestation": keys(),
        "initialTwin": {"tags": {"site": "a"}, "properties": {"desired": {"interval": 5}}},
    });
    let made = enrol(&hub, "/enrollments/reg-1", body).await;
    assert_eq!(made["attestation"]["symmetricKey"]["primaryKey"], PRIMARY);
    let shown = ask(&hub, "GET", "/enrollments/reg-1", Value::Null).await.body;
    assert!(!shown.to_string().contains(PRIMARY), "{shown}");
    let mechanism = ask(&hub, "POST", "/enrollments/reg-1/attestationmechanism", Value::Null).await.body;
    assert_eq!(mechanism["symmetricKey"]["secondaryKey"], SECONDARY);

    let assigned = state(&service, &by_key(&service, "reg-1", &key(SECONDARY))).await;
    assert_eq!(
        (&assigned["status"], &assigned["substatus"]),
        (&json!("assigned"), &json!("initialAssignment"))
    );
    assert_eq!((&assigned["assignedHub"], &assigned["deviceId"]), (&json!("localhost"), &json!("oven-1")));
    connects(&hub, "oven-1", hub_token("oven-1", &key(PRIMARY))).await.unwrap();
    let twin = hub.ask("GET", "/twins/oven-1", &[], Value::Null).await.body;
    assert_eq!((&twin["tags"]["site"], &twin["properties"]["desired"]["interval"]), (&json!("a"), &json!(5)));
    let shown = ask(&hub, "GET", "/registrations/reg-1", Value::Null).await.body;
    assert_eq!(shown["deviceId"], "oven-1");
}

// DPS-06
#[tokio::test]
async fn dps_06_groups_derive_keys_and_an_enrolment_of_its_own_comes_first() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    enrol(&hub, "/enrollmentGroups/other", json!({"attestation": {"type": "symmetricKey"}})).await;
    enrol(&hub, "/enrollmentGroups/line", json!({"enrollmentGroupId": "line", "attestation": keys()})).await;
    let derived = key(PRIMARY).derive("Reg-7");
    let registrant = by_key(&service, "Reg-7", &derived);
    assert_eq!(state(&service, &registrant).await["deviceId"], "Reg-7");
    connects(&hub, "Reg-7", hub_token("Reg-7", &derived)).await.unwrap();
    let of_group = ask(&hub, "POST", "/registrations/line/query", json!({"query": "*"})).await.body;
    assert_eq!(of_group[0]["registrationId"], "Reg-7");
    // The group's own key proves nobody.
    let wrong = by_key(&service, "Reg-7", &key(PRIMARY));
    assert_eq!(service.authenticate(&wrong).await.unwrap_err().cause, Some(Cause::WrongKey));
    // rule DPS-05: case does not matter.
    enrol(&hub, "/enrollments/reg-7", json!({"attestation": {"type": "symmetricKey"}})).await;
    assert_eq!(service.authenticate(&registrant).await.unwrap_err().cause, Some(Cause::WrongKey));
    let forgotten = ask(&hub, "DELETE", "/enrollments/REG-7", Value::Null).await;
    assert_eq!(forgotten.status, StatusCode::NO_CONTENT);
    service.authenticate(&registrant).await.unwrap();
}

// DPS-07
#[tokio::test]
async fn dps_07_a_device_with_a_certificate_is_known_to_the_hub_by_its_thumbprint() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    let plant = Authority::new("Plant CA");
    let (own, pem) = leaf(&plant, "press-1");
    let x509 = json!({"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": pem}}}});
    let made = enrol(&hub, "/enrollments/press-1", json!({ "attestation": x509 })).await;
    let info = &made["attestation"]["x509"]["clientCertificates"]["primary"]["info"];
    assert_eq!(info["subjectName"], "CN=press-1");
    // What was shown can be put back: the certificate stays.
    let put = json!({"attestation": made["attestation"], "provisioningStatus": "enabled"});
    enrol(&hub, "/enrollments/press-1", put).await;
    state(&service, &by_certificate(&service, "press-1", &own)).await;
    connects(&hub, "press-1", Credential::Certificate(vec![own])).await.unwrap();

    let signing =
        json!({"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": plant.pem}}}});
    enrol(&hub, "/enrollmentGroups/presses", json!({ "attestation": signing })).await;
    let (second, _) = leaf(&plant, "press-2");
    state(&service, &by_certificate(&service, "press-2", &second)).await;
    connects(&hub, "press-2", Credential::Certificate(vec![second.clone()])).await.unwrap();
    // A renewed certificate is taken over with the next registration.
    let (renewed, _) = leaf(&plant, "press-2");
    assert!(connects(&hub, "press-2", Credential::Certificate(vec![renewed.clone()])).await.is_err());
    state(&service, &by_certificate(&service, "press-2", &renewed)).await;
    connects(&hub, "press-2", Credential::Certificate(vec![renewed])).await.unwrap();

    // By the name of an authority that the hub knows, once it is verified.
    let named = Authority::new("Named CA");
    let references = json!({"type": "x509", "x509": {"caReferences": {"primary": "named"}}});
    enrol(&hub, "/enrollmentGroups/named", json!({ "attestation": references })).await;
    let (third, _) = leaf(&named, "press-3");
    let registrant = by_certificate(&service, "press-3", &third);
    assert_eq!(service.authenticate(&registrant).await.unwrap_err().cause, Some(Cause::UnknownAuthority));
    let body = json!({"properties": {"certificate": named.pem}});
    hub.ask("PUT", "/certificates/named", &[], body.clone()).await;
    assert_eq!(service.authenticate(&registrant).await.unwrap_err().cause, Some(Cause::UnverifiedAuthority));
    let vouched = json!({"properties": {"certificate": named.pem, "isVerified": true}});
    hub.ask("PUT", "/certificates/named", &[("if-match", "*")], vouched).await;
    state(&service, &registrant).await;
    // A certificate of another name.
    let (other, _) = leaf(&named, "press-9");
    let registrant = by_certificate(&service, "press-3", &other);
    assert_eq!(service.authenticate(&registrant).await.unwrap_err().cause, Some(Cause::OtherName));
}

// DPS-08
#[tokio::test]
async fn dps_08_a_device_that_registers_again_keeps_its_data_or_begins_anew_as_the_enrolment_says() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    let with = |policy: Value| {
        json!({
            "attestation": keys(), "reprovisionPolicy": policy,
            "initialTwin": {"tags": {}, "properties": {"desired": {"interval": 5}}},
        })
    };
    let registrant = by_key(&service, "reg-1", &key(PRIMARY));
    let generation =
        async || hub.ask("GET", "/devices/reg-1", &[], Value::Null).await.body["generationId"].clone();
    let interval = async || {
        hub.ask("GET", "/twins/reg-1", &[], Value::Null).await.body["properties"]["desired"]["interval"]
            .clone()
    };
    enrol(&hub, "/enrollments/reg-1", with(json!({"updateHubAssignment": true, "migrateDeviceData": true})))
        .await;
    state(&service, &registrant).await;
    let first = generation().await;
    hub.ask("PATCH", "/twins/reg-1", &[], json!({"properties": {"desired": {"interval": 60}}})).await;
    assert_eq!(state(&service, &registrant).await["substatus"], "initialAssignment");
    assert_eq!((generation().await, interval().await), (first.clone(), json!(60)));

    enrol(
        &hub,
        "/enrollments/reg-1",
        with(json!({"updateHubAssignment": false, "migrateDeviceData": false})),
    )
    .await;
    assert_eq!(state(&service, &registrant).await["status"], "assigned");
    assert_eq!((generation().await, interval().await), (first.clone(), json!(60)));

    enrol(&hub, "/enrollments/reg-1", with(json!({"updateHubAssignment": true, "migrateDeviceData": false})))
        .await;
    assert_eq!(state(&service, &registrant).await["substatus"], "deviceDataReset");
    assert_ne!(generation().await, first);
    assert_eq!(interval().await, json!(5));
}

// DPS-09
#[tokio::test]
async fn dps_09_disabled_failed_and_refused_are_told_apart() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    enrol(&hub, "/enrollments/reg-1", json!({"attestation": keys(), "provisioningStatus": "disabled"})).await;
    assert_eq!(state(&service, &by_key(&service, "reg-1", &key(PRIMARY))).await["status"], "disabled");
    assert_eq!(hub.ask("GET", "/devices/reg-1", &[], Value::Null).await.status, StatusCode::NOT_FOUND);

    // A twin that breaks a rule: the device's registration fails, and says why.
    let twin = json!({"properties": {"desired": {"a.b": 1}}});
    enrol(&hub, "/enrollments/reg-2", json!({"attestation": keys(), "initialTwin": twin})).await;
    let failed = state(&service, &by_key(&service, "reg-2", &key(PRIMARY))).await;
    assert_eq!((&failed["status"], &failed["errorCode"]), (&json!("failed"), &json!(400_004)));

    let unknown = service.register(&by_key(&service, "nobody", &key(PRIMARY)), b"").await.unwrap_err();
    assert_eq!(
        (unknown.code, unknown.cause),
        (ErrorCode::IotHubUnauthorizedAccess, Some(Cause::UnknownIdentity))
    );
    let mut elsewhere = by_key(&service, "reg-1", &key(PRIMARY));
    elsewhere.id_scope = "0ne00000000".to_owned();
    assert_eq!(service.authenticate(&elsewhere).await.unwrap_err().cause, Some(Cause::WrongAudience));
    let registrant = by_key(&service, "reg-1", &key(PRIMARY));
    for (body, code) in [
        (&b"{"[..], ErrorCode::IotHubFormatError),
        (br#"{"registrationId":"other"}"#, ErrorCode::ArgumentInvalid),
    ] {
        assert_eq!(service.register(&registrant, body).await.unwrap_err().code, code);
    }
    let strange = service.operation(&registrant, "5.x.y").await.unwrap_err();
    assert_eq!(strange.code, ErrorCode::GenericNotFound);
    // Why it was refused is told where people look.
    let why = hub.ask("GET", "/devices/nobody/refusals", &[], Value::Null).await.body;
    assert_eq!(why[0]["cause"], "unknownIdentity", "{why}");
}

#[tokio::test]
async fn enrolments_have_etags_pages_and_bulks_and_wrong_ones_are_refused() {
    let hub = hub().await;
    let made = enrol(&hub, "/enrollments/a", json!({"attestation": {"type": "symmetricKey"}})).await;
    let token = hub.token("provisioningserviceowner");
    let stale = [("if-match", "\"stale\"")];
    let clash =
        hub.send(Some(&token), "PUT", "/enrollments/a", &stale, &json!({"attestation": keys()})).await;
    assert_eq!(clash.status, StatusCode::PRECONDITION_FAILED);
    // Keys that are not given stay.
    let kept = enrol(&hub, "/enrollments/a", json!({"attestation": {"type": "symmetricKey"}})).await;
    assert_eq!(kept["attestation"], made["attestation"]);
    assert_ne!(kept["etag"], made["etag"]);

    let items: Vec<_> = (0..4)
        .map(|n| json!({"registrationId": format!("b{n}"), "attestation": {"type": "symmetricKey"}}))
        .collect();
    let done = ask(&hub, "POST", "/enrollments/", json!({"mode": "create", "enrollments": items})).await.body;
    assert_eq!(done, json!({"isSuccessful": true, "errors": []}));
    let twice =
        ask(&hub, "POST", "/enrollments", json!({"mode": "create", "enrollments": [items[0]]})).await.body;
    assert_eq!(
        (&twice["isSuccessful"], &twice["errors"][0]["registrationId"]),
        (&json!(false), &json!("b0"))
    );

    let (mut ids, mut place) = (Vec::new(), None::<String>);
    loop {
        let mut headers = vec![("x-ms-max-item-count", "2")];
        headers.extend(place.as_deref().map(|place| ("x-ms-continuation", place)));
        let query = json!({"query": "SELECT * FROM enrollments"});
        let page = hub.send(Some(&token), "POST", "/enrollments/query", &headers, &query).await;
        assert_eq!(page.headers["x-ms-item-type"], "Enrollment");
        ids.extend(page.body.as_array().unwrap().iter().map(|one| one["registrationId"].clone()));
        place = page.headers.get("x-ms-continuation").map(|place| place.to_str().unwrap().to_owned());
        if place.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["a", "b0", "b1", "b2", "b3"].map(Value::from));
    for body in [
        json!({}),
        json!({"attestation": {"type": "tpm", "tpm": {"endorsementKey": "x"}}}),
        json!({"attestation": {"type": "x509"}}),
        json!({"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": PRIMARY}}}),
        json!({"attestation": keys(), "iotHubHostName": "elsewhere.test"}),
        json!({"attestation": keys(), "allocationPolicy": "custom"}),
        json!({"attestation": keys(), "registrationId": "another"}),
    ] {
        let refused = ask(&hub, "PUT", "/enrollments/wrong", body.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(refused.body["errorCode"], 400_004, "{}", refused.body);
    }
    assert_eq!(ask(&hub, "GET", "/enrollments/wrong", Value::Null).await.status, StatusCode::NOT_FOUND);
}

// DPS-10
#[tokio::test]
async fn dps_10_a_device_registers_over_https() {
    let hub = hub().await;
    let service = hub.cloud.provisioning_service().clone();
    enrol(&hub, "/enrollments/reg-1", json!({"attestation": keys()})).await;
    let scope = service.id_scope();
    let token = key(PRIMARY).sign(&format!("{scope}/registrations/reg-1"), LATER, Some("registration"));
    let path = format!("/{scope}/registrations/reg-1");
    let first = hub
        .send(Some(&token), "PUT", &format!("{path}/register"), &[], &json!({"registrationId": "reg-1"}))
        .await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.body);
    assert_eq!(first.headers["retry-after"], "1");
    let operation = first.body["operationId"].as_str().unwrap();
    let done =
        hub.send(Some(&token), "GET", &format!("{path}/operations/{operation}"), &[], &Value::Null).await;
    assert_eq!(done.body["registrationState"]["assignedHub"], "localhost", "{}", done.body);
    let found = hub.send(Some(&token), "POST", &path, &[], &json!({})).await;
    assert_eq!(found.body["status"], "assigned");
    let bare = hub.send(None, "PUT", &format!("{path}/register"), &[], &json!({})).await;
    assert_eq!((bare.status, &bare.body["errorCode"]), (StatusCode::UNAUTHORIZED, &json!(401_002)));
}
