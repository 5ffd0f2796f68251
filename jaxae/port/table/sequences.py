"""Rows of the table: embeddings and recurrent cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from flax import nnx

from jaxae.port.layers import TorchGRUCell
from jaxae.port.linen.gru import SplitGRUCell
from jaxae.port.row import Layer, Row, Setting, Sizes
from jaxae.port.table.attention import note_torch_order

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
_TORCH_GRU = (
    *_DENSE,
    Row("bias_ih", "dense_i.bias", "outputs -> outputs"),
    Row("bias_hh", "dense_h.bias", "outputs -> outputs"),
)


@dataclass(frozen=True)
class GRUBiases(Row):
    """torch's two biases of a GRU cell: the reset and update gates' are summed, the new gate's are not."""

    def joined(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """The sums of two gates, then the new gate's outer and inner bias."""
        inputs, hidden = tensors
        summed = 2 * len(inputs) // 3
        return np.concatenate([inputs[:summed] + hidden[:summed], inputs[summed:], hidden[summed:]])

    def parted(self, whole: np.ndarray) -> tuple[np.ndarray, ...]:
        """The sums in the first bias, zeros in their place in the second."""
        gates = 3 * len(whole) // 4
        inner = np.zeros_like(whole[:gates])
        inner[2 * gates // 3 :] = whole[gates:]
        return whole[:gates].copy(), inner

    def torch_shape(self, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
        """Three gates' biases."""
        return (3 * super().torch_shape(flax_shape, sizes)[0] // 4,)


_SPLIT_GRU = (
    Row("weight_ih", ("ir.kernel", "iz.kernel", "in_.kernel"), _GATES),
    Row("weight_hh", ("hr.kernel", "hz.kernel", "hn.kernel"), _GATES),
    GRUBiases(_BIASES, ("ir.bias", "iz.bias", "in_.bias", "hn.bias"), "(parts outputs) -> parts outputs"),
)


def _refuse_torch_embedding(torch: Any) -> str | None:
    return None if torch.max_norm is None else "max_norm rescales rows in the forward pass; nnx.Embed does not"


def _note_torch_embedding(torch: Any) -> str | None:
    row = torch.padding_idx
    return None if row is None else f"torch never trains row {row} (padding_idx); nnx.Embed trains all"


def _refuse_cell(layer: Any) -> str | None:
    same = layer.gate_fn is nnx.sigmoid and layer.activation_fn is nnx.tanh
    return None if same else "its gates are not torch's sigmoid and tanh"


def _nonlinearity(layer: Any) -> str:
    return "relu" if layer.activation_fn is nnx.relu else "tanh"


def _refuse_simple_cell(layer: Any) -> str | None:
    if layer.residual:
        return "torch's cell adds no residual"
    known = layer.activation_fn in (nnx.tanh, nnx.relu)
    return None if known else "its activation is neither torch's tanh nor its relu"


def _refuse_torch_cell(torch: Any) -> str | None:
    return "proj_size has no counterpart in Flax" if getattr(torch, "proj_size", 0) else None


def _refuse_gru_bias(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    if "bias_hh" not in tensors or not np.any(tensors["bias_hh"][2 * layer.hidden_features :]):
        return None
    inside = "a non-zero bias inside the reset gate's product (the last third of bias_hh)"
    return f"{inside} has no place in nnx.GRUCell; jaxae.port.TorchGRUCell has one"


_CELL: dict[str, Any] = {"refuse": _refuse_cell, "refuse_torch": _refuse_torch_cell, "note_torch": note_torch_order}

SEQUENCES = (
    Layer(
        nnx.Embed,
        ("Embedding",),
        (Row("weight", "embedding", "rows outputs -> rows outputs"),),
        refuse_torch=_refuse_torch_embedding,
        note_torch=_note_torch_embedding,
        width=lambda layer: (0, layer.features),
    ),
    Layer(nnx.LSTMCell, ("LSTMCell", "LSTM"), _LSTM, **_CELL),
    Layer(nnx.OptimizedLSTMCell, ("LSTMCell", "LSTM"), _OPTIMIZED_LSTM, **_CELL),
    Layer(nnx.GRUCell, ("GRUCell", "GRU"), _GRU, refuse_tensors=_refuse_gru_bias, **_CELL),
    Layer(TorchGRUCell, ("GRUCell", "GRU"), _TORCH_GRU, **_CELL),
    Layer(SplitGRUCell, ("GRUCell", "GRU"), _SPLIT_GRU, refuse_torch=_refuse_torch_cell, note_torch=note_torch_order),
    Layer(
        nnx.SimpleCell,
        ("RNNCell", "RNN"),
        _GRU,
        (Setting("nonlinearity", _nonlinearity, attrgetter("nonlinearity"), "tanh"),),
        refuse=_refuse_simple_cell,
        note_torch=note_torch_order,
    ),
)
