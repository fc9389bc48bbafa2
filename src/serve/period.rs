//! Periods of time, as requests name them.

use std::time::{Duration, SystemTime};

use super::parameters::{Parameters, duration, rfc3339};
use crate::error::Result;
use crate::store::TraceStore;

const DAY: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a request says of its period.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    last: Option<Duration>,
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
        let last = parameters.get("last").map(long).transpose().map_err(|reason| wrong("last", reason))?;
        let asked = Asked { since: time("since")?, until: time("until")?, last };
        if let (Some(since), Some(until)) = (asked.since, asked.until)
            && since >= until
        {
            return Err(wrong("until", "it is later than since".into()));
        }
        Ok(asked)
    }

    /// Both times as they were given.
    pub(super) fn times(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        (self.since, self.until)
    }

    /// How far back, where that was said.
    pub(super) fn last(&self) -> Option<Duration> {
        self.last
    }

    /// The times. Without an end it is the newest trace, so that there is something to see in old recordings, too; without
    /// a begin it is `otherwise` before.
    ///
    /// # Errors
    /// Those of [`TraceStore::newest_start`].
    pub(super) async fn resolve(&self, store: &TraceStore, otherwise: Duration) -> Result<Period> {
        let until = match self.until {
            Some(until) => until,
            None => {
                let now = SystemTime::now();
                // The newest trace is in it with all of its spans, as a rule.
                store.newest_start().await?.map_or(now, |newest| now.min(newest + Duration::from_secs(60)))
            }
        };
        let since = match (self.last, self.since) {
            (None, Some(since)) => since,
            (last, _) => until.checked_sub(last.unwrap_or(otherwise)).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        // Where all there is is older than what was asked for, the period is of the time since then, with nothing in it.
        let until = if since < until { until } else { SystemTime::now().max(since + Duration::from_secs(1)) };
        Ok(Period { since, until })
    }
}

/// A length such as `15m`, `1h30m`, `7d`.
pub(super) fn long(text: &str) -> Result<Duration, String> {
    let length = match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => DAY.saturating_mul(days),
        _ => duration(text)?,
    };
    if length.is_zero() || length > LONGEST {
        return Err(format!("expected up to 366d, and more than nothing, not {text:?}"));
    }
    Ok(length)
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
        assert_eq!(asked("last=7d").expect("a period").last(), Some(7 * DAY));
        assert_eq!(asked("last=1h30m").expect("a period").last(), Some(Duration::from_secs(5400)));
        assert_eq!(asked(""), Ok(Asked::default()));
    }

    #[test]
    fn what_is_no_period_is_named() {
        for (query, expected) in [
            ("last=0s", "malformed parameter last"),
            ("last=-1h", "malformed parameter last"),
            ("last=4000000000d", "malformed parameter last"),
            ("last=367d", "malformed parameter last"),
            ("since=yesterday", "malformed parameter since"),
            ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "malformed parameter until"),
        ] {
            let reason = asked(query).expect_err(query);
            assert!(reason.starts_with(expected), "{query}: {reason}");
        }
    }
}
