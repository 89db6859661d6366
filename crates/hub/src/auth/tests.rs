use super::*;
use crate::BridgeName;
use crate::testing::{Bench, START, device, key, log_lines, module, record, signed, token};
use ironbrook_model::X509Thumbprints;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn sas(token: SasToken) -> Credential {
    Credential::Sas(token)
}

async fn refused(bench: &Bench, identity: &Identity, token: SasToken) -> Refusal {
    bench.hub.auth().device(identity, &sas(token)).await.unwrap_err()
}

#[tokio::test]
async fn either_key_of_the_identity_proves_it_rule_auth_01() {
    let bench = Bench::new();
    let d1 = device("d1");
    let found = bench.hub.auth().device(&d1, &sas(token(&d1))).await.unwrap();
    assert_eq!(found.auth_method, COMMON[0]);
    assert_eq!(found.refused_from, Some(START.plus(HOUR).plus(Duration::from_secs(300))));
    let second = signed("HUB.test:8883/devices/d1", START.plus(HOUR), None, &key("secondary"));
    bench.hub.auth().device(&d1, &sas(second)).await.unwrap();
    let m1 = module("d1", "m1");
    let found = bench.hub.auth().device(&m1, &sas(token(&m1))).await.unwrap();
    assert!(found.auth_method.contains(r#""scope":"module""#));
}

#[tokio::test]
async fn wrong_key_is_401003() {
    let bench = Bench::new();
    let d1 = device("d1");
    let wrong = signed("hub.test/devices/d1", START.plus(HOUR), None, &key("d2"));
    assert_eq!(refused(&bench, &d1, wrong).await.code, ErrorCode::IotHubUnauthorized);
    // A device's key is not its modules' key.
    let over = signed("hub.test/devices/d1/modules/m1", START.plus(HOUR), None, &key("d1"));
    assert_eq!(refused(&bench, &module("d1", "m1"), over).await.code, ErrorCode::IotHubUnauthorized);
}

#[tokio::test]
async fn expired_token_is_taken_for_five_minutes_then_refused_with_the_time_rule_auth_02() {
    let bench = Bench::new();
    let d1 = device("d1");
    bench.clock.advance(HOUR + Duration::from_secs(300));
    bench.hub.auth().device(&d1, &sas(token(&d1))).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let refusal = refused(&bench, &d1, token(&d1)).await;
    assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized);
    assert!(refusal.message.contains("expired at 2023-11-14T23:13:20.0000000Z"), "{refusal}");
    assert!(refusal.message.contains("check the sender's clock"), "{refusal}");
}

#[tokio::test]
async fn token_of_another_device_or_host_proves_nothing_rule_auth_03() {
    let bench = Bench::new();
    let d2 = device("d2");
    let refusal = refused(&bench, &d2, token(&device("d1"))).await;
    assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized);
    assert!(refusal.message.contains("signed for hub.test/devices/d1"), "{refusal}");
    let elsewhere = signed("other.test/devices/d2", START.plus(HOUR), None, &key("d2"));
    assert!(refused(&bench, &d2, elsewhere).await.message.contains("answers to hub.test"));
    let prefix = signed("hub.test/devices/d", START.plus(HOUR), None, &key("d2"));
    assert_eq!(refused(&bench, &d2, prefix).await.code, ErrorCode::IotHubUnauthorized);
}

#[tokio::test]
async fn policies_speak_for_devices_only_with_device_connect() {
    let bench = Bench::new();
    let d1 = device("d1");
    let by = |policy: &str| signed("hub.test/devices", START.plus(HOUR), Some(policy), &key(policy));
    let found = bench.hub.auth().device(&d1, &sas(by("device"))).await.unwrap();
    assert!(found.auth_method.contains(r#""scope":"hub""#));
    assert_eq!(refused(&bench, &d1, by("service")).await.code, ErrorCode::IotHubUnauthorizedAccess);
    assert_eq!(refused(&bench, &d1, by("nobody")).await.code, ErrorCode::IotHubUnauthorized);
    assert_eq!(refused(&bench, &device("d9"), by("device")).await.code, ErrorCode::DeviceNotFound);
}

#[tokio::test]
async fn unknown_identities_are_404001_and_404010() {
    let bench = Bench::new();
    let (d9, m9) = (device("d9"), module("d1", "m9"));
    assert_eq!(refused(&bench, &d9, token(&d9)).await.code, ErrorCode::DeviceNotFound);
    assert_eq!(refused(&bench, &m9, token(&m9)).await.code, ErrorCode::ModuleNotFound);
}

#[tokio::test]
async fn disabled_is_403012_for_who_has_the_key_and_for_its_modules_rule_auth_05() {
    let bench = Bench::new();
    let d1 = device("d1");
    bench.identities.put(IdentityRecord { status: IdentityStatus::Disabled, ..record(&d1) });
    let refusal = refused(&bench, &d1, token(&d1)).await;
    assert_eq!(refusal.code, ErrorCode::DeviceDisabled);
    assert_eq!(refusal.code.mqtt_action(true), ironbrook_model::MqttAction::Refuse(5));
    let m1 = module("d1", "m1");
    assert_eq!(refused(&bench, &m1, token(&m1)).await.code, ErrorCode::DeviceDisabled);
    // Without the key nobody learns that it exists and is disabled.
    let wrong = signed("hub.test/devices/d1", START.plus(HOUR), None, &key("d2"));
    assert_eq!(refused(&bench, &d1, wrong).await.code, ErrorCode::IotHubUnauthorized);
}

#[tokio::test]
async fn certificates_are_known_by_thumbprint_rule_auth_04() {
    let bench = Bench::new();
    let d1 = device("d1");
    // SHA-1 of "abc".
    let primary = Some("a9993e364706816aba3e25717850c26c9cd0d89d".to_owned());
    let with = |authentication| IdentityRecord { authentication, ..record(&d1) };
    let thumbprints = X509Thumbprints { primary, secondary: None };
    bench.identities.put(with(AuthenticationType::SelfSigned(thumbprints)));
    let presented = |der: &'static str| Credential::Certificate(vec![Bytes::from_static(der.as_bytes())]);
    let found = bench.hub.auth().device(&d1, &presented("abc")).await.unwrap();
    assert_eq!(found.refused_from, None);
    assert!(found.auth_method.contains(r#""type":"x509""#));
    for other in [presented("abd"), Credential::Certificate(Vec::new()), sas(token(&d1))] {
        let refusal = bench.hub.auth().device(&d1, &other).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized);
    }
    bench.identities.put(with(AuthenticationType::CertificateAuthority));
    let refusal = bench.hub.auth().device(&d1, &presented("abc")).await.unwrap_err();
    assert!(refusal.message.contains("no X.509 certificate"), "{refusal}");
}

#[tokio::test]
async fn service_tokens_need_a_policy_with_the_right() {
    let bench = Bench::new();
    let auth = bench.hub.auth();
    let by = |policy: &str| signed("hub.test", START.plus(HOUR), Some(policy), &key(policy));
    let grant = auth.require(&by("service"), Permissions::SERVICE_CONNECT).await.unwrap();
    assert_eq!(grant.policy, "service");
    let lacking = auth.require(&by("service"), Permissions::REGISTRY_WRITE).await.unwrap_err();
    assert_eq!(lacking.code, ErrorCode::IotHubUnauthorizedAccess);
    let own_key = auth.service(&token(&device("d1"))).await.unwrap_err();
    assert_eq!(own_key.code, ErrorCode::IotHubUnauthorized);
}

#[tokio::test]
async fn one_token_with_the_right_is_enough_and_only_the_last_refusal_is_logged() {
    let bench = Bench::new();
    let auth = bench.hub.auth();
    let by = |policy: &str| signed("hub.test", START.plus(HOUR), Some(policy), &key(policy));
    let wanted = Permissions::SERVICE_CONNECT;
    let lines = log_lines(async {
        let tokens = [by("device"), by("nobody"), by("service")];
        assert_eq!(auth.require_any(&tokens, wanted).await.unwrap().policy, "service");
    })
    .await;
    assert!(lines.is_empty(), "{lines:?}");
    let lines = log_lines(async {
        let refusal = auth.require_any(&[by("nobody"), by("device")], wanted).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorizedAccess);
    })
    .await;
    assert!(lines.len() == 1 && lines[0].contains("401002") && lines[0].contains("device"), "{lines:?}");
    let lines = log_lines(async {
        auth.require_any(&[], wanted).await.unwrap_err();
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test]
async fn scoped_service_tokens_open_no_more_than_their_scope_rule_auth_06() {
    let bench = Bench::new();
    let auth = bench.hub.auth();
    let for_scope = |scope: &str| {
        signed(&format!("hub.test/{scope}"), START.plus(HOUR), Some("iothubowner"), &key("iothubowner"))
    };
    // What a program hands to one device must not open the registry.
    let refusal = auth.service(&for_scope("devices/d1")).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::IotHubUnauthorizedAccess);
    let events = for_scope("hub/ConsumerGroups/$Default");
    auth.require(&events, Permissions::SERVICE_CONNECT).await.unwrap();
    assert!(auth.require(&events, Permissions::REGISTRY_READ).await.is_err());
    auth.require(&for_scope("devices"), Permissions::REGISTRY_READ).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_one_log_line_without_secrets() {
    let bench = Bench::new();
    let (d1, wrong) = (device("d1"), SharedAccessKey::from_bytes(b"canary-key"));
    let text = wrong.sign("hub.test/devices/d1", START.plus(HOUR), None);
    let signature = text.split("sig=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let credential = sas(SasToken::parse(&text).unwrap());
    let lines = log_lines(async {
        bench.hub.auth().device(&d1, &credential).await.unwrap_err();
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("401003") && lines[0].contains("d1"), "{lines:?}");
    assert!(!lines[0].contains(&signature) && !lines[0].contains(&wrong.to_base64()), "{lines:?}");
    assert!(!format!("{credential:?}").contains(&signature));
}

#[tokio::test]
async fn words_of_a_peer_are_escaped_and_short() {
    let bench = Bench::new();
    let host = format!("evil\nline{}", "x".repeat(1000));
    let forged = signed(&format!("{host}/devices/d1"), START.plus(HOUR), None, &key("d1"));
    let refusal = refused(&bench, &device("d1"), forged).await;
    assert!(!refusal.message.contains('\n') && refusal.message.len() < 400, "{refusal}");
}

#[tokio::test]
async fn a_bridge_speaks_for_identities_that_exist_and_are_enabled_and_is_seen_rule_auth_18() {
    let bench = Bench::new();
    let bridge = Credential::Bridge(BridgeName::new("plant"));
    let mut found = None;
    let lines = log_lines(async {
        found = Some(bench.hub.auth().device(&device("d1"), &bridge).await.unwrap());
    })
    .await;
    let found = found.unwrap();
    assert_eq!((found.refused_from, found.through), (None, None));
    assert!(found.auth_method.contains(r#""type":"bridge""#), "{}", found.auth_method);
    assert!(lines.iter().any(|line| line.contains("plant") && line.contains("d1")), "{lines:?}");
    let unknown = bench.hub.auth().device(&device("nobody"), &bridge).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::DeviceNotFound);
    let disabled = IdentityRecord { status: IdentityStatus::Disabled, ..record(&device("d1")) };
    bench.identities.put(disabled);
    let refused = bench.hub.auth().device(&device("d1"), &bridge).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceDisabled);
}
