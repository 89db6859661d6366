//! Windows against an evaluator that looks at every event for every window.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Tenths of a second, a key and a value.
type Sent = (u32, u8, Option<i32>);

fn events() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((0_u32..600, 0_u8..3, prop::option::of(-50_i32..50)), 1..60)
}

fn run(text: &str, sent: &[Sent], out_of_order: u64) -> Vec<String> {
    let mut engine = Engine::new(query(text), policies(1000, out_of_order));
    for (t, key, value) in sent {
        let value = value.map_or("null".to_owned(), |value| value.to_string());
        let json = format!(r#"{{"t":{},"k":"{key}","v":{value}}}"#, f64::from(*t) / 10.0);
        push(&mut engine, 100.0, &json);
    }
    engine.flush().unwrap();
    shown(&mut engine)
}

/// The times after the out-of-order policy, in tenths.
fn adjusted(sent: &[Sent], tolerance: u32) -> Vec<Sent> {
    let mut watermark = 0;
    let adjust = |(t, key, value): &Sent| {
        let t = (*t).max(watermark);
        watermark = watermark.max(t.saturating_sub(tolerance));
        (t, *key, *value)
    };
    sent.iter().map(adjust).collect()
}

/// The row of a group, for `k, COUNT(*), COUNT(v), SUM(v), MIN(v), MAX(v), AVG(v)`.
fn row(end: u32, key: u8, members: &[&Sent]) -> String {
    let values: Vec<i32> = members.iter().filter_map(|(_, _, value)| *value).collect();
    let sum: i32 = values.iter().sum();
    let or_null = |number: Option<String>| number.unwrap_or("null".to_owned());
    let average = (!values.is_empty()).then(|| f64::from(sum) / values.len() as f64);
    format!(
        r#"{} output {{"k":"{key}","n":{},"c":{},"s":{},"lo":{},"hi":{},"a":{}}}"#,
        f64::from(end) / 10.0,
        members.len(),
        values.len(),
        or_null((!values.is_empty()).then(|| sum.to_string())),
        or_null(values.iter().min().map(i32::to_string)),
        or_null(values.iter().max().map(i32::to_string)),
        or_null(average.map(|average| serde_json::to_string(&average).unwrap())),
    )
}

/// All windows `(end - size, end]` with these ends, per key.
fn expected(sent: &[Sent], size: u32, ends: impl Iterator<Item = u32>) -> Vec<String> {
    let mut rows = Vec::new();
    for end in ends {
        for key in 0..3 {
            let inside = |(t, k, _): &&Sent| *k == key && *t <= end && *t + size > end;
            let members: Vec<&Sent> = sent.iter().filter(inside).collect();
            if !members.is_empty() {
                rows.push(row(end, key, &members));
            }
        }
    }
    rows.sort();
    rows
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

const COLUMNS: &str = "SELECT k, COUNT(*) AS n, COUNT(v) AS c, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, AVG(v) AS a FROM i TIMESTAMP BY t GROUP BY k,";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tumbling_windows(sent in events(), tolerance in 0_u32..30) {
        let sent_adjusted = adjusted(&sent, tolerance * 10);
        let found = run(&format!("{COLUMNS} TumblingWindow(second, 6)"), &sent, u64::from(tolerance));
        prop_assert_eq!(sorted(found), expected(&sent_adjusted, 60, (0..700).step_by(60)));
    }

    #[test]
    fn hopping_windows(sent in events(), tolerance in 0_u32..30, size in 1_u32..9, hop in 1_u32..9) {
        // The grid is that of midnight, so only hops that divide a day lie on it here.
        let hop = [1, 2, 3, 4, 5, 6, 8, 9, 10][hop as usize];
        let sent_adjusted = adjusted(&sent, tolerance * 10);
        let found = run(&format!("{COLUMNS} HoppingWindow(second, {size}, {hop})"), &sent, u64::from(tolerance));
        prop_assert_eq!(sorted(found), expected(&sent_adjusted, size * 10, (0..800).step_by(hop as usize * 10)));
    }

    #[test]
    fn sliding_windows_rule_sql_05(sent in events(), tolerance in 0_u32..30, size in 1_u32..9) {
        let sent_adjusted = adjusted(&sent, tolerance * 10);
        let found = run(&format!("{COLUMNS} SlidingWindow(second, {size})"), &sent, u64::from(tolerance));
        let mut changes: BTreeMap<(u32, u8), ()> = BTreeMap::new();
        for (t, key, _) in &sent_adjusted {
            changes.insert((*t, *key), ());
            changes.insert((t + size * 10, *key), ());
        }
        let mut rows = Vec::new();
        for (end, key) in changes.into_keys() {
            let of_key: Vec<Sent> = sent_adjusted.iter().filter(|(_, k, _)| *k == key).copied().collect();
            rows.extend(expected(&of_key, size * 10, std::iter::once(end)));
        }
        prop_assert_eq!(sorted(found), sorted(rows));
    }

    #[test]
    fn session_windows_rule_sql_06(sent in events(), timeout in 1_u32..6) {
        let text = format!("{COLUMNS} SessionWindow(second, {timeout}, 20) OVER (PARTITION BY k)");
        let found = run(&text, &sent, 60);
        let mut rows = Vec::new();
        for key in 0..3 {
            let mut of_key: Vec<&Sent> = sent.iter().filter(|(_, k, _)| *k == key).collect();
            of_key.sort_by_key(|(t, _, _)| *t);
            let mut open: Vec<&Sent> = Vec::new();
            let end = |open: &[&Sent]| {
                let (began, last) = (open[0].0, open[open.len() - 1].0);
                let cut = (1..).map(|n| n * 200).find(|cut| cut - began.min(*cut) >= 200).unwrap();
                cut.min(last + timeout * 10)
            };
            for event in of_key {
                if !open.is_empty() && event.0 > end(&open) {
                    rows.push(row(end(&open), key, &open));
                    open.clear();
                }
                open.push(event);
            }
            if !open.is_empty() {
                rows.push(row(end(&open), key, &open));
            }
        }
        prop_assert_eq!(sorted(found), sorted(rows));
    }

    #[test]
    fn rows_come_in_the_order_of_their_times_whatever_the_disorder(sent in events(), tolerance in 0_u32..30) {
        let text = format!("{COLUMNS} Windows(TumblingWindow(second, 3), SlidingWindow(second, 5), HoppingWindow(second, 6, 4))");
        let found = run(&text, &sent, u64::from(tolerance));
        let times: Vec<f64> = found.iter().map(|row| row.split(' ').next().unwrap().parse().unwrap()).collect();
        prop_assert!(times.is_sorted());
    }
}
