"""
BERT and its relatives as a graph for onnxruntime, which embeds fastest on a CPU.

The graph is written here operation by operation, so that it holds just those that measured fastest,
and is made in memory from the weights at each load: no file can be stale, half written or broken.
Attention is one operation; sums and norms are left apart, which is faster than their fused form.
In 8 bits a linear layer has a scale for each output, and finds that of its inputs at each call.

Shape letters: B batch, T tokens, D hidden, I inputs, O outputs.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from lab.pipelines.building import BUILDING
from lab.pipelines.need import MemoryNeed
from lab.protocols import FloatArray

FAMILY: Final = frozenset({"bert", "camembert", "roberta", "xlm-roberta"})
ACTIVATIONS: Final = {"gelu": "Gelu", "relu": "Relu"}
FUSED: Final = "com.microsoft"
"""Where onnxruntime's own operations are."""
GIVEN_BYTES: Final = 1024
"""
Weights from this size on are inputs of the graph, read where they lie: of its own weights the
session keeps copies beside those it computes with, and a graph may have no more than 2 GiB.
"""
LARGE_BATCH: Final = 2048
"""Tokens from which a batch's memory is given back after it; the time for that is not seen."""


def unfit(config: PretrainedConfig) -> str | None:
    """Return why a model cannot run so, in words; None where it can."""
    if config.model_type not in FAMILY:
        known = ", ".join(sorted(FAMILY))
        return f"it is of the architecture `{config.model_type}`, and onnxruntime runs {known} here"
    if config.hidden_act not in ACTIVATIONS:
        return (
            f"its activation is `{config.hidden_act}`, and {' or '.join(ACTIVATIONS)} is expected"
        )
    if config.is_decoder or getattr(config, "position_embedding_type", "absolute") != "absolute":
        return "it is a decoder, or has no absolute positions"
    return None


def bert_need(config: PretrainedConfig, *, int8: bool, n_texts: int, n_tokens: int) -> MemoryNeed:
    """
    Return what a model needs to embed a batch in onnxruntime.

    Parameters
    ----------
    config : PretrainedConfig
        Of a model that is not `unfit`.
    int8 : bool
        Whether its linear layers are in 8 bits.
    n_texts, n_tokens : int
        Texts of a batch, and tokens of each.
    """
    with BUILDING, torch.device("meta"):
        network = AutoModel.from_config(config, dtype=torch.float32)
    hidden = 4 * n_texts * n_tokens * config.hidden_size
    scores = 4 * n_texts * n_tokens * n_tokens * (config.num_attention_heads + 1)  # with the mask
    # Alive at once: input, queries, keys and values, the same by head, and output; or the input
    # with what goes into an activation and comes out of it.
    attention = 8 * hidden + scores
    feed_forward = hidden + 2 * 4 * n_texts * n_tokens * config.intermediate_size
    return MemoryNeed(_weight_bytes(network, int8=int8), 0, max(attention, feed_forward))


def _weight_bytes(network: Any, *, int8: bool) -> int:
    parts = (network.embeddings, network.encoder)  # the pooler is not used
    plain = sum(p.numel() * 4 for part in parts for p in part.parameters())
    linears = [m for m in network.encoder.modules() if isinstance(m, nn.Linear)] if int8 else []
    return plain - sum(3 * m.weight.numel() - 5 * m.out_features for m in linears)


class OnnxBert(nn.Module):
    """
    What the encoder of BERT computes, by onnxruntime on the CPU.

    All weights are copied, so the network may go afterwards.

    Parameters
    ----------
    network : PreTrainedModel
        One that is not `unfit`, in float32 on the CPU.
    int8 : bool
        Whether linear layers compute in 8 bits.
    threads : int
        Threads for one operation.
    """

    def __init__(self, network: PreTrainedModel, *, int8: bool, threads: int) -> None:
        super().__init__()
        self.config = network.config
        padding = 0 if self.config.model_type == "bert" else self.config.pad_token_id + 1
        self._first_position = padding
        graph = _Graph()
        self._session = graph.session(_bert(graph, network, int8=int8), threads=threads)
        self._weights = graph.given
        self.n_bytes = graph.n_bytes

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
        """Return the last hidden states, of shape (B, T, D), of ids and a mask of shape (B, T)."""
        n_tokens = input_ids.shape[1]
        last = self._first_position + n_tokens
        options = onnxruntime.RunOptions()
        if input_ids.numel() >= LARGE_BATCH:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        given = {
            "input_ids": input_ids.numpy(),
            "position_ids": np.arange(self._first_position, last)[None],
            "mask": attention_mask.numpy().astype(np.int32),
        }
        values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(a) for n, a in given.items()}
        (hidden,) = self._session.run_with_ort_values(None, self._weights | values, options)
        return BaseModelOutput(last_hidden_state=torch.from_numpy(hidden.numpy()))


class _Graph:
    """Operations and weights, as they are added."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("position_ids", TensorProto.INT64, [1, "T"]),
            helper.make_tensor_value_info("mask", TensorProto.INT32, ["B", "T"]),
        ]
        self.given: dict[str, onnxruntime.OrtValue] = {}
        self.n_bytes = 0

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation with one output, and return its name."""
        return self.split(kind, *inputs, n_outputs=1, domain=domain, **attributes)[0]

    def split(
        self, kind: str, *inputs: str, n_outputs: int, domain: str = "", **attributes: Any
    ) -> Sequence[str]:
        """Add an operation with some outputs, and return their names."""
        outputs = [f"{kind}_{len(self._nodes)}_{i}" for i in range(n_outputs)]
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs

    def weight(self, values: Tensor | NDArray[Any]) -> str:
        """Add weights of any shape, and return their name."""
        found = values.detach().numpy() if isinstance(values, Tensor) else values
        array = np.array(found, order="C")  # a copy: of the file's memory nothing may stay
        name = f"weight_{len(self._weights) + len(self.given)}"
        self.n_bytes += array.nbytes
        if array.nbytes < GIVEN_BYTES:
            self._weights.append(numpy_helper.from_array(array, name))
            return name
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
        self.given[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        return name

    def session(self, output: str, *, threads: int) -> onnxruntime.InferenceSession:
        """Return what runs the graph."""
        self._nodes.append(helper.make_node("Identity", [output], ["hidden"]))
        hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["B", "T", "D"])
        graph = helper.make_graph(self._nodes, "bert", self._inputs, [hidden], self._weights)
        versions = [helper.make_opsetid("", 20), helper.make_opsetid(FUSED, 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        return onnxruntime.InferenceSession(
            model.SerializeToString(), self._options(threads), providers=["CPUExecutionProvider"]
        )

    def _options(self, threads: int) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Other models run on the same cores: no thread may wait by turning round.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.enable_mem_pattern = False  # lengths differ
        options.enable_mem_reuse = False  # which keeps what is not used until the end
        return options


@cache
def _share_arena() -> None:
    """Have all sessions of the process take as much memory as they need, and no power of two."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    as_requested = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(place, as_requested)


def _bert(graph: _Graph, network: Any, *, int8: bool) -> str:
    """Add an encoder; return its last hidden states."""
    tables = network.embeddings
    words = graph.add("Gather", graph.weight(tables.word_embeddings.weight), "input_ids")
    types = graph.weight(tables.token_type_embeddings.weight[0])  # all of the first type
    positions = graph.weight(tables.position_embeddings.weight)
    places = graph.add("Add", graph.add("Gather", positions, "position_ids"), types)
    hidden = _norm(graph, graph.add("Add", words, places), tables.LayerNorm)
    for layer in network.encoder.layer:
        mixed = _attention(graph, hidden, layer.attention.self, network.config, int8=int8)
        mixed = _linear(graph, mixed, [layer.attention.output.dense], int8=int8)
        hidden = _norm(graph, graph.add("Add", mixed, hidden), layer.attention.output.LayerNorm)
        wide = _linear(graph, hidden, [layer.intermediate.dense], int8=int8)
        wide = graph.add(ACTIVATIONS[network.config.hidden_act], wide)
        narrow = _linear(graph, wide, [layer.output.dense], int8=int8)
        hidden = _norm(graph, graph.add("Add", narrow, hidden), layer.output.LayerNorm)
    return hidden


def _attention(
    graph: _Graph, hidden: str, layer: Any, config: PretrainedConfig, *, int8: bool
) -> str:
    """Add the attention of a layer, its last linear layer left out."""
    together = _linear(graph, hidden, [layer.query, layer.key, layer.value], int8=int8)
    parts = graph.split("Split", together, n_outputs=3, axis=2, num_outputs=3)
    heads = config.num_attention_heads
    return graph.add("MultiHeadAttention", *parts, "", "mask", domain=FUSED, num_heads=heads)


def _linear(graph: _Graph, hidden: str, layers: Sequence[Any], *, int8: bool) -> str:
    """Add linear layers of the same inputs, their outputs side by side."""
    weights = torch.cat([layer.weight.detach() for layer in layers])  # (O, I)
    bias = graph.weight(torch.cat([layer.bias.detach() for layer in layers]))
    if not int8:
        return graph.add("Add", graph.add("MatMul", hidden, graph.weight(weights.T)), bias)
    whole, scales = rounded(weights.numpy())
    zeros = graph.weight(np.zeros(len(scales), np.int8))
    given = graph.weight(whole.T), graph.weight(scales), zeros, bias
    return graph.add("DynamicQuantizeMatMul", hidden, *given, domain=FUSED)


def _norm(graph: _Graph, hidden: str, layer: Any) -> str:
    given = graph.weight(layer.weight), graph.weight(layer.bias)
    return graph.add("LayerNormalization", hidden, *given, axis=-1, epsilon=layer.eps)


def rounded(weights: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """
    Return (O, I) weights in 8 bits, and the O scales by which they are multiplied.

    >>> rounded(np.array([[1.0, -2.0], [0.0, 0.0]], np.float32))
    (array([[  64, -127],
           [   0,    0]], dtype=int8), array([0.01574803, 0.        ], dtype=float32))
    """
    scales: FloatArray = np.abs(weights).max(axis=1) / 127
    divisors = np.where(scales > 0, scales, 1)
    return np.round(weights / divisors[:, None]).astype(np.int8), scales
