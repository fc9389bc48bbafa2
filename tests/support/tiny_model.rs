//! Models of half a megabyte: each token has a random vector. Texts that share words are close, which is all that tests
//! need, and it is the real way through tokenizer, ONNX Runtime and pooling.

use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry_pgvector::Settings;
use prost::Message;

/// Token ids are taken modulo this.
const TOKENS: i64 = 997;

/// What a tiny model is to be like.
#[derive(Clone, Copy, PartialEq)]
pub struct Tiny {
    pub dimension: i64,
    /// Models with different seeds are different models.
    pub seed: u64,
    /// The names of the graph's inputs; the first is read.
    pub inputs: &'static [&'static str],
    /// The output's name, and how many dimensions it is declared with.
    pub output: (&'static str, usize),
}

impl Tiny {
    pub const fn new(dimension: i64, seed: u64) -> Self {
        let inputs = &["input_ids", "attention_mask", "token_type_ids"];
        Tiny { dimension, seed, inputs, output: ("last_hidden_state", 3) }
    }

    /// Writes the model's folder.
    pub fn write(self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join("model.onnx"), self.graph().encode_to_vec()).expect("a graph");
        fs::copy(minilm().join("tokenizer.json"), folder.join("tokenizer.json")).expect("a tokenizer");
    }

    /// Row `input_ids` modulo [`TOKENS`] of a table; a graph that pools takes the mean of the tokens.
    fn graph(self) -> ModelProto {
        let mut random = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let table: Vec<u8> = (0..TOKENS * self.dimension)
            .flat_map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                ((random as i32 as f32) / i32::MAX as f32).to_le_bytes()
            })
            .collect();
        let mut nodes = vec![node("Mod", &[self.inputs[0], "tokens"], "row")];
        let mut output = vec!["texts", "width", "dimension"];
        if self.output.1 == 2 {
            nodes.push(node("Gather", &["table", "row"], "states"));
            let mut mean = node("ReduceMean", &["states"], self.output.0);
            let ints = |name: &str, ints: Vec<i64>| Attribute { name: name.into(), ints, int: None, kind: 7 };
            mean.attributes.push(ints("axes", vec![1]));
            mean.attributes.push(Attribute { int: Some(0), kind: 2, ..ints("keepdims", Vec::new()) });
            nodes.push(mean);
            output.remove(1);
        } else {
            nodes.push(node("Gather", &["table", "row"], self.output.0));
        }
        ModelProto {
            ir_version: 8,
            graph: Some(Graph {
                nodes,
                name: "tiny".into(),
                initializers: vec![
                    tensor("table", &[TOKENS, self.dimension], 1, table),
                    tensor("tokens", &[], 7, TOKENS.to_le_bytes().to_vec()),
                ],
                inputs: self.inputs.iter().map(|name| value(name, 7, &["texts", "width"])).collect(),
                outputs: vec![value(self.output.0, 1, &output)],
            }),
            opsets: vec![Opset { domain: String::new(), version: 13 }],
        }
    }
}

impl Tiny {
    /// The same settings with this model in a folder.
    pub fn settings(self, folder: &Path, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.embedding_model = folder.to_str().expect("UTF-8").to_owned();
        settings.embedding_dimension = self.dimension.try_into().expect("a dimension");
        settings
    }
}

/// The folder of the model that `make setup` fetches.
pub fn minilm() -> PathBuf {
    let name = std::env::var("OTEL_STORAGE_EMBEDDING_MODEL").unwrap_or_else(|_| "all-MiniLM-L6-v2".into());
    let places =
        [PathBuf::from(&name), Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/models").join(&name)];
    places.into_iter().find(|folder| folder.is_dir()).expect("run `make setup`")
}

fn node(kind: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        inputs: inputs.iter().map(|&name| name.into()).collect(),
        outputs: vec![output.into()],
        kind: kind.into(),
        attributes: Vec::new(),
    }
}

fn tensor(name: &str, dims: &[i64], kind: i32, raw: Vec<u8>) -> Tensor {
    Tensor { dims: dims.to_vec(), kind, name: name.into(), raw }
}

fn value(name: &str, kind: i32, dims: &[&str]) -> Value {
    let dims = dims.iter().map(|&name| Dim { name: name.into() }).collect();
    let tensor = TensorType { kind, shape: Some(Shape { dims }) };
    Value { name: name.into(), of: Some(Type { tensor: Some(tensor) }) }
}

// The part of onnx.proto that is needed.

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opsets: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    int: Option<i64>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    of: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(string, tag = "2")]
    name: String,
}
