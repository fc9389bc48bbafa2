//! Any spans, and any damage.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::span::{Scope, Span, Timestamp, Value};

#[path = "../../../../tests/support/arbitrary.rs"]
mod arbitrary;

/// The spans as OTLP gives them back: by resource and scope in the order of their first span, with OTLP's times.
fn as_otlp_has_them(spans: &[Span<'static>]) -> Vec<Span<'static>> {
    let limited = |time: &mut Timestamp| *time = Timestamp::from(time.to_otlp());
    let mut sorted = spans.to_vec();
    sorted.sort_by_cached_key(|span| {
        let of_resource = |other: &&Span<'_>| other.resource == span.resource;
        let resource = spans.iter().position(|other| of_resource(&other));
        (resource, spans.iter().position(|other| of_resource(&other) && other.scope == span.scope))
    });
    for span in &mut sorted {
        limited(&mut span.start);
        limited(&mut span.end);
        span.events.iter_mut().for_each(|event| limited(&mut event.time));
    }
    sorted
}

/// Scopes that differ, or do not, only for who looks closely.
#[test]
fn scopes_are_told_apart_as_they_are_stored() {
    let scope = |value: f64| {
        let attributes = vec![("x".into(), Value::Double(value))];
        Arc::new(Scope { attributes, ..Scope::default() })
    };
    let spans: Vec<Span<'static>> = [0.0, -0.0, f64::NAN, 0.0, f64::NAN]
        .into_iter()
        .zip(arbitrary::sample(5))
        .map(|(value, span)| Span { scope: scope(value), resource: Arc::default(), ..span })
        .collect();
    let parcel = Parcel::new(Uuid::nil(), &spans);
    let traces = parcel.traces().unwrap();
    assert_eq!(traces.spans().unwrap(), as_otlp_has_them(&spans));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_spans_come_back_from_a_file(
        spans in proptest::collection::vec(arbitrary::span(), 0..5),
        repeated in any::<bool>(),
    ) {
        let spans = if repeated { [spans.clone(), spans].concat() } else { spans };
        let folder = folder();
        let parcel = Parcel::new(Uuid::new_v4(), &spans);
        let spool = Spool::open(folder.path(), 100 * MIB, WhenFull::DropNewest).unwrap();
        put(&spool, &parcel);
        let claimed = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
        prop_assert_eq!(claimed.parcel(), &parcel);
        prop_assert_eq!(claimed.parcel().spans as usize, spans.len());
        let traces = claimed.parcel().traces().unwrap();
        prop_assert_eq!(traces.spans().unwrap(), as_otlp_has_them(&spans));
    }

    #[test]
    fn a_file_with_any_byte_changed_or_cut_off_is_set_aside_and_the_others_come_in_order(
        victim in 0..4usize,
        at: prop::sample::Index,
        flip in prop::option::of(1..=255u8),
    ) {
        let folder = folder();
        let spool = open(folder.path());
        let mut ids = put_some(&spool, 4);
        rewrite(&files(folder.path())[victim], |bytes| {
            let at = at.index(bytes.len());
            match flip {
                Some(flip) => bytes[at] ^= flip,
                None => bytes.truncate(at),
            }
        });
        let damaged = ids.remove(victim);
        prop_assert_eq!(drain(&spool), ids);
        let aside = files(&folder.path().join("corrupt"));
        prop_assert_eq!(aside.len(), 1);
        prop_assert!(aside[0].display().to_string().contains(&damaged.to_string()));
        prop_assert_eq!(spool.usage(), SpoolUsage { corrupt: 1, ..SpoolUsage::default() });
    }
}
