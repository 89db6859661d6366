//! Shapes, read from GeoJSON records and from WKT texts.

use crate::functions::arguments::Arguments;
use crate::value::{EvalError, Value};

/// How many points a shape may have: relations of two shapes take time by the product.
const MAX_POINTS: usize = 2000;

/// Longitude and latitude, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Longitude.
    pub x: f64,
    /// Latitude.
    pub y: f64,
}

/// A shape with all its points on the earth.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// One place.
    Point(Point),
    /// At least two points.
    Line(Vec<Point>),
    /// Closed rings of at least four points; the first is the outer one, others are holes.
    Polygon(Vec<Vec<Point>>),
}

const BAD_SHAPE: &str =
    "the shape is wrong; it is a GeoJSON record or WKT text of a Point, LineString or Polygon";
const OFF_EARTH: &str = "longitudes lie from -180 to 180 and latitudes from -90 to 90 degrees";
const TOO_MANY: &str = "a shape may have 2000 points; this one has more";

impl Shape {
    /// The shape in an argument.
    pub fn read(args: &Arguments<'_>, place: usize) -> Result<Self, EvalError> {
        let shape = match &args.values[place] {
            value @ Value::Record(_) => from_geo_json(value),
            Value::NVarchar(text) => from_wkt(text),
            _ => return Err(args.invalid(place, &["record", "nvarchar(max)"])),
        };
        let shape = shape.filter(Self::is_whole).ok_or_else(|| args.domain(BAD_SHAPE))?;
        if shape.lines().map(<[Point]>::len).sum::<usize>() > MAX_POINTS {
            return Err(args.domain(TOO_MANY));
        }
        let on_earth =
            |point: &Point| (-180.0..=180.0).contains(&point.x) && (-90.0..=90.0).contains(&point.y);
        if !shape.lines().flatten().all(on_earth) {
            return Err(args.domain(OFF_EARTH));
        }
        Ok(shape)
    }

    /// Its lines: one point, one line, or each ring.
    pub fn lines(&self) -> impl Iterator<Item = &[Point]> {
        match self {
            Self::Point(point) => vec![std::slice::from_ref(point)],
            Self::Line(line) => vec![&line[..]],
            Self::Polygon(rings) => rings.iter().map(|ring| &ring[..]).collect(),
        }
        .into_iter()
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Point(_) => true,
            Self::Line(line) => line.len() >= 2,
            Self::Polygon(rings) => {
                !rings.is_empty() && rings.iter().all(|ring| ring.len() >= 4 && ring.first() == ring.last())
            }
        }
    }
}

fn from_geo_json(value: &Value) -> Option<Shape> {
    let Value::NVarchar(kind) = value.field("type") else { return None };
    let Value::Array(coordinates) = value.field("coordinates") else { return None };
    match kind.to_ascii_lowercase().as_str() {
        "point" => point(coordinates).map(Shape::Point),
        "linestring" => line(coordinates).map(Shape::Line),
        // A ring without the list of rings around it is wrong, but documentation writes it.
        "polygon" => match line(coordinates) {
            Some(ring) if !ring.is_empty() => Some(Shape::Polygon(vec![ring])),
            _ => items(coordinates, line).map(Shape::Polygon),
        },
        _ => None,
    }
}

fn items<T>(coordinates: &[Value], read: fn(&[Value]) -> Option<T>) -> Option<Vec<T>> {
    let each = coordinates.iter().map(|item| match item {
        Value::Array(inner) => read(inner),
        _ => None,
    });
    each.collect()
}

fn line(coordinates: &[Value]) -> Option<Vec<Point>> {
    items(coordinates, point)
}

/// A height after longitude and latitude does not count.
fn point(coordinates: &[Value]) -> Option<Point> {
    let number = |value: &Value| match value {
        Value::BigInt(_) | Value::Float(_) => value.to_float(),
        _ => None,
    };
    match coordinates {
        [x, y, ..] => Some(Point { x: number(x)?, y: number(y)? }),
        _ => None,
    }
}

fn from_wkt(text: &str) -> Option<Shape> {
    let (kind, body) = text.split_at(text.find('(')?);
    let body = inside(body)?;
    match kind.trim().to_ascii_lowercase().as_str() {
        "point" => wkt_point(body).map(Shape::Point),
        "linestring" => wkt_line(body).map(Shape::Line),
        "polygon" => {
            // Commas separate points and, between a closing and an opening bracket, rings.
            let rings =
                body.split_inclusive(')').map(|ring| wkt_line(inside(ring.trim_start_matches([',', ' ']))?));
            rings.collect::<Option<_>>().map(Shape::Polygon)
        }
        _ => None,
    }
}

fn inside(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix('(')?.strip_suffix(')')?.trim())
}

fn wkt_line(text: &str) -> Option<Vec<Point>> {
    text.split(',').map(wkt_point).collect()
}

fn wkt_point(text: &str) -> Option<Point> {
    let mut numbers =
        text.split_ascii_whitespace().map(|number| number.parse::<f64>().ok().filter(|n| n.is_finite()));
    Some(Point { x: numbers.next()??, y: numbers.next()?? })
}
