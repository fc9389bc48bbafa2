//! A measured figure, printed as one line of JSON.

use serde::Serialize;

/// A figure, and what it is compared with.
#[derive(Serialize)]
pub struct Figure<'a> {
    /// What was measured.
    pub bench: &'a str,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'a str,
    /// What `value` is divided by to get `ratio`.
    pub against: &'a str,
    /// `value` in relation to `against`.
    pub ratio: f64,
    /// How far the rounds are apart: largest minus smallest ratio, in relation to the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
}

impl Figure<'_> {
    /// Prints the figure to stdout.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("a figure is JSON"));
    }
}

/// One round of two things that are measured alternately.
#[derive(Clone, Copy)]
pub struct Round {
    pub value: f64,
    pub against: f64,
}

/// Prints the median of some rounds. The two sides of a round share the machine's mood, so the ratio is taken within it.
pub fn print_rounds(bench: &str, unit: &str, against: &str, rounds: &[Round]) {
    let mut ratios: Vec<f64> = rounds.iter().map(|round| round.value / round.against).collect();
    let ratio = median(&mut ratios);
    let spread = (ratios.len() > 1).then(|| (ratios[ratios.len() - 1] - ratios[0]) / ratio).map(rounded);
    let value = rounded(median(&mut rounds.iter().map(|round| round.value).collect::<Vec<_>>()));
    Figure { bench, value, unit, against, ratio: rounded(ratio), spread }.print();
}

/// The median; `values` are sorted afterwards.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Three significant digits behind the point are more than this measures.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
