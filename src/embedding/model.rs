//! The sentence-transformer itself: batches of texts in, unit vectors out.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::session::{Session, SessionInputValue};
use ort::value::{TensorElementType, TensorRef};

use super::buckets::buckets;
use super::exit;
use super::fingerprint;
use super::locate::{self, TOKENIZER};
use super::pooling::Pooling;
use super::runtime::{self, Runtime};
use super::tokens::{OfWords, Tokens};
use super::trim;
use crate::{Error, Result};

/// A loaded model with its tokenizer.
pub(super) struct Model {
    tokens: Tokens,
    // ONNX Runtime is called by one thread at a time: `ort` demands `&mut`, and the threads are a setting.
    session: Mutex<ManuallyDrop<Session>>,
    inputs: Vec<Input>,
    output: String,
    pooling: Pooling,
    dimension: usize,
    fingerprint: String,
}

/// One input of the graph: its name, and what it wants to know of each token.
struct Input {
    name: String,
    of_token: fn(Token) -> i64,
}

/// A token in a padded batch; `None` is padding.
#[derive(Clone, Copy)]
struct Token {
    id: Option<u32>,
    padding: u32,
}

impl Model {
    /// Loads the model in `folder` for inference on `threads` threads, and tries it out on an empty text.
    ///
    /// `expected` is the dimension that the database's column has.
    ///
    /// # Errors
    /// [`Error::Model`] when ONNX Runtime, the graph or the tokenizer cannot be loaded, when the graph is not a
    /// sentence-transformer's, or when its vectors do not have the expected dimension.
    pub(super) fn load(folder: &Path, runtime: &Runtime, threads: usize, expected: usize) -> Result<Self> {
        let tokens = Tokens::load(folder)?;
        let graph = locate::graph(folder)
            .ok_or_else(|| Error::Model(format!("no model.onnx in {}", folder.display())))?;
        let loading = exit::Loading::begin();
        let session = runtime::open(&graph, runtime, threads)?;
        let inputs = inputs(&session, &graph)?;
        let (output, pooling) = output(&session, folder, &graph)?;
        let reading = format!("{pooling:?} of {output}, {} tokens;", tokens.limit());
        let fingerprint = fingerprint::of(&folder.join(TOKENIZER), &graph, &reading)?;
        let session = Mutex::new(ManuallyDrop::new(session));
        let mut model = Self { tokens, session, inputs, output, pooling, dimension: 0, fingerprint };
        // The graph may declare its dimensions as unknown: an embedding does not.
        model.dimension = model.run(&[&model.tokens.ids("")?])?.first().map_or(0, Vec::len);
        if model.dimension != expected {
            return Err(Error::Model(format!(
                "embedding_dimension is {expected}, but the vectors of the model in {} have {} dimensions: set \
                 embedding_dimension: {1}",
                folder.display(),
                model.dimension
            )));
        }
        loading.done();
        trim::give_back();
        Ok(model)
    }

    /// What the model's vectors depend on, hashed.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Embeds texts bucket by bucket, short ones first, and calls `each` with a text's index and its vector.
    ///
    /// A vector has the model's dimension, length 1, and only finite numbers. `proceed` is asked before each bucket;
    /// when it says no, the texts that are left are not embedded.
    ///
    /// # Errors
    /// [`Error::Model`] when ONNX Runtime fails. What `each` was called with until then is valid.
    pub(super) fn embed_each(
        &self,
        texts: &[&str],
        mut proceed: impl FnMut() -> bool,
        mut each: impl FnMut(usize, Vec<f32>),
    ) -> Result<()> {
        let ids = texts.iter().map(|text| self.tokens.ids(text)).collect::<Result<Vec<_>>>()?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| ids[index].len());
        let lengths: Vec<usize> = order.iter().map(|&index| ids[index].len()).collect();
        let mut rest = order.as_slice();
        for count in buckets(&lengths) {
            if !proceed() {
                break;
            }
            let (bucket, later) = rest.split_at(count);
            let rows: Vec<&[u32]> = bucket.iter().map(|&index| ids[index].as_slice()).collect();
            for (&index, vector) in bucket.iter().zip(self.run(&rows)?) {
                each(index, vector);
            }
            rest = later;
        }
        Ok(())
    }

    /// Embeds a text, and each of its words in the context of the others: one run of the graph.
    ///
    /// All vectors have the model's dimension and length 1. A word's vector is the mean of its tokens'; a graph that gives
    /// no tokens' vectors is run on each word alone.
    ///
    /// # Errors
    /// [`Error::Model`] when ONNX Runtime fails.
    pub(super) fn embed_in_context(&self, text: &str) -> Result<(Vec<f32>, OfWords<Vec<f32>>)> {
        let (ids, words) = self.tokens.words(text)?;
        let mut vectors = Vec::with_capacity(words.len());
        let run = self.run_each(&[&ids], |row, output, dimension| {
            if self.pooling != Pooling::Done {
                for (_, places) in &words {
                    let tokens = &output[places.start * dimension..places.end * dimension];
                    vectors.push(unit(pool(Pooling::Mean, tokens, places.len(), dimension))?);
                }
            }
            unit(pool(self.pooling, output, row.len(), dimension))
        })?;
        let words = words.into_iter().map(|(word, _)| word);
        let words: OfWords<Vec<f32>> = if self.pooling == Pooling::Done {
            let alone = |word: String| {
                let vector = self.run(&[&self.tokens.ids(&word)?])?.pop().unwrap_or_default();
                Ok((word, vector))
            };
            words.map(alone).collect::<Result<_>>()?
        } else {
            words.zip(vectors).collect()
        };
        Ok((run.into_iter().next().unwrap_or_default(), words))
    }

    /// Runs the graph on one bucket: one unit vector per row of token ids, in the same order.
    fn run(&self, rows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        self.run_each(rows, |row, output, dimension| unit(pool(self.pooling, output, row.len(), dimension)))
    }

    /// Runs the graph on one bucket, and calls `each` with each row, the graph's output for it, and the dimension.
    fn run_each<T>(
        &self,
        rows: &[&[u32]],
        mut each: impl FnMut(&[u32], &[f32], usize) -> Result<T>,
    ) -> Result<Vec<T>> {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let padding = self.tokens.padding();
        let columns: Vec<Vec<i64>> = self
            .inputs
            .iter()
            .map(|input| {
                let cells = rows.iter().flat_map(|row| (0..width).map(|at| row.get(at).copied()));
                cells.map(|id| (input.of_token)(Token { id, padding })).collect()
            })
            .collect();

        let fault = |error: ort::Error| Error::Model(format!("ONNX Runtime cannot embed: {error}"));
        let _exit_waits = exit::enter_library();
        let mut values: Vec<(&str, SessionInputValue)> = Vec::with_capacity(columns.len());
        for (input, column) in self.inputs.iter().zip(&columns) {
            let tensor =
                TensorRef::from_array_view(([rows.len(), width], column.as_slice())).map_err(fault)?;
            values.push((&input.name, tensor.into()));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(values).map_err(fault)?;
        let output = outputs
            .get(&self.output)
            .ok_or_else(|| Error::Model(format!("the graph did not produce its output {}", self.output)))?;
        let (shape, numbers) = output.try_extract_tensor::<f32>().map_err(fault)?;
        let dimension = shape.last().and_then(|&size| usize::try_from(size).ok()).unwrap_or(0);
        let vectors_per_row = if self.pooling == Pooling::Done { 1 } else { width };
        if dimension == 0 || numbers.len() != rows.len() * vectors_per_row * dimension {
            return Err(Error::Model(format!("the graph's output {} has shape {shape}", self.output)));
        }
        let outputs = numbers.chunks_exact(vectors_per_row * dimension);
        rows.iter().zip(outputs).map(|(row, output)| each(row, output, dimension)).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _exit_waits = exit::enter_library();
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: it is dropped once, here, and nobody has it any more.
        unsafe { ManuallyDrop::drop(session) };
    }
}

/// One text's vector from the graph's output for its row, of which the first `length` tokens are not padding.
fn pool(pooling: Pooling, output: &[f32], length: usize, dimension: usize) -> Vec<f32> {
    let tokens = if pooling == Pooling::Mean { length } else { 1 };
    let mut sum = vec![0.0; dimension];
    for token in output.chunks_exact(dimension).take(tokens) {
        for (sum, number) in sum.iter_mut().zip(token) {
            *sum += number;
        }
    }
    sum // the mean but for its length, which `unit` sets
}

fn unit(mut vector: Vec<f32>) -> Result<Vec<f32>> {
    let length = vector.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return Err(Error::Model("the model returned a vector without a direction".into()));
    }
    for number in &mut vector {
        *number = (f64::from(*number) / length) as f32;
    }
    Ok(vector)
}

fn inputs(session: &Session, graph: &Path) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        let of_token: fn(Token) -> i64 = match input.name() {
            "input_ids" => |token| i64::from(token.id.unwrap_or(token.padding)),
            "attention_mask" => |token| i64::from(token.id.is_some()),
            "token_type_ids" => |_| 0,
            other => {
                return Err(Error::Model(format!(
                    "the graph {} wants the input {other}, but a BERT-like model takes input_ids, attention_mask and \
                     token_type_ids",
                    graph.display()
                )));
            }
        };
        if input.dtype().tensor_type() != Some(TensorElementType::Int64) {
            return Err(Error::Model(format!(
                "the graph {} wants the input {} as {}, but a BERT-like model takes 64-bit integers",
                graph.display(),
                input.name(),
                input.dtype()
            )));
        }
        inputs.push(Input { name: input.name().to_owned(), of_token });
    }
    if !inputs.iter().any(|input| input.name == "input_ids") {
        return Err(Error::Model(format!(
            "the graph {} has no input input_ids, so it does not read texts as a BERT-like model does",
            graph.display()
        )));
    }
    Ok(inputs)
}

/// The graph's output to read, and how to pool it.
fn output(session: &Session, folder: &Path, graph: &Path) -> Result<(String, Pooling)> {
    let outputs: Vec<(&str, usize)> = session
        .outputs()
        .iter()
        .filter_map(|outlet| outlet.dtype().tensor_shape().map(|shape| (outlet.name(), shape.len())))
        .collect();
    let find = |wanted: &dyn Fn(&str) -> bool, rank: usize| {
        let mut found = outputs.iter().filter(|(name, of)| *of == rank && wanted(name));
        found.next().map(|(name, _)| (*name).to_owned())
    };
    if let Some(name) = find(&|name| name == "sentence_embedding", 2) {
        return Ok((name, Pooling::Done));
    }
    // `pooler_output`, which BERT has beside it, was trained for another purpose.
    let states = ["last_hidden_state", "token_embeddings"].map(|wanted| find(&|name| name == wanted, 3));
    if let Some(name) = states.into_iter().flatten().next().or_else(|| find(&|_| true, 3)) {
        return Ok((name, Pooling::of(folder)?));
    }
    find(&|_| true, 2).map(|name| (name, Pooling::Done)).ok_or_else(|| {
        let names: Vec<&str> = session.outputs().iter().map(|outlet| outlet.name()).collect();
        Error::Model(format!(
            "the graph {} has the outputs {}: none is of texts × dimension (such as sentence_embedding) or of texts × \
             tokens × dimension (such as last_hidden_state)",
            graph.display(),
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_leaves_padding_out() {
        let output = [1.0, 0.0, 3.0, 2.0, 99.0, 99.0];
        assert_eq!(pool(Pooling::Mean, &output, 2, 2), [4.0, 2.0]);
        assert_eq!(pool(Pooling::First, &output, 2, 2), [1.0, 0.0]);
        assert_eq!(pool(Pooling::Done, &output[..2], 2, 2), [1.0, 0.0]);
    }

    #[test]
    fn a_vector_is_normalised_or_refused() {
        assert_eq!(unit(vec![3.0, 4.0]).unwrap(), [0.6, 0.8]);
        assert_eq!(unit(vec![f32::MAX, 0.0]).unwrap(), [1.0, 0.0]);
        for numbers in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert!(unit(numbers.to_vec()).is_err());
        }
    }
}
