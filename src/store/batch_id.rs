//! Ids of batches in the ledger.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{NoContext, Timestamp, Uuid};

/// The last bytes of all ids of this process: they tell whose a batch in a shared spool is.
static PROCESS: LazyLock<[u8; 4]> = LazyLock::new(|| {
    let [.., a, b, c, d] = Uuid::new_v4().into_bytes();
    [a, b, c, d]
});

/// Counts within the process, so that no two of its ids are the same.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A new id. Ids of version 7 sort by time: they fill the index from one side, and are pruned by a range.
pub(crate) fn new_batch_id() -> Uuid {
    // A clock before 1970 makes ids that sort early, and nothing worse.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos()));
    let mut bytes = id.into_bytes();
    let [_, count @ ..] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    bytes[9..12].copy_from_slice(&count);
    bytes[12..].copy_from_slice(&*PROCESS);
    Uuid::from_bytes(bytes)
}

/// Whether this process made the id.
pub(crate) fn is_own_batch(id: Uuid) -> bool {
    id.as_bytes().ends_with(&*PROCESS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_are_of_version_7_and_tell_the_process() {
        let ids: HashSet<Uuid> = (0..10_000).map(|_| new_batch_id()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert!(is_own_batch(id));
        }
        assert!(!is_own_batch(Uuid::now_v7()));
    }
}
