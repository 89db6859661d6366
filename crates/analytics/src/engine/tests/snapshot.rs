//! Snapshots: damaged ones, and those of other queries.

use super::*;
use proptest::prelude::*;

const EVERYTHING: &str = "
    CREATE TABLE i (t datetime, k nvarchar(max));
    WITH a AS (SELECT k, v, System.Timestamp() AS at FROM i TIMESTAMP BY t WHERE v IS NOT NULL),
         b AS (SELECT k, SUM(v) AS v FROM a GROUP BY k, TumblingWindow(second, 3) UNION SELECT k, v FROM a)
    SELECT k, COUNT(*) AS n, COUNT(DISTINCT v) AS d, TopOne(v) OVER (ORDER BY v DESC) AS top,
           PERCENTILE_CONT(0.5) OVER (ORDER BY v) AS p, Collect(v) AS c, STDEV(v) AS s
    INTO o FROM b GROUP BY k, Windows(Window('h', HoppingWindow(second, 6, 2)), Window('s', SlidingWindow(second, 4)))
    SELECT MAX(v) AS m INTO q FROM a GROUP BY SessionWindow(second, 2, 10)
    SELECT * INTO r FROM b WHERE v > 3
    SELECT x.v, y.v AS w, e.ArrayValue AS e, LAG(x.v, 2) OVER (PARTITION BY x.k LIMIT DURATION(second, 5)) AS p,
           Collect(x.v) OVER (LIMIT DURATION(second, 5)) AS s, ISFIRST(second, 2) OVER (PARTITION BY x.k, y.k) AS f
    INTO u FROM a x LEFT JOIN b y ON x.k = y.k AND DATEDIFF(second, x, y) BETWEEN -1 AND 4
           CROSS APPLY GetArrayElements(JSON_PARSE('{\"a\":[1,2]}').a) AS e
    SELECT l, AnomalyDetection_ChangePoint(n, 90, 20) OVER (LIMIT DURATION(second, 20)) AS c INTO w
    FROM a MATCH_RECOGNIZE (LIMIT DURATION(second, 4) PARTITION BY k MEASURES LAST(A.v) AS l, MAX(v) AS n
        AFTER MATCH SKIP TO NEXT ROW PATTERN (A (B | .)* C?) DEFINE A AS A.v > 0, B AS B.v < LAST(A.v)) AS m";

fn filled() -> Engine {
    let mut engine = Engine::new(query(EVERYTHING), policies(100, 4));
    for number in 0..40 {
        let t = (number * 7) % 30 / 3 + number / 4;
        push(
            &mut engine,
            f64::from(number),
            &format!(r#"{{"t":{t},"k":"{}","v":{}}}"#, number % 3, number % 5),
        );
    }
    engine
}

#[test]
fn an_engine_goes_on_as_if_nothing_had_happened() {
    let mut straight = filled();
    let taken = shown(&mut straight).len();
    assert!(taken > 0);
    let mut again = Engine::restore(query(EVERYTHING), policies(100, 4), &straight.snapshot()).unwrap();
    assert_eq!(again.snapshot(), straight.snapshot());
    assert_eq!(again.state_bytes(), straight.state_bytes());
    assert_eq!(again.watermark(), straight.watermark());
    for engine in [&mut straight, &mut again] {
        push(engine, 50.0, r#"{"t":14,"k":"1","v":9}"#);
        engine.flush().unwrap();
    }
    let rows = shown(&mut straight);
    assert!(rows.len() > 10);
    assert_eq!(shown(&mut again), rows);
}

#[test]
fn a_cut_snapshot_is_refused() {
    let snapshot = filled().snapshot();
    for length in 0..snapshot.len() {
        Engine::restore(query(EVERYTHING), Policies::default(), &snapshot[..length]).unwrap_err();
    }
}

/// The checksum of a damaged snapshot put right, so that the readers behind it are reached.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 8;
    let sum = crate::plan::Fingerprint::new("snapshot").with(&bytes[..end]).value();
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damage_is_refused_or_harmless(place in any::<prop::sample::Index>(), value: u8, sum_is_right: bool) {
        let mut snapshot = filled().snapshot();
        let place = place.index(snapshot.len() - 8);
        prop_assume!(snapshot[place] != value);
        snapshot[place] = value;
        if !sum_is_right {
            prop_assert!(Engine::restore(query(EVERYTHING), Policies::default(), &snapshot).is_err());
            return Ok(());
        }
        // What is taken must run without a panic.
        if let Ok(mut engine) = Engine::restore(query(EVERYTHING), policies(100, 4), &sealed(snapshot)) {
            let event = event(&engine.query().clone(), r#"{"t":14,"k":"1","v":9}"#);
            let _ = engine.push(0, second(50.0), event);
            let _ = engine.flush();
        }
    }
}

#[test]
fn steps_that_stay_keep_their_state_and_new_ones_begin_with_the_next_window() {
    let count = "SELECT COUNT(*) AS n INTO a FROM i TIMESTAMP BY t GROUP BY TumblingWindow(second, 10)";
    let with_sum = |size: u32| {
        format!(
            "{count} SELECT SUM(v) AS s INTO b FROM i TIMESTAMP BY t GROUP BY TumblingWindow(second, {size})"
        )
    };
    let mut engine = Engine::new(query(&with_sum(10)), policies(100, 0));
    push(&mut engine, 1.0, r#"{"t":1,"v":1}"#);
    engine.replace(query(&with_sum(5)));
    push(&mut engine, 2.0, r#"{"t":2,"v":2}"#);
    push(&mut engine, 12.0, r#"{"t":7,"v":4}"#);
    push(&mut engine, 12.0, r#"{"t":12,"v":8}"#);
    assert_eq!(shown(&mut engine), [r#"10 a {"n":3}"#, r#"10 b {"s":4}"#]);
}

#[test]
fn another_script_under_the_same_name_begins_anew() {
    let query = |script: &str| {
        let mut functions = crate::script::Functions::default();
        functions.add_script("least", script).unwrap();
        let options = Options { level: Level::Extended, functions, ..Options::default() };
        let text = "SELECT uda.least(v) AS v FROM i TIMESTAMP BY t GROUP BY TumblingWindow(second, 10)";
        Arc::new(Query::compile(text, &options).unwrap())
    };
    let script = "function main() { this.init = function () { this.v = Infinity; };
        this.accumulate = function (v) { this.v = Math.min(this.v, v); };
        this.computeResult = function () { return this.v; }; }";
    for (other, rows) in [(script.to_owned(), 1), (script.replace("return this.v", "return -this.v"), 0)] {
        let mut engine = Engine::new(query(script), policies(100, 0));
        push(&mut engine, 1.0, r#"{"t":1,"v":3}"#);
        let snapshot = engine.snapshot();
        let mut engine = Engine::restore(query(&other), policies(100, 0), &snapshot).unwrap();
        engine.flush().unwrap();
        assert_eq!(shown(&mut engine).len(), rows, "{other}");
    }
}

#[test]
fn a_script_that_fails_stops_the_query_at_its_place_rule_script_02() {
    let mut functions = crate::script::Functions::default();
    functions.add_script("half", "function main(x) {\n  return x.half();\n}").unwrap();
    let options = Options { level: Level::Extended, functions, ..Options::default() };
    let text = "SELECT udf.half(v) AS v\nINTO halves FROM i";
    let query = Arc::new(Query::compile(text, &options).unwrap());
    let mut engine = Engine::new(query.clone(), Policies::default());
    let event = event(&query, r#"{"v":3}"#);
    let error = engine.push(0, second(1.0), event.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "halves, line 1, column 8: udf.half, line 2 of the script: TypeError: not a function"
    );
    assert_eq!(engine.push(0, second(1.0), event.clone()), Err(EngineError::Stopped));
    let skip = Policies { on_error: OnError::Skip, ..Policies::default() };
    let mut engine = Engine::new(query, skip);
    engine.push(0, second(1.0), event).unwrap();
    assert_eq!(engine.data_errors().count(DataErrorKind::EvaluationError), 1);
}

#[test]
fn layout_and_the_name_of_the_output_do_not_cost_the_state() {
    let mut engine = Engine::new(query(COUNT), policies(100, 0));
    push(&mut engine, 1.0, r#"{"t":1}"#);
    let text = COUNT.replace(" FROM", "\n INTO other -- as before\n FROM");
    engine.replace(query(&text));
    engine.flush().unwrap();
    assert_eq!(shown(&mut engine), [r#"10 other {"n":1}"#]);
}
