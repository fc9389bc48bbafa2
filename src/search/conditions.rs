//! A filter as SQL: what documents have to be, and what is left to ask of their rows.
//!
//! Literals travel as parameters only. The document is `d`, the row `r`.

use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use tokio_postgres::types::ToSql;

use super::filter::{Filter, Test};
use super::needles::{holds, needles};
use super::tags;
use super::time::Time;
use crate::span::{Timestamp, escape_into, names_of};
use crate::store::TraceIds;

/// Parameters of a statement in the making.
#[derive(Default)]
pub(crate) struct Parameters(Vec<Box<dyn ToSql + Send + Sync>>);

impl Parameters {
    /// Adds a parameter; returns what stands for it, such as `$3`.
    pub(crate) fn bind(&mut self, value: impl ToSql + Send + Sync + 'static) -> String {
        self.0.push(Box::new(value));
        format!("${}", self.0.len())
    }

    /// As the driver takes them.
    pub(crate) fn as_slice(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// The expression of the second column of the index span_rows_document.
pub(super) const BIN: &str = "date_bin('10 s', r.start_time, 'epoch')";

/// What documents have to be: `TRUE`, or conditions on `d`. A document that passes may have spans that fail; of one that
/// fails every span does.
pub(super) fn on_documents(filter: &Filter, schema: &str, parameters: &mut Parameters) -> String {
    let mut all = Vec::new();
    if !filter.services.is_empty() {
        all.push(format!("d.service = ANY({})", parameters.bind(filter.services.clone())));
    }
    if let Some(name) = &filter.operation {
        all.push(format!("(d.name = {} OR d.name LIKE '%…%')", parameters.bind(name.clone())));
    }
    if let Some(kind) = filter.kind {
        all.push(format!("d.kind = {}", parameters.bind(kind as i16)));
    }
    if let Some(status) = filter.status {
        all.push(format!("d.status_code = {}", parameters.bind(status as i16)));
    }
    for condition in &filter.attributes {
        let keys = names_of(&condition.key);
        let listed = parameters.bind(keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        let passes = any_name(&keys, parameters, |key, parameters| {
            let value = format!("d.attributes -> {key}");
            let test = test(&condition.test, &value, schema, parameters);
            format!("CASE jsonb_typeof({value}) WHEN 'object' THEN true ELSE {test} END")
        });
        all.push(format!("(d.attributes IS NULL OR (d.attributes ?| {listed} AND {passes}))"));
    }
    for (key, value) in &filter.tags {
        all.push(tags::on_documents(key, value, schema, parameters));
    }
    if let Some(failed) = filter.failed {
        all.push(format!("d.status_code {} 2", if failed { "=" } else { "<>" }));
    }
    if let Some(scope) = &filter.scope {
        all.push(format!("d.scope = {}", parameters.bind(scope.clone())));
    }
    if filter.exception == Some(true) {
        all.push("d.body LIKE '%\"events\":%'".into());
    }
    joined(all)
}

/// What is left to ask of rows of documents that passed, other than their period.
pub(super) fn on_rows(filter: &Filter, schema: &str, parameters: &mut Parameters) -> String {
    let mut all = Vec::new();
    let decoded = format!("{schema}.span_body(d.body, r.fillers)");
    if let Some(name) = &filter.operation {
        let name = parameters.bind(name.clone());
        all.push(format!("(d.name = {name} OR {decoded} ->> 'name' = {name})"));
    }
    if let Some(least) = filter.min_duration {
        all.push(format!("r.duration_ns >= {}", parameters.bind(nanoseconds(least))));
    }
    if let Some(most) = filter.max_duration {
        all.push(format!("r.duration_ns <= {}", parameters.bind(nanoseconds(most))));
    }
    for (at, condition) in filter.attributes.iter().enumerate() {
        let passes = any_name(&names_of(&condition.key), parameters, |key, parameters| {
            let value = format!("{schema}.span_attribute(d.attributes, d.body, r.fillers, {key})");
            test(&condition.test, &value, schema, parameters)
        });
        all.push(match &condition.test {
            // Looking for the text in a row takes a tenth of decoding its value.
            Test::Is(wanted) => format!(
                "CASE WHEN NOT d.varies_{at} OR {} THEN {passes} ELSE false END",
                holds(&needles(wanted), parameters)
            ),
            _ => passes,
        });
    }
    for condition in &filter.resource {
        let passes = any_name(&names_of(&condition.key), parameters, |key, parameters| {
            test(&condition.test, &format!("s.body::jsonb -> 'attributes' -> {key}"), schema, parameters)
        });
        all.push(format!(
            "r.resource_id = ANY(ARRAY(SELECT s.id FROM {schema}.span_resources s WHERE {passes}))"
        ));
    }
    for (at, (key, value)) in filter.tags.iter().enumerate() {
        all.push(tags::on_rows((key, value), &format!("tag_{at}"), schema, parameters));
    }
    if let Some(has) = filter.exception {
        all.push(format!(
            "{}(CASE WHEN d.begins_with_exception THEN true \
                     WHEN d.may_have_exception THEN ({decoded} -> 'events') @> '[{{\"name\": \"exception\"}}]' \
                     ELSE false END)",
            if has { "" } else { "NOT " }
        ));
    }
    if !filter.trace_ids.is_empty() {
        let ids = filter.trace_ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        all.push(format!(
            "encode(uuid_send(r.trace_id), 'hex') COLLATE \"C\" = ANY({})",
            parameters.bind(ids)
        ));
    }
    for (at, phrase) in filter.phrases.iter().enumerate() {
        all.push(phrase_condition(at, phrase, schema, parameters));
    }
    joined(all)
}

/// How many runs of letters and digits of a phrase are looked for in a row before it is decoded.
const RUNS: usize = 16;

/// What is found out once for each document, for [`on_rows`]: more columns of `d`. Whoever selects them fences the
/// subquery with `OFFSET 0`, or they are computed for each row.
pub(super) fn columns(filter: &Filter, parameters: &mut Parameters) -> String {
    let mut columns = String::new();
    for (at, condition) in filter.attributes.iter().enumerate() {
        if let Test::Is(_) = condition.test {
            columns += ", d.attributes IS NOT NULL";
            for key in names_of(&condition.key) {
                let key = parameters.bind((*key).to_owned());
                columns +=
                    &format!(" AND (jsonb_typeof(d.attributes -> {key}::text) = 'object') IS NOT FALSE");
            }
            columns += &format!(" AS varies_{at}");
        }
    }
    for (at, (_, value)) in filter.tags.iter().enumerate() {
        columns += &format!(", {} AS tag_{at}", tags::in_document(value, parameters));
    }
    if filter.exception.is_some() {
        // As a rule the first event is the exception, and the same for each span of the document. Other names of events are
        // told apart from attributes, and read from rows, where a span is decoded.
        columns += ", d.body ~ '\"events\":[[][{]\"offset_ns\":%[0-9]+[$]s,\"name\":\"exception\"' AS begins_with_exception, \
             d.body ~ '\"events\":(%|.*\"name\":\"(exception\"|%))' AS may_have_exception";
    }
    for (at, phrase) in filter.phrases.iter().enumerate() {
        let text = parameters.bind(like(phrase));
        let in_body = match is_field(phrase) || is_punctuation(phrase) {
            true => "false".into(),
            false => {
                let body = match is_placeholder(phrase) || is_syntax(phrase) {
                    true => without_placeholders(parameters),
                    false => "d.body".into(),
                };
                format!("{body} ILIKE {}", parameters.bind(like(&in_json(phrase).replace('%', "%%"))))
            }
        };
        // Without a subquery, which Citus would refuse here; so it is not more of them than tell rows apart.
        let mut not_in_body = Vec::new();
        for run in runs(&in_json(phrase)).into_iter().take(RUNS) {
            let run = parameters.bind(like(run));
            not_in_body.push(format!("CASE WHEN d.body NOT ILIKE {run}::text THEN {run}::text END"));
        }
        columns += &format!(
            ", (d.service ILIKE {text} OR {in_body}) AS has_phrase_{at}, \
             array_remove(ARRAY[{}]::text[], NULL) AS runs_{at}",
            not_in_body.join(", ")
        );
    }
    columns
}

/// Rows of a period, by the expression of the index span_rows_document and exactly, but for those of traces that are left out.
pub(super) fn within(filter: &Filter, parameters: &mut Parameters) -> String {
    let (since, until) = (bound(filter.since, Time::MIN), bound(filter.until, Time::MAX));
    let (since, until) = (parameters.bind(since), parameters.bind(until));
    let mut within = format!(
        "r.start_time >= {since} AND r.start_time < {until} \
         AND {BIN} BETWEEN date_bin('10 s', {since}, 'epoch') AND date_bin('10 s', {until}, 'epoch')"
    );
    if !filter.apart_from.is_empty() {
        let TraceIds { ids, .. } = TraceIds::new(filter.apart_from.iter().copied());
        within += &format!(" AND r.trace_id <> ALL({})", parameters.bind(ids));
    }
    within
}

/// A query for the ids of traces with a span that passes, in their order.
#[cfg(feature = "import")]
pub(crate) fn ids_of_traces(filter: &Filter, schema: &str, parameters: &mut Parameters) -> String {
    let documents = match asks_documents(filter) {
        false => String::new(),
        true => {
            let (columns, conditions) =
                (columns(filter, parameters), on_documents(filter, schema, parameters));
            format!(
                " JOIN (SELECT d.*{columns} FROM {schema}.span_documents d WHERE {conditions} OFFSET 0) AS d \
                 ON d.id = r.document_id"
            )
        }
    };
    let (period, rows) = (within(filter, parameters), on_rows(filter, schema, parameters));
    format!(
        "SELECT DISTINCT r.trace_id FROM {schema}.span_rows r{documents} WHERE {period} AND {rows} ORDER BY r.trace_id"
    )
}

/// Whether the filter asks something of documents.
pub(super) fn asks_documents(filter: &Filter) -> bool {
    on_documents(filter, "", &mut Parameters::default()) != TRUE || !filter.phrases.is_empty()
}

/// Whether the filter asks something of rows.
pub(super) fn asks_rows(filter: &Filter) -> bool {
    filter.since.is_some() || filter.until.is_some() || asks_each_row(filter)
}

/// Whether the filter asks something of rows other than their period.
pub(super) fn asks_each_row(filter: &Filter) -> bool {
    on_rows(filter, "", &mut Parameters::default()) != TRUE
}

/// What holds for everything.
const TRUE: &str = "TRUE";

fn bound(time: Option<SystemTime>, otherwise: Time) -> Time {
    time.map_or(otherwise, |time| Time::from(Timestamp::from(time)))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn joined(all: Vec<String>) -> String {
    if all.is_empty() { TRUE.into() } else { all.join(" AND ") }
}

/// A condition on an attribute that may have several names.
fn any_name(
    keys: &[&str],
    parameters: &mut Parameters,
    mut condition: impl FnMut(&str, &mut Parameters) -> String,
) -> String {
    let one_each: Vec<String> = keys
        .iter()
        .map(|key| {
            let key = format!("{}::text", parameters.bind((*key).to_owned()));
            format!("coalesce({}, false)", condition(&key, parameters))
        })
        .collect();
    format!("({})", one_each.join(" OR "))
}

/// A test of a jsonb value, null where there is none.
fn test(test: &Test, value: &str, schema: &str, parameters: &mut Parameters) -> String {
    let text = format!("({value} #>> '{{}}')");
    match test {
        Test::Exists => format!("({value}) IS NOT NULL"),
        Test::Is(wanted) => is(wanted, value, parameters),
        Test::IsNot(other) => {
            format!("(({value}) IS NOT NULL AND NOT coalesce({}, false))", is(other, value, parameters))
        }
        Test::Matches(regex) => format!("{text} ~ {}", parameters.bind(regex.clone())),
        Test::MatchesNot(regex) => format!("{text} !~ {}", parameters.bind(regex.clone())),
        Test::Compares(comparison, number) => {
            let operator = comparison.sign();
            format!("{schema}.attribute_number({value}) {operator} {}", numeric(*number, parameters))
        }
    }
}

/// Whether a jsonb value reads so, or is a list that has it. Only lists are looked into.
fn is(wanted: &str, value: &str, parameters: &mut Parameters) -> String {
    let text = parameters.bind(wanted.to_owned());
    let reads_so = format!("({value} #>> '{{}}') = {text}");
    let number = number_or_boolean(wanted).map_or(String::new(), |json| {
        format!(" OR ({value}) @> {}::text::jsonb", parameters.bind(json.to_string()))
    });
    format!(
        "CASE jsonb_typeof({value}) WHEN 'array' THEN {reads_so} OR ({value}) @> to_jsonb({text}::text){number} \
         ELSE {reads_so} END"
    )
}

/// What a text is in JSON where it is a number or a boolean.
pub(super) fn number_or_boolean(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok().filter(|json: &Json| json.is_number() || json.is_boolean())
}

/// A number as a parameter. A cast of `float8` would leave 15 digits of it.
pub(super) fn numeric(number: f64, parameters: &mut Parameters) -> String {
    format!("{}::text::numeric", parameters.bind(number.to_string()))
}

/// A text somewhere in the span. Decoding every span would take a minute for ten million: only those are decoded in
/// which the first [`RUNS`] runs of letters or of digits are somewhere, in the body or in the fillers.
fn phrase_condition(at: usize, phrase: &str, schema: &str, parameters: &mut Parameters) -> String {
    let mut ids = String::new();
    if phrase.len() == 16
        && let Ok(id) = u64::from_str_radix(phrase, 16)
    {
        ids = format!("r.span_id = {} OR ", parameters.bind(id.cast_signed()));
    }
    // The names of JSON's fields are in every span, and nothing that anybody looks for: only values are looked at then.
    let (in_fillers, decoded) = if is_field(phrase) {
        let text = parameters.bind(like(phrase));
        let decoded = format!(
            "EXISTS (SELECT FROM jsonb_path_query({schema}.span_body(d.body, r.fillers), 'strict $.**') AS part \
                     WHERE jsonb_typeof(part) = 'string' AND part #>> '{{}}' ILIKE {text})"
        );
        ("false".to_owned(), decoded)
    } else {
        let whole = parameters.bind(like(&in_json(phrase)));
        let text = "format(d.body, VARIADIC string_to_array(r.fillers, E'\\x1f'))";
        let in_text = format!("{text} ILIKE {whole}");
        match is_syntax(phrase) {
            true => ("false".to_owned(), among_values(phrase, &in_text, schema, parameters)),
            false => (format!("r.fillers ILIKE {whole}"), in_text),
        }
    };
    format!(
        "({ids}d.has_phrase_{at} OR {in_fillers} \
          OR CASE WHEN r.fillers ILIKE ALL (d.runs_{at}) THEN {decoded} ELSE false END)"
    )
}

/// Whether a text that is in a span's JSON is in what it says: in a text, or in a key or a number of attributes. The others are
/// kinds, counts and the distances of events from the start, and the signs between all that.
fn among_values(phrase: &str, in_text: &str, schema: &str, parameters: &mut Parameters) -> String {
    let text = parameters.bind(like(phrase));
    let decoded = format!("{schema}.span_body(d.body, r.fillers)");
    format!(
        "CASE WHEN {in_text} THEN EXISTS (SELECT FROM ( \
             SELECT jsonb_path_query({decoded}, 'strict $.** ? (@.type() == \"string\")') \
             UNION ALL SELECT jsonb_path_query({decoded}, 'lax $.**.attributes.** ? (@.type() == \"number\")') \
             UNION ALL SELECT jsonb_path_query( \
                 {decoded}, 'lax $.**.attributes.** ? (@.type() == \"object\").keyvalue().key')) AS parts (part) \
             WHERE part #>> '{{}}' ILIKE {text}) ELSE false END"
    )
}

/// As body and fillers have it, which are JSON.
pub(super) fn in_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    escape_into(&mut json, text);
    json
}

/// Whether a text is in the name of a field of a body.
fn is_field(text: &str) -> bool {
    FIELDS.iter().any(|field| field.contains(&text.to_lowercase()))
}

/// The names of fields in a body.
const FIELDS: &[&str] = &[
    "attributes",
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
    "end_unix_nano",
    "events",
    "flags",
    "kind",
    "links",
    "name",
    "offset_ns",
    "schema_url",
    "scope",
    "span_id",
    "start_unix_nano",
    "status_code",
    "status_message",
    "trace_id",
    "trace_state",
    "version",
    "$double",
    "$bytes",
];

/// Whether a text may be in a number or between values, where JSON has no letters.
fn is_syntax(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_digit() || "+-.,:[]{}".contains(character))
}

/// Whether such a text may be between values.
fn is_punctuation(text: &str) -> bool {
    is_syntax(text) && text.contains([',', ':', '[', ']', '{', '}'])
}

/// Whether a text may be in what stands for a filler in a body, such as `%12$s`.
fn is_placeholder(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_digit() || "%$sS".contains(character))
}

/// A body without what stands for fillers, and without its own numbers. A percent sign of its own is doubled.
fn without_placeholders(parameters: &mut Parameters) -> String {
    let pattern = r#"(%%)|%\d+\$s|"(?:kind|status_code|flags|dropped_[a-z]+_count)":\d+"#;
    let [pattern, kept] = [pattern, r"\1"].map(|text| parameters.bind(text));
    format!("regexp_replace(d.body, {pattern}, {kept}, 'g')")
}

/// A pattern of LIKE for a text somewhere.
pub(super) fn like(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Runs of letters and runs of digits.
fn runs(text: &str) -> Vec<&str> {
    let class = |character: char| match character {
        _ if character.is_alphabetic() => 1,
        _ if character.is_numeric() => 2,
        _ => 0,
    };
    let mut found = Vec::new();
    let mut start = 0;
    let mut previous = 0;
    for (at, character) in text.char_indices() {
        let current = class(character);
        if current != previous {
            if previous != 0 {
                found.push(&text[start..at]);
            }
            (start, previous) = (at, current);
        }
    }
    if previous != 0 {
        found.push(&text[start..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::filter::Condition;
    use super::*;

    #[test]
    fn a_phrase_falls_into_letters_and_digits() {
        assert_eq!(runs("order-12a, ok"), ["order", "12", "a", "ok"]);
        assert_eq!(runs("…"), Vec::<&str>::new());
    }

    #[test]
    fn no_literal_is_part_of_the_statement() {
        let literal = "x'; DROP TABLE spans; --";
        let mut filter = Filter::default()
            .service(literal)
            .operation(literal)
            .phrase(literal)
            .tag(literal, literal)
            .scope(literal);
        for test in [
            Test::Is(literal.into()),
            Test::IsNot(literal.into()),
            Test::Matches(literal.into()),
            Test::Exists,
        ] {
            filter = filter.attribute(Condition { key: literal.into(), test: test.clone() });
            filter = filter.resource_attribute(Condition { key: literal.into(), test });
        }
        let mut parameters = Parameters::default();
        let text = [
            on_documents(&filter, "\"otel\"", &mut parameters),
            columns(&filter, &mut parameters),
            on_rows(&filter, "\"otel\"", &mut parameters),
            within(&filter, &mut parameters),
        ]
        .concat();
        assert!(!text.contains("DROP"), "{text}");
    }
}
