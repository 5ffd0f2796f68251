"""Two networks side by side, run on the same inputs with every call of a layer noted down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from jaxae.port.arrays import from_tensor
from jaxae.port.calls import Call, NNXRecorder
from jaxae.port.names import unwrap
from jaxae.port.plan import make_plan
from jaxae.port.relation import COARSE_TOLERANCE, TOLERANCE
from jaxae.port.rounding import rounds_in_jax, rounds_in_torch
from jaxae.port.structure import Place
from torch_ref.calls import record_calls

if TYPE_CHECKING:
    import torch

# Results and calls, for each set of inputs.
Runs = list[tuple[list[np.ndarray], list[Call]]]


@dataclass(frozen=True)
class TorchLayer:
    """A torch module that holds tensors of its own.

    Attributes:
        path: Path of the module.
        kind: Names of its class and the classes that it extends.
        shapes: Shapes of its tensors by their names below it.
        own: Whether its class is none of torch's.
    """

    path: str
    kind: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    own: bool = False


class Networks:
    """Two networks side by side: torch's, which has random parameters, and the Flax twin that is given them.

    Args:
        module: Torch network in float64.
        twin: Flax network in float64.
        run_torch: Call of the torch network on one set of inputs.
        run_nnx: Call of the Flax network on the same.
        inputs: Sets of arguments, of torch and of Flax.
        coarse: Whether something in them is known to be rounded to less than float64.

    Attributes:
        coarse: Whether one of them computes in part in less than float64.
        tolerance: Largest difference, relative to the largest element, of what is the same.
    """

    def __init__(
        self,
        module: "torch.nn.Module",
        twin: nnx.Module,
        run_torch: Callable[..., Any],
        run_nnx: Callable[..., Any],
        inputs: Sequence[tuple[list[np.ndarray], list[np.ndarray]]],
        *,
        coarse: bool = False,
    ):
        self.module, self.twin = module, twin
        self._run_torch, self._inputs = run_torch, inputs
        self._recorder = NNXRecorder(twin, run_nnx)
        self.coarse = (
            coarse or rounds_in_jax(twin, run_nnx, inputs[0][1]) or rounds_in_torch(module, run_torch, inputs[0][0])
        )
        self.tolerance = COARSE_TOLERANCE if self.coarse else TOLERANCE

    @cached_property
    def places(self) -> list[Place]:
        """The layers of the Flax network."""
        return make_plan(self.twin).places

    def torch_runs(self) -> Runs:
        """Results and calls of the torch network on each set of inputs."""
        import torch

        runs = []
        for arguments, _ in self._inputs:
            with torch.no_grad():
                result, calls = record_calls(
                    self.module, lambda model, given=arguments: self._run_torch(model, *map(torch.from_numpy, given))
                )
            leaves = [leaf for leaf in jax.tree.leaves(result) if torch.is_tensor(leaf)]
            runs.append(([leaf.detach().numpy() for leaf in leaves], calls))
        return runs

    def nnx_runs(self, count: int | None = None) -> Runs:
        """The same of the Flax network, on the first sets of inputs or on all."""
        state = nnx.state(self.twin)
        runs = []
        for _, arguments in self._inputs[:count]:
            result, calls = self._recorder(state, *arguments)
            runs.append(([np.asarray(leaf) for leaf in jax.tree.leaves(result)], calls))
        return runs

    def tensors(self) -> dict[str, np.ndarray]:
        """The torch network's tensors by their names without wrappers."""
        state = self.module.state_dict()
        return {short: from_tensor(full, state[full]) for short, full in unwrap(state).items()}

    def layers(self, calls: Sequence[Call]) -> list[TorchLayer]:
        """The torch modules that hold tensors of their own, in the order in which they are first called."""
        modules = dict(self.module.named_modules())
        holders = [path for path in _first_called(calls) if _holds(modules[path])]
        found = []
        for path in holders:
            below = [other for other in holders if other != path and other.startswith(f"{path}." if path else "")]
            relative = [other[len(path) + 1 if path else 0 :] for other in below]
            state = modules[path].state_dict()
            own = {n: tuple(v.shape) for n, v in state.items() if not any(n.startswith(f"{one}.") for one in relative)}
            found.append(TorchLayer(path, _kind(modules[path]), own, not _is_torchs(modules[path])))
        return found

    def composites(self, calls: Sequence[Call]) -> list[TorchLayer]:
        """The torch modules of somebody's own that hold tensors in layers below them alone, in the order of calls."""
        modules = dict(self.module.named_modules())
        found = []
        for path in _first_called(calls):
            below = {name: tuple(value.shape) for name, value in modules[path].named_parameters()}
            own = [one for one in modules[path]._parameters.values() if one is not None]
            if below and path and not own and not _is_torchs(modules[path]):
                found.append(TorchLayer(path, _kind(modules[path]), below, own=True))
        return found

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes of the torch network's modules by their paths without wrappers."""
        paths = dict(self.module.named_modules())
        return {next(iter(unwrap([path])), ""): _kind(module) for path, module in paths.items()}


def _first_called(calls: Sequence[Call]) -> list[str]:
    return list(dict.fromkeys(call.path.partition("#")[0] for call in calls))


def _kind(module: "torch.nn.Module") -> tuple[str, ...]:
    return tuple(base.__name__ for base in type(module).__mro__)


def _is_torchs(module: "torch.nn.Module") -> bool:
    return type(module).__module__.partition(".")[0] == "torch"


def _holds(module: "torch.nn.Module") -> bool:
    own = [*module._parameters.values(), *module._buffers.values()]
    return any(one is not None for one in own) or "MultiheadAttention" in type(module).__name__
