//! Batches that could not be stored, and rest while others are tried.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::delivery::Progress;

/// How long a batch rests that fails while others land, doubling from failure to failure.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Batches that are remembered: far more than fail by themselves.
const MOST: usize = 1024;

/// Lets the others go first when a batch could not be stored, and tells a batch that fails by itself from a database
/// that fails for all.
#[derive(Default)]
pub(super) struct Resting {
    batches: HashMap<Uuid, Rest>,
    /// How often all that wait have been tried.
    round: u64,
}

struct Rest {
    /// How many batches had landed when it failed, and in which round that was.
    landed: u64,
    round: u64,
    /// Where it failed by itself: until when it rests, and for how long that is.
    until: Option<(Instant, Duration)>,
    progress: Progress,
}

impl Resting {
    /// Whether others have landed since a batch failed: then the batch is at fault and not the database.
    pub(super) fn is_suspect(&self, id: Uuid, landed: u64) -> bool {
        self.batches.get(&id).is_some_and(|rest| rest.until.is_some() || rest.landed < landed)
    }

    /// How far a batch was when it could not be stored.
    pub(super) fn take_progress(&mut self, id: Uuid) -> Progress {
        self.batches.get_mut(&id).map(|rest| std::mem::take(&mut rest.progress)).unwrap_or_default()
    }

    /// A batch could not be stored.
    pub(super) fn failed(&mut self, id: Uuid, landed: u64, progress: Progress) {
        let is_suspect = self.is_suspect(id, landed);
        if self.batches.len() >= MOST && !self.batches.contains_key(&id) {
            self.batches.clear();
        }
        let rest = self.batches.entry(id).or_insert(Rest {
            landed,
            round: 0,
            until: None,
            progress: Progress::default(),
        });
        (rest.landed, rest.round, rest.progress) = (landed, self.round, progress);
        if is_suspect {
            let pause = rest.until.map_or(FIRST_REST, |(_, pause)| LONGEST_REST.min(pause * 2));
            rest.until = Some((Instant::now() + pause, pause));
        }
    }

    /// A batch is stored or set aside.
    pub(super) fn ended(&mut self, id: Uuid) {
        self.batches.remove(&id);
    }

    /// The batches that are not to be tried now: those that failed in this round, unless others have landed since.
    pub(super) fn skipped(&self, landed: u64) -> HashSet<Uuid> {
        let now = Instant::now();
        let is_skipped = |rest: &Rest| match rest.until {
            Some((until, _)) => now < until,
            None => rest.landed == landed && rest.round == self.round,
        };
        self.batches.iter().filter(|(_, rest)| is_skipped(rest)).map(|(id, _)| *id).collect()
    }

    /// Begins the next round, in which the oldest is the first again.
    pub(super) fn next_round(&mut self) {
        self.round += 1;
    }

    /// Ends every rest.
    pub(super) fn end(&mut self) {
        let now = Instant::now();
        for (until, _) in self.batches.values_mut().filter_map(|rest| rest.until.as_mut()) {
            *until = now;
        }
        self.next_round();
    }

    /// When the next rest ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        let ends = self.batches.values().filter_map(|rest| rest.until).map(|(until, _)| until);
        ends.filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    #[test]
    fn while_nothing_lands_all_are_tried_in_turn() {
        let mut resting = Resting::default();
        resting.failed(A, 0, Progress::default());
        assert_eq!(resting.skipped(0), HashSet::from([A]));
        resting.failed(B, 0, Progress::default());
        assert_eq!(resting.skipped(0), HashSet::from([A, B]));
        resting.next_round();
        assert!(resting.skipped(0).is_empty());
        assert!(!resting.is_suspect(A, 0) && resting.next_end().is_none());
    }

    #[test]
    fn once_another_lands_what_failed_is_tried_again_and_then_rests_for_longer_and_longer() {
        let mut resting = Resting::default();
        resting.failed(A, 0, Progress::default());
        assert!(resting.skipped(1).is_empty() && resting.is_suspect(A, 1));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            resting.failed(A, 1, Progress::default());
            assert_eq!(resting.skipped(1), HashSet::from([A]));
            resting.next_round();
            assert_eq!(resting.skipped(1), HashSet::from([A]), "it rests through all rounds");
            pauses.push(resting.batches[&A].until.expect("a rest").1.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        resting.end();
        assert!(resting.skipped(1).is_empty());
        resting.ended(A);
        assert!(!resting.is_suspect(A, 2));
    }
}
