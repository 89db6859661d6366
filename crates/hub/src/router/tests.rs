use super::*;
use ironbrook_model::{DeviceId, Identity, Message, ModuleId, SystemProperty, Timestamp};

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
    chosen(router, &Identity::device(DeviceId::new("d1").unwrap()), source, message)
}

fn chosen(router: &Router, identity: &Identity, source: MessageSource, message: &Message) -> Vec<u16> {
    let facts = Facts::new(identity, "", source, message, Timestamp::from_secs(1_700_000_000));
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

fn by_path(path: &str) -> Router {
    let route = Route { path: Some(path.to_owned()), ..route("a", "true", &["hot"]) };
    Router::new(&[route], false, &queues(), &Limits::azure()).unwrap()
}

#[test]
fn paths_are_compared_by_segments_without_case_rule_route_06() {
    let device = Identity::device(DeviceId::new("d1").unwrap());
    let module = Identity::module(DeviceId::new("d1").unwrap(), ModuleId::new("Sensor").unwrap());
    let out = |output: &str| {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::OutputName, output.to_owned());
        message
    };
    let plain = Message::new("x");
    // Device, module without output, module by output `temp`, by output `temperature`.
    for (path, expected) in [
        ("/*", [true, true, true, true]),
        ("", [true, true, true, true]),
        ("/messages/*", [true, true, true, true]),
        ("/messages", [true, true, true, true]),
        ("/messages/modules/* ", [false, true, true, true]),
        ("/Messages/Modules/sensor/*", [false, true, true, true]),
        ("/messages/modules/sensor/outputs/*", [false, false, true, true]),
        ("/messages/modules/sensor/outputs/TEMP", [false, false, true, false]),
        ("/messages/modules/sens", [false, false, false, false]),
        ("/messages/modules/sensor2", [false, false, false, false]),
        ("/messages/modules/*/outputs/temp", [false, false, false, false]),
        ("/twinChangeNotifications", [false, false, false, false]),
        ("/messages/modules/sensor/outputs/temp/more", [false, false, false, false]),
    ] {
        let router = by_path(path);
        let found = [
            (&device, &out("temp")),
            (&module, &plain),
            (&module, &out("temp")),
            (&module, &out("temperature")),
        ]
        .map(|(identity, message)| {
            !chosen(&router, identity, MessageSource::DeviceMessages, message).is_empty()
        });
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn twin_changes_have_a_path_of_their_own() {
    for (path, wanted) in [("/*", true), ("/twinchangenotifications/*", true), ("/messages/*", false)] {
        let source = MessageSource::TwinChangeEvents;
        let route = Route { source, path: Some(path.to_owned()), ..route("a", "true", &["hot"]) };
        let router = Router::new(&[route], false, &queues(), &Limits::azure()).unwrap();
        assert_eq!(!choose(&router, source, &Message::new("x")).is_empty(), wanted, "{path}");
    }
}

#[test]
fn the_best_priority_of_the_matching_routes_decides_rule_route_07() {
    let mut queues = queues();
    queues.insert(queue_name("hot", 0).into_owned(), QueueId(3));
    queues.insert(queue_name("hot", 5).into_owned(), QueueId(4));
    let with = |name: &str, condition: &str, priority| Route { priority, ..route(name, condition, &["hot"]) };
    let routes = [
        with("default", "true", DEFAULT_PRIORITY),
        with("five", "level >= '5'", 5),
        with("zero", "level = '9'", 0),
        route("other", "level = '9'", &["cold"]),
    ];
    let router = Router::new(&routes, false, &queues, &Limits::azure()).unwrap();
    let at = |level: &str| {
        let mut message = Message::new("x");
        message.properties.set("level", level.to_owned());
        telemetry(&router, &message)
    };
    assert_eq!(at("1"), [2]);
    assert_eq!(at("5"), [4]);
    assert_eq!(at("9"), [3, 1]);
    let missing = [with("a", "true", 7)];
    let error = Router::new(&missing, false, &queues, &Limits::azure()).unwrap_err();
    assert_eq!(error.to_string(), "route a: there is no endpoint hot/priority/7; configure it first");
}

#[test]
fn the_queues_routes_want_live_as_long_as_the_longest_of_them() {
    let with = |endpoint: &str, priority, seconds: Option<u64>| Route {
        priority,
        time_to_live: seconds.map(Duration::from_secs),
        ..route("a", "true", &[endpoint, EVENTS])
    };
    let wanted = |routes: &[Route]| {
        let queues = wanted_queues(routes);
        queues
            .iter()
            .map(|q| (q.name().into_owned(), q.time_to_live.map(|t| t.as_secs())))
            .collect::<Vec<_>>()
    };
    let queue = |name: &str, seconds| (name.to_owned(), seconds);
    let routes = [with("hot", 3, Some(60)), with("hot", 3, Some(90)), with("hot", DEFAULT_PRIORITY, Some(5))];
    assert_eq!(wanted(&routes), [queue("hot/priority/3", Some(90)), queue("hot", Some(5))]);
    assert_eq!(wanted(&[with("hot", 3, Some(60)), with("hot", 3, None)]), [queue("hot/priority/3", None)]);
    let off = Route { enabled: false, ..with("hot", 3, None) };
    assert!(wanted(&[off]).is_empty());
}

/// Messages that differ in body and time alone, by an outlook and by a look at each.
#[test]
fn an_outlook_chooses_as_a_look_at_each_message_does() {
    let conditions = [
        "true",
        "level = 'hot'",
        "LEVEL = 'hot' AND $body.t > 5",
        "level = 'cold' AND $body.t > 5",
        "$body.t > 5 OR level = 'hot'",
        "$contentType = 'application/json'",
        "$enqueuedTime > '2023-11-15'",
        "$body.a[0] = 1",
        "NOT is_defined($body.t)",
    ];
    let device = Identity::device(DeviceId::new("d1").unwrap());
    let facts = |message: &'static Message, seconds| {
        Facts::new(&device, "", MessageSource::DeviceMessages, message, Timestamp::from_secs(seconds))
    };
    for (pick, fallback) in (1..1_u32 << conditions.len()).zip([false, true].into_iter().cycle()) {
        let chosen = conditions.iter().enumerate().filter(|(index, _)| pick & (1 << index) != 0);
        let routes: Vec<Route> = chosen
            .map(|(index, text)| {
                let endpoints: &[&str] = if index % 2 == 0 { &["cold"] } else { &["hot", "cold"] };
                Route { priority: 10 - index as u32, ..route(text, text, endpoints) }
            })
            .collect();
        let names = routes.iter().flat_map(|route| {
            route.endpoints.iter().map(|endpoint| queue_name(endpoint, route.priority).into_owned())
        });
        let queues = names.zip(1..).map(|(name, number)| (name, QueueId(number))).collect();
        let router = Router::new(&routes, fallback, &queues, &Limits::azure()).unwrap();
        for level in ["hot", "cold"] {
            let mut outlook = Outlook::default();
            for (body, seconds) in
                [(r#"{"t":6}"#, 1_700_000_000), (r#"{"t":1,"a":[1]}"#, 1_700_100_000), ("no", 1_700_000_000)]
            {
                let mut message = json(body);
                message.properties.set("level", level);
                let facts = facts(Box::leak(Box::new(message)), seconds);
                let sorted = |choice: Choice| {
                    let mut queues = choice.queues.to_vec();
                    queues.sort();
                    (queues, choice.fallback)
                };
                let expected = sorted(router.choose(&facts));
                let found = sorted(router.routes().choose_by(&mut outlook, &facts));
                assert_eq!(found, expected, "{routes:?} {level} {body}");
            }
        }
    }
}

#[test]
fn conditions_on_the_sender_s_twin_rule_route_09() {
    let routes = [route("north", "$twin.tags.site = 'north' AND $twin.properties.reported.t > 1", &["hot"])];
    let error = Router::new(&routes, false, &queues(), &Limits::azure()).unwrap_err();
    assert_eq!(error, Error::Twin("north".to_owned()));
    let router = Router::with_twins(&routes, false, &queues(), &Limits::azure()).unwrap();
    let (sender, message) = (Identity::device(DeviceId::new("d1").unwrap()), Message::new("x"));
    let facts = Facts::new(&sender, "", MessageSource::DeviceMessages, &message, Timestamp::from_secs(0));
    let chosen = |twin: Option<&Value>| !router.choose(&facts.with_twin(twin)).queues.is_empty();
    let twin =
        |site: &str, t: u8| serde_json::json!({"tags": {"site": site}, "properties": {"reported": {"t": t}}});
    assert!(chosen(Some(&twin("north", 2))));
    assert!(!chosen(Some(&twin("south", 2))) && !chosen(Some(&twin("north", 1))) && !chosen(None));
}

#[test]
fn a_trial_says_what_a_route_does_and_why() {
    let sender = Identity::device(DeviceId::new("d1").unwrap());
    let message = json(r#"{"t":2}"#);
    let facts = Facts::new(&sender, "", MessageSource::DeviceMessages, &message, Timestamp::from_secs(0));
    let of = |route: &Route| Trial::of(route, &facts, false);
    let hot = route("a", "$body.t > 1", &["hot"]);
    assert!(of(&hot).takes());
    let cold = of(&route("a", "$body.t > 2", &["hot"]));
    let Trial::Condition(explanation) = &cold else { panic!("{cold:?}") };
    assert_eq!((cold.takes(), explanation.parts[0].reason.as_str()), (false, "$body.t is 2"));
    let off = Route { enabled: false, ..hot.clone() };
    assert_eq!((of(&off), Trial::of(&off, &facts, true).takes()), (Trial::Disabled, true));
    let other = Route { source: MessageSource::TwinChangeEvents, ..hot.clone() };
    assert_eq!(of(&other), Trial::OtherSource);
    let module = Route { path: Some("/messages/modules/*".to_owned()), ..hot.clone() };
    assert_eq!(of(&module), Trial::OtherPath);
    assert!(matches!(of(&route("a", "$body.", &["hot"])), Trial::Unreadable(error) if error.column == 7));
}
