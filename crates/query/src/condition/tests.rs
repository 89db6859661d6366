use super::*;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

struct Message {
    properties: Vec<(&'static str, &'static str)>,
    system: Vec<(&'static str, &'static str)>,
    body: Option<Json>,
    twin: Option<Json>,
}

impl Operands for Message {
    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
    }

    fn system(&self, name: &str) -> Option<Cow<'_, str>> {
        self.system.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| Cow::Borrowed(*v))
    }

    fn body(&self) -> Option<&Json> {
        self.body.as_ref()
    }

    fn twin(&self) -> Option<&Json> {
        self.twin.as_ref()
    }
}

fn message() -> Message {
    Message {
        properties: vec![("level", "hot"), ("Number", "42"), ("a.b", "dotted"), ("with space", "braced")],
        system: vec![("connectionDeviceId", "d1"), ("dt-subject", "thermostat")],
        body: Some(json!({
            "Weather": {"Temperature": 50, "IsEnabled": true, "Location": {"State": "WA"},
                        "HistoricalData": [{"Month": "Feb"}, {"Month": "Jan"}], "Nothing": null},
        })),
        twin: Some(json!({"tags": {"site": "north"}})),
    }
}

#[track_caller]
fn matches(text: &str) -> bool {
    Condition::parse(text).unwrap().matches(&message())
}

#[test]
fn documented_examples_match() {
    for text in [
        "true",
        "",
        "level = 'hot'",
        "LEVEL = \"hot\" AND NOT level = 'cold'",
        "{with space} = 'braced'",
        "a.b = 'dotted'",
        "$connectionDeviceId = 'd1'",
        "$CONNECTIONDEVICEID = 'd1'",
        "$dt-subject = 'thermostat'",
        "$body.Weather.HistoricalData[0].Month = 'Feb'",
        "$body.Weather.Temperature = 50 AND $body.Weather.IsEnabled",
        "$body.Weather['Temperature'] >= 50 AND $body.Weather.[[Temperature]] <= 0x32",
        "length($body.Weather.Location.State) = 2",
        "$twin.tags.site = 'north'",
        "as_number(number) > 41.5",
        "$body.Weather.Temperature - 8 = as_number(number)",
        "level <> 'cold' OR nonsense = 1",
        "starts_with(level, 'h') and ends_with(level, 't') and contains(level, 'o')",
        "concat(level, '-', lower('ER')) = 'hot-er'",
        "substring(level, 1) = 'ot' and substring(level, 0, 1) = 'h' and index_of(level, 'x') = -1",
        "power(2, 3) + square(3) - abs(-1) * sqrt(4) = 15",
        "ceiling(1.2) = 2 AND floor(-1.2) = -2 AND sign(-7) = -1 AND exp(0) = 1",
        "is_null($body.Weather.Nothing) AND is_defined($body.Weather.Nothing)",
        "is_array($body.Weather.HistoricalData) AND is_object($body.Weather) AND is_bool(true)",
        "is_primitive(level) AND is_string(level) AND is_number(1) AND NOT is_defined(nonsense)",
        "1 + 2 * 3 % 2 - -1 = 2",
    ] {
        assert!(matches(text), "{text}");
    }
}

#[test]
fn missing_null_and_mistyped_operands_match_nothing_rule_query_01() {
    for text in [
        "nonsense = 1",
        "nonsense != 1",
        "NOT nonsense = 1",
        "number = 42",
        "number > 41",
        "$body.Weather.Nothing = null",
        "$body.Weather.Nothing != 1",
        "$body.Weather.Temperature = '50'",
        "$body.Weather > 1",
        "$body.Weather.Temperature",
        "level",
        "'true'",
        "null",
        "undefined = undefined",
        "1 / 0 = 1 / 0",
        "sqrt(-1) = sqrt(-1)",
        "as_number('x') = as_number('x')",
        "true AND nonsense = 1",
        "-level = 1",
        "true < false",
    ] {
        assert!(!matches(text), "{text}");
    }
    assert!(matches("true OR nonsense = 1"), "a true side decides");
    assert!(matches("NOT (false AND nonsense = 1)"), "a false side decides");
}

#[test]
fn errors_name_the_place_and_the_cure() {
    for (text, wanted) in [
        ("level =", "line 1, column 8: a value is needed, found the end"),
        ("level = 'hot' level", "line 1, column 15: an operator or the end is needed, found level"),
        ("a = 1 AND\n  foo(2)", "line 2, column 3: there is no function foo"),
        ("abs(1, 2)", "line 1, column 1: abs takes 1 arguments, here are 2"),
        ("a = 1 = 2", "line 1, column 7: an operator or the end is needed, found ="),
        ("(a = 1", "line 1, column 7: ) is needed, found the end"),
        ("$body. = 1", "line 1, column 8: a name is needed, found ="),
        ("$messageId.x = 1", "line 1, column 14: $messageId is a text and has no members"),
        ("level[0] = 1", "line 1, column 10: level is a text and has no members"),
        ("AND = 1", "line 1, column 1: AND is a keyword"),
        ("a LIKE 'x'", "line 1, column 3: an operator or the end is needed, found LIKE"),
    ] {
        let error = Condition::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
}

#[test]
fn depth_is_bounded_and_long_chains_are_not_deep() {
    assert!(Condition::parse(&format!("{}true{}", "(".repeat(500), ")".repeat(500))).is_err());
    assert!(Condition::parse(&"NOT ".repeat(500)).is_err());
    assert!(Condition::parse(&"-".repeat(500)).is_err());
    assert!(matches(&vec!["true"; 900].join(" AND ")));
    assert!(matches(&format!("{} = 2000", vec!["1"; 2000].join("+"))));
}

#[test]
fn tells_what_it_reads() {
    let condition = Condition::parse("NOT (abs($body.x) + 1 IN [1, $twin.tags.y])").unwrap();
    assert!(condition.reads_body() && condition.reads_twin() && !condition.is_always());
    assert!(!Condition::parse("a = 1").unwrap().reads_body());
    assert!(Condition::parse(" TRUE ").unwrap().is_always());
}

#[test]
fn each_function_of_the_documentation_does_what_it_says_rule_route_11() {
    for text in [
        "ABS(-2.5) = 2.5 AND EXP(1) > 2.71 AND EXP(1) < 2.72 AND POWER(2, 10) = 1024 AND SQUARE(-3) = 9",
        "CEILING(-1.5) = -1 AND FLOOR(1.5) = 1 AND SIGN(0) = 0 AND SIGN(3) = 1 AND SQRT(2.25) = 1.5",
        "AS_NUMBER('1e3') = 1000 AND AS_NUMBER($body.Weather.Temperature) = 50",
        "NOT IS_DEFINED(AS_NUMBER('')) AND NOT IS_DEFINED(AS_NUMBER(true)) AND NOT IS_DEFINED(ABS(level))",
        "IS_ARRAY($body.Weather.HistoricalData) AND NOT IS_ARRAY($body.Weather) AND NOT IS_ARRAY(nonsense)",
        "IS_BOOL($body.Weather.IsEnabled) AND NOT IS_BOOL('true') AND NOT IS_BOOL(nonsense)",
        "IS_DEFINED($body.Weather.HistoricalData[1]) AND NOT IS_DEFINED($body.Weather.HistoricalData[2])",
        "IS_NULL(null) AND NOT IS_NULL(nonsense) AND NOT IS_NULL(level)",
        "IS_NUMBER($body.Weather.Temperature) AND NOT IS_NUMBER(number) AND NOT IS_NUMBER(nonsense)",
        "IS_OBJECT($body.Weather.Location) AND NOT IS_OBJECT($body.Weather.HistoricalData)",
        "IS_PRIMITIVE(1) AND IS_PRIMITIVE(true) AND IS_PRIMITIVE(null) AND NOT IS_PRIMITIVE($body.Weather)",
        "IS_STRING(level) AND IS_STRING($body.Weather.Location.State) AND NOT IS_STRING(1)",
        "CONCAT('a', level, 'b', 'c') = 'ahotbc' AND NOT IS_DEFINED(CONCAT(level, 1))",
        "LENGTH('') = 0 AND LENGTH('äß') = 2 AND NOT IS_DEFINED(LENGTH(1))",
        "LOWER('HoT') = level AND UPPER(level) = 'HOT'",
        "SUBSTRING('IoT Hub', 4) = 'Hub' AND SUBSTRING('IoT Hub', 0, 3) = 'IoT' AND SUBSTRING('a', 5) = ''",
        "NOT IS_DEFINED(SUBSTRING(level, -1)) AND NOT IS_DEFINED(SUBSTRING(level, 0, -1))",
        "INDEX_OF('hothot', 'ot') = 1 AND INDEX_OF(level, 'x') = -1 AND INDEX_OF(level, '') = 0",
        "STARTS_WITH(level, 'ho') AND NOT STARTS_WITH(level, 'HO') AND ENDS_WITH(level, 'ot')",
        "CONTAINS(level, 'o') AND NOT CONTAINS(level, 'x') AND NOT IS_DEFINED(CONTAINS(level, 1))",
    ] {
        assert!(matches(text), "{text}");
    }
}

#[test]
fn words_are_of_any_case_and_values_and_members_are_not_rule_route_12() {
    for text in [
        "LEVEL = 'hot'",
        "{Level} = 'hot' aNd nOt fAlSe oR TRUE",
        "$CONNECTIONDEVICEID = 'd1' AND $Body.Weather.Temperature = 50 AND $TWIN.tags.site = 'north'",
        "Starts_With(level, 'h') AND is_DEFINED(level)",
    ] {
        assert!(matches(text), "{text}");
    }
    for text in ["level = 'HOT'", "$body.weather.Temperature = 50", "$twin.Tags.site = 'north'"] {
        assert!(!matches(text), "{text}");
    }
}

#[test]
fn braces_make_a_property_of_any_name_rule_route_13() {
    let message = Message {
        properties: vec![("and", "1"), ("$body.x", "2"), ("a-b", "3"), ("abs", "4"), ("über", "5")],
        ..message()
    };
    for text in [
        "{and} = '1'",
        "{$body.x} = '2'",
        "a-b = '3' AND {a-b} = '3'",
        "{abs} = '4' AND abs = '4' AND abs(-1) = 1",
        "über = '5'",
    ] {
        assert!(Condition::parse(text).unwrap().matches(&message), "{text}");
    }
    assert!(Condition::parse("{} = 1").is_err() && Condition::parse("{a = 1").is_err());
}

#[test]
fn texts_are_escaped_in_both_quotes_rule_route_14() {
    for text in [
        r#"'it\'s' = "it's" AND "say \"x\"" = 'say "x"' AND '\\' = "\u005c""#,
        r#"'\u0041\ud83d\ude00' = 'A😀' AND '\t' = "\u0009""#,
    ] {
        assert!(matches(text), "{text}");
    }
}

#[test]
fn what_is_told_of_a_condition_is_what_it_does() {
    let explain = |text: &str| Condition::parse(text).unwrap().explain(&message());
    let told = explain("level = 'cold' OR number > 41 AND NOT $body.Weather.Nothing = 1");
    assert_eq!(told.result_name(), "undefined");
    let parts: Vec<_> = told.parts.iter().map(|p| (p.text.as_str(), p.result, p.reason.as_str())).collect();
    assert_eq!(
        parts,
        [
            ("level = 'cold'", Some(false), "level is \"hot\""),
            (
                "number > 41",
                None,
                "number is \"42\"; a text and a number do not compare; as_number() makes a number of a text"
            ),
            (
                "$body.Weather.Nothing = 1",
                None,
                "$body.Weather.Nothing is null; nothing compares with what is missing or null"
            ),
        ]
    );
    let told = explain("is_defined(nonsense)");
    assert_eq!((told.result, told.parts[0].reason.as_str()), (Some(false), "nonsense is not there"));
    assert_eq!(explain("level").parts[0].reason, "level is \"hot\"; that is a text, not true or false");
    assert_eq!(explain("true").result, Some(true));
    let long = format!("level = '{}'", "x".repeat(1000));
    assert!(explain(&long).parts[0].reason.len() < 200);
}

#[test]
fn the_places_in_twins_are_told_up_to_an_index() {
    let condition = "$twin.tags.a.b = 1 OR abs($twin.properties.reported.list[0].x) = $twin.tags.a.b";
    let paths = Condition::parse(condition).unwrap().twin_paths();
    assert_eq!(paths, [vec!["tags", "a", "b"], vec!["properties", "reported", "list"]]);
    assert!(Condition::parse("a = 1").unwrap().twin_paths().is_empty());
}

/// Pieces that, put together at random, reach deep into parser and evaluator.
const PIECES: &[&str] = &[
    "$body.Weather",
    ".Temperature",
    "[0]",
    "[[a]]",
    "level",
    "{x}",
    "{and}",
    "{$body}",
    "'t'",
    "1",
    "0x1",
    "-",
    "+",
    "*",
    "%",
    "/",
    "=",
    "!=",
    "<>",
    "<",
    ">=",
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "IN",
    "NIN",
    "[",
    "]",
    "true",
    "null",
    "undefined",
    "abs",
    "concat",
    "substring",
    "power",
    "$twin",
    "$x",
    "é",
    "\"",
    "\\",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_an_error_or_evaluates(text in ".{0,60}") {
        if let Ok(condition) = Condition::parse(&text) {
            condition.matches(&message());
        }
    }

    #[test]
    fn any_pieces_are_an_error_or_evaluate(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..14)) {
        if let Ok(condition) = Condition::parse(&pieces.join(" ")) {
            let matches = condition.matches(&message());
            prop_assert_eq!(condition.explain(&message()).result == Some(true), matches);
            // What is shown is read again, and means the same.
            let again = Condition::parse(&condition.expr.to_string());
            prop_assert!(again.is_ok_and(|again| again.matches(&message()) == matches), "{}", condition.expr);
        }
    }

    #[test]
    fn order_of_numbers_is_theirs(a in -1000_i32..1000, b in -1000_i32..1000) {
        prop_assert_eq!(matches(&format!("{a} < {b}")), a < b);
        prop_assert_eq!(matches(&format!("{a} = {b}")), a == b);
        let (total, product) = (a + b, a * b);
        let text = format!("{a} + {b} = {total} AND {a} * {b} = {product}");
        prop_assert!(matches(&text));
    }
}
