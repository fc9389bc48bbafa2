//! What a row holds of an attribute's value that varies: the value, or the literals that its document's template leaves out.
//!
//! Looking for these in a row takes 0.2 µs, looking up the row's document 7. So where only rows tell, documents are read for
//! those rows alone that may pass.

use serde_json::{Value as Json, json};

use super::conditions::{Parameters, columns, in_json, like, on_documents, on_rows, within};
use super::filter::{Condition, Filter, Test};
use super::spans::reading;
use crate::error::Result;
use crate::span::{literals, names_of};
use crate::store::{Connection, TraceStore};

/// Up to so many documents that have the value as a constant, rows are asked for it.
const CONSTANT: usize = 1_000;

/// Texts of which a row holds at least one, where its span has this value in an attribute that varies; none where that cannot
/// be told: a list or an object is compared by how PostgreSQL writes it.
pub(super) fn needles(value: &str) -> Vec<String> {
    if value.starts_with(['[', '{']) {
        return Vec::new();
    }
    // One literal is enough: the longest.
    let longest = literals(value).into_iter().filter_map(|all| all.into_iter().max_by_key(|text| text.len()));
    let mut needles: Vec<String> = longest.chain([value]).map(in_json).collect();
    // PostgreSQL writes a large or a small double out, which has an exponent in the row.
    needles.extend(
        value.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| format!("{number:?}")),
    );
    needles.sort_by_key(String::len);
    let mut shortest: Vec<String> = Vec::new();
    for needle in needles {
        if !shortest.iter().any(|short| needle.contains(short.as_str())) {
            shortest.push(needle);
        }
    }
    shortest.retain(|needle| !needle.is_empty());
    shortest
}

/// Whether a row `r` holds one of these, as SQL; `TRUE` where there are none.
pub(super) fn holds(needles: &[String], parameters: &mut Parameters) -> String {
    let mut any = Vec::new();
    for needle in needles {
        any.push(format!("r.fillers LIKE {}", parameters.bind(like(needle))));
    }
    if any.is_empty() { "TRUE".into() } else { format!("({})", any.join(" OR ")) }
}

/// Rows of which few may pass a filter.
pub(super) struct Held {
    needles: Vec<String>,
    /// Documents that have the value as a constant.
    constant: Vec<i32>,
}

/// What rows hold that pass a filter, where that leaves few of them.
pub(super) async fn held(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    last: i32,
) -> Result<Option<Held>> {
    // A short text is in many rows by chance.
    let asked = filter.attributes.iter().filter_map(|condition| match &condition.test {
        Test::Is(value) => Some((condition, value, needles(value))),
        _ => None,
    });
    let shortest = |needles: &[String]| needles.iter().map(String::len).min().unwrap_or(0);
    let Some((condition, value, needles)) = asked.max_by_key(|(.., needles)| shortest(needles)) else {
        return Ok(None);
    };
    if shortest(&needles) < 3 {
        return Ok(None);
    }
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let is_constant = is_constant(condition, value, &mut parameters);
    let sql = format!(
        "SELECT d.id FROM {schema}.span_documents d WHERE ({is_constant}) AND d.id <= {} LIMIT {}",
        parameters.bind(last),
        CONSTANT + 1
    );
    let rows = connection.query_prepared(&sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    let constant: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    Ok((constant.len() <= CONSTANT).then_some(Held { needles, constant }))
}

/// Whether a document `d` may have the value as a constant.
fn is_constant(condition: &Condition, value: &str, parameters: &mut Parameters) -> String {
    let mut forms = vec![json!(value), json!([value])];
    // A number or a boolean stands there as such.
    forms.extend(
        serde_json::from_str::<Json>(value).ok().filter(|json| json.is_number() || json.is_boolean()),
    );
    let mut any = Vec::new();
    for name in &names_of(&condition.key) {
        for form in &forms {
            let object = json!({ *name: form }).to_string();
            any.push(format!("d.attributes @> {}::text::jsonb", parameters.bind(object)));
        }
    }
    let in_body = parameters.bind(in_json(value).replace('%', "%%"));
    any.push(format!("(d.attributes IS NULL AND strpos(d.body, {in_body}) > 0)"));
    any.join(" OR ")
}

impl Held {
    /// A query for something of the rows `r` that pass the filter, with their documents `d` up to `last`: rows are read first, then
    /// their documents.
    pub(super) fn select(
        &self,
        something: &str,
        filter: &Filter,
        last: i32,
        schema: &str,
        parameters: &mut Parameters,
    ) -> String {
        let (holds, period) = (self.on_rows(parameters), within(filter, parameters));
        let (columns, documents) = (columns(filter, parameters), on_documents(filter, schema, parameters));
        let (last, rows) = (parameters.bind(last), on_rows(filter, schema, parameters));
        format!(
            "WITH held AS MATERIALIZED (SELECT r.* FROM {schema}.span_rows r WHERE {period} AND {holds}) \
             SELECT {something} FROM held r JOIN ( \
                 SELECT d.*{columns} FROM {schema}.span_documents d \
                 WHERE d.id = ANY(ARRAY(SELECT DISTINCT document_id FROM held)) AND d.id <= {last} AND {documents} OFFSET 0) AS d \
             ON d.id = r.document_id WHERE {rows}"
        )
    }

    /// Whether a row `r` may pass, as SQL.
    fn on_rows(&self, parameters: &mut Parameters) -> String {
        let holds = holds(&self.needles, parameters);
        match self.constant.is_empty() {
            true => holds,
            false => format!(
                "({holds} OR r.document_id IN (SELECT unnest({}::integer[])))",
                parameters.bind(self.constant.clone())
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_looked_through_for_the_least_that_it_holds_of_a_value() {
        for (value, expected) in [
            ("u77", &["u77"][..]),
            ("ord-00123", &["00123"]),
            ("/orders/7?user=ada&page=12", &["12", "ada"]),
            ("4bf92f35-77b3-4da6-a3ce-929d0e0e4736", &["4bf92f35-77b3-4da6-a3ce-929d0e0e4736"]),
            ("say \"x\"", &["x"]),
            ("100000000000000000000", &["1e20", "100000000000000000000"]),
            ("0.0000001", &["1e-7", "0000001"]),
            ("12.50", &["12.5"]),
            ("true", &["true"]),
            ("", &[]),
            ("[1, 2]", &[]),
            ("{\"a\": 1}", &[]),
        ] {
            assert_eq!(needles(value), expected, "{value}");
        }
    }
}
