"""Weights of a pair's networks in files: every number of a network, put into another of the same structure."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxae.errors import InputError
from jaxae.storage import safetensors

if TYPE_CHECKING:
    import jax
    import torch
    from flax import nnx


def tensors_of(module: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    """Parameters and buffers of a torch module by name, those too that no state_dict has; a tied one by each name."""
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: one.detach() for name, one in named}


def write_torch(module: "torch.nn.Module", path: Path) -> None:
    """Write the tensors of a torch module on the CPU."""
    tensors = {name: one.numpy() for name, one in tensors_of(module).items()}
    safetensors.write(path, tensors, safetensors.weight_metadata("torch"))


def fill_torch(module: "torch.nn.Module", path: Path) -> None:
    """Put the tensors of a file into a torch module, in place: what is tied stays so.

    Raises:
        InputError: If the module has others.
    """
    import torch

    stored, own = safetensors.read(path).arrays, tensors_of(module)
    _check_alike("torch", {name: tuple(one.shape) for name, one in own.items()}, stored)
    for name, one in own.items():
        one.copy_(torch.from_numpy(stored[name]))


def write_nnx(module: "nnx.Module", path: Path) -> None:
    """Write the variables of an NNX module by their dotted paths, without random states."""
    arrays = {name: np.asarray(one) for name, one in _variables(module)[0].items()}
    safetensors.write(path, arrays, safetensors.weight_metadata("flax"))


def fill_nnx(module: "nnx.Module", path: Path) -> None:
    """Put the variables of a file into an NNX module, whose random states stay its own.

    Raises:
        InputError: If the module has others.
    """
    import jax
    import jax.numpy as jnp
    from flax import nnx

    stored, (own, tree) = safetensors.read(path).arrays, _variables(module)
    _check_alike("NNX", {name: np.shape(one) for name, one in own.items()}, stored)
    nnx.update(module, jax.tree.unflatten(tree, [jnp.asarray(stored[name]) for name in own]))


def _variables(module: "nnx.Module") -> "tuple[dict[str, jax.Array], Any]":
    """Arrays of the variables by their dotted paths, in the order of their tree."""
    import jax
    from flax import nnx

    found, tree = jax.tree.flatten_with_path(nnx.state(module, nnx.Not(nnx.RngState)))
    return {jax.tree_util.keystr(path, simple=True, separator="."): one for path, one in found}, tree


def _check_alike(framework: str, own: Mapping[str, tuple[int, ...]], stored: Mapping[str, np.ndarray]) -> None:
    first = {name: one.shape for name, one in stored.items()}
    if own == first:
        return
    name = next(name for name in (*first, *own) if own.get(name) != first.get(name))
    told = [f"of shape {one[name]}" if name in one else "absent" for one in (own, first)]
    raise InputError(
        f"expected a function that makes the same {framework} network at each call, "
        f"got {name} {told[0]}, at first {told[1]}"
    )
