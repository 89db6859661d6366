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
/// Pixels around the chart.
const MARGIN: i32 = 24;
/// Devices named in the legend.
const LEGEND_MAX: usize = 20;
/// Colours that people with colour blindness tell apart (Okabe and Ito), without the yellow, which is invisible on white.
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
    let legend_width = legend_width(series).min(style.size.0 / 3);
    let (main, beside) = area.split_horizontally(style.size.0 - legend_width);
    let mut chart = ChartBuilder::on(&main)
        .margin(MARGIN)
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
    for (index, points) in series.values().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        for part in split_gaps(points) {
            if let [point] = part {
                // A line of one point would be invisible.
                chart.draw_series(std::iter::once(Circle::new(*point, 3, colour.filled()))).map_err(fail)?;
            } else {
                let thinned = thin(part, style.size.0 as usize);
                chart.draw_series(LineSeries::new(thinned, colour.stroke_width(2))).map_err(fail)?;
            }
        }
    }
    legend(&beside, series).map_err(fail)?;
    area.present().map_err(fail)
}

/// Pixels of the legend: the longest name, with a line before it.
fn legend_width(series: &BTreeMap<String, Series>) -> u32 {
    let longest = series.keys().take(LEGEND_MAX).map(|name| name.chars().count()).max().unwrap_or(0);
    // Names may have 128 characters; 40 of them are enough to tell devices apart.
    70 + u32::try_from(longest).unwrap_or(0).min(40) * 10
}

/// Names and colours, beside the chart: inside it they would cover what was measured.
fn legend<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    series: &BTreeMap<String, Series>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let text = ("sans-serif", 18).into_font();
    let mut y = MARGIN + 50;
    for (index, device) in series.keys().enumerate().take(LEGEND_MAX) {
        let colour = COLOURS[index % COLOURS.len()];
        area.draw(&PathElement::new([(0, y + 6), (24, y + 6)], colour.stroke_width(3)))?;
        area.draw(&Text::new(device.as_str(), (34, y), text.clone()))?;
        y += 26;
    }
    if series.len() > LEGEND_MAX {
        area.draw(&Text::new(format!("and {} more", series.len() - LEGEND_MAX), (34, y), text))?;
    }
    Ok(())
}

/// The axes' ranges: all of the time, and the temperatures with a little air.
fn ranges(series: &BTreeMap<String, Series>) -> Option<(TimeAxis, (f64, f64))> {
    let points = || series.values().flatten();
    let (begin, end) = (points().map(|p| p.0).min()?, points().map(|p| p.0).max()?);
    let low = points().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    // A wider band than the data, so that no line runs along the frame.
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
