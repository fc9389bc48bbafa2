//! The words of a query within what was found.

use std::ops::Range;

use crate::search::SearchQuery;

/// What is looked for in texts.
#[derive(Clone, Debug)]
pub struct Words {
    /// As they were typed, with their stems.
    words: Vec<(String, String)>,
    phrases: Vec<String>,
}

/// Endings that leave the sense as it is, the longer ones first.
const ENDINGS: [&str; 14] =
    ["ures", "ions", "ings", "ing", "ure", "ion", "ies", "ers", "ed", "es", "er", "e", "s", "y"];
/// Words that every text has.
const COMMON: [&str; 30] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "did", "does", "for", "from", "how", "in", "is", "it",
    "not", "of", "on", "or", "that", "the", "this", "to", "was", "were", "what", "when", "who", "with",
];

impl Words {
    pub fn of(query: &SearchQuery) -> Words {
        let text = query.text();
        let mut words: Vec<(String, String)> = Vec::new();
        for word in runs(text).into_iter().filter_map(|range| text.get(range)).map(str::to_lowercase) {
            let tells = word.chars().nth(1).is_some() && !COMMON.contains(&word.as_str());
            if tells && words.iter().all(|(known, _)| *known != word) {
                words.push((word.clone(), stem(&word).to_owned()));
            }
        }
        let phrases = query.conditions().phrases.iter().map(|phrase| phrase.to_ascii_lowercase());
        Words { words, phrases: phrases.collect() }
    }

    /// These, and further words that mean the same.
    pub fn and<'a>(&self, more: impl Iterator<Item = &'a str>) -> Words {
        let mut all = self.clone();
        all.words.extend(more.map(|word| (word.to_owned(), stem(word).to_owned())));
        all
    }

    /// The text in parts: those that are words of these, and what is between them.
    pub fn parts<'a>(&self, text: &'a str) -> Vec<(&'a str, bool)> {
        let (mut parts, mut at) = (Vec::new(), 0);
        for range in self.ranges(text) {
            if let (Some(before), Some(word)) = (text.get(at..range.start), text.get(range.clone())) {
                parts.extend([(before, false), (word, true)]);
                at = range.end;
            }
        }
        parts.push((text.get(at..).unwrap_or_default(), false));
        parts.retain(|(part, _)| !part.is_empty());
        parts
    }

    /// Where words and phrases stand, in order; what overlaps is one.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut all = self.phrase_ranges(text);
        all.extend(runs(text).into_iter().filter(|range| self.word(text, range).is_some()));
        all.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in all {
            match joined.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }

    /// The words, and phrases in quotes, that one of the texts has.
    pub fn found_in(&self, texts: &[&str]) -> Vec<String> {
        let has = |word: &str| {
            texts.iter().any(|text| runs(text).iter().any(|range| self.word(text, range) == Some(word)))
        };
        let words = self.words.iter().filter(|(word, _)| has(word)).map(|(word, _)| word.clone());
        let phrases = self
            .phrases
            .iter()
            .filter(|phrase| texts.iter().any(|text| text.to_ascii_lowercase().contains(phrase.as_str())));
        words.chain(phrases.map(|phrase| format!("\"{phrase}\""))).collect()
    }

    /// The word of the query that stands there, in whatever form.
    fn word(&self, text: &str, range: &Range<usize>) -> Option<&str> {
        let run = text.get(range.clone())?.to_lowercase();
        let stem = stem(&run);
        self.words.iter().find(|(_, known)| known == stem).map(|(word, _)| word.as_str())
    }

    fn phrase_ranges(&self, text: &str) -> Vec<Range<usize>> {
        if self.phrases.is_empty() {
            return Vec::new();
        }
        // Lower case of ASCII alone keeps every place where it is.
        let text = text.to_ascii_lowercase();
        let places = self.phrases.iter().flat_map(|phrase| text.match_indices(phrase.as_str()));
        places.map(|(at, phrase)| at..at + phrase.len()).collect()
    }
}

fn stem(word: &str) -> &str {
    let stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.into_iter().find(|stem| stem.len() >= 3).unwrap_or(word)
}

/// The words of a name that tell something, in lowercase, each once.
pub(super) fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in runs(name).into_iter().filter_map(|range| name.get(range)).map(str::to_lowercase) {
        let tells = word.chars().nth(2).is_some() && word.chars().all(char::is_alphabetic);
        if tells && !COMMON.contains(&word.as_str()) && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Words: letters and digits, parted also within `camelCase`.
fn runs(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut was_lower) = (Vec::new(), None, false);
    for (at, character) in text.char_indices() {
        let is_hump = character.is_uppercase() && was_lower;
        if let Some(from) = start.filter(|_| is_hump || !character.is_alphanumeric()) {
            found.push(from..at);
            start = None;
        }
        if character.is_alphanumeric() {
            start = start.or(Some(at));
        }
        was_lower = character.is_lowercase();
    }
    found.extend(start.map(|from| from..text.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(words: &Words, text: &str) -> String {
        let parts = words.parts(text).into_iter();
        parts.map(|(part, is_word)| if is_word { format!("[{part}]") } else { part.to_owned() }).collect()
    }

    fn marked(query: &str, text: &str) -> String {
        let words = Words::of(&SearchQuery::new(query));
        show(&words, text)
    }

    #[test]
    fn words_are_marked_in_their_forms_and_within_names() {
        assert_eq!(
            marked("the card was rejected", "Card rejection: the cards' carder"),
            "[Card] [rejection]: the [cards]' [carder]"
        );
        assert_eq!(
            marked("check stock", "StockService.checkStock postcheck"),
            "[Stock]Service.[check][Stock] postcheck"
        );
        assert_eq!(marked("slow query", "queries slowly"), "[queries] slowly");
        assert_eq!(marked("überlauf", "Überlauf im Speicher"), "[Überlauf] im Speicher");
        assert_eq!(marked("", "nothing"), "nothing");
        let words = Words::of(&SearchQuery::new("rejected")).and(["declined"].into_iter());
        assert_eq!(show(&words, "card declined"), "card [declined]");
    }

    #[test]
    fn phrases_are_marked_as_they_stand() {
        assert_eq!(marked(r#""no such column""#, "No such column: user no"), "[No such column]: user no");
        assert_eq!(marked(r#"column "such col""#, "no such column"), "no [such column]");
        let words = Words::of(&SearchQuery::new(r#"cards "E-1042""#));
        assert_eq!(words.found_in(&["pay by card", "failed: e-1042"]), ["cards", "1042", "\"e-1042\""]);
    }
}
