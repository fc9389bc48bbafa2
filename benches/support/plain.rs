//! A model run by ONNX Runtime alone, as one would who has only read its first example.

use std::path::PathBuf;

use ort::session::Session;
use ort::value::TensorRef;
use tokenizers::{Tokenizer, TruncationParams};

/// Texts in a batch, in the order in which they come, padded to the longest.
const BATCH: usize = 32;
/// all-MiniLM-L6-v2's limit, which the crate's embedder has as well.
const LIMIT: usize = 256;

/// A session with the options that ONNX Runtime has by itself, but for one thread.
pub struct Plain {
    tokenizer: Tokenizer,
    session: Session,
}

impl Plain {
    /// The model in a folder; `OTEL_BENCH_PLAIN_GRAPH` names another graph for it, such as that of the fp32 original.
    pub fn load(folder: &str) -> Plain {
        let folder = PathBuf::from(folder);
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).expect("a tokenizer");
        let truncation = TruncationParams { max_length: LIMIT, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).expect("a limit");
        let graph = std::env::var_os("OTEL_BENCH_PLAIN_GRAPH").map(PathBuf::from);
        let session = environment()
            .and_then(|environment| Session::builder(&environment))
            .and_then(|builder| Ok(builder.with_intra_threads(1)?))
            .and_then(|mut builder| builder.commit_from_file(graph.unwrap_or(folder.join("model.onnx"))))
            .expect("the graph loads");
        Plain { tokenizer, session }
    }

    /// The ids of each text, special tokens included.
    pub fn tokens(&self, texts: &[String]) -> Vec<Vec<i64>> {
        let ids = |text: &String| {
            let encoding = self.tokenizer.encode_fast(text.as_str(), true).expect("tokens");
            encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
        };
        texts.iter().map(ids).collect()
    }

    /// One unit vector a text.
    pub fn embed(&mut self, texts: &[String]) -> Vec<Vec<f32>> {
        texts.chunks(BATCH).flat_map(|batch| self.batch(&self.tokens(batch))).collect()
    }

    fn batch(&mut self, rows: &[Vec<i64>]) -> Vec<Vec<f32>> {
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |of: fn(Option<&i64>) -> i64| -> Vec<i64> {
            rows.iter().flat_map(|row| (0..width).map(move |at| of(row.get(at)))).collect()
        };
        let (ids, mask) = (cells(|id| id.copied().unwrap_or(0)), cells(|id| id.is_some().into()));
        let types = vec![0_i64; ids.len()];
        let tensor = |cells| TensorRef::from_array_view(([rows.len(), width], cells)).expect("a tensor");
        let inputs = ort::inputs! {
            "input_ids" => tensor(ids.as_slice()),
            "attention_mask" => tensor(mask.as_slice()),
            "token_type_ids" => tensor(types.as_slice()),
        };
        let outputs = self.session.run(inputs).expect("the graph runs");
        let (_, numbers) = outputs[0].try_extract_tensor::<f32>().expect("numbers");
        let dimension = numbers.len() / (rows.len() * width);
        rows.iter()
            .zip(numbers.chunks_exact(width * dimension))
            .map(|(row, output)| mean(&output[..row.len() * dimension], dimension))
            .collect()
    }
}

fn environment() -> ort::Result<ort::environment::Environment> {
    #[cfg(feature = "load-dynamic")]
    let builder = {
        let library =
            std::env::var("ORT_DYLIB_PATH").unwrap_or(".local/onnxruntime/libonnxruntime.so".into());
        ort::init_from(std::path::absolute(library).expect("a path")).expect("ONNX Runtime loads")
    };
    #[cfg(not(feature = "load-dynamic"))]
    let builder = ort::init();
    builder.build()
}

/// The direction of the mean of all tokens.
fn mean(output: &[f32], dimension: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimension];
    for token in output.chunks_exact(dimension) {
        sum.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
    }
    let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    sum.iter().map(|number| number / length).collect()
}
