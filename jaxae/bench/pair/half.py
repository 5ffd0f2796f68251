"""One framework's half of a pair: its owner's function makes it in each process, files have its weights and arrays."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxae.bench.contenders import Framework
from jaxae.bench.pair.networks import NetworkPair, call
from jaxae.bench.pair.weights import fill_nnx, fill_torch, write_nnx, write_torch
from jaxae.errors import InputError, brief
from jaxae.port.users_code import named
from jaxae.storage import npz

if TYPE_CHECKING:
    import torch

LEARNING_RATE = 1e-3  # of Adam, where no optimizers are given
_ARRAYS = "arrays.npz"


class Half(NamedTuple):
    """A network with its loss and optimizer, and what they are given.

    Attributes:
        module: Network, a torch or an NNX module.
        inputs: Arguments of the network.
        targets: What the loss takes beside the result and the inputs.
        loss: Function of the result, the inputs and the targets that gives a scalar.
        call: Call of the network.
        optimizer: Function from torch's parameters to an optimizer, or an optax transformation.
    """

    module: object
    inputs: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]
    loss: Callable[..., object]
    call: Callable[..., object]
    optimizer: object


Halves = Mapping[Framework, Half]


def torch_adam(parameters: "Iterable[torch.Tensor]") -> "torch.optim.Optimizer":
    """Torch's usual optimizer."""
    import torch

    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)


def half_of(
    pair: NetworkPair, framework: Framework, inputs: Iterable[np.ndarray], targets: Iterable[np.ndarray]
) -> Half:
    """A framework's half of a pair, around the pair's own network; torch's on the CPU in float32."""
    module: Any
    if framework == "torch":
        module = bare(pair.torch_module).cpu().float()
        make_optimizer = torch_adam if pair.optimizers is None else pair.optimizers[0]
        return Half(module, tuple(inputs), tuple(targets), pair.torch_loss, pair.torch_call or call, make_optimizer)
    import optax

    from jaxae.bench.pair.forms import in_nnx

    pair = in_nnx(pair)
    optimizer = optax.adam(LEARNING_RATE) if pair.optimizers is None else pair.optimizers[1]
    return Half(pair.nnx_module, tuple(inputs), tuple(targets), pair.jax_loss, pair.nnx_call or call, optimizer)


def bare(module: "torch.nn.Module") -> "torch.nn.Module":
    """A torch module without what `torch.compile` has put around it."""
    return getattr(module, "_orig_mod", module)


def make_pair(name: str) -> NetworkPair:
    """The pair that a user's function makes, FILE.py:make or package.module:make.

    Raises:
        InputError: If there is none, or it returns something else.
    """
    function = named(name)
    try:
        made = function()
    except InputError:
        raise
    except Exception as error:  # whatever the user's code raises
        told = f"{type(error).__name__}: {brief(error, 200)}"
        raise InputError(f"expected {name} to return a pair, got {told}") from error
    return NetworkPair.made(made, name)


def write_halves(halves: Halves, folder: Path) -> None:
    """Write the weights and arrays of both halves into a folder.

    Raises:
        InputError: If a network holds numbers that safetensors have not, complex ones say.
    """
    arrays = {}
    for framework, half in halves.items():
        for what, some in (("inputs", half.inputs), ("targets", half.targets)):
            arrays |= {f"{framework}.{what}.{number}": one for number, one in enumerate(some)}
    npz.write(folder / _ARRAYS, arrays)
    modules: dict[Framework, Any] = {framework: half.module for framework, half in halves.items()}
    write_torch(modules["torch"], folder / "torch.safetensors")
    write_nnx(modules["jax"], folder / "jax.safetensors")


def read_half(pair: NetworkPair, folder: Path, framework: Framework) -> Half:
    """A framework's half of a pair that was made anew, with the weights and arrays of a folder that was written.

    Raises:
        InputError: If the network is another than the one whose weights were written.
    """
    arrays = npz.read(folder / _ARRAYS)
    inputs, targets = (
        [one for name, one in arrays.items() if name.startswith(f"{framework}.{what}.")]
        for what in ("inputs", "targets")
    )
    half = half_of(pair, framework, inputs, targets)
    module: Any = half.module
    (fill_torch if framework == "torch" else fill_nnx)(module, folder / f"{framework}.safetensors")
    return half
