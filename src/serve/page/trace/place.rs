//! Where in a span a value is, so that a long one can be asked for alone.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::serve::trace;
use crate::span::{Attribute, Span, Value};

/// A place of a text in a span; numbers are those of attributes, events and links in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Name,
    Status,
    Attribute(usize),
    Resource(usize),
    Scope(usize),
    /// An event's attribute.
    Event(usize, usize),
    /// A link's attribute.
    Link(usize, usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Name => write!(formatter, "name"),
            Place::Status => write!(formatter, "status"),
            Place::Attribute(at) => write!(formatter, "attributes.{at}"),
            Place::Resource(at) => write!(formatter, "resource.{at}"),
            Place::Scope(at) => write!(formatter, "scope.{at}"),
            Place::Event(event, at) => write!(formatter, "events.{event}.{at}"),
            Place::Link(link, at) => write!(formatter, "links.{link}.{at}"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.');
        let name = parts.next().unwrap_or_default();
        let numbers: Result<Vec<usize>, _> = parts.map(str::parse).collect();
        match (name, numbers.as_deref()) {
            ("name", Ok([])) => Ok(Place::Name),
            ("status", Ok([])) => Ok(Place::Status),
            ("attributes", Ok(&[at])) => Ok(Place::Attribute(at)),
            ("resource", Ok(&[at])) => Ok(Place::Resource(at)),
            ("scope", Ok(&[at])) => Ok(Place::Scope(at)),
            ("events", Ok(&[event, at])) => Ok(Place::Event(event, at)),
            ("links", Ok(&[link, at])) => Ok(Place::Link(link, at)),
            _ => Err("it is no place in a span".to_owned()),
        }
    }
}

impl Place {
    /// The whole text that is there.
    pub(super) fn text<'a>(&self, span: &'a Span<'_>) -> Option<Cow<'a, str>> {
        let of =
            |attributes: &'a [Attribute<'_>], at: usize| attributes.get(at).map(|(_, value)| text(value));
        match *self {
            Place::Name => Some(Cow::Borrowed(&span.name)),
            Place::Status => Some(Cow::Borrowed(&span.status.message)),
            Place::Attribute(at) => of(&span.attributes, at),
            Place::Resource(at) => of(&span.resource.attributes, at),
            Place::Scope(at) => of(&span.scope.attributes, at),
            Place::Event(event, at) => of(&span.events.get(event)?.attributes, at),
            Place::Link(link, at) => of(&span.links.get(link)?.attributes, at),
        }
    }
}

/// A value as a page has it: bytes as base64, so that nothing is lost.
pub(super) fn text<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        other => trace::text(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = Place> {
        let number = || any::<u16>().prop_map(usize::from);
        prop_oneof![
            Just(Place::Name),
            Just(Place::Status),
            number().prop_map(Place::Attribute),
            number().prop_map(Place::Resource),
            number().prop_map(Place::Scope),
            (number(), number()).prop_map(|(event, at)| Place::Event(event, at)),
            (number(), number()).prop_map(|(link, at)| Place::Link(link, at)),
        ]
    }

    proptest! {
        #[test]
        fn a_place_is_found_again_by_its_name(place in place()) {
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn other_names_are_none(text in "\\PC{0,20}") {
            if let Ok(place) = text.parse::<Place>() {
                // Leading zeros and plus signs are all that may differ.
                prop_assert_eq!(place.to_string().parse(), Ok(place));
            }
        }
    }
}
