//! Periods of time, as requests name them.

use std::time::{Duration, SystemTime};

use super::parameters::{Parameters, duration, rfc3339};
use crate::error::Result;
use crate::store::TraceStore;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a request says of its period.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    last: Option<Last>,
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Last {
    Length(Duration),
    /// As far as there are traces.
    All,
}

/// From a time to a later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Period {
    pub since: SystemTime,
    pub until: SystemTime,
}

impl Asked {
    /// The parameters `since`, `until` and `last`.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, String> {
        let wrong = |name: &str, reason: String| format!("malformed parameter {name}: {reason}");
        let time = |name: &'static str| {
            parameters.get(name).map(rfc3339).transpose().map_err(|reason| wrong(name, reason))
        };
        let back = parameters.get("last").map(last).transpose().map_err(|reason| wrong("last", reason))?;
        let asked = Asked { since: time("since")?, until: time("until")?, last: back };
        if let (Some(since), Some(until)) = (asked.since, asked.until)
            && since >= until
        {
            return Err(wrong("until", "it has to be later than since".into()));
        }
        Ok(asked)
    }

    /// Both times as they were given.
    pub(super) fn times(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        (self.since, self.until)
    }

    /// The bounds of what is searched: none where none was asked for.
    ///
    /// # Errors
    /// Those of [`TraceStore::stored_period`].
    pub(super) async fn bounds(
        &self,
        store: &TraceStore,
    ) -> Result<(Option<SystemTime>, Option<SystemTime>)> {
        let since = match self.last {
            Some(Last::Length(length)) => Some(self.resolve(store, length).await?.since),
            Some(Last::All) => None,
            None => self.since,
        };
        Ok((since, self.until))
    }

    /// How far back, where that was said.
    pub(super) fn last(&self) -> Option<Last> {
        self.last
    }

    /// The times. Without an end it is the newest trace, so that there is something to see in old recordings, too; without
    /// a begin it is `otherwise` before.
    ///
    /// # Errors
    /// Those of [`TraceStore::stored_period`].
    pub(super) async fn resolve(&self, store: &TraceStore, otherwise: Duration) -> Result<Period> {
        let needs_stored = self.until.is_none() || self.last == Some(Last::All);
        let stored = if needs_stored { store.stored_period().await? } else { None };
        Ok(self.within(stored, SystemTime::now(), otherwise))
    }

    fn within(
        &self,
        stored: Option<(SystemTime, SystemTime)>,
        now: SystemTime,
        otherwise: Duration,
    ) -> Period {
        // The newest trace is in it with all of its spans, as a rule.
        let newest = stored.map_or(now, |(_, newest)| now.min(newest + MINUTE));
        let until = self.until.unwrap_or(newest);
        let before = |length| until.checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH);
        let since = match (self.last, self.since) {
            // Where all there is came later, it is a moment with nothing in it.
            (Some(Last::All), _) => match stored {
                Some((oldest, _)) => oldest.min(before(SECOND)),
                None => before(otherwise),
            },
            (Some(Last::Length(length)), _) => before(length),
            (None, Some(since)) => since,
            (None, None) => before(otherwise),
        };
        // Where all there is is older than what was asked for, it is the time since then, with nothing in it.
        let until = if since < until { until } else { now.max(since + SECOND) };
        Period { since, until }
    }
}

/// `all`, or a length such as `15m`, `1h30m`, `7d`.
fn last(text: &str) -> Result<Last, String> {
    if text == "all" {
        return Ok(Last::All);
    }
    let length = match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => DAY.saturating_mul(days),
        _ => duration(text)?,
    };
    if length.is_zero() || length > LONGEST {
        return Err(format!("expected all, or more than nothing and up to 366d, not {text:?}"));
    }
    Ok(Last::Length(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Asked, String> {
        Asked::of(&Parameters::of(Some(query)))
    }

    #[test]
    fn a_period_is_two_times_or_a_length() {
        let one = asked("since=2026-01-01T00:00:00Z&until=2026-01-01T01:00:00Z").expect("a period");
        let (since, until) = (one.since.expect("since"), one.until.expect("until"));
        assert_eq!(until.duration_since(since).expect("later"), Duration::from_secs(3600));
        assert_eq!(asked("last=7d").expect("a period").last(), Some(Last::Length(7 * DAY)));
        assert_eq!(asked("last=all").expect("a period").last(), Some(Last::All));
        assert_eq!(
            asked("last=1h30m").expect("a period").last(),
            Some(Last::Length(Duration::from_secs(5400)))
        );
        assert_eq!(asked(""), Ok(Asked::default()));
    }

    #[test]
    fn an_end_is_kept_wherever_the_traces_are() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let stored = Some((at(1_000_000), at(2_000_000)));
        let within = |asked: Asked| {
            let period = asked.within(stored, at(3_000_000), MINUTE);
            (period.since, period.until)
        };
        let all = Asked { last: Some(Last::All), ..Asked::default() };
        assert_eq!(within(all.clone()), (at(1_000_000), at(2_000_060)));
        let before = |until| Asked { until: Some(at(until)), ..all.clone() };
        assert_eq!(within(before(1_500_000)), (at(1_000_000), at(1_500_000)));
        assert_eq!(within(before(900_000)), (at(899_999), at(900_000)));
        let last = Asked { last: Some(Last::Length(MINUTE)), until: Some(at(900_000)), since: None };
        assert_eq!(within(last), (at(899_940), at(900_000)));
        assert_eq!(within(Asked::default()), (at(2_000_000), at(2_000_060)));
        let later = Asked { since: Some(at(2_500_000)), ..Asked::default() };
        assert_eq!(within(later), (at(2_500_000), at(3_000_000)));
    }

    #[test]
    fn what_is_no_period_is_named() {
        for (query, expected) in [
            ("last=0s", "malformed parameter last"),
            ("last=-1h", "malformed parameter last"),
            ("last=4000000000d", "malformed parameter last"),
            ("last=367d", "malformed parameter last"),
            ("since=yesterday", "malformed parameter since"),
            (
                "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
                "malformed parameter until: it has to be later",
            ),
        ] {
            let reason = asked(query).expect_err(query);
            assert!(reason.starts_with(expected), "{query}: {reason}");
        }
    }
}
