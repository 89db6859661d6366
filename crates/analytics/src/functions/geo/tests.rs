use super::*;
use crate::functions::lookup;
use proptest::prelude::*;

fn call(name: &str, args: &[Value]) -> Result<Value, EvalError> {
    lookup(name).unwrap().call(args)
}

fn holds(name: &str, a: &str, b: &str) -> i64 {
    call(name, &[a.into(), b.into()]).unwrap().to_bigint().unwrap()
}

fn square(west: i32, south: i32, size: i32) -> String {
    let (east, north) = (west + size, south + size);
    format!("POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))")
}

#[test]
fn making_shapes() {
    let point = call("CreatePoint", &[Value::Float(51.5), Value::BigInt(-1)]).unwrap();
    assert_eq!(point.to_json(), r#"{"type":"Point","coordinates":[-1.0,51.5]}"#);
    let other = call("CreatePoint", &[Value::Float(1.0), Value::Float(2.0)]).unwrap();
    let line = call("CreateLineString", &[point.clone(), other.clone()]).unwrap();
    assert_eq!(line.to_json(), r#"{"type":"LineString","coordinates":[[-1.0,51.5],[2.0,1.0]]}"#);
    let third = call("CreatePoint", &[Value::Float(5.0), Value::Float(6.0)]).unwrap();
    let ring = [point.clone(), other.clone(), third, point.clone()];
    let polygon = call("CreatePolygon", &ring).unwrap();
    let text = r#"{"type":"Polygon","coordinates":[[[-1.0,51.5],[2.0,1.0],[6.0,5.0],[-1.0,51.5]]]}"#;
    assert_eq!(polygon.to_json(), text);
    assert!(call("CreatePolygon", &[&ring[..3], &ring[1..2]].concat()).is_err());
    assert!(call("CreateLineString", &[line, point]).is_err());
    assert_eq!(call("CreatePoint", &[Value::Null, Value::Float(1.0)]), Ok(Value::Null));
}

#[test]
fn distances() {
    for (a, b, metres, tolerance) in [
        // Lengths of one degree of the equator and of the quarter meridian are constants of the ellipsoid.
        ("POINT(0 0)", "POINT(1 0)", 111_319.490_8, 0.001),
        ("POINT(30 0)", "POINT(30 90)", 10_001_965.729_3, 0.001),
        ("POINT(-5 -5)", "POINT(0 0)", 784_028.740_8, 0.001),
        ("POINT(179.5 0)", "POINT(-179.5 0)", 111_319.490_8, 0.001),
        ("POINT(0 0)", "POINT(180 0)", 20_003_931.5, 20_000.0),
        ("POINT(7 7)", "POINT(7 7)", 0.0, 0.0),
    ] {
        let found = call("ST_DISTANCE", &[a.into(), b.into()]).unwrap().to_float().unwrap();
        assert!((found - metres).abs() <= tolerance, "{a} {b}: {found}");
    }
    assert_eq!(call("ST_DISTANCE", &[square(0, 0, 1).into(), "POINT(9 9)".into()]), Ok(Value::Float(0.0)));
    for bad in ["POINT(0 91)", "POINT(1)", "POINT 1 2", "LINESTRING(0 0, 1 1)", "POINT(nan 1)", ""] {
        assert!(call("ST_DISTANCE", &[bad.into(), "POINT(0 0)".into()]).is_err(), "{bad}");
    }
}

#[test]
fn what_lies_in_a_polygon() {
    let holed = "POLYGON((0 0, 10 0, 10 10, 0 10, 0 0), (4 4, 6 4, 6 6, 4 6, 4 4))";
    for (inner, outer, expected) in [
        ("POINT(5 5)", square(0, 0, 10).as_str(), 1),
        ("POINT(5 5)", holed, 0),
        ("POINT(2 2)", holed, 1),
        ("POINT(0 5)", &square(0, 0, 10), 0),
        ("POINT(10 10)", &square(0, 0, 10), 0),
        ("POINT(-5 5)", &square(0, 0, 10), 0),
        (&square(2, 2, 3), &square(0, 0, 10), 1),
        (&square(0, 0, 10), &square(0, 0, 10), 1),
        (&square(0, 0, 5), &square(0, 0, 10), 1),
        (&square(8, 8, 5), &square(0, 0, 10), 0),
        (&square(0, 0, 10), &square(2, 2, 3), 0),
        (&square(3, 3, 4), holed, 0),
        ("LINESTRING(1 1, 9 9)", &square(0, 0, 10), 1),
        ("LINESTRING(0 0, 10 0)", &square(0, 0, 10), 0),
        ("LINESTRING(1 1, 11 9)", &square(0, 0, 10), 0),
    ] {
        assert_eq!(holds("ST_WITHIN", inner, outer), expected, "{inner} in {outer}");
    }
    assert!(call("ST_WITHIN", &["POINT(1 1)".into(), "LINESTRING(0 0, 1 1)".into()]).is_err());
}

#[test]
fn what_overlaps() {
    for (a, b, expected) in [
        (square(0, 0, 20), square(10, 10, 20), 1),
        (square(0, 0, 20), square(30, 30, 5), 0),
        (square(0, 0, 20), square(5, 5, 5), 0),
        (square(0, 0, 20), square(0, 0, 20), 0),
        (square(0, 0, 10), square(10, 0, 10), 0),
        (square(0, 0, 10), "POLYGON((-5 4, 15 4, 15 6, -5 6, -5 4))".into(), 1),
        // The same corner cut: rings that only share points and parts of sides.
        (square(0, 0, 10), "POLYGON((0 0, 10 0, 20 10, 10 10, 0 0))".into(), 1),
    ] {
        assert_eq!(holds("ST_OVERLAPS", &a, &b), expected, "{a} {b}");
        assert_eq!(holds("ST_OVERLAPS", &b, &a), expected, "{b} {a}");
    }
}

#[test]
fn what_intersects() {
    for (a, b, expected) in [
        ("LINESTRING(0 0, 4 4)", "LINESTRING(0 4, 4 0)", 1),
        ("LINESTRING(0 0, 4 0)", "LINESTRING(0 1, 4 1)", 0),
        ("LINESTRING(0 0, 4 0)", "LINESTRING(4 0, 8 1)", 1),
        ("LINESTRING(0 0, 4 0)", "LINESTRING(2 0, 6 0)", 1),
        ("LINESTRING(0 0, 4 0)", "LINESTRING(5 0, 6 0)", 0),
        ("POINT(2 2)", "LINESTRING(0 0, 4 4)", 1),
        ("POINT(2 3)", "LINESTRING(0 0, 4 4)", 0),
        ("POINT(2 2)", "POINT(2 2)", 1),
        ("LINESTRING(1 1, 2 2)", &square(0, 0, 10), 1),
        (&square(2, 2, 2), &square(0, 0, 10), 1),
        (&square(20, 2, 2), &square(0, 0, 10), 0),
    ] {
        assert_eq!(holds("ST_INTERSECTS", a, b), expected, "{a} {b}");
        assert_eq!(holds("ST_INTERSECTS", b, a), expected, "{b} {a}");
    }
}

#[test]
fn geo_json_as_documents_write_it() {
    let event = br#"{"p":{"type":"Point","coordinates":[5,5.0,120]},
        "flat":{"type":"Polygon","coordinates":[[0,0],[10,0],[10,10],[0,0]]},
        "bad":{"type":"Polygon","coordinates":[[[0,0],[1,1],[0,0]]]},
        "no":{"type":"Circle","coordinates":[1,2]}}"#;
    let event = &Value::from_json(event, &crate::value::JsonOptions::default()).unwrap()[0];
    let field = |name: &str| event.field(name).clone();
    assert_eq!(call("ST_INTERSECTS", &[field("p"), field("flat")]), Ok(Value::BigInt(1)));
    for name in ["bad", "no"] {
        assert!(call("ST_INTERSECTS", &[field("p"), field(name)]).is_err(), "{name}");
    }
    assert!(call("ST_INTERSECTS", &[field("p"), Value::BigInt(1)]).is_err());
}

#[test]
fn the_size_of_shapes_is_bounded() {
    let line = format!("LINESTRING({}0 0)", "1 1, ".repeat(2000));
    assert!(call("ST_INTERSECTS", &[line.into(), "POINT(0 0)".into()]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn squares_on_a_grid(a in (0i32..8, 0i32..8, 1i32..6), b in (0i32..8, 0i32..8, 1i32..6)) {
        let cell = |(x, y, size): (i32, i32, i32), (cx, cy): (i32, i32)| {
            (x..x + size).contains(&cx) && (y..y + size).contains(&cy)
        };
        let cells = || (0..14).flat_map(|x| (0..14).map(move |y| (x, y)));
        let shared = cells().any(|at| cell(a, at) && cell(b, at));
        let a_in_b = cells().all(|at| !cell(a, at) || cell(b, at));
        let b_in_a = cells().all(|at| !cell(b, at) || cell(a, at));
        let (first, second) = (square(a.0, a.1, a.2), square(b.0, b.1, b.2));
        prop_assert_eq!(holds("ST_WITHIN", &first, &second) == 1, a_in_b);
        prop_assert_eq!(holds("ST_OVERLAPS", &first, &second) == 1, shared && !a_in_b && !b_in_a);
        prop_assert!(!shared || holds("ST_INTERSECTS", &first, &second) == 1);
    }

    #[test]
    fn distance_is_the_same_both_ways(x in -180f64..180.0, y in -90f64..90.0, u in -180f64..180.0, v in -90f64..90.0) {
        let (a, b) = (Point { x, y }, Point { x: u, y: v });
        let (there, back) = (geodesic::metres(a, b), geodesic::metres(b, a));
        prop_assert!((there - back).abs() < 0.01 && (0.0..=20_020_000.0).contains(&there), "{there} {back}");
    }
}
