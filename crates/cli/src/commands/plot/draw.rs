//! Drawing: one line per device, gaps as gaps, PNG or SVG, without fonts or libraries of the system.

use super::axis::TimeAxis;
use super::samples::{Series, split_gaps};
use anyhow::{Context as _, anyhow, bail};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;

/// The smallest height of the axis, °C: noise of a tenth of a degree must not fill the picture.
const SPAN_MIN: f64 = 1.0;
/// Devices named in the legend.
const LEGEND_MAX: usize = 20;
/// Eight colours that people with colour blindness tell apart (Okabe and Ito), without the yellow, which is invisible on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// How the picture is to be.
#[derive(Debug, Clone)]
pub struct Style {
    /// Above the chart.
    pub title: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// Draws into a file; its name ends in `.png` or `.svg`.
pub fn draw(path: &Path, series: &BTreeMap<String, Series>, style: &Style) -> anyhow::Result<()> {
    register_font();
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match kind.as_str() {
        "png" => chart(BitMapBackend::new(path, style.size).into_drawing_area(), series, style),
        "svg" => chart(SVGBackend::new(path, style.size).into_drawing_area(), series, style),
        _ => bail!("{} ends neither in .png nor in .svg", path.display()),
    }
    .with_context(|| format!("{} cannot be drawn", path.display()))
}

/// Gives the drawing library its letters, once per process.
fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if plotters::style::register_font("sans-serif", FontStyle::Normal, ttf_noto_sans::REGULAR).is_err() {
            tracing::warn!("the embedded font is damaged, pictures have no letters");
        }
    });
}

fn chart<B: DrawingBackend>(
    area: DrawingArea<B, plotters::coord::Shift>,
    series: &BTreeMap<String, Series>,
    style: &Style,
) -> anyhow::Result<()> {
    let (time, celsius) = ranges(series).ok_or_else(|| anyhow!("there is no temperature to draw"))?;
    let fail = |e: DrawingAreaErrorKind<B::ErrorType>| anyhow!("{e}");
    area.fill(&WHITE).map_err(fail)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(24)
        .caption(&style.title, ("sans-serif", 30))
        .x_label_area_size(60)
        .y_label_area_size(80)
        .build_cartesian_2d(time.clone(), celsius.0..celsius.1)
        .map_err(fail)?;
    chart
        .configure_mesh()
        .x_desc(time.title())
        .y_desc("temperature (°C)")
        .x_labels(12)
        .y_labels(10)
        .y_label_formatter(&|celsius| format!("{celsius:.1}"))
        .label_style(("sans-serif", 18))
        .axis_desc_style(("sans-serif", 20))
        .bold_line_style(RGBColor(215, 215, 215))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(fail)?;
    for (index, (device, points)) in series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for (part_index, part) in split_gaps(points).into_iter().enumerate() {
            let drawn = if let [point] = part {
                // A line of one point would be invisible.
                chart.draw_series(std::iter::once(Circle::new(*point, 3, colour.filled()))).map_err(fail)?
            } else {
                let thinned = thin(part, style.size.0 as usize);
                chart.draw_series(LineSeries::new(thinned, colour.stroke_width(2))).map_err(fail)?
            };
            if part_index == 0 && index < LEGEND_MAX {
                drawn
                    .label(device.as_str())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3)));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(12)
        .legend_area_size(32)
        .label_font(("sans-serif", 18))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(160, 160, 160))
        .draw()
        .map_err(fail)?;
    area.present().map_err(fail)
}

/// The axes' ranges: all of the time, and the temperatures with a little air.
fn ranges(series: &BTreeMap<String, Series>) -> Option<(TimeAxis, (f64, f64))> {
    let points = || series.values().flatten();
    let (begin, end) = (points().map(|p| p.0).min()?, points().map(|p| p.0).max()?);
    let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let air = ((high - low) * 0.08).max((SPAN_MIN - (high - low)) / 2.0).max(0.05);
    Some((TimeAxis::new(begin, end), (low - air, high + air)))
}

/// Keeps lowest and highest of every few points where there are far more than pixels: the picture stays the same.
fn thin(points: &[(i64, f64)], width: usize) -> Vec<(i64, f64)> {
    let per_pixel = points.len() / width.max(1);
    if per_pixel < 4 {
        return points.to_vec();
    }
    points
        .chunks(per_pixel)
        .flat_map(|chunk| {
            let low = chunk.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
            let high = chunk.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            let mut pair: Vec<_> = low.into_iter().chain(high).collect();
            pair.sort_by_key(|point| point.0);
            pair
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up() -> BTreeMap<String, Series> {
        let wave = |offset: f64, gap: std::ops::Range<i64>| -> Series {
            (0..1200)
                .filter(|n| !gap.contains(n))
                .map(|n| (1_769_850_000_000 + n * 3000, 21.5 + offset + (n as f64 / 90.0).sin()))
                .collect()
        };
        BTreeMap::from([
            ("thermistor-1".to_owned(), wave(0.0, 300..420)),
            ("thermistor-2".to_owned(), wave(2.5, 700..1000)),
        ])
    }

    fn style() -> Style {
        Style { title: "Temperature".to_owned(), size: (1600, 900) }
    }

    #[test]
    fn a_png_and_an_svg_with_units_devices_and_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let (png, svg) = (folder.path().join("t.png"), folder.path().join("t.svg"));
        draw(&png, &made_up(), &style()).unwrap();
        draw(&svg, &made_up(), &style()).unwrap();
        assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
        let text = std::fs::read_to_string(&svg).unwrap();
        for wanted in ["temperature (°C)", "time (UTC), 2026-01-31", "thermistor-1", "thermistor-2", "09:10"]
        {
            assert!(text.contains(wanted), "{wanted}");
        }
        // Two devices with one gap each: four lines of two pixels.
        assert_eq!(text.matches("stroke-width=\"2\"").count(), 4);
    }

    #[test]
    fn nothing_to_draw_and_unknown_formats_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let empty = draw(&folder.path().join("t.png"), &BTreeMap::new(), &style()).unwrap_err();
        assert!(format!("{empty:#}").contains("no temperature"), "{empty:#}");
        assert!(draw(&folder.path().join("t.gif"), &made_up(), &style()).is_err());
    }

    #[test]
    fn thinning_keeps_extremes() {
        let points: Vec<_> =
            (0..100_000).map(|n| (n, if n == 77_777 { 99.0 } else { (n % 7) as f64 })).collect();
        let thinned = thin(&points, 1000);
        assert!(thinned.len() <= 2002 && thinned.contains(&(77_777, 99.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
