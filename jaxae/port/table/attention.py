"""Rows of the table: attention, by the names under which people's torch classes keep its projections."""

from operator import attrgetter
from typing import Any

from flax import nnx

from jaxae.port.row import Layer, Row, Setting

_NAMES = ("query", "key", "value")
_KERNELS = tuple(f"{name}.kernel" for name in _NAMES)
_BIASES = tuple(f"{name}.bias" for name in _NAMES)
# A torch class of one's own says the number of heads under one of these names, if at all.
_HEADS = ("num_heads", "n_head", "n_heads", "num_attention_heads", "heads")


def _projection(torch: str, flax: str) -> tuple[Row, Row]:
    return (
        Row(f"{torch}.weight", f"{flax}.kernel", "(heads dim) inputs -> inputs heads dim"),
        Row(f"{torch}.bias", f"{flax}.bias", "(heads dim) -> heads dim"),
    )


def _out(torch: str) -> tuple[Row, Row]:
    return (
        Row(f"{torch}.weight", "out.kernel", "outputs (heads dim) -> heads dim outputs"),
        Row(f"{torch}.bias", "out.bias", "outputs -> outputs"),
    )


def _fused(weight: str, bias: str, out: str) -> tuple[Row, ...]:
    return (
        Row(weight, _KERNELS, "(parts heads dim) inputs -> parts inputs heads dim"),
        Row(bias, _BIASES, "(parts heads dim) -> parts heads dim"),
        *_out(out),
    )


def _four(query: str, key: str, value: str, out: str) -> tuple[Row, ...]:
    return (*_projection(query, "query"), *_projection(key, "key"), *_projection(value, "value"), *_out(out))


_CROSS = (
    *(Row(f"{name[0]}_proj_weight", f"{name}.kernel", "(heads dim) inputs -> inputs heads dim") for name in _NAMES),
    Row("in_proj_bias", _BIASES, "(parts heads dim) -> parts heads dim"),
    *_out("out_proj"),
)


def _refuse(layer: Any) -> str | None:
    if layer.normalize_qk:
        return "normalize_qk has no counterpart in torch.nn.MultiheadAttention"
    if layer.num_kv_heads != layer.num_heads:
        return "grouped queries (num_kv_heads) have no counterpart in torch.nn.MultiheadAttention"
    if layer.attention_fn is not nnx.dot_product_attention:
        return "its attention_fn is not dot_product_attention"
    return None


def _refuse_sizes(layer: Any) -> str | None:
    sizes = (layer.in_features, layer.qkv_features, layer.out_features)
    if len(set(sizes)) > 1:
        return f"torch has one embedding size for inputs, heads and outputs, not {', '.join(map(str, sizes))}"
    return _refuse(layer)


def _refuse_torch(torch: Any) -> str | None:
    if torch.bias_k is not None or torch.bias_v is not None:
        return "add_bias_kv has no counterpart in nnx.MultiHeadAttention"
    if torch.add_zero_attn:
        return "add_zero_attn has no counterpart in nnx.MultiHeadAttention"
    if torch.kdim != torch.vdim:
        return f"kdim {torch.kdim} and vdim {torch.vdim} differ; nnx.MultiHeadAttention has one in_kv_features"
    return None


def note_torch_order(torch: object) -> str | None:
    """A remark on a torch layer that takes the sequence before the batch."""
    if getattr(torch, "batch_first", True):
        return None
    return "takes [length, batch, ...] in torch (batch_first=False), [batch, length, ...] in Flax"


def _own_heads(torch: Any) -> int:
    name = next((name for name in _HEADS if isinstance(getattr(torch, name, None), int)), _HEADS[0])
    return getattr(torch, name)


def _is_self_attention(layer: Any) -> bool:
    return layer.in_kv_features == layer.in_features


_TORCHS: dict[str, Any] = {
    "settings": (
        Setting("heads", attrgetter("num_heads"), attrgetter("num_heads")),
        Setting("dropout", lambda layer: float(layer.dropout_rate), attrgetter("dropout"), 0.0),
    ),
    "refuse": _refuse_sizes,
    "refuse_torch": _refuse_torch,
    "note_torch": note_torch_order,
}
_OWN: dict[str, Any] = {"settings": (Setting("heads", attrgetter("num_heads"), _own_heads),), "refuse": _refuse}
_FUSED = (("qkv", "proj"), ("c_attn", "c_proj"))  # timm's and nanoGPT's
_FOUR = (
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query", "key", "value", "out"),
)

# torch's own comes first: it is what a port to torch gives where nothing says otherwise.
ATTENTION = (
    Layer(
        nnx.MultiHeadAttention,
        ("MultiheadAttention",),
        _fused("in_proj_weight", "in_proj_bias", "out_proj"),
        when=_is_self_attention,
        **_TORCHS,
    ),
    Layer(nnx.MultiHeadAttention, ("MultiheadAttention",), _CROSS, **_TORCHS),
    *(
        Layer(nnx.MultiHeadAttention, (), _fused(f"{qkv}.weight", f"{qkv}.bias", out), when=_is_self_attention, **_OWN)
        for qkv, out in _FUSED
    ),
    *(Layer(nnx.MultiHeadAttention, (), _four(*names), **_OWN) for names in _FOUR),
)
