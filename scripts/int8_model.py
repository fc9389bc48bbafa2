#!/usr/bin/env python3
"""Makes .local/models/all-MiniLM-L6-v2-int8: that of `make setup`, computing with integers.

The packaged graph turns its int8 weights into floats and computes with those. This one multiplies integers (ONNX Runtime's
MatMulNBits with 8 bits; activations are rounded to int8 a row and a block of 64), and has attention, normalisation and GELU fused.
Weights, tokenizer and limit stay the same. A text's vector does not depend on what else is in its batch.

    python3 -m venv /tmp/int8
    /tmp/int8/bin/pip install numpy==2.4.6 onnx==1.23.2
    /tmp/int8/bin/python scripts/int8_model.py

Its fingerprint is another one, so a store that has embeddings already changes to it with `otel-pgvector reembed`.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODELS = Path(__file__).resolve().parent.parent / ".local/models"
SOURCE, TARGET = MODELS / "all-MiniLM-L6-v2", MODELS / "all-MiniLM-L6-v2-int8"
SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"

FUSED = "com.microsoft"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
BLOCK = 64
# Activations become int8.
ACCURACY = 4


class Graph:
    """A graph that is being written, from the weights of another one."""

    def __init__(self, source):
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}
        # Query, key, value, attention's output, intermediate, output: six of each layer, in this order.
        products = [node.input[1] for node in source.graph.node if node.op_type == "MatMul"]
        self.matrices = [name for name in products if name + "_q" in self.weights]
        assert len(self.matrices) == 6 * LAYERS
        self.nodes, self.initializers = [], []

    def node(self, operator, inputs, outputs, domain=FUSED, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def copy(self, name):
        return self.constant(name, self.weights[name])

    def table(self, name):
        """An int8 table of embeddings as floats, which ONNX Runtime computes once, when it loads the graph."""
        floats = self.node("Cast", [self.copy(name + "_q")], [name + "_f"], domain="", to=TensorProto.FLOAT)
        return self.node("Mul", [floats, self.copy(name + "_scale")], [name], domain="")

    def product(self, x, matrices, out, bias=""):
        """x times matrices side by side. Their scales are one a column, so those of a column's blocks are equal."""
        weights = np.concatenate([self.weights[name + "_q"] for name in matrices], axis=1)
        scales = np.concatenate([self.weights[name + "_scale"].reshape(-1) for name in matrices])
        rows, columns = weights.shape
        blocks = rows // BLOCK
        unsigned = (weights.astype(np.int16) + 128).astype(np.uint8).T.reshape(columns, blocks, BLOCK)
        inputs = [x, self.constant(out + ".weight", unsigned), self.constant(out + ".scale", np.repeat(scales, blocks))]
        options = {"K": rows, "N": columns, "bits": 8, "block_size": BLOCK, "accuracy_level": ACCURACY}
        return self.node("MatMulNBits", inputs + (["", "", bias] if bias else []), [out], **options)

    def normalised(self, x, residual, prefix, bias, out):
        norm = [self.copy(f"{prefix}.LayerNorm.{part}") for part in ("weight", "bias")]
        return self.node("SkipLayerNormalization", [x, residual, *norm, bias], [out], epsilon=EPSILON)

    def layer(self, number, x, out):
        query, key, value, attended, intermediate, output = self.matrices[6 * number : 6 * number + 6]
        name = f"inner.encoder.layer.{number}"
        biases = [self.weights[f"{name}.attention.self.{part}.bias"] for part in ("query", "key", "value")]
        bias = self.constant(f"{name}.qkv.bias", np.concatenate(biases))
        self.product(x, [query, key, value], f"{name}.qkv", bias)
        parts = [f"{name}.{part}" for part in "qkv"]
        self.node("Split", [f"{name}.qkv"], parts, domain="", axis=2)
        context = self.node("MultiHeadAttention", [*parts, "", "mask"], [f"{name}.context"], num_heads=HEADS)
        y = self.product(context, [attended], f"{name}.attended")
        y = self.normalised(y, x, f"{name}.attention.output", self.copy(f"{name}.attention.output.dense.bias"), f"{name}.y")
        wide = self.product(y, [intermediate], f"{name}.wide")
        wide = self.node("BiasGelu", [wide, self.copy(f"{name}.intermediate.dense.bias")], [f"{name}.gelu"])
        narrow = self.product(wide, [output], f"{name}.narrow")
        return self.normalised(narrow, y, f"{name}.output", self.copy(f"{name}.output.dense.bias"), out)

    def model(self):
        for given, name in (("input_ids", "ids"), ("token_type_ids", "types"), ("attention_mask", "mask")):
            self.node("Cast", [given], [name], domain="", to=TensorProto.INT32)
        name = "inner.embeddings"
        tables = [self.table(f"{name}.{which}_embeddings.weight") for which in ("word", "position")]
        tables.append(self.copy(f"{name}.token_type_embeddings.weight"))
        norm = [self.copy(f"{name}.LayerNorm.{part}") for part in ("weight", "bias")]
        x = self.node("EmbedLayerNormalization", ["ids", "types", *tables, *norm], ["x0", ""], epsilon=EPSILON)
        for number in range(LAYERS):
            x = self.layer(number, x, "last_hidden_state" if number == LAYERS - 1 else f"x{number + 1}")
        shape = ["texts", "tokens"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, 384])]
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", inputs, outputs, self.initializers)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=versions, ir_version=8)


def main():
    source = SOURCE / "model.onnx"
    if not source.exists():
        sys.exit(f"int8_model: no {source}: run `make setup`")
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"int8_model: {source} is not the file that `make setup` fetches")
    TARGET.mkdir(exist_ok=True)
    shutil.copyfile(SOURCE / "tokenizer.json", TARGET / "tokenizer.json")
    onnx.save(Graph(onnx.load_from_string(content)).model(), TARGET / "model.onnx")
    print(TARGET)


if __name__ == "__main__":
    main()
