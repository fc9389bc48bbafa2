//! Ids of batches in the ledger.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::{NoContext, Timestamp, Uuid};

/// The last bytes of all ids of this process: they tell whose a batch in a shared spool is.
static PROCESS: LazyLock<[u8; 4]> = LazyLock::new(|| {
    let [.., a, b, c, d] = Uuid::new_v4().into_bytes();
    if [c, d] == RECEIVED { [a, b, c, !d] } else { [a, b, c, d] }
});

/// The last bytes of ids that are made from what was received: of all processes, and so of none. They are few, so that there
/// are 58 bits of the content: of 10,000 batches a second, two with the same id are a matter of 100,000 years.
const RECEIVED: [u8; 2] = *b"rx";

/// When this process made the first of these ids, in microseconds since 1970, or later than what others have written.
static RECEIVING_SINCE: LazyLock<u64> = LazyLock::new(|| now().as_micros() as u64);

/// How far from now the time of an id may be that is made from what was received.
#[cfg(feature = "serve")]
const RECENT: Duration = Duration::from_secs(15 * 60);

/// Counts within the process, so that no two of its ids are the same.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A new id. Ids of version 7 sort by time: they fill the index from one side, and are pruned by a range.
pub(crate) fn new_batch_id() -> Uuid {
    let now = now();
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos()));
    let mut bytes = id.into_bytes();
    let [_, count @ ..] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    bytes[9..12].copy_from_slice(&count);
    bytes[12..].copy_from_slice(&*PROCESS);
    Uuid::from_bytes(bytes)
}

/// The id of what was received with this content, whichever process received it: a sender that hears no answer sends it
/// again, perhaps to another one. Its time is when the last of its spans ended; `None` where that is not of these minutes,
/// as the ledger is pruned by it.
#[cfg(feature = "serve")]
pub(crate) fn received_batch_id(content: &[u8; 32], ended: SystemTime) -> Option<Uuid> {
    let ended = ended.duration_since(UNIX_EPOCH).ok()?;
    if now().abs_diff(ended) > RECENT {
        return None;
    }
    LazyLock::force(&RECEIVING_SINCE);
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&content[..8]);
    bytes[8..].copy_from_slice(&RECEIVED);
    Some(uuid::Builder::from_unix_timestamp_millis(ended.as_millis() as u64, &bytes).into_uuid())
}

/// Whether this process made the id of a batch that was written to a spool then, in microseconds since 1970.
pub(crate) fn is_own_batch(id: Uuid, written: u64) -> bool {
    id.as_bytes().ends_with(&*PROCESS) || id.as_bytes().ends_with(&RECEIVED) && written >= *RECEIVING_SINCE
}

/// Since 1970. A clock before that makes ids that sort early, and nothing worse.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
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
            assert!(is_own_batch(id, 0));
        }
        assert!(!is_own_batch(Uuid::nil(), u64::MAX));
    }

    #[cfg(feature = "serve")]
    #[test]
    fn what_was_received_has_the_id_of_its_content_and_time() {
        let ended = UNIX_EPOCH + now() - Duration::from_millis(1500);
        let id = |content: u8, ended| received_batch_id(&[content; 32], ended);
        let first = id(7, ended).expect("recent");
        assert_eq!((first.get_version_num(), first.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanoseconds) = first.get_timestamp().expect("version 7").to_unix();
        let time = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        assert!(ended.duration_since(time).is_ok_and(|apart| apart < Duration::from_millis(1)));
        assert_eq!(id(7, ended), Some(first));
        assert_ne!(id(8, ended), Some(first));
        assert_ne!(id(7, ended + Duration::from_millis(1)), Some(first));
        assert_eq!([id(7, ended - RECENT), id(7, ended + 2 * RECENT)], [None, None]);
        assert!(is_own_batch(first, now().as_micros() as u64), "written since");
        assert!(!is_own_batch(first, now().as_micros() as u64 - 1_500_000), "written before");
    }
}
