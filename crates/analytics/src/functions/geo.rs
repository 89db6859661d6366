//! Geography: points, lines and polygons as GeoJSON records (or WKT texts), distances and relations.
//!
//! Coordinates are degrees, longitude first; only `CreatePoint` takes latitude first. Distances are geodesic on WGS84, in metres.
//! Relations are computed in the plane of longitude and latitude, as from compatibility level 1.2 on: the direction of a
//! ring does not matter, and a shape must not cross the 180th meridian.

mod geodesic;
mod planar;
mod shape;
#[cfg(test)]
mod tests;

use super::ScalarFunction;
use super::arguments::Arguments;
use crate::value::{EvalError, Record, Value};
use shape::{Point, Shape};

const ANY: usize = usize::MAX;

/// The rows.
pub const TABLE: &[ScalarFunction] = &[
    ScalarFunction::strict("CreatePoint", [2, 2], create_point),
    ScalarFunction::strict("CreateLineString", [2, ANY], |values| {
        let points = points("CreateLineString", values)?;
        Ok(geo_json("LineString", points.into()))
    }),
    ScalarFunction::strict("CreatePolygon", [4, ANY], create_polygon),
    ScalarFunction::strict("ST_DISTANCE", [2, 2], distance),
    ScalarFunction::strict("ST_WITHIN", [2, 2], |values| {
        let args = Arguments { function: "ST_WITHIN", values };
        let (inner, outer) = (Shape::read(&args, 0)?, polygon(&args, 1)?);
        Ok(flag(planar::within(&inner, &outer)))
    }),
    ScalarFunction::strict("ST_OVERLAPS", [2, 2], |values| {
        let args = Arguments { function: "ST_OVERLAPS", values };
        let (a, b) = (polygon(&args, 0)?, polygon(&args, 1)?);
        Ok(flag(planar::overlaps(&a, &b)))
    }),
    ScalarFunction::strict("ST_INTERSECTS", [2, 2], |values| {
        let args = Arguments { function: "ST_INTERSECTS", values };
        let (a, b) = (Shape::read(&args, 0)?, Shape::read(&args, 1)?);
        Ok(flag(planar::intersects(&a, &b)))
    }),
];

fn flag(holds: bool) -> Value {
    Value::BigInt(holds.into())
}

fn geo_json(kind: &str, coordinates: Value) -> Value {
    Record::from_distinct(vec![("type".into(), kind.into()), ("coordinates".into(), coordinates)]).into()
}

fn create_point(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "CreatePoint", values };
    let (latitude, longitude) = (args.float(0)?, args.float(1)?);
    Ok(geo_json("Point", vec![Value::Float(longitude), Value::Float(latitude)].into()))
}

/// The coordinates of points, as arrays.
fn points(function: &'static str, values: &[Value]) -> Result<Vec<Value>, EvalError> {
    let args = Arguments { function, values };
    let point = |place| match Shape::read(&args, place)? {
        Shape::Point(Point { x, y }) => Ok(vec![Value::Float(x), Value::Float(y)].into()),
        _ => Err(args.domain("each argument must be a point")),
    };
    (0..values.len()).map(point).collect()
}

fn create_polygon(values: &[Value]) -> Result<Value, EvalError> {
    let ring = points("CreatePolygon", values)?;
    if ring.first() != ring.last() {
        let args = Arguments { function: "CreatePolygon", values };
        return Err(args.domain("the last point must be the first one again"));
    }
    Ok(geo_json("Polygon", vec![Value::from(ring)].into()))
}

fn polygon(args: &Arguments<'_>, place: usize) -> Result<Shape, EvalError> {
    match Shape::read(args, place)? {
        polygon @ Shape::Polygon(_) => Ok(polygon),
        _ => Err(args.domain("the shape must be a polygon")),
    }
}

/// Between points; documented to be 0 for polygons.
fn distance(values: &[Value]) -> Result<Value, EvalError> {
    let args = Arguments { function: "ST_DISTANCE", values };
    match (Shape::read(&args, 0)?, Shape::read(&args, 1)?) {
        (Shape::Point(a), Shape::Point(b)) => args.float_result(geodesic::metres(a, b)),
        (Shape::Polygon(_), _) | (_, Shape::Polygon(_)) => Ok(Value::Float(0.0)),
        _ => Err(args.domain("distances are measured between points")),
    }
}
