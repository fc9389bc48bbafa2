//! Where the model's folder and ONNX Runtime's shared library are found.
//!
//! Both are looked up in the same order: what the settings (or `ORT_DYLIB_PATH`) name, then `.local/` in the current
//! directory and its parents, then the user's data directory. What is named explicitly but does not exist is an
//! error: falling back to another library or model in silence would be worse.

use std::env;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file that a tokenizer of the `tokenizers` crate is stored in.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Where the graph may be inside a model's folder: beside the tokenizer, or as Hugging Face's repositories lay it out.
const GRAPHS: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// The graph's file inside a model's folder, if there is one.
pub(super) fn graph(folder: &Path) -> Option<PathBuf> {
    GRAPHS.iter().map(|graph| folder.join(graph)).find(|file| file.is_file())
}

/// Finds the folder of the model `name`: a path to a folder, or a folder's name below `models/` of one of `roots`.
///
/// # Errors
/// [`Error::Model`] names every place that was looked at, and how to get the model.
pub(super) fn model(name: &str, roots: &[PathBuf]) -> Result<PathBuf> {
    let given = Path::new(name);
    // `join` would replace the root by an absolute path, and `./x` and `../x` mean the current directory alone.
    let is_plain_name = !given.is_absolute() && !given.starts_with(".") && !given.starts_with("..");
    let mut places = vec![given.to_path_buf()];
    if is_plain_name {
        places.extend(roots.iter().map(|root| root.join("models").join(given)));
    }
    match places.iter().find(|folder| folder.join(TOKENIZER).is_file() && graph(folder).is_some()) {
        Some(folder) => Ok(folder.clone()),
        None => Err(Error::Model(format!(
            "no model `{name}`: looked for a folder with model.onnx and {TOKENIZER} at {}; run `make setup`, or set \
             embedding_model (OTEL_STORAGE_EMBEDDING_MODEL) to the path of such a folder",
            list(&places)
        ))),
    }
}

/// Finds ONNX Runtime's shared library: `setting`, else `variable` (what `ORT_DYLIB_PATH` holds), else below
/// `onnxruntime/` of one of `roots`.
///
/// The path is absolute, because `ort` takes a relative one as relative to the executable.
///
/// # Errors
/// [`Error::Model`] names every place that was looked at, and how to get the library.
#[cfg(feature = "load-dynamic")]
pub(super) fn library(
    setting: Option<&Path>,
    variable: Option<PathBuf>,
    roots: &[PathBuf],
) -> Result<PathBuf> {
    let name = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let (origin, places) = match (setting, variable) {
        (Some(path), _) => (" (from onnxruntime_library)", vec![path.to_path_buf()]),
        (None, Some(path)) => (" (from ORT_DYLIB_PATH)", vec![path]),
        (None, None) => ("", roots.iter().map(|root| root.join("onnxruntime").join(&name)).collect()),
    };
    let found = places.iter().find(|file| file.is_file());
    found.and_then(|file| std::path::absolute(file).ok()).ok_or_else(|| {
        Error::Model(format!(
            "no ONNX Runtime: looked for {name} at {}{origin}; run `make setup`, or set onnxruntime_library \
             (OTEL_STORAGE_ONNXRUNTIME_LIBRARY) or ORT_DYLIB_PATH to the path of the library, version 1.{} or newer",
            list(&places),
            ort::MINOR_VERSION
        ))
    })
}

/// What `ORT_DYLIB_PATH` holds; empty is the same as unset.
#[cfg(feature = "load-dynamic")]
pub(super) fn library_variable() -> Option<PathBuf> {
    env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The folders that may hold `models/` and `onnxruntime/`, in the order in which they are looked at.
pub(super) fn roots() -> Vec<PathBuf> {
    let current = env::current_dir().ok();
    let mut roots: Vec<PathBuf> = current.as_deref().map(local_folders).unwrap_or_default();
    let data = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute()) // a relative one is invalid by the XDG specification
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")));
    roots.extend(data.map(|data| data.join("opentelemetry-pgvector")));
    roots
}

/// `.local` in `folder` and each of its parents.
///
/// Folders that everybody may write to, such as `/tmp`, are left out: a library found there is code to be run, and
/// anybody could have put it there.
fn local_folders(folder: &Path) -> Vec<PathBuf> {
    folder
        .ancestors()
        .filter(|folder| !is_world_writable(folder))
        .map(|folder| folder.join(".local"))
        .collect()
}

#[cfg(unix)]
fn is_world_writable(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    folder.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

#[cfg(not(unix))]
fn is_world_writable(_folder: &Path) -> bool {
    false
}

fn list(places: &[PathBuf]) -> String {
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A root with the model `some-model` in it.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("models/some-model");
        fs::create_dir_all(model.join("onnx")).unwrap();
        fs::write(model.join(TOKENIZER), "").unwrap();
        fs::write(model.join("onnx/model.onnx"), "").unwrap();
        root
    }

    #[test]
    fn a_model_is_found_by_name_and_by_path() {
        let root = root();
        let roots = [PathBuf::from("/nowhere"), root.path().to_path_buf()];
        let folder = root.path().join("models/some-model");
        assert_eq!(model("some-model", &roots).unwrap(), folder);
        assert_eq!(model(folder.to_str().unwrap(), &[]).unwrap(), folder);
    }

    #[test]
    fn a_folder_without_its_files_is_not_a_model() {
        let root = root();
        fs::remove_file(root.path().join("models/some-model").join(TOKENIZER)).unwrap();
        let message = model("some-model", &[root.path().to_path_buf()]).unwrap_err().to_string();
        assert!(message.contains("make setup") && message.contains("embedding_model"), "{message}");
        assert!(message.contains(root.path().to_str().unwrap()), "{message}");
    }

    #[test]
    fn an_explicit_path_is_not_looked_up_elsewhere() {
        let message = model("./some-model", &[root().path().to_path_buf()]).unwrap_err().to_string();
        assert!(!message.contains("models/"), "{message}");
    }

    #[cfg(feature = "load-dynamic")]
    #[test]
    fn the_library_comes_from_the_setting_then_the_variable_then_the_roots() {
        let root = tempfile::tempdir().unwrap();
        let roots = [root.path().to_path_buf()];
        let file = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let message = library(None, None, &roots).unwrap_err().to_string();
        assert!(message.contains("make setup") && message.contains("ORT_DYLIB_PATH"), "{message}");

        let name = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let local = file(&format!("onnxruntime/{name}"));
        let (setting, variable) = (file("setting.so"), file("variable.so"));
        assert_eq!(library(None, None, &roots).unwrap(), local);
        assert_eq!(library(None, Some(variable.clone()), &roots).unwrap(), variable);
        assert_eq!(library(Some(&setting), Some(variable), &roots).unwrap(), setting);

        let message = library(None, Some(root.path().join("gone.so")), &roots).unwrap_err().to_string();
        assert!(message.contains("gone.so (from ORT_DYLIB_PATH)"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn folders_that_everybody_may_write_to_are_left_out() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let folders = local_folders(&inner);
        assert_eq!(folders[0], inner.join(".local"));
        assert!(!folders.contains(&outer.path().join(".local")));
    }
}
