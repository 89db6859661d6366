use super::*;
use crate::testing::{Bench, START, device, told, within};
use crate::{Delivery, Hub, Operation, Session, Subscription};
use bytestring::ByteString;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn call(connect_secs: u64) -> MethodCall {
    MethodCall {
        name: "reboot".into(),
        payload: raw("null"),
        response_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(connect_secs),
    }
}

async fn ready(bench: &Bench) -> Session {
    let session = bench.connect("d1").await;
    bench.hub.perform(&session, Operation::Subscribe(Subscription::Methods)).await.unwrap();
    session
}

type Called = JoinHandle<Result<MethodAnswer, Refusal>>;

fn invoke(hub: &Hub, call: MethodCall) -> Called {
    let hub = hub.clone();
    tokio::spawn(async move { hub.invoke_method(&device("d1"), call).await })
}

async fn result(called: Called) -> Result<MethodAnswer, Refusal> {
    within("the end of a call", called).await.unwrap()
}

async fn requested(session: &Session) -> ByteString {
    match told(session).await {
        Delivery::Method { request, .. } => request,
        other => panic!("not a method: {other:?}"),
    }
}

async fn answer(bench: &Bench, session: &Session, request: &ByteString, status: i32) {
    let answer = MethodAnswer { status, payload: raw("{\"a\":1}") };
    let operation = Operation::AnswerMethod { request: request.clone(), answer };
    bench.hub.perform(session, operation).await.unwrap();
}

#[tokio::test]
async fn the_first_answer_of_the_called_device_counts_rule_hub_02() {
    let bench = Bench::new();
    let session = ready(&bench).await;
    let other = bench.connect("d2").await;
    let called = invoke(&bench.hub, call(0));
    let request = requested(&session).await;
    assert!(request.len() == 32 && request.bytes().all(|c| c.is_ascii_alphanumeric()), "{request}");
    answer(&bench, &other, &request, 1).await;
    answer(&bench, &session, &"nonsense".into(), 2).await;
    answer(&bench, &session, &request, 3).await;
    answer(&bench, &session, &request, 4).await;
    let answered = result(called).await.unwrap();
    assert_eq!((answered.status, answered.payload.get()), (3, "{\"a\":1}"));
    assert_eq!(bench.metrics.methods_succeeded.get(), 1);
}

#[tokio::test]
async fn not_online_is_404103_and_unknown_404001_rule_method_02() {
    let bench = Bench::new();
    let refused = bench.hub.invoke_method(&device("d1"), call(0)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceNotOnline);
    let _connected_but_deaf = bench.connect("d1").await;
    let refused = bench.hub.invoke_method(&device("d1"), call(0)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceNotOnline);
    let refused = bench.hub.invoke_method(&device("d9"), call(0)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceNotFound);
    assert_eq!(bench.metrics.methods_failed.get(), 3);
}

#[tokio::test]
async fn a_call_waits_for_the_device_within_the_connect_timeout() {
    let bench = Bench::new();
    let called = invoke(&bench.hub, call(10));
    bench.clock.sleeper(START.plus(Duration::from_secs(10))).await;
    let session = ready(&bench).await;
    let request = requested(&session).await;
    answer(&bench, &session, &request, 200).await;
    assert_eq!(result(called).await.unwrap().status, 200);

    drop(session);
    let called = invoke(&bench.hub, call(10));
    bench.clock.sleeper(START.plus(Duration::from_secs(10))).await;
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(result(called).await.unwrap_err().code, ErrorCode::DeviceNotOnline);
}

#[tokio::test]
async fn no_answer_in_time_is_504101_rule_method_03() {
    let bench = Bench::new();
    let session = ready(&bench).await;
    let called = invoke(&bench.hub, call(0));
    let request = requested(&session).await;
    bench.clock.sleeper(START.plus(Duration::from_secs(30))).await;
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(result(called).await.unwrap_err().code, ErrorCode::GatewayTimeout);
    // Late: dropped without harm.
    answer(&bench, &session, &request, 200).await;
}

#[tokio::test]
async fn unanswered_calls_are_capped_and_a_caller_that_goes_frees_its_place() {
    let bench = Bench::new();
    let session = ready(&bench).await;
    let mut calls: Vec<_> = (0..10).map(|_| invoke(&bench.hub, call(0))).collect();
    for _ in 0..10 {
        requested(&session).await;
    }
    let refused = bench.hub.invoke_method(&device("d1"), call(0)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceMaximumInflightMethodExceeded);
    let gone = calls.remove(0);
    gone.abort();
    assert!(within("the end of a caller", gone).await.unwrap_err().is_cancelled());
    let called = invoke(&bench.hub, call(0));
    let request = requested(&session).await;
    answer(&bench, &session, &request, 7).await;
    assert_eq!(result(called).await.unwrap().status, 7);
}

#[tokio::test]
async fn values_out_of_range_are_400004_rule_method_01() {
    let bench = Bench::new();
    let short = MethodCall { response_timeout: Duration::from_secs(4), ..call(0) };
    let unnamed = MethodCall { name: "".into(), ..call(0) };
    let slashed = MethodCall { name: "a/b".into(), ..call(0) };
    for bad in [short, call(301), unnamed, slashed] {
        let refused = bench.hub.invoke_method(&device("d1"), bad).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    }
    let large = MethodCall { payload: raw(&format!("\"{}\"", "x".repeat(128 * 1024))), ..call(0) };
    let refused = bench.hub.invoke_method(&device("d1"), large).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::GenericRequestEntityTooLarge);
}
