use super::*;
use crate::daemon::testing::{World, ask, ask_raw, now};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use std::path::PathBuf;
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

async fn world() -> (World, PathBuf) {
    let world = World::new();
    let socket = world.daemon.add_module("m").await.unwrap().socket;
    (world, socket)
}

async fn post(socket: &std::path::Path, path: &str, body: Value) -> (StatusCode, Value) {
    ask(socket, Method::POST, path, body).await
}

// rule WORKLOAD-01
#[tokio::test]
async fn all_stock_versions_are_answered_and_no_others_rule_workload_01() {
    let (_world, socket) = world().await;
    for version in
        ["2018-06-28", "2019-01-30", "2019-10-22", "2019-11-05", "2020-07-07", "2021-12-07", "2022-08-03"]
    {
        let path = format!("/trust-bundle?x=1&api-version={version}");
        assert_eq!(ask_raw(&socket, Method::GET, &path, "").await.0, StatusCode::OK, "{version}");
    }
    for query in [
        "",
        "?",
        "?api-version=",
        "?api-version=2017-01-01",
        "?api-version=2018-06-28x",
        "?version=2018-06-28",
    ] {
        let (status, body) = ask_raw(&socket, Method::GET, &format!("/trust-bundle{query}"), "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(body["message"].as_str().unwrap().contains("api-version"), "{body}");
    }
}

// rule WORKLOAD-03
#[tokio::test]
async fn a_signature_is_the_modules_whatever_key_algorithm_and_generation_are_named_rule_workload_03() {
    let (world, socket) = world().await;
    let data = "hub.example.test%2Fdevices%2Fedge-1%2Fmodules%2Fm\n1790003600";
    let expected = STANDARD.encode(world.daemon.module_key("m").unwrap().hmac_sha256(data.as_bytes()));
    let data = STANDARD.encode(data);
    for body in [
        json!({"keyId": "primary", "algo": "HMACSHA256", "data": data}),
        json!({"keyId": "other", "algo": "none", "data": data}),
        json!({"data": data}),
    ] {
        let (status, answer) = post(&socket, "/modules/m/genid/another/sign", body).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({"digest": expected})));
    }
    for body in [json!({}), json!({"data": "%"}), json!({"data": 1}), json!([]), Value::Null] {
        let (status, answer) = post(&socket, "/modules/m/genid/g3/sign", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["message"].is_string());
    }
}

// rule WORKLOAD-02
#[tokio::test]
async fn a_module_asks_for_itself_only_rule_workload_02() {
    let (world, socket) = world().await;
    world.daemon.ensure_identity("other").await.unwrap();
    let hub = world.daemon.add_module("edgeHub").await.unwrap().socket;
    let sign = json!({"data": "eA=="});
    let paths = [
        "genid/g/sign",
        "genid/g/encrypt",
        "genid/g/decrypt",
        "genid/g/certificate/server",
        "certificate/identity",
    ];
    for path in paths {
        for module in ["other", "$edgeHub", "edgeHub", "M"] {
            let (status, body) = post(&socket, &format!("/modules/{module}/{path}"), sign.clone()).await;
            assert_eq!(
                (status, body),
                (StatusCode::FORBIDDEN, json!({"message": "forbidden"})),
                "{module} {path}"
            );
        }
    }
    for module in ["$edgeHub", "%24edgeHub", "edgeHub"] {
        let (status, _) = post(&hub, &format!("/modules/{module}/genid/g/sign"), sign.clone()).await;
        assert_eq!(status, StatusCode::OK, "{module}");
    }
    world.daemon.remove_identity("m").await.unwrap();
    assert_eq!(post(&socket, "/modules/m/genid/g/sign", sign).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_module_encrypts_only_it_decrypts() {
    let (world, socket) = world().await;
    let other = world.daemon.add_module("other").await.unwrap().socket;
    let vector = STANDARD.encode("vector");
    let plain = json!({"plaintext": STANDARD.encode("text"), "initializationVector": vector});
    let (status, sealed) = post(&socket, "/modules/m/genid/g/encrypt", plain).await;
    assert_eq!(status, StatusCode::OK);
    let sealed = json!({"ciphertext": sealed["ciphertext"], "initializationVector": vector});
    let opened = post(&socket, "/modules/m/genid/g/decrypt", sealed.clone()).await;
    assert_eq!(opened, (StatusCode::OK, json!({"plaintext": STANDARD.encode("text")})));
    let (status, _) = post(&other, "/modules/other/genid/g/decrypt", sealed).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

fn certificates(answer: &Value) -> Vec<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let pem = answer["certificate"].as_str().unwrap().as_bytes();
    CertificateDer::pem_slice_iter(pem).map(|der| der.unwrap().to_vec()).collect()
}

#[tokio::test]
async fn server_certificates_name_host_and_module_and_are_signed_by_the_bundles_authority() {
    let (_world, socket) = world().await;
    let until = now().plus(Duration::from_secs(3600)).to_string();
    for (expiration, lifetime) in
        [(until.as_str(), 3600), ("2099-01-01T00:00:00Z", 30 * 86_400), ("soon", 30 * 86_400)]
    {
        let body = json!({"commonName": "host.example.test", "expiration": expiration});
        let (status, answer) = post(&socket, "/modules/m/genid/g/certificate/server", body).await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!(answer["privateKey"]["type"], "key");
        assert!(answer["privateKey"]["bytes"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        let end = Timestamp::parse(answer["expiration"].as_str().unwrap()).unwrap();
        assert_eq!(end.since(now()).as_secs(), lifetime);
        let chain = certificates(&answer);
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let (_, issuer) = X509Certificate::from_der(&chain[1]).unwrap();
        leaf.verify_signature(Some(issuer.public_key())).unwrap();
        assert_eq!(leaf.validity().not_after.timestamp(), end.as_secs());
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [GeneralName::DNSName("host.example.test"), GeneralName::DNSName("m")]
        );
        let (_, bundle) = ask(&socket, Method::GET, "/trust-bundle", Value::Null).await;
        assert_eq!(certificates(&bundle), [chain[1].clone()]);
    }
    for body in [
        json!({}),
        json!({"commonName": ""}),
        json!({"commonName": "a b"}),
        json!({"commonName": "x".repeat(254)}),
    ] {
        let (status, _) = post(&socket, "/modules/m/genid/g/certificate/server", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn identity_certificates_name_the_module_as_a_uri_and_need_no_body() {
    let (_world, socket) = world().await;
    let (status, answer) = post(&socket, "/modules/m/certificate/identity", Value::Null).await;
    assert_eq!(status, StatusCode::CREATED);
    let chain = certificates(&answer);
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let uri = "azureiot://hub.example.test/devices/edge-1/modules/m";
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI(uri)]);
    assert!(leaf.extended_key_usage().unwrap().unwrap().value.client_auth);
}

#[tokio::test]
async fn the_rest_is_answered_in_the_stock_form() {
    let (_world, socket) = world().await;
    let get = async |path: &str| ask(&socket, Method::GET, path, Value::Null).await;
    assert_eq!(get("/manifest-trust-bundle").await, (StatusCode::OK, json!({"certificate": ""})));
    assert_eq!(get("/modules").await, (StatusCode::OK, json!({"modules": []})));
    for path in ["/", "/nothing", "/modules/m/genid/g/sign"] {
        let (status, body) = get(path).await;
        assert_eq!((status, body["message"].is_string()), (StatusCode::NOT_FOUND, true), "{path}");
    }
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused() {
    let (_world, socket) = world().await;
    let fits = format!("{{\"data\":\"{}\"}}", "A".repeat(1024 * 1024 - 12));
    let path = "/modules/m/genid/g/sign?api-version=2018-06-28";
    assert_eq!(ask_raw(&socket, Method::POST, path, fits.clone() + " ").await.0, StatusCode::OK);
    let (status, body) = ask_raw(&socket, Method::POST, path, fits + "   ").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["message"].as_str().unwrap().contains("bytes"), "{body}");
}

#[tokio::test]
async fn more_requests_than_are_answered_at_a_time_wait_and_are_answered() {
    let (_world, socket) = world().await;
    let asks = (0..100).map(|_| ask(&socket, Method::GET, "/trust-bundle", Value::Null));
    let answers =
        tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(asks)).await.unwrap();
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK));
}
