//! What the targets share.

use std::collections::HashMap;
use std::sync::LazyLock;

use opentelemetry_pgvector::Settings;
use opentelemetry_pgvector::span::{
    Document, Halves, Scrubbed, Scrubber, Span, Splitter, Template,
};

/// Splits spans and joins them again, twice, since the second time the splitter knows more.
///
/// # Panics
/// Where a span does not come back as it was.
pub fn split_and_join(spans: &[Span<'_>]) {
    let mut splitter = Splitter::default();
    let mut templates: HashMap<u128, Template> = HashMap::new();
    for _ in 0..2 {
        let halves = splitter.split(spans, |key| templates.contains_key(&key));
        for document in &halves.documents {
            templates.insert(document.key, template(document));
        }
        let joined = join(&halves, &templates);
        assert_eq!(joined.len(), spans.len());
        // A NUL, which PostgreSQL cannot hold, comes back as another sign.
        if halves.nuls == 0 {
            joined.iter().zip(spans).for_each(|(joined, span)| assert_eq!(joined, span));
        }
    }
}

fn template(document: &Document) -> Template {
    Template::parse(&document.body).expect("a body is a format string")
}

fn join(halves: &Halves, templates: &HashMap<u128, Template>) -> Vec<Span<'static>> {
    let join = |row: &opentelemetry_pgvector::span::Row| {
        let stored = halves.stored(row);
        templates[&row.document].join(&stored, &halves.resources[row.resource]).expect("the halves join")
    };
    halves.rows.iter().map(join).collect()
}

/// Scrubs spans with rules and limits of every kind; a second time must change nothing.
///
/// # Panics
/// Where it does.
pub fn scrub(spans: &mut [Span<'_>]) {
    static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(|| {
        let mut settings = Settings::default();
        settings.redact = ["default", "*id=hash", "/^a/=drop", "b?=keep"].map(String::from).to_vec();
        settings.redact_key = "the same in each run".into();
        settings.attribute_value_length_limit = Some(20);
        settings.attribute_count_limit = Some(5);
        settings.event_count_limit = Some(2);
        Scrubber::new(&settings).expect("valid settings")
    });
    SCRUBBER.scrub(spans);
    let once = spans.to_vec();
    assert_eq!(SCRUBBER.scrub(spans), Scrubbed::default());
    assert_eq!(once, spans);
}
