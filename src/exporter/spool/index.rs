//! Which files a process knows of, oldest first, without reading the folder each time.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::name::Name;

/// The folder is read anew after this time, or after so many times what reading it took.
const LISTED_EVERY: Duration = Duration::from_secs(5);
const LISTING_SHARE: u32 = 20;

/// The oldest files of the folder as it was last read, with what this process did since.
pub(super) struct Index {
    names: BTreeSet<Name>,
    most: usize,
    /// Files that could not be read and were reported.
    passed_over: BTreeSet<Name>,
    /// Whether the folder has files beyond those here.
    is_cut: bool,
    /// The newest file of the folder that was taken into account.
    seen: u64,
    /// How often the folder was read, when, and how long it took.
    pub(super) listings: u64,
    listed: Option<(Instant, Duration)>,
}

impl Index {
    /// An index of at most so many files.
    pub(super) fn new(most: usize) -> Index {
        let (names, passed_over) = (BTreeSet::new(), BTreeSet::new());
        Index { names, most, passed_over, is_cut: false, seen: 0, listings: 0, listed: None }
    }

    /// Begins anew with the folder's files, of which the newest is `newest`.
    pub(super) fn replace(&mut self, names: Oldest, newest: u64, took: Duration) {
        self.names = names.names;
        self.is_cut = names.is_cut;
        self.seen = newest;
        self.listings += 1;
        self.listed = Some((Instant::now(), took));
    }

    /// A batch that this process wrote, when `before` was the newest. Others' batches that are older than it and not
    /// known come first, with the next listing.
    pub(super) fn wrote(&mut self, name: Name, before: u64) {
        if self.seen != before {
            return;
        }
        self.seen = name.sequence;
        if !self.is_cut {
            self.insert(name);
        }
    }

    /// A batch that is free again.
    pub(super) fn insert(&mut self, name: Name) {
        self.names.insert(name);
        if self.names.len() > self.most {
            self.names.pop_last();
            self.is_cut = true;
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.names.remove(name);
    }

    /// Leaves a file out until the next listing. Whether that is news.
    pub(super) fn pass_over(&mut self, name: &Name) -> bool {
        self.names.remove(name);
        if self.passed_over.len() >= self.most {
            self.passed_over.clear();
        }
        self.passed_over.insert(*name)
    }

    /// The oldest, or the next behind another.
    pub(super) fn next(&self, behind: Option<Name>) -> Option<Name> {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range((from, Bound::Unbounded)).next().copied()
    }

    /// The newest, or the next before another.
    pub(super) fn next_back(&self, before: Option<Name>) -> Option<Name> {
        let to = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range((Bound::Unbounded, to)).next_back().copied()
    }

    /// Whether the folder has files that are not here.
    pub(super) fn is_behind(&self, newest: u64) -> bool {
        self.seen < newest || (self.is_cut && self.names.is_empty())
    }

    /// Whether it is time to look at what others did to the folder.
    pub(super) fn is_old(&self) -> bool {
        self.listed.is_none_or(|(at, took)| at.elapsed() > LISTED_EVERY.max(took * LISTING_SHARE))
    }

    /// An empty collection for the next [`replace`](Self::replace).
    pub(super) fn oldest(&self) -> Oldest {
        Oldest { names: BTreeSet::new(), most: self.most, is_cut: false }
    }
}

/// Collects the oldest of any number of files.
pub(super) struct Oldest {
    names: BTreeSet<Name>,
    most: usize,
    is_cut: bool,
}

impl Oldest {
    pub(super) fn offer(&mut self, name: Name) {
        if self.names.len() >= self.most {
            self.is_cut = true;
            if self.names.last().is_some_and(|last| *last < name) {
                return;
            }
            self.names.pop_last();
        }
        self.names.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn name(sequence: u64) -> Name {
        Name { sequence, id: Uuid::nil(), spans: 1, bytes: 1 }
    }

    fn all(index: &Index) -> Vec<u64> {
        let mut at = None;
        std::iter::from_fn(|| {
            at = index.next(at);
            at.map(|name| name.sequence)
        })
        .collect()
    }

    #[test]
    fn it_keeps_the_oldest_and_knows_that_there_are_more() {
        let mut index = Index::new(3);
        let mut oldest = index.oldest();
        for sequence in [5, 1, 4, 2, 3] {
            oldest.offer(name(sequence));
        }
        index.replace(oldest, 5, Duration::ZERO);
        assert_eq!(all(&index), [1, 2, 3]);
        index.wrote(name(6), 5);
        assert_eq!(all(&index), [1, 2, 3], "4 and 5 come before 6");
        for sequence in 1..4 {
            assert!(!index.is_behind(6));
            index.remove(&name(sequence));
        }
        assert!(index.is_behind(6));
    }

    #[test]
    fn it_is_behind_when_another_process_wrote() {
        let mut index = Index::new(3);
        index.replace(index.oldest(), 5, Duration::ZERO);
        index.wrote(name(6), 5);
        assert!(!index.is_behind(6));
        index.wrote(name(8), 7);
        assert!(index.is_behind(8), "7 is another's");
        assert_eq!(all(&index), [6], "8 is not before 7");
    }

    #[test]
    fn what_is_given_back_is_the_oldest_again() {
        let mut index = Index::new(2);
        index.replace(index.oldest(), 0, Duration::ZERO);
        for sequence in [2, 3, 1] {
            index.insert(name(sequence));
        }
        assert_eq!(all(&index), [1, 2]);
    }
}
