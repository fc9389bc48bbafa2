//! Which texts share a run of the model. All texts of a run are padded to its longest, so they are of about the same length.

/// Tokens, padding included, that one run of ONNX Runtime works on.
///
/// About 40 ms on one core, which bounds both how late a deadline is noticed and how long a search waits for an
/// export that embeds. Larger buckets are no faster, and then slower, because they leave the core's caches: from 1,024 on,
/// where memory grows, too.
const BUCKET_TOKENS: usize = 192;

/// What a run costs besides, as tokens that would take as long.
const RUN_TOKENS: usize = 10;

/// How many texts each run takes, of texts with these lengths in tokens, in ascending order: so that tokens, padding and runs
/// cost the least in all.
pub(super) fn buckets(lengths: &[usize]) -> Vec<usize> {
    // For the first texts, one more each time: the least cost, and how many of them the last run takes.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for (longest, count) in lengths.iter().zip(1..) {
        let fits = |texts: &usize| *texts == 1 || texts * longest <= BUCKET_TOKENS;
        let costs = (1..=count)
            .take_while(fits)
            .map(|texts| (best[count - texts].0 + texts * longest + RUN_TOKENS, texts));
        best.push(costs.min().unwrap_or_default());
    }
    let mut buckets = Vec::new();
    let mut left = lengths.len();
    while left > 0 {
        buckets.push(best[left].1);
        left -= best[left].1;
    }
    buckets.reverse();
    buckets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_one_length_share_as_few_runs_as_possible_and_a_long_one_has_its_own() {
        assert_eq!(buckets(&[]), Vec::<usize>::new());
        assert_eq!(buckets(&[2; 100]).len(), 2);
        assert_eq!(buckets(&[BUCKET_TOKENS * 2; 2]), [1, 1]);
        // A run costs more than little padding, and less than much.
        assert_eq!(buckets(&[9, 10]), [2]);
        assert_eq!(buckets(&[9, 30]), [1, 1]);
    }

    proptest! {
        #[test]
        fn every_text_has_a_run_that_is_bounded(mut lengths in proptest::collection::vec(1..300_usize, 0..200)) {
            lengths.sort_unstable();
            let mut left = lengths.as_slice();
            for count in buckets(&lengths) {
                prop_assert!(count > 0);
                let (bucket, later) = left.split_at(count);
                prop_assert!(count == 1 || bucket[count - 1] * count <= BUCKET_TOKENS);
                left = later;
            }
            prop_assert!(left.is_empty());
        }
    }
}
