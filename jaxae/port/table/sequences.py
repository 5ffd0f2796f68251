"""Rows of the table: layers of sequences, which are embeddings, attention and recurrent cells."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import numpy as np
from flax import nnx

from jaxae.port.row import Layer, Row, Setting

_ATTENTION = (
    Setting("heads", attrgetter("num_heads"), attrgetter("num_heads")),
    Setting("dropout", lambda layer: float(layer.dropout_rate), attrgetter("dropout"), 0.0),
)
_ATTENTION_OUT = (
    Row("in_proj_bias", ("query.bias", "key.bias", "value.bias"), "(parts heads dim) -> parts heads dim"),
    Row("out_proj.weight", "out.kernel", "outputs (heads dim) -> heads dim outputs"),
    Row("out_proj.bias", "out.bias", "outputs -> outputs"),
)
_QKV = ("query.kernel", "key.kernel", "value.kernel")
_SELF_ATTENTION = (Row("in_proj_weight", _QKV, "(parts heads dim) inputs -> parts inputs heads dim"), *_ATTENTION_OUT)
_CROSS_ATTENTION = (
    *(Row(f"{name[0]}_proj_weight", name, "(heads dim) inputs -> inputs heads dim") for name in _QKV),
    *_ATTENTION_OUT,
)

# torch's gates are input, forget, cell, output (LSTM) and reset, update, new (GRU); so are Flax's.
_BIASES = ("bias_ih", "bias_hh")
_GATES = "(parts outputs) inputs -> parts inputs outputs"
_LSTM = (
    Row("weight_ih", ("ii.kernel", "if_.kernel", "ig.kernel", "io.kernel"), _GATES),
    Row("weight_hh", ("hi.kernel", "hf.kernel", "hg.kernel", "ho.kernel"), _GATES),
    Row(_BIASES, ("hi.bias", "hf.bias", "hg.bias", "ho.bias"), "(parts outputs) -> parts outputs"),
)
_DENSE = (
    Row("weight_ih", "dense_i.kernel", "outputs inputs -> inputs outputs"),
    Row("weight_hh", "dense_h.kernel", "outputs inputs -> inputs outputs"),
)
_OPTIMIZED_LSTM = (*_DENSE, Row(_BIASES, "dense_h.bias", "outputs -> outputs"))
_GRU = (*_DENSE, Row(_BIASES, "dense_i.bias", "outputs -> outputs"))


def _refuse_torch_embedding(torch: Any) -> str | None:
    return None if torch.max_norm is None else "max_norm rescales rows in the forward pass; nnx.Embed does not"


def _note_torch_embedding(torch: Any) -> str | None:
    row = torch.padding_idx
    return None if row is None else f"torch never trains row {row} (padding_idx); nnx.Embed trains all"


def _note_torch_order(torch: Any) -> str | None:
    if getattr(torch, "batch_first", True):
        return None
    return "takes [length, batch, ...] in torch (batch_first=False), [batch, length, ...] in Flax"


def _refuse_attention(layer: Any) -> str | None:
    if layer.normalize_qk:
        return "normalize_qk has no counterpart in torch.nn.MultiheadAttention"
    if layer.num_kv_heads != layer.num_heads:
        return "grouped queries (num_kv_heads) have no counterpart in torch.nn.MultiheadAttention"
    sizes = (layer.in_features, layer.qkv_features, layer.out_features)
    if len(set(sizes)) > 1:
        return f"torch has one embedding size for inputs, heads and outputs, not {', '.join(map(str, sizes))}"
    if layer.attention_fn is not nnx.dot_product_attention:
        return "its attention_fn is not dot_product_attention"
    return None


def _refuse_torch_attention(torch: Any) -> str | None:
    if torch.bias_k is not None or torch.bias_v is not None:
        return "add_bias_kv has no counterpart in nnx.MultiHeadAttention"
    if torch.add_zero_attn:
        return "add_zero_attn has no counterpart in nnx.MultiHeadAttention"
    return None


def _refuse_cell(layer: Any) -> str | None:
    same = layer.gate_fn is nnx.sigmoid and layer.activation_fn is nnx.tanh
    return None if same else "its gates are not torch's sigmoid and tanh"


def _refuse_torch_cell(torch: Any) -> str | None:
    if getattr(torch, "num_layers", 1) > 1:
        return f"it stacks {torch.num_layers} layers; name each by a template like 'lstm.*_l1'"
    if getattr(torch, "proj_size", 0):
        return "proj_size has no counterpart in Flax"
    return None


def _refuse_gru_bias(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    if "bias_hh" not in tensors or not np.any(tensors["bias_hh"][2 * layer.hidden_features :]):
        return None
    return "a non-zero bias inside the reset gate's product (the last third of bias_hh) has no place in nnx.GRUCell"


_ATTENTION_CHECKS: dict[str, Any] = {
    "settings": _ATTENTION,
    "refuse": _refuse_attention,
    "refuse_torch": _refuse_torch_attention,
    "note_torch": _note_torch_order,
}
_CELL: dict[str, Any] = {"refuse": _refuse_cell, "refuse_torch": _refuse_torch_cell, "note_torch": _note_torch_order}

SEQUENCES = (
    Layer(
        nnx.Embed,
        ("Embedding",),
        (Row("weight", "embedding", "rows outputs -> rows outputs"),),
        refuse_torch=_refuse_torch_embedding,
        note_torch=_note_torch_embedding,
        width=lambda layer: (0, layer.features),
    ),
    Layer(
        nnx.MultiHeadAttention,
        ("MultiheadAttention",),
        _SELF_ATTENTION,
        when=lambda layer: layer.in_kv_features == layer.in_features,
        **_ATTENTION_CHECKS,
    ),
    # Of a type's entries the first that fits is taken.
    Layer(nnx.MultiHeadAttention, ("MultiheadAttention",), _CROSS_ATTENTION, **_ATTENTION_CHECKS),
    Layer(nnx.LSTMCell, ("LSTMCell", "LSTM"), _LSTM, **_CELL),
    Layer(nnx.OptimizedLSTMCell, ("LSTMCell", "LSTM"), _OPTIMIZED_LSTM, **_CELL),
    Layer(nnx.GRUCell, ("GRUCell", "GRU"), _GRU, refuse_tensors=_refuse_gru_bias, **_CELL),
)
