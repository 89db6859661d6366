use super::*;
use crate::value::{DateTime, JsonOptions};

/// What a call gives, as JSON; `!` and the message for an error. Arguments are a JSON array; a datepart may stand before.
fn result(call: &str) -> String {
    let (name, rest) = call.split_once(' ').unwrap_or((call, "[]"));
    let (part, args) = rest.split_at(rest.find('[').unwrap());
    let wrapped = format!("{{\"a\":{args}}}");
    let event = &Value::from_json(wrapped.as_bytes(), &JsonOptions::default()).expect(call)[0];
    let Value::Array(args) = event.field("a") else { panic!("{call}") };
    let function = lookup(name).unwrap_or_else(|| panic!("no {name}"));
    match function.call_with(DatePart::parse(part.trim()), args) {
        Ok(value) => value.to_json(),
        Err(error) => format!("!{error}"),
    }
}

fn check(table: &[(&str, &str)]) {
    for (call, expected) in table {
        let found = result(call);
        let right = match expected.strip_prefix('!') {
            Some(part) => found.starts_with('!') && found.contains(part),
            None => found == *expected,
        };
        assert!(right, "{call}: {found}, not {expected}");
    }
}

#[test]
fn texts() {
    check(&[
        (r#"CONCAT ["pump ",7," at ",1.5,true]"#, r#""pump 7 at 1.51""#),
        (r#"CONCAT [null,null]"#, r#""""#),
        (r#"CONCAT ["a",[]]"#, "!The 2nd argument of function concat has invalid type 'array'"),
        (r#"CONCAT_WS ["/","a",null,"b"]"#, r#""a/b""#),
        (r#"CONCAT_WS ["/",null,null]"#, r#""""#),
        (r#"CONCAT_WS [null,"a","b"]"#, r#""ab""#),
        (r#"LEFT ["größer",3]"#, r#""grö""#),
        (r#"LEFT ["ab",9]"#, r#""ab""#),
        (r#"LEFT ["ab",-1]"#, "!function left: the number of characters is negative"),
        (r#"LEFT ["ab","x"]"#, "!Only 'bigint' is allowed"),
        (r#"RIGHT ["größer",4]"#, r#""ößer""#),
        (r#"RIGHT ["ab",9]"#, r#""ab""#),
        (r#"RIGHT ["ab",-1]"#, "!negative"),
        (r#"LOWER ["ÄB"]"#, r#""äb""#),
        (r#"UPPER ["äb"]"#, r#""ÄB""#),
        (r#"LTRIM ["\u2003\t a "]"#, r#""a ""#),
        (r#"RTRIM [" a\u00a0\u0085"]"#, r#"" a""#),
        (r#"TRIM ["\u3000 a b\r\n"]"#, r#""a b""#),
        (r#"REVERSE ["añ1"]"#, r#""1ña""#),
        (r#"NCHAR [8364]"#, r#""€""#),
        (r#"NCHAR [1114111]"#, "\"\u{10ffff}\""),
        (r#"NCHAR [1114112]"#, "null"),
        (r#"NCHAR [-1]"#, "null"),
        (r#"REPLACE ["a-b-c","-","+-"]"#, r#""a+-b+-c""#),
        (r#"REPLACE ["abc","","x"]"#, r#""abc""#),
        (r#"REPLACE ["abc","b",null]"#, "null"),
        (r#"REPLICATE ["ab",3]"#, r#""ababab""#),
        (r#"REPLICATE ["ab",0]"#, r#""""#),
        (r#"REPLICATE ["ab",-1]"#, "null"),
        (r#"REPLICATE ["ab",9000000000000000000]"#, "!longer than 1 MiB"),
        (r#"SPACE [2]"#, r#""  ""#),
        (r#"SPACE [-2]"#, "null"),
        (r#"STUFF ["valve",2,3,"--"]"#, r#""v--e""#),
        (r#"STUFF ["valve",5,99,"!"]"#, r#""valv!""#),
        (r#"STUFF ["valve",6,1,"x"]"#, r#""""#),
        (r#"STUFF ["valve",0,1,"x"]"#, r#""""#),
        (r#"STUFF ["valve",1,-1,"x"]"#, "!negative"),
        (r#"SUBSTRING ["sensor",3,2]"#, r#""ns""#),
        (r#"SUBSTRING ["sensor",5,99]"#, r#""or""#),
        (r#"SUBSTRING ["sensor",0,3]"#, r#""se""#),
        (r#"SUBSTRING ["sensor",-5,3]"#, r#""""#),
        (r#"SUBSTRING ["sensor",99,1]"#, r#""""#),
        (r#"SUBSTRING ["sensor",1,-1]"#, "!negative"),
        (r#"SUBSTRING ["sensor",2,9223372036854775807]"#, r#""ensor""#),
        (r#"TRANSLATE ["a(b)","()","[]"]"#, r#""a[b]""#),
        (r#"TRANSLATE ["ab","ab","ba"]"#, r#""ba""#),
        (r#"TRANSLATE ["ab","a","xy"]"#, "!same number of characters"),
    ]);
}

#[test]
fn searching() {
    check(&[
        (r#"CHARINDEX ["no","piano note"]"#, "4"),
        (r#"CHARINDEX ["no","piano note",5]"#, "7"),
        (r#"CHARINDEX ["no","piano note",-3]"#, "4"),
        (r#"CHARINDEX ["no","piano note",99]"#, "0"),
        (r#"CHARINDEX ["x","piano"]"#, "0"),
        (r#"CHARINDEX ["","piano"]"#, "0"),
        (r#"CHARINDEX ["ß","größe"]"#, "4"),
        (r#"PATINDEX ["%n_te%","piano note"]"#, "7"),
        (r#"PATINDEX ["pi%","piano"]"#, "1"),
        (r#"PATINDEX ["%[xyz]%","piano"]"#, "0"),
        (r#"PATINDEX [null,"piano"]"#, "null"),
        (r#"LEN ["größe  "]"#, "5"),
        (r#"LEN [1234]"#, "4"),
        (r#"LEN ["  "]"#, "0"),
        (r#"UNICODE ["€uro"]"#, "8364"),
        (r#"UNICODE [""]"#, "null"),
        (r#"REGEXMATCH ["unit 12","[0-9]+"]"#, "6"),
        (r#"REGEXMATCH ["unit 12","("]"#, "0"),
        (r#"REGEXMATCH [null,"a"]"#, "null"),
    ]);
}

#[test]
fn dates() {
    check(&[
        (r#"DATEADD hour [2,"2024-03-01T23:00:00Z"]"#, r#""2024-03-02T01:00:00.0000000Z""#),
        (r#"DATEADD day [1.9,"2024-02-28"]"#, r#""2024-02-29T00:00:00.0000000Z""#),
        (r#"DATEADD day [-1.9,"2024-03-01"]"#, r#""2024-02-29T00:00:00.0000000Z""#),
        (r#"DATEADD ms [1709251200123,"1970-01-01T00:00:00Z"]"#, r#""2024-03-01T00:00:00.1230000Z""#),
        (r#"DATEADD day [null,"2024-02-28"]"#, "null"),
        (
            r#"DATEADD day [1,"soon"]"#,
            "!The 2nd argument of function dateadd has invalid type 'nvarchar(max)'",
        ),
        (r#"DATEADD year [9000,"2024-02-28"]"#, "!out of the range of 'datetime'"),
        (r#"DATEADD [1,"2024-02-28"]"#, "!datepart"),
        (r#"DATEDIFF minute ["2024-03-01T00:00:59Z","2024-03-01T01:01:00Z"]"#, "61"),
        (r#"DATEDIFF_BIG mcs ["2024-03-01","2024-02-29"]"#, "-86400000000"),
        (r#"DATEPART dw ["2024-03-01"]"#, "6"),
        (r#"DATENAME dw ["2024-03-01"]"#, r#""Friday""#),
        (r#"DATENAME month ["2024-03-01"]"#, r#""March""#),
        (r#"DAY ["2024-03-05T10:00:00"]"#, "5"),
        (r#"MONTH ["2024-03-05T10:00:00"]"#, "3"),
        (r#"YEAR ["2024-01-01T00:30:00+01:00"]"#, "2023"),
        (r#"YEAR [5]"#, "!Only 'datetime' is allowed"),
        (r#"DATETIMEFROMPARTS [2024,2,29,23,59,58,997]"#, r#""2024-02-29T23:59:58.9970000Z""#),
        (r#"DATETIMEFROMPARTS [2023,2,29,0,0,0,0]"#, "!no such date"),
        (r#"DATETIMEFROMPARTS [2024,2,1,24,0,0,0]"#, "!no such date"),
        (r#"EOMONTH ["2024-02-03T10:00:00"]"#, r#""2024-02-29T00:00:00.0000000Z""#),
        (r#"EOMONTH ["2024-01-31",1]"#, r#""2024-02-29T00:00:00.0000000Z""#),
        (r#"ISDATE ["2024-02-30"]"#, "0"),
        (r#"ISDATE ["2024-02-28 10:00"]"#, "1"),
        (r#"ISDATE [null]"#, "0"),
    ]);
}

#[test]
fn mathematics() {
    check(&[
        ("ABS [-3]", "3"),
        ("ABS [-3.5]", "3.5"),
        (r#"ABS ["-3"]"#, "3.0"),
        ("ABS [-9223372036854775808]", "!out of the range of 'bigint'"),
        (
            r#"ABS ["warm"]"#,
            "!The 1st argument of function abs has invalid type 'nvarchar(max)'. Only 'bigint', 'float'",
        ),
        ("CEILING [-1.5]", "-1.0"),
        ("CEILING [-0.5]", "0.0"),
        ("CEILING [7]", "7"),
        ("FLOOR [-1.5]", "-2.0"),
        ("SIGN [-7]", "-1"),
        ("SIGN [0.0]", "0.0"),
        ("SIGN [2.5]", "1.0"),
        ("EXP [0]", "1.0"),
        ("EXP [1000]", "!out of the range of 'float'"),
        ("SQUARE [-3]", "9.0"),
        ("SQRT [2.25]", "1.5"),
        ("SQRT [-1]", "!function sqrt: it has no value"),
        ("POWER [2,10]", "1024"),
        ("POWER [2,0.5]", "1"),
        ("POWER [2.0,0.5]", "1.4142135623730951"),
        ("POWER [2,-1]", "0"),
        ("POWER [-1,9223372036854775807]", "-1"),
        ("POWER [0,0]", "1"),
        ("POWER [10,19]", "!out of the range of 'bigint'"),
        ("POWER [0,-1]", "!out of the range"),
        ("LOG [1]", "0.0"),
        ("LOG [8,2]", "3.0"),
        ("LOG [0]", "!out of the range"),
        ("LOG [-1]", "!no value"),
        ("LOG10 [1000]", "3.0"),
        ("PI []", "3.141592653589793"),
        ("ACOS [1]", "0.0"),
        ("ACOS [2]", "!no value"),
        ("ASIN [0]", "0.0"),
        ("ATAN [0]", "0.0"),
        ("ATN2 [0,1]", "0.0"),
        ("COS [0]", "1.0"),
        ("COT [0]", "!out of the range"),
        ("SIN [0]", "0.0"),
        ("TAN [0]", "0.0"),
        ("DEGREES [0]", "0.0"),
        ("RADIANS [180]", "3.141592653589793"),
    ]);
}

#[test]
fn rounding() {
    check(&[
        ("ROUND [2.5,0]", "3.0"),
        ("ROUND [-2.5,0]", "-3.0"),
        ("ROUND [-0.4,0]", "0.0"),
        ("ROUND [1.005,2]", "1.01"),
        ("ROUND [21.4449,3]", "21.445"),
        ("ROUND [99.96,1]", "100.0"),
        ("ROUND [0.5,-1]", "0.0"),
        ("ROUND [5.0,-1]", "10.0"),
        ("ROUND [4.9,-1]", "0.0"),
        ("ROUND [1e300,2]", "1e+300"),
        ("ROUND [1e-300,2]", "0.0"),
        ("ROUND [7.25,9223372036854775807]", "7.25"),
        ("ROUND [7.25,-9223372036854775808]", "0.0"),
        ("ROUND [1250,-2]", "1300"),
        ("ROUND [-1250,-2]", "-1300"),
        ("ROUND [1249,-2]", "1200"),
        ("ROUND [42,3]", "42"),
        ("ROUND [42,-99]", "0"),
        ("ROUND [9223372036854775807,-1]", "!out of the range of 'bigint'"),
        ("ROUND [0.0,0]", "0.0"),
        ("ROUND [null,0]", "null"),
    ]);
}

#[test]
fn records_arrays_and_any_type() {
    check(&[
        ("GetArrayElement [[5,6],1]", "6"),
        ("GetArrayElement [[5,6],2]", "null"),
        ("GetArrayElement [[5,6],-1]", "null"),
        (
            "GetArrayElement [{},0]",
            "!The 1st argument of function getarrayelement has invalid type 'record'. Only 'array'",
        ),
        ("GetArrayLength [[5,null]]", "2"),
        (r#"GetRecordPropertyValue [{"a b":{"c":1}},"a b"]"#, r#"{"c":1}"#),
        (r#"GetRecordPropertyValue [{"a":1},"A"]"#, "null"),
        ("GetType [1]", r#""bigint""#),
        ("GetType [1.0]", r#""float""#),
        (r#"GetType [""]"#, r#""nvarchar(max)""#),
        ("GetType [false]", r#""bit""#),
        ("GetType [{}]", r#""record""#),
        ("GetType [[]]", r#""array""#),
        ("GetType [null]", "null"),
        (r#"COALESCE [null,"a",1]"#, r#""a""#),
        ("COALESCE [null,null]", "null"),
        ("NULLIF [2,2.0]", "null"),
        ("NULLIF [2,3]", "2"),
        ("NULLIF [2,null]", "2"),
    ]);
    let time = lookup("GetType").unwrap().call(&[DateTime(0).into()]);
    assert_eq!(time, Ok("datetime".into()));
}

#[test]
fn json_in_texts() {
    check(&[
        (r#"JSON_PARSE ["{\"a\":[1,true]}"]"#, r#"{"a":[1,true]}"#),
        (r#"JSON_PARSE ["[1]"]"#, "null"),
        (r#"JSON_PARSE ["{"]"#, "null"),
        (r#"JSON_PARSE [5]"#, "null"),
        (r#"ISJSON ["[1]"]"#, "1"),
        (r#"ISJSON ["1"]"#, "0"),
        (r#"ISJSON ["{"]"#, "0"),
        (r#"JSON_VALUE ["{\"a\":{\"b c\":[7,\"x\",true]}}","$.a.\"b c\"[0]"]"#, r#""7""#),
        (r#"JSON_VALUE [{"a":[7,"x",true]},"$.a[1]"]"#, r#""x""#),
        (r#"JSON_VALUE [{"a":[7,"x",true]},"lax $.a[2]"]"#, r#""true""#),
        (r#"JSON_VALUE [{"a":1},"$"]"#, "null"),
        (r#"JSON_VALUE [{"a":1},"$.b"]"#, "null"),
        (r#"JSON_VALUE [{"a":1},"strict $.b"]"#, "!nothing is at the path"),
        (r#"JSON_VALUE [{"a":1},"a"]"#, "!the path is wrong"),
        (r#"JSON_VALUE [{"a":1},"$..a"]"#, "!the path is wrong"),
        (r#"JSON_VALUE ["{","$"]"#, "!no JSON"),
        (r#"JSON_QUERY [{"a":[1,2]},"$.a"]"#, r#""[1,2]""#),
        (r#"JSON_QUERY ["{ \"a\": 1 }"]"#, r#""{\"a\":1}""#),
        (r#"JSON_QUERY [{"a":1},"$.a"]"#, "null"),
        (r#"JSON_MODIFY [{"a":1},"$.a",2]"#, r#""{\"a\":2}""#),
        (r#"JSON_MODIFY [{"a":1},"$.b","x"]"#, r#""{\"a\":1,\"b\":\"x\"}""#),
        (r#"JSON_MODIFY [{"a":1,"b":2},"$.a",null]"#, r#""{\"b\":2}""#),
        (r#"JSON_MODIFY [{"a":[1,[2]]},"append $.a[1]",3]"#, r#""{\"a\":[1,[2,3]]}""#),
        (r#"JSON_MODIFY [{"a":1},"$.x.y",3]"#, r#""{\"a\":1}""#),
        (r#"JSON_MODIFY [null,"$.a",1]"#, "null"),
    ]);
}

#[test]
fn names_in_any_case_and_misspelt() {
    assert_eq!(lookup("getARRAYlength").map(|function| function.name), Some("GetArrayLength"));
    assert!(lookup("GETDATE").is_none());
    assert_eq!(near("SUBSTIRNG"), Some("SUBSTRING"));
    assert_eq!(near("collectop"), Some("CollectTop"));
    assert_eq!(near("udf_of_mine"), None);
    let mut names: Vec<_> = all().map(|function| function.name.to_lowercase()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_number_of_arguments_is_checked() {
    for function in all() {
        let too_few = function.min_args.checked_sub(1);
        let too_many = function.max_args.checked_add(1).filter(|count| *count < 100);
        for count in too_few.into_iter().chain(too_many) {
            assert!(!function.takes(count));
            let args = vec![Value::BigInt(1); count];
            assert!(function.call_with(Some(DatePart::Day), &args).is_err(), "{} {count}", function.name);
        }
    }
}

/// Whatever the types, a function gives a value or an error, and no error but of the types for `NULL`.
#[test]
fn no_function_panics_on_any_types() {
    let nested = Value::from_json(br#"{"a":[1,{"b":"x"}],"type":"Point"}"#, &JsonOptions::default()).unwrap();
    let values = [
        Value::Null,
        Value::Bit(true),
        Value::BigInt(i64::MIN),
        Value::BigInt(i64::MAX),
        Value::BigInt(0),
        Value::Float(-1e308),
        Value::Float(1e-308),
        Value::text(""),
        Value::text("é%[$.a(1)"),
        DateTime::MAX.into(),
        DateTime::MIN.into(),
        nested[0].clone(),
        nested[0].field("a").clone(),
    ];
    for function in all() {
        let count = function.min_args.max(1).min(function.max_args);
        for first in &values {
            for second in &values {
                let args: Vec<_> =
                    (0..count).map(|place| if place % 2 == 0 { first } else { second }.clone()).collect();
                let strict = !matches!(function.call, Call::Lenient(_));
                let found = function.call_with(Some(DatePart::Month), &args);
                if strict && args.iter().any(Value::is_null) {
                    assert_eq!(found, Ok(Value::Null), "{}", function.name);
                }
                if let Ok(Value::Float(number)) = found {
                    assert!(number.is_finite(), "{} {args:?}", function.name);
                }
            }
        }
    }
}
