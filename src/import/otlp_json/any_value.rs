//! Attributes' values from JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::scalar::{Double, Integer, nullable};
use crate::span::{Attribute, Value};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    #[serde(deserialize_with = "nullable")]
    key: String,
    #[serde(deserialize_with = "nullable")]
    value: AnyValue,
}

/// `ArrayValue` and `KeyValueList`.
#[derive(Deserialize)]
#[serde(default, bound = "T: Deserialize<'de>")]
struct List<T> {
    #[serde(deserialize_with = "nullable")]
    values: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { values: Vec::new() }
    }
}

pub(super) fn attributes(pairs: Vec<KeyValue>) -> Vec<Attribute<'static>> {
    pairs.into_iter().map(|pair| (Cow::Owned(pair.key), pair.value.0)).collect()
}

struct AnyValue(Value<'static>);

impl Default for AnyValue {
    fn default() -> Self {
        AnyValue(Value::Empty)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyValueVisitor)
    }
}

struct AnyValueVisitor;

impl<'de> Visitor<'de> for AnyValueVisitor {
    type Value = AnyValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an attribute's value, such as {\"stringValue\": \"text\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
        let mut any = Value::Empty;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let value = match key.as_ref() {
                "stringValue" | "string_value" => {
                    map.next_value::<Option<String>>()?.map(|text| Value::String(Cow::Owned(text)))
                }
                "boolValue" | "bool_value" => map.next_value::<Option<bool>>()?.map(Value::Bool),
                "intValue" | "int_value" => {
                    map.next_value::<Option<Integer<i64>>>()?.map(|number| Value::Int(number.0))
                }
                // Several exporters write a double that JSON has no number for as null.
                "doubleValue" | "double_value" => Some(Value::Double(
                    map.next_value::<Option<Double>>()?.map_or(f64::NAN, |number| number.0),
                )),
                "bytesValue" | "bytes_value" => {
                    map.next_value::<Option<Cow<'_, str>>>()?.map(|text| bytes(&text)).transpose()?
                }
                "arrayValue" | "array_value" => map
                    .next_value::<Option<List<AnyValue>>>()?
                    .map(|list| Value::Array(list.values.into_iter().map(|any| any.0).collect())),
                "kvlistValue" | "kvlist_value" => map
                    .next_value::<Option<List<KeyValue>>>()?
                    .map(|list| Value::KeyValues(attributes(list.values))),
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            any = value.unwrap_or(any);
        }
        Ok(AnyValue(any))
    }
}

fn bytes<E: de::Error>(text: &str) -> Result<Value<'static>, E> {
    match base64(text) {
        Some(bytes) => Ok(Value::Bytes(Cow::Owned(bytes))),
        None => Err(E::custom(format!("bytesValue {text:?} is not base64"))),
    }
}

/// Base64 in either alphabet, with padding or without, as the mapping demands of a reader.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}
