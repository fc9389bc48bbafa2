//! The embedder against the real model: `make setup` puts it into `.local/`, or the environment names another place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use opentelemetry_pgvector::embedding::Embedder;
use opentelemetry_pgvector::{Error, Settings};
use serde::Deserialize;

/// The file that `scripts/reference_vectors.py` makes from the fp32 original of the model.
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference_vectors.jsonl");

#[derive(Deserialize)]
struct Reference {
    text: String,
    vector: String,
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    if let Ok(model) = std::env::var("OTEL_STORAGE_EMBEDDING_MODEL") {
        settings.embedding_model = model;
    }
    settings
}

/// One embedder for the tests that need no settings of their own: a loaded model takes some 100 MB.
fn embedder() -> &'static Embedder {
    static EMBEDDER: OnceLock<Embedder> = OnceLock::new();
    EMBEDDER.get_or_init(|| Embedder::new(&settings()))
}

/// The same without a cache, so that every call reaches the model.
fn uncached() -> &'static Embedder {
    static EMBEDDER: OnceLock<Embedder> = OnceLock::new();
    EMBEDDER.get_or_init(|| {
        let mut settings = settings();
        settings.cache_size = 0;
        Embedder::new(&settings)
    })
}

fn references() -> Vec<(String, Vec<f32>)> {
    let lines = fs::read_to_string(REFERENCE).unwrap();
    let parse = |line: &str| {
        let reference: Reference = serde_json::from_str(line).unwrap();
        let bytes = base64(&reference.vector);
        let numbers = bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])));
        (reference.text, numbers.collect())
    };
    lines.lines().map(parse).collect()
}

/// Decodes base64 whose bytes are a multiple of three, as 384 16-bit numbers are: there is no padding.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text.chars().map(|digit| DIGITS.find(digit).unwrap() as u32).collect();
    let triple = |four: &[u32]| four.iter().fold(0, |bits, digit| bits << 6 | digit).to_be_bytes();
    digits.chunks_exact(4).flat_map(|four| triple(four)[1..].to_vec()).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

/// The message of the error that embedding with these settings ends in; it must be [`Error::Model`].
fn model_error(settings: &Settings) -> String {
    match Embedder::new(settings).embed(&["text"]) {
        Err(Error::Model(message)) => message,
        other => panic!("expected Error::Model, got {other:?}"),
    }
}

/// A folder with a copy of the model in use, to be damaged.
fn copy_of_the_model() -> tempfile::TempDir {
    let name = settings().embedding_model;
    let places =
        [PathBuf::from(&name), Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/models").join(&name)];
    let original = places.iter().find(|folder| folder.is_dir()).expect("run `make setup`");
    let copy = tempfile::tempdir().unwrap();
    for file in ["model.onnx", "tokenizer.json"] {
        fs::copy(original.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

fn settings_with_model(folder: &Path) -> Settings {
    let mut settings = settings();
    settings.embedding_model = folder.to_str().unwrap().to_owned();
    settings
}

/// The least cosine to the original. Where a text says next to nothing ("", ".", "ok", "!!!"), nothing averages the
/// rounding of the packaged file's int8 weights out: Python's ONNX Runtime gets the same 0.9959 for "." from it.
fn floor(text: &str) -> f64 {
    if text.chars().filter(|letter| letter.is_alphanumeric()).count() >= 3 { 0.998 } else { 0.995 }
}

#[test]
fn vectors_are_those_of_the_original_model() {
    let references = references();
    let texts: Vec<&str> = references.iter().map(|(text, _)| text.as_str()).collect();
    assert!(texts.iter().filter(|text| floor(text) == 0.998).count() >= 200);
    let vectors = uncached().embed(&texts).unwrap();
    let mut cosines: Vec<(f64, &str)> = Vec::new();
    for ((text, reference), vector) in references.iter().zip(&vectors) {
        let cosine = cosine(reference, vector);
        assert!(cosine >= floor(text), "cosine {cosine} for {text:?}");
        cosines.push((cosine, text));
    }
    let mean = cosines.iter().map(|(cosine, _)| cosine).sum::<f64>() / cosines.len() as f64;
    cosines.sort_by(|left, right| left.0.total_cmp(&right.0));
    println!(
        "{} texts: mean cosine {mean:.5}, least {:.5} for {:?}",
        cosines.len(),
        cosines[0].0,
        cosines[0].1
    );
    assert!(mean >= 0.999, "mean cosine {mean}");
}

#[test]
fn vectors_have_the_settings_dimension_and_length_one() {
    for vector in embedder().embed(&["", " \n", "payment declined", "日本語"]).unwrap() {
        assert_eq!(vector.len(), embedder().dimension());
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    assert!(embedder().embed(&[]).unwrap().is_empty());
}

#[test]
fn a_text_has_the_same_vector_alone_and_in_any_batch() {
    let references = references();
    let texts: Vec<&str> = references.iter().map(|(text, _)| text.as_str()).step_by(5).collect();
    let together = uncached().embed(&texts).unwrap();
    let reversed: Vec<&str> = texts.iter().rev().copied().collect();
    let in_reverse = uncached().embed(&reversed).unwrap();
    for (index, text) in texts.iter().enumerate() {
        let alone = &uncached().embed(&[text]).unwrap()[0];
        assert!(cosine(alone, &together[index]) >= 0.9999, "{text:?} in a batch");
        assert!(
            cosine(alone, &in_reverse[texts.len() - 1 - index]) >= 0.9999,
            "{text:?} in a reversed batch"
        );
    }
}

#[test]
fn only_the_first_256_tokens_count() {
    // One token a word, and two for [CLS] and [SEP].
    let full = vec!["order"; 254].join(" ");
    let with = |end: &str| embedder().embed(&[&format!("{full} {end}")]).unwrap().remove(0);
    let vector = embedder().embed(&[&full]).unwrap().remove(0);
    assert!(cosine(&vector, &with("and a card that was declined")) > 0.999_999);
    let shorter = vec!["order"; 253].join(" ");
    let changed = embedder().embed(&[&format!("{shorter} declined")]).unwrap().remove(0);
    assert!(cosine(&vector, &changed) < 0.9999, "the last token before the limit counts");
}

#[test]
fn a_text_of_megabytes_does_not_take_longer_than_its_first_tokens() {
    let text = "the payment was declined é ".repeat(400_000);
    let started = Instant::now();
    embedder().embed(&[&text]).unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn equal_texts_are_embedded_once_and_then_come_from_the_cache() {
    let embedder = Embedder::new(&settings());
    assert!(embedder.cached("one").is_none());
    let first = embedder.embed(&["one", "two", "one", "one"]).unwrap();
    assert_eq!((embedder.cache_misses(), embedder.cache_hits(), embedder.cache_size()), (2, 0, 2));
    assert_eq!(first[0], first[2]);
    assert_ne!(first[0], first[1]);

    let again = embedder.clone().embed(&["two", "three"]).unwrap();
    assert_eq!((embedder.cache_misses(), embedder.cache_hits(), embedder.cache_size()), (3, 1, 3));
    assert_eq!(again[0], first[1]);
    assert_eq!(embedder.cached("one"), Some(first[0].clone()));
    assert_eq!(embedder.cache_hits(), 2);
}

#[test]
fn a_deadline_leaves_texts_out_but_not_what_is_cached() {
    let embedder = Embedder::new(&settings());
    let known = embedder.embed(&["known"]).unwrap().remove(0);
    let past = Instant::now();
    assert_eq!(embedder.embed_within(&["known", "unknown"], past).unwrap(), [Some(known), None]);

    let texts: Vec<String> = (0..2_000).map(|number| format!("text number {number} of many")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let budget = Duration::from_millis(300);
    let started = Instant::now();
    let vectors = embedder.embed_within(&texts, started + budget).unwrap();
    let taken = started.elapsed();
    let embedded = vectors.iter().flatten().count();
    assert!(embedded < texts.len(), "the budget is too small for all");
    assert!(taken < budget + Duration::from_secs(3), "{taken:?}");

    let all = embedder.embed_within(&["a", "b"], Instant::now() + Duration::from_secs(600)).unwrap();
    assert!(all.iter().all(Option::is_some));
}

#[test]
fn threads_may_embed_at_the_same_time() {
    let texts: Vec<String> = (0..40).map(|number| format!("order {number} was shipped")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = uncached().embed(&texts).unwrap();
    let fresh = Embedder::new(&settings());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| fresh.embed(&texts).unwrap())).collect();
        for worker in workers {
            for (vector, expected) in worker.join().unwrap().iter().zip(&expected) {
                assert!(cosine(vector, expected) >= 0.9999);
            }
        }
    });
}

#[test]
fn a_missing_model_says_how_to_install_it_and_does_not_prevent_construction() {
    let settings = settings_with_model(Path::new("no-such-model"));
    let embedder = Embedder::new(&settings);
    assert_eq!((embedder.model_name(), embedder.dimension()), ("no-such-model", 384));
    assert!(embedder.cached("text").is_none());
    assert!(embedder.load().is_err());
    let message = model_error(&settings);
    for part in ["no-such-model", ".local", "make setup", "embedding_model", "OTEL_STORAGE_EMBEDDING_MODEL"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_failure_to_load_is_remembered_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Embedder::new(&settings_with_model(folder.path()));
    let first = embedder.load().unwrap_err().to_string();
    let copy = copy_of_the_model();
    for file in ["model.onnx", "tokenizer.json"] {
        fs::copy(copy.path().join(file), folder.path().join(file)).unwrap();
    }
    assert_eq!(embedder.embed(&["text"]).unwrap_err().to_string(), first);
    assert!(Embedder::new(&settings_with_model(folder.path())).embed(&["text"]).is_ok());
}

#[test]
fn a_missing_library_says_how_to_install_it() {
    let mut settings = settings();
    settings.onnxruntime_library = Some("/nowhere/libonnxruntime.so".into());
    let message = model_error(&settings);
    for part in ["/nowhere/libonnxruntime.so", "make setup", "onnxruntime_library", "ORT_DYLIB_PATH"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn another_dimension_than_the_models_is_an_error() {
    let mut settings = settings();
    settings.embedding_dimension = 768;
    let message = model_error(&settings);
    assert!(message.contains("embedding_dimension is 768") && message.contains("384"), "{message}");
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    for file in ["model.onnx", "tokenizer.json"] {
        let copy = copy_of_the_model();
        let path = copy.path().join(file);
        let whole = fs::read(&path).unwrap();
        for damaged in [&b""[..], b"neither a graph nor a tokenizer", &whole[..whole.len() / 2]] {
            fs::write(&path, damaged).unwrap();
            let message = model_error(&settings_with_model(copy.path()));
            assert!(message.contains(file), "{message}");
        }
    }
}

/// A process can load one library only, so each of these runs in a process of its own: this test again, with a
/// library that is not ONNX Runtime, or is an old one.
#[test]
fn an_unusable_library_is_an_error_and_can_be_replaced() {
    const LIBRARY: &str = "OTEL_PGVECTOR_TEST_UNUSABLE_LIBRARY";
    if let Ok(library) = std::env::var(LIBRARY) {
        let mut settings = settings();
        settings.onnxruntime_library = Some(library.into());
        let message = model_error(&settings);
        assert!(message.contains("cannot load ONNX Runtime") && message.contains("make setup"), "{message}");
        println!("{message}");
        settings.onnxruntime_library = None;
        assert!(Embedder::new(&settings).embed(&["text"]).is_ok(), "a usable library is taken next time");
        return;
    }

    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    fs::write(&text, "not a library").unwrap();
    let old = compile(folder.path(), "old", OLD_RUNTIME);
    let other = compile(folder.path(), "other", "#[unsafe(no_mangle)] pub extern \"C\" fn nothing() {}");
    for (library, reason) in [(text, "text.so"), (other, "OrtGetApiBase"), (old, "1.5.0")] {
        let test = "an_unusable_library_is_an_error_and_can_be_replaced";
        let library = library.display().to_string();
        let mut again = crate::support::worker::command(module_path!(), test, LIBRARY, &library);
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(reason), "{reason} in {said}");
    }
}

/// What ONNX Runtime 1.5 would answer when it is asked for its version.
const OLD_RUNTIME: &str = r#"
#[repr(C)]
pub struct Base(extern "C" fn(u32) -> usize, extern "C" fn() -> *const u8);
extern "C" fn api(_: u32) -> usize { 0 }
extern "C" fn version() -> *const u8 { b"1.5.0\0".as_ptr() }
static BASE: Base = Base(api, version);
#[unsafe(no_mangle)]
pub extern "C" fn OrtGetApiBase() -> &'static Base { &BASE }
"#;

fn compile(folder: &Path, name: &str, source: &str) -> PathBuf {
    let (file, library) = (folder.join(format!("{name}.rs")), folder.join(format!("{name}.so")));
    fs::write(&file, source).unwrap();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let arguments =
        ["--edition=2024", "--crate-type=cdylib", "-Cpanic=abort", "-Aimproper_ctypes_definitions", "-o"];
    let status = Command::new(compiler).args(arguments).arg(&library).arg(&file).status().unwrap();
    assert!(status.success());
    library
}

/// Tells a process that it is the one that ends, and when: so many milliseconds after it began to embed, or to load.
const ENDING: &str = "OTEL_TEST_ENDING";
const LOADING: &str = "OTEL_TEST_LOADING";

fn after(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Runs in a process of its own: ends it in the middle of an inference.
#[test]
fn ending() {
    let Some(after) = after(ENDING) else { return };
    let embedder = embedder();
    embedder.embed(&["loaded"]).expect("a vector");
    end_while(after, move || {
        let texts: Vec<String> = (0..500).map(|number| format!("text number {number} of many")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let _ = embedder.embed(&texts);
    });
}

/// Runs in a process of its own: ends it while models are loaded, used and dropped.
#[test]
fn loading() {
    let Some(after) = after(LOADING) else { return };
    // While the library starts, an end may come between its destructors and the hook.
    Embedder::new(&settings()).embed(&["started"]).expect("a vector");
    end_while(after, || {
        loop {
            let _ = Embedder::new(&settings()).embed(&["loaded"]);
        }
    });
}

fn end_while(milliseconds: u64, work: impl FnOnce() + Send + 'static) {
    let (begun, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        begun.send(()).expect("heard");
        work();
    });
    hear.recv().expect("begun");
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    std::process::exit(0);
}

#[test]
fn a_process_may_end_in_the_middle_of_an_inference() {
    for after in [0, 3, 10, 30, 60, 100] {
        let child = crate::support::worker::command(module_path!(), "ending", ENDING, &after.to_string());
        crate::support::worker::run(child, std::time::Duration::from_secs(60));
    }
}

#[test]
fn a_process_may_end_while_a_model_is_loaded() {
    // Several at a time, so that they are interrupted anywhere.
    std::thread::scope(|scope| {
        for first in 0..5 {
            scope.spawn(move || {
                for after in (0..10).map(|at| first * 6 + at * 30) {
                    let child = crate::support::worker::command(
                        module_path!(),
                        "loading",
                        LOADING,
                        &after.to_string(),
                    );
                    crate::support::worker::run(child, std::time::Duration::from_secs(60));
                }
            });
        }
    });
}
