use super::*;
use crate::Outcome;
use crate::operation::Operation;
use crate::testing::{Bench, START, closed, device, request};
use ironbrook_model::Message;

const S1: Units = Units { tier: Tier::S1, units: 1 };

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

// HUB-20
#[test]
fn hub_20_the_documented_rates() {
    let s3 = Units { tier: Tier::S3, units: 2 };
    let many = Units { tier: Tier::S1, units: 20 };
    for (throttle, one, twenty, large) in [
        (Throttle::Identities, Rate::minute(100), Rate::minute(2000), Rate::minute(10_000)),
        (Throttle::Connections, Rate::second(100), Rate::second(240), Rate::second(12_000)),
        (Throttle::Telemetry, Rate::second(100), Rate::second(240), Rate::second(12_000)),
        (Throttle::CloudToDevice, Rate::minute(100), Rate::minute(2000), Rate::minute(10_000)),
        (Throttle::HttpReceives, Rate::minute(1000), Rate::minute(20_000), Rate::minute(100_000)),
        (Throttle::Queries, Rate::minute(20), Rate::minute(400), Rate::minute(2000)),
        (Throttle::TwinReads, Rate::second(100), Rate::second(100), Rate::second(1000)),
        (Throttle::TwinUpdates, Rate::second(50), Rate::second(50), Rate::second(500)),
        (Throttle::Methods, Rate::second(160 << 10), Rate::second(3200 << 10), Rate::second(48 << 20)),
        (Throttle::Configurations, Rate::minute(20), Rate::minute(400), Rate::minute(40)),
    ] {
        assert_eq!(
            (throttle.rate(S1), throttle.rate(many), throttle.rate(s3)),
            (one, twenty, large),
            "{throttle:?}"
        );
    }
    assert!(ALL.iter().enumerate().all(|(n, throttle)| *throttle as usize == n));
}

#[test]
fn a_bucket_gives_what_it_holds_and_fills_again() {
    let bucket = Bucket::new(Rate::minute(20));
    for _ in 0..20 {
        bucket.take(at(0), 1).unwrap();
    }
    assert_eq!(bucket.take(at(0), 1), Err(Duration::from_secs(3)));
    assert_eq!(bucket.wait(at(1)), Some(Duration::from_secs(2)));
    assert_eq!(bucket.take(at(2), 1), Err(Duration::from_secs(1)));
    bucket.take(at(3), 1).unwrap();
    assert!(bucket.take(at(3), 1).is_err());
    // Full again, and no fuller than full.
    for _ in 0..20 {
        bucket.take(at(500), 1).unwrap();
    }
    assert!(bucket.take(at(500), 1).is_err());
    // A clock set back costs no more than a whole bucket.
    assert!(bucket.take(at(0), 1).is_err());
    bucket.take(at(60), 1).unwrap();
    // More than a bucket holds is given where it is full.
    let small = Bucket::new(Rate::second(10));
    small.take(at(0), 50).unwrap();
    assert!(small.take(at(0), 1).is_err());
}

// HUB-20
#[tokio::test]
async fn hub_20_telemetry_over_the_rate_waits_and_then_goes_on() {
    let bench = Bench::with_limits(Limits { throttling: Some(S1), ..Limits::azure() });
    let session = bench.connect("d1").await;
    let message = Message::new("x");
    for _ in 0..100 {
        bench.hub.telemetry(&session, &message).unwrap();
    }
    let refusal = bench.hub.telemetry(&session, &message).unwrap_err();
    assert_eq!((refusal.code, refusal.cause), (ErrorCode::ThrottlingException, Some(Cause::Throttled)));
    let room = async {
        bench.hub.room(&session).await.unwrap();
        bench.hub.telemetry(&session, &message).unwrap();
    };
    bench.clock.drive(room).await;
    assert!(bench.hub.seams().clock.now() > START);
}

// HUB-20
#[tokio::test]
async fn hub_20_twins_are_refused_with_429001_over_the_rate() {
    let bench = Bench::with_limits(Limits { throttling: Some(S1), ..Limits::azure() });
    let session = bench.connect("d1").await;
    for _ in 0..50 {
        let patch = Operation::PatchReported(bytes::Bytes::from_static(b"{}"));
        bench.hub.perform(&session, patch).await.unwrap();
    }
    let patch = Operation::PatchReported(bytes::Bytes::from_static(b"{}"));
    let refusal = bench.hub.perform(&session, patch).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ThrottlingException);
    assert!(refusal.message.contains("changes of twins than the 50 in 1 s"), "{refusal}");
    // Reads have a throttle of their own.
    assert!(matches!(bench.hub.perform(&session, Operation::GetTwin).await, Ok(Outcome::Twin(_))));
    bench.clock.advance(Duration::from_secs(1));
    let patch = Operation::PatchReported(bytes::Bytes::from_static(b"{}"));
    bench.hub.perform(&session, patch).await.unwrap();
}

// HUB-21
#[tokio::test]
async fn hub_21_one_identity_and_one_address_do_not_take_what_is_the_others() {
    let limits = Limits {
        identity_messages_per_second: Some(10),
        identity_connections_per_second: Some(2),
        address_connections_per_second: Some(3),
        ..Limits::azure()
    };
    let bench = Bench::with_limits(limits);
    let (d1, d2) = (bench.connect("d1").await, bench.connect("d2").await);
    for _ in 0..10 {
        bench.hub.telemetry(&d1, &Message::new("x")).unwrap();
    }
    assert_eq!(
        bench.hub.telemetry(&d1, &Message::new("x")).unwrap_err().code,
        ErrorCode::ThrottlingException
    );
    bench.hub.telemetry(&d2, &Message::new("x")).unwrap();

    bench.connect("d1").await;
    let refusal = bench.hub.connect(request(&device("d1"))).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ThrottlingException);
    bench.connect("d2").await;
    assert_eq!(bench.hub.auth().refusals().of(&device("d1"))[0].cause, Some(Cause::Throttled));

    let throttles = bench.hub.throttles();
    let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    assert_eq!([1, 2, 3, 4].map(|_| throttles.admits(one)), [true, true, true, false]);
    assert!(throttles.admits(two));
    bench.clock.advance(Duration::from_secs(1));
    assert!(throttles.admits(one));
}

// HUB-22
#[tokio::test]
async fn hub_22_who_connects_again_and_again_is_shut_out_for_a_while_and_told_why() {
    let (within, ban) = (Duration::from_secs(60), Duration::from_secs(300));
    let flapping = Some(Flapping { connections: 3, within, ban });
    let bench = Bench::with_limits(Limits { flapping, ..Limits::azure() });
    for _ in 0..3 {
        bench.connect("d1").await;
        bench.clock.advance(Duration::from_secs(10));
    }
    let refusal = bench.hub.connect(request(&device("d1"))).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.cause),
        (ErrorCode::DeviceThrottlingLimitExceeded, Some(Cause::Banned))
    );
    assert!(refusal.message.contains("shut out for 301 s more"), "{refusal}");
    bench.connect("d2").await;
    bench.clock.advance(Duration::from_secs(299));
    assert!(bench.hub.connect(request(&device("d1"))).await.is_err());
    bench.clock.advance(Duration::from_secs(1));
    let session = bench.connect("d1").await;
    // Rare connections are nobody's business.
    for _ in 0..10 {
        bench.clock.advance(Duration::from_secs(31));
        bench.connect("d1").await;
    }
    assert_eq!(closed(&session).await, ErrorCode::ConnectionForcefullyClosedOnNewConnection);
}

#[test]
fn what_is_watched_is_bounded() {
    let watched: Watched<u32, u32> = Watched::new();
    for n in 0..u32::try_from(WATCHED_MAX).unwrap() + 10 {
        watched.with(&n, || n, |_| ());
    }
    let all = watched.all.lock().unwrap();
    assert_eq!((all.0.len(), all.1.len()), (WATCHED_MAX, WATCHED_MAX));
    assert!(!all.0.contains_key(&0) && all.0.contains_key(&WATCHED_MAX.try_into().unwrap()));
}
