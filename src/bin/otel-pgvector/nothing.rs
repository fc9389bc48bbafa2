//! Why a search found nothing, and what to change.

use opentelemetry_pgvector::search::{Filter, SearchQuery};
use opentelemetry_pgvector::{Result, TraceStore};

use crate::human::count;
use crate::terminal::{one_line, tell};

/// Says on the standard error what hides results.
pub async fn say_why(store: &TraceStore, query: &SearchQuery, min_score: Option<f64>) -> Result<()> {
    let threshold = min_score.unwrap_or(store.settings().similarity_threshold);
    // What a phrase finds is not measured by its score.
    let scored = !query.text().is_empty() && query.conditions().phrases.is_empty();
    match scored {
        true => tell!("nothing found with a score of {threshold} or more"),
        false => tell!("nothing found"),
    }
    let hidden = match store.what_hides(query).await {
        Ok(hidden) => hidden,
        Err(error) => {
            tell!("  what hides results is not known: {error}");
            return Ok(());
        }
    };
    let below = hidden.best_score.filter(|best| scored && *best < threshold);
    if let Some(best) = below {
        // Rounded down, so that it finds it.
        tell!(
            "  the best score is {best:.3}: try --min-score {:.2}",
            (best * 100.0).floor().max(0.0) / 100.0
        );
    }
    for condition in &hidden.conditions {
        tell!("  there are results without {}", one_line(&option(condition)));
    }
    if hidden.waiting > 0 {
        let documents = count(hidden.waiting, "kind");
        tell!("  {documents} of spans wait to be embedded, and are not found by meaning yet");
    }
    if !hidden.is_whole {
        tell!("  there was no time to look at all conditions");
    } else if below.is_none() && hidden.conditions.is_empty() {
        let mut given = given(query.conditions());
        if scored {
            given.insert(0, "a lower --min-score".into());
        }
        if given.len() > 1 {
            tell!("  no single condition hides them: try {}", one_line(&given.join(", ")));
        }
        tell!("  `otel-pgvector health` says what is stored, and whether it is embedded");
    }
    Ok(())
}

/// There is no option for it: it stands in the query.
const SCOPE: &str = "scope:";

/// The option for a condition, as the library names it.
fn option(condition: &str) -> String {
    match condition.split_once(' ') {
        Some(("attribute", condition)) => format!("--attribute '{condition}'"),
        Some(("resource", rest)) => {
            format!("--resource '{}'", rest.strip_prefix("attribute ").unwrap_or(rest))
        }
        Some(("minimum", "duration")) => "--min-duration".into(),
        Some(("maximum", "duration")) => "--max-duration".into(),
        Some(("trace", "id")) => "--trace-id".into(),
        None if condition == "scope" => SCOPE.into(),
        _ if condition.starts_with('"') => condition.to_owned(),
        _ => format!("--{condition}"),
    }
}

/// What could be left out.
fn given(filter: &Filter) -> Vec<String> {
    let options = [
        ("--service", !filter.services.is_empty()),
        ("--operation", filter.operation.is_some()),
        ("--kind", filter.kind.is_some()),
        ("--status", filter.status.is_some()),
        ("--since", filter.since.is_some()),
        ("--until", filter.until.is_some()),
        ("--min-duration", filter.min_duration.is_some()),
        ("--max-duration", filter.max_duration.is_some()),
        ("--attribute", !filter.attributes.is_empty()),
        ("--resource", !filter.resource.is_empty()),
        ("--exception", filter.exception.is_some()),
        ("--trace-id", !filter.trace_ids.is_empty()),
        (SCOPE, filter.scope.is_some()),
        ("the text in quotes", !filter.phrases.is_empty()),
    ];
    let given = options.iter().filter(|(_, given)| *given);
    given.map(|(name, _)| format!("without {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn conditions_are_named_as_they_are_typed() {
        for (condition, expected) in [
            ("service", "--service"),
            ("minimum duration", "--min-duration"),
            ("trace id", "--trace-id"),
            ("scope", "scope:"),
            ("attribute http.route=/a b", "--attribute 'http.route=/a b'"),
            ("resource attribute host~x", "--resource 'host~x'"),
            ("\"no such column\"", "\"no such column\""),
        ] {
            assert_eq!(option(condition), expected);
        }
    }
}
