//! What of a trace is looked at: the address says it, and nothing else does.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanId, TraceId};

use super::find;
use crate::serve::page::show;
use crate::serve::parameters::Parameters;

/// How many closed spans an address has at most.
const CLOSED: usize = 100;

/// A span within its trace: its id, and where several spans have the same which of them it is, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SpanKey {
    pub(super) id: SpanId,
    pub(super) nth: u32,
}

impl fmt::Display for SpanKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            0 => write!(formatter, "{}", self.id),
            nth => write!(formatter, "{}.{nth}", self.id),
        }
    }
}

impl FromStr for SpanKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is no span's id of up to 16 hexadecimal digits", show::cut(text, 40));
        let (id, nth) = text.split_once('.').unwrap_or((text, "0"));
        if id.is_empty() || id.len() > 16 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let id = SpanId::from_hex(&format!("{id:0>16}")).map_err(|_| wrong())?;
        Ok(SpanKey { id, nth: nth.parse().map_err(|_| wrong())? })
    }
}

/// How a trace is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Waterfall,
    Flame,
    Table,
}

impl View {
    pub(super) const ALL: [(View, &str); 3] =
        [(View::Waterfall, "waterfall"), (View::Flame, "flame"), (View::Table, "table")];
}

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Start,
    Service,
    Operation,
    Duration,
    Own,
}

impl Sort {
    pub(super) const ALL: [(Sort, &str); 5] = [
        (Sort::Service, "service"),
        (Sort::Operation, "operation"),
        (Sort::Start, "start"),
        (Sort::Duration, "duration"),
        (Sort::Own, "self"),
    ];
}

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) view: View,
    /// The span whose details are shown.
    pub(super) span: Option<SpanKey>,
    /// Words that spans have; empty for all spans.
    pub(super) find: String,
    /// Spans whose children are not shown.
    pub(super) closed: Vec<SpanKey>,
    /// The page of the waterfall or the table, from 0; `None` for that of the span, or the first.
    pub(super) page: Option<usize>,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    /// What the flame graph is zoomed to.
    pub(super) zoom: Option<u64>,
}

impl Look {
    pub(super) fn of(parameters: &Parameters) -> Result<Self, String> {
        let wrong = |name: &str, text: &str| format!("malformed parameter {name}: {:?}", show::cut(text, 40));
        let view = named(parameters, "view", &View::ALL)?;
        let sort = named(parameters, "sort", &Sort::ALL)?;
        let span = parameters.get("span").map(str::parse).transpose()?;
        let closed = parameters.get("closed").unwrap_or_default();
        let closed = closed.split('-').filter(|key| !key.is_empty()).take(CLOSED);
        let page = parameters.get("page").map(|text| match text.parse::<usize>() {
            Ok(page @ 1..) => Ok(page - 1),
            _ => Err(wrong("page", text)),
        });
        let zoom =
            parameters.get("zoom").map(|text| u64::from_str_radix(text, 16).map_err(|_| wrong("zoom", text)));
        Ok(Look {
            view,
            span,
            find: find::of(parameters)?,
            closed: closed.map(str::parse).collect::<Result<_, _>>()?,
            page: page.transpose()?,
            sort,
            descending: parameters.get("order") == Some("descending"),
            zoom: zoom.transpose()?,
        })
    }

    /// The parameters that are not as they are by default.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        let mut add = |name, value: Option<String>| parameters.extend(value.map(|value| (name, value)));
        add("view", name_of(self.view, &View::ALL));
        add("find", Some(self.find.clone()).filter(|find| !find.is_empty()));
        add("sort", name_of(self.sort, &Sort::ALL));
        add("order", self.descending.then(|| "descending".into()));
        add("zoom", self.zoom.map(|zoom| format!("{zoom:x}")));
        let closed: Vec<String> = self.closed.iter().take(CLOSED).map(SpanKey::to_string).collect();
        add("closed", Some(closed.join("-")).filter(|closed| !closed.is_empty()));
        add("page", self.page.map(|page| (page + 1).to_string()));
        add("span", self.span.map(|key| key.to_string()));
        parameters
    }

    /// Where this is seen.
    pub(super) fn path(&self, trace: TraceId) -> String {
        let parameters = self.parameters();
        let path = format!("/traces/{trace}");
        if parameters.is_empty() {
            return path;
        }
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        show::link(&path, &parameters)
    }

    /// With a span's details.
    pub(super) fn at(&self, span: SpanKey) -> Look {
        Look { span: Some(span), ..self.clone() }
    }

    /// Without any.
    pub(super) fn nowhere(&self) -> Look {
        Look { span: None, ..self.clone() }
    }

    /// From the first page, of spans that have these words.
    pub(super) fn finding(&self, find: &str) -> Look {
        Look { find: find.to_owned(), page: None, zoom: None, ..self.clone() }
    }

    /// With a span's children hidden, or shown where they are hidden.
    pub(super) fn toggled(&self, span: SpanKey) -> Look {
        let mut closed = self.closed.clone();
        closed.retain(|key| *key != span);
        if closed.len() == self.closed.len() {
            closed.push(span);
        }
        Look { closed, ..self.clone() }
    }
}

fn named<T: Copy + Default>(
    parameters: &Parameters,
    name: &'static str,
    all: &[(T, &str)],
) -> Result<T, String> {
    let Some(text) = parameters.get(name) else { return Ok(T::default()) };
    all.iter().find(|(_, known)| *known == text).map(|(value, _)| *value).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|(_, known)| *known).collect();
        format!("malformed parameter {name}: expected {}, not {:?}", known.join(", "), show::cut(text, 40))
    })
}

fn name_of<T: Copy + Default + PartialEq>(value: T, all: &[(T, &str)]) -> Option<String> {
    let known = all.iter().find(|(known, _)| *known == value && value != T::default());
    known.map(|(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = SpanKey> {
        (any::<u64>(), 0..3_u32).prop_map(|(id, nth)| SpanKey { id: SpanId::from(id), nth })
    }

    fn look() -> impl Strategy<Value = Look> {
        let places = (proptest::option::of(key()), proptest::collection::vec(key(), 0..5), "\\PC{0,12}");
        let rest = (0..3_usize, 0..5_usize, any::<bool>(), any::<Option<u64>>(), any::<Option<u16>>());
        (places, rest).prop_map(|((span, closed, find), (view, sort, descending, zoom, page))| Look {
            view: View::ALL[view].0,
            span,
            find: find.trim().to_owned(),
            closed,
            page: page.map(usize::from),
            sort: Sort::ALL[sort].0,
            descending,
            zoom,
        })
    }

    proptest! {
        #[test]
        fn an_address_leads_to_where_it_was_taken(look in look()) {
            let path = look.path(TraceId::from(7));
            let query = path.split_once('?').map(|(_, query)| query);
            prop_assert_eq!(Look::of(&Parameters::of(query)), Ok(look), "{}", path);
        }

        #[test]
        fn closing_twice_is_to_open_again(look in look(), span in key()) {
            let mut expected = look.clone();
            // Of a span that was closed several times all are opened at once.
            expected.closed.retain(|key| *key != span);
            let mut twice = look.toggled(span).toggled(span);
            twice.closed.retain(|key| *key != span);
            prop_assert_eq!(twice, expected);
        }
    }

    #[test]
    fn what_an_address_cannot_mean_is_said() {
        for query in [
            "view=spiral",
            "span=xyz",
            "span=1.x",
            "span=00000000000000001",
            "page=0",
            "page=-1",
            "zoom=q",
            "sort=1",
            "closed=1-z",
        ] {
            let reason = Look::of(&Parameters::of(Some(query))).expect_err(query);
            assert!(reason.contains("malformed") || reason.contains("no span's id"), "{reason}");
        }
        let look = Look::of(&Parameters::of(Some("span=a1&unknown=1"))).expect("a look");
        assert_eq!(look.span.map(|key| key.to_string()).as_deref(), Some("00000000000000a1"));
    }
}
