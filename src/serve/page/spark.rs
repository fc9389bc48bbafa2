//! Spark lines: what came when, in a few pixels.

use std::fmt::Write as _;

use maud::{Markup, html};

const WIDTH: f64 = 140.0;
const HEIGHT: f64 = 28.0;

/// Spans by part of a period as a line over its area, failures as bars at the foot, with what it shows in words.
pub(super) fn line(steps: &[(u64, u64)], said: &str) -> Markup {
    let most = steps.iter().map(|step| step.0).max().unwrap_or(0).max(1) as f64;
    let width = WIDTH / steps.len().max(1) as f64;
    let height = |spans: u64| (spans as f64 / most) * (HEIGHT - 3.0);
    let mut line = String::new();
    for (at, (spans, _)) in steps.iter().enumerate() {
        let (x, y) = ((at as f64 + 0.5) * width, HEIGHT - 1.0 - height(*spans));
        // Writing into a text does not fail.
        let _ = write!(line, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { " L" });
    }
    let (first, last) = (0.5 * width, WIDTH - 0.5 * width);
    let area = format!("{line} L{last:.1} {HEIGHT} L{first:.1} {HEIGHT} Z");
    html! {
        svg.spark viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) role="img" aria-label=(said) {
            path.area d=(area) {}
            path.line d=(line) {}
            @for (at, (_, errors)) in steps.iter().enumerate().filter(|(_, step)| step.1 > 0) {
                @let tall = height(*errors).max(2.0);
                rect.failed x=(format!("{:.1}", at as f64 * width)) y=(format!("{:.1}", HEIGHT - tall))
                    width=(format!("{:.1}", (width - 0.5).max(1.0))) height=(format!("{tall:.1}")) {}
            }
        }
    }
}
