//! The service map as SVG.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::layout::{Layout, Point, Sizes, layered};
use crate::search::Dependency;
use crate::serve::human::{count, thousands};
use crate::serve::page::operations::percent;
use crate::serve::page::show;

const SIZES: Sizes = Sizes { width: 212.0, height: 46.0, between_layers: 96.0, between_nodes: 14.0 };
/// With so few calls, each has its numbers beside it all the time.
const FEW: usize = 12;
/// Letters that fit into a box.
const LETTERS: usize = 24;

/// How a service is called.
#[derive(Clone, Copy, Default)]
struct Called {
    calls: u64,
    errors: u64,
}

/// Services as boxes that lead to `link`, calls as arrows. How a service is called is counted of `all` calls.
pub(super) fn map(dependencies: &[&Dependency], all: &[Dependency], link: impl Fn(&str) -> String) -> Markup {
    let services = dependencies.iter().flat_map(|call| [&*call.parent, &*call.child]);
    let mut called: BTreeMap<&str, Called> = services.map(|name| (name, Called::default())).collect();
    for call in all {
        if let Some(child) = called.get_mut(&*call.child) {
            child.calls += call.calls;
            child.errors += call.errors;
        }
    }
    let place = |name: &str| called.keys().position(|service| *service == name).unwrap_or(0);
    let edges: Vec<(usize, usize)> =
        dependencies.iter().map(|call| (place(&call.parent), place(&call.child))).collect();
    let layout = layered(called.len(), &edges, SIZES);
    let most = dependencies.iter().map(|call| call.calls).max().unwrap_or(1).max(1) as f64;
    let class = if dependencies.len() <= FEW { "map few" } else { "map" };
    html! {
        div.scroll.canvas tabindex="0" role="region" aria-label="Service map" {
            svg #map class=(class) viewBox={ "0 0 " (round(layout.width)) " " (round(layout.height)) }
                width=(round(layout.width)) height=(round(layout.height)) role="group" aria-label="Services and their calls" {
                defs { (arrow("arrow")) (arrow("arrow-failed")) }
                @for ((call, edge), route) in dependencies.iter().zip(&edges).zip(&layout.routes) {
                    (arc(call, *edge, route, most))
                }
                @for (at, (service, called)) in called.iter().enumerate() {
                    (node(at, service, *called, &layout, &link(service)))
                }
            }
        }
    }
}

fn arc(call: &Dependency, (from, to): (usize, usize), route: &[Point], most: f64) -> Markup {
    let failed = call.errors > 0;
    let width = 1.2 + 2.8 * (call.calls as f64).ln_1p() / most.ln_1p();
    let middle =
        route.get((route.len() / 2).saturating_sub(1)..=route.len() / 2).and_then(|pair| match pair {
            [a, b] => Some(Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 }),
            _ => None,
        });
    let label = match failed {
        true => format!("{}, {} failed", thousands(call.calls), thousands(call.errors)),
        false => thousands(call.calls),
    };
    html! {
        g.call.failed[failed] data-from=(from) data-to=(to) aria-hidden="true" {
            title {
                (call.parent) " calls " (call.child) ": " (count(call.calls, "call")) ", " (count(call.errors, "error"))
            }
            path d=(path(route)) stroke-width=(format!("{width:.1}"))
                marker-end=(if failed { "url(#arrow-failed)" } else { "url(#arrow)" }) {}
            @if let Some(middle) = middle {
                text x=(round(middle.x)) y=(round(middle.y - 5.0)) text-anchor="middle" { (label) }
            }
        }
    }
}

fn node(at: usize, service: &str, called: Called, layout: &Layout, link: &str) -> Markup {
    let Some(Point { x, y }) = layout.places.get(at).copied() else { return html! {} };
    let failing = called.errors as f64 / called.calls.max(1) as f64;
    let calls = match called {
        Called { calls: 0, .. } => "not called".to_owned(),
        Called { calls, errors: 0 } => count(calls, "call"),
        Called { calls, .. } => format!("{}, {} failing", count(calls, "call"), percent(failing)),
    };
    // Its name begins as what is seen.
    let said = format!("{service} {calls}");
    html! {
        a.node.failed[called.errors > 0] href=(link) data-node=(at) {
            title { (said) }
            rect x=(round(x - SIZES.width / 2.0)) y=(round(y - SIZES.height / 2.0)) width=(SIZES.width)
                height=(SIZES.height) rx="6" {}
            rect.mark class=(show::hue(service)) x=(round(x - SIZES.width / 2.0 + 7.0)) y=(round(y - 15.0)) width="4" height="30" rx="2" {}
            text.name x=(round(x)) y=(round(y - 3.0)) text-anchor="middle" { (shortened(service)) }
            text.calls x=(round(x)) y=(round(y + 14.0)) text-anchor="middle" {
                @if called.calls == 0 { "not called" }
                @else {
                    (count(called.calls, "call"))
                    @if called.errors > 0 { ", " tspan.failing { (percent(failing)) " failing" } }
                }
            }
        }
    }
}

/// A line through these points, without corners.
fn path(route: &[Point]) -> String {
    let Some(first) = route.first() else { return String::new() };
    let mut d = format!("M{} {}", round(first.x), round(first.y));
    for pair in route.windows(2) {
        if let [a, b] = pair {
            let bend = (b.x - a.x) / 2.0;
            d += &format!(
                " C{} {} {} {} {} {}",
                round(a.x + bend),
                round(a.y),
                round(b.x - bend),
                round(b.y),
                round(b.x),
                round(b.y)
            );
        }
    }
    d
}

fn arrow(id: &str) -> Markup {
    html! {
        // maud has no attributes in capitals that it closes itself.
        (PreEscaped(format!(
            "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"9\" markerHeight=\"9\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\"/></marker>"
        )))
    }
}

fn round(value: f64) -> String {
    format!("{value:.1}")
}

/// As much of a name as fits; letters of East Asia are twice as wide.
fn shortened(name: &str) -> String {
    if name.is_empty() {
        return "(no name)".to_owned();
    }
    let width = |letter: char| if u32::from(letter) >= 0x1100 { 2 } else { 1 };
    if name.chars().map(width).sum::<usize>() <= LETTERS {
        return name.to_owned();
    }
    let mut room = LETTERS - 1;
    let fits = |letter: &char| {
        let left = room.checked_sub(width(*letter));
        room = left.unwrap_or(room);
        left.is_some()
    };
    let mut short: String = name.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_shortened() {
        assert_eq!(shortened("ts-order-service"), "ts-order-service");
        assert_eq!(shortened("ts-inside-payment-service-of-europe"), "ts-inside-payment-servi…");
        assert_eq!(shortened("決済サービスの支払い処理システム"), "決済サービスの支払い処…");
    }
}
