use super::*;
use crate::testing::{Bench, START, closed, device, key, module, record, request, signed, told, within};
use crate::{ConnectRequest, Credential, Delivery, Session};
use ironbrook_model::{IdentityRecord, Parent};
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

/// As [`world`], with gateway `low` behind `g`, gateway `lower` behind `low`, and `deep` behind `lower`.
fn nested() -> Bench {
    let bench = world();
    let behind = |device: &str| {
        vec![Parent { device: DeviceId::new(device.to_owned()).unwrap(), generation_id: "1".to_owned() }]
    };
    for (name, above) in [("low", "g"), ("lower", "low")] {
        let parents = behind(above);
        bench.identities.put(IdentityRecord { is_gateway: true, parents, ..record(&device(name)) });
        let module = Identity::gateway(DeviceId::new(name.to_owned()).unwrap());
        bench.identities.put(record(&module));
    }
    bench.identities.put(IdentityRecord { parents: behind("lower"), ..record(&device("deep")) });
    bench.identities.put(record(&module("deep", "dm")));
    bench
}

// AUTH-22
#[tokio::test]
async fn auth_22_a_gateway_speaks_for_those_behind_the_gateways_behind_it() {
    let bench = nested();
    for identity in [device("low"), device("lower"), device("deep"), module("deep", "dm")] {
        let session = connect(&bench, &identity).await.unwrap();
        assert_eq!(session.through(), Some(&gateway().device), "{identity}");
    }
    // The other way round nobody speaks for anybody.
    let low = Identity::gateway(DeviceId::new("low").unwrap());
    for identity in [device("g"), module("g", "m"), device("leaf")] {
        let credential = Credential::Sas(crate::testing::token(&low));
        let refusal = bench.hub.auth().device(&identity, &credential).await.unwrap_err();
        assert_eq!(refusal.cause, Some(Cause::WrongAudience), "{identity}");
    }
    let credential = Credential::Sas(crate::testing::token(&low));
    let found = bench.hub.auth().device(&device("deep"), &credential).await.unwrap();
    assert_eq!(found.via.iter().map(DeviceId::as_str).collect::<Vec<_>>(), ["lower", "low"]);
}

// AUTH-22
#[tokio::test]
async fn auth_22_a_gateway_on_the_way_that_is_disabled_made_anew_or_no_gateway_lets_nobody_through() {
    let off = |record: IdentityRecord| IdentityRecord { status: IdentityStatus::Disabled, ..record };
    let anew = |record: IdentityRecord| IdentityRecord { generation_id: "2".to_owned(), ..record };
    let plain = |record: IdentityRecord| IdentityRecord { is_gateway: false, ..record };
    let changes: [(&dyn Fn(IdentityRecord) -> IdentityRecord, ErrorCode); 3] = [
        (&off, ErrorCode::DeviceDisabled),
        (&anew, ErrorCode::IotHubUnauthorized),
        (&plain, ErrorCode::IotHubUnauthorized),
    ];
    for (change, code) in changes {
        let bench = nested();
        let session = connect(&bench, &device("deep")).await.unwrap();
        let parents = vec![parent()];
        let low = IdentityRecord { is_gateway: true, parents, ..record(&device("low")) };
        bench.identities.put(change(low));
        // Who is connected hears of it at once.
        assert_eq!(closed(&session).await, code);
        assert_eq!(connect(&bench, &device("deep")).await.unwrap_err().code, code);
    }
}

// AUTH-22
#[tokio::test]
async fn auth_22_circles_end_and_more_than_five_layers_are_too_many() {
    let bench = nested();
    let behind = |device: &str| {
        vec![Parent { device: DeviceId::new(device.to_owned()).unwrap(), generation_id: "1".to_owned() }]
    };
    bench.identities.put(IdentityRecord { is_gateway: true, parents: behind("y"), ..record(&device("x")) });
    bench.identities.put(IdentityRecord { is_gateway: true, parents: behind("x"), ..record(&device("y")) });
    assert_eq!(connect(&bench, &device("x")).await.unwrap_err().cause, Some(Cause::WrongAudience));
    for n in 1..=5 {
        let above = if n == 1 { "g".to_owned() } else { format!("n{}", n - 1) };
        let parents = behind(&above);
        bench.identities.put(IdentityRecord {
            is_gateway: true,
            parents,
            ..record(&device(&format!("n{n}")))
        });
    }
    bench.identities.put(IdentityRecord { parents: behind("n5"), ..record(&device("too-deep")) });
    connect(&bench, &device("n5")).await.unwrap();
    assert!(connect(&bench, &device("too-deep")).await.is_err());
}
