//! From text to the token ids that a BERT-like model reads.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::locate::TOKENIZER;
use crate::{Error, Result};

/// The most tokens of a text that count, where the model's folder does not say: all-MiniLM-L6-v2's limit.
const DEFAULT_LIMIT: usize = 256;

/// Attention costs the square of the length, and BERT has no more positions than this.
const MAX_LIMIT: usize = 512;

/// `[CLS]`, `[SEP]` and a little text; the `tokenizers` crate underflows below the number of special tokens.
const MIN_LIMIT: usize = 8;

/// Bytes of a text that are looked at. Far more than [`MAX_LIMIT`] tokens of any language, and a bound to the time
/// that a text of some megabytes may take.
const MAX_BYTES: usize = 32 * 1024;

/// A text's words in lowercase, in their order, each with something of it.
pub(super) type OfWords<T> = Vec<(String, T)>;

/// A model's tokenizer with its limit.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    padding: u32,
    limit: usize,
}

/// The part of sentence-transformers' `sentence_bert_config.json` that is of interest.
#[derive(Deserialize)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
}

/// The part of a Hugging Face `config.json` that is of interest.
#[derive(Deserialize)]
struct ModelConfig {
    max_position_embeddings: Option<usize>,
}

impl Tokens {
    /// Reads the tokenizer in `folder`.
    ///
    /// The limit is `max_seq_length` of `sentence_bert_config.json`, else 256, and never more than `config.json`'s
    /// `max_position_embeddings` or 512. Truncation and padding stored in `tokenizer.json` are ignored, as
    /// sentence-transformers does: they are left over from training (all-MiniLM-L6-v2 says 128, and its limit is 256).
    ///
    /// # Errors
    /// [`Error::Model`] names the file that cannot be read or understood.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let file = folder.join(TOKENIZER);
        let fault =
            |error: tokenizers::Error| Error::Model(format!("cannot load {}: {error}", file.display()));
        let mut tokenizer = Tokenizer::from_file(&file).map_err(fault)?;
        let limit = limit(folder)?;
        let params = TruncationParams { max_length: limit, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(params)).map_err(fault)?;
        let padding = ["[PAD]", "<pad>"].iter().find_map(|token| tokenizer.token_to_id(token)).unwrap_or(0);
        Ok(Self { tokenizer, padding, limit })
    }

    /// The id that fills up short texts of a batch; the attention mask hides it.
    pub(super) fn padding(&self) -> u32 {
        self.padding
    }

    /// The most tokens of a text that count.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The ids of a text, special tokens included: at least one, and at most as many as the limit.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer has no token for what it does not know.
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| Error::Model(format!("cannot tokenise a text: {error}")))?;
        let ids = encoding.get_ids();
        // A tokenizer without special tokens makes nothing of an empty text, and a model cannot read nothing.
        Ok(if ids.is_empty() { vec![self.padding] } else { ids.to_vec() })
    }

    /// The ids of a text as [`ids`](Self::ids) has them, and its words in lowercase, each with the places of its tokens.
    ///
    /// # Errors
    /// The same as [`ids`](Self::ids).
    pub(super) fn words(&self, text: &str) -> Result<(Vec<u32>, OfWords<Range<usize>>)> {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let encoding = self
            .tokenizer
            .encode(text, true)
            .map_err(|error| Error::Model(format!("cannot tokenise a text: {error}")))?;
        let mut words: Vec<(Option<u32>, Range<usize>, Range<usize>)> = Vec::new();
        let tokens = encoding.get_word_ids().iter().zip(encoding.get_offsets());
        for (at, (&word, &(start, end))) in tokens.enumerate().filter(|(_, (word, _))| word.is_some()) {
            match words.last_mut() {
                Some((last, bytes, places)) if *last == word => (bytes.end, places.end) = (end, at + 1),
                _ => words.push((word, start..end, at..at + 1)),
            }
        }
        let words = words
            .into_iter()
            .filter_map(|(_, bytes, places)| Some((text.get(bytes)?.to_lowercase(), places)));
        let ids = encoding.get_ids();
        Ok((if ids.is_empty() { vec![self.padding] } else { ids.to_vec() }, words.collect()))
    }
}

fn limit(folder: &Path) -> Result<usize> {
    let sentence: Option<SentenceBertConfig> = read(&folder.join("sentence_bert_config.json"))?;
    let model: Option<ModelConfig> = read(&folder.join("config.json"))?;
    let limit = sentence.and_then(|config| config.max_seq_length).unwrap_or(DEFAULT_LIMIT);
    let positions = model.and_then(|config| config.max_position_embeddings).unwrap_or(MAX_LIMIT);
    Ok(limit.min(positions).clamp(MIN_LIMIT, MAX_LIMIT))
}

/// Reads an optional JSON file of the model's folder; `None` when there is no such file.
///
/// # Errors
/// [`Error::Model`] when there is one, and it cannot be read or has other types.
pub(super) fn read<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<Option<T>> {
    if !file.exists() {
        return Ok(None);
    }
    let fault = |reason: String| Error::Model(format!("cannot read {}: {reason}", file.display()));
    let text = fs::read(file).map_err(|error| fault(error.to_string()))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_with(files: &[(&str, &str)]) -> Result<usize> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        limit(folder.path())
    }

    #[test]
    fn the_limit_comes_from_the_folder_and_is_bounded() {
        let sentence = "sentence_bert_config.json";
        assert_eq!(limit_with(&[]).unwrap(), 256);
        assert_eq!(
            limit_with(&[(sentence, r#"{"max_seq_length": 128, "do_lower_case": false}"#)]).unwrap(),
            128
        );
        assert_eq!(limit_with(&[(sentence, r#"{"max_seq_length": null}"#)]).unwrap(), 256);
        assert_eq!(limit_with(&[(sentence, r#"{"max_seq_length": 8192}"#)]).unwrap(), 512);
        assert_eq!(limit_with(&[(sentence, r#"{"max_seq_length": 0}"#)]).unwrap(), 8);
        assert_eq!(limit_with(&[("config.json", r#"{"max_position_embeddings": 64}"#)]).unwrap(), 64);
        assert!(limit_with(&[(sentence, "{")]).unwrap_err().to_string().contains(sentence));
    }
}
