mod former;
mod joins;
mod naive;
mod partitions;
mod recognize;
mod snapshot;
mod substreams;

use super::*;
use crate::query::{Level, Options};
use crate::value::{JsonReader, Value};
use std::time::Duration;

/// A compiled query of the whole language.
pub(super) fn query(text: &str) -> Arc<Query> {
    let options = Options { level: Level::Extended, ..Options::default() };
    Arc::new(Query::compile(text, &options).unwrap_or_else(|errors| panic!("{errors}")))
}

/// `12.5` is 2026-01-01T00:00:12.5Z.
pub(super) fn second(seconds: f64) -> DateTime {
    DateTime(DateTime::parse("2026-01-01").unwrap().0 + (seconds * 1e7) as i64)
}

/// An event from JSON; `"t": 3` becomes the time of that second.
pub(super) fn event(query: &Query, json: &str) -> Arc<Record> {
    let mut event = None;
    JsonReader::new(query.json_options()).read(json.as_bytes(), &mut |read| event = Some(read.unwrap()));
    let mut record = (*event.unwrap()).clone();
    if let Some(t) = record.get("t").and_then(Value::to_float) {
        record.set("t".into(), second(t).into());
    }
    Arc::new(record)
}

pub(super) fn push(engine: &mut Engine, arrival: f64, json: &str) {
    let event = event(&engine.query().clone(), json);
    engine.push(0, second(arrival), event).unwrap();
}

/// Rows as `seconds output json`.
pub(super) fn shown(engine: &mut Engine) -> Vec<String> {
    let query = engine.query().clone();
    let show = |row: OutputRow| {
        let seconds = (row.timestamp.0 - second(0.0).0) as f64 / 1e7;
        format!("{seconds} {} {}", query.outputs()[row.output], Value::Record(row.record).to_json())
    };
    engine.rows().map(show).collect()
}

fn policies(late: u64, out_of_order: u64) -> Policies {
    let seconds = Duration::from_secs;
    Policies { late_arrival: seconds(late), out_of_order: seconds(out_of_order), ..Policies::default() }
}

const COUNT: &str = "SELECT COUNT(*) AS n FROM i TIMESTAMP BY t GROUP BY TumblingWindow(second, 10)";

#[test]
fn a_window_closes_when_an_event_lies_behind_its_end_not_on_it_rule_sql_01() {
    let mut engine = Engine::new(query(COUNT), policies(100, 0));
    push(&mut engine, 3.0, r#"{"t":3}"#);
    push(&mut engine, 10.0, r#"{"t":10}"#);
    push(&mut engine, 10.0, r#"{"t":10}"#);
    assert!(shown(&mut engine).is_empty());
    push(&mut engine, 10.1, r#"{"t":10.1}"#);
    assert_eq!(shown(&mut engine), [r#"10 output {"n":3}"#]);
}

#[test]
fn without_events_a_window_closes_behind_its_end_by_the_late_tolerance_rule_sql_02() {
    let mut engine = Engine::new(query(COUNT), policies(5, 0));
    push(&mut engine, 3.0, r#"{"t":3}"#);
    engine.advance(second(15.0)).unwrap();
    assert!(shown(&mut engine).is_empty());
    engine.advance(second(15.1)).unwrap();
    assert_eq!(shown(&mut engine), [r#"10 output {"n":1}"#]);
    engine.advance(second(500.0)).unwrap();
    assert!(shown(&mut engine).is_empty());
}

#[test]
fn without_timestamp_by_the_arrival_is_the_time_and_no_policy_applies_rule_sql_04() {
    let text = "SELECT COUNT(*) AS n, System.Timestamp() AS e FROM i GROUP BY TumblingWindow(second, 10)";
    let mut engine = Engine::new(query(text), policies(0, 0));
    push(&mut engine, 3.0, "{}");
    push(&mut engine, 2.0, "{}");
    engine.advance(second(10.1)).unwrap();
    assert_eq!(shown(&mut engine), [r#"10 output {"n":2,"e":"2026-01-01T00:00:10.0000000Z"}"#]);
}

#[test]
fn events_within_the_tolerance_come_out_in_order_and_the_field_keeps_its_value_rule_sql_03() {
    let text = "SELECT n, System.Timestamp() AS at, t FROM i TIMESTAMP BY t";
    let mut engine = Engine::new(query(text), policies(60, 5));
    for (n, t) in [(1, 10), (2, 7), (3, 12), (4, 2)] {
        push(&mut engine, 20.0, &format!(r#"{{"n":{n},"t":{t}}}"#));
    }
    engine.flush().unwrap();
    let numbers: Vec<char> = shown(&mut engine)
        .iter()
        .map(|row| row.split(r#""n":"#).nth(1).unwrap().chars().next().unwrap())
        .collect();
    // The fourth is before the watermark of 7 then, and is moved there, behind the second.
    assert_eq!(numbers, ['2', '4', '1', '3']);
    assert_eq!(engine.data_errors().count(DataErrorKind::OutOfOrderEvent), 1);
    let sample = engine.data_errors().samples().next().unwrap();
    assert_eq!((&*sample.source, sample.at), ("i", second(20.0)));
}

#[test]
fn what_has_no_time_is_counted_and_left_out() {
    let mut engine = Engine::new(query("SELECT * FROM i TIMESTAMP BY at"), Policies::default());
    for json in ["{}", r#"{"at":"yesterday"}"#, r#"{"at":5}"#, r#"{"at":"2026-01-01T00:00:01Z"}"#] {
        push(&mut engine, 1.0, json);
    }
    assert_eq!(shown(&mut engine), [r#"1 output {"at":"2026-01-01T00:00:01Z"}"#]);
    assert_eq!(engine.data_errors().count(DataErrorKind::InvalidInputTimeStamp), 3);
    assert_eq!(engine.data_errors().counts().count(), 1);
}

#[test]
fn an_expression_that_fails_stops_the_query_or_costs_its_row() {
    let text = "SELECT CAST(v AS bigint) AS v INTO o FROM i";
    let mut engine = Engine::new(query(text), Policies::default());
    let bad = event(&engine.query().clone(), r#"{"v":"x"}"#);
    let error = engine.push(0, second(1.0), bad.clone()).unwrap_err();
    assert!(matches!(&error, EngineError::Evaluation { line: 1, column: 8, .. }), "{error}");
    assert!(error.to_string().starts_with("o, line 1, column 8: Cannot cast"), "{error}");
    assert_eq!(engine.push(0, second(1.0), bad.clone()), Err(EngineError::Stopped));

    let mut engine = Engine::new(query(text), Policies { on_error: OnError::Skip, ..Policies::default() });
    engine.push(0, second(1.0), bad).unwrap();
    push(&mut engine, 2.0, r#"{"v":"7"}"#);
    assert_eq!(shown(&mut engine), [r#"2 o {"v":7}"#]);
    assert_eq!(engine.data_errors().count(DataErrorKind::EvaluationError), 1);
}

#[test]
fn a_result_that_fails_does_not_keep_back_other_groups() {
    let text = "SELECT k, SUM(v) AS s FROM i TIMESTAMP BY t GROUP BY k, TumblingWindow(second, 10)";
    let skip = Policies { on_error: OnError::Skip, ..policies(100, 0) };
    let mut engine = Engine::new(query(text), skip);
    for json in
        [r#"{"k":"a","v":9223372036854775807,"t":1}"#, r#"{"k":"a","v":1,"t":1}"#, r#"{"k":"b","v":2,"t":2}"#]
    {
        push(&mut engine, 3.0, json);
    }
    engine.flush().unwrap();
    assert_eq!(shown(&mut engine), [r#"10 output {"k":"b","s":2}"#]);
}

#[test]
fn state_is_bounded() {
    let text = "SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t GROUP BY k, TumblingWindow(day, 1)";
    let mut engine = Engine::new(query(text), Policies { max_state: 100_000, ..policies(100, 0) });
    let error = (0..100_000).find_map(|number| {
        let event = event(&engine.query().clone(), &format!(r#"{{"k":{number},"t":1}}"#));
        engine.push(0, second(1.0), event).err()
    });
    let Some(EngineError::StateTooLarge { bytes, limit: 100_000 }) = error else { panic!("{error:?}") };
    assert!(bytes > 100_000);
    assert_eq!(engine.push(7, second(1.0), Arc::default()), Err(EngineError::Stopped));
    let mut engine = Engine::new(query(text), Policies::default());
    assert_eq!(engine.push(7, second(1.0), Arc::default()), Err(EngineError::NoSuchInput(7)));
}

#[test]
fn closed_windows_give_their_memory_back() {
    let text = "SELECT k, COUNT(*) AS n FROM i TIMESTAMP BY t GROUP BY k,
                Windows(TumblingWindow(second, 2), HoppingWindow(second, 9, 3), SlidingWindow(second, 4), SessionWindow(second, 1, 5))";
    let mut engine = Engine::new(query(text), policies(100, 3));
    for number in 0..200 {
        push(&mut engine, f64::from(number), &format!(r#"{{"k":{},"t":{number}}}"#, number % 7));
    }
    assert!(engine.state_bytes() > 0);
    engine.flush().unwrap();
    assert_eq!(engine.state_bytes(), 0);
    assert!(shown(&mut engine).len() > 200);
}

#[test]
fn branches_of_a_union_come_in_the_order_of_their_times() {
    let text =
        "SELECT a AS v, 'x' AS s FROM x TIMESTAMP BY t UNION SELECT a AS v, 'y' AS s FROM y TIMESTAMP BY t";
    let mut engine = Engine::new(query(text), policies(1000, 0));
    let mut send = |input: usize, t: u32| {
        let event = event(&engine.query().clone(), &format!(r#"{{"a":{t},"t":{t}}}"#));
        engine.push(input, second(f64::from(t)), event).unwrap();
        shown(&mut engine).len()
    };
    assert_eq!(send(0, 1), 0, "the other input may still come earlier");
    assert_eq!(send(0, 5), 0);
    assert_eq!(send(1, 3), 2);
    assert_eq!(send(1, 4), 1);
    assert_eq!(send(1, 9), 1);
}

#[test]
fn the_longest_chain_of_steps_runs() {
    let mut text = "WITH s0 AS (SELECT v + 1 AS v FROM i)".to_owned();
    for step in 1..256 {
        text += &format!(", s{step} AS (SELECT v + 1 AS v FROM s{})", step - 1);
    }
    text += " SELECT v FROM s255";
    let mut engine = Engine::new(query(&text), Policies::default());
    push(&mut engine, 1.0, r#"{"v":0}"#);
    assert_eq!(shown(&mut engine), [r#"1 output {"v":256}"#]);
}

#[test]
fn the_ends_of_the_calendar_and_of_the_input_are_safe() {
    let text = "SELECT COUNT(*) AS n, System.Timestamp() AS e FROM i TIMESTAMP BY at GROUP BY
                Windows(HoppingWindow(day, 7, 1), SlidingWindow(day, 7), SessionWindow(day, 7, 7), System.Timestamp())";
    for text in [text.to_owned(), text.replace("TIMESTAMP BY at", "")] {
        let mut engine =
            Engine::new(query(&text), Policies { late_arrival: Duration::MAX, ..Policies::default() });
        let now = [DateTime(i64::MIN), DateTime::MIN, DateTime::MAX, DateTime(i64::MAX)];
        for (at, arrival) in
            ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"].iter().zip(now)
        {
            let event = event(&engine.query().clone(), &format!(r#"{{"at":"{at}"}}"#));
            engine.push(0, arrival, event).unwrap();
            engine.advance(arrival).unwrap();
        }
        engine.advance(now[3]).unwrap();
        engine.flush().unwrap();
        assert!(shown(&mut engine).len() > 10);
        push(&mut engine, 1.0, r#"{"at":"2026-01-01"}"#);
        engine.flush().unwrap();
        assert!(shown(&mut engine).is_empty());
        assert_eq!(engine.data_errors().count(DataErrorKind::OutOfOrderEvent), 1);
        let again = Engine::restore(query(&text), Policies::default(), &engine.snapshot()).unwrap();
        assert_eq!(again.watermark(), engine.watermark());
    }
}

#[test]
fn metadata_of_an_event_goes_with_it() {
    let text = "SELECT GetMetadataPropertyValue(i, 'iothub.ConnectionDeviceId') AS d,
                GetMetadataPropertyValue(i, '[User].[line]') AS l, GetMetadataPropertyValue(i, 'EventId') AS e, a
                FROM i TIMESTAMP BY t";
    let mut engine = Engine::new(query(text), policies(100, 5));
    let query = engine.query().clone();
    let metadata = event(&query, r#"{"IoTHub":{"ConnectionDeviceId":"d1"},"User":{"line":"7"}}"#);
    let body = event(&query, r#"{"a":1,"t":1}"#);
    engine.push_with_metadata(0, second(1.0), body, Some(metadata)).unwrap();
    engine = Engine::restore(query, policies(100, 5), &engine.snapshot()).unwrap();
    push(&mut engine, 2.0, r#"{"a":2,"t":2}"#);
    engine.flush().unwrap();
    assert_eq!(
        shown(&mut engine),
        [r#"1 output {"d":"d1","l":"7","e":null,"a":1}"#, r#"2 output {"d":null,"l":null,"e":null,"a":2}"#]
    );
}
