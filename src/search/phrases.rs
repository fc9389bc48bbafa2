//! Phrases in double quotes: a span must have each of them, letter by letter but for the case.
//!
//! They are looked for in the span as it was exported (names, messages, values of attributes and events), its service
//! and its ids: whatever was masked for the embedding is there.

/// What a query has in quotes, for SQL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Phrases {
    /// Patterns for ILIKE over a whole span.
    pub patterns: Vec<String>,
    /// Patterns for ILIKE of their parts: what a span has cannot lack these in its document and its row.
    pub parts: Vec<String>,
}

impl Phrases {
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// Splits a query into its text without quotes, and its phrases. A quote that nothing closes is like a space.
pub(super) fn parse(query: &str) -> (String, Phrases) {
    let mut phrases = Phrases::default();
    let pieces: Vec<&str> = query.split('"').collect();
    // Between the first and the second quote, between the third and the fourth, and so on.
    for phrase in pieces.iter().take(pieces.len() - 1).skip(1).step_by(2) {
        let phrase = phrase.trim();
        if phrase.is_empty() {
            continue;
        }
        phrases.patterns.push(pattern(&in_json(phrase)));
        // The splitting may part letters from digits, but neither from their like.
        let mut rest = phrase;
        while let Some(first) = rest.chars().next() {
            let like = |character: char| (character.is_alphabetic(), character.is_ascii_digit());
            let end = rest.find(|character| like(character) != like(first)).unwrap_or(rest.len());
            if first.is_alphabetic() || first.is_ascii_digit() {
                phrases.parts.push(pattern(&rest[..end]));
            }
            rest = &rest[end..];
        }
    }
    (pieces.join(" ").split_whitespace().collect::<Vec<_>>().join(" "), phrases)
}

/// Whether a span of a document `d` with a row `r` has the phrases whose patterns and parts are these parameters.
///
/// Spans are decoded only where the cheaper condition holds.
pub(super) fn condition(tables: &str, patterns: u8, parts: u8) -> String {
    let ids = "encode(uuid_send(r.trace_id), 'hex'), lpad(to_hex(r.span_id), 16, '0'), d.service";
    format!(
        "CASE WHEN concat_ws(' ', {ids}, d.body, r.fillers) ILIKE ALL (${parts}::text[]) \
         THEN concat_ws(' ', {ids}, {tables}.span_body(d.body, r.fillers)::text) ILIKE ALL (${patterns}::text[]) \
         ELSE false END"
    )
}

/// As a string stands in JSON, without its quotes.
fn in_json(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.get(1..json.len() - 1).unwrap_or_default().to_owned()
}

/// Matches a text anywhere, by ILIKE.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if ['%', '_', '\\'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_stand_in_quotes() {
        let (text, phrases) = parse(r#"order "ORD-4711 50%" failed"#);
        assert_eq!(text, "order ORD-4711 50% failed");
        assert_eq!(phrases.patterns, [r"%ORD-4711 50\%%"]);
        assert_eq!(phrases.parts, ["%ORD%", "%4711%", "%50%"]);
        for plain in ["card declined", "a 5\" disk", "empty \"\" quotes", "\" \"", ""] {
            assert!(parse(plain).1.is_empty(), "{plain}");
        }
        assert_eq!(parse(r#""a" and "b_c" "d"#).1.patterns, ["%a%", r"%b\_c%"]);
        assert_eq!(parse(r#""C:\temp""#).1.patterns, [r"%C:\\\\temp%"], "as in JSON, and escaped");
    }
}
