//! Models other than the packaged one: any BERT-like folder will do, and one that will not says why.

use std::fs;
use std::path::Path;

use crate::support::tiny_model::Tiny;
use opentelemetry_pgvector::embedding::Embedder;
use opentelemetry_pgvector::{Error, Settings};

/// A tiny model in a folder that is gone with the returned one.
fn embedder(tiny: Tiny, change: impl FnOnce(&Path)) -> (tempfile::TempDir, Embedder) {
    let folder = tempfile::tempdir().expect("a folder");
    tiny.write(folder.path());
    change(folder.path());
    let embedder = Embedder::new(&tiny.settings(folder.path(), &Settings::default()));
    (folder, embedder)
}

/// Each text by itself: the pooling of a tiny graph knows no padding.
fn cosine(embedder: &Embedder, left: &str, right: &str) -> f32 {
    let [left, right] = [left, right].map(|text| embedder.embed(&[text]).expect("a vector").remove(0));
    left.iter().zip(&*right).map(|(left, right)| left * right).sum()
}

fn message(tiny: Tiny, change: impl FnOnce(&Path)) -> String {
    match embedder(tiny, change).1.load() {
        Err(Error::Model(message)) => message,
        other => panic!("expected Error::Model, got {other:?}"),
    }
}

fn write(name: &'static str, text: &'static str) -> impl FnOnce(&Path) {
    move |folder| {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }
}

#[test]
fn any_inputs_outputs_and_dimensions_of_a_bert_like_model_will_do() {
    let cases: [(&'static [&'static str], _, _); 5] = [
        (&["input_ids"], ("last_hidden_state", 3), 128),
        (&["input_ids", "attention_mask"], ("token_embeddings", 3), 256),
        (&["input_ids", "attention_mask", "token_type_ids"], ("hidden", 3), 1024),
        (&["input_ids", "attention_mask"], ("sentence_embedding", 2), 768),
        (&["input_ids"], ("pooled", 2), 512),
    ];
    for (inputs, output, dimension) in cases {
        let (_folder, embedder) = embedder(Tiny { inputs, output, ..Tiny::new(dimension, 1) }, |_| {});
        let vectors = embedder.embed(&["a short text", "", "a longer text of several words"]);
        let vectors = vectors.unwrap_or_else(|error| panic!("{output:?}: {error}"));
        assert!(vectors.iter().all(|vector| vector.len() as i64 == dimension));
        let near = cosine(&embedder, "payment declined by the bank", "payment declined");
        let far = cosine(&embedder, "payment declined by the bank", "rows deleted");
        assert!(near > far + 0.2, "{output:?}: {near} and {far}");
    }
}

#[test]
fn pooling_and_limit_are_what_the_folder_says() {
    let tiny = Tiny::new(128, 1);
    let (_mean, mean) = embedder(tiny, |_| {});
    let first = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    let (_first, first) = embedder(tiny, write("1_Pooling/config.json", first));
    assert!(cosine(&mean, "payment declined", "rows deleted") < 0.9);
    assert!(cosine(&first, "payment declined", "rows deleted") > 0.999, "the first token is [CLS]");

    let (_short, short) = embedder(tiny, write("sentence_bert_config.json", r#"{"max_seq_length": 8}"#));
    let (text, longer) = ("one two three four five six", "one two three four five six seven eight");
    assert!(cosine(&short, text, longer) > 0.999);
    assert!(cosine(&mean, text, longer) < 0.99);
}

#[test]
fn a_model_is_the_same_wherever_it_lies_and_another_with_other_vectors() {
    let print = |tiny: Tiny, change: &dyn Fn(&Path)| {
        embedder(tiny, |folder| change(folder)).1.fingerprint().expect("a fingerprint")
    };
    let tiny = Tiny::new(128, 1);
    let same = print(tiny, &|_| {});
    assert_eq!(same, print(tiny, &|folder| write("README.md", "a note")(folder)));
    assert_ne!(same, print(Tiny::new(128, 2), &|_| {}));
    assert_ne!(same, print(Tiny::new(256, 1), &|_| {}));
    assert_ne!(
        same,
        print(tiny, &|folder| write("1_Pooling/config.json", r#"{"pooling_mode": "cls"}"#)(folder))
    );
    assert_ne!(
        same,
        print(tiny, &|folder| write("sentence_bert_config.json", r#"{"max_seq_length": 64}"#)(folder))
    );
}

#[test]
fn a_folder_that_will_not_do_says_what_is_wrong_with_it() {
    let tiny = Tiny::new(128, 1);
    let said = message(Tiny { inputs: &["input_ids", "pixel_values"], ..tiny }, |_| {});
    assert!(said.contains("pixel_values") && said.contains("model.onnx"), "{said}");
    let said = message(Tiny { inputs: &["attention_mask"], ..tiny }, |_| {});
    assert!(said.contains("no input input_ids"), "{said}");
    let said = message(tiny, write("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#));
    assert!(said.contains("1_Pooling/config.json") && said.contains("max_tokens"), "{said}");
    let dense = r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#;
    let said = message(tiny, write("modules.json", dense));
    assert!(said.contains("modules.json") && said.contains("sentence_embedding"), "{said}");
    let said = message(tiny, |folder| fs::remove_file(folder.join("model.onnx")).expect("removed"));
    assert!(said.contains("model.onnx") && said.contains("make setup"), "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    tiny.write(folder.path());
    let mut settings = tiny.settings(folder.path(), &Settings::default());
    settings.embedding_dimension = 256;
    let said = Embedder::new(&settings).load().expect_err("refused").to_string();
    assert!(
        said.contains("embedding_dimension is 256") && said.contains("set embedding_dimension: 128"),
        "{said}"
    );
}
