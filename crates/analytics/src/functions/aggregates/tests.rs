use super::*;
use crate::value::{DateTime, JsonOptions};
use proptest::prelude::*;

fn value(json: &str) -> Value {
    let event = format!("{{\"v\":{json}}}");
    Value::from_json(event.as_bytes(), &JsonOptions::default()).unwrap()[0].field("v").clone()
}

/// Adds each row of a JSON array: an array is the arguments, anything else the only one.
fn run(aggregate: &Aggregate, rows: &str) -> Result<Value, EvalError> {
    let mut accumulator = Accumulator::new(aggregate);
    let Value::Array(rows) = value(rows) else { panic!("{rows}") };
    for row in rows.iter() {
        match row {
            Value::Array(args) => accumulator.add(args)?,
            other => accumulator.add(std::slice::from_ref(other))?,
        }
    }
    accumulator.finish()
}

fn json(aggregate: &Aggregate, rows: &str) -> String {
    run(aggregate, rows).map_or_else(|error| format!("!{error}"), |value| value.to_json())
}

const TEXT: bool = true;

fn percentile(fraction: f64, descending: bool, between: bool) -> Aggregate {
    match between {
        true => Aggregate::PercentileCont { fraction, descending },
        false => Aggregate::PercentileDisc { fraction, descending },
    }
}

#[test]
fn counting_and_adding() {
    for (aggregate, rows, expected) in [
        (Aggregate::CountAll, "[1,null,{}]", "3"),
        (Aggregate::CountAll, "[[],[]]", "2"),
        (Aggregate::Count, "[1,null,{}]", "2"),
        (Aggregate::Count, "[null]", "0"),
        (Aggregate::CountDistinct, r#"[1,1.0,"1",null,{"a":1},{"a":1},true]"#, "4"),
        (Aggregate::Sum, "[1,null,2]", "3"),
        (Aggregate::Sum, "[1,2.5]", "3.5"),
        (Aggregate::Sum, r#"["1.5",true]"#, "2.5"),
        (Aggregate::Sum, "[null,null]", "null"),
        (Aggregate::Sum, "[]", "null"),
        (Aggregate::Sum, "[9223372036854775807,1,-2]", "9223372036854775806"),
        (Aggregate::Sum, "[9223372036854775807,1]", "!the result of SUM is out of the range of 'bigint'"),
        (Aggregate::Sum, "[1e308,1e308]", "!the result of SUM is out of the range of 'float'"),
        (Aggregate::Sum, "[1e16,1.0,-1e16]", "1.0"),
        (Aggregate::Sum, r#"["hot"]"#, "!The 1st argument of function sum has invalid type 'nvarchar(max)'"),
        (Aggregate::Avg, "[1,2]", "1.5"),
        (Aggregate::Avg, "[70,null,71.0]", "70.5"),
        (Aggregate::Avg, "[null]", "null"),
        (Aggregate::Avg, "[9223372036854775807,9223372036854775807]", "9.223372036854775807e18"),
    ] {
        let found = json(&aggregate, rows);
        match expected {
            // The nearest float is written in its own way.
            "9.223372036854775807e18" => assert_eq!(found.parse::<f64>(), expected.parse()),
            _ => assert!(
                found == expected || expected.starts_with('!') && found.starts_with(expected),
                "{rows}: {found}"
            ),
        }
    }
}

#[test]
fn least_and_greatest_rule_func_02() {
    let (min, max) = (Aggregate::Min { text: false }, Aggregate::Max { text: false });
    let greatest_text = Aggregate::Max { text: TEXT };
    for (aggregate, rows, expected) in [
        (&min, "[3,null,2.5,7]", "2.5"),
        (&max, "[3,null,2.5,7]", "7"),
        (&max, r#"["10","9"]"#, "10.0"),
        (&greatest_text, r#"["10","9"]"#, r#""9""#),
        (&max, r#"["warm"]"#, "!The 1st argument of function max has invalid type 'nvarchar(max)'"),
        (&max, "[{}]", "!The 1st argument of function max has invalid type 'record'"),
        (&greatest_text, r#"["a",true]"#, "!operator 'MAX' does not take"),
        (&min, "[false,true]", "false"),
        (&min, "[null]", "null"),
    ] {
        let found = json(aggregate, rows);
        assert!(
            found == expected || expected.starts_with('!') && found.starts_with(expected),
            "{rows}: {found}"
        );
    }
    let mut earliest = Accumulator::new(&min);
    for ticks in [5, 3, 4] {
        earliest.add(&[DateTime(ticks).into()]).unwrap();
    }
    assert_eq!(earliest.finish(), Ok(DateTime(3).into()));
}

#[test]
fn spread() {
    let rows = "[2,4,4,4,5,5,7,9,null]";
    assert_eq!(json(&Aggregate::VarP, rows), "4.0");
    assert_eq!(json(&Aggregate::StDevP, rows), "2.0");
    assert_eq!(json(&Aggregate::Var, "[1,2,3]"), "1.0");
    assert_eq!(json(&Aggregate::StDev, "[1,2,3]"), "1.0");
    assert_eq!(json(&Aggregate::Var, "[1]"), "null");
    assert_eq!(json(&Aggregate::VarP, "[1]"), "0.0");
    assert_eq!(json(&Aggregate::StDevP, "[null]"), "null");
    // Sums of squares would lose everything here.
    assert_eq!(json(&Aggregate::Var, "[1000000000001,1000000000002,1000000000003]"), "1.0");
    assert!(json(&Aggregate::StDev, r#"["x"]"#).contains("function stdev"));
}

#[test]
fn percentiles() {
    for (fraction, descending, between, rows, expected) in [
        (0.5, false, true, "[1,4,2,3]", "2.5"),
        (0.5, false, false, "[1,4,2,3]", "2"),
        (0.5, true, false, "[1,4,2,3]", "3"),
        (0.0, false, true, "[7,3]", "3.0"),
        (1.0, false, true, "[7,3]", "7.0"),
        (1.0, false, false, "[7,3]", "7"),
        (0.0, true, false, "[7,3,null]", "7"),
        (0.25, true, true, "[0,10]", "7.5"),
        (0.9, false, true, "[5]", "5.0"),
        (0.5, false, true, "[null]", "null"),
        (0.5, false, false, "[]", "null"),
        (7.0, false, false, "[1,2]", "2"),
    ] {
        assert_eq!(json(&percentile(fraction, descending, between), rows), expected, "{fraction} {rows}");
    }
    assert!(run(&percentile(0.5, false, false), "[{}]").is_err());
    let hundred: Vec<_> = (1..=100).map(|number| number.to_string()).collect();
    assert_eq!(json(&percentile(0.07, false, false), &format!("[{}]", hundred.join(","))), "7");
}

#[test]
fn collecting() {
    assert_eq!(json(&Aggregate::Collect, r#"[1,null,{"a":2}]"#), r#"[1,null,{"a":2}]"#);
    assert_eq!(json(&Aggregate::Collect, "[]"), "[]");
    let top = Aggregate::CollectTop { count: 2, descending: [true, false].into() };
    let rows = r#"[["a",1,9],["b",3,2],["c",3,1],["d",null,0],["e",3,1]]"#;
    assert_eq!(json(&top, rows), r#"[{"rank":1,"value":"c"},{"rank":2,"value":"e"}]"#);
    assert_eq!(json(&top, "[]"), "[]");
    let one = Aggregate::TopOne { descending: [false].into() };
    assert_eq!(json(&one, r#"[["a",1],["b",null],["c",null]]"#), r#""b""#);
    assert_eq!(json(&one, "[]"), "null");
    assert!(
        json(&one, r#"[["a","x"]]"#).starts_with("!The 1st argument of function topone has invalid type")
    );
    let joined = Aggregate::StringAgg { separator: ", ".into() };
    assert_eq!(json(&joined, r#"["a",null,7]"#), r#""a, 7""#);
    assert_eq!(json(&joined, "[null]"), "null");
    assert!(run(&joined, "[{}]").is_err());
}

#[test]
fn names() {
    assert_eq!(lookup("Percentile_Cont"), Some(AggregateKind::PercentileCont));
    assert_eq!(lookup("count_big"), Some(AggregateKind::Count));
    assert_eq!(lookup("median"), None);
}

#[test]
fn weight_is_what_is_held() {
    let mut collected = Accumulator::new(&Aggregate::Collect);
    let mut average = Accumulator::new(&Aggregate::Avg);
    let mut top = Accumulator::new(&Aggregate::TopOne { descending: [true].into() });
    for number in 0..100 {
        collected.add(&["0123456789".into()]).unwrap();
        average.add(&[Value::BigInt(number)]).unwrap();
        top.add(&["0123456789".into(), Value::BigInt(number)]).unwrap();
    }
    assert!(collected.weight() >= 1000);
    assert_eq!(average.weight(), 0);
    assert!(top.weight() < 200);
}

fn all() -> Vec<Aggregate> {
    let descending: Arc<[bool]> = [true].into();
    vec![
        Aggregate::CountAll,
        Aggregate::Count,
        Aggregate::CountDistinct,
        Aggregate::Sum,
        Aggregate::Avg,
        Aggregate::Min { text: false },
        Aggregate::Max { text: false },
        Aggregate::StDev,
        Aggregate::StDevP,
        Aggregate::Var,
        Aggregate::VarP,
        percentile(0.3, false, true),
        percentile(0.3, true, false),
        Aggregate::Collect,
        Aggregate::CollectTop { count: 3, descending: descending.clone() },
        Aggregate::TopOne { descending },
        Aggregate::StringAgg { separator: "-".into() },
    ]
}

fn of(aggregate: &Aggregate, rows: &[[Value; 2]]) -> Accumulator {
    let mut accumulator = Accumulator::new(aggregate);
    rows.iter().for_each(|row| accumulator.add(row).unwrap());
    accumulator
}

/// Equal but for the last digits of floats.
fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0),
        _ => a == b,
    }
}

fn numbers() -> impl Strategy<Value = Vec<[Value; 2]>> {
    let number = prop_oneof![
        Just(Value::Null),
        (-50i64..50).prop_map(Value::BigInt),
        (-50i64..50).prop_map(|number| Value::Float(number as f64 / 8.0)),
    ];
    prop::collection::vec([number.clone(), number], 0..20)
}

/// There is one for each aggregate of each group of each open window.
#[test]
fn states_are_small() {
    assert_eq!(size_of::<Accumulator>(), 24);
}

#[test]
fn a_sum_goes_on_beyond_what_its_small_form_counts() {
    let mut state =
        Accumulator { state: State::Sum(Sum::Whole { of: SumOf::Total, count: u32::MAX, total: 7 }) };
    for _ in 0..3 {
        state.add(&[Value::BigInt(1)]).unwrap();
    }
    assert_eq!(state.finish(), Ok(Value::BigInt(10)));
    let mut state = Accumulator {
        state: State::Sum(Sum::Floats { of: SumOf::Mean, count: u32::MAX, sum: 0.0, lost: 0.0 }),
    };
    state.add(&[Value::Float(4_294_967_296.0)]).unwrap();
    assert_eq!(state.finish(), Ok(Value::Float(1.0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_parts_is_adding_all(rows in numbers(), cut: prop::sample::Index) {
        let (first, second) = rows.split_at(cut.index(rows.len() + 1));
        for aggregate in all() {
            let mut merged = of(&aggregate, first);
            merged.merge(&of(&aggregate, second)).unwrap();
            let whole = of(&aggregate, &rows);
            let (merged_value, whole_value) = (merged.finish().unwrap(), whole.finish().unwrap());
            prop_assert!(close(&merged_value, &whole_value), "{:?} {:?} {:?}", aggregate, merged_value, whole_value);
            prop_assert_eq!(merged.weight(), whole.weight());
        }
    }

    #[test]
    fn snapshots_go_on_where_they_stopped(rows in numbers(), cut: prop::sample::Index) {
        let (first, second) = rows.split_at(cut.index(rows.len() + 1));
        for aggregate in all() {
            let mut out = Writer::new();
            of(&aggregate, first).write(&mut out);
            let bytes = out.finish();
            let mut reader = Reader::new(&bytes);
            let mut restored = Accumulator::read(&aggregate, &mut reader).unwrap();
            prop_assert!(reader.is_at_end());
            second.iter().for_each(|row| restored.add(row).unwrap());
            let whole = of(&aggregate, &rows);
            prop_assert_eq!(restored.finish(), whole.finish());
            prop_assert_eq!(restored.weight(), whole.weight());
        }
    }

    #[test]
    fn damaged_snapshots_never_panic(rows in numbers(), at: prop::sample::Index, byte: u8) {
        for aggregate in all() {
            let mut out = Writer::new();
            of(&aggregate, &rows).write(&mut out);
            let mut bytes = out.finish();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(mut restored) = Accumulator::read(&aggregate, &mut Reader::new(&bytes)) {
                let _ = restored.add(&[Value::BigInt(1), Value::BigInt(1)]);
                let _ = restored.merge(&restored.clone());
                let _ = restored.finish();
            }
        }
    }

    #[test]
    fn sums_and_spread_agree_with_the_definition(numbers in prop::collection::vec(-1e6f64..1e6, 2..40)) {
        let rows: Vec<_> = numbers.iter().map(|number| [Value::Float(*number), Value::Null]).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let finished = |aggregate| of(&aggregate, &rows).finish().unwrap();
        prop_assert!(close(&finished(Aggregate::Avg), &Value::Float(mean)));
        prop_assert!(close(&finished(Aggregate::VarP), &Value::Float(squares / numbers.len() as f64)));
        prop_assert!(close(&finished(Aggregate::Var), &Value::Float(squares / (numbers.len() as f64 - 1.0))));
    }
}
