//! A time range in windows that are as wide as an answer allows.

/// Tempo refuses more than a week, and Jaeger over Elasticsearch names an index for each day.
const WIDEST: i64 = 86_400 * 1_000_000;

/// The windows of a range, in microseconds. Each is asked for, and then either [`done`](Self::done), or
/// [`halved`](Self::halved) because its answer was not complete.
pub(super) struct Windows {
    begin: i64,
    start: i64,
    end: i64,
    width: i64,
    narrowest: i64,
}

impl Windows {
    /// `narrowest` is the unit of the API's times.
    pub(super) fn new(since: i64, until: i64, narrowest: i64) -> Self {
        let start = since.div_euclid(narrowest) * narrowest;
        Windows { begin: start, start, end: until, width: WIDEST / 24, narrowest }
    }

    /// Start and end of the window, `None` behind the last one. Both may belong to it: a window begins where the one before
    /// ends, so that nothing falls between them, whether the API takes its limits in or not.
    pub(super) fn current(&self) -> Option<(i64, i64)> {
        (self.start < self.end).then(|| {
            let end = self.start.saturating_add(self.width);
            // In the API's unit the last one may reach over the end.
            (
                self.start,
                end.min(
                    self.end.saturating_add(self.narrowest - 1).div_euclid(self.narrowest) * self.narrowest,
                ),
            )
        })
    }

    /// Narrows the window; false where it is as narrow as can be.
    pub(super) fn halved(&mut self) -> bool {
        let width = self.current().map_or(self.width, |(start, end)| end - start);
        if width <= self.narrowest {
            return false;
        }
        self.width = (width / 2).div_euclid(self.narrowest).max(1) * self.narrowest;
        true
    }

    /// Goes on to the next window, a wider one where this one's answer had plenty of room.
    pub(super) fn done(&mut self, has_room: bool) {
        self.start = self.current().map_or(self.end, |(_, end)| end);
        if has_room {
            self.width = self.width.saturating_mul(2).min(WIDEST);
        }
    }

    /// How much of the range is done, from 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        let whole = (self.end - self.begin).max(1) as f64;
        ((self.start - self.begin) as f64 / whole).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn windows_cover_the_range_and_adapt_to_the_answers() {
        // Events of a server that answers at most 10 at once.
        let events: Vec<i64> = (0..500).map(|n| n * n * 7_919 % 40_000_000_000).collect();
        let mut windows = Windows::new(0, 40_000_000_000, 1);
        let (mut seen, mut requests) = (HashSet::<i64>::new(), 0);
        while let Some((start, end)) = windows.current() {
            requests += 1;
            let found: Vec<_> =
                events.iter().copied().filter(|event| (start..end).contains(event)).take(10).collect();
            if found.len() == 10 && windows.halved() {
                continue;
            }
            windows.done(found.len() < 3);
            seen.extend(found);
        }
        assert_eq!(seen.len(), events.iter().collect::<HashSet<_>>().len());
        assert!(requests < 250, "{requests}");
        assert!(windows.fraction() >= 1.0);
    }

    #[test]
    fn the_narrowest_window_is_the_apis_unit() {
        let mut windows = Windows::new(1_500_000, 4_200_000, 1_000_000);
        assert_eq!(windows.current(), Some((1_000_000, 5_000_000)));
        assert!(windows.halved() && windows.halved() && !windows.halved());
        assert_eq!(windows.current(), Some((1_000_000, 2_000_000)));
        windows.done(false);
        assert_eq!(windows.current(), Some((2_000_000, 3_000_000)));
    }
}
