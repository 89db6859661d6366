use super::*;
use serde_json::{Value, json};

fn definition(change: impl FnOnce(&mut Value)) -> Result<Arc<Query>, String> {
    let mut json = json!({
        "query": "SELECT deviceId INTO o FROM i",
        "inputs": { "i": { "type": "events" } },
        "outputs": { "O": { "type": "blob", "container": "c", "pathPattern": "x/{date}/{time}" } },
    });
    change(&mut json);
    let definition: Definition = serde_json::from_value(json).map_err(|error| error.to_string())?;
    definition.compile(&["mine".to_owned()]).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_service() {
    definition(|_| {}).unwrap();
    definition(|json| json["inputs"]["i"]["consumerGroup"] = "MINE".into()).unwrap();
    let text = r#"{"query":"q","inputs":{},"outputs":{}}"#;
    let definition: Definition = serde_json::from_str(text).unwrap();
    let policies = definition.policies(1, 4);
    assert_eq!(policies.late_arrival, Duration::from_secs(5));
    assert_eq!((policies.out_of_order, policies.on_error), (Duration::ZERO, OnError::Stop));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let device = |more: Value| {
        let mut output = json!({ "type": "cloudToDevice" });
        output.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        output
    };
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set = |pointer: &'static str, value: Value| -> Change {
        Box::new(move |json: &mut Value| *json.pointer_mut(pointer).unwrap() = value)
    };
    for (change, part) in [
        (set("/query", "SELECT FROM".into()), "the query cannot run"),
        (set("/query", "SELECT a INTO o FROM other".into()), "reads \"other\""),
        (set("/query", "SELECT a INTO p FROM i".into()), "writes \"p\""),
        (set("/inputs/i", json!({ "type": "events", "consumerGroup": "x" })), "inputs.i.consumerGroup"),
        (set("/inputs/i", json!({ "type": "kafka" })), "kafka"),
        (set("/outputs/O/pathPattern", "{a}/{b}".into()), "outputs.O.pathPattern"),
        (set("/outputs/O", json!({ "type": "blob", "container": "c", "minRows": 0 })), "minRows"),
        (set("/outputs/O", json!({ "type": "webhook", "url": "ftp://x" })), "outputs.O.url"),
        (set("/outputs/O", device(json!({}))), "either deviceId or deviceIdColumn"),
        (set("/outputs/O", device(json!({ "deviceId": "a", "deviceIdColumn": "b" }))), "either"),
        (set("/outputs/O", device(json!({ "deviceId": "a/b" }))), "outputs.O.deviceId"),
    ] {
        let error = definition(change).unwrap_err();
        assert!(error.contains(part), "{part}: {error}");
    }
    for (member, value) in [
        ("compatibilityLevel", json!("2")),
        ("eventsOutOfOrderMaxDelayInSeconds", json!(600)),
        ("eventsLateArrivalMaxDelayInSeconds", json!(1_814_400)),
        ("unknown", json!(1)),
    ] {
        let error = definition(|json| json[member] = value).unwrap_err();
        assert!(error.contains(member), "{error}");
    }
}

#[test]
fn names_and_secrets() {
    assert!(check_name("job-1_A").is_ok());
    for name in ["ab", "a b", "../x", "", &"x".repeat(64)] {
        assert!(check_name(name).is_err(), "{name}");
    }
    let hook = json!({
        "type": "webhook", "url": "https://h/p?code=canary", "headers": { "Authorization": "canary" },
    });
    let json = json!({ "query": "q", "inputs": {}, "outputs": { "o": hook } });
    let definition: Definition = serde_json::from_value(json).unwrap();
    let shown = serde_json::to_string(&definition.without_secrets()).unwrap();
    assert!(!shown.contains("canary") && !format!("{definition:?}").contains("canary"), "{shown}");
}
