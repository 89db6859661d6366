use super::*;
use crate::Credential;
use crate::testing::{Bench, START, device, key, module, record, request, signed, token};
use ironbrook_model::{IdentityRecord, IdentityStatus, SasToken};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn from_port(port: u16) -> Origin {
    Origin { protocol: "mqtt", address: ([10, 0, 0, 7], port).into() }
}

async fn refuse(bench: &Bench, identity: &Identity, token: SasToken, port: u16) {
    let shown = Credential::Sas(token);
    from(from_port(port), bench.hub.auth().device(identity, &shown)).await.unwrap_err();
}

// AUTH-21
#[tokio::test]
async fn auth_21_refusals_are_kept_with_cause_time_and_place_and_repetitions_are_counted() {
    let bench = Bench::new();
    let d1 = device("d1");
    let wrong = || signed("hub.test/devices/d1", START.plus(HOUR), None, &key("d2"));
    refuse(&bench, &d1, wrong(), 1).await;
    bench.clock.advance(Duration::from_secs(5));
    refuse(&bench, &d1, wrong(), 2).await;
    let found = bench.hub.auth().refusals().of(&d1);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].times, found[0].cause), (2, Some(Cause::WrongKey)));
    assert_eq!((found[0].first, found[0].last), (START, START.plus(Duration::from_secs(5))));
    assert_eq!(found[0].origin, Some(from_port(2)));

    bench.identities.put(IdentityRecord { status: IdentityStatus::Disabled, ..record(&d1) });
    refuse(&bench, &d1, token(&d1), 3).await;
    let found = bench.hub.auth().refusals().of(&d1);
    assert_eq!(
        found.iter().map(|r| r.cause.unwrap()).collect::<Vec<_>>(),
        [Cause::Disabled, Cause::WrongKey]
    );
    assert_eq!(found[0].code, ErrorCode::DeviceDisabled);
}

// AUTH-21
#[tokio::test]
async fn auth_21_every_cause_is_told() {
    let bench = Bench::new();
    let (d1, later) = (device("d1"), START.plus(HOUR));
    let by = |policy: &str| signed("hub.test/devices", later, Some(policy), &key(policy));
    for (identity, shown, cause) in [
        (device("d9"), token(&device("d9")), Cause::UnknownIdentity),
        (d1.clone(), token(&device("d2")), Cause::WrongAudience),
        (d1.clone(), signed("other.test/devices/d1", later, None, &key("d1")), Cause::WrongAudience),
        (d1.clone(), by("nobody"), Cause::UnknownPolicy),
        (d1.clone(), by("service"), Cause::NoRight),
        (module("d1", "m1"), signed("hub.test/devices/d1", later, None, &key("d1")), Cause::WrongKey),
    ] {
        refuse(&bench, &identity, shown, 1).await;
        assert_eq!(bench.hub.auth().refusals().of(&identity)[0].cause, Some(cause), "{identity}");
    }
    let certificate = Credential::Certificate(vec![bytes::Bytes::from_static(b"x")]);
    bench.hub.auth().device(&d1, &certificate).await.unwrap_err();
    let last = &bench.hub.auth().refusals().of(&d1)[0];
    assert_eq!((last.cause, last.origin), (Some(Cause::OtherCredential), None));
}

// AUTH-21
#[tokio::test]
async fn auth_21_a_clock_that_is_behind_is_told_apart_from_an_old_token() {
    let bench = Bench::new();
    let d1 = device("d1");
    let until = |seconds: i64| {
        signed("hub.test/devices/d1", Timestamp::from_secs(START.as_secs() + seconds), None, &key("d1"))
    };
    let last = || bench.hub.auth().refusals().of(&d1)[0].clone();
    refuse(&bench, &d1, until(-7200), 1).await;
    refuse(&bench, &d1, until(-7200), 1).await;
    assert_eq!((last().cause, last().times), (Some(Cause::Expired), 2));
    assert!(last().reason.contains("7200 s ago"), "{}", last().reason);
    // It signs anew, and that is too old as well.
    bench.clock.advance(Duration::from_secs(30));
    refuse(&bench, &d1, until(-7170), 1).await;
    assert_eq!(last().cause, Some(Cause::ClockSkew));
    assert!(last().reason.contains("at least 7200 s behind"), "{}", last().reason);
    refuse(&bench, &d1, until(-7170), 1).await;
    assert_eq!((last().cause, last().times), (Some(Cause::ClockSkew), 2));
}

// AUTH-21
#[tokio::test]
async fn auth_21_strangers_push_nobody_out_and_memory_is_bounded() {
    let bench = Bench::new();
    let wrong = signed("hub.test/devices/d1", START.plus(HOUR), None, &key("d2"));
    refuse(&bench, &device("d1"), wrong, 1).await;
    for n in 0..STRANGERS_MAX + 50 {
        let stranger = device(&format!("stranger-{n}"));
        refuse(&bench, &stranger, token(&stranger), 1).await;
    }
    let refusals = bench.hub.auth().refusals();
    assert_eq!(refusals.of(&device("d1")).len(), 1);
    assert_eq!(refusals.all().len(), STRANGERS_MAX + 1);
    assert!(refusals.of(&device("stranger-0")).is_empty());
    assert_eq!(refusals.all()[0].0, device(&format!("stranger-{}", STRANGERS_MAX + 49)));
    // One identity, from ever other places.
    for n in 0..50_u8 {
        let shown = Credential::Sas(signed("hub.test/devices/d1", START.plus(HOUR), None, &key("d2")));
        let origin = Origin { protocol: "amqp", address: ([10, 0, 1, n], 1).into() };
        from(origin, bench.hub.auth().device(&device("d1"), &shown)).await.unwrap_err();
    }
    assert_eq!(refusals.of(&device("d1")).len(), REFUSALS_MAX);
    // Registered identities have a bound too.
    for n in 0..IDENTITIES_MAX + 5 {
        let identity = device(&format!("k{n}"));
        let refusal = Refusal::new(ErrorCode::IotHubUnauthorized, "x".repeat(5000));
        refusals.note(&identity, true, &refusal, None, START);
    }
    assert_eq!(refusals.all().len(), IDENTITIES_MAX + STRANGERS_MAX);
    let longest = refusals.all().iter().flat_map(|(_, list)| list).map(|r| r.reason.len()).max();
    assert_eq!(longest, Some(REASON_LEN_MAX));
}

// AUTH-21
#[tokio::test]
async fn auth_21_no_secret_is_kept() {
    let bench = Bench::new();
    let canary = ironbrook_model::SharedAccessKey::from_bytes(b"canary-of-a-key");
    let text = canary.sign("hub.test/devices/d1", START.plus(HOUR), None);
    let signature = text.split("sig=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    refuse(&bench, &device("d1"), SasToken::parse(&text).unwrap(), 1).await;
    let shown = format!("{:?}", bench.hub.auth().refusals().all());
    assert!(shown.contains("WrongKey"), "{shown}");
    for secret in [&signature, &canary.to_base64(), "canary"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

// AUTH-21
#[tokio::test]
async fn auth_21_why_the_hub_ended_a_session_is_noted_too() {
    let bench = Bench::new();
    let session = bench.hub.connect(request(&device("d1"))).await.unwrap();
    bench.identities.put(IdentityRecord { status: IdentityStatus::Disabled, ..record(&device("d1")) });
    assert_eq!(crate::testing::closed(&session).await, ErrorCode::DeviceDisabled);
    let found = bench.hub.auth().refusals().of(&device("d1"));
    assert_eq!((found[0].cause, found[0].origin), (Some(Cause::Disabled), None));
}
