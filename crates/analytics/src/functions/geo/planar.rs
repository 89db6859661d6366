//! Relations of shapes in the plane.
//!
//! Two polygons are compared by the pieces into which each cuts the other's rings: the middle of a piece lies inside, outside or
//! on the other, and with it the whole piece.

use super::shape::{Point, Shape};

/// Where a point lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Border,
    Outside,
}

/// Whether all of a shape lies in a polygon: a point or line not on its border alone.
pub fn within(inner: &Shape, outer: &Shape) -> bool {
    match inner {
        Shape::Point(point) => place(*point, outer) == Place::Inside,
        Shape::Line(_) => {
            let mut places = pieces(inner, outer).map(|middle| place(middle, outer)).peekable();
            let mut inside = false;
            places.all(|place| {
                inside |= place == Place::Inside;
                place != Place::Outside
            }) && inside
        }
        // A hole of the outer one inside the inner one leaves a part of that uncovered.
        Shape::Polygon(_) => {
            pieces(inner, outer).all(|middle| place(middle, outer) != Place::Outside)
                && !pieces(outer, inner).any(|middle| place(middle, inner) == Place::Inside)
        }
    }
}

/// Whether two polygons share an area, but neither lies in the other.
pub fn overlaps(a: &Shape, b: &Shape) -> bool {
    let enters = |a: &Shape, b: &Shape| pieces(a, b).any(|middle| place(middle, b) == Place::Inside);
    (enters(a, b) || enters(b, a)) && !within(a, b) && !within(b, a)
}

/// Whether two shapes have at least one point in common.
pub fn intersects(a: &Shape, b: &Shape) -> bool {
    let touch = sides(a).any(|(p, q)| sides(b).any(|(r, s)| !meetings(p, q, r, s).is_empty()));
    let lies_in = |a: &Shape, b: &Shape| {
        matches!(b, Shape::Polygon(_)) && a.lines().flatten().any(|point| place(*point, b) != Place::Outside)
    };
    touch || lies_in(a, b) || lies_in(b, a)
}

/// Sides of a shape; a point is a side without length.
fn sides(shape: &Shape) -> impl Iterator<Item = (Point, Point)> {
    shape.lines().flat_map(|line| {
        let end = if line.len() == 1 { 1 } else { line.len() - 1 };
        (0..end).map(|at| (line[at], line[(at + 1) % line.len()]))
    })
}

/// Twice the area of a triangle: positive if it goes counter-clockwise, zero if the points are on a line.
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

fn is_on(point: Point, (a, b): (Point, Point)) -> bool {
    turn(a, b, point) == 0.0
        && (a.x.min(b.x)..=a.x.max(b.x)).contains(&point.x)
        && (a.y.min(b.y)..=a.y.max(b.y)).contains(&point.y)
}

/// Where a point lies in a polygon. A ray to the right crosses the border an odd number of times only from inside; holes
/// turn that round by themselves.
fn place(point: Point, polygon: &Shape) -> Place {
    let mut inside = false;
    for (a, b) in sides(polygon) {
        if is_on(point, (a, b)) {
            return Place::Border;
        }
        if (a.y > point.y) != (b.y > point.y) && (turn(a, b, point) > 0.0) == (b.y > a.y) {
            inside = !inside;
        }
    }
    if inside { Place::Inside } else { Place::Outside }
}

/// How far along the side from `p` to `q` (0 to 1) the side from `r` to `s` meets it; two places where they run together.
fn meetings(p: Point, q: Point, r: Point, s: Point) -> Vec<f64> {
    let (length_x, length_y) = (q.x - p.x, q.y - p.y);
    let along = |point: Point| {
        let square = length_x * length_x + length_y * length_y;
        if square == 0.0 { 0.0 } else { ((point.x - p.x) * length_x + (point.y - p.y) * length_y) / square }
    };
    let mut found: Vec<f64> = [r, s].into_iter().filter(|point| is_on(*point, (p, q))).map(along).collect();
    found.extend([(p, 0.0), (q, 1.0)].into_iter().filter(|(end, _)| is_on(*end, (r, s))).map(|(_, at)| at));
    if !found.is_empty() {
        return found;
    }
    let (side_r, side_s) = (turn(p, q, r), turn(p, q, s));
    let (side_p, side_q) = (turn(r, s, p), turn(r, s, q));
    let apart = |a: f64, b: f64| (a > 0.0 && b < 0.0) || (a < 0.0 && b > 0.0);
    if apart(side_r, side_s) && apart(side_p, side_q) { vec![side_p / (side_p - side_q)] } else { found }
}

/// The middles of the pieces into which `other` cuts the sides of `shape`.
fn pieces<'a>(shape: &'a Shape, other: &'a Shape) -> impl Iterator<Item = Point> + 'a {
    sides(shape).flat_map(move |(p, q)| {
        let mut cuts: Vec<f64> =
            sides(other).flat_map(|(r, s)| meetings(p, q, r, s)).chain([0.0, 1.0]).collect();
        cuts.sort_unstable_by(f64::total_cmp);
        cuts.dedup();
        let middles: Vec<Point> = cuts
            .windows(2)
            .map(|pair| (pair[0] + pair[1]) / 2.0)
            .map(|at| Point { x: p.x + (q.x - p.x) * at, y: p.y + (q.y - p.y) * at })
            .collect();
        middles
    })
}
