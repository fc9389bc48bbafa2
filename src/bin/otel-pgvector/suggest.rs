//! Names that are close to one that is not there.

use opentelemetry_pgvector::TraceStore;

use crate::failure::{Failure, Outcome};

/// How many names are suggested.
const SUGGESTED: usize = 3;

/// Fails where a service has no spans, with the names of others that are close.
pub async fn known_services(store: &TraceStore, names: &[String]) -> Outcome {
    if names.is_empty() {
        return Ok(());
    }
    let services = store.services().await?;
    match names.iter().find(|name| !services.contains(name)) {
        Some(name) => Err(Failure::NotFound(unknown_service(name, &services))),
        None => Ok(()),
    }
}

pub fn unknown_service(name: &str, services: &[String]) -> String {
    match services {
        [] => format!("no service `{name}`: nothing is stored"),
        _ => unknown("service", name, services, "services"),
    }
}

/// Says that there is no such thing, and what may be meant, or else which command lists what there is.
pub fn unknown(what: &str, name: &str, known: &[String], lister: &str) -> String {
    match close(name, known).as_slice() {
        [] => format!("no {what} `{name}`; `otel-pgvector {lister}` lists them"),
        close => format!("no {what} `{name}`; did you mean {}?", close.join(" or ")),
    }
}

/// The known names that are the closest, best first.
fn close(name: &str, known: &[String]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut close: Vec<(f64, &String)> = known
        .iter()
        .map(|known| {
            let lower = known.to_lowercase();
            let part = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
            // A piece of a name is a good hint, too.
            (strsim::jaro_winkler(&wanted, &lower).max(if part { 0.9 } else { 0.0 }), known)
        })
        .filter(|(likeness, _)| *likeness >= 0.8)
        .collect();
    // Names that share a beginning and an end are all alike: only what is about as close as the closest is meant.
    let best = close.iter().map(|(likeness, _)| *likeness).fold(0.0, f64::max);
    close.retain(|(likeness, _)| *likeness >= best - 0.03);
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    close.into_iter().take(SUGGESTED).map(|(_, name)| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::{unknown, unknown_service};

    #[test]
    fn close_names_are_suggested() {
        let known = ["checkout".to_owned(), "ts-order-service".to_owned(), "media".to_owned()];
        let said = |name| unknown_service(name, &known);
        assert_eq!(said("chekout"), "no service `chekout`; did you mean `checkout`?");
        assert_eq!(said("order"), "no service `order`; did you mean `ts-order-service`?");
        assert_eq!(said("zzz"), "no service `zzz`; `otel-pgvector services` lists them");
        assert_eq!(unknown_service("zzz", &[]), "no service `zzz`: nothing is stored");
        let known = ["search".to_owned()];
        assert_eq!(
            unknown("command", "x", &known, "help"),
            "no command `x`; `otel-pgvector help` lists them"
        );
    }
}
