use super::*;

fn verdict(expected: &str, compare: &str) -> Verdict {
    let text = format!(
        r#"{{"query": "SELECT a, b FROM i", "compare": {compare}, "expected": {{"OUTPUT": {expected}}},
            "inputs": {{"i": [{{"event": {{"a": 1, "b": [1, 2]}}}}, {{"event": {{"a": 2.5}}, "arrival": "2026-01-01"}}]}}}}"#
    );
    Case::parse(&text).unwrap().check()
}

#[test]
fn rows_are_compared_by_value_in_any_order() {
    assert_eq!(verdict(r#"[{"b":null,"a":2.5},{"a":1.0,"b":[1,2]}]"#, "{}"), Verdict::Passed);
    assert_eq!(
        verdict(r#"[{"b":null,"a":2.4},{"a":1,"b":[2,1]}]"#, r#"{"float_tol":0.2,"multiset_fields":["b"]}"#),
        Verdict::Passed
    );
}

#[test]
fn a_failure_shows_what_is_missing_and_what_is_too_much() {
    let Verdict::Failed(text) = verdict(r#"[{"a":2.5},{"a":1,"b":[1,2]}]"#, "{}") else { panic!("passed") };
    assert_eq!(
        text,
        "output OUTPUT: 1 of 2 rows missing, 1 not expected\n  - {\"a\":2.5}\n  + {\"a\":2.5,\"b\":null}"
    );
    let order = verdict(r#"[{"b":null,"a":2.5},{"a":1,"b":[1,2]}]"#, r#"{"order":"exact"}"#);
    assert!(matches!(order, Verdict::Failed(text) if text.contains("another order, from row 1")));
}

#[test]
fn rows_of_an_output_that_is_not_expected_are_a_failure() {
    let text =
        r#"{"query": "SELECT a INTO x FROM i", "expected": {}, "inputs": {"i": [{"event": {"a": 1}}]}}"#;
    let verdict = Case::parse(text).unwrap().check();
    assert!(
        matches!(verdict, Verdict::Failed(text) if text.starts_with("output x: 0 of 0 rows missing, 1 not"))
    );
    let text = r#"{"query": "SELECT a FRMO i", "expected": {}, "inputs": {}}"#;
    let verdict = Case::parse(text).unwrap().check();
    assert!(matches!(verdict, Verdict::Failed(text) if text.contains("did you mean FROM?")));
}

#[test]
fn functions_that_stand_elsewhere_are_taken_unless_the_case_has_its_own() {
    let text = r#"{"query": "SELECT udf.f(a) AS r FROM i", OWN "expected": {"output": [{"r": 2}]},
        "inputs": {"i": [{"event": {"a": 1}}]}}"#;
    let shared = [("F", "function main(a) { return 2 * a; }"), ("unused", "no script")];
    let shared = shared.map(|(name, script)| (name.to_owned(), script.to_owned())).into();
    let verdict = |own: &str| Case::parse_with(&text.replace("OWN", own), &shared).unwrap().check();
    assert_eq!(verdict(""), Verdict::Passed);
    let own = verdict(r#""functions": {"f": "function main(a) { return 3 * a; }"},"#);
    assert!(matches!(own, Verdict::Failed(text) if text.contains(r#"+ {"r":3}"#)));
}

#[test]
fn what_is_no_case_is_told() {
    for (text, part) in [
        ("[", "the case cannot be read"),
        (r#"{"inputs": {}, "expected": {}}"#, "the case has no query"),
        (r#"{"query": "", "inputs": {"i": [{}]}, "expected": {}}"#, "no event in one of its inputs"),
        (r#"{"query": "", "inputs": {}, "expected": {}, "compat": "2"}"#, "compat is 2; it is one of 1.0"),
        (r#"{"query": "", "inputs": {}, "expected": {}, "hosting": "moon"}"#, "hosting is moon"),
        (r#"{"query": "", "inputs": {}, "expected": {}, "policies": {"on_violation": "x"}}"#, "adjust, drop"),
    ] {
        let error = Case::parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
