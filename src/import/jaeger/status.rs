//! The status, which Jaeger spreads over tags.

use std::borrow::Cow;

use super::tag::{find, find_text, take, take_text};
use crate::span::{Attribute, Status, StatusCode, Value};

const CODE: &str = "otel.status_code";
const DESCRIPTION: &str = "otel.status_description";
const HTTP_MESSAGE: &str = "http.status_message";

/// Takes the status out of a span's attributes: the tag `error` decides, then `otel.status_code`, then
/// `http.status_code`.
pub(super) fn take_status(attributes: &mut Vec<Attribute<'static>>, kind: i32) -> Status<'static> {
    if is_error(attributes) {
        take(attributes, "error");
        take(attributes, CODE);
        let message = take_text(attributes, DESCRIPTION).or_else(|| http_message(attributes));
        return status(StatusCode::ERROR, message);
    }
    if find(attributes, CODE).is_some() {
        let code = match take_text(attributes, CODE).unwrap_or_default().to_ascii_uppercase().as_str() {
            "OK" => StatusCode::OK,
            "ERROR" => StatusCode::ERROR,
            _ => StatusCode::UNSET,
        };
        return status(code, take_text(attributes, DESCRIPTION));
    }
    match http_code(attributes) {
        Some(code) if http_failed(code, kind) => status(StatusCode::ERROR, http_message(attributes)),
        _ => Status::default(),
    }
}

fn status(code: StatusCode, message: Option<String>) -> Status<'static> {
    Status { code, message: Cow::Owned(message.unwrap_or_default()) }
}

/// Clients that knew no booleans wrote the text.
fn is_error(attributes: &[Attribute<'static>]) -> bool {
    match find(attributes, "error") {
        Some(Value::Bool(error)) => *error,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn http_message(attributes: &[Attribute<'static>]) -> Option<String> {
    find_text(attributes, HTTP_MESSAGE).map(str::to_owned)
}

fn http_code(attributes: &[Attribute<'static>]) -> Option<i64> {
    match find(attributes, "http.status_code")? {
        Value::Int(code) => Some(*code),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// As the semantic conventions have it: a server that refuses a request did not fail, a client did.
fn http_failed(code: i64, kind: i32) -> bool {
    const SERVER: i32 = 2;
    let fine = if kind == SERVER { 100..500 } else { 100..400 };
    !fine.contains(&code)
}
