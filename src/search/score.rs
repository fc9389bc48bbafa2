//! Scores: how well each candidate fits the query, and why.

use std::collections::HashMap;
use std::sync::Arc;

use super::hit::{Explanation, MatchedWord};
use crate::embedding::Vector;
use crate::store::ComparedDocument;

/// What the words count for in a score; the rest is the cosine.
const WORDS: f64 = 0.6;
/// What a failed document gains when the query speaks of failure.
const FAILURE: f64 = 0.1;
/// What the best document of the same service counts for, beside the document itself.
const COMPANY: f64 = 0.2;
/// From which similarity on an explanation names a pair of words.
const NAMED: f64 = 0.3;

/// A word of the query.
pub(super) struct QueryWord {
    /// In lowercase.
    pub word: String,
    /// Its unit vector in the context of the query.
    pub vector: Vector,
}

/// A document that may fit.
pub(super) struct Candidate {
    pub id: i32,
    /// The cosine of its embedding to the query's.
    pub cosine: f64,
    pub compared: Arc<ComparedDocument>,
}

/// A document that was scored.
pub(super) struct Document {
    pub id: i32,
    pub score: f64,
    pub compared: Arc<ComparedDocument>,
    pub explanation: Arc<Explanation>,
}

/// The words of candidates: each text is read once, whoever shares it.
pub(super) struct Texts {
    /// Each word once, those of the nearest candidate first.
    pub words: Vec<String>,
    /// The words of each text, as places in `words`.
    texts: Vec<Vec<usize>>,
    /// For each candidate its text, as a place in `texts`.
    of_candidates: Vec<usize>,
}

impl Texts {
    pub(super) fn of(candidates: &[Candidate]) -> Self {
        let mut nearest: Vec<usize> = (0..candidates.len()).collect();
        nearest.sort_by(|a, b| candidates[*b].cosine.total_cmp(&candidates[*a].cosine));
        let mut places_of_texts: HashMap<&str, usize> = HashMap::with_capacity(candidates.len());
        let mut places_of_words: HashMap<&str, usize> = HashMap::new();
        let (mut texts, mut of_candidates) = (Vec::new(), vec![0; candidates.len()]);
        for at in nearest {
            let document = &candidates[at].compared;
            of_candidates[at] = *places_of_texts.entry(&document.text).or_insert_with(|| {
                let place = |word| {
                    let next = places_of_words.len();
                    *places_of_words.entry(word).or_insert(next)
                };
                texts.push(document.words().map(place).collect());
                texts.len() - 1
            });
        }
        let mut words: Vec<(&str, usize)> = places_of_words.into_iter().collect();
        words.sort_unstable_by_key(|(_, place)| *place);
        Texts { words: words.into_iter().map(|(word, _)| word.to_owned()).collect(), texts, of_candidates }
    }
}

/// Scores candidates with these texts, best first. `vectors` are the unit vectors of the texts' words, in their order.
pub(super) fn score(
    query: &[QueryWord],
    speaks_of_failure: bool,
    candidates: &[Candidate],
    texts: &Texts,
    vectors: &[Option<Vector>],
) -> Vec<Document> {
    let similarities = similarities(query, vectors);
    let best: Vec<Vec<Best<'_>>> =
        texts.texts.iter().map(|words| best_words(query.len(), words, &texts.words, &similarities)).collect();
    let scale = Scale::new(query.len(), best.iter());
    let explanations: Vec<Explanation> = candidates
        .iter()
        .zip(&texts.of_candidates)
        .map(|(candidate, &text)| Explanation {
            cosine: candidate.cosine,
            words: scale.score(&best[text]),
            failure: if speaks_of_failure && candidate.compared.failed { FAILURE } else { 0.0 },
            company: 0.0,
            matched: matched(query, &best[text]),
        })
        .collect();
    let own = |explanation: &Explanation| {
        (1.0 - WORDS) * explanation.cosine + WORDS * explanation.words + explanation.failure
    };
    let mut best_of_services: HashMap<&str, f64> = HashMap::new();
    for (candidate, explanation) in candidates.iter().zip(&explanations) {
        let score = own(explanation);
        best_of_services
            .entry(&candidate.compared.service)
            .and_modify(|best| *best = best.max(score))
            .or_insert(score);
    }
    let mut documents: Vec<Document> = candidates
        .iter()
        .zip(explanations)
        .map(|(candidate, mut explanation)| {
            let own = own(&explanation);
            let best = best_of_services.get(candidate.compared.service.as_str()).copied().unwrap_or(own);
            explanation.company = COMPANY * (best - own);
            Document {
                id: candidate.id,
                score: (own + explanation.company).min(1.0),
                compared: Arc::clone(&candidate.compared),
                explanation: Arc::new(explanation),
            }
        })
        .collect();
    // Two words may be one to the model: then the document that has the query's own comes first.
    let own_words = |document: &Document| {
        document.explanation.matched.iter().filter(|pair| pair.query == pair.document).count()
    };
    documents.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| own_words(b).cmp(&own_words(a))).then(a.id.cmp(&b.id))
    });
    documents
}

/// The word of a document that is nearest to a word of the query.
#[derive(Clone, Copy, Default)]
struct Best<'a> {
    word: &'a str,
    similarity: f64,
}

/// For each word of the texts, its cosine to each word of the query, not below 0; nothing where it has no vector.
fn similarities(query: &[QueryWord], vectors: &[Option<Vector>]) -> Vec<Vec<f64>> {
    let cosine = |a: &[f32], b: &[f32]| f64::from(dot(a, b)).max(0.0);
    let of_query = |vector: &Vector| query.iter().map(|wanted| cosine(&wanted.vector, vector)).collect();
    vectors.iter().map(|vector| vector.as_ref().map_or_else(Vec::new, of_query)).collect()
}

/// The dot product, in sums that the processor adds up side by side.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_left), (b, b_left)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_left.iter().zip(b_left).map(|(a, b)| a * b).sum::<f32>()
}

/// For each word of the query, the nearest word of a text.
fn best_words<'a>(
    count: usize,
    text: &[usize],
    words: &'a [String],
    similarities: &[Vec<f64>],
) -> Vec<Best<'a>> {
    let mut best = vec![Best::default(); count];
    for &place in text {
        let (Some(word), Some(similarities)) = (words.get(place), similarities.get(place)) else { continue };
        for (best, &similarity) in best.iter_mut().zip(similarities) {
            if similarity > best.similarity {
                *best = Best { word, similarity };
            }
        }
    }
    best
}

/// What each word of the query is measured by.
struct Scale {
    /// The highest similarity that any candidate has.
    highest: Vec<f64>,
    /// What the word counts for, 1 in all: the more candidates are near to it, the less it tells.
    weights: Vec<f64>,
    /// The weighted mean of the highest: low when the words are foreign to all candidates.
    reach: f64,
}

impl Scale {
    fn new<'a>(count: usize, texts: impl Iterator<Item = &'a Vec<Best<'a>>> + Clone) -> Self {
        let column =
            |at: usize| texts.clone().filter_map(move |best| best.get(at)).map(|best| best.similarity);
        let number = texts.clone().count() as f64;
        let highest: Vec<f64> = (0..count).map(|at| column(at).fold(f64::EPSILON, f64::max)).collect();
        let rarity = |at: usize| (1.0 + number / (1.0 + column(at).sum::<f64>() / highest[at])).ln();
        let rarities: Vec<f64> = (0..count).map(rarity).collect();
        let total = rarities.iter().sum::<f64>().max(f64::EPSILON);
        let weights: Vec<f64> = rarities.iter().map(|rarity| rarity / total).collect();
        let reach = weights.iter().zip(&highest).map(|(weight, highest)| weight * highest).sum();
        Scale { highest, weights, reach }
    }

    /// How near a text's words are to the query's, 0 to 1.
    fn score(&self, best: &[Best<'_>]) -> f64 {
        let shares = best.iter().zip(&self.highest).map(|(best, highest)| best.similarity / highest);
        self.reach * shares.zip(&self.weights).map(|(share, weight)| share * weight).sum::<f64>()
    }
}

fn matched(query: &[QueryWord], best: &[Best<'_>]) -> Vec<MatchedWord> {
    let pairs = query.iter().zip(best).filter(|(_, best)| best.similarity >= NAMED);
    pairs
        .map(|(wanted, best)| MatchedWord {
            query: wanted.word.clone(),
            document: best.word.to_owned(),
            similarity: best.similarity,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i32, service: &str, text: &str, failed: bool) -> Candidate {
        let compared = ComparedDocument::new(vector([0.0; 3]), service.into(), text.into(), failed);
        Candidate { id, cosine: 0.5, compared: Arc::new(compared) }
    }

    fn vector(numbers: [f32; 3]) -> Vector {
        Vector::from(numbers.as_slice())
    }

    fn scored(speaks_of_failure: bool, candidates: Vec<Candidate>) -> Vec<Document> {
        let query = ["pay", "order"].into_iter().zip([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        let query: Vec<QueryWord> =
            query.map(|(word, numbers)| QueryWord { word: word.into(), vector: vector(numbers) }).collect();
        let vectors = HashMap::from([
            ("payment".to_owned(), vector([0.8, 0.0, 0.6])),
            ("orders".to_owned(), vector([0.0, 0.8, 0.6])),
            ("station".to_owned(), vector([0.0, 0.0, 1.0])),
        ]);
        let texts = Texts::of(&candidates);
        let vectors: Vec<_> = texts.words.iter().map(|word| vectors.get(word).cloned()).collect();
        score(&query, speaks_of_failure, &candidates, &texts, &vectors)
    }

    fn ids(documents: &[Document]) -> Vec<i32> {
        documents.iter().map(|document| document.id).collect()
    }

    #[test]
    fn a_word_that_all_have_tells_less_than_a_rare_one() {
        let documents = scored(
            false,
            vec![
                candidate(1, "a", "orders", false),
                candidate(2, "b", "Orders of a station", false),
                candidate(3, "c", "Payment", false),
            ],
        );
        assert_eq!(ids(&documents), [3, 1, 2]);
        let matched = &documents[0].explanation.matched[0];
        assert_eq!((matched.query.as_str(), matched.document.as_str()), ("pay", "payment"));
    }

    #[test]
    fn failure_counts_when_it_is_asked_for() {
        let candidates = || vec![candidate(1, "a", "payment", false), candidate(2, "a", "payment", true)];
        assert_eq!(ids(&scored(false, candidates())), [1, 2]);
        let documents = scored(true, candidates());
        assert_eq!(ids(&documents), [2, 1]);
        assert_eq!(documents[0].explanation.failure, FAILURE);
    }

    #[test]
    fn a_document_is_judged_in_the_company_of_its_service() {
        let documents = scored(
            false,
            vec![
                candidate(1, "stations", "station", false),
                candidate(2, "payments", "station", false),
                candidate(3, "payments", "payment", false),
            ],
        );
        assert_eq!(ids(&documents), [3, 2, 1]);
    }

    #[test]
    fn a_score_is_finite_without_words() {
        let candidates = vec![candidate(1, "", "", true)];
        let texts = Texts::of(&candidates);
        let documents = score(&[], true, &candidates, &texts, &[]);
        assert!((documents[0].score - 0.3).abs() < 1e-9, "{}", documents[0].score);
    }
}
