use super::*;
use crate::syntax::soup;
use crate::syntax::tree::{Expr, ExprKind, Item, Joined};
use proptest::prelude::*;

fn error(text: &str) -> (usize, String) {
    let problem = parse(text).expect_err(text);
    (problem.span.start, problem.message)
}

fn one(text: &str) -> crate::syntax::tree::Select {
    let mut script = parse(text).unwrap();
    script.statements.remove(0).branches.remove(0)
}

#[test]
fn both_orders_give_the_same_clauses() {
    let usual = one(
        "SELECT a INTO o FROM i TIMESTAMP BY t WHERE b > 1 GROUP BY TumblingWindow(second, 3) HAVING COUNT(*) > 1",
    );
    let turned = one(
        "FROM i TIMESTAMP BY t WHERE b > 1 GROUP BY TumblingWindow(second, 3) HAVING COUNT(*) > 1 SELECT a INTO o",
    );
    assert_eq!(turned.from_first.map(|span| span.start), Some(0));
    assert_eq!(usual.into.unwrap().text, turned.into.unwrap().text);
    assert_eq!((usual.group.len(), usual.items.len()), (turned.group.len(), turned.items.len()));
    assert!(turned.filter.is_some() && turned.having.is_some());
    let middle = one("FROM i INTO o GROUP BY a SELECT b");
    assert_eq!(middle.into.unwrap().text, "o");
}

#[test]
fn statements_follow_each_other_with_or_without_semicolons() {
    let script = parse(
        "CREATE TABLE i (a bigint, b nvarchar(max)); WITH s AS (SELECT * FROM i), u AS (SELECT a FROM s UNION ALL SELECT a FROM i)
         SELECT * INTO x FROM s SELECT a.*, r.c.* INTO y FROM u a; SELECT n = 1 FROM u;",
    )
    .unwrap();
    assert_eq!((script.tables.len(), script.steps.len(), script.statements.len()), (1, 2, 3));
    assert_eq!(script.steps[1].query.branches.len(), 2);
}

#[test]
fn the_shapes_of_the_reference_parse() {
    for text in [
        "SELECT System.Timestamp AS OutputTime, d AS n, Avg(t) AS a INTO output FROM i TIMESTAMP BY time GROUP BY TumblingWindow(second,30),d HAVING Avg(t)>100",
        "SELECT growth = r - LAG(r) OVER (PARTITION BY s LIMIT DURATION(hour, 1)) FROM input",
        "SELECT LAST(System.Timestamp()) OVER (PARTITION BY s LIMIT DURATION(hour, 1) WHEN r > 50) FROM input",
        "SELECT 1 AS alert FROM input WHERE MAX(h) OVER (PARTITION BY id LIMIT DURATION (hour, 1)) = 0",
        "SELECT T, COUNT(*) AS Count FROM i TIMESTAMP BY E OVER T, P PARTITION BY P GROUP BY TUMBLINGWINDOW(minute,3), T, P",
        "WITH S AS (SELECT * FROM input PARTITION BY D INTO 10) SELECT * INTO [output] FROM S PARTITION BY D",
        "SELECT UDF.hex2Int(offset) AS o INTO output FROM i",
        "SELECT c.L, s.L FROM Cars c JOIN Station s ON ST_DISTANCE(c.L, s.L) < 10 * 1000",
        "SELECT \"[my][Field]\" AS myField FROM input",
        "SELECT t1.*, 'x' AS a INTO [o2] FROM [in] t1 LEFT OUTER JOIN [in] t2 ON t1.h.sn = t2.h.sn AND DATEDIFF(minute, t1, t2) BETWEEN 1 and 5 WHERE t2.h IS NULL",
        "SELECT *, 'x' AS a FROM [in] WHERE ISFIRST(mi, 5) OVER (PARTITION BY h.sn, h.make) = 1",
        "SELECT COUNT(*) FROM i GROUP BY T, Windows(Window('a', TumblingWindow(minute, 10)), Window('b', SlidingWindow(hours, 1)))",
        "SELECT COUNT(*) FROM i GROUP BY SessionWindow(minute, 2, 60) OVER (PARTITION BY u)",
        "SELECT PERCENTILE_CONT(0.9) OVER (ORDER BY a ASC, b DESC) FROM i GROUP BY Tumbling(Duration(hour, 1), Offset(millisecond, -1))",
        "SELECT a FROM i CROSS APPLY GetArrayElements(i.x) AS e OUTER APPLY GetRecordProperties(e.ArrayValue) p",
        "SELECT LEFT(a, 2), COUNT(DISTINCT b), COUNT(DISTINCT), count FROM i WHERE NOT a NOT LIKE '%!%' ESCAPE '!' OR b NOT IN (1, 2)",
        "SELECT * FROM i MATCH_RECOGNIZE (LIMIT DURATION(minute, 1) PARTITION BY k MEASURES LAST(A.x) AS x AFTER MATCH SKIP TO NEXT ROW PATTERN (A+ (B | .)? ) DEFINE A AS A.x > 1) AS T",
        "SELECT CASE a WHEN 1 THEN 'x' ELSE NULL END, CAST(b AS nvarchar(max)) 'c' FROM i",
    ] {
        if let Err(problem) = parse(text) {
            panic!("{text}: {} at {}", problem.message, problem.span.start);
        }
    }
}

#[test]
fn products_bind_tighter_than_sums_and_those_than_tests() {
    let select = one("SELECT a FROM i WHERE NOT x + 2 * y > 3 AND z OR w");
    let ExprKind::Or(terms) = select.filter.unwrap().kind else { panic!("OR is the loosest") };
    let ExprKind::And(terms) = &terms[0].kind else { panic!("then AND") };
    let ExprKind::Unary(_, test) = &terms[0].kind else { panic!("then NOT") };
    let ExprKind::Binary(crate::syntax::tree::BinaryOp::Greater, left, _) = &test.kind else {
        panic!("then tests")
    };
    assert!(matches!(left.kind, ExprKind::Binary(crate::syntax::tree::BinaryOp::Add, ..)));
}

#[test]
fn aliases_of_all_kinds() {
    let select = one("SELECT a AS 'one', b two, three = c, d AS [user], e \"five\" FROM i");
    let names: Vec<_> = select
        .items
        .iter()
        .map(|item| match item {
            Item::Expr(_, Some(name)) => name.text.clone(),
            _ => panic!("all have names"),
        })
        .collect();
    assert_eq!(names, ["one", "two", "three", "user", "five"]);
}

#[test]
fn joins_keep_their_kind() {
    let select = one(
        "SELECT a FROM x INNER JOIN y ON a = b LEFT JOIN z ON c = d OUTER APPLY GetArrayElements(e) AS f",
    );
    let kinds: Vec<_> = select
        .source
        .more
        .iter()
        .map(|joined| match joined {
            Joined::Join { left_outer, .. } => *left_outer,
            Joined::Apply { outer, .. } => *outer,
        })
        .collect();
    assert_eq!(kinds, [false, true, true]);
}

#[test]
fn mistakes_are_told_at_their_place() {
    for (text, at, part) in [
        ("SELECT a INTO o", 15, "FROM is missing"),
        ("SELECT a FROM i GRUOP BY b", 22, "does not continue"),
        ("SELECT a, FROM i", 10, "written [FROM]"),
        ("SELECT (a FROM i", 10, ") is missing"),
        ("SELECT a FROM i RIGHT JOIN j ON a = b", 16, "no RIGHT JOIN"),
        ("SELECT a FROM i, j", 15, "not by a comma"),
        ("SELECT DISTINCT a FROM i", 7, "no SELECT DISTINCT"),
        ("SELECT a FROM i ORDER BY a", 16, "no ORDER BY"),
        ("SELECT a FROM (SELECT b FROM i)", 14, "WITH name AS"),
        ("SELECT f(a OVER (LIMIT DURATION(s, 1)) FROM i", 11, ") is missing"),
        ("SELECT LAG(a) OVER (ROWS 3) FROM i", 20, "does not belong into OVER"),
        ("FROM i INTO a SELECT b INTO c", 28, "second INTO"),
        ("", 0, "SELECT is missing"),
    ] {
        let (found, message) = error(text);
        assert!(message.contains(part), "{text}: {message}");
        assert_eq!(found, at, "{text}: {message}");
    }
}

#[test]
fn deep_and_long_texts_are_refused_not_followed() {
    for text in [
        format!("SELECT {}1{} FROM i", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT {}1 FROM i", "- ".repeat(50_000)),
        format!("SELECT {}1 FROM i", "NOT ".repeat(50_000)),
        format!("SELECT {}1 FROM i", "1 + ".repeat(50_000)),
        format!("SELECT a{} FROM i", ".b".repeat(50_000)),
        format!("{}SELECT 1 FROM i", "(".repeat(100_000)),
        "x".repeat(crate::syntax::MAX_TEXT + 1),
    ] {
        parse(&text).unwrap_err();
    }
    let wide = format!("SELECT 1 FROM i WHERE {}", vec!["a = 1"; 3_000].join(" OR "));
    parse(&wide).unwrap();
}

fn spans_lie_inside(expr: &Expr, text: &str) {
    assert!(text.get(expr.span.start..expr.span.end).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_gives_a_tree_or_a_place_inside(text in soup()) {
        match parse(&text) {
            Ok(script) => {
                for select in script.statements.iter().flat_map(|query| &query.branches) {
                    for item in &select.items {
                        if let Item::Expr(expr, _) = item {
                            spans_lie_inside(expr, &text);
                        }
                    }
                }
            }
            Err(problem) => {
                prop_assert!(text.get(problem.span.start..problem.span.end).is_some());
            }
        }
    }
}
