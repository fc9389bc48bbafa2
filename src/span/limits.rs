//! OpenTelemetry's limits on attributes, for what has them not from the SDK: imports, or a database that wants less.

use std::borrow::Cow;

use super::model::Value;
use crate::settings::Settings;

/// How much a span may carry; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Characters of a text, bytes of a byte array.
    pub(super) value_length: Option<usize>,
    /// Attributes of a span, event or link.
    pub(super) attributes: Option<usize>,
    /// Events of a span.
    pub(super) events: Option<usize>,
    /// Links of a span.
    pub(super) links: Option<usize>,
}

/// Stands at the end of a text that was cut.
const CUT: char = '…';

impl Limits {
    pub(super) const NONE: Limits =
        Limits { value_length: None, attributes: None, events: None, links: None };

    pub(super) fn new(settings: &Settings) -> Self {
        Limits {
            value_length: settings.attribute_value_length_limit,
            attributes: settings.attribute_count_limit,
            events: settings.event_count_limit,
            links: settings.link_count_limit,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Limits { value_length: None, attributes: None, events: None, links: None })
    }

    /// Cuts a text or byte array that is too long, and says whether it did. Lists are for the caller to walk over.
    pub(super) fn cut(&self, value: &mut Value<'_>) -> bool {
        let Some(limit) = self.value_length else { return false };
        match value {
            // A text of so many bytes has no more characters.
            Value::String(text) if text.len() > limit => {
                let Some(end) = end_of_cut(text, limit) else { return false };
                let mut cut = String::with_capacity(end + CUT.len_utf8());
                cut.push_str(text.get(..end).unwrap_or_default());
                cut.push(CUT);
                *text = Cow::Owned(cut);
                true
            }
            Value::Bytes(bytes) if bytes.len() > limit => {
                *bytes = Cow::Owned(bytes.iter().take(limit).copied().collect());
                true
            }
            _ => false,
        }
    }
}

/// Where to cut a text so that it has `limit` characters with the sign of the cut; `None` where it is not too long.
fn end_of_cut(text: &str, limit: usize) -> Option<usize> {
    let mut starts = text.char_indices().map(|(at, _)| at).skip(limit.saturating_sub(1));
    let end = starts.next()?;
    // One character more would be the last that is allowed.
    let is_longer = limit == 0 || starts.next().is_some();
    is_longer.then_some(end)
}

/// Keeps the first so many items; how many were dropped.
pub(super) fn keep_first<T>(items: &mut Vec<T>, limit: Option<usize>) -> usize {
    let dropped = limit.map_or(0, |limit| items.len().saturating_sub(limit));
    items.truncate(items.len() - dropped);
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_at_most_as_many_characters_as_the_limit_says() {
        for (text, limit, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("äöüß", 4, "äöüß"),
            ("äöüßx", 4, "äöü…"),
            ("日本語", 2, "日…"),
            ("ab", 1, "…"),
            ("", 1, ""),
        ] {
            let limits = Limits { value_length: Some(limit), ..Limits::NONE };
            let mut value = Value::String(text.into());
            assert_eq!(limits.cut(&mut value), text != expected, "{text}");
            assert_eq!(value, Value::String(expected.into()));
            assert!(!limits.cut(&mut value), "once is enough");
        }
    }
}
