//! `/health`: the store, and what the server received. It is looked at when something is wrong, so it is a page whatever is.

mod findings;

use axum::extract::State as Shared;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Section};
use super::{assets, show};
use crate::exporter::ExporterStatus;
use crate::serve::health::{Look, Watch};
use crate::serve::human::{bytes, count, thousands};
use crate::store::Health;
use findings::{Finding, State, of_exporter, of_receiving, of_store};

pub(super) async fn page(Shared(watch): Shared<Watch>) -> Response {
    let look = watch.look().await;
    let mut findings = of_store(&look.store, &watch.target(), watch.schema(), look.at);
    findings.extend(look.receiving.as_deref().map(of_receiving));
    findings.extend(look.exporter.iter().flat_map(of_exporter));
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Good);
    let main = html! {
        div.spread {
            h1 { (summary(worst)) }
            p.quiet { "Looked at " (show::ago(look.at.into())) " · " a href="/health" { "Look again" } }
        }
        ul.findings {
            @for finding in &findings { (one(finding)) }
        }
        div.facts-of {
            @if look.store.server_version.is_some() { (stored(&look)) (server(&look.store)) }
            @if let Some(status) = &look.exporter { (received(status)) }
        }
    };
    layout::page(Section::Health, "Health", &[&assets::HEALTH], main)
}

fn summary(worst: State) -> &'static str {
    match worst {
        State::Good => "All is well",
        State::Attention => "Attention is needed",
        State::Bad => "Something is wrong",
    }
}

fn one(finding: &Finding) -> Markup {
    let (class, badge, name) = match finding.state {
        State::Good => ("", "badge good", "good"),
        State::Attention => ("attention", "badge warning", "attention"),
        State::Bad => ("bad", "badge error", "wrong"),
    };
    html! {
        li class={ "card " (class) } {
            span class=(badge) { (name) }
            div {
                h2 { (finding.what) }
                p { (finding.shown) }
                @if let Some(todo) = finding.todo { p.todo.quiet { (todo) } }
            }
        }
    }
}

/// What is there.
fn stored(look: &Look) -> Markup {
    let Look { store, .. } = look;
    html! {
        section.card {
            h2 { "Stored" }
            dl.facts {
                (fact("Traces", thousands(store.total_traces)))
                (fact("Spans", thousands(store.total_spans)))
                (fact("Documents", thousands(store.documents)))
                @if let (Some(oldest), Some(newest)) = (&store.oldest_span, &store.newest_span) {
                    (fact("Oldest span", oldest.clone()))
                    (fact("Newest span", newest.clone()))
                }
                @if let Some(entries) = store.ledger_entries { (fact("Batches in the ledger", thousands(entries))) }
                @if let (Some(tables), Some(indexes)) = (store.table_bytes, store.index_bytes) {
                    (fact("On disk", format!("{} of tables, {} of indexes", bytes(tables), bytes(indexes))))
                }
            }
        }
    }
}

fn server(health: &Health) -> Markup {
    let connections = health.connections.as_ref().map(|connections| {
        connections.iter().map(|(name, number)| format!("{number} {name}")).collect::<Vec<_>>().join(", ")
    });
    html! {
        section.card {
            h2 { "Database" }
            dl.facts {
                @if let Some(partitions) = health.partitions { (fact("Partitions", thousands(partitions))) }
                @if let Some(oldest) = &health.oldest_partition {
                    (fact("Oldest day", oldest.get(..10).unwrap_or_default().to_owned()))
                }
                @if let Some(maintained) = &health.maintained { (fact("Maintained", maintained.clone())) }
                @if let Some(connections) = connections { (fact("Connections", connections)) }
                @if let Some(role) = &health.role { (fact("Looked at as", role.clone())) }
                @for (role, members) in health.roles.iter().flatten() {
                    (fact(role, if members.is_empty() { "no members".to_owned() } else { members.join(", ") }))
                }
            }
        }
    }
}

/// What this server received, in spans.
fn received(status: &ExporterStatus) -> Markup {
    let numbers = [
        ("Received", status.received),
        ("Acknowledged", status.acknowledged()),
        ("Stored", status.stored),
        ("Spooled", status.spooled),
        ("Replayed from the spool", status.replayed),
        ("Under way", status.in_flight()),
        ("Asked for again", status.refused),
        ("Rejected", status.rejected),
        ("Lost", status.dropped + status.revoked),
    ];
    html! {
        section.card {
            h2 { "Received, in spans" }
            dl.facts {
                @for (name, number) in numbers { (fact(name, thousands(number))) }
                (fact("Breaker opened", count(status.breaker_opened, "time")))
            }
        }
    }
}

fn fact(name: &str, value: String) -> Markup {
    html! { dt { (name) } dd { (value) } }
}
