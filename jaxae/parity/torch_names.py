"""Names: what torch calls the layers and the tensors of an NNX module, and in which axes it has them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxae.port.calls import Call, is_loop
from jaxae.port.flatten import feature_indices
from jaxae.port.held import whole_of
from jaxae.port.options import PortOptions
from jaxae.port.plan import Transfer, make_plan, raise_problems

_STATE = (nnx.Param, nnx.BatchStat)


class TorchNames:
    """What torch calls the parts of an NNX module.

    Args:
        module: The module.
        available: Names of torch's tensors where they are known; a Sequential's numbers may have other gaps.
        options: Names, flatten and unflatten, by default "CHW".

    Raises:
        InputError: If an option does not fit the module.
    """

    def __init__(self, module: nnx.Module, available: Iterable[str], options: PortOptions):
        self._available = list(available)
        # A port asks for the order of a flatten that shapes do not tell; torch's is the one to try.
        said: Any = {"flatten": options.get("flatten") or "CHW", "unflatten": options.get("unflatten") or "CHW"}
        self._said = {"names": options.get("names"), **said}
        plan = make_plan(module, self._available, **self._said)
        others = make_plan(module, self._available, flatten="CHW", unflatten="CHW").problems
        raise_problems("names and orders of the NNX module", [one for one in plan.problems if one not in others])
        self._full = plan.names
        self.paths = {one.place.path: self._layer(one) for one in plan.transfers}
        self.sums = [[self._name(name) for name in one.torch] for one in plan.transfers if len(one.torch) > 1]
        self.notes = [one for one in plan.problems if "no row says" in one or "is refused" in one]
        self._orders = {
            "inputs": self._features(plan.transfers, False),
            "outputs": self._features(plan.transfers, True),
        }

    def tensors(self, module: nnx.Module, *, trained: bool = False) -> dict[str, np.ndarray]:
        """The variables of a module of the same structure, or gradients in their places, as torch has them.

        Each term of a sum has the sum; what has no counterpart in torch keeps its name and axes.

        Args:
            module: The module.
            trained: Whether only parameters are wanted, and no statistics.
        """
        plan = make_plan(module, self._available, **self._said)
        found: dict[str, np.ndarray] = {}
        for one in [one for one in plan.transfers if one.trained or not trained]:
            parts = tuple(plain(held.get_value()) for held in one.variables)
            whole = one.row.to_torch(parts, one.sizes)
            found |= {self._name(name): whole for name in one.torch}
        covered = {id(whole_of(held)) for one in plan.transfers for held in one.variables}
        for path, node in nnx.iter_graph(module):
            if isinstance(node, nnx.Param if trained else _STATE) and id(node) not in covered:
                found.setdefault(".".join(map(str, path)), plain(node.get_value()))
        return found

    def calls(self, calls: Sequence[Call]) -> list[Call]:
        """Calls by torch's paths, with features in torch's order; a loop has the path of the cell in it."""
        named = []
        for call in calls:
            path, mark, count = call.path.partition("#")
            below = [theirs for ours, theirs in self.paths.items() if ours.startswith(f"{path}.")]
            path = self.paths.get(path, (below or [path])[0] if is_loop(call) else path)
            inputs, outputs = (
                [_reordered(plain(array), self._orders[what].get(path)) for array in arrays]
                for what, arrays in (("inputs", call.inputs), ("outputs", call.outputs))
            )
            named.append(call._replace(path=path + mark + count, inputs=inputs, outputs=outputs))
        return named

    def _name(self, short: str) -> str:
        return self._full.get(short, short)

    def _layer(self, one: Transfer) -> str:
        """The path of a layer in torch, with the parts before it that all names have."""
        path = one.place.template.partition("*")[0].rstrip(".").format(*one.place.index)
        short, full = one.torch[0], self._name(one.torch[0])
        return full.removesuffix(short) + path if full.endswith(short) else path

    def _features(self, transfers: Sequence[Transfer], outputs: bool) -> dict[str, np.ndarray]:
        """Orders of the features that go into torch's layers or out of them, where Flax has another."""
        orders = {}
        for one in transfers:
            into, out = (
                feature_indices(said.get(one.place.path, "CHW")) if isinstance(said, Mapping) else None
                for said in (self._said["flatten"], self._said["unflatten"])
            )
            found = (into if one.place.is_norm else out) if outputs else into
            if found is not None:
                orders[self.paths[one.place.path]] = np.argsort(found)
        return orders


def plain(value: ArrayLike | jax.ShapeDtypeStruct | None) -> np.ndarray:
    """A copy as NumPy itself has it: narrow floats in float32."""
    array = np.array(value)
    return array.astype(np.float32) if array.dtype.itemsize < 4 and array.dtype.kind in "fV" else array


def _reordered(array: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    return array if order is None or array.shape[-1:] != order.shape else array[..., order]
