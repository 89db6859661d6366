//! MATCH_RECOGNIZE against an evaluator with recursion over all rows.

use super::*;
use proptest::prelude::*;

const DIP: &str = "SELECT * FROM i TIMESTAMP BY t MATCH_RECOGNIZE (
    LIMIT DURATION(second, 20) PARTITION BY k
    MEASURES FIRST(high.v) AS start, MIN(low.v) AS bottom, LAST(up.v) AS finish, CLASSIFIER() AS names
    AFTER MATCH SKIP TO NEXT ROW
    PATTERN (high low+ (up | .)?)
    DEFINE high AS high.v > 5, low AS low.v < FIRST(high.v), up AS up.v > LAST(low.v) AND up.v > high.v
) AS T";

fn run(text: &str, sent: &[(u32, u8, i32)], cut_every: usize) -> Vec<String> {
    let query = query(text);
    let mut engine = Engine::new(query.clone(), policies(1000, 1000));
    let mut rows = Vec::new();
    for (number, (t, key, value)) in sent.iter().enumerate() {
        push(&mut engine, 100.0, &format!(r#"{{"t":{},"k":{key},"v":{value}}}"#, f64::from(*t) / 10.0));
        // In order, and in pieces, so that matches are decided bit by bit.
        engine.advance(second(1000.0 + f64::from(*t) / 10.0)).unwrap();
        rows.extend(shown(&mut engine));
        if number % cut_every == cut_every - 1 {
            let snapshot = engine.snapshot();
            engine = Engine::restore(query.clone(), policies(1000, 1000), &snapshot).unwrap();
            assert_eq!(engine.snapshot(), snapshot);
        }
    }
    engine.flush().unwrap();
    assert_eq!(engine.state_bytes(), 0);
    rows.extend(shown(&mut engine));
    rows
}

#[test]
fn a_dip_is_found_from_every_beginning_rule_sql_12() {
    let sent = [(10, 0, 9), (20, 1, 9), (30, 0, 3), (40, 0, 2), (50, 0, 10), (60, 1, 1), (300, 1, 0)];
    assert_eq!(
        run(DIP, &sent, 1),
        [
            r#"5 output {"start":9,"bottom":2,"finish":10,"names":["high","low","low","up"]}"#,
            r#"6 output {"start":9,"bottom":1,"finish":null,"names":["high","low"]}"#,
        ]
    );
}

/// `A B* C?` with A positive, B less than the first A, C negative: the rows of the match that begins at the first row.
fn naive(rows: &[(u32, u8, i32)]) -> Option<usize> {
    let first = rows.first().filter(|row| row.2 > 0)?;
    let reach: Vec<_> = rows.iter().take_while(|row| row.0 < first.0 + 50).collect();
    let mut end = 1;
    while reach.get(end).is_some_and(|row| row.2 < first.2) {
        end += 1;
    }
    if reach.get(end).is_some_and(|row| row.2 > 7) {
        end += 1;
    }
    Some(end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn matches_of_all_beginnings_rule_sql_12(
        sent in prop::collection::vec((0_u32..300, 0_u8..2, -9_i32..10), 1..40), cut in 1_usize..9
    ) {
        let mut sent = sent;
        sent.sort_by_key(|row| row.0);
        let text = "SELECT * FROM i TIMESTAMP BY t MATCH_RECOGNIZE (LIMIT DURATION(second, 5) PARTITION BY k
            MEASURES LAST(v) AS l, MAX(A.v) AS a, MIN(B.v) AS b, C.v AS c AFTER MATCH SKIP TO NEXT ROW
            PATTERN (A B* C?) DEFINE A AS A.v > 0, B AS B.v < A.v, C AS v > 7) AS T";
        let mut rows = Vec::new();
        for key in 0..2 {
            let own: Vec<_> = sent.iter().filter(|row| row.1 == key).copied().collect();
            for start in 0..own.len() {
                let Some(length) = naive(&own[start..]) else { continue };
                let found = &own[start..start + length];
                let (first, last) = (found[0], found[length - 1]);
                let is_c = length > 1 && last.2 >= first.2;
                let bs = &found[1..length - usize::from(is_c)];
                let or_null = |value: Option<i32>| value.map_or("null".to_owned(), |value| value.to_string());
                rows.push(format!(
                    r#"{} output {{"l":{},"a":{},"b":{},"c":{}}}"#,
                    f64::from(last.0) / 10.0, last.2, first.2,
                    or_null(bs.iter().map(|row| row.2).min()), or_null(is_c.then_some(last.2)),
                ));
            }
        }
        let found = run(text, &sent, cut);
        let times: Vec<f64> = found.iter().map(|row| row.split(' ').next().unwrap().parse().unwrap()).collect();
        prop_assert!(times.is_sorted());
        let sorted = |mut rows: Vec<String>| { rows.sort(); rows };
        prop_assert_eq!(sorted(found), sorted(rows));
    }
}

#[test]
fn ways_that_multiply_are_stopped() {
    let text = "SELECT * FROM i TIMESTAMP BY t MATCH_RECOGNIZE (LIMIT DURATION(day, 1) MEASURES LAST(v) AS v
        AFTER MATCH SKIP TO NEXT ROW PATTERN ((A | B)+ (A | B)+ (A | B)+ (A | B)+ C) DEFINE C AS v = 1) AS T";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let query = engine.query().clone();
    for t in 0..40 {
        let event = event(&query, &format!(r#"{{"t":{t},"v":0}}"#));
        engine.push(0, second(50.0), event).unwrap();
    }
    let error = engine.flush().unwrap_err();
    assert!(error.to_string().contains("too many ways"), "{error}");
}
