//! Rows that hold the value of an attribute or a tag, or the literals of it that their documents' templates leave out.
//!
//! Looking for these in a row takes 0.2 µs, looking up the row's document 7. So where only rows tell, documents are read for
//! those rows alone that may pass.

use serde_json::{Value as Json, json};

use super::conditions::{Parameters, columns, number_or_boolean, on_documents, on_rows, within};
use super::filter::{Filter, Test};
use super::needles::{holds, in_body, needles, needles_of_tag};
use super::spans::reading;
use super::tags;
use crate::error::Result;
use crate::span::names_of;
use crate::store::{Columns, Connection, TraceStore};

/// Up to so many documents that have the value as a constant, rows are asked for it.
const CONSTANT: usize = 1_000;
/// A shorter text is in many rows by chance.
const SHORTEST: usize = 3;

/// A value that a filter asks for.
struct Wanted<'a> {
    key: &'a str,
    value: &'a str,
    needles: Vec<String>,
    is_tag: bool,
}

/// Rows of which few may pass a filter.
pub(super) struct Held {
    needles: Vec<String>,
    /// Documents that have the value as a constant.
    constant: Vec<i32>,
    /// Resources that have it, where that is asked.
    resources: Vec<i32>,
}

/// What rows hold that pass a filter, where that leaves few of them.
pub(super) async fn held(
    store: &TraceStore,
    connection: &Connection,
    filter: &Filter,
    last: i32,
) -> Result<Option<Held>> {
    let attributes = filter.attributes.iter().filter_map(|condition| match &condition.test {
        Test::Is(value) => {
            Some(Wanted { key: &condition.key, value, needles: needles(value), is_tag: false })
        }
        _ => None,
    });
    let tags = filter.tags.iter().map(|(key, value)| Wanted {
        key,
        value,
        needles: needles_of_tag(value),
        is_tag: true,
    });
    let length = |wanted: &Wanted<'_>| wanted.needles.iter().map(String::len).min().unwrap_or(0);
    let Some(wanted) = attributes.chain(tags).max_by_key(length).filter(|wanted| length(wanted) >= SHORTEST)
    else {
        return Ok(None);
    };
    let schema = &store.sql().schema;
    let mut parameters = Parameters::default();
    let is_constant = wanted.is_constant(&mut parameters);
    let sql = format!(
        "SELECT d.id FROM {schema}.span_documents d WHERE ({is_constant}) AND d.id <= {} LIMIT {}",
        parameters.bind(last),
        CONSTANT + 1
    );
    let constant = ids(connection, &sql, parameters, filter).await?;
    let mut resources = Vec::new();
    if wanted.is_tag {
        let mut parameters = Parameters::default();
        let has = tags::on_resources(wanted.key, wanted.value, schema, &mut parameters);
        let sql = format!("SELECT s.id FROM {schema}.span_resources s WHERE {has}");
        resources = ids(connection, &sql, parameters, filter).await?;
    }
    Ok((constant.len() <= CONSTANT).then_some(Held { needles: wanted.needles, constant, resources }))
}

async fn ids(
    connection: &Connection,
    sql: &str,
    parameters: Parameters,
    filter: &Filter,
) -> Result<Vec<i32>> {
    let rows = connection.query_prepared(sql, &parameters.as_slice()).await.map_err(reading(filter))?;
    rows.iter().map(|row| row.column(0)).collect()
}

impl Wanted<'_> {
    /// Whether a document `d` may have the value as a constant.
    fn is_constant(&self, parameters: &mut Parameters) -> String {
        let mut forms = vec![json!(self.value), json!([self.value])];
        // A number or a boolean stands there as such.
        forms.extend(number_or_boolean(self.value).into_iter().flat_map(|json| [json!([&json]), json]));
        if self.is_tag {
            forms.extend(self.value.parse::<f64>().ok().filter(|number| number.is_finite()).map(Json::from));
        }
        let mut any = Vec::new();
        for name in &names_of(self.key) {
            for form in &forms {
                let object = json!({ *name: form }).to_string();
                any.push(format!("d.attributes @> {}::text::jsonb", parameters.bind(object)));
            }
        }
        let body_tells = if self.is_tag { tags::in_body_only() } else { tags::ATTRIBUTES_UNKNOWN.into() };
        any.push(format!("(({body_tells}) AND {})", in_body(&self.needles, parameters)));
        any.join(" OR ")
    }
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
        let mut any = vec![holds(&self.needles, parameters)];
        for (column, ids) in [("document_id", &self.constant), ("resource_id", &self.resources)] {
            if !ids.is_empty() {
                any.push(format!(
                    "r.{column} IN (SELECT unnest({}::integer[]))",
                    parameters.bind(ids.clone())
                ));
            }
        }
        format!("({})", any.join(" OR "))
    }
}
