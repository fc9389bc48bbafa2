//! Any spans, and any damage.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::span::{Resource, Scope, Span, Timestamp};

#[path = "../../../../tests/support/arbitrary.rs"]
mod arbitrary;

/// The spans as OTLP gives them back: by resource and scope in the order of their first span, with OTLP's times.
fn as_otlp_has_them(spans: &[Span<'static>]) -> Vec<Span<'static>> {
    let limited = |time: &mut Timestamp| *time = Timestamp::from(time.to_otlp());
    let mut groups: Vec<(Arc<Resource>, Vec<(Arc<Scope>, Vec<Span<'static>>)>)> = Vec::new();
    for span in spans {
        let mut span = span.clone();
        limited(&mut span.start);
        limited(&mut span.end);
        span.events.iter_mut().for_each(|event| limited(&mut event.time));
        let resource =
            groups.iter().position(|(resource, _)| *resource == span.resource).unwrap_or_else(|| {
                groups.push((Arc::clone(&span.resource), Vec::new()));
                groups.len() - 1
            });
        let scopes = &mut groups[resource].1;
        let scope = scopes.iter().position(|(scope, _)| *scope == span.scope).unwrap_or_else(|| {
            scopes.push((Arc::clone(&span.scope), Vec::new()));
            scopes.len() - 1
        });
        scopes[scope].1.push(span);
    }
    groups.into_iter().flat_map(|(_, scopes)| scopes.into_iter().flat_map(|(_, spans)| spans)).collect()
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
        let claimed = spool.claim().unwrap().unwrap();
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
