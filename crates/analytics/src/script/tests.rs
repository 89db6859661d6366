//! Scripts as the service's documentation has them, and as nobody should write them.

use super::*;
use crate::value::snapshot::{Reader, Writer};
use crate::value::{JsonOptions, Record};

fn function(name: &str, script: &str) -> Arc<Function> {
    let mut functions = Functions::default();
    functions.add_script(name, script).unwrap();
    functions.get(name).unwrap().clone()
}

fn value(json: &str) -> Value {
    crate::value::JsonReader::new(JsonOptions::default()).read_value(json.as_bytes()).unwrap()
}

fn call(script: &str, argument: Value) -> Result<Value, String> {
    function("f", script).call(&[argument]).map_err(|error| error.to_string())
}

#[test]
fn a_function_is_called_main_or_as_its_alias_or_nothing() {
    for script in [
        "// hex to integer\nfunction hex2Int(hexValue) { return parseInt(hexValue, 16); }",
        "function main(hexValue) { return parseInt(hexValue, 16); }",
        "const main = hexValue => parseInt(hexValue, 16);",
        "function (hexValue) { return parseInt(hexValue, 16); }",
        "function other(hexValue) { return parseInt(hexValue, 16); }",
        "function helper(x) { return parseInt(x, 16); }\nfunction main(x) { return helper(x); }",
    ] {
        let found = function("hex2Int", script).call(&["ff".into()]).unwrap();
        assert_eq!(found, Value::BigInt(255), "{script}");
    }
}

#[test]
fn values_go_over_and_back_rule_script_01() {
    let same = "function main(x) { return x; }";
    for json in ["null", "true", "7", "-1.5", "\"ä\\u0000😀\"", r#"{"a":[1,{"b":null}],"__proto__":2}"#, "[]"]
    {
        assert_eq!(call(same, value(json)), Ok(value(json)), "{json}");
    }
    let time = |text| Value::DateTime(DateTime::parse(text).unwrap());
    assert_eq!(
        call(same, time("2026-01-01T00:00:00.1239999Z")),
        Ok(time("2026-01-01T00:00:00.123Z")),
        "a Date has milliseconds"
    );
    assert_eq!(call("x => x.getTime()", time("1970-01-01T00:00:01Z")), Ok(Value::BigInt(1000)));
    for (script, expected) in [
        ("() => 3.0", "3"),
        ("() => 2 ** 60", "1152921504606846976"),
        ("() => 1e300", "1e300"),
        ("() => undefined", "null"),
        ("() => NaN", "null"),
        ("() => [undefined, 1/0]", "[null,null]"),
        ("x => ({n: x, gone: undefined})", r#"{"n":null,"gone":null}"#),
    ] {
        assert_eq!(call(script, Value::Null), Ok(value(expected)), "{script}");
    }
    for (script, what) in [
        ("() => main => 1", "function"),
        ("() => Symbol('x')", "symbol"),
        ("() => new Map()", "an object of a class"),
        ("() => new Error('x')", "exception"),
        ("() => 10n", "big_int"),
    ] {
        let error = call(script, Value::Null).unwrap_err();
        assert!(error.starts_with(&format!("udf.f: it gave something of type {what};")), "{error}");
    }
}

#[test]
fn an_error_names_function_and_line_rule_script_02() {
    let script = "function main(x) {\n  // deep\n  return x.a.b;\n}";
    let error = call(script, value("{}")).unwrap_err();
    assert_eq!(error, "udf.f, line 3 of the script: TypeError: cannot read property 'b' of undefined");
    assert_eq!(call("() => { throw 'as it is'; }", Value::Null).unwrap_err(), "udf.f: as it is");
    let own = "function main() {\n  throw new RangeError('too ' + 'x'.repeat(1000));\n}";
    let error = call(own, Value::Null).unwrap_err();
    assert!(
        error.starts_with("udf.f, line 2 of the script: RangeError: too xxx") && error.len() < 400,
        "{error}"
    );
    // It goes on after an error.
    let odd = function("odd", "function main(x) { if (x > 1) throw new Error('no'); return x; }");
    assert!(odd.call(&[Value::BigInt(2)]).is_err());
    assert_eq!(odd.call(&[Value::BigInt(1)]), Ok(Value::BigInt(1)));
}

#[test]
fn a_script_that_is_none_is_refused_with_its_line() {
    let refused = |kind, name: &str, script: &str| {
        Functions::default().add(kind, name, script).unwrap_err().to_string()
    };
    let scalar = FunctionKind::Scalar;
    let error = refused(scalar, "f", "function main(x) {\n  return x +;\n}");
    assert!(error.starts_with("f, line 2: SyntaxError: "), "{error}");
    assert!(
        refused(scalar, "f", "var x = 1;")
            .starts_with("f: the script defines no function; write function main")
    );
    assert!(refused(scalar, "1f", "x => x").contains("is no name of a function"));
    assert!(
        refused(scalar, "f", "while (true) {}").contains("was interrupted; is there a loop without end?")
    );
    assert!(refused(scalar, "f", "x => x\u{0}").contains("zero byte"));
    let aggregate = FunctionKind::Aggregate;
    let error = refused(aggregate, "f", "function main() { this.init = function () {}; }");
    assert!(error.starts_with("f: an aggregate needs this.accumulate"), "{error}");
    assert!(refused(aggregate, "f", "x => x").contains("can be called with new"));
    let mut functions = Functions::default();
    functions.add(scalar, "f", "x => x").unwrap();
    assert!(functions.add(scalar, "F", "x => x").unwrap_err().to_string().contains("equal ignoring case"));
}

#[test]
fn time_memory_and_depth_have_ends_rule_script_03() {
    let interrupted = "is there a loop without end?";
    for script in [
        "() => { for (;;) {} }",
        "() => { try { for (;;) {} } catch (e) { return 1; } }",
        "() => Array.prototype.indexOf.call({length: 2 ** 53 - 1}, 1)",
    ] {
        let error = call(script, Value::Null).unwrap_err();
        assert!(error.contains(interrupted), "{script}: {error}");
    }
    for script in [
        "() => { const all = []; for (;;) all.push('x'.repeat(10000) + all.length); }",
        "() => 'x'.repeat(2 ** 29)",
        "() => new Uint8Array(2 ** 30)",
    ] {
        let error = call(script, Value::Null).unwrap_err();
        assert!(error.contains("memory") || error.contains("length"), "{script}: {error}");
    }
    let error = call("function main(x) { return main(x) + 1; }", Value::Null).unwrap_err();
    assert!(error.contains("stack"), "{error}");
    let error = call("() => { const a = []; a.push(a); return a; }", Value::Null).unwrap_err();
    assert!(error.contains("too deep in each other, or in themselves"), "{error}");
    let doubling = "() => { let a = [1]; for (let i = 0; i < 40; i++) a = [a, a]; return a; }";
    assert!(call(doubling, Value::Null).unwrap_err().contains("more than 1048576 values"));
    // Nothing of the machine is in reach.
    for name in ["require", "process", "fetch", "setTimeout", "std", "os", "console"] {
        assert_eq!(call(&format!("() => typeof {name}"), Value::Null), Ok("undefined".into()), "{name}");
    }
}

#[test]
fn a_backtracking_pattern_ends_too() {
    let script = "s => /^(a+)+$/.test(s)";
    let error = call(script, Value::from("a".repeat(64) + "b")).unwrap_err();
    assert!(error.contains("interrupt"), "{error}");
}

const WEIGHTED: &str = "function main() {
    this.init = function () { this.totalValue = 0.0; this.totalWeight = 0.0; }
    this.accumulate = function (value, timestamp) {
        this.totalValue += value.level * value.weight;
        this.totalWeight += value.weight;
    }
    this.computeResult = function () {
        if (this.totalValue == 0) { result = 0; } else { result = this.totalValue / this.totalWeight; }
        return result;
    }
}";

/// A state that went through a snapshot.
fn kept(state: &State) -> State {
    let mut out = Writer::new();
    state.write(&mut out);
    let bytes = out.finish();
    let mut reader = Reader::new(&bytes);
    let read = State::read(&mut reader).unwrap();
    assert!(reader.is_at_end());
    read
}

fn event(level: i64, weight: i64) -> Value {
    Value::from(Record::from_iter([("level".into(), level.into()), ("weight".into(), weight.into())]))
}

#[test]
fn an_aggregate_has_its_state_outside_between_events_rule_script_04() {
    let twa = function("TWA", WEIGHTED);
    assert_eq!(twa.kind(), FunctionKind::Aggregate);
    let (mut one, mut other) = (twa.initial(), twa.initial());
    assert_eq!(twa.result(&one, &[]), Ok(Value::BigInt(0)));
    for (level, weight) in [(10, 1), (20, 3)] {
        twa.accumulate(&mut one, &event(level, weight), DateTime::MIN).unwrap();
        one = kept(&one);
        twa.accumulate(&mut other, &event(1, 1), DateTime::MIN).unwrap();
    }
    assert_eq!(twa.result(&one, &[]), Ok(Value::Float(17.5)));
    assert_eq!(twa.result(&other, &[]), Ok(Value::BigInt(1)), "each window has its own");
    // Events that are kept give the same.
    let events = [(event(10, 1), DateTime::MIN), (event(20, 3), DateTime::MIN)];
    assert_eq!(twa.result(&twa.initial(), &events), Ok(Value::Float(17.5)));
}

#[test]
fn a_state_may_hold_all_that_scripts_count_with() {
    let script = "function main() {
        this.init = function () {
            this.least = Infinity; this.last = undefined; this.first = null; this.names = new Set();
            this.counts = new Map(); this.nested = {list: [], at: new Date(NaN), on: true};
        }
        this.accumulate = function (value, timestamp) {
            this.least = Math.min(this.least, value);
            this.last = timestamp; this.first = this.first ?? timestamp;
            this.names.add('n' + value);
            this.counts.set(value, (this.counts.get(value) || 0) + 1);
            this.nested.list.push(value);
        }
        this.computeResult = function () {
            return {least: this.least, span: this.last - this.first, names: [...this.names].join(),
                counts: [...this.counts], list: this.nested.list, at: this.nested.at, on: this.nested.on};
        }
    }";
    let all = function("all", script);
    let mut state = all.initial();
    for (number, second) in [(3, 1), (1, 2), (3, 4)] {
        let time = DateTime::from_unix_millis(second * 1000).unwrap();
        all.accumulate(&mut state, &Value::BigInt(number), time).unwrap();
        state = kept(&state);
    }
    assert_eq!(
        all.result(&state, &[]).unwrap().to_json(),
        r#"{"least":1,"span":3000,"names":"n3,n1","counts":[[3,2],[1,1]],"list":[3,1,3],"at":null,"on":true}"#
    );
    let odd = "function main() { this.init = function () { this.f = [() => 1]; };
        this.accumulate = function () {}; this.computeResult = function () { return 1; } }";
    let error = Functions::default().add_script("odd", odd).unwrap_err().to_string();
    assert!(error.contains("the state has something of type function"), "{error}");
}

#[test]
fn damaged_states_are_errors() {
    let all = function("TWA", WEIGHTED);
    let mut state = all.initial();
    all.accumulate(&mut state, &event(1, 2), DateTime::MIN).unwrap();
    let mut out = Writer::new();
    state.write(&mut out);
    let bytes = out.finish();
    for end in 0..bytes.len() {
        assert!(State::read(&mut Reader::new(&bytes[..end])).is_err(), "{end}");
    }
    let deep = [1, 0, 1, b'a'].into_iter().chain([7, 1].repeat(100_000)).collect::<Vec<u8>>();
    assert!(State::read(&mut Reader::new(&deep)).is_err());
}

#[test]
fn one_function_serves_several_threads() {
    let twice = function("twice", "x => 2 * x");
    std::thread::scope(|scope| {
        for start in 0..4 {
            let twice = &twice;
            scope.spawn(move || {
                for number in start..start + 200 {
                    assert_eq!(twice.call(&[Value::BigInt(number)]), Ok(Value::BigInt(2 * number)));
                }
            });
        }
    });
}
