//! Attribute values as JSON text that a person can read and that loses nothing.
//!
//! JSON has one kind of number and no bytes, so three notations are added, all of them objects with one key that begins
//! with `$`: `{"$double":"NaN"}`, `{"$bytes":"c0ffee"}` (hexadecimal) and `{"$kvlist":[["$key",1]]}` for a list of keys and
//! values whose first key would be mistaken for a notation. An integer has neither point nor exponent, a double has one.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::model::{Attribute, Value};

/// Stands where a text held U+0000, which PostgreSQL cannot store: U+2400, "symbol for null".
pub(crate) const NUL_SYMBOL: char = '\u{2400}';

/// Appends `text` as the inside of a JSON string. Returns how many NULs were replaced.
pub(crate) fn escape_into(out: &mut String, text: &str) -> u32 {
    let mut nuls = 0;
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0 => {
                out.push(NUL_SYMBOL);
                nuls += 1;
            }
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[plain..]);
    nuls
}

/// Appends `text` as a JSON string. Returns how many NULs were replaced.
pub(crate) fn string_into(out: &mut String, text: &str) -> u32 {
    out.push('"');
    let nuls = escape_into(out, text);
    out.push('"');
    nuls
}

/// Appends `value` as JSON. Returns how many NULs were replaced.
pub(crate) fn value_into(out: &mut String, value: &Value<'_>) -> u32 {
    match value {
        Value::Empty => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Double(value) => double_into(out, *value),
        Value::String(text) => return string_into(out, text),
        Value::Bytes(bytes) => {
            out.push_str("{\"$bytes\":\"");
            for byte in bytes.iter() {
                let _ = write!(out, "{byte:02x}");
            }
            out.push_str("\"}");
        }
        Value::Array(values) => {
            let mut nuls = 0;
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                nuls += value_into(out, value);
            }
            out.push(']');
            return nuls;
        }
        Value::KeyValues(pairs) if pairs.first().is_some_and(|(key, _)| key.starts_with('$')) => {
            let mut nuls = 0;
            out.push_str("{\"$kvlist\":[");
            for (at, (key, value)) in pairs.iter().enumerate() {
                out.push_str(if at > 0 { ",[" } else { "[" });
                nuls += string_into(out, key);
                out.push(',');
                nuls += value_into(out, value);
                out.push(']');
            }
            out.push_str("]}");
            return nuls;
        }
        Value::KeyValues(pairs) => return object_into(out, pairs),
    }
    0
}

/// Appends attributes as a JSON object. Returns how many NULs were replaced.
pub(crate) fn object_into(out: &mut String, attributes: &[Attribute<'_>]) -> u32 {
    let mut nuls = 0;
    out.push('{');
    for (at, (key, value)) in attributes.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        nuls += string_into(out, key);
        out.push(':');
        nuls += value_into(out, value);
    }
    out.push('}');
    nuls
}

fn double_into(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("{\"$double\":\"NaN\"}");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "{\"$double\":\"Infinity\"}" } else { "{\"$double\":\"-Infinity\"}" });
    } else {
        // Debug prints the shortest text that reads back as the same double, always with a point or an exponent.
        let _ = write!(out, "{value:?}");
    }
}

impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'static>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an attribute value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Empty)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| E::custom("integer over 64 bits"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::String(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Value::String(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Vec<Attribute<'static>> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.push((Cow::Owned(key), map.next_value()?));
        }
        match pairs.first() {
            Some((key, _)) if key.starts_with('$') => notation(pairs).map_err(de::Error::custom),
            _ => Ok(Value::KeyValues(pairs)),
        }
    }
}

/// Reads one of the `$` notations.
fn notation(mut pairs: Vec<Attribute<'static>>) -> Result<Value<'static>, String> {
    let Some((key, value)) = pairs.pop() else { return Err("empty notation".into()) };
    match (key.as_ref(), value) {
        ("$double", Value::String(text)) => match text.as_ref() {
            "NaN" => Ok(Value::Double(f64::NAN)),
            "Infinity" => Ok(Value::Double(f64::INFINITY)),
            "-Infinity" => Ok(Value::Double(f64::NEG_INFINITY)),
            other => Err(format!("unknown double {other:?}")),
        },
        ("$bytes", Value::String(hex)) => unhex(&hex).map(|bytes| Value::Bytes(Cow::Owned(bytes))),
        ("$kvlist", Value::Array(entries)) => {
            entries.into_iter().map(entry).collect::<Result<_, _>>().map(Value::KeyValues)
        }
        (other, _) => Err(format!("unknown notation {other:?}")),
    }
}

fn entry(value: Value<'static>) -> Result<Attribute<'static>, String> {
    if let Value::Array(pair) = value
        && let Ok([Value::String(key), value]) = <[Value<'static>; 2]>::try_from(pair)
    {
        return Ok((key, value));
    }
    Err("an entry of $kvlist is not a key and a value".into())
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err("odd or foreign hexadecimal text".into());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|error| error.to_string()))
        .collect()
}

/// An object's members in their order, duplicates included.
#[derive(Default)]
pub(crate) struct Members(pub Vec<Attribute<'static>>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of attributes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(key) = map.next_key::<String>()? {
                    pairs.push((Cow::Owned(key), map.next_value()?));
                }
                Ok(Members(pairs))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}
