//! `search`.

use std::io::{self, Write};

use opentelemetry_pgvector::{Error, TraceStore};
use serde_json::Value;

use crate::args::{By, NewOptions, SearchOptions};
use crate::failure::{Failure, Outcome};
use crate::hits::Shown;
use crate::terminal::{cut, stdout, tell, write_json};
use crate::{new, nothing, suggest};

pub async fn search(store: TraceStore, options: &SearchOptions) -> Outcome {
    if let Some(since) = options.new_since {
        let services = &options.filter.service;
        if services.len() > 1 {
            return Err(Failure::Usage("--new-since takes one --service at most".into()));
        }
        let (service, limit, json) = (services.first().cloned(), options.limit, options.json);
        return new::new(store, &NewOptions { since, service, limit, json }).await;
    }
    let query = options.query().map_err(|error| Failure::Usage(error.to_string()))?;
    let mut query = query.limit(options.limit as usize);
    if let Some(score) = options.min_score {
        query = query.similarity_threshold(score);
    }
    if let Some(page) = options.page {
        query = query.page(page);
    }

    let shown = Shown::new(&query, options.explain);
    let (count, next) = match options.by {
        By::Trace => {
            let found = store.search_traces(query.clone()).await.map_err(asked)?;
            print(&found.hits, options.json, |hit| shown.trace_json(hit), |hit| shown.trace(hit))?;
            (found.hits.len(), found.next)
        }
        By::Operation => {
            let found = store.search_operations(query.clone()).await.map_err(asked)?;
            print(&found.hits, options.json, |hit| shown.operation_json(hit), |hit| shown.operation(hit))?;
            (found.hits.len(), found.next)
        }
        By::Span => {
            let found = store.search_spans(query.clone()).await.map_err(asked)?;
            print(&found.hits, options.json, |hit| shown.span_json(hit), |hit| shown.span_alone(hit))?;
            (found.hits.len(), found.next)
        }
    };
    if let Some(page) = next {
        tell!("next page: the same command with --page {page}");
    }
    if count == 0 && options.page.is_some() {
        tell!("there are no more results");
    } else if count == 0 {
        // For a script, no results are results too: this is no failure, unless a service's name is wrong.
        suggest::known_services(&store, &query.conditions().services).await?;
        nothing::say_why(&store, &query, options.min_score).await?;
    }
    Ok(())
}

/// What is wrong with the query itself is wrong with the command line.
fn asked(error: Error) -> Failure {
    match error {
        Error::Input { .. } => Failure::Usage(error.to_string()),
        other => Failure::Failed(other),
    }
}

/// One result after the other: a line of JSON each, or a block of lines.
pub fn print<T>(
    hits: &[T],
    as_json: bool,
    json: impl Fn(&T) -> Value,
    text: impl Fn(&T) -> Vec<String>,
) -> io::Result<()> {
    let mut out = stdout();
    for (number, hit) in hits.iter().enumerate() {
        if as_json {
            write_json(&mut out, &json(hit).to_string())?;
            continue;
        }
        if number > 0 {
            writeln!(out)?;
        }
        for line in text(hit) {
            writeln!(out, "{}", cut(&line))?;
        }
    }
    out.flush()
}
