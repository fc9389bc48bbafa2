//! `/operations`: rate, errors and durations of services, and of a service's operations.

use std::cmp::Reverse;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::failure::{explain, failed};
use super::layout::{self, Section};
use super::{Pages, assets, period, show, spark};
use crate::search::{Figure, Figures, QueryText, Status, Term};
use crate::serve::human::{count, duration, thousands};
use crate::serve::jaeger::kind;
use crate::serve::parameters::Parameters;
use crate::serve::period::{Asked, Period};

/// How far back unless it is said.
const LAST: (&str, Duration) = ("1h", Duration::from_secs(3600));
/// Points of a spark line.
const STEPS: u32 = 40;
/// The most rows of a table.
const MOST_ROWS: usize = 500;

/// The columns, as `sort` names them. Numbers are sorted from the top.
const COLUMNS: [(&str, &str); 7] = [
    ("name", "Name"),
    ("rate", "Rate"),
    ("errors", "Errors"),
    ("failing", "Failing"),
    ("p50", "p50"),
    ("p95", "p95"),
    ("p99", "p99"),
];
const DEFAULT_SORT: &str = "rate";

pub(super) async fn page(State(pages): State<Pages>, RawQuery(query): RawQuery) -> Response {
    let parameters = Parameters::of(query.as_deref());
    let view = match View::of(&parameters) {
        Ok(view) => view,
        Err(reason) => return explain(StatusCode::BAD_REQUEST, &reason),
    };
    view.page(&pages).await.unwrap_or_else(|error| failed(&error))
}

/// What is to be seen.
struct View {
    service: Option<String>,
    asked: Asked,
    /// The period's parameters, as they came.
    period: Vec<(&'static str, String)>,
    sort: &'static str,
}

impl View {
    fn of(parameters: &Parameters) -> Result<Self, String> {
        let given = |name| parameters.get(name).map(|value| (name, value.to_owned()));
        let sort = parameters.get("sort").unwrap_or(DEFAULT_SORT);
        let sort = COLUMNS.iter().find(|(name, _)| *name == sort);
        Ok(View {
            service: parameters.get("service").map(str::to_owned),
            asked: Asked::of(parameters)?,
            period: ["since", "until", "last"].into_iter().filter_map(given).collect(),
            sort: sort.ok_or("There is no such column to sort by.")?.0,
        })
    }

    async fn page(&self, pages: &Pages) -> crate::Result<Response> {
        let services = pages.store.services().await?;
        let asked = self.asked.resolve(&pages.store, LAST.1).await?;
        let mut figures =
            pages.store.figures(self.service.as_deref(), asked.since, asked.until, STEPS).await?;
        self.sort(&mut figures.rows);
        let title = match &self.service {
            Some(service) => format!("Operations of {service}"),
            None => "Services".to_owned(),
        };
        let main = html! {
            h1 { @match &self.service {
                Some(service) => { "Operations of " (show::service(service)) }
                None => "Services",
            } }
            (self.form(&services))
            (self.counted(&figures, asked))
            @if figures.rows.is_empty() { (self.nothing()) } @else { (self.table(&figures)) }
        };
        Ok(layout::page(Section::Operations, &title, &[&assets::FIGURES], main))
    }

    fn form(&self, services: &[String]) -> Markup {
        let mut kept: Vec<(&str, &str)> = self.period.iter().map(|(name, value)| (*name, &**value)).collect();
        if self.sort != DEFAULT_SORT {
            kept.push(("sort", self.sort));
        }
        let services = services.iter().map(String::as_str);
        period::form("/operations", services, self.service.as_deref(), &kept, LAST.0)
    }

    /// What was counted.
    fn counted(&self, figures: &Figures, asked: Period) -> Markup {
        let counted = Period { since: figures.since, until: figures.until };
        html! {
            p.quiet {
                (count(figures.spans, "span")) ", " (period::times(counted))
                ". Rates are spans a minute; durations are at most 5 % too long."
            }
            @if !figures.is_whole {
                div.note.warning role="status" {
                    "This is the last part only: all of " (period::times(asked))
                    " has too many spans to count at once. Choose a shorter period or a service."
                }
            }
        }
    }

    fn nothing(&self) -> Markup {
        html! {
            div.empty.card { h2 { "No spans" } p { "There are none in this period. Choose a longer one, or another service." } }
        }
    }

    fn table(&self, figures: &Figures) -> Markup {
        let minutes = figures.until.duration_since(figures.since).unwrap_or_default().as_secs_f64() / 60.0;
        let shown = figures.rows.len().min(MOST_ROWS);
        let counted = Period { since: figures.since, until: figures.until };
        html! {
            div.scroll tabindex="0" role="region" aria-label="Figures" {
                table.stats {
                    thead {
                        tr {
                            @for (column, name) in COLUMNS {
                                @let is_sorted = column == self.sort;
                                @let order = if column == "name" { "ascending" } else { "descending" };
                                @let name = if column == "name" { self.what() } else { name };
                                th.num[column != "name"] scope="col" aria-sort=[is_sorted.then_some(order)] {
                                    a href=(self.link(self.service.as_deref(), column)) {
                                        (name) @if is_sorted { span aria-hidden="true" { @if column == "name" { " ▲" } @else { " ▼" } } }
                                    }
                                }
                            }
                            th scope="col" { "Over time" }
                        }
                    }
                    tbody {
                        @for row in &figures.rows[..shown] { (self.row(row, minutes, counted)) }
                    }
                }
            }
            @if shown < figures.rows.len() {
                p.quiet { "The first " (shown) " of " (thousands(figures.rows.len() as u64)) " are shown." }
            }
        }
    }

    fn row(&self, row: &Figure, minutes: f64, counted: Period) -> Markup {
        let failing = row.errors as f64 / row.spans.max(1) as f64;
        let said = format!("{}, {} over time", count(row.spans, "span"), count(row.errors, "error"));
        html! {
            tr {
                th scope="row" {
                    @if self.service.is_some() {
                        a href=(search(row, counted, false)) { (named(&row.operation)) }
                        @if let Some(kind) = row.kind.and_then(|is| kind(is as i32)) { " " span.badge { (kind) } }
                    } @else {
                        a.plain-link href=(self.link(Some(&row.service), self.sort)) { (show::service(&row.service)) }
                    }
                }
                td.num data-label="Rate" { (rate(row.spans as f64 / minutes)) "/min" }
                td.num data-label="Errors" {
                    @if row.errors > 0 { a.error href=(search(row, counted, true)) { (thousands(row.errors)) } }
                    @else { span.quiet { "0" } }
                }
                td.num data-label="Failing" {
                    @if row.errors > 0 { span.error { (percent(failing)) } } @else { span.quiet { "0 %" } }
                }
                td.num data-label="p50" { (duration(row.p50)) }
                td.num data-label="p95" { (duration(row.p95)) }
                td.num data-label="p99" { (duration(row.p99)) }
                td.over data-label="Over time" { (spark::line(&row.steps, &said)) }
            }
        }
    }

    /// What the rows are.
    fn what(&self) -> &'static str {
        if self.service.is_some() { "Operation" } else { "Service" }
    }

    fn sort(&self, rows: &mut [Figure]) {
        // Stable: equals stay in the order of their names.
        match self.sort {
            "rate" => rows.sort_by_key(|row| Reverse(row.spans)),
            "errors" => rows.sort_by_key(|row| Reverse(row.errors)),
            "failing" => rows.sort_by(|a, b| {
                let failing = |row: &Figure| row.errors as f64 / row.spans.max(1) as f64;
                failing(b).total_cmp(&failing(a))
            }),
            "p50" => rows.sort_by_key(|row| Reverse(row.p50)),
            "p95" => rows.sort_by_key(|row| Reverse(row.p95)),
            "p99" => rows.sort_by_key(|row| Reverse(row.p99)),
            _ => {}
        }
    }

    /// This page with another service or order.
    fn link(&self, service: Option<&str>, sort: &str) -> String {
        let service = service.map(|service| ("service", service));
        let period = self.period.iter().map(|(name, value)| (*name, value.as_str()));
        let sort = (sort != DEFAULT_SORT).then_some(("sort", sort));
        show::link("/operations", &service.into_iter().chain(period).chain(sort).collect::<Vec<_>>())
    }
}

/// A search for the spans of a row.
fn search(row: &Figure, counted: Period, failed: bool) -> String {
    let mut terms = vec![Term::Service(row.service.clone())];
    if !row.operation.is_empty() {
        terms.push(Term::Operation(row.operation.clone()));
    }
    if failed {
        terms.push(Term::Status(Status::Error));
    }
    terms.extend([Term::Since(counted.since), Term::Until(counted.until)]);
    show::link("/", &[("q", &QueryText::from(terms).to_string())])
}

/// A name that can be clicked.
fn named(name: &str) -> Markup {
    if name.is_empty() {
        html! { "(no name)" }
    } else {
        show::text(name)
    }
}

fn rate(a_minute: f64) -> String {
    match a_minute {
        small if small < 10.0 => format!("{small:.2}"),
        some if some < 100.0 => format!("{some:.1}"),
        many => thousands(many.round() as u64),
    }
}

pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        small if small < 0.1 => "< 0.1 %".to_owned(),
        some if some < 10.0 => format!("{some:.1} %"),
        many => format!("{many:.0} %"),
    }
}
