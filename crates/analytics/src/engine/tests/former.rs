//! Functions over former rows against an evaluator that looks at all rows before each.

use super::*;
use proptest::prelude::*;

/// Tenths of a second, a key and a value.
type Sent = (u32, u8, Option<i32>);

fn events() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((0_u32..600, 0_u8..3, prop::option::of(-9_i32..9)), 1..60)
}

fn run(text: &str, sent: &[Sent], cut_every: usize) -> Vec<String> {
    let query = query(text);
    let mut engine = Engine::new(query.clone(), policies(1000, 1000));
    let mut rows = Vec::new();
    for (number, (t, key, value)) in sent.iter().enumerate() {
        let value = value.map_or("null".to_owned(), |value| value.to_string());
        push(&mut engine, 100.0, &format!(r#"{{"t":{},"k":"{key}","v":{value}}}"#, f64::from(*t) / 10.0));
        if number % cut_every == cut_every - 1 {
            engine = Engine::restore(query.clone(), policies(1000, 1000), &engine.snapshot()).unwrap();
        }
    }
    engine.flush().unwrap();
    assert_eq!(engine.state_bytes(), 0);
    rows.extend(shown(&mut engine));
    rows
}

/// The rows in the order of their times, and for each what a function gives that sees it and those before it of its key.
fn expected(sent: &[Sent], of_key: bool, function: impl Fn(&Sent, &[Sent]) -> Option<i64>) -> Vec<String> {
    let mut rows = sent.to_vec();
    rows.sort_by_key(|(t, _, _)| *t);
    let show = |(place, row): (usize, &Sent)| {
        let before: Vec<Sent> =
            rows[..place].iter().filter(|(_, key, _)| !of_key || *key == row.1).copied().collect();
        let found = function(row, &before).map_or("null".to_owned(), |found| found.to_string());
        format!(r#"{} output {{"f":{found}}}"#, f64::from(row.0) / 10.0)
    };
    rows.iter().enumerate().map(show).collect()
}

/// Whether a row at `t` sees one at `before` with a reach in tenths.
fn reaches(t: u32, before: u32, reach: u32) -> bool {
    before + reach > t
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lag(sent in events(), offset in 1_usize..4, reach in 1_u32..12, cut in 1_usize..9) {
        let text = format!(
            "SELECT LAG(v, {offset}, -99) OVER (PARTITION BY k LIMIT DURATION(second, {reach})) AS f FROM i TIMESTAMP BY t"
        );
        let rows = expected(&sent, true, |row, before| {
            let found = before.len().checked_sub(offset).map(|place| before[place]);
            match found.filter(|found| reaches(row.0, found.0, reach * 10)) {
                Some((_, _, value)) => value.map(i64::from),
                None => Some(-99),
            }
        });
        prop_assert_eq!(run(&text, &sent, cut), rows);
    }

    #[test]
    fn last_with_a_condition(sent in events(), reach in 1_u32..12, cut in 1_usize..9) {
        let text = format!(
            "SELECT LAST(v) OVER (LIMIT DURATION(second, {reach}) WHEN v > 0) AS f FROM i TIMESTAMP BY t"
        );
        let rows = expected(&sent, false, |row, before| {
            let mut candidates = before.iter().chain(std::iter::once(row)).filter(|(_, _, value)| *value > Some(0));
            let last = candidates.next_back().filter(|last| reaches(row.0, last.0, reach * 10));
            last.and_then(|last| last.2.map(i64::from))
        });
        prop_assert_eq!(run(&text, &sent, cut), rows);
    }

    #[test]
    fn isfirst(sent in events(), cut in 1_usize..9) {
        let text = "SELECT ISFIRST(second, 6) OVER (PARTITION BY k WHEN v IS NOT NULL) AS f FROM i TIMESTAMP BY t";
        let rows = expected(&sent, true, |row, before| {
            let interval = |t: u32| t.div_ceil(60);
            let earlier = before.iter().any(|(t, _, value)| value.is_some() && interval(*t) == interval(row.0));
            Some(i64::from(row.2.is_some() && !earlier))
        });
        prop_assert_eq!(run(text, &sent, cut), rows);
    }

    #[test]
    fn aggregates(sent in events(), reach in 1_u32..12, which in 0_usize..4, cut in 1_usize..9) {
        let name = ["SUM(v)", "MAX(v)", "COUNT(*)", "COUNT(v)"][which];
        let text = format!(
            "SELECT {name} OVER (PARTITION BY k LIMIT DURATION(second, {reach}) WHEN v > -5 OR v IS NULL) AS f FROM i TIMESTAMP BY t"
        );
        let rows = expected(&sent, true, |row, before| {
            let seen: Vec<Sent> = before
                .iter()
                .chain(std::iter::once(row))
                .filter(|(t, _, value)| reaches(row.0, *t, reach * 10) && value.is_none_or(|value| value > -5))
                .copied()
                .collect();
            let values: Vec<i64> = seen.iter().filter_map(|(_, _, value)| value.map(i64::from)).collect();
            match which {
                0 => (!values.is_empty()).then(|| values.iter().sum()),
                1 => values.iter().max().copied(),
                2 => Some(seen.len() as i64),
                _ => Some(values.len() as i64),
            }
        });
        prop_assert_eq!(run(&text, &sent, cut), rows);
    }
}

#[test]
fn they_see_rows_that_the_filter_leaves_out_rule_sql_10() {
    let text = "SELECT v, LAG(v) OVER (LIMIT DURATION(hour, 1)) AS p FROM i TIMESTAMP BY t
                WHERE LAG(v) OVER (LIMIT DURATION(hour, 1)) < v";
    assert_eq!(
        run(text, &[(10, 0, Some(1)), (20, 0, Some(0)), (30, 0, Some(2))], 1),
        [r#"3 output {"v":2,"p":0}"#]
    );
}

#[test]
fn one_side_of_a_join_is_looked_at_before_it_is_joined_rule_sql_10() {
    // The second left row has no match; it is the former one of the third all the same. In ON such a function stands too.
    let text = "SELECT a.v, LAG(a.v) OVER (LIMIT DURATION(hour, 1)) AS p FROM x a TIMESTAMP BY t JOIN y b TIMESTAMP BY t
                ON DATEDIFF(second, a, b) BETWEEN 0 AND 2 AND ISFIRST(second, 4) OVER (PARTITION BY b.k) = 1";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let query = engine.query().clone();
    for (input, json) in [
        (0, r#"{"v":1,"t":1}"#),
        (1, r#"{"k":1,"t":2}"#),
        (1, r#"{"k":1,"t":2.5}"#),
        (0, r#"{"v":2,"t":3}"#),
        (0, r#"{"v":3,"t":9}"#),
        (1, r#"{"k":1,"t":9}"#),
    ] {
        engine.push(input, second(10.0), event(&query, json)).unwrap();
        engine = Engine::restore(query.clone(), policies(1000, 0), &{
            let snapshot = engine.snapshot();
            if let [row] = shown(&mut engine).as_slice() {
                assert!(
                    [r#"2 output {"v":1,"p":null}"#, r#"9 output {"v":3,"p":2}"#].contains(&&**row),
                    "{row}"
                );
            }
            snapshot
        })
        .unwrap();
    }
    engine.flush().unwrap();
    assert!(shown(&mut engine).is_empty());
}

#[test]
fn what_is_kept_per_key_goes_when_it_is_too_old() {
    let text = "SELECT LAG(v) OVER (PARTITION BY k LIMIT DURATION(second, 10)) AS p,
                SUM(v) OVER (PARTITION BY k LIMIT DURATION(second, 10)) AS s,
                ISFIRST(second, 10) OVER (PARTITION BY k) AS f FROM i TIMESTAMP BY t";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let mut most = 0;
    for number in 0..3000 {
        push(&mut engine, f64::from(number), &format!(r#"{{"t":{number},"k":{number},"v":1}}"#));
        most = most.max(engine.state_bytes());
        let _ = engine.rows();
    }
    assert!(most < 60_000, "{most} bytes for about 20 keys");
}

/// Values around 10 that come in no order.
fn noise(count: usize) -> Vec<f64> {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1 << 24) as f64
    };
    (0..count).map(|_| 8.0 + next() + next() + next() + next()).collect()
}

/// The places of values that a function calls anomalies.
fn anomalies(call: &str, values: &[f64]) -> Vec<usize> {
    let text = format!("SELECT {call} OVER (LIMIT DURATION(hour, 1)) AS f, n FROM i TIMESTAMP BY t");
    let query = query(&text);
    let mut engine = Engine::new(query.clone(), policies(1000, 0));
    let mut found = Vec::new();
    for (number, value) in values.iter().enumerate() {
        push(&mut engine, 5000.0, &format!(r#"{{"t":{},"v":{value},"n":{number}}}"#, 4100 + number));
        if let [row] = shown(&mut engine).as_slice()
            && row.contains(r#""IsAnomaly":1"#)
        {
            found.push(number);
        }
        engine = Engine::restore(query.clone(), policies(1000, 0), &engine.snapshot()).unwrap();
    }
    found
}

#[test]
fn spikes_and_dips_are_told_apart_from_noise() {
    let mut values = noise(200);
    assert_eq!(
        anomalies("AnomalyDetection_SpikeAndDip(v, 99.99, 100, 'spikesanddips')", &values),
        [0_usize; 0]
    );
    (values[100], values[150]) = (20.0, 1.0);
    for (mode, expected) in [("spikes", vec![100]), ("dips", vec![150]), ("spikesanddips", vec![100, 150])] {
        let call = format!("AnomalyDetection_SpikeAndDip(v, 99.99, 100, '{mode}')");
        assert_eq!(anomalies(&call, &values), expected, "{mode}");
    }
}

#[test]
fn a_change_is_told_soon_after_it_and_once() {
    let mut values = noise(240);
    assert_eq!(anomalies("AnomalyDetection_ChangePoint(v, 99, 80)", &values), [0_usize; 0]);
    values[150..].iter_mut().for_each(|value| *value += 6.0);
    let found = anomalies("AnomalyDetection_ChangePoint(v, 99, 80)", &values);
    assert!(matches!(found.as_slice(), [first, ..] if (150..160).contains(first)), "{found:?}");
    assert!(found.len() < 6, "{found:?}");
}
