"""Rows of the table: linear layers over several axes, einsums, and low-rank additions (LoRA)."""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxae.port.row import Layer, Row, Setting


def _axes(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]


def _packed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({' '.join(names)})"


def _linear(outputs: Sequence[str], inputs: Sequence[str], kernel: Sequence[str]) -> tuple[Row, Row]:
    """Rows of a torch Linear whose weight has these axes, packed, and the Flax kernel in its own order."""
    return (
        Row("weight", "kernel", f"{_packed(outputs)} {_packed(inputs)} -> {' '.join(kernel)}"),
        Row("bias", "bias", f"{_packed(outputs)} -> {' '.join(outputs)}"),
    )


def _general_rows(layer: Any) -> tuple[Row, ...]:
    inputs, outputs = _axes("inputs", len(layer.in_features)), _axes("outputs", len(layer.out_features))
    return _linear(outputs, inputs, [*inputs, *outputs])


def _refuse_general(layer: Any) -> str | None:
    if layer.batch_axis:
        return "its batch_axis gives each part of a batch its own weights, which torch's Linear does not"
    if layer.dot_general is not None or layer.dot_general_cls is not None:
        return "its dot_general is its own"
    return None


def _einsum(layer: Any) -> tuple[str, str, str] | None:
    """Letters of the outputs, the inputs and the kernel, where the equation is a Linear's; else None."""
    left, _, result = (layer.einsum_str or "").partition("->")
    operand, _, kernel = left.partition(",")
    rest = operand.rstrip(kernel)
    inputs, outputs = operand.removeprefix(rest), result.removeprefix(rest)
    linear = result.startswith(rest) and sorted(inputs + outputs) == sorted(kernel) and inputs and outputs
    once = len(set(kernel)) == len(kernel) and "." not in kernel and set(rest).isdisjoint(kernel)
    return (outputs, inputs, kernel) if linear and once else None


def _einsum_rows(layer: Any) -> tuple[Row, ...]:
    if (found := _einsum(layer)) is None:
        return ()
    outputs, inputs, _ = found
    names = dict(zip(outputs, _axes("outputs", len(outputs)), strict=True))
    names |= zip(inputs, _axes("inputs", len(inputs)), strict=True)
    return _linear(*([names[letter] for letter in letters] for letters in found))


def _refuse_einsum(layer: Any) -> str | None:
    if layer.einsum_op is not jnp.einsum:
        return "its einsum_op is its own"
    if _einsum(layer) is None:
        said = f"its equation is {layer.einsum_str!r}" if layer.einsum_str else "it has no equation of its own"
        return f"{said}; a torch Linear contracts the input's last axes and puts the outputs in their place"
    return None


def _scaling(torch: Any) -> float:
    """LoRA's alpha / rank in a layer of peft, by adapter, or of loralib."""
    scaling = torch.scaling
    return float(next(iter(scaling.values())) if hasattr(scaling, "values") else scaling)


def _refuse_merged(torch: Any) -> str | None:
    return (
        "its LoRA weights are merged into the kernel: unmerge them first" if getattr(torch, "merged", False) else None
    )


_LORA: dict[str, Any] = {
    "settings": (Setting("LoRA's scaling (alpha / rank)", lambda _: 1.0, _scaling),),
    "refuse_torch": _refuse_merged,
}
# peft's in memory, peft's in a file, and loralib's.
_NAMES = (("lora_A.default.weight", "lora_B.default.weight"), ("lora_A.weight", "lora_B.weight"), ("lora_A", "lora_B"))


def _lora_rows(names: tuple[str, str], above: str = "") -> tuple[Row, Row]:
    return (
        Row(names[0], f"{above}lora_a", "rank inputs -> inputs rank"),
        Row(names[1], f"{above}lora_b", "outputs rank -> rank outputs"),
    )


def _lora_linear_rows(names: tuple[str, str], base: str) -> tuple[Row, ...]:
    return (
        Row(f"{base}weight", "kernel", "outputs inputs -> inputs outputs"),
        Row(f"{base}bias", "bias", "outputs -> outputs"),
        *_lora_rows(names, "lora."),
    )


_WIDTH = attrgetter("in_features", "out_features")

CONTRACTIONS = (
    Layer(
        nnx.LinearGeneral,
        ("Linear",),
        _general_rows,
        refuse=_refuse_general,
        width=lambda layer: (math.prod(layer.in_features), math.prod(layer.out_features)),
    ),
    Layer(nnx.Einsum, ("Linear",), _einsum_rows, refuse=_refuse_einsum),
    *(Layer(nnx.LoRA, (), _lora_rows(names), **_LORA) for names in _NAMES),
    *(
        Layer(nnx.LoRALinear, (), _lora_linear_rows(names, base), width=_WIDTH, **_LORA)
        for names in _NAMES
        for base in ("base_layer.", "")
    ),
)
