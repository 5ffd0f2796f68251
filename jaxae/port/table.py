"""The table: per layer, which torch tensor becomes which Flax variable, by what axis pattern."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxae.errors import InputError
from jaxae.network import layers
from jaxae.port.row import Layer, Row, Setting
from jaxae.port.settings import (
    axes,
    flax_conv_padding,
    flax_transpose_padding,
    torch_conv_padding,
    torch_transpose_padding,
)

_BIAS = Row("bias", "bias", "outputs -> outputs")
_LINEAR = (Row("weight", "kernel", "outputs inputs -> inputs outputs"), _BIAS)
_CONV = (Row("weight", "kernel", "outputs inputs ... -> ... inputs outputs"), _BIAS)
# torch's [in, out / groups, *kernel] is the kernel of the convolution that this one transposes.
_TRANSPOSED = (Row("weight", "kernel", "inputs outputs ... -> ... outputs inputs"), _BIAS)
_FLIPPED = (Row("weight", "kernel", "inputs outputs ... -> ... inputs outputs", flip=True), _BIAS)
_NORM = (
    Row("weight", "scale", "features -> features"),
    Row("bias", "bias", "features -> features"),
)
_STATISTICS = (
    Row("running_mean", "mean", "features -> features"),
    Row("running_var", "var", "features -> features"),
)


def _linear_width(layer: Any) -> tuple[int, int]:
    return layer.in_features, layer.out_features


def _own_width(layer: Any) -> tuple[int, int]:
    return layer.in_channels, layer.out_channels


def _same_width(layer: Any) -> tuple[int, int]:
    return layer.num_features, layer.num_features


def _group_norm_width(layer: Any) -> tuple[int, int]:
    return (layer.num_groups * layer.group_size,) * 2


def _stride(name: str) -> Setting:
    return Setting(
        "stride",
        lambda layer: axes(getattr(layer, name), len(layer.kernel_size)),
        lambda torch: tuple(torch.stride),
    )


def _dilation(name: str) -> Setting:
    return Setting(
        "dilation",
        lambda layer: axes(getattr(layer, name), len(layer.kernel_size)),
        lambda torch: tuple(torch.dilation),
    )


_GROUPS = Setting("groups", lambda layer: layer.groups, lambda torch: torch.groups)
_OWN_CONV = (
    _stride("stride"),
    Setting("padding (mode, low and high)", torch_conv_padding, torch_conv_padding),
    _dilation("dilation"),
    _GROUPS,
)
_OWN_TRANSPOSE = (
    _stride("stride"),
    Setting("padding of the dilated input", torch_transpose_padding, torch_transpose_padding),
    _dilation("dilation"),
    _GROUPS,
)
_STOCK_CONV = (
    _stride("strides"),
    Setting("padding (mode, low and high)", flax_conv_padding, torch_conv_padding),
    _dilation("kernel_dilation"),
    Setting("groups", lambda layer: layer.feature_group_count, lambda torch: torch.groups),
)
_STOCK_TRANSPOSE = (
    _stride("strides"),
    Setting("padding of the dilated input", flax_transpose_padding, torch_transpose_padding),
    _dilation("kernel_dilation"),
)


def _torch_epsilon(torch: Any) -> float:
    # RMSNorm's default of None is the machine epsilon of its input.
    if torch.eps is not None:
        return torch.eps
    import torch as framework

    return framework.finfo(torch.weight.dtype).eps


def _epsilon(default: float | str) -> Setting:
    return Setting("eps", lambda layer: float(layer.epsilon), _torch_epsilon, default)


_MOMENTUM = Setting(
    "momentum in torch's sense (1 - Flax's)",
    lambda layer: 1.0 - layer.momentum,
    lambda torch: None if torch.momentum is None else float(torch.momentum),
    0.1,
)


def _refuse_conv(layer: Any) -> str | None:
    if layer.mask is not None:
        return "its kernel is masked, which torch's is not"
    dilation = getattr(layer, "input_dilation", 1)
    if any(one != 1 for one in axes(dilation, len(layer.kernel_size))):
        return "it dilates its input; torch has that as ConvTranspose"
    return None


def _refuse_torch_conv(torch: Any) -> str | None:
    if torch.padding_mode not in ("zeros", "reflect", "circular"):
        return f"Flax has no padding mode {torch.padding_mode!r}"
    return None


def _refuse_torch_transpose(torch: Any) -> str | None:
    if torch.groups > 1:
        return (f"nnx.ConvTranspose has no groups (torch's has {torch.groups}); "
                "jaxae.network.layers.ConvTranspose has")  # fmt: skip
    return _refuse_torch_conv(torch)


def _refuse_grouped_weight(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    shape = tuple(tensors["weight"].shape) if "weight" in tensors else ()
    if len(shape) < 3 or shape[0] != layer.in_features or shape[1] >= layer.out_features:
        return None
    groups, rest = divmod(layer.out_features, shape[1])
    if rest:
        return None
    return (f"nnx.ConvTranspose has no groups (weight {shape} has {groups}); "
            "jaxae.network.layers.ConvTranspose has")  # fmt: skip


def _refuse_norm_axes(layer: Any) -> str | None:
    for name in ("axis", "reduction_axes", "feature_axes"):
        value = getattr(layer, name, -1)
        if value not in (-1, (-1,), [-1], None):
            return f"its {name} is {value}; torch's layer normalises the last axis of Flax's arrays"
    return None


def _refuse_torch_norm(torch: Any) -> str | None:
    if getattr(torch, "track_running_stats", None) is False:
        return "it keeps no running statistics (track_running_stats=False); nnx.BatchNorm does"
    if getattr(torch, "momentum", 0.1) is None:
        return "momentum=None (a cumulative average) has no Flax counterpart"
    return None


def _refuse_torch_instance_norm(torch: Any) -> str | None:
    if torch.track_running_stats:
        return "it keeps running statistics; nnx.InstanceNorm does not"
    return None


def _refuse_torch_embedding(torch: Any) -> str | None:
    if torch.max_norm is not None:
        return "max_norm rescales rows in the forward pass; nnx.Embed does not"
    return None


def _note_torch_embedding(torch: Any) -> str | None:
    if torch.padding_idx is not None:
        return f"torch never trains row {torch.padding_idx} (padding_idx); nnx.Embed trains all"
    return None


def _note_torch_order(torch: Any) -> str | None:
    if not getattr(torch, "batch_first", True):
        return (
            "takes [length, batch, ...] in torch (batch_first=False), [batch, length, ...] in Flax"
        )
    return None


def _refuse_slopes(_: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    if "weight" in tensors and tensors["weight"].size != 1:
        return f"nnx.PReLU has one slope, not one a channel (weight {tensors['weight'].shape})"
    return None


def _refuse_attention(layer: Any) -> str | None:
    if layer.normalize_qk:
        return "normalize_qk has no counterpart in torch.nn.MultiheadAttention"
    if layer.num_kv_heads != layer.num_heads:
        return "grouped queries (num_kv_heads) have no counterpart in torch.nn.MultiheadAttention"
    if not layer.in_features == layer.qkv_features == layer.out_features:
        return (f"torch has one embedding size for inputs, heads and outputs, not "
                f"{layer.in_features}, {layer.qkv_features}, {layer.out_features}")  # fmt: skip
    if layer.attention_fn is not nnx.dot_product_attention:
        return "its attention_fn is not dot_product_attention"
    return None


def _refuse_torch_attention(torch: Any) -> str | None:
    if torch.bias_k is not None or torch.bias_v is not None:
        return "add_bias_kv has no counterpart in nnx.MultiHeadAttention"
    if torch.add_zero_attn:
        return "add_zero_attn has no counterpart in nnx.MultiHeadAttention"
    return None


_ATTENTION = (
    Setting("heads", lambda layer: layer.num_heads, lambda torch: torch.num_heads),
    Setting("dropout", lambda layer: float(layer.dropout_rate), lambda torch: torch.dropout, 0.0),
)
_ATTENTION_OUT = (
    Row("in_proj_bias", ("query.bias", "key.bias", "value.bias"),
        "(parts heads dim) -> parts heads dim"),
    Row("out_proj.weight", "out.kernel", "outputs (heads dim) -> heads dim outputs"),
    Row("out_proj.bias", "out.bias", "outputs -> outputs"),
)  # fmt: skip
_SELF_ATTENTION = (
    Row("in_proj_weight", ("query.kernel", "key.kernel", "value.kernel"),
        "(parts heads dim) inputs -> parts inputs heads dim"),
    *_ATTENTION_OUT,
)  # fmt: skip
_CROSS_ATTENTION = (
    Row("q_proj_weight", "query.kernel", "(heads dim) inputs -> inputs heads dim"),
    Row("k_proj_weight", "key.kernel", "(heads dim) inputs -> inputs heads dim"),
    Row("v_proj_weight", "value.kernel", "(heads dim) inputs -> inputs heads dim"),
    *_ATTENTION_OUT,
)

# torch's gates are input, forget, cell, output (LSTM) and reset, update, new (GRU); so are Flax's.
_GATES = "(parts outputs) inputs -> parts inputs outputs"
_LSTM = (
    Row("weight_ih", ("ii.kernel", "if_.kernel", "ig.kernel", "io.kernel"), _GATES),
    Row("weight_hh", ("hi.kernel", "hf.kernel", "hg.kernel", "ho.kernel"), _GATES),
    Row(("bias_ih", "bias_hh"), ("hi.bias", "hf.bias", "hg.bias", "ho.bias"),
        "(parts outputs) -> parts outputs"),
)  # fmt: skip
_DENSE = (
    Row("weight_ih", "dense_i.kernel", "outputs inputs -> inputs outputs"),
    Row("weight_hh", "dense_h.kernel", "outputs inputs -> inputs outputs"),
)
_OPTIMIZED_LSTM = (*_DENSE, Row(("bias_ih", "bias_hh"), "dense_h.bias", "outputs -> outputs"))
_GRU = (*_DENSE, Row(("bias_ih", "bias_hh"), "dense_i.bias", "outputs -> outputs"))


def _cell_refusal(layer: Any, gate: Any, activation: Any) -> str | None:
    if layer.gate_fn is not gate or layer.activation_fn is not activation:
        return "its gates are not torch's sigmoid and tanh"
    return None


def _refuse_cell(layer: Any) -> str | None:
    return _cell_refusal(layer, nnx.sigmoid, nnx.tanh)


def _refuse_torch_cell(torch: Any) -> str | None:
    if getattr(torch, "num_layers", 1) > 1:
        return f"it stacks {torch.num_layers} layers; name each by a template like 'lstm.*_l1'"
    if getattr(torch, "proj_size", 0):
        return "proj_size has no counterpart in Flax"
    return None


def _refuse_gru_bias(layer: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    inner = tensors["bias_hh"][2 * layer.hidden_features :] if "bias_hh" in tensors else None
    if inner is not None and np.any(inner != 0):
        return ("a non-zero bias inside the reset gate's product (the last third of bias_hh) has "
                "no place in nnx.GRUCell")  # fmt: skip
    return None


_CONVS = ("Conv1d", "Conv2d", "Conv3d")
_TRANSPOSES = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
_INSTANCE_NORMS = ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")

LAYERS = (
    Layer(layers.Linear, ("Linear",), _LINEAR, width=_linear_width),
    Layer(layers.Conv, ("Conv2d",), _CONV, _OWN_CONV, width=_own_width, spatial=True,
          refuse_torch=_refuse_torch_conv),
    Layer(layers.ConvTranspose, ("ConvTranspose2d",), _TRANSPOSED, _OWN_TRANSPOSE,
          width=_own_width, spatial=True),
    Layer(nnx.Linear, ("Linear",), _LINEAR, width=_linear_width),
    Layer(nnx.Conv, _CONVS, _CONV, _STOCK_CONV, width=_linear_width, spatial=True,
          refuse=_refuse_conv, refuse_torch=_refuse_torch_conv),
    Layer(nnx.ConvTranspose, _TRANSPOSES, _TRANSPOSED, _STOCK_TRANSPOSE, width=_linear_width,
          spatial=True, when=lambda layer: layer.transpose_kernel, refuse=_refuse_conv,
          refuse_torch=_refuse_torch_transpose, refuse_tensors=_refuse_grouped_weight),
    Layer(nnx.ConvTranspose, _TRANSPOSES, _FLIPPED, _STOCK_TRANSPOSE, width=_linear_width,
          spatial=True, when=lambda layer: not layer.transpose_kernel, refuse=_refuse_conv,
          refuse_torch=_refuse_torch_transpose, refuse_tensors=_refuse_grouped_weight),
    Layer(nnx.Embed, ("Embedding",), (Row("weight", "embedding", "rows outputs -> rows outputs"),),
          refuse_torch=_refuse_torch_embedding, note_torch=_note_torch_embedding,
          width=lambda layer: (0, layer.features)),
    Layer(nnx.BatchNorm, _BATCH_NORMS, _NORM + _STATISTICS, (_epsilon(1e-5), _MOMENTUM),
          refuse=_refuse_norm_axes, refuse_torch=_refuse_torch_norm, width=_same_width,
          counters=("num_batches_tracked",)),
    Layer(nnx.LayerNorm, ("LayerNorm",), _NORM, (_epsilon(1e-5),), refuse=_refuse_norm_axes,
          width=_same_width),
    Layer(nnx.GroupNorm, ("GroupNorm",), _NORM,
          (Setting("groups", lambda layer: layer.num_groups, lambda torch: torch.num_groups),
           _epsilon(1e-5)),
          refuse=_refuse_norm_axes, width=_group_norm_width),
    Layer(nnx.InstanceNorm, _INSTANCE_NORMS, _NORM, (_epsilon(1e-5),), refuse=_refuse_norm_axes,
          refuse_torch=_refuse_torch_instance_norm, width=_same_width),
    Layer(nnx.RMSNorm, ("RMSNorm",), _NORM[:1], (_epsilon("its input's machine epsilon"),),
          refuse=_refuse_norm_axes, width=_same_width),
    Layer(nnx.PReLU, ("PReLU",), (Row("weight", "negative_slope", "1 -> "),),
          refuse_tensors=_refuse_slopes),
    Layer(nnx.MultiHeadAttention, ("MultiheadAttention",), _SELF_ATTENTION, _ATTENTION,
          when=lambda layer: layer.in_kv_features == layer.in_features,
          refuse=_refuse_attention, refuse_torch=_refuse_torch_attention,
          note_torch=_note_torch_order),
    Layer(nnx.MultiHeadAttention, ("MultiheadAttention",), _CROSS_ATTENTION, _ATTENTION,
          when=lambda layer: layer.in_kv_features != layer.in_features,
          refuse=_refuse_attention, refuse_torch=_refuse_torch_attention,
          note_torch=_note_torch_order),
    Layer(nnx.LSTMCell, ("LSTMCell", "LSTM"), _LSTM, refuse=_refuse_cell,
          refuse_torch=_refuse_torch_cell, note_torch=_note_torch_order),
    Layer(nnx.OptimizedLSTMCell, ("LSTMCell", "LSTM"), _OPTIMIZED_LSTM, refuse=_refuse_cell,
          refuse_torch=_refuse_torch_cell, note_torch=_note_torch_order),
    Layer(nnx.GRUCell, ("GRUCell", "GRU"), _GRU, refuse=_refuse_cell,
          refuse_torch=_refuse_torch_cell, refuse_tensors=_refuse_gru_bias,
          note_torch=_note_torch_order),
)  # fmt: skip

_registered: dict[type, Layer] = {}


def register(flax: type, *rows: Row, torch: str | tuple[str, ...] = (), **more: Any) -> None:
    """Add a layer to the table: a user's own, or one that jaxae does not know.

    Args:
        flax: The NNX module's type. Sub-layers that no row names are ported by rows of their own.
        *rows: One for each torch tensor.
        torch: Class name of the torch layer, or several; checked where a torch module is given.
        **more: Other fields of `Layer`.

    Raises:
        InputError: If this is no type of module, or the table has rows for it already.
    """
    if not (isinstance(flax, type) and issubclass(flax, nnx.Module)):
        raise InputError(f"expected a type of nnx.Module to register, got {flax!r}")
    if flax in _registered or any(layer.flax is flax for layer in LAYERS):
        raise InputError(f"expected a layer that the table does not have, got {flax.__name__}")
    names = (torch,) if isinstance(torch, str) else tuple(torch)
    _registered[flax] = Layer(flax, names, rows, **more)


def rule_for(layer: nnx.Module) -> Layer | None:
    """The entry for this very layer, or None where the table has none.

    A type that extends one of the table's counts as that one while it runs the same forward pass.
    """
    for base in type(layer).__mro__:
        entries = [entry for entry in (*_registered.values(), *LAYERS) if entry.flax is base]
        if entries:
            same = _forward_pass(type(layer)) is _forward_pass(base)
            return next((entry for entry in entries if same and entry.when(layer)), None)
    return None


def _forward_pass(kind: type) -> Any:
    # Not kind.__call__: of a class without one that is its metaclass's, bound anew at each look.
    return next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)
