//! How a text's vector is made from the vectors of its tokens.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::tokens;
use crate::{Error, Result};

/// sentence-transformers' description of the pooling.
const CONFIG: &str = "1_Pooling/config.json";
/// sentence-transformers' list of what comes after the transformer.
const MODULES: &str = "modules.json";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pooling {
    /// The mean of all tokens' vectors.
    Mean,
    /// The vector of the first token.
    First,
    /// The graph has done it.
    Done,
}

/// The part of an entry of `modules.json` that is of interest.
#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
}

impl Pooling {
    /// What the folder says of its pooling; the mean where it says nothing.
    ///
    /// # Errors
    /// [`Error::Model`] names the file that cannot be understood, or that asks for what cannot be done here.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let modules: Vec<Module> = tokens::read(&folder.join(MODULES))?.unwrap_or_default();
        let dense = modules.iter().find(|module| module.kind.ends_with(".Dense"));
        if let Some(Module { kind }) = dense {
            return Err(Error::Model(format!(
                "{} has a module {kind} behind the pooling, which is not in the graph: export the whole model, with the \
                 output sentence_embedding",
                folder.join(MODULES).display()
            )));
        }
        let config: Option<Map<String, Value>> = tokens::read(&folder.join(CONFIG))?;
        let modes = config.as_ref().map(modes).unwrap_or_default();
        match modes.as_slice() {
            // The square root changes the length only, and that is set to 1.
            [] | ["mean" | "mean_tokens" | "mean_sqrt_len_tokens"] => Ok(Pooling::Mean),
            ["cls" | "cls_token"] => Ok(Pooling::First),
            other => Err(Error::Model(format!(
                "{} asks for the pooling {}: only the mean of the tokens or the first token can be taken; export the whole \
                 model, with the output sentence_embedding",
                folder.join(CONFIG).display(),
                other.join(" and ")
            ))),
        }
    }
}

/// The modes that are on: `"pooling_mode": "mean"`, or `"pooling_mode_mean_tokens": true` as it was before.
fn modes(config: &Map<String, Value>) -> Vec<&str> {
    match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode],
        Some(Value::Array(modes)) => modes.iter().filter_map(Value::as_str).collect(),
        _ => config
            .iter()
            .filter(|(_, value)| **value == Value::Bool(true))
            .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooling(file: &str, text: &str) -> Result<Pooling> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        std::fs::write(folder.path().join(file), text).unwrap();
        Pooling::of(folder.path())
    }

    #[test]
    fn the_pooling_is_what_the_folder_says() {
        let cases = [
            (r#"{"word_embedding_dimension": 384}"#, Pooling::Mean),
            (r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#, Pooling::Mean),
            (r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#, Pooling::First),
            (r#"{"pooling_mode_mean_sqrt_len_tokens": true, "include_prompt": true}"#, Pooling::Mean),
            (r#"{"pooling_mode": "cls"}"#, Pooling::First),
        ];
        for (text, expected) in cases {
            assert_eq!(pooling(CONFIG, text).unwrap(), expected, "{text}");
        }
        assert_eq!(Pooling::of(Path::new("/nonexistent")).unwrap(), Pooling::Mean);
    }

    #[test]
    fn what_cannot_be_done_is_an_error_that_names_the_file() {
        let cases = [
            (CONFIG, r#"{"pooling_mode_max_tokens": true}"#, "max_tokens"),
            (
                CONFIG,
                r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#,
                "cls_token and mean",
            ),
            (CONFIG, r#"{"pooling_mode": "lasttoken"}"#, "lasttoken"),
            (CONFIG, "{", "1_Pooling"),
            (MODULES, r#"[{"idx": 2, "type": "sentence_transformers.models.Dense"}]"#, "Dense"),
        ];
        for (file, text, expected) in cases {
            let message = pooling(file, text).unwrap_err().to_string();
            assert!(message.contains(file) && message.contains(expected), "{message}");
        }
    }
}
