//! Names that are close to one that is not there.

use opentelemetry_pgvector::TraceStore;

use crate::failure::{Failure, Outcome};
use crate::human::close;

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
    let close: Vec<String> = close(name, known).iter().map(|name| format!("`{name}`")).collect();
    match close.as_slice() {
        [] => format!("no {what} `{name}`; `otel-pgvector {lister}` lists them"),
        close => format!("no {what} `{name}`; did you mean {}?", close.join(" or ")),
    }
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
