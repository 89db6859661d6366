use super::*;
use crate::value::DateTime;
use proptest::prelude::*;

fn events(payload: &str) -> Result<Vec<String>, JsonError> {
    let events = Value::from_json(payload.as_bytes(), &JsonOptions::default())?;
    Ok(events.iter().map(Value::to_json).collect())
}

#[test]
fn objects_arrays_and_lines() {
    assert_eq!(events(r#" {"a": 1} "#).unwrap(), [r#"{"a":1}"#]);
    assert_eq!(
        events("\u{feff}[{\"a\":1},{\"a\":[true,null]}]").unwrap(),
        [r#"{"a":1}"#, r#"{"a":[true,null]}"#]
    );
    assert_eq!(events("{\"a\":1}\n{\"b\":{}}\r\n\n[]").unwrap(), [r#"{"a":1}"#, r#"{"b":{}}"#]);
    assert_eq!(events("  \n").unwrap().len(), 0);
}

#[test]
fn types_of_values_rule_json_02() {
    let payload =
        br#"{"i":-9223372036854775808,"f":1.0,"e":1e2,"s":"2024-01-01T00:00:00Z","b":true,"n":null,"z":-0}"#;
    let event = &Value::from_json(payload, &JsonOptions::default()).unwrap()[0];
    assert_eq!(event.field("i"), &Value::BigInt(i64::MIN));
    assert_eq!(event.field("f"), &Value::Float(1.0));
    assert_eq!(event.field("e"), &Value::Float(100.0));
    assert_eq!(event.field("s").type_name(), "nvarchar(max)");
    assert_eq!(event.field("b"), &Value::Bit(true));
    assert_eq!(event.field("z"), &Value::BigInt(0));
    let text =
        r#"{"i":-9223372036854775808,"f":1.0,"e":100.0,"s":"2024-01-01T00:00:00Z","b":true,"n":null,"z":0}"#;
    assert_eq!(event.to_json(), text);
}

#[test]
fn older_levels_rule_json_02() {
    let options = JsonOptions { bits: false, dates: true, lower_case_names: true };
    let payload = br#"{"Time":"2024-01-01T00:00:00Z","Day":"2024-01-01","On":{"Deep":true}}"#;
    let event = &Value::from_json(payload, &options).unwrap()[0];
    assert_eq!(event.field("time"), &Value::DateTime(DateTime::parse("2024-01-01").unwrap()));
    assert_eq!(event.field("day"), &Value::text("2024-01-01"));
    assert_eq!(event.field("on").field("deep"), &Value::BigInt(1));
    assert_eq!(Value::from_json(br#"{"A":1,"a":2}"#, &options), Err(JsonError::SameName { offset: 13 }));
}

#[test]
fn what_is_no_event_is_named_as_in_the_service_rule_json_04() {
    for (payload, found) in [
        ("1", "Integer"),
        ("-1.5", "Float"),
        ("\"x\"", "String"),
        ("true", "Boolean"),
        ("null", "Null"),
        ("[1]", "Integer"),
        ("[[]]", "StartArray"),
        ("x", "None"),
        ("{} 1e3", "Float"),
    ] {
        assert_eq!(events(payload), Err(JsonError::NotEvents { found }), "{payload}");
    }
    let text = "Json input stream should either be an array of objects or line separated objects. Found token type: Integer";
    assert_eq!(events("1").unwrap_err().to_string(), text);
}

#[test]
fn an_invalid_event_fails_alone_but_broken_json_ends_the_payload_rule_json_03() {
    let mut seen = Vec::new();
    let payload = br#"[{"n":1},{"n":9223372036854775808},{"n":1e999},7,{"n":2},{"n":]"#;
    JsonReader::new(JsonOptions::default()).read(payload, &mut |event| {
        seen.push(event.map(|event| event.get("n").cloned()).map_err(|error| error.to_string()));
    });
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0], Ok(Some(Value::BigInt(1))));
    assert_eq!(seen[1], Err("the number at byte 14 does not fit into 'bigint'".into()));
    assert_eq!(seen[2], Err("the number at byte 40 does not fit into 'float'".into()));
    assert!(seen[3].as_ref().unwrap_err().ends_with("Integer"));
    assert_eq!(seen[4], Ok(Some(Value::BigInt(2))));
    assert_eq!(seen[5], Err("no JSON at byte 62: expected a value".into()));
}

#[test]
fn of_equal_names_the_last_value_counts() {
    assert_eq!(events(r#"{"a":1,"b":2,"a":3}"#).unwrap(), [r#"{"a":3,"b":2}"#]);
    let many: String = (0..5000).map(|number| format!(r#""n{}":{number},"#, number % 100)).collect();
    let event =
        &Value::from_json(format!(r#"{{{many}"x":0}}"#).as_bytes(), &JsonOptions::default()).unwrap()[0];
    assert_eq!(event.field("n7"), &Value::BigInt(4907));
}

#[test]
fn texts() {
    let payload =
        r#"{"a":"q\"\\\/\b\f\n\r\t","b":"\u00e9\ud83d\ude00","c":"\ud83d x\ud83d\u0041","d":"é😀","e":""}"#;
    let event = &Value::from_json(payload.as_bytes(), &JsonOptions::default()).unwrap()[0];
    assert_eq!(event.field("a"), &Value::text("q\"\\/\u{8}\u{c}\n\r\t"));
    assert_eq!(event.field("b"), event.field("d"));
    assert_eq!(event.field("c"), &Value::text("\u{fffd} x\u{fffd}A"));
    assert_eq!(event.field("e"), &Value::text(""));
}

#[test]
fn what_is_no_json() {
    for payload in [
        "{",
        "[",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[{},]",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":tru}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u12é\"}",
        "{\"a\":\"",
        "{} x",
        "{\"a\":1}}",
    ] {
        assert!(events(payload).is_err(), "{payload}");
    }
    assert!(Value::from_json(b"{\"a\":\"\xff\"}", &JsonOptions::default()).is_err());
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth));
    assert!(events(&nested(MAX_DEPTH)).is_ok());
    assert!(matches!(events(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep { .. })));
    assert!(events(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn values_alone() {
    let mut reader = JsonReader::new(JsonOptions::default());
    assert_eq!(reader.read_value(b" [1] "), Ok(vec![Value::BigInt(1)].into()));
    assert_eq!(reader.read_value(b"\"x\""), Ok(Value::text("x")));
    assert!(reader.read_value(b"1 2").is_err());
    assert!(reader.read_value(b"{\"a\":1e999}").is_err());
    assert_eq!(reader.read_value(b"{}"), Ok(Record::default().into()));
}

/// Any value that may flow.
pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bit),
        any::<i64>().prop_map(Value::BigInt),
        (prop::num::f64::NORMAL | prop::num::f64::ZERO).prop_map(Value::Float),
        any::<String>().prop_map(Value::from),
        (0..=DateTime::MAX.0).prop_map(|ticks| Value::DateTime(DateTime(ticks))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let fields = prop::collection::vec(("[a-c]{0,2}", inner.clone()), 0..6);
        let fields = fields.prop_map(|fields| fields.into_iter().map(|(name, value)| (name.into(), value)));
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            fields.prop_map(|fields| Value::from(Record::from_iter(fields))),
        ]
    })
}

/// What comes back when a value was written: datetimes are texts then.
fn as_read(value: &Value) -> Value {
    match value {
        Value::DateTime(time) => Value::from(time.to_string()),
        Value::Array(items) => items.iter().map(as_read).collect::<Vec<_>>().into(),
        Value::Record(record) => {
            Record::from_iter(record.iter().map(|(name, value)| (name.clone(), as_read(value)))).into()
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn values_go_round(value in any_value()) {
        let mut reader = JsonReader::new(JsonOptions::default());
        prop_assert_eq!(reader.read_value(value.to_json().as_bytes()), Ok(as_read(&value)));
    }

    #[test]
    fn agrees_with_another_reader(text in r#"[\[\]{}:,"\\ abntru0-9.eE+-]{0,24}"#) {
        let ours = JsonReader::new(JsonOptions::default()).read_value(text.as_bytes());
        let other = serde_json::from_str::<serde_json::Value>(&text);
        let refused = matches!(ours, Err(JsonError::Syntax { .. }));
        let range = matches!(ours, Err(JsonError::NumberRange { .. }));
        prop_assert!(refused == other.is_err() || range, "{} {:?} {:?}", text, ours, other);
    }

    #[test]
    fn damaged_json_gives_events_or_an_error(value in any_value(), at: prop::sample::Index, byte: u8) {
        let mut bytes = value.to_json().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Value::from_json(&bytes, &JsonOptions::default());
    }
}

/// Reads a payload whole, and again as far as some fields are wanted; what each event came to.
fn both_ways(
    payload: &[u8],
    wanted: &Wanted,
    options: JsonOptions,
) -> [Vec<Result<Arc<Record>, JsonError>>; 2] {
    [Wanted::Whole, wanted.clone()].map(|wanted| {
        let mut seen = Vec::new();
        let mut reader = JsonReader::of(options, wanted);
        // Twice: the second time the shape of the events is known.
        for _ in 0..2 {
            reader.read(payload, &mut |event| seen.push(event));
        }
        seen
    })
}

fn wanted() -> Wanted {
    let mut wanted = Wanted::Nothing;
    for path in [&["a", "b"][..], &["c"][..]] {
        wanted.add(&path.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>());
    }
    wanted
}

#[test]
fn what_is_not_wanted_is_passed_over_but_checked() {
    for (text, expected) in [
        (r#"{"x":{"y":[1,"q"]},"a":{"b":1,"z":2},"c":"t"}"#, Some(r#"{"a":{"b":1},"c":"t"}"#)),
        (r#"{"a":7,"c":[{"b":{"k":1}}]}"#, Some(r#"{"a":7,"c":[{"b":{"k":1}}]}"#)),
        (r#"{"x":null}"#, Some("{}")),
        (r#"{"\u0063":1,"c":2}"#, Some(r#"{"c":2}"#)),
        (r#"{"x":99999999999999999999,"c":1}"#, None),
        (r#"{"x":1e400,"c":1}"#, None),
        (r#"{"x":"\q","c":1}"#, None),
        (r#"{"x":[1,],"c":1}"#, None),
        (r#"{"x":{"y" 1},"c":1}"#, None),
    ] {
        let mut seen = Vec::new();
        let mut reader = JsonReader::of(JsonOptions::default(), wanted());
        reader
            .read(text.as_bytes(), &mut |event| seen.push(event.map(|event| Value::Record(event).to_json())));
        assert_eq!(seen.len(), 1, "{text}");
        assert_eq!(seen[0].as_deref().ok(), expected, "{text}");
    }
}

#[test]
fn names_equal_but_for_case_are_found_where_they_are_not_wanted() {
    let options = JsonOptions { bits: false, dates: true, lower_case_names: true };
    for text in [r#"{"x":1,"X":2}"#, r#"{"x":{"y":1,"Y":2},"c":1}"#, r#"{"x":[{"y":1,"Y":2}]}"#] {
        for seen in both_ways(text.as_bytes(), &wanted(), options) {
            assert!(
                seen.iter().all(|event| matches!(event, Err(JsonError::SameName { .. }))),
                "{text} {seen:?}"
            );
        }
    }
}

#[test]
fn more_names_than_are_kept_are_read_all_the_same() {
    let fields = |from: usize| (from..from + 600).map(|n| format!(r#""n{n}":{n},"#)).collect::<String>();
    let mut reader = JsonReader::new(JsonOptions::default());
    for from in [0, 500, 1000] {
        let text = format!(r#"{{{}"n{}":-1,"c":"é"}}"#, fields(from), from + 599);
        let mut events = Vec::new();
        reader.read(text.as_bytes(), &mut |event| events.extend(event));
        assert_eq!(events[0].len(), 601);
        assert_eq!(events[0].get(&format!("n{}", from + 599)), Some(&Value::BigInt(-1)));
        assert_eq!(events[0].get(&format!("n{}", from + 5)), Some(&Value::BigInt(from as i64 + 5)));
    }
    assert!(reader.left < shape::MAX_NAMES);
}

#[test]
fn an_event_that_is_kept_does_not_change_with_the_next() {
    let mut reader = JsonReader::new(JsonOptions::default());
    let mut kept = Vec::new();
    for number in 0..4 {
        let text = format!(r#"{{"n":{number},"in":{{"n":{number}}},"of":[{{"n":{number}}},{{"n":-1}}]}}"#);
        reader.read(text.as_bytes(), &mut |event| kept.extend(event));
    }
    for (number, event) in kept.iter().enumerate() {
        let text = format!(r#"{{"n":{number},"in":{{"n":{number}}},"of":[{{"n":{number}}},{{"n":-1}}]}}"#);
        assert_eq!(Value::Record(event.clone()).to_json(), text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn part_and_whole_agree(value in any_value(), lower: bool, damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>()))) {
        let mut bytes = format!(r#"{{"a":{},"x":{},"c":1}}"#, value.to_json(), value.to_json()).into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let options = JsonOptions { lower_case_names: lower, ..JsonOptions::default() };
        let [whole, part] = both_ways(&bytes, &wanted(), options);
        prop_assert_eq!(whole.len(), part.len());
        for (whole, part) in whole.into_iter().zip(part) {
            match (whole, part) {
                (Ok(whole), Ok(part)) => {
                    prop_assert_eq!(whole.get("c"), part.get("c"));
                    let of = |record: &Record| record.get("a").map(|a| a.field("b").clone());
                    prop_assert_eq!(of(&whole), of(&part));
                }
                (whole, part) => prop_assert_eq!(whole.is_err(), part.is_err()),
            }
        }
    }
}
