//! TIMESTAMP BY … OVER: every key has a timeline of its own.

use super::*;
use proptest::prelude::*;

/// Runs events `(tenths, key)`; with OVER or without.
fn run(text: &str, sent: &[(u32, u8)], cut_every: usize) -> Vec<String> {
    let query = query(text);
    let mut engine = Engine::new(query.clone(), policies(1000, 2));
    let mut rows = Vec::new();
    for (number, (t, key)) in sent.iter().enumerate() {
        push(&mut engine, 100.0, &format!(r#"{{"t":{},"k":{key},"n":{number}}}"#, f64::from(*t) / 10.0));
        rows.extend(shown(&mut engine));
        if number % cut_every == cut_every - 1 {
            let snapshot = engine.snapshot();
            engine = Engine::restore(query.clone(), policies(1000, 2), &snapshot).unwrap();
            assert_eq!(engine.snapshot(), snapshot);
        }
    }
    engine.flush().unwrap();
    rows.extend(shown(&mut engine));
    rows.sort();
    rows
}

const REST: &str = "GROUP BY k, Windows(TumblingWindow(second, 5), SlidingWindow(second, 3))";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_key_is_as_alone_rule_sql_11(
        sent in prop::collection::vec((0_u32..300, 0_u8..4), 1..50), cut in 1_usize..9
    ) {
        let over = format!("SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t OVER k {REST}");
        let alone = format!("SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t {REST}");
        let mut rows = Vec::new();
        for key in 0..4 {
            let own: Vec<_> = sent.iter().filter(|(_, k)| *k == key).copied().collect();
            rows.extend(run(&alone, &own, 100));
        }
        rows.sort();
        prop_assert_eq!(run(&over, &sent, cut), rows);
    }
}

#[test]
fn a_slow_key_keeps_back_nobody_else_and_closes_by_the_clock_rule_sql_11() {
    let text = "SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t OVER k GROUP BY k, TumblingWindow(second, 10)";
    let mut engine = Engine::new(query(text), policies(5, 0));
    push(&mut engine, 3.0, r#"{"t":1,"k":"slow"}"#);
    push(&mut engine, 9.0, r#"{"t":9,"k":"fast"}"#);
    push(&mut engine, 11.0, r#"{"t":11,"k":"fast"}"#);
    assert_eq!(shown(&mut engine), [r#"10 output {"k":"fast","n":1}"#]);
    engine.advance(second(15.1)).unwrap();
    assert_eq!(shown(&mut engine), [r#"10 output {"k":"slow","n":1}"#]);
    assert_eq!(engine.data_errors().counts().count(), 0);
}

#[test]
fn an_event_without_a_key_is_counted_and_left_out() {
    let mut engine = Engine::new(query("SELECT * FROM i TIMESTAMP BY t OVER k"), policies(5, 0));
    push(&mut engine, 3.0, r#"{"t":1}"#);
    assert!(shown(&mut engine).is_empty());
    assert_eq!(engine.data_errors().count(DataErrorKind::InvalidInputTimeStampKey), 1);
}

#[test]
fn timelines_without_anything_in_them_are_forgotten() {
    let text = "SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t OVER k GROUP BY k, TumblingWindow(second, 1)";
    let mut engine = Engine::new(query(text), policies(5, 0));
    let mut rows = 0;
    for number in 0..5_000 {
        let t = f64::from(number) / 10.0;
        push(&mut engine, t, &format!(r#"{{"t":{t},"k":{number}}}"#));
        engine.advance(second(t)).unwrap();
        rows += engine.rows().count();
    }
    assert!(engine.state_bytes() < 3_000_000, "{} bytes", engine.state_bytes());
    engine.flush().unwrap();
    assert_eq!(rows + engine.rows().count(), 5_000);
}

#[test]
fn all_inputs_are_split_or_none() {
    let options = Options { level: Level::Extended, ..Options::default() };
    let text = "SELECT a FROM x TIMESTAMP BY t OVER k UNION SELECT a FROM y TIMESTAMP BY t";
    let error = Query::compile(text, &options).unwrap_err();
    assert!(error.first().message.contains("all inputs"), "{error}");
}
