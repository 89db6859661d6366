//! Joins against an evaluator that looks at every pair of rows.

use super::*;
use proptest::prelude::*;

/// Which input, tenths of a second, a key.
type Sent = (usize, u32, u8);

fn events(inputs: usize) -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec((0..inputs, 0_u32..400, 0_u8..3), 1..50)
}

/// Runs the events, with a snapshot and a new engine behind every so-manieth of them.
fn run(text: &str, sent: &[Sent], out_of_order: u64, cut_every: usize) -> Vec<String> {
    let query = query(text);
    let mut engine = Engine::new(query.clone(), policies(1000, out_of_order));
    let mut rows = Vec::new();
    for (number, (input, t, key)) in sent.iter().enumerate() {
        // The place among the events names each of them.
        let json = format!(r#"{{"t":{},"k":{key},"n":{number}}}"#, f64::from(*t) / 10.0);
        engine.push(*input, second(100.0), event(&query, &json)).unwrap();
        rows.extend(shown(&mut engine));
        if number % cut_every == cut_every - 1 {
            engine =
                Engine::restore(query.clone(), policies(1000, out_of_order), &engine.snapshot()).unwrap();
        }
    }
    engine.flush().unwrap();
    assert_eq!(engine.state_bytes(), 0);
    rows.extend(shown(&mut engine));
    let times: Vec<f64> = rows.iter().map(|row| row.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted(), "{rows:?}");
    rows
}

/// An event behind the out-of-order policy.
#[derive(Clone, Copy)]
struct Event {
    n: usize,
    t: i64,
    key: u8,
}

/// The events of each input in order.
fn adjusted(sent: &[Sent], inputs: usize, tolerance: u32) -> Vec<Vec<Event>> {
    let mut events = vec![Vec::new(); inputs];
    let mut watermarks = vec![0; inputs];
    for (n, (input, t, key)) in sent.iter().enumerate() {
        let t = (*t).max(watermarks[*input]);
        watermarks[*input] = watermarks[*input].max(t.saturating_sub(tolerance));
        events[*input].push(Event { n, t: i64::from(t), key: *key });
    }
    events
}

/// Borders of seconds from one time to another.
fn seconds(from: i64, to: i64) -> i64 {
    to / 10 - from / 10
}

fn shown_row(t: i64, numbers: &[Option<usize>]) -> String {
    let names = ["a", "b", "c"];
    let fields: Vec<String> = numbers
        .iter()
        .zip(names)
        .map(|(n, name)| format!(r#""{name}":{}"#, n.map_or("null".to_owned(), |n| n.to_string())))
        .collect();
    format!("{} output {{{}}}", t as f64 / 10.0, fields.join(","))
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn two_streams_rule_sql_08(
        sent in events(2), tolerance in 0_u32..5, low in -4_i64..4, width in 0_i64..6, outer: bool, cut in 1_usize..9
    ) {
        let (high, left) = (low + width, if outer { "LEFT " } else { "" });
        let text = format!(
            "SELECT a.n AS a, b.n AS b FROM x a TIMESTAMP BY t {left}JOIN y b TIMESTAMP BY t
             ON a.k = b.k AND DATEDIFF(second, a, b) BETWEEN {low} AND {high}"
        );
        let inputs = adjusted(&sent, 2, tolerance * 10);
        // Inputs are numbered in the order of the text.
        let mut rows = Vec::new();
        for a in &inputs[0] {
            let near = |b: &&Event| a.key == b.key && (low..=high).contains(&seconds(a.t, b.t));
            let found: Vec<&Event> = inputs[1].iter().filter(near).collect();
            rows.extend(found.iter().map(|b| shown_row(a.t.max(b.t), &[Some(a.n), Some(b.n)])));
            if outer && found.is_empty() {
                rows.push(shown_row(a.t.max(a.t + high * 10), &[Some(a.n), None]));
            }
        }
        prop_assert_eq!(sorted(run(&text, &sent, u64::from(tolerance), cut)), sorted(rows));
    }

    #[test]
    fn a_stream_with_itself(sent in events(1), low in -3_i64..3, width in 0_i64..4, cut in 1_usize..9) {
        let high = low + width;
        let text = format!(
            "SELECT a.n AS a, b.n AS b FROM x a TIMESTAMP BY t JOIN x b TIMESTAMP BY t
             ON DATEDIFF(second, b, a) <= {high} AND {low} <= DATEDIFF(second, b, a) AND a.k <> b.k"
        );
        let inputs = adjusted(&sent, 1, 30);
        let mut rows = Vec::new();
        for a in &inputs[0] {
            let near = |b: &&Event| a.key != b.key && (low..=high).contains(&seconds(b.t, a.t));
            rows.extend(inputs[0].iter().filter(near).map(|b| shown_row(a.t.max(b.t), &[Some(a.n), Some(b.n)])));
        }
        prop_assert_eq!(sorted(run(&text, &sent, 3, cut)), sorted(rows));
    }

    #[test]
    fn three_streams(sent in events(3), outer: bool, cut in 1_usize..9) {
        let left = if outer { "LEFT " } else { "" };
        let text = format!(
            "SELECT a.n AS a, b.n AS b, c.n AS c FROM x a TIMESTAMP BY t
             {left}JOIN y b TIMESTAMP BY t ON a.k = b.k AND DATEDIFF(second, a, b) BETWEEN 0 AND 5
             LEFT JOIN z c TIMESTAMP BY t ON c.k = a.k AND DATEDIFF(second, a, c) BETWEEN -2 AND 3 AND DATEDIFF(second, b, c) < 1"
        );
        let inputs = adjusted(&sent, 3, 20);
        let mut pairs = Vec::new();
        for a in &inputs[0] {
            let near = |b: &&Event| a.key == b.key && (0..=5).contains(&seconds(a.t, b.t));
            let found: Vec<&Event> = inputs[1].iter().filter(near).collect();
            pairs.extend(found.iter().map(|b| (a, Some(*b), a.t.max(b.t))));
            if outer && found.is_empty() {
                pairs.push((a, None, a.t + 50));
            }
        }
        let mut rows = Vec::new();
        for (a, b, t) in pairs {
            let near = |c: &&Event| {
                a.key == c.key
                    && (-2..=3).contains(&seconds(a.t, c.t))
                    && b.is_some_and(|b| seconds(b.t, c.t) < 1)
            };
            let found: Vec<&Event> = inputs[2].iter().filter(near).collect();
            let b_number = b.map(|b| b.n);
            rows.extend(found.iter().map(|c| shown_row(t.max(c.t), &[Some(a.n), b_number, Some(c.n)])));
            if found.is_empty() {
                // The last moment is the earlier of the two bounds, but not before the row itself.
                let last = b.map_or(t, |b| (a.t + 30).min(b.t));
                rows.push(shown_row(last.max(t), &[Some(a.n), b_number, None]));
            }
        }
        prop_assert_eq!(sorted(run(&text, &sent, 2, cut)), sorted(rows));
    }
}

#[test]
fn a_match_comes_with_the_later_row_and_a_missing_one_when_it_cannot_come_any_more_rule_sql_08() {
    let text = "SELECT l.id, r.k, System.Timestamp() AS at FROM l TIMESTAMP BY t LEFT JOIN r TIMESTAMP BY t
                ON l.id = r.id AND DATEDIFF(second, l, r) BETWEEN 0 AND 20";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let mut send = |input: usize, json: &str| {
        let event = event(&engine.query().clone(), json);
        engine.push(input, second(100.0), event).unwrap();
        shown(&mut engine)
    };
    for (id, t) in [(1, 10), (2, 20), (3, 30)] {
        assert!(send(0, &format!(r#"{{"id":{id},"t":{t}}}"#)).is_empty());
    }
    let at = |row: &str| format!(r#"{row},"at":"#);
    let starts = |rows: Vec<String>, expected: &[&str]| {
        assert_eq!(rows.len(), expected.len(), "{rows:?}");
        rows.iter().zip(expected).for_each(|(row, start)| assert!(row.starts_with(&at(start)), "{row}"));
    };
    starts(send(1, r#"{"id":1,"k":"p","t":12}"#), &[r#"12 output {"id":1,"k":"p""#]);
    starts(send(1, r#"{"id":1,"k":"q","t":30}"#), &[r#"30 output {"id":1,"k":"q""#]);
    starts(send(0, r#"{"id":9,"t":60}"#), &[]);
    // Up to just before 41 the difference is still 20.
    starts(send(1, r#"{"id":7,"t":40.9}"#), &[]);
    starts(
        send(1, r#"{"id":3,"k":"z","t":51}"#),
        &[r#"40 output {"id":2,"k":null"#, r#"50 output {"id":3,"k":null"#],
    );
}

#[test]
fn rows_of_a_join_are_let_go_when_nothing_can_match_them() {
    let text = "SELECT a.t FROM x a TIMESTAMP BY t JOIN y b TIMESTAMP BY t ON DATEDIFF(second, a, b) BETWEEN 0 AND 10";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let query = engine.query().clone();
    let mut most = 0;
    for t in 0..500 {
        for input in [0, 1] {
            let event = event(&query, &format!(r#"{{"t":{t}}}"#));
            engine.push(input, second(f64::from(t)), event).unwrap();
        }
        most = most.max(engine.state_bytes());
        let _ = engine.rows();
    }
    let one = 1000;
    assert!(most < 40 * one, "{most} bytes for about 12 rows");
}

#[test]
fn a_pair_that_cannot_be_compared_costs_only_itself() {
    let text = "SELECT a.v FROM x a TIMESTAMP BY t JOIN y b TIMESTAMP BY t
                ON DATEDIFF(second, a, b) BETWEEN 0 AND 10 AND CAST(b.v AS bigint) = 1";
    let skip = Policies { on_error: OnError::Skip, ..policies(1000, 0) };
    let mut engine = Engine::new(query(text), skip);
    let query = engine.query().clone();
    for (input, json) in [(0, r#"{"v":7,"t":1}"#), (1, r#"{"v":"x","t":2}"#), (1, r#"{"v":"1","t":2}"#)] {
        engine.push(input, second(10.0), event(&query, json)).unwrap();
    }
    engine.flush().unwrap();
    assert_eq!(shown(&mut engine), [r#"2 output {"v":7}"#]);
    assert_eq!(engine.data_errors().count(DataErrorKind::EvaluationError), 1);
}

/// The rows of a table.
fn table(query: &Query, rows: &[&str]) -> Vec<Arc<Record>> {
    rows.iter().map(|row| event(query, row)).collect()
}

fn with_limits(text: &str) -> Arc<Query> {
    let options =
        Options { level: Level::Extended, reference: vec!["limits".to_owned()], ..Options::default() };
    Arc::new(Query::compile(text, &options).unwrap_or_else(|errors| panic!("{errors}")))
}

#[test]
fn reference_data_is_that_of_the_time_of_the_row_rule_sql_09() {
    let query = with_limits(
        "SELECT i.k, l.top FROM i TIMESTAMP BY t LEFT JOIN Limits l ON l.k = i.k WHERE l.top IS NULL OR i.v > l.top",
    );
    let limits = query.input("limits").unwrap();
    let mut engine = Engine::new(query.clone(), policies(1000, 0));
    let first = table(&query, &[r#"{"k":"1","top":5}"#, r#"{"k":"1","top":7}"#, r#"{"k":null,"top":0}"#]);
    engine.load_reference(limits, DateTime::MIN, &first).unwrap();
    engine.load_reference(limits, second(10.0), &table(&query, &[r#"{"k":1,"top":1}"#])).unwrap();
    for json in
        [r#"{"k":1,"v":6,"t":1}"#, r#"{"k":2,"v":9,"t":2}"#, r#"{"v":9,"t":3}"#, r#"{"k":1.0,"v":2,"t":11}"#]
    {
        push(&mut engine, 20.0, json);
    }
    assert_eq!(
        shown(&mut engine),
        [
            r#"1 output {"k":1,"top":5}"#,
            r#"2 output {"k":2,"top":null}"#,
            r#"3 output {"k":null,"top":null}"#,
            r#"11 output {"k":1.0,"top":1}"#
        ]
    );
    assert_eq!(engine.load_reference(0, DateTime::MIN, &[]), Err(EngineError::NoSuchInput(0)));
    let refused = engine.push(limits, second(20.0), Arc::default());
    assert_eq!(refused, Err(EngineError::NoSuchInput(limits)));
}

#[test]
fn rows_of_reference_data_that_do_not_convert_are_counted() {
    let query = with_limits(
        "CREATE TABLE limits (k nvarchar(max), top bigint) SELECT l.top FROM i TIMESTAMP BY t JOIN limits l ON l.k = i.k",
    );
    let limits = query.input("limits").unwrap();
    let mut engine = Engine::new(query.clone(), policies(1000, 0));
    let rows = table(&query, &[r#"{"k":"a","top":"x"}"#, r#"{"k":"a","top":"3"}"#, r#"{"k":"a"}"#]);
    engine.load_reference(limits, DateTime::MIN, &rows).unwrap();
    push(&mut engine, 1.0, r#"{"k":"a","t":1}"#);
    assert_eq!(shown(&mut engine), [r#"1 output {"top":3}"#]);
    assert_eq!(engine.data_errors().count(DataErrorKind::TypeConversionError), 1);
    assert_eq!(engine.data_errors().count(DataErrorKind::MissingColumns), 1);
}
