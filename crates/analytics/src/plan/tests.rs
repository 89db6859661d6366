use proptest::prelude::*;

use crate::{Compatibility, Level, Options, Query, QueryErrors};

fn compile(text: &str) -> Result<Query, QueryErrors> {
    Query::compile(text, &Options { level: Level::Extended, ..Options::default() })
}

#[test]
fn mistakes_are_told_with_place_and_cure() {
    let window = "GROUP BY TumblingWindow(second, 3)";
    for (text, line_and_column, part) in [
        ("SELECT COUNT(*) FROM i", (1, 8), "has no place here"),
        ("SELECT a, COUNT(*) FROM i GROUP BY a", (1, 36), "a window must be specified"),
        (
            "SELECT COUNT(*) FROM i GROUP BY DATEPART(minute, System.Timestamp())",
            (1, 33),
            "a window must be specified",
        ),
        (&format!("SELECT a.b FROM i {window}"), (1, 8), "a.b is neither a key of GROUP BY"),
        (&format!("SELECT * FROM i {window}"), (1, 8), "* cannot be selected"),
        (&format!("SELECT SUM(COUNT(*)) FROM i {window}"), (1, 12), "has no place here"),
        (&format!("SELECT SUM(a, b) FROM i {window}"), (1, 8), "takes one argument"),
        (&format!("SELECT SUM(DISTINCT a) FROM i {window}"), (1, 12), "DISTINCT belongs into COUNT"),
        (&format!("SELECT TopOne() FROM i {window}"), (1, 8), "needs an order"),
        (&format!("SELECT AVG(a) OVER (PARTITION BY b) FROM i {window}"), (1, 15), "looks at no window"),
        (&format!("SELECT COUNT(*) FROM i {window}, SlidingWindow(second, 1)"), (1, 60), "has one window"),
        ("SELECT COUNT(*) FROM i GROUP BY TumblingWindow(second, x)", (1, 56), "constant whole number"),
        ("SELECT COUNT(*) FROM i GROUP BY TumblingWindow(second, 0)", (1, 33), "longer than nothing"),
        ("SELECT COUNT(*) FROM i GROUP BY TumblingWindow(day, 8)", (1, 53), "at most 7 days"),
        ("SELECT COUNT(*) FROM i GROUP BY TumblingWindow(month, 1)", (1, 48), "month is not a unit"),
        ("SELECT COUNT(*) FROM i GROUP BY TumblingWindow(second)", (1, 33), "(unit, duration)"),
        ("SELECT COUNT(*) FROM i GROUP BY HoppingWindow(second, 3)", (1, 33), "(unit, duration, hop)"),
        (
            "SELECT COUNT(*) FROM i GROUP BY Windows(Window('a', Tumbling(second, 1)), Tumbling(second, 2))",
            (1, 33),
            "or none",
        ),
        (
            "SELECT COUNT(*) FROM i GROUP BY Windows(Window('a', Tumbling(second, 1)), Window('A', Tumbling(second, 2)))",
            (1, 75),
            "same id",
        ),
        ("SELECT a FROM i WHERE TumblingWindow(second, 3)", (1, 23), "stands alone"),
        ("SELECT System.Window().Id FROM i", (1, 8), "needs GROUP BY"),
        ("SELECT DATEADD(mintue, 1, a) FROM i", (1, 16), "mintue is none"),
        ("SELECT LEFT(a) FROM i", (1, 8), "takes 2 arguments, not 1"),
        ("SELECT DATEDIFF(day, a) FROM i", (1, 8), "takes 3 arguments, not 2"),
        ("SELECT CAST(a AS integer) FROM i", (1, 18), "no type integer"),
        ("SELECT UDF.f(a) FROM i", (1, 12), "there is no function udf.f; it comes with the job"),
        ("SELECT my.ABS(a) FROM i", (1, 8), "without a prefix"),
        ("SELECT a FROM i TIMESTAMP BY System.Timestamp()", (1, 30), "computed from the event"),
        ("WITH s AS (SELECT a INTO b FROM i) SELECT a FROM s", (1, 26), "a step has no INTO"),
        ("WITH s AS (SELECT a FROM i), S AS (SELECT a FROM i) SELECT a FROM s", (1, 30), "two steps named S"),
        ("WITH s AS (SELECT a FROM u), u AS (SELECT a FROM i) SELECT a FROM s", (1, 26), "comes later"),
        ("WITH s AS (SELECT a FROM i)\nSELECT a FROM s TIMESTAMP BY t", (2, 17), "carries its times already"),
        ("SELECT a FROM x JOIN y ON x.a = y.a", (1, 27), "does not bound at all"),
        (
            "SELECT a FROM x JOIN y ON x.a = y.a AND DATEDIFF(minute, x, y) < 5",
            (1, 27),
            "does not bound on both sides",
        ),
        ("SELECT a FROM x JOIN y ON DATEDIFF(day, x, y) BETWEEN 0 AND 8", (1, 27), "at most 7 days"),
        ("SELECT a FROM x JOIN x ON DATEDIFF(day, x, x) = 0", (1, 22), "two sources are named x"),
        (
            "SELECT a FROM x JOIN y ON LAG(a) OVER (LIMIT DURATION(day, 1)) = 1 AND DATEDIFF(day, x, y) = 0",
            (1, 27),
            "from one of the joined streams",
        ),
        ("SELECT a FROM i CROSS APPLY GetArrayElement(a) AS e", (1, 29), "is none of them"),
        ("SELECT a FROM i CROSS APPLY GetArrayElements(a, 1) AS e", (1, 49), "takes one argument, not 2"),
        ("SELECT LAG(a) FROM i", (1, 8), "how far it looks back"),
        ("SELECT LAG(a, 0) OVER (LIMIT DURATION(day, 1)) FROM i", (1, 15), "1 to 10000"),
        ("SELECT LAG(a, b) OVER (LIMIT DURATION(day, 1)) FROM i", (1, 15), "constant whole number"),
        ("SELECT LAST(a, 1, 2) OVER (LIMIT DURATION(day, 1)) FROM i", (1, 8), "LAST(value [, default])"),
        (
            "SELECT LAG(LAG(a) OVER (LIMIT DURATION(day, 1))) OVER (LIMIT DURATION(day, 1)) FROM i",
            (1, 12),
            "not in another such function",
        ),
        ("SELECT ISFIRST(day, 1) OVER (LIMIT DURATION(day, 1)) FROM i", (1, 36), "its own interval"),
        (
            "SELECT AnomalyDetection_SpikeAndDip(a, 101, 9, 'dips') OVER (LIMIT DURATION(day, 1)) FROM i",
            (1, 40),
            "a constant from 1 to 100",
        ),
        (
            "SELECT AnomalyDetection_SpikeAndDip(a, 99, 9, 'dip') OVER (LIMIT DURATION(day, 1)) FROM i",
            (1, 47),
            "not what it looks for",
        ),
        (
            "SELECT AnomalyDetection_ChangePoint(a, 99, 1) OVER (LIMIT DURATION(day, 1)) FROM i",
            (1, 44),
            "2 to 10000 rows",
        ),
        ("SELECT COUNT(DISTINCT a) OVER (LIMIT DURATION(day, 1)) FROM i", (1, 14), "takes no OVER"),
        (
            &format!("SELECT LAG(a) OVER (LIMIT DURATION(day, 1)) FROM i {window}"),
            (1, 8),
            "is no value of a group",
        ),
        (
            "SELECT * FROM i MATCH_RECOGNIZE (LIMIT DURATION(day, 1) MEASURES A.x AS x AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE A AS B.x > 1, B AS x > 1) AS t",
            (1, 130),
            "B is defined later",
        ),
        (
            "SELECT * FROM i MATCH_RECOGNIZE (LIMIT DURATION(day, 1) MEASURES A.x AS x AFTER MATCH SKIP TO NEXT ROW PATTERN ((A*)+) DEFINE A AS x > 1) AS t",
            (1, 117),
            "at least one row each time",
        ),
        ("SELECT * FROM i MATCH_RECOGNIZE (MEASURES A.x AS x) AS t", (1, 34), "how long it may be"),
        ("SELECT a INTO x FROM i UNION SELECT a INTO y FROM j", (1, 44), "write into one output"),
        ("SELECT a FROM i WHERE a LIKE 'x' ESCAPE 'yz'", (1, 41), "one character"),
    ] {
        let errors = compile(text).expect_err(text);
        let error = errors.first();
        assert!(error.message.contains(part), "{text}: {error}");
        assert_eq!((error.line, error.column), line_and_column, "{text}: {error}");
    }
}

#[test]
fn near_names_are_offered() {
    for (text, hint) in [
        ("SELECT TumblingWindwo(second, 1) FROM i", "TumblingWindow"),
        ("SELECT SUBTRING(a, 1, 2) FROM i", "SUBSTRING"),
        ("SELECT COUTN(*) FROM i GROUP BY Tumbling(second, 1)", "COUNT"),
        ("SELECT COUNT(*) FROM i GROUP BY Tumbling(secnd, 1)", "second"),
        ("SELECT CAST(a AS bigit) FROM i", "bigint"),
        ("SELECT a FRMO i", "FROM"),
        ("SELECT a FROM i GRUOP BY a", "GROUP"),
    ] {
        let errors = compile(text).expect_err(text);
        assert_eq!(errors.first().hint.as_deref(), Some(hint), "{errors}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_text() {
    let text = "SELECT nope(a), b,\n LEFT(c) FROM i WHERE SUM(d) > 1";
    let errors = compile(text).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| (error.line, error.column)).collect();
    assert_eq!(places, [(1, 8), (2, 2), (2, 23)]);
    assert_eq!(errors.to_string().lines().count(), 9);
}

#[test]
fn the_limited_level_refuses_what_its_original_does_rule_sql_07() {
    let limited = |text: &str| Query::compile(text, &Options::default());
    let group = "FROM i GROUP BY TumblingWindow(second, 1)";
    let many: Vec<String> = (0..15).map(|number| format!("SUM(c{number}) AS s{number}")).collect();
    let many = format!("SELECT {} {group}", many.join(", "));
    for (text, part) in [
        ("SELECT a FROM i PARTITION BY a", "PARTITION BY is not offered"),
        ("SELECT UDF.f(a) FROM i", "not offered"),
        ("SELECT GetMetadataPropertyValue(i, 'x') FROM i", "not offered"),
        (&many, "at most 14 aggregates"),
    ] {
        let errors = limited(text).expect_err(text);
        assert!(errors.first().message.contains(part), "{errors}");
    }
    compile(&many).unwrap();
    compile("SELECT a FROM i PARTITION BY a").unwrap();
    assert!(limited("SELECT A FROM i").unwrap().json_options().lower_case_names);
    assert!(!compile("SELECT A FROM i").unwrap().json_options().lower_case_names);
}

#[test]
fn what_a_query_reads_and_writes() {
    let query = compile(
        "WITH s AS (SELECT * FROM Sensor) SELECT a INTO Alert FROM s SELECT b INTO alert FROM other SELECT c FROM sensor",
    )
    .unwrap();
    let inputs: Vec<_> = query.inputs().iter().map(|input| &*input.name).collect();
    assert_eq!(inputs, ["Sensor", "other"]);
    assert_eq!(query.input("SENSOR"), Some(0));
    let outputs: Vec<_> = query.outputs().iter().map(|output| &**output).collect();
    assert_eq!(outputs, ["Alert", "output"]);
}

#[test]
fn what_is_odd_but_runs_is_told() {
    let notes = |text: &str| -> Vec<String> {
        compile(text)
            .unwrap()
            .diagnostics()
            .iter()
            .map(|note| format!("{}: {}", note.column, note.message))
            .collect()
    };
    let turned = notes("FROM i SELECT a");
    assert!(turned[0].starts_with("1: FROM before SELECT is an extension"), "{turned:?}");
    let unknown = notes("WITH s AS (SELECT speed FROM i) SELECT sped FROM s");
    assert!(
        unknown[0].starts_with("40: s has no column sped: it is always NULL; did you mean speed?"),
        "{unknown:?}"
    );
    let unused = notes("WITH step1 AS (SELECT a FROM i) SELECT a FROM stpe1");
    assert!(unused[0].starts_with("6: nothing reads step step1; is stpe1 meant to be it?"), "{unused:?}");
    let uneven = notes("SELECT a, b FROM i UNION SELECT a FROM i");
    assert!(uneven[0].starts_with("26: the branches of this UNION have different columns"), "{uneven:?}");
    assert!(notes("SELECT a FROM i").is_empty());
}

#[test]
fn readers_are_shared_where_the_time_is_the_same() {
    let query =
        compile("SELECT a FROM i TIMESTAMP BY t SELECT b FROM i x TIMESTAMP BY x.t SELECT c FROM i").unwrap();
    assert_eq!(query.plan().readers.len(), 2);
    let options = Options { compatibility: Compatibility::V1_0, ..Options::default() };
    let lower =
        Query::compile("SELECT A FROM i TIMESTAMP BY T SELECT B FROM i TIMESTAMP BY t", &options).unwrap();
    assert_eq!(lower.plan().readers.len(), 1);
}

#[test]
fn rows_do_not_multiply_without_bound() {
    let mut text = "WITH s0 AS (SELECT * FROM i)".to_owned();
    for step in 1..40 {
        let before = step - 1;
        text += &format!(", s{step} AS (SELECT * FROM s{before} UNION SELECT * FROM s{before})");
    }
    text += " SELECT * FROM s39";
    assert!(compile(&text).unwrap_err().first().message.contains("more than 1024 ways"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_compiles_or_has_complaints_that_lie_inside(text in crate::syntax::soup()) {
        for options in [Options::default(), Options { level: Level::Extended, ..Options::default() }] {
            let Err(errors) = Query::compile(&text, &options) else { continue };
            prop_assert!(errors.iter().len() > 0);
            for error in errors.iter() {
                prop_assert!(text.get(error.span.start..error.span.end).is_some());
                let line = text.split('\n').nth(error.line - 1).unwrap_or_default();
                prop_assert!(error.column <= line.chars().count() + 1);
                prop_assert!(error.to_string().contains('^'));
            }
        }
    }
}

#[test]
fn a_plan_is_told_step_by_step() {
    let query = compile(
        "WITH s AS (SELECT k, AVG(v) AS a FROM i TIMESTAMP BY t WHERE v > 0 GROUP BY k, TumblingWindow(minute, 1) HAVING a > 3)
         SELECT s.k, LAG(s.a) OVER (LIMIT DURATION(hour, 1)) AS p INTO o FROM s LEFT JOIN j ON j.k = s.k AND DATEDIFF(second, s, j) BETWEEN 0 AND 5",
    );
    assert_eq!(
        query.unwrap().explain(),
        "input i, time t → 0
input j, time of arrival → 2 (port 1)
0 s: select → 1
    where: v > 0
    window: tumbling 60 s
    keys: k
    aggregates: AVG(v)
    having: a > 3
    columns: k, a
1 o: LAG(s.a) OVER (LIMIT DURATION(hour, 1)), looking back 3600 s → 2
2 o: left join on j.k = s.k AND DATEDIFF(second, s, j) BETWEEN 0 AND 5, by hash; right rows are kept 0.9999999 s → 3
3 o: select → output o
    columns: k, p
"
    );
}
