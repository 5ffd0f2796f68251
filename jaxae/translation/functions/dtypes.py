"""Rules for dtypes."""

from typing import Any

from jaxae.translation.functions.arguments import cast
from jaxae.translation.graph import Dtype
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_NAMES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "int": "int32",
    "long": "int64",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
}


def _named(name: str, kind: str) -> None:
    def rule(w: Writer, input: Tensor) -> Out:
        return _cast(w, input, Dtype((kind, kind)))

    function(name)(rule)


for _name, _kind in _NAMES.items():
    _named(_name, _kind)


def _cast(w: Writer, x: Tensor, kind: Dtype | None, like: Tensor | None = None) -> Out:
    return w.elementwise("{}", cast(w, x, kind, like))


@function("to")
def to(w: Writer, input: Tensor, *args: Any, dtype: Dtype | None = None, other: Tensor | None = None, **_: Any) -> Out:
    """To a dtype or that of another tensor; devices say nothing here."""
    like = other if other is not None else next((one for one in args if isinstance(one, Tensor)), None)
    kind = dtype if dtype is not None else next((one for one in args if isinstance(one, Dtype)), None)
    return _cast(w, input, like.value.dtype if like is not None else kind, like)


@function("type")
def typed(w: Writer, input: Tensor, dtype: Any, non_blocking: bool = False) -> Out:
    if not isinstance(dtype, Dtype):
        raise w.refuse(f"to {dtype!r}; give it a torch.dtype")
    return _cast(w, input, dtype)


@function("type_as")
def type_as(w: Writer, input: Tensor, other: Tensor) -> Out:
    return _cast(w, input, other.value.dtype, other)
