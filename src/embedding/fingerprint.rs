//! What a model is: a hash of everything that its vectors depend on.
//!
//! A name would not do: folders are renamed, and two hosts may have different files under one name. Reading and hashing
//! takes 20 ms for 23 MB, once a process, where loading the model takes ten times as long.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where large graphs keep their weights, behind the graph's own name.
const WEIGHTS: [&str; 2] = ["_data", ".data"];

/// 128 bits of BLAKE3 in hexadecimal over the tokenizer, the graph with its weights, and how texts are read with them.
///
/// # Errors
/// [`Error::Model`] names the file that cannot be read.
pub(super) fn of(tokenizer: &Path, graph: &Path, reading: &str) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(reading.as_bytes());
    add(&mut hasher, tokenizer)?;
    add(&mut hasher, graph)?;
    for ending in WEIGHTS {
        let mut name = graph.as_os_str().to_owned();
        name.push(ending);
        let weights = PathBuf::from(name);
        if weights.is_file() {
            add(&mut hasher, &weights)?;
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// The file's content, ended by its length, so that no two sequences of files are hashed alike.
fn add(hasher: &mut blake3::Hasher, path: &Path) -> Result<()> {
    let fault = |error| Error::Model(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(fault)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(fault(error)),
        }
    }
    hasher.update(&length.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_content_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (tokenizer, graph) = (file("tokenizer.json", "ab"), file("model.onnx", "c"));
        let first = of(&tokenizer, &graph, "mean").unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(first, of(&file("t", "ab"), &file("g", "c"), "mean").unwrap(), "files may be moved");
        assert_ne!(first, of(&file("t", "a"), &file("g", "bc"), "mean").unwrap());
        assert_ne!(first, of(&tokenizer, &graph, "first").unwrap());
        file("model.onnx_data", "weights");
        assert_ne!(first, of(&tokenizer, &graph, "mean").unwrap(), "weights beside the graph count");
        let error = of(&tokenizer, &folder.path().join("gone"), "mean").unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
