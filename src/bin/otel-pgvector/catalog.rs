//! `services`, `operations`.

use std::io::Write;

use opentelemetry_pgvector::TraceStore;
use opentelemetry_pgvector::search::{Kind, Operation};
use serde_json::{Value, json};

use crate::args::{OperationsOptions, ServicesOptions};
use crate::failure::{Failure, Outcome};
use crate::terminal::{Paint, cut, fit_between, one_line, stdout, tell, write_json};
use crate::{human, suggest, time};

pub async fn services(store: TraceStore, options: &ServicesOptions) -> Outcome {
    let services = store.services().await?;
    let mut out = stdout();
    for service in &services {
        match options.json {
            true => write_json(&mut out, &json!({ "service": service }).to_string())?,
            false => writeln!(out, "{}", cut(&one_line(service)))?,
        }
    }
    out.flush()?;
    if services.is_empty() {
        tell!("nothing is stored yet");
    }
    Ok(())
}

pub async fn operations(store: TraceStore, options: &OperationsOptions) -> Outcome {
    let operations = store.operations(&options.service).await?;
    if operations.is_empty() {
        let services = store.services().await?;
        return Err(Failure::NotFound(suggest::unknown_service(&options.service, &services)));
    }
    let paint = Paint::stdout();
    let mut out = stdout();
    for operation in &operations {
        match options.json {
            true => write_json(&mut out, &as_json(operation).to_string())?,
            false => writeln!(out, "{}", line(operation, paint))?,
        }
    }
    Ok(out.flush()?)
}

/// What is of one width comes first.
fn line(operation: &Operation, paint: Paint) -> String {
    let name = one_line(&operation.name);
    let name = if operation.fails { paint.red(&format!("✗ {name}")) } else { format!("  {name}") };
    let when = format!("  {} to {}", time::day(operation.first_seen), time::day(operation.last_seen));
    let (kind, forms) = (kind(operation.kind), human::count(operation.documents, "form"));
    fit_between(&format!("{:<9}{forms:>10}  ", kind.unwrap_or("-")), &name, &paint.dim(&when))
}

fn as_json(operation: &Operation) -> Value {
    json!({
        "name": operation.name,
        "kind": kind(operation.kind),
        "documents": operation.documents,
        "fails": operation.fails,
        "first_seen": time::exact(operation.first_seen),
        "last_seen": time::exact(operation.last_seen),
    })
}

fn kind(kind: Option<Kind>) -> Option<&'static str> {
    kind.map(|kind| match kind {
        Kind::Internal => "internal",
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
    })
}
