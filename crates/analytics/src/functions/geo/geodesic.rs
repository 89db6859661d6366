//! The length of the shortest way over the WGS84 ellipsoid (Vincenty, "Direct and inverse solutions of geodesics on the
//! ellipsoid", 1975), to well under a millimetre.
//!
//! Points nearly opposite each other, for which that method does not converge, are measured on a sphere: half a percent off at
//! most.

use super::shape::Point;

/// Equatorial radius in metres.
const EQUATOR: f64 = 6_378_137.0;
const FLATTENING: f64 = 1.0 / 298.257_223_563;
const POLE: f64 = EQUATOR * (1.0 - FLATTENING);
/// Radius of the sphere of equal area.
const SPHERE: f64 = 6_371_007.180_9;
const ROUNDS: usize = 100;

/// Metres between two points.
pub fn metres(a: Point, b: Point) -> f64 {
    if a == b {
        return 0.0;
    }
    ellipsoid(a, b).unwrap_or_else(|| sphere(a, b))
}

/// One round's angles on the auxiliary sphere.
struct Arc {
    sin_sigma: f64,
    cos_sigma: f64,
    sigma: f64,
    cos2_alpha: f64,
    /// Cosine of twice the distance from the equator crossing to the midpoint.
    cos_2m: f64,
    sin_alpha: f64,
}

fn arc(lambda: f64, (sin_u1, cos_u1): (f64, f64), (sin_u2, cos_u2): (f64, f64)) -> Arc {
    let (sin_lambda, cos_lambda) = lambda.sin_cos();
    let sin_sigma = (cos_u2 * sin_lambda).hypot(cos_u1 * sin_u2 - sin_u1 * cos_u2 * cos_lambda);
    let cos_sigma = sin_u1 * sin_u2 + cos_u1 * cos_u2 * cos_lambda;
    let sin_alpha = if sin_sigma == 0.0 { 0.0 } else { cos_u1 * cos_u2 * sin_lambda / sin_sigma };
    let cos2_alpha = 1.0 - sin_alpha * sin_alpha;
    // Along the equator there is no such midpoint.
    let cos_2m = if cos2_alpha == 0.0 { 0.0 } else { cos_sigma - 2.0 * sin_u1 * sin_u2 / cos2_alpha };
    Arc { sin_sigma, cos_sigma, sigma: sin_sigma.atan2(cos_sigma), cos2_alpha, cos_2m, sin_alpha }
}

fn ellipsoid(a: Point, b: Point) -> Option<f64> {
    let reduced = |latitude: f64| ((1.0 - FLATTENING) * latitude.to_radians().tan()).atan().sin_cos();
    let (u1, u2) = (reduced(a.y), reduced(b.y));
    let mut apart = (b.x - a.x).abs().to_radians();
    if apart > std::f64::consts::PI {
        apart = std::f64::consts::TAU - apart;
    }
    let mut lambda = apart;
    for _ in 0..ROUNDS {
        let arc = arc(lambda, u1, u2);
        let c = FLATTENING / 16.0 * arc.cos2_alpha * (4.0 + FLATTENING * (4.0 - 3.0 * arc.cos2_alpha));
        let inner = arc.cos_2m + c * arc.cos_sigma * (2.0 * arc.cos_2m * arc.cos_2m - 1.0);
        let next = apart + (1.0 - c) * FLATTENING * arc.sin_alpha * (arc.sigma + c * arc.sin_sigma * inner);
        if (next - lambda).abs() < 1e-12 {
            return Some(length(&arc));
        }
        lambda = next;
    }
    None
}

fn length(arc: &Arc) -> f64 {
    let u2 = arc.cos2_alpha * (EQUATOR * EQUATOR - POLE * POLE) / (POLE * POLE);
    let a = 1.0 + u2 / 16384.0 * (4096.0 + u2 * (-768.0 + u2 * (320.0 - 175.0 * u2)));
    let b = u2 / 1024.0 * (256.0 + u2 * (-128.0 + u2 * (74.0 - 47.0 * u2)));
    let m = arc.cos_2m;
    let last = b / 6.0 * m * (4.0 * arc.sin_sigma * arc.sin_sigma - 3.0) * (4.0 * m * m - 3.0);
    let inner = arc.cos_sigma * (2.0 * m * m - 1.0) - last;
    let delta = b * arc.sin_sigma * (m + b / 4.0 * inner);
    POLE * a * (arc.sigma - delta)
}

fn sphere(a: Point, b: Point) -> f64 {
    let (a_y, b_y) = (a.y.to_radians(), b.y.to_radians());
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let h = half(b_y - a_y) + a_y.cos() * b_y.cos() * half((b.x - a.x).to_radians());
    2.0 * SPHERE * h.clamp(0.0, 1.0).sqrt().asin()
}
