use super::*;
use ironbrook_model::{DeviceId, Identity, Message, SystemProperty, Timestamp};

const NONE: [u16; 0] = [];

fn queues() -> HashMap<String, QueueId> {
    HashMap::from([("cold".to_owned(), QueueId(1)), ("hot".to_owned(), QueueId(2))])
}

fn route(name: &str, condition: &str, endpoints: &[&str]) -> Route {
    Route {
        name: name.to_owned(),
        source: MessageSource::DeviceMessages,
        condition: condition.to_owned(),
        endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
        ..Route::default()
    }
}

fn choose(router: &Router, source: MessageSource, message: &Message) -> Vec<u16> {
    let identity = Identity::device(DeviceId::new("d1").unwrap());
    let facts = Facts::new(&identity, "", source, message, Timestamp::from_secs(1_700_000_000));
    router.choose(&facts).queues.iter().map(|queue| queue.0).collect()
}

fn telemetry(router: &Router, message: &Message) -> Vec<u16> {
    choose(router, MessageSource::DeviceMessages, message)
}

fn json(body: &str) -> Message {
    let mut message = Message::new(body.to_owned());
    message.system.set(SystemProperty::ContentType, "application/json");
    message.system.set(SystemProperty::ContentEncoding, "utf-8");
    message
}

#[test]
fn several_routes_to_one_endpoint_deliver_once_rule_route_02() {
    let routes = [route("a", "true", &["cold"]), route("b", "$body.t > 1", &["cold", "hot"])];
    let router = Router::new(&routes, false, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &json(r#"{"t":2}"#)), [1, 2]);
    assert_eq!(telemetry(&router, &json(r#"{"t":1}"#)), [1]);
}

#[test]
fn fallback_takes_unmatched_telemetry_only_rule_route_03() {
    // Name and property differ in case: rule ROUTE-04.
    let router =
        Router::new(&[route("a", "level = 'hot'", &["hot"])], true, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &Message::new("x")), [0]);
    assert_eq!(choose(&router, MessageSource::TwinChangeEvents, &Message::new("x")), NONE);
    let mut hot = Message::new("x");
    hot.properties.set("Level", "hot");
    assert_eq!(telemetry(&router, &hot), [2]);
}

#[test]
fn without_fallback_unmatched_telemetry_is_wanted_by_none() {
    let router =
        Router::new(&[route("a", "level = 'hot'", &["hot"])], false, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &Message::new("x")), NONE);
}

#[test]
fn disabled_routes_take_no_part_but_are_checked() {
    let mut off = route("a", "true", &["hot"]);
    off.enabled = false;
    let router = Router::new(std::slice::from_ref(&off), true, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &Message::new("x")), [0]);
    off.condition = "true =".to_owned();
    assert!(matches!(Router::new(&[off], true, &queues(), &Limits::azure()), Err(Error::Condition { .. })));
}

#[test]
fn bodies_are_read_only_where_declared_json_rule_route_05() {
    let router =
        Router::new(&[route("a", "$body.t = 5", &["hot"])], false, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &json(r#"{"t":5}"#)), [2]);
    assert_eq!(telemetry(&router, &Message::new(r#"{"t":5}"#)), NONE);
    let mut wide = json("");
    wide.body = "{\"t\":5}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>().into();
    wide.system.set(SystemProperty::ContentEncoding, "utf-16");
    assert_eq!(telemetry(&router, &wide), [2]);
}

#[test]
fn system_properties_come_from_the_hub_not_from_the_sender() {
    let router = Router::new(
        &[route("a", "$connectionDeviceId = 'd1'", &["hot"])],
        false,
        &queues(),
        &Limits::azure(),
    )
    .unwrap();
    let mut message = Message::new("x");
    message.system.set(SystemProperty::ConnectionDeviceId, "d2");
    assert_eq!(telemetry(&router, &message), [2]);
    let by_time = route("a", "$enqueuedTime > '2023-11-14' AND $enqueuedTime < '2023-11-15'", &["hot"]);
    let router = Router::new(&[by_time], false, &queues(), &Limits::azure()).unwrap();
    assert_eq!(telemetry(&router, &message), [2]);
}

#[test]
fn routes_are_replaced_while_in_use_and_errors_change_nothing() {
    let router = Router::new(&[], true, &queues(), &Limits::azure()).unwrap();
    router.replace(&[route("a", "true", &["hot"])], true, &queues()).unwrap();
    assert_eq!(telemetry(&router, &Message::new("x")), [2]);
    let error = router.replace(&[route("b", "true", &["nowhere"])], true, &queues()).unwrap_err();
    assert_eq!(error.to_string(), "route b: there is no endpoint nowhere; configure it first");
    assert_eq!(telemetry(&router, &Message::new("x")), [2]);
}

#[test]
fn more_routes_than_the_profile_allows_are_refused() {
    let many = |n: usize| (0..n).map(|n| route(&n.to_string(), "true", &["hot"])).collect::<Vec<_>>();
    let router = Router::new(&many(100), true, &queues(), &Limits::azure()).unwrap();
    assert_eq!(router.replace(&many(101), true, &queues()).unwrap_err(), Error::TooMany(101, 100));
    assert!(Router::new(&many(101), true, &queues(), &Limits::azure()).is_err());
    assert!(Router::new(&many(101), true, &queues(), &Limits::native()).is_ok());
}
