//! Tests of the manifest's readers.

use super::*;
use ironbrook_model::twin::Object;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// A module's entry with its settings.
fn module(settings: Value) -> Value {
    json!({"type": "docker", "status": "running", "settings": settings})
}

fn agent(version: &str, modules: Value) -> Value {
    json!({
        "schemaVersion": version,
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": "",
            "registryCredentials": {"r": {"username": "u", "password": "canary-secret", "address": "r.example"}}}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "r/azureiotedge-agent:1.5", "createOptions": "{}"}},
            "edgeHub": {"type": "docker", "status": "running", "restartPolicy": "always",
                "settings": {"image": "r/azureiotedge-hub:1.5", "createOptions": ""}},
        },
        "modules": modules,
    })
}

fn parsed(settings: Value) -> ModuleDesired {
    let desired = agent("1.1", json!({"m": module(settings)}));
    AgentDesired::parse(&object(desired)).unwrap().modules["m"].clone()
}

fn code(desired: Value) -> u16 {
    AgentDesired::parse(&object(desired)).map_or_else(|error| error.code(), |_| 200)
}

#[test]
fn versions_of_the_schema_rule_agent_02_and_codes_rule_agent_01() {
    for (version, expected) in [
        ("1.0", 200),
        ("1.1", 200),
        ("1.1.0", 200),
        ("1.0.9", 200),
        ("1.1.1", 412),
        ("1.2", 412),
        ("2.0", 412),
        ("0.1", 412),
        ("", 412),
        ("1", 412),
        ("1.", 412),
        ("1.+1", 412),
        ("1.99999999999", 412),
        ("abc", 412),
    ] {
        assert_eq!(code(agent(version, json!({}))), expected, "{version:?}");
    }
    assert_eq!(code(json!({})), 417);
    assert_eq!(code(json!({"$version": 4})), 417);
    assert_eq!(code(json!({"modules": {}})), 412);
    assert_eq!(code(json!({"schemaVersion": 1.1})), 412);
    assert_eq!(code(json!({"schemaVersion": "1.1", "modules": 5})), 400);
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let desired = agent(
        "1.1",
        json!({
            "a": {"type": "docker", "status": "on", "settings": {"image": "x"}},
            "b": {"type": "docker", "settings": {"image": " "}},
            "../c": module(json!({"image": "x"})),
            "edgeHub": module(json!({"image": "x"})),
            "d": module(json!({"image": "x", "createOptions": "[1]"})),
        }),
    );
    let error = AgentDesired::parse(&object(desired)).unwrap_err();
    let ConfigError::Invalid(findings) = &error else { panic!("{error}") };
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "properties.desired.modules.a.status",
            "properties.desired.modules.b.status",
            "properties.desired.modules.b.settings.image",
            "properties.desired.modules['../c']",
            "properties.desired.modules.edgeHub",
            "properties.desired.modules.d.settings.createOptions",
        ]
    );
    assert!(error.to_string().contains("must be one of running, stopped, and is `on`"), "{error}");
    assert!(error.to_string().ends_with("and 1 more"), "{error}");
}

#[test]
fn defaults_of_a_module() {
    let module = parsed(json!({"image": " r/x "}));
    assert_eq!((module.image.as_str(), module.version.as_str()), ("r/x", ""));
    assert_eq!(module.restart_policy, RestartPolicy::OnUnhealthy);
    assert_eq!(module.pull_policy, PullPolicy::OnCreate);
    assert_eq!(module.startup_order, STARTUP_LAST);
    assert_eq!(module.create_options, json!({}));
    let all = AgentDesired::parse(&object(agent("1.1", json!({})))).unwrap();
    let (agent, hub) = (all.system.agent.unwrap(), all.system.hub.unwrap());
    assert_eq!((agent.startup_order, hub.startup_order), (0, STARTUP_LAST));
    assert_eq!(hub.restart_policy, RestartPolicy::Always);
}

#[test]
fn only_schema_1_1_knows_an_order() {
    let modules =
        json!({"m": {"type": "docker", "status": "stopped", "startupOrder": 3, "settings": {"image": "x"}}});
    for (version, order) in [("1.0", STARTUP_LAST), ("1.1", 3)] {
        let desired = AgentDesired::parse(&object(agent(version, modules.clone()))).unwrap();
        assert_eq!(desired.modules["m"].startup_order, order);
    }
    for (order, expected) in [(json!(0), 200), (json!(u32::MAX), 200), (json!(-1), 400), (json!(1.5), 400)] {
        let module =
            json!({"type": "docker", "status": "running", "startupOrder": order, "settings": {"image": "x"}});
        assert_eq!(code(agent("1.1", json!({"m": module}))), expected, "{order}");
    }
}

#[test]
fn create_options_in_all_forms_rule_agent_03() {
    let long = json!({"Labels": "x".repeat(1300 - 13)}).to_string();
    assert_eq!(long.len(), 1300);
    let lower = json!({"image": "x", "createoptions": &long[..512], "CREATEOPTIONS01": &long[512..1024], "createOptions02": &long[1024..]});
    let joined = parsed(lower);
    assert_eq!(joined.create_options.to_string(), long);
    let written = joined.to_json();
    let settings = written["settings"].as_object().unwrap();
    let keys: Vec<&String> = settings.keys().collect();
    assert_eq!(keys, ["image", "createOptions", "createOptions01", "createOptions02"]);
    assert_eq!(settings["createOptions"].as_str().unwrap().len(), 512);
    for (form, expected) in [
        (json!("{\"A\":1}"), json!({"A": 1})),
        (json!({"A": 1}), json!({"A": 1})),
        (json!("null"), json!({})),
        (json!(""), json!({})),
        (json!(null), json!({})),
    ] {
        assert_eq!(parsed(json!({"image": "x", "createOptions": form})).create_options, expected);
    }
    for wrong in [json!("{"), json!("5"), json!(5), json!(["a"])] {
        let settings = json!({"image": "x", "createOptions": wrong});
        assert_eq!(code(agent("1.1", json!({"m": module(settings)}))), 400, "{wrong}");
    }
}

#[test]
fn a_piece_after_a_gap_does_not_count() {
    let settings = json!({"image": "x", "createOptions": "{}", "createOptions02": "x"});
    assert_eq!(parsed(settings).create_options, json!({}));
}

#[test]
fn environment_values_become_text() {
    let env = json!({"T": {"value": "a"}, "N": {"value": 1.5}, "B": {"value": true}, "E": {}});
    let entry = json!({"type": "docker", "status": "running", "settings": {"image": "x"}, "env": env});
    let desired = AgentDesired::parse(&object(agent("1.1", json!({"m": entry})))).unwrap();
    let env: Vec<(&str, &str)> =
        desired.modules["m"].env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("B", "true"), ("E", ""), ("N", "1.5"), ("T", "a")]);
    for wrong in [
        json!({"A": "x"}),
        json!({"A": {"value": []}}),
        json!({"A=B": {"value": "x"}}),
        json!({"A": {"value": "\0"}}),
    ] {
        let entry = json!({"type": "docker", "status": "running", "settings": {"image": "x"}, "env": wrong});
        assert_eq!(code(agent("1.1", json!({"m": entry}))), 400, "{wrong}");
    }
}

#[test]
fn names_of_images() {
    for good in [
        "x",
        "mcr.example/azureiotedge-agent:1.5",
        "localhost:5000/a/b",
        "$upstream:8000/a:1",
        "a@sha256:0f",
        "<registry>/a:1.0.5-linux-amd64",
    ] {
        assert_eq!(image::check(good), Ok(()), "{good}");
    }
    for bad in ["", "a b", "a:", "a:b:c", "a/", "/a", "a//b", "a@", "a@sha256", ":1"] {
        assert!(image::check(bad).is_err(), "{bad}");
    }
}

#[test]
fn passwords_of_registries_are_neither_kept_nor_reported() {
    let desired = object(agent("1.1", json!({})));
    let stored = Value::Object(agent::without_passwords(&desired)).to_string();
    let parsed = AgentDesired::parse(&desired).unwrap();
    let reported = Value::Object(parsed.runtime.to_json()).to_string();
    for text in [stored, reported, format!("{parsed:?}")] {
        assert!(!text.contains("canary-secret"), "{text}");
        assert!(text.contains("r.example"), "{text}");
    }
}

#[test]
fn keys_are_found_in_any_case() {
    let text = Value::Object(object(agent("1.1", json!({"m": module(json!({"image": "x"}))})))).to_string();
    let lower = text.replace("schemaVersion", "SchemaVersion").replace("systemModules", "systemmodules");
    let desired: Value = serde_json::from_str(&lower).unwrap();
    assert_eq!(AgentDesired::parse(&object(desired)).unwrap().modules.len(), 1);
}

fn hub(version: &str, routes: Value) -> Value {
    json!({"schemaVersion": version, "routes": routes, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}})
}

#[test]
fn routes_as_text_and_as_objects() {
    let routes = json!({
        "a": "FROM /* INTO $upstream",
        "blank": " ",
        "gone": null,
        "b": {"route": "FROM /messages/* INTO $upstream", "priority": 0, "timeToLiveSecs": 86400},
        "c": {"route": "FROM /* INTO $upstream", "timeToLiveSecs": 0},
    });
    let desired = HubDesired::parse(&object(hub("1.1", routes.clone()))).unwrap();
    let seen: Vec<(&str, u32, Option<u64>)> = desired
        .routes
        .iter()
        .map(|(name, route)| (name.as_str(), route.priority, route.time_to_live.map(|t| t.as_secs())))
        .collect();
    assert_eq!(seen, [("a", PRIORITY_LAST, None), ("b", 0, Some(86400)), ("c", PRIORITY_LAST, None)]);
    assert_eq!(desired.store_and_forward.time_to_live, TimeToLive::For(Duration::from_secs(7200)));
    let error = HubDesired::parse(&object(hub("1.0", routes))).unwrap_err();
    assert!(error.hub_description().starts_with("Error while parsing desired properties"), "{error}");
}

#[test]
fn priorities_rule_agent_04() {
    for (priority, fine) in [(-1, false), (0, true), (9, true), (10, false)] {
        let routes = json!({"r": {"route": "x", "priority": priority}});
        assert_eq!(HubDesired::parse(&object(hub("1.2", routes))).is_ok(), fine, "{priority}");
    }
    for (version, fine) in [("1.3", true), ("1.3.7", true), ("1.4", false), ("2.0", false)] {
        assert_eq!(HubDesired::parse(&object(hub(version, json!({})))).is_ok(), fine, "{version}");
    }
}

#[test]
fn how_long_messages_are_kept() {
    for (store, expected) in [
        (json!({"timeToLiveSecs": -1}), Ok(TimeToLive::ForEver)),
        (json!({}), Ok(TimeToLive::For(Duration::ZERO))),
        (json!({"timeToLiveSecs": i64::MAX}), Err(400)),
        (json!(null), Err(400)),
    ] {
        let desired = json!({"schemaVersion": "1.0", "routes": {}, "storeAndForwardConfiguration": store});
        let read = HubDesired::parse(&object(desired));
        assert_eq!(read.map(|d| d.store_and_forward.time_to_live).map_err(|e| e.code()), expected, "{store}");
    }
}

fn manifest(agent: Value, hub: Value) -> Value {
    json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": agent},
        "$edgeHub": {"properties.desired": hub},
        "m": {"properties.desired": {"SendInterval": 5}},
    }})
}

#[test]
fn a_good_document_has_no_findings_bare_and_in_content() {
    let bare =
        manifest(agent("1.1", json!({"m": module(json!({"image": "x"}))})), hub("1.1", json!({"r": "x"})));
    for document in [bare.clone(), json!({"id": "d", "content": bare.clone()})] {
        let manifest = Manifest::parse(&format!("\u{feff}{document}")).unwrap();
        assert_eq!(manifest.validate(), []);
        assert_eq!(manifest.content(), bare);
    }
}

#[test]
fn findings_of_a_document_name_their_place() {
    let mut document = manifest(
        agent(
            "1.1",
            json!({"m": {"type": "docker", "status": "running", "env": {"A+B": {"value": 1}}, "settings": {"image": "x"}}}),
        ),
        hub("1.9", json!({"": "x"})),
    );
    let content = document["modulesContent"].as_object_mut().unwrap();
    content["$edgeHub"]["properties.desired"]["extra"] = json!(1);
    content["$edgeAgent"]["properties.desired.modules.n"] = json!({});
    content.insert("bad name".to_owned(), json!({"properties.desired": {"k.ey": 1}}));
    content.insert("n".to_owned(), json!({}));
    let found: Vec<String> =
        Manifest::from_value(&document).unwrap().validate().into_iter().map(|f| f.path).collect();
    let root = "$.modulesContent";
    assert_eq!(
        found,
        [
            format!("{root}.$edgeAgent['properties.desired.modules.n']"),
            format!("{root}.$edgeAgent['properties.desired'].modules.m.env['A+B']"),
            format!("{root}.$edgeHub['properties.desired']"),
            format!("{root}.$edgeHub['properties.desired'].schemaVersion"),
            format!("{root}.$edgeHub['properties.desired'].extra"),
            format!("{root}.$edgeHub['properties.desired'].routes['']"),
            format!("{root}['bad name']"),
            format!("{root}['bad name']['properties.desired']"),
            format!("{root}.n['properties.desired']"),
        ]
    );
}

#[test]
fn both_system_modules_are_needed() {
    let mut document = manifest(agent("1.1", json!({})), hub("1.1", json!({})));
    document["modulesContent"].as_object_mut().unwrap().remove("$edgeHub");
    document["modulesContent"]["$edgeAgent"]["properties.desired"]["systemModules"] = json!({"x": {}});
    let found: Vec<String> =
        Manifest::from_value(&document).unwrap().validate().into_iter().map(|f| f.path).collect();
    let root = "$.modulesContent";
    let system = format!("{root}.$edgeAgent['properties.desired'].systemModules");
    let expected = [
        format!("{root}.$edgeHub"),
        format!("{system}.edgeAgent"),
        format!("{system}.edgeHub"),
        format!("{system}.x"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_document_is_refused_with_its_place() {
    let error = Manifest::parse("{\n  \"modulesContent\": }").unwrap_err();
    assert!(matches!(error, ManifestError::Json { line: 2, .. }), "{error}");
    for text in ["[]", "{}", r#"{"modulesContent": 5}"#, r#"{"content": {}}"#] {
        assert!(matches!(Manifest::parse(text), Err(ManifestError::Shape(_))), "{text}");
    }
}

/// Any JSON, near enough to a section to reach the readers.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("schemaVersion".to_owned()),
        Just("runtime".to_owned()),
        Just("systemModules".to_owned()),
        Just("modules".to_owned()),
        Just("settings".to_owned()),
        Just("env".to_owned()),
        Just("routes".to_owned()),
        Just("storeAndForwardConfiguration".to_owned()),
        "[a-c]",
    ];
    let leaf = prop_oneof![
        Just(json!("1.1")),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::btree_map(key.clone(), inner.clone(), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_from_outside_panics(mut section in prop::collection::btree_map("[a-c]", any_json(), 0..4), any in any_json()) {
        section.insert("schemaVersion".to_owned(), json!("1.1"));
        for key in ["modules", "runtime", "routes"] {
            section.insert(key.to_owned(), any.clone());
        }
        let section: Object = section.into_iter().collect();
        let _ = AgentDesired::parse(&section);
        let _ = HubDesired::parse(&section);
        let document = manifest(Value::Object(section.clone()), Value::Object(section));
        prop_assert!(!Manifest::from_value(&document).unwrap().validate().is_empty());
    }

    #[test]
    fn a_written_module_is_read_back(options in "[a-zä\"]{0,1500}", order in any::<u32>(), stopped in any::<bool>()) {
        let mut module = parsed(json!({"image": "r/x:1", "createOptions": {"Labels": options}}));
        module.startup_order = order;
        module.status = if stopped { DesiredStatus::Stopped } else { DesiredStatus::Running };
        module.env.insert("A".to_owned(), "1".to_owned());
        prop_assert_eq!(ModuleDesired::from_json(&Value::Object(module.to_json())), Some(module));
    }
}
