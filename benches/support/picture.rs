//! Pictures of how one figure depends on another, as SVG.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::is_quick;

/// Legible on light and on dark paper, as the background is left out.
const INK: RGBColor = RGBColor(128, 128, 128);
const COLOURS: [RGBColor; 4] =
    [RGBColor(46, 134, 222), RGBColor(230, 126, 34), RGBColor(39, 174, 96), RGBColor(155, 89, 182)];

/// Points that are joined by a line.
pub struct Series<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

/// Draws `docs/images/NAME.svg`; a quick run, which is no picture of anything, draws into `target/bench`. The axes begin at 0.
pub fn draw(name: &str, x: &str, y: &str, series: &[Series<'_>]) {
    let folder = if is_quick() { "target/bench" } else { "docs/images" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name).with_extension("svg");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for pictures");
    draw_into(&path, x, y, series).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    eprintln!("drawn: {}", path.display());
}

fn draw_into(path: &Path, x: &str, y: &str, series: &[Series<'_>]) -> Result<(), Box<dyn Error>> {
    let most = |of: fn(&(f64, f64)) -> f64| {
        series.iter().flat_map(|series| &series.points).map(of).fold(f64::MIN_POSITIVE, f64::max)
    };
    let (most_x, most_y) = (most(|point| point.0) * 1.05, most(|point| point.1) * 1.15);
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);

    let root = SVGBackend::new(path, (720, 360)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..most_x, 0.0..most_y)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(text(13))
        .axis_desc_style(text(15))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .x_desc(x)
        .y_desc(y)
        .draw()?;
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(
                LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)).point_size(4),
            )?
            .label(series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if series.len() > 1 {
        let position = SeriesLabelPosition::LowerRight;
        chart.configure_series_labels().position(position).label_font(text(14)).draw()?;
    }
    root.present()?;
    Ok(())
}

/// A number as an axis shows it: `20M`, `150k`, `3`.
fn number(value: &f64) -> String {
    let (value, unit) = match *value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    format!("{}{unit}", (value * 100.0).round() / 100.0)
}
