//! What a setting accepts, from whichever layer.

use config::ValueKind;
use serde::Serializer;

use super::connection;
use super::redact;

/// Shown in place of a secret.
pub(super) const HIDDEN: &str = "<hidden>";

/// The type of a setting and the values that are allowed.
pub(super) enum Rule {
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    Fraction {
        min: f64,
        max: f64,
    },
    Text {
        allowed: &'static str,
        check: fn(&str) -> bool,
    },
    /// A whole number, or nothing where there is no limit.
    Limit {
        min: u64,
        max: u64,
    },
    Path,
    /// Rules of redaction, as one text.
    Redact,
    /// A text that is never shown, of at least so many bytes. The empty text means that it is not set.
    Secret {
        min: usize,
    },
    /// A connection string, which is a secret too. The empty text means that it is not set.
    Connection,
}

impl Rule {
    /// Converts `value` to the setting's type, or says what is allowed.
    ///
    /// The conversions of `config` are not used: they take `true` for 1 and round fractions.
    pub(super) fn accept(&self, value: &ValueKind) -> Result<ValueKind, String> {
        let accepted = match self {
            Rule::Flag => flag(value).map(ValueKind::Boolean),
            Rule::Whole { min, max } => {
                whole(value).filter(|number| (min..=max).contains(&number)).map(ValueKind::U64)
            }
            Rule::Fraction { min, max } => {
                fraction(value).filter(|number| (min..=max).contains(&number)).map(ValueKind::Float)
            }
            Rule::Text { check, .. } => text(value).filter(|text| check(text)).map(ValueKind::from),
            Rule::Path | Rule::Limit { .. } if matches!(value, ValueKind::Nil) => Some(ValueKind::Nil),
            Rule::Limit { min, max } => {
                whole(value).filter(|number| (min..=max).contains(&number)).map(ValueKind::U64)
            }
            Rule::Path => text(value).filter(|text| !text.is_empty()).map(ValueKind::from),
            Rule::Redact => match text(value) {
                Some(text) => {
                    let rules: Vec<String> = redact::split(text).into_iter().map(String::from).collect();
                    redact::compile(&rules)?;
                    Some(rules.into())
                }
                None => None,
            },
            Rule::Secret { min } => {
                text(value).filter(|text| text.is_empty() || text.len() >= *min).map(ValueKind::from)
            }
            Rule::Connection => match text(value) {
                Some(text) if !text.is_empty() => {
                    connection::parse(text)?;
                    Some(text.into())
                }
                unset => unset.map(ValueKind::from),
            },
        };
        accepted.ok_or_else(|| match self.is_text() && !matches!(value, ValueKind::String(_)) {
            // Of a number in YAML, what was written is not known any more, such as the zeros in front.
            true => format!("must be {}; put it in quotes", self.allowed()),
            false => format!("must be {}", self.allowed()),
        })
    }

    fn is_text(&self) -> bool {
        !matches!(self, Rule::Flag | Rule::Whole { .. } | Rule::Fraction { .. } | Rule::Limit { .. })
    }

    /// A list as the text that stands for it; anything else as it is.
    pub(super) fn flattened(&self, value: ValueKind) -> ValueKind {
        let (Rule::Redact, ValueKind::Array(items)) = (self, &value) else { return value };
        let texts: Option<Vec<&str>> = items.iter().map(|item| text(&item.kind)).collect();
        texts.map_or(value.clone(), |texts| ValueKind::String(texts.join(", ")))
    }

    /// What is allowed, to follow "must be".
    pub(super) fn allowed(&self) -> String {
        match self {
            Rule::Flag => "`true` or `false`".to_owned(),
            Rule::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Rule::Fraction { min, max } => format!("a number from {min} to {max}"),
            Rule::Text { allowed, .. } => (*allowed).to_owned(),
            Rule::Limit { min, max } => format!("a whole number from {min} to {max}"),
            Rule::Path => "a path that is not empty".to_owned(),
            Rule::Redact => {
                "a list of rules such as `password=mask`, `*token*=drop`, `page_token=keep`, `/^card\\.\\w+$/=hash`, \
                 or `default`, or `none`"
                    .to_owned()
            }
            Rule::Secret { min: 0 } => "text".to_owned(),
            Rule::Secret { min } => format!("text of at least {min} bytes"),
            Rule::Connection => "text: a postgresql:// URL or key=value pairs".to_owned(),
        }
    }

    /// `value` in a form for listings, without secrets.
    pub(super) fn shown(&self, value: &ValueKind) -> String {
        match (self, value) {
            (Rule::Connection, ValueKind::String(text)) => connection::redact(text),
            (Rule::Secret { .. }, ValueKind::String(text)) if text.is_empty() => String::new(),
            _ => self.shown_in_error(value),
        }
    }

    /// `value` in a form for error messages. A secret is hidden altogether: since something is wrong with it, there
    /// is no telling which part is the password.
    pub(super) fn shown_in_error(&self, value: &ValueKind) -> String {
        match (self, value) {
            (Rule::Connection | Rule::Secret { .. }, _) => HIDDEN.to_owned(),
            (Rule::Path, ValueKind::String(path)) if connection::is_in_place_of_file(path) => {
                HIDDEN.to_owned()
            }
            (_, ValueKind::String(text)) if text.is_empty() => "\"\"".to_owned(),
            (_, ValueKind::String(text)) => text.escape_debug().to_string(),
            (_, ValueKind::Table(_)) => "a map".to_owned(),
            (_, ValueKind::Array(_)) => "a list".to_owned(),
            (_, ValueKind::Nil) => "not set".to_owned(),
            (_, number_or_flag) => number_or_flag.to_string(),
        }
    }
}

pub(super) fn serialize_hidden<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if text.is_empty() { "" } else { HIDDEN })
}

fn flag(value: &ValueKind) -> Option<bool> {
    match value {
        ValueKind::Boolean(flag) => Some(*flag),
        ValueKind::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        number => match whole(number)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    }
}

fn whole(value: &ValueKind) -> Option<u64> {
    match value {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::I128(number) => u64::try_from(*number).ok(),
        ValueKind::U128(number) => u64::try_from(*number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn fraction(value: &ValueKind) -> Option<f64> {
    match value {
        ValueKind::Float(number) => Some(*number),
        ValueKind::I64(number) => Some(*number as f64),
        ValueKind::U64(number) => Some(*number as f64),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Text as it was written. A YAML number is not taken for text, since `007` would arrive as `7`.
fn text(value: &ValueKind) -> Option<&str> {
    match value {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}
