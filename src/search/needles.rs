//! What is left of a value where it varies: what rows and documents are looked through for before anything is decoded.

use super::conditions::{Parameters, in_json, like};
use crate::span::literals;

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
    shortest(needles)
}

/// The same for a tag, for which numbers are compared by their value: `7.0` is found as `7`, too.
pub(super) fn needles_of_tag(value: &str) -> Vec<String> {
    let mut needles = needles(value);
    let number = value.parse().ok().filter(|number: &f64| number.is_finite() && !needles.is_empty());
    needles.extend(number.map(|number| format!("{number}")));
    shortest(needles)
}

/// Those of which no other one is a part.
fn shortest(mut needles: Vec<String>) -> Vec<String> {
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
    any(needles, |needle| format!("r.fillers LIKE {}", parameters.bind(like(needle))))
}

/// Whether the body of a document `d` holds one of these, as SQL; `TRUE` where there are none.
pub(super) fn in_body(needles: &[String], parameters: &mut Parameters) -> String {
    any(needles, |needle| format!("strpos(d.body, {}) > 0", parameters.bind(needle.replace('%', "%%"))))
}

fn any(needles: &[String], holds: impl FnMut(&String) -> String) -> String {
    let any: Vec<String> = needles.iter().map(holds).collect();
    if any.is_empty() { "TRUE".into() } else { format!("({})", any.join(" OR ")) }
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

    #[test]
    fn the_number_of_a_tag_is_looked_for_in_each_way_to_write_it() {
        for (value, expected) in [
            ("12345", &["12345"][..]),
            ("12345.0", &["12345"]),
            ("1e5", &["1"]),
            ("u77", &["u77"]),
            ("[1, 2]", &[]),
        ] {
            assert_eq!(needles_of_tag(value), expected, "{value}");
        }
    }
}
