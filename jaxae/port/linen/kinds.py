"""Kinds: the NNX layer that a Linen layer corresponds to, with its settings and no values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flax import linen, nnx

from jaxae.errors import InputError
from jaxae.port.linen.gru import SplitGRUCell

_STACKED = ": layers that nn.scan or nn.vmap stacked port where the module is given"
# Shapes of a layer's variables by dotted path below it.
Shapes = Mapping[str, tuple[int, ...]]
_ITSELF: Mapping[str, str] = {}


@dataclass(frozen=True)
class Kind:
    """A kind of layer that both of Flax's interfaces have.

    Attributes:
        linen: Linen's class.
        make: Function that makes the NNX layer of a Linen layer with variables of these shapes.
        ranks: Rank of each variable that has one rank alone.
        renamed: NNX paths of the variables that Linen names otherwise.
    """

    linen: type[linen.Module]
    make: Callable[[Any, Shapes], nnx.Module]
    ranks: Mapping[str, int]
    renamed: Mapping[str, str] = field(default_factory=lambda: _ITSELF)


def kind_of(layer: linen.Module) -> Kind | None:
    """The kind of a Linen layer: of its class, or of one that it extends with the same forward pass."""
    for base in type(layer).__mro__:
        if (kind := _KINDS.get(base)) is not None:
            own: Any = type(layer)
            return kind if own.__call__ is kind.linen.__call__ else None
    return None


def renamed(layer: linen.Module, name: str) -> str:
    """The NNX path of a variable of a Linen layer."""
    kind = kind_of(layer)
    assert kind is not None
    return kind.renamed.get(name, name)


def refused(name: str) -> str | None:
    """Why the Linen class of this name does not port, or None."""
    return _REFUSED.get(name)


def make(layer: linen.Module, shapes: Shapes) -> nnx.Module:
    """The NNX layer, abstract, that a Linen layer with variables of these shapes corresponds to.

    Raises:
        InputError: If the variables are not those of one such layer, or NNX has none like it.
    """
    kind = kind_of(layer)
    assert kind is not None
    name = type(layer).__name__
    for variable, rank in kind.ranks.items():
        shape = shapes.get(variable)
        if shape is not None and len(shape) != rank:
            more = _STACKED if len(shape) > rank else ""
            raise InputError(f"expected {rank} axes of a {name}'s {variable!r}, got {shape}{more}")
    try:
        return nnx.eval_shape(lambda: kind.make(layer, shapes))
    except KeyError as error:
        raise InputError(f"expected variables of a {name}, got none named {error}") from error
    except (TypeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"expected a {name} that NNX has too, got {reason}") from error


def _numbers(layer: Any) -> dict[str, Any]:
    return {"dtype": layer.dtype, "param_dtype": layer.param_dtype, "rngs": nnx.Rngs(0)}


def _norm(layer: Any, *more: str) -> dict[str, Any]:
    names = ("epsilon", "use_scale", *more)
    return {name: getattr(layer, name) for name in names} | _numbers(layer)


def _features(shapes: Shapes) -> int:
    return next((shape[0] for shape in shapes.values() if len(shape) == 1), 1)


def _dense(layer: Any, shapes: Shapes) -> nnx.Module:
    return nnx.Linear(*shapes["kernel"], use_bias="bias" in shapes, **_numbers(layer))


def _size(layer: Any) -> tuple[int, ...]:
    return (layer.kernel_size,) if isinstance(layer.kernel_size, int) else tuple(layer.kernel_size)


def _check_kernel(layer: Any, shape: tuple[int, ...]) -> None:
    if len(shape) != len(_size(layer)) + 2:
        more = _STACKED if len(shape) > len(_size(layer)) + 2 else ""
        raise ValueError(f"a kernel {shape} for the kernel_size {_size(layer)}{more}")


def _conv(layer: Any, shapes: Shapes) -> nnx.Module:
    kernel = shapes["kernel"]
    _check_kernel(layer, kernel)
    more: dict[str, Any] = {} if layer.strides is None else {"strides": layer.strides}
    return nnx.Conv(
        kernel[-2] * layer.feature_group_count,
        kernel[-1],
        kernel[:-2],
        padding=layer.padding,
        input_dilation=layer.input_dilation,
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.feature_group_count,
        mask=layer.mask,
        use_bias="bias" in shapes,
        **more,
        **_numbers(layer),
    )


def _conv_transpose(layer: Any, shapes: Shapes) -> nnx.Module:
    kernel = shapes["kernel"]
    _check_kernel(layer, kernel)
    into, out = kernel[-2:][::-1] if layer.transpose_kernel else kernel[-2:]
    return nnx.ConvTranspose(
        into,
        out,
        kernel[:-2],
        strides=layer.strides,
        padding=layer.padding,
        kernel_dilation=layer.kernel_dilation,
        mask=layer.mask,
        transpose_kernel=layer.transpose_kernel,
        use_bias="bias" in shapes,
        **_numbers(layer),
    )


def _batch_norm(layer: Any, shapes: Shapes) -> nnx.Module:
    return nnx.BatchNorm(shapes["mean"][0], **_norm(layer, "momentum", "axis", "use_bias"))


def _layer_norm(layer: Any, shapes: Shapes) -> nnx.Module:
    return nnx.LayerNorm(_features(shapes), **_norm(layer, "reduction_axes", "feature_axes", "use_bias"))


def _rms_norm(layer: Any, shapes: Shapes) -> nnx.Module:
    return nnx.RMSNorm(_features(shapes), **_norm(layer, "reduction_axes", "feature_axes"))


def _instance_norm(layer: Any, shapes: Shapes) -> nnx.Module:
    return nnx.InstanceNorm(_features(shapes), **_norm(layer, "feature_axes", "use_bias"))


def _group_norm(layer: Any, shapes: Shapes) -> nnx.Module:
    settings = _norm(layer, "num_groups", "group_size", "reduction_axes", "use_bias")
    return nnx.GroupNorm(_features(shapes), **settings)


def _embed(layer: Any, shapes: Shapes) -> nnx.Module:
    made = nnx.Embed(*shapes["embedding"], **_numbers(layer))
    made.dtype = layer.dtype  # by default NNX has that of the parameters, Linen none
    return made


def _attention(layer: Any, shapes: Shapes) -> nnx.Module:
    (into, heads, dim), (out,) = shapes["query.kernel"], shapes["out.kernel"][-1:]
    if shapes["key.kernel"][0] != shapes["value.kernel"][0]:
        raise ValueError("keys and values of different sizes")
    own = {} if layer.attention_fn is linen.dot_product_attention else {"attention_fn": layer.attention_fn}
    return nnx.MultiHeadAttention(
        heads,
        into,
        heads * dim,
        out,
        in_kv_features=shapes["key.kernel"][0],
        dropout_rate=layer.dropout_rate,
        normalize_qk=layer.normalize_qk,
        use_bias="query.bias" in shapes,
        **own,
        **_numbers(layer),
    )


def _dense_general(layer: Any, shapes: Shapes) -> nnx.Module:
    axes = (layer.axis,) if isinstance(layer.axis, int) else tuple(layer.axis)
    batch = len(layer.batch_dims)
    kernel = shapes["kernel"]
    count = batch + len(axes)
    outputs = 1 if isinstance(layer.features, int) else len(layer.features)
    if len(kernel) != count + outputs:
        raise ValueError(f"a kernel {kernel} for {len(axes)} axes and the features {layer.features}")
    return nnx.LinearGeneral(
        kernel[batch:count],
        kernel[count:],
        axis=axes,
        batch_axis=dict(zip(layer.batch_dims, kernel[:batch], strict=True)),
        use_bias="bias" in shapes,
        **_numbers(layer),
    )


def _einsum(layer: Any, shapes: Shapes) -> nnx.Module:
    if layer.einsum_str is None:
        raise ValueError("an Einsum whose equation is given in the call")
    return nnx.Einsum(layer.einsum_str, shapes["kernel"], shapes.get("bias"), **_numbers(layer))


def _lstm_cell(layer: Any, shapes: Shapes) -> nnx.Module:
    (into, _), (hidden, _) = shapes["ii.kernel"], shapes["hi.kernel"]
    functions = {"gate_fn": layer.gate_fn, "activation_fn": layer.activation_fn}
    return nnx.LSTMCell(into, hidden, **functions, **_numbers(layer))


def _gru_cell(layer: Any, shapes: Shapes) -> nnx.Module:
    if layer.gate_fn is not linen.sigmoid or layer.activation_fn is not linen.tanh:
        raise ValueError("gates that are not torch's sigmoid and tanh")
    return SplitGRUCell(*shapes["in.kernel"], **_numbers(layer))


def _simple_cell(layer: Any, shapes: Shapes) -> nnx.Module:
    functions = {"activation_fn": layer.activation_fn, "residual": layer.residual}
    return nnx.SimpleCell(*shapes["i.kernel"], **functions, **_numbers(layer))


def _prelu(layer: Any, _: Shapes) -> nnx.Module:
    return nnx.PReLU(param_dtype=layer.param_dtype)


_NORM = {"scale": 1, "bias": 1}
_LSTM = {f"{side}{gate}.kernel": 2 for side in "ih" for gate in "ifgo"}
_GRU = {f"{side}{gate}.kernel": 2 for side in "ih" for gate in "rzn"}
_IN = {f"in.{end}": f"in_.{end}" for end in ("kernel", "bias")}
_IF = {"if.kernel": "if_.kernel"}
_QKV = {"query.kernel": 3, "key.kernel": 3, "value.kernel": 3, "out.kernel": 3}
_CELL = {f"{name}.{end}": f"dense_{name}.{end}" for name in "ih" for end in ("kernel", "bias")}
_KINDS = {
    kind.linen: kind
    for kind in (
        Kind(linen.Dense, _dense, {"kernel": 2, "bias": 1}),
        Kind(linen.Conv, _conv, {"bias": 1}),
        Kind(linen.ConvTranspose, _conv_transpose, {"bias": 1}),
        Kind(linen.BatchNorm, _batch_norm, {**_NORM, "mean": 1, "var": 1}),
        Kind(linen.LayerNorm, _layer_norm, _NORM),
        Kind(linen.RMSNorm, _rms_norm, _NORM),
        Kind(linen.InstanceNorm, _instance_norm, _NORM),
        Kind(linen.GroupNorm, _group_norm, _NORM),
        Kind(linen.Embed, _embed, {"embedding": 2}),
        Kind(linen.MultiHeadDotProductAttention, _attention, _QKV),
        Kind(linen.MultiHeadAttention, _attention, _QKV),
        Kind(linen.SelfAttention, _attention, _QKV),
        Kind(linen.DenseGeneral, _dense_general, {}),
        Kind(linen.Einsum, _einsum, {}),
        Kind(linen.LSTMCell, _lstm_cell, _LSTM, _IF),
        Kind(linen.OptimizedLSTMCell, _lstm_cell, _LSTM, _IF),
        Kind(linen.GRUCell, _gru_cell, _GRU, _IN),
        Kind(linen.SimpleCell, _simple_cell, {"i.kernel": 2, "h.kernel": 2}, _CELL),
        Kind(linen.PReLU, _prelu, {"negative_slope": 0}),
    )
}
KINDS: Mapping[str, type[linen.Module]] = {kind.__name__: kind for kind in _KINDS}
_NO_ROW = "no row of the table says what it is in torch"
_REFUSED = {
    "WeightNorm": "remove it from the Linen layer, or port into nnx.WeightNorm",
    "SpectralNorm": "its outputs part from torch's spectral_norm; remove it from both",
    **dict.fromkeys(("MGUCell", "ConvLSTMCell", "ConvLocal"), _NO_ROW),
}
