//! Tags: a value wherever a span may have it, as Jaeger looks for it.
//!
//! In SQL the document is `d`, the row `r`.

use super::conditions::{Parameters, in_json, like, numeric};
use super::needles::{holds, in_body, needles_of_tag};
use crate::span::names_of;

/// A document that does not tell its attributes.
pub(super) const ATTRIBUTES_UNKNOWN: &str = "d.attributes IS NULL";
const EVENTS_OR_LINKS: &str = "d.body LIKE '%\"events\":%' OR d.body LIKE '%\"links\":%'";
const ATTRIBUTES_OF_SCOPE: &str = "d.body LIKE '%\"scope\":{%\"attributes\":%'";

/// Documents that may have a tag elsewhere than among the attributes that they tell.
pub(super) fn in_body_only() -> String {
    format!("{ATTRIBUTES_UNKNOWN} OR {EVENTS_OR_LINKS} OR {ATTRIBUTES_OF_SCOPE}")
}

/// What a document has to be, so that a span of it may have the tag.
pub(super) fn on_documents(key: &str, value: &str, schema: &str, parameters: &mut Parameters) -> String {
    // Events and links, and attributes of the scope, are not looked into here.
    let mut any = vec![ATTRIBUTES_UNKNOWN.to_owned(), EVENTS_OR_LINKS.to_owned()];
    for name in names_of(key) {
        let attribute = format!("d.attributes -> {}::text", parameters.bind(name.to_owned()));
        let passes = is(&attribute, value, schema, parameters);
        any.push(format!(
            "CASE jsonb_typeof({attribute}) WHEN 'object' THEN true ELSE coalesce({passes}, false) END"
        ));
        let of_scope = parameters.bind(like(&in_json(name).replace('%', "%%")));
        any.push(format!("({ATTRIBUTES_OF_SCOPE} AND d.body LIKE {of_scope})"));
    }
    let of_resource = on_resources(key, value, schema, parameters);
    any.push(format!(
        "EXISTS (SELECT FROM {schema}.span_resources s WHERE s.service = d.service AND {of_resource})"
    ));
    format!("({})", any.join(" OR "))
}

/// Whether a document has some of the value as a constant anywhere: a column of `d` for [`on_rows`].
pub(super) fn in_document(value: &str, parameters: &mut Parameters) -> String {
    in_body(&needles_of_tag(value), parameters)
}

/// What a row of such a document has to be; `in_document` is the column of this name.
pub(super) fn on_rows(
    (key, value): (&str, &str),
    in_document: &str,
    schema: &str,
    parameters: &mut Parameters,
) -> String {
    let decoded = format!("{schema}.span_body(d.body, r.fillers)");
    let mut own = Vec::new();
    for name in names_of(key) {
        let bound = format!("{}::text", parameters.bind(name.to_owned()));
        let attribute = format!("{schema}.span_attribute(d.attributes, d.body, r.fillers, {bound})");
        own.push(format!("coalesce({}, false)", is(&attribute, value, schema, parameters)));
        // A span is decoded only where the key is somewhere in it.
        let in_body = parameters.bind(like(&in_json(name).replace('%', "%%")));
        let in_fillers = parameters.bind(like(&in_json(name)));
        let inner = is(&format!("part -> {bound}"), value, schema, parameters);
        own.push(format!(
            "CASE WHEN d.body LIKE {in_body} OR r.fillers LIKE {in_fillers} THEN \
             EXISTS (SELECT FROM ( \
                 SELECT jsonb_path_query({decoded}, 'lax $.events[*].attributes') \
                 UNION ALL SELECT jsonb_path_query({decoded}, 'lax $.links[*].attributes') \
                 UNION ALL SELECT {decoded} -> 'scope' -> 'attributes') AS parts (part) WHERE {inner}) \
             ELSE false END"
        ));
    }
    // Looking for the text in a row takes a fraction of decoding it.
    format!(
        "(r.resource_id = ANY(ARRAY(SELECT s.id FROM {schema}.span_resources s WHERE {})) \
         OR CASE WHEN d.{in_document} OR {} THEN {} ELSE false END)",
        on_resources(key, value, schema, parameters),
        holds(&needles_of_tag(value), parameters),
        own.join(" OR ")
    )
}

/// Whether a jsonb value is written so, is a number of that value, or a list that has the text.
fn is(json: &str, value: &str, schema: &str, parameters: &mut Parameters) -> String {
    let text = parameters.bind(value.to_owned());
    let mut any =
        vec![format!("({json} #>> '{{}}') = {text}"), format!("({json}) @> to_jsonb({text}::text)")];
    if let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite()) {
        let number = numeric(number, parameters);
        any.push(format!(
            "CASE jsonb_typeof({json}) WHEN 'number' THEN {schema}.attribute_number({json}) = {number} END"
        ));
    }
    format!("({})", any.join(" OR "))
}

/// Whether a resource `s` has the tag.
pub(super) fn on_resources(key: &str, value: &str, schema: &str, parameters: &mut Parameters) -> String {
    let any: Vec<String> = names_of(key)
        .iter()
        .map(|name| {
            let name = parameters.bind((*name).to_owned());
            let has =
                is(&format!("s.body::jsonb -> 'attributes' -> {name}::text"), value, schema, parameters);
            format!("coalesce({has}, false)")
        })
        .collect();
    format!("({})", any.join(" OR "))
}
