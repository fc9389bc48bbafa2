//! What the name of a file says.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

const EXTENSION: &str = ".spool";

/// What the name of the text beside a rejected batch ends with.
const REASON: &str = ".txt";

/// A sequence that is no time (the year 33,658), and would leave none for the files to come.
const LATEST: u64 = 1_000_000_000_000_000_000;

/// The name of a batch's file. Names sort by the time of writing, as text too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Microseconds since 1970, or one more than the newest file has where the clock is behind that.
    pub(super) sequence: u64,
    /// The batch's id.
    pub(super) id: Uuid,
    pub(super) spans: u32,
    /// The file's size.
    pub(super) bytes: u64,
}

impl Name {
    /// The name, where it is one, to the letter.
    pub(super) fn parse(text: &str) -> Option<Name> {
        let (sequence, rest) = text.strip_suffix(EXTENSION)?.split_at_checked(20)?;
        let (id, rest) = rest.strip_prefix('-')?.split_at_checked(36)?;
        let (spans, bytes) = rest.strip_prefix('-')?.split_once('-')?;
        let name = Name {
            sequence: sequence.parse().ok()?,
            id: id.parse().ok()?,
            spans: spans.parse().ok()?,
            bytes: bytes.parse().ok()?,
        };
        (name.sequence < LATEST && name.to_string() == text).then_some(name)
    }

    /// The name of the text that is beside a rejected batch.
    pub(super) fn reason(&self) -> String {
        self.to_string().replace(EXTENSION, REASON)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { sequence, id, spans, bytes } = self;
        write!(formatter, "{sequence:020}-{id}-{spans}-{bytes}{EXTENSION}")
    }
}

/// Whether it is the name of a batch's file.
pub(super) fn is_batch(name: &str) -> bool {
    Name::parse(name).is_some()
}

/// Whether it is the name of a batch's file, or of the text beside it.
pub(super) fn is_kept(name: &str) -> bool {
    is_batch(name) || name.strip_suffix(REASON).is_some_and(|stem| is_batch(&format!("{stem}{EXTENSION}")))
}

/// A name under which a file is written.
pub(super) fn temporary() -> String {
    format!(".{}.tmp", Uuid::new_v4())
}

pub(super) fn is_temporary(name: &str) -> bool {
    let id = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp"));
    id.is_some_and(|id| id.len() == 36 && id.parse::<Uuid>().is_ok())
}

/// The sequence behind `newest`, whatever the clock says.
pub(super) fn sequence_after(newest: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    u64::try_from(now).unwrap_or(u64::MAX).max(newest.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of_and_nothing_else_is_one() {
        let name = Name { sequence: 1_764_000_000_000_000, id: Uuid::from_u128(9), spans: 512, bytes: 1000 };
        let text = "00001764000000000000-00000000-0000-0000-0000-000000000009-512-1000.spool";
        assert_eq!(name.to_string(), text);
        assert_eq!(Name::parse(text), Some(name));
        assert_eq!(name.reason(), text.replace("spool", "txt"));
        for other in [
            "",
            ".DS_Store",
            "README.md",
            "x.spool",
            &text[1..],
            &text.replace("512", "+512"),
            &text.replacen("0000", "9999", 1),
            &format!("{text}~"),
            "0000176400000000000é-",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert!(is_temporary(&temporary()) && !is_temporary(".x.tmp") && !is_temporary(text));
    }

    #[test]
    fn the_sequence_goes_on_when_the_clock_jumps_back() {
        let now = sequence_after(0);
        assert!(now > 1_700_000_000_000_000);
        assert_eq!(sequence_after(now + 1_000_000_000), now + 1_000_000_001);
        assert_eq!(sequence_after(u64::MAX), u64::MAX);
    }
}
