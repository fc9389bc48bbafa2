//! Batches that could not be stored, and let others go first.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::delivery::Progress;

/// How long a batch rests that fails while others land, doubling from failure to failure.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// While others wait, a suspect is tried after so many of them, or after so long.
const OTHERS: u32 = 10;
const TURN: Duration = Duration::from_secs(1);

/// Batches that are remembered: far more than fail by themselves.
const MOST: usize = 4096;

/// Tells a batch that fails by itself, a suspect, from a database that fails for all, and says which batch is next.
#[derive(Default)]
pub(super) struct Resting {
    batches: HashMap<Uuid, Rest>,
    /// How often all that wait have been tried.
    round: u64,
    /// Whether the newest is next. After a failure it is, every second time: it is the least likely to fail for the
    /// same reason.
    is_newest_next: bool,
    /// Others that were tried since the last suspect, and when that one was.
    others: u32,
    suspect_tried: Option<Instant>,
}

struct Rest {
    /// How many batches had landed when it failed, in which round that was, and when.
    landed: u64,
    round: u64,
    failed: Instant,
    /// Where it failed by itself: until when it rests, and for how long that is.
    until: Option<(Instant, Duration)>,
    /// The spans of it that this process answers for.
    own_spans: u64,
    progress: Progress,
}

impl Rest {
    fn is_suspect(&self, landed: u64) -> bool {
        self.until.is_some() || self.landed < landed
    }
}

/// Which batch is to be tried: the first of these from the oldest on, or from the newest.
#[derive(Clone)]
pub(super) enum Wanted {
    Only(Uuid),
    AllBut(HashSet<Uuid>, End),
}

/// Which end of what waits comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Oldest,
    Newest,
}

impl Wanted {
    pub(super) fn is(&self, id: Uuid) -> bool {
        match self {
            Wanted::Only(only) => *only == id,
            Wanted::AllBut(others, _) => !others.contains(&id),
        }
    }

    pub(super) fn end(&self) -> End {
        match self {
            Wanted::Only(_) => End::Oldest,
            Wanted::AllBut(_, end) => *end,
        }
    }
}

impl Resting {
    /// Whether others have landed since a batch failed: then the batch is at fault and not the database.
    pub(super) fn is_suspect(&self, id: Uuid, landed: u64) -> bool {
        self.batches.get(&id).is_some_and(|rest| rest.is_suspect(landed))
    }

    /// How far a batch was when it could not be stored.
    pub(super) fn take_progress(&mut self, id: Uuid) -> Progress {
        self.batches.get_mut(&id).map(|rest| std::mem::take(&mut rest.progress)).unwrap_or_default()
    }

    /// A batch could not be stored.
    pub(super) fn failed(&mut self, id: Uuid, landed: u64, own_spans: u64, progress: Progress) {
        let now = Instant::now();
        let is_suspect = self.is_suspect(id, landed);
        let pause = self.batches.get(&id).and_then(|rest| rest.until).map(|(_, pause)| pause);
        let until = is_suspect.then(|| pause.map_or(FIRST_REST, |pause| LONGEST_REST.min(pause * 2)));
        self.count(is_suspect);
        self.is_newest_next ^= !is_suspect;
        if self.batches.len() >= MOST
            && !self.batches.contains_key(&id)
            && let Some(longest) = self.batches.iter().min_by_key(|(_, rest)| rest.failed)
        {
            let longest = *longest.0;
            self.batches.remove(&longest);
        }
        let until = until.map(|pause| (now + pause, pause));
        self.batches.insert(id, Rest { landed, round: self.round, failed: now, until, own_spans, progress });
    }

    /// A batch is stored, set aside or gone.
    pub(super) fn ended(&mut self, id: Uuid) {
        let is_known = self.batches.remove(&id).is_some();
        self.count(is_known);
        self.is_newest_next = false;
    }

    fn count(&mut self, is_suspect: bool) {
        match is_suspect {
            true => (self.others, self.suspect_tried) = (0, Some(Instant::now())),
            false => self.others = self.others.saturating_add(1),
        }
    }

    /// Those that have not failed in this round, but for suspects.
    pub(super) fn untried(&self, landed: u64) -> Wanted {
        let is_skipped = |rest: &Rest| rest.is_suspect(landed) || rest.round == self.round;
        let skipped = self.batches.iter().filter(|(_, rest)| is_skipped(rest)).map(|(id, _)| *id).collect();
        Wanted::AllBut(skipped, if self.is_newest_next { End::Newest } else { End::Oldest })
    }

    /// The suspect that waits for its next try the longest, unless all rest.
    pub(super) fn suspect(&self, landed: u64) -> Option<Uuid> {
        let now = Instant::now();
        let is_due =
            |rest: &Rest| rest.is_suspect(landed) && rest.until.is_none_or(|(until, _)| until <= now);
        let due = self.batches.iter().filter(|(_, rest)| is_due(rest));
        due.min_by_key(|(_, rest)| rest.failed).map(|(id, _)| *id)
    }

    /// Whether it is a suspect's turn although others wait.
    pub(super) fn is_suspects_turn(&self) -> bool {
        self.others >= OTHERS || self.suspect_tried.is_none_or(|tried| tried.elapsed() >= TURN)
    }

    /// How many suspects there are, and how many spans of this process wait in those that have failed since.
    pub(super) fn suspects(&self, landed: u64, since: Instant) -> (u64, u64) {
        let suspects = || self.batches.values().filter(|rest| rest.is_suspect(landed));
        let failed = suspects().filter(|rest| rest.until.is_some() && rest.failed >= since);
        (suspects().count() as u64, failed.map(|rest| rest.own_spans).sum())
    }

    /// Whether no batch has failed.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
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

    fn failed(resting: &mut Resting, id: Uuid, landed: u64) {
        resting.failed(id, landed, 10, Progress::default());
    }

    #[test]
    fn while_nothing_lands_all_are_tried_in_turn_from_both_ends() {
        let mut resting = Resting::default();
        assert_eq!(resting.untried(0).end(), End::Oldest);
        failed(&mut resting, A, 0);
        assert!(!resting.untried(0).is(A) && resting.untried(0).is(B));
        assert_eq!(resting.untried(0).end(), End::Newest);
        failed(&mut resting, B, 0);
        assert!(!resting.untried(0).is(A) && !resting.untried(0).is(B));
        assert_eq!(resting.untried(0).end(), End::Oldest);
        resting.next_round();
        assert!(resting.untried(0).is(A) && resting.untried(0).is(B));
        assert!(!resting.is_suspect(A, 0) && resting.suspect(0).is_none() && resting.next_end().is_none());
    }

    #[test]
    fn once_another_lands_what_failed_is_tried_alone_and_rests_for_longer_and_longer() {
        let mut resting = Resting::default();
        failed(&mut resting, A, 0);
        assert!(resting.is_suspect(A, 1) && resting.suspect(1) == Some(A));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            failed(&mut resting, A, 1);
            resting.next_round();
            assert!(!resting.untried(1).is(A) && resting.suspect(1).is_none(), "it rests through all rounds");
            pauses.push(resting.batches[&A].until.expect("a rest").1.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        resting.end();
        assert_eq!(resting.suspect(1), Some(A));
        resting.ended(A);
        assert!(!resting.is_suspect(A, 2));
    }

    #[test]
    fn suspects_have_a_turn_after_some_others_and_the_one_that_waits_the_longest_comes_first() {
        let mut resting = Resting::default();
        let suspects: Vec<Uuid> = (10..20).map(Uuid::from_u128).collect();
        for id in &suspects {
            failed(&mut resting, *id, 0);
        }
        assert!(suspects.iter().all(|id| !resting.untried(1).is(*id)));
        assert_eq!(resting.suspect(1), Some(suspects[0]));
        failed(&mut resting, suspects[0], 1);
        assert!(!resting.is_suspects_turn());
        for other in 0..OTHERS {
            resting.ended(Uuid::from_u128(100 + u128::from(other)));
        }
        assert!(resting.is_suspects_turn());
        assert_eq!(resting.suspect(1), Some(suspects[1]));
    }

    #[test]
    fn too_many_are_forgotten_one_by_one() {
        let mut resting = Resting::default();
        for number in 0..=MOST as u128 {
            failed(&mut resting, Uuid::from_u128(number), 0);
        }
        assert_eq!(resting.batches.len(), MOST);
        assert!(resting.untried(0).is(Uuid::from_u128(0)) && !resting.untried(0).is(A));
    }

    #[test]
    fn spans_are_left_out_that_failed_by_themselves_since_a_moment() {
        let mut resting = Resting::default();
        failed(&mut resting, A, 0);
        failed(&mut resting, B, 1);
        let since = Instant::now();
        assert_eq!(resting.suspects(1, since), (1, 0));
        failed(&mut resting, A, 1);
        assert_eq!(resting.suspects(1, since), (1, 10));
    }
}
