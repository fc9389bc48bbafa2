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
