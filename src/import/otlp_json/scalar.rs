//! Numbers and enums in all the ways in which protobuf's JSON mapping allows to write them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Null stands for an absent field, which has its type's default.
pub(in crate::import) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An integer; `5`, `5.0`, `5e0` and `"5"` are the same.
#[derive(Default)]
pub(in crate::import) struct Integer<T>(pub T);

/// A double; NaN and infinities are texts.
pub(super) struct Double(pub f64);

/// A number of `SpanKind`, or its name.
#[derive(Default)]
pub(super) struct SpanKind(pub i32);

/// A number of `StatusCode`, or its name.
#[derive(Default)]
pub(super) struct StatusCode(pub i32);

/// What can be read from a number or from text.
trait Scalar: Sized {
    const EXPECTED: &str;

    fn from_integer(number: i128) -> Option<Self>;

    fn from_double(number: f64) -> Option<Self> {
        // Beyond 2^64 no field has room, and within it the conversion of a whole number is exact.
        (number.fract() == 0.0 && number.abs() <= 2f64.powi(64))
            .then_some(number as i128)
            .and_then(Self::from_integer)
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(number) => Self::from_integer(number),
            Err(_) => Self::from_double(text.parse().ok()?),
        }
    }
}

impl<T: TryFrom<i128>> Scalar for Integer<T> {
    const EXPECTED: &str = "an integer within its field's range";

    fn from_integer(number: i128) -> Option<Self> {
        number.try_into().ok().map(Integer)
    }
}

impl Scalar for Double {
    const EXPECTED: &str = "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";

    fn from_integer(number: i128) -> Option<Self> {
        Some(Double(number as f64))
    }

    fn from_double(number: f64) -> Option<Self> {
        Some(Double(number))
    }

    fn from_text(text: &str) -> Option<Self> {
        // The standard library knows "NaN", "Infinity" and "-Infinity" too.
        text.parse().ok().map(Double)
    }
}

impl Scalar for SpanKind {
    const EXPECTED: &str = "a span kind, such as 2 or \"SPAN_KIND_SERVER\"";

    fn from_integer(number: i128) -> Option<Self> {
        number.try_into().ok().map(SpanKind)
    }

    fn from_text(text: &str) -> Option<Self> {
        let names = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
        enum_number(text, "SPAN_KIND_", &names).map(SpanKind)
    }
}

impl Scalar for StatusCode {
    const EXPECTED: &str = "a status code, such as 2 or \"STATUS_CODE_ERROR\"";

    fn from_integer(number: i128) -> Option<Self> {
        number.try_into().ok().map(StatusCode)
    }

    fn from_text(text: &str) -> Option<Self> {
        enum_number(text, "STATUS_CODE_", &["UNSET", "OK", "ERROR"]).map(StatusCode)
    }
}

fn enum_number(text: &str, prefix: &str, names: &[&str]) -> Option<i32> {
    let name = text.strip_prefix(prefix).unwrap_or(text);
    match names.iter().position(|known| known.eq_ignore_ascii_case(name)) {
        Some(number) => i32::try_from(number).ok(),
        None => text.parse().ok(),
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_integer(number.into())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::from_integer(number.into()).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::from_double(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

macro_rules! deserialize_scalar {
    ($($type:ty $(where $parameter:ident: $bound:path)?),+ $(,)?) => {$(
        impl<'de $(, $parameter: $bound)?> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ScalarVisitor(PhantomData))
            }
        }
    )+};
}

deserialize_scalar!(Integer<T> where T: TryFrom<i128>, Double, SpanKind, StatusCode);
