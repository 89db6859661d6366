use super::*;
use crate::testing::{Bench, START, closed, device, key, module, record, request, signed, told, within};
use crate::{ConnectRequest, Credential, Delivery, Session};
use ironbrook_model::IdentityRecord;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn gateway() -> Identity {
    Identity::gateway(DeviceId::new("g").unwrap())
}

fn parent() -> Parent {
    Parent { device: gateway().device, generation_id: "1".to_owned() }
}

/// Gateway device `g` with its module and module `m`; `leaf` behind it with module `lm`; `stranger` behind nobody.
fn world() -> Bench {
    let bench = Bench::new();
    bench.identities.put(IdentityRecord { is_gateway: true, ..record(&device("g")) });
    for identity in [gateway(), module("g", "m"), module("leaf", "lm"), device("stranger")] {
        bench.identities.put(record(&identity));
    }
    let parents = vec![parent()];
    bench.identities.put(IdentityRecord { parents, ..record(&device("leaf")) });
    bench
}

fn token() -> SasToken {
    crate::testing::token(&gateway())
}

async fn connect(bench: &Bench, identity: &Identity) -> Result<Session, Refusal> {
    let credential = Credential::Sas(token());
    bench.hub.connect(ConnectRequest { credential, ..request(identity) }).await
}

#[tokio::test]
async fn the_gateway_module_proves_siblings_and_devices_behind_it_rule_auth_11() {
    let bench = world();
    for identity in [module("g", "m"), device("leaf"), module("leaf", "lm")] {
        let session = connect(&bench, &identity).await.unwrap();
        assert_eq!(session.through(), Some(&gateway().device), "{identity}");
        assert_eq!(session.expires(), Some(token().refused_from()));
        let scope = if identity.module.is_some() { "module" } else { "device" };
        assert!(session.auth_method().contains(scope), "as itself: {}", session.auth_method());
    }
    let own = connect(&bench, &gateway()).await.unwrap();
    assert_eq!(own.through(), None);
}

#[tokio::test]
async fn it_proves_nobody_else() {
    let bench = world();
    for identity in [device("stranger"), device("d1"), module("d1", "m1"), device("g"), device("unknown")] {
        let refusal = connect(&bench, &identity).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized, "{identity}");
    }
    // Nor does any other module, a policy, or another key.
    let resource = |identity: &Identity| format!("hub.test/{}", identity.resource());
    for token in [
        crate::testing::token(&module("g", "m")),
        signed(&resource(&gateway()), START.plus(HOUR), Some("device"), &key("device")),
        signed(&resource(&gateway()), START.plus(HOUR), None, &key("g")),
        signed("other.test/devices/g/modules/$edgeHub", START.plus(HOUR), None, &key("g/$edgeHub")), // tidy: wire word
        signed("hub.test/devices/g", START.plus(HOUR), None, &key("g")),
    ] {
        let credential = Credential::Sas(token);
        let refusal = bench.hub.auth().device(&device("leaf"), &credential).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized, "{credential:?}");
    }
    let missing = connect(&bench, &module("g", "unknown")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::ModuleNotFound);
}

#[tokio::test]
async fn a_device_that_is_no_gateway_speaks_for_nobody() {
    let bench = world();
    bench.identities.put(record(&device("g")));
    let refusal = connect(&bench, &device("leaf")).await.unwrap_err();
    assert!(refusal.message.contains("not registered as a gateway"), "{refusal}");
}

#[tokio::test]
async fn a_gateway_that_was_made_anew_has_nobody_behind_it_rule_auth_11() {
    let bench = world();
    let anew = IdentityRecord { is_gateway: true, generation_id: "2".to_owned(), ..record(&device("g")) };
    bench.identities.put(anew);
    for identity in [device("leaf"), module("leaf", "lm")] {
        let refusal = connect(&bench, &identity).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized, "{identity}");
    }
    connect(&bench, &module("g", "m")).await.unwrap();
}

#[tokio::test]
async fn status_of_gateway_and_target_both_count_rule_auth_12() {
    let disabled = |identity: &Identity| IdentityRecord {
        status: IdentityStatus::Disabled,
        is_gateway: true,
        parents: vec![parent()],
        ..record(identity)
    };
    for off in [device("g"), gateway(), device("leaf")] {
        let bench = world();
        bench.identities.put(disabled(&off));
        let refusal = connect(&bench, &module("leaf", "lm")).await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::DeviceDisabled, "{off}");
    }
}

#[tokio::test]
async fn a_change_of_the_gateway_is_heard_by_those_behind_it_rule_auth_12() {
    let bench = world();
    let leaf = connect(&bench, &device("leaf")).await.unwrap();
    let sibling = connect(&bench, &module("g", "m")).await.unwrap();
    // New keys, of which the token knows nothing.
    let keys = SymmetricKeys { primary: key("new"), secondary: key("newer") };
    bench
        .identities
        .put(IdentityRecord { authentication: AuthenticationType::Sas(keys), ..record(&gateway()) });
    assert_eq!(closed(&leaf).await, ErrorCode::IotHubUnauthorized);
    assert_eq!(closed(&sibling).await, ErrorCode::IotHubUnauthorized);

    bench.identities.put(record(&gateway()));
    let leaf = connect(&bench, &device("leaf")).await.unwrap();
    let own = bench.hub.connect(request(&device("leaf"))).await.unwrap();
    assert_eq!(closed(&leaf).await, ErrorCode::ConnectionForcefullyClosedOnNewConnection);
    drop(leaf);
    let leaf = connect(&bench, &device("leaf")).await.unwrap();
    drop(own);
    let status = IdentityStatus::Disabled;
    bench.identities.put(IdentityRecord { status, is_gateway: true, ..record(&device("g")) });
    assert_eq!(closed(&leaf).await, ErrorCode::DeviceDisabled);
}

#[tokio::test]
async fn a_device_that_leaves_its_parent_is_closed_and_others_stay() {
    let bench = world();
    let leaf = connect(&bench, &device("leaf")).await.unwrap();
    let sibling = connect(&bench, &module("g", "m")).await.unwrap();
    bench.identities.put(record(&device("leaf")));
    assert_eq!(closed(&leaf).await, ErrorCode::IotHubUnauthorized);
    let told = tokio::spawn(async move { matches!(told(&sibling).await, Delivery::Closed(_)) });
    bench.hub.close().await;
    assert!(within("the end", told).await.unwrap());
}

#[tokio::test]
async fn a_session_is_renewed_by_the_same_owner_only() {
    let bench = world();
    let leaf = connect(&bench, &device("leaf")).await.unwrap();
    let resource = format!("hub.test/{}", gateway().resource());
    let later = signed(&resource, START.plus(HOUR * 2), None, &key("g/$edgeHub")); // tidy: wire word
    bench.hub.renew(&leaf, Credential::Sas(later.clone())).await.unwrap();
    assert_eq!(leaf.expires(), Some(later.refused_from()));
    let own = Credential::Sas(crate::testing::token(&device("leaf")));
    bench.hub.renew(&leaf, own).await.unwrap_err();
    // And ends with its token like any other.
    bench.clock.advance(HOUR * 2 + Duration::from_secs(300));
    assert_eq!(closed(&leaf).await, ErrorCode::IotHubUnauthorized);
}

#[test]
fn a_gateway_is_read_from_a_token_in_all_spellings() {
    let of = |resource: &str| {
        let key = key("x");
        let gateways = gateways(&signed(resource, START, None, &key));
        gateways.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of("h/devices/g/modules/$edgeHub"), ["g"]); // tidy: wire word
    assert_eq!(of("h/devices/a%2Bb/modules/%24edgeHub"), ["a%2Bb", "a+b"]); // tidy: wire word
    let below = format!("h/{}/x", gateway().resource());
    for other in ["h", "h/devices/g", "h/devices/g/modules/m", &below] {
        assert!(of(other).is_empty(), "{other}");
    }
}
