use super::*;
use crate::testing::{Bench, COLD, START, device, module, request, within};
use crate::{Operation, Outcome};
use ironbrook_log::{Offset, QueueId};
use ironbrook_model::DeviceId;

#[test]
fn partitions_are_stable_and_even() {
    // A fixed value: a change of the hash moves devices between partitions of existing logs.
    assert_eq!(stable_hash("thermistor-1"), 2_733_216_748_573_237_113);
    let mut counts = [0_u32; 4];
    for n in 0..4000 {
        let device = DeviceId::new(format!("device-{n}")).unwrap();
        counts[usize::from(partition_of(&Identity::device(device), 4).0)] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    assert_eq!(partition_of(&device("d1"), 4), partition_of(&module("d1", "m1"), 4));
}

#[test]
fn a_full_log_is_back_pressure_and_a_poisoned_one_is_not() {
    assert_eq!(log_refusal(LogError::Full).code, ErrorCode::ServerBusy);
    assert_eq!(log_refusal(LogError::Poisoned).code, ErrorCode::ServerError);
}

#[tokio::test]
async fn accepted_telemetry_is_stamped_stored_and_in_its_queues() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let mut message = Message::new("21.5");
    message.system.set(SystemProperty::ConnectionDeviceId, "d2");
    message.properties.set("Cold", "yes");
    let ticket = bench.hub.telemetry(&session, &message).unwrap().unwrap();
    bench.hub.durable(ticket).await.unwrap();
    let stored = bench.stored(COLD).await;
    assert_eq!(stored.len(), 1);
    let system = &stored[0].message.system;
    assert_eq!(system.get(SystemProperty::ConnectionDeviceId).unwrap(), "d1");
    assert_eq!(system.get(SystemProperty::ConnectionGenerationId).unwrap(), "1");
    assert!(system.get(SystemProperty::ConnectionAuthMethod).unwrap().contains("sas"));
    assert_eq!((stored[0].enqueued, stored[0].event_sequence), (START, None));
    assert!(bench.stored(QueueId::EVENTS).await.is_empty());
    assert_eq!(bench.metrics.telemetry_accepted.get(), 1);
}

#[tokio::test]
async fn modules_are_stamped_with_both_ids() {
    let bench = Bench::new();
    let session = bench.hub.connect(request(&module("d1", "m1"))).await.unwrap();
    let done = bench.hub.perform(&session, Operation::SendTelemetry(Message::new("x"))).await.unwrap();
    assert!(matches!(done, Outcome::Done));
    let stored = bench.stored(QueueId::EVENTS).await;
    let system = &stored[0].message.system;
    assert_eq!(system.get(SystemProperty::ConnectionDeviceId).unwrap(), "d1");
    assert_eq!(system.get(SystemProperty::ConnectionModuleId).unwrap(), "m1");
    assert_eq!(stored[0].event_sequence, Some(0));
}

#[tokio::test]
async fn too_large_is_413001_properties_counted_rule_hub_05() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let mut message = Message::new(vec![0; 256 * 1024 - 3]);
    message.properties.set("a", "bc");
    bench.hub.telemetry(&session, &message).unwrap();
    message.properties.set("a", "bcd");
    let refused = bench.hub.telemetry(&session, &message).unwrap_err();
    assert_eq!(refused.code, ErrorCode::MessageTooLarge);
    assert_eq!(bench.metrics.telemetry_refused.get(), 1);
}

#[tokio::test]
async fn what_no_route_wants_is_counted_and_needs_no_waiting() {
    let bench = Bench::new();
    bench.hub.router().replace(&[], false, &Default::default()).unwrap();
    let session = bench.connect("d1").await;
    assert_eq!(bench.hub.telemetry(&session, &Message::new("x")).unwrap(), None);
    assert_eq!(bench.metrics.telemetry_orphaned.get(), 1);
}

#[tokio::test]
async fn connection_events_are_published_where_a_route_wants_them_rule_hub_07() {
    let bench = Bench::new();
    drop(bench.connect("d1").await);
    assert!(bench.stored(QueueId::EVENTS).await.is_empty());
    let route = crate::Route {
        name: "state".to_owned(),
        source: MessageSource::DeviceConnectionStateEvents,
        condition: "opType = 'deviceConnected' OR true".to_owned(),
        endpoints: vec!["events".to_owned()],
        ..crate::Route::default()
    };
    bench.hub.router().replace(&[route], true, &Default::default()).unwrap();
    drop(bench.connect("d1").await);
    // Telemetry of the same partition, to wait for the events before it.
    let session = bench.hub.connect(crate::ConnectRequest { lasting: false, ..request(&device("d1")) });
    let session = session.await.unwrap();
    bench.hub.perform(&session, Operation::SendTelemetry(Message::new("x"))).await.unwrap();
    let stored = bench.stored(QueueId::EVENTS).await;
    let kinds: Vec<_> =
        stored.iter().filter_map(|m| m.message.properties.get("opType")).map(|v| v.to_string()).collect();
    assert_eq!(kinds, ["deviceConnected", "deviceDisconnected"]);
    let number = |index: usize| {
        let body: serde_json::Value = serde_json::from_slice(&stored[index].message.body).unwrap();
        body["sequenceNumber"].as_str().unwrap().to_owned()
    };
    assert!(number(0) < number(1) && number(0).len() == 62);
    assert_eq!(stored[0].source, MessageSource::DeviceConnectionStateEvents);
}

#[tokio::test]
async fn telemetry_waits_for_the_twin_that_a_route_names_rule_route_09() {
    let bench = Bench::with_twin_route("$twin.tags.site = 'north'");
    let d1 = device("d1");
    bench.twins.put(&d1, serde_json::json!({"tags": {"site": "north"}}));
    let session = bench.connect("d1").await;
    let send = |body: &'static str| bench.hub.telemetry(&session, &Message::new(body));
    // It was read with the connect.
    let first = send("1").unwrap().unwrap();
    bench.twins.put(&d1, serde_json::json!({"tags": {"site": "south"}}));
    let refused = send("2").unwrap_err();
    assert_eq!(refused.code, ErrorCode::ServerBusy);
    bench.hub.room(&session).await.unwrap();
    assert!(send("2").unwrap().is_none(), "no route takes it now");
    bench.twins.put(&d1, serde_json::json!({"tags": {"site": "north"}}));
    bench.hub.room(&session).await.unwrap();
    let last = send("3").unwrap().unwrap();
    assert_eq!(last.offset.0, first.offset.0 + 1);
    assert_eq!(bench.metrics.telemetry_refused.get(), 0, "back-pressure is no refusal");
}

#[tokio::test]
async fn an_event_waits_for_the_twin_that_a_route_names() {
    let bench = Bench::with_twin_route("$twin.tags.site = 'north'");
    let d1 = device("d1");
    bench.twins.put(&d1, serde_json::json!({"tags": {"site": "north"}}));
    let source = MessageSource::DeviceJobLifecycleEvents;
    let publish = || bench.hub.publish(source, &d1, &Message::new("{}"));
    assert_eq!(publish().unwrap_err().code, ErrorCode::ServerBusy);
    bench.hub.event_room(source, &d1).await.unwrap();
    assert!(publish().unwrap().is_some());
    // A connection event waits by itself.
    let session = bench.connect("d1").await;
    let seams = bench.hub.seams();
    let partition = partition_of(&d1, seams.log.partitions());
    within("the event of the connection", seams.log.tail(partition, Offset(1))).await.unwrap();
    let stored = bench.stored(COLD).await;
    assert_eq!(stored[1].source, MessageSource::DeviceConnectionStateEvents);
    drop(session);
}
