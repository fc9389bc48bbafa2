//! How values of the command line are read.

use std::ffi::OsStr;
use std::net::SocketAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use opentelemetry::trace::TraceId;
use opentelemetry_pgvector::search::{Kind, Status};

/// A name and its value, with this character between them. What has none is not repeated: it may be a secret.
#[derive(Clone)]
pub struct Pair(pub char);

impl TypedValueParser for Pair {
    type Value = (String, String);

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Self::Value, Error> {
        match value.to_str().and_then(|text| text.split_once(self.0)) {
            Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
            None => {
                let option = arg.map(Arg::to_string).unwrap_or_default();
                let text = format!("{option}: there is no `{}` in the value\n", self.0);
                Err(Error::raw(ErrorKind::ValueValidation, text).with_cmd(command))
            }
        }
    }
}

pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:16686 or [::1]:16686".into())
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
