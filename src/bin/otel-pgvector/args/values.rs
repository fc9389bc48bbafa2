//! How values of the command line are read.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::search::{Kind, Status};

pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

pub fn score(text: &str) -> Result<f64, String> {
    let score: f64 = text.parse().map_err(|_| "expected a number from 0 to 1")?;
    if (0.0..=1.0).contains(&score) { Ok(score) } else { Err("expected a number from 0 to 1".into()) }
}

pub fn trace_id(text: &str) -> Result<TraceId, String> {
    let digits = text.replace('-', "");
    // `from_hex` alone would accept a sign and fewer digits.
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("expected 32 hexadecimal digits".into());
    }
    TraceId::from_hex(&digits).map_err(|error| error.to_string())
}

pub fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(["internal", "server", "client", "producer", "consumer"])
        .try_map(|text| text.parse::<Kind>())
}

pub fn status() -> impl TypedValueParser<Value = Status> {
    PossibleValuesParser::new(["unset", "ok", "error"]).try_map(|text| text.parse::<Status>())
}

/// A number within a range.
pub fn amount(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.replace('_', "").parse().map_err(|_| "expected a number".to_owned())?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("expected a number from {least} to {most}"))
    }
}

/// `30d`, `4w`: whole days, up to ten years.
pub fn days(text: &str) -> Result<u32, String> {
    let wrong = || "expected days or weeks, from 1d to 3650d, such as 30d or 4w".to_owned();
    let (number, each) = match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 7),
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(each).filter(|days| (1..=3650).contains(days)).ok_or_else(wrong)
}
