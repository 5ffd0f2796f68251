"""A request: what two networks, of factories or recordings, are to do side by side."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import jax
import numpy as np
from flax import nnx

from jaxae.errors import InputError, brief
from jaxae.parity.flax_recorder import record as record_flax
from jaxae.parity.recording_file import read_recording
from jaxae.port import PortOptions, from_torch, to_torch
from jaxae.port.proof import prove
from jaxae.port.users_code import call_factory, named
from jaxae.storage import npz
from torch_ref.recording import Conditions, Dtype, Recording, draw, shape_of

if TYPE_CHECKING:
    import torch

_USUAL = Conditions()


@dataclass(frozen=True)
class Request:
    """What networks are to do.

    Attributes:
        inputs: Shapes such as 2x3x32x32, or one .npz or .npy file, or a recording; none takes a recording's.
        asked: Conditions; where a network is a recording, its own.
        dtype: Dtype of floats; None takes a recording's, else float64.
        loss: Functions of the results, package.module:function, one for both networks or one for each.
        device: Kind of device, "cpu" or "gpu".
        port: Whether the second network gets the weights of the first.
        options: Names and orders of torch.
    """

    inputs: Sequence[str] = ()
    asked: Conditions = _USUAL
    dtype: Dtype | None = None
    loss: Sequence[str] = ()
    device: str = "cpu"
    port: bool = False
    options: PortOptions | None = None

    def files(self, networks: Sequence[str]) -> list[Path]:
        """The files that are read: recordings among the networks, and inputs."""
        return [Path(one) for one in networks if is_file(one)] + [
            Path(one) for one in self.inputs if shape_of(one) is None
        ]

    def record(self, networks: Sequence[str]) -> list[Recording]:
        """Recordings of networks: read, or made now.

        Raises:
            InputError: If a network is none, does not run, or was asked something else before.
        """
        if self.device == "gpu":
            # Else JAX takes three quarters of the memory that torch is to have a part of, if it has not started yet.
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        read = {one: read_recording(Path(one)) for one in networks if is_file(one)}
        if self.port and (read or len(networks) < 2):
            raise InputError("expected two factories with --port, got " + ", ".join(networks))
        before = next(iter(read.values()), None)
        asked = self._asked(before)
        made: dict[int, Any] = {index: call_factory(one) for index, one in enumerate(networks) if one not in read}
        if not made:
            return [read[one] for one in networks]
        inputs, known = self._inputs(before)
        dtype: Dtype = self.dtype or _dtype(before)
        if asked.steps and dtype == "bfloat16":
            raise InputError("expected no --steps in bfloat16, which are below a weight's last place, got some")
        options = self.options or PortOptions()
        if self.port:
            options = _port(made[0], made[1], inputs, options)
        done: dict[int, Recording] = {index: read[one] for index, one in enumerate(networks) if one in read}
        # torch's first: its names tell which layer is which.
        for index in sorted(made, key=lambda index: isinstance(made[index], nnx.Module)):
            loss = self._loss(index)
            if isinstance(made[index], nnx.Module):
                theirs = next((one for one in done.values() if one.framework == "torch"), known)
                done[index] = record_flax(
                    made[index],
                    inputs,
                    asked,
                    loss=loss,
                    dtype=dtype,
                    device=self.device,
                    name=networks[index],
                    available=theirs.weights if theirs else (),
                    options=options,
                )
            else:
                done[index] = self._record_torch(made[index], networks[index], inputs, asked, loss, dtype)
        return [done[index] for index in range(len(networks))]

    def _record_torch(
        self,
        made: object,
        name: str,
        inputs: Sequence[np.ndarray],
        asked: Conditions,
        loss: Callable[..., Any] | None,
        dtype: Dtype,
    ) -> Recording:
        if not (hasattr(made, "state_dict") and hasattr(made, "named_modules")):
            raise InputError(f"expected {name} to make a torch or an NNX module, got {type(made).__name__}")
        import torch

        from torch_ref.errors import InputError as TheirError
        from torch_ref.recorder import record as record_torch

        if self.device == "gpu" and not torch.cuda.is_available():
            raise InputError("expected a gpu that torch can use, got none")
        device = "cuda" if self.device == "gpu" else "cpu"
        try:
            network: Any = made
            return record_torch(network, inputs, asked, loss=loss, dtype=dtype, device=device, name=name)
        except TheirError as error:
            raise InputError(str(error)) from error

    def _asked(self, before: Recording | None) -> Conditions:
        """What is asked, as a recording was; what is said beside it must be the same."""
        own = self.asked if not self.loss else replace(self.asked, loss=self.loss[0].rpartition(":")[2])
        if before is None:
            return own
        for field in fields(Conditions):
            said, theirs = getattr(own, field.name), getattr(before.asked, field.name)
            if said not in (theirs, field.default):
                raise InputError(f"expected {field.name} as in the recording, {theirs!r}, got {said!r}")
        if before.asked.loss and not self.loss:
            raise InputError(f"expected --loss, the recording's function {before.asked.loss!r}, got none")
        return before.asked

    def _loss(self, index: int) -> Callable[..., Any] | None:
        if len(self.loss) > 2:
            raise InputError(f"expected one or two functions with --loss, got {len(self.loss)}")
        return named(self.loss[min(index, len(self.loss) - 1)]) if self.loss else None

    def _inputs(self, before: Recording | None) -> tuple[list[np.ndarray], Recording | None]:
        """The inputs, and the torch recording that they are of, if they are."""
        if not self.inputs:
            if before is None:
                raise InputError("expected --inputs, shapes such as 2x3x32x32 or a file, got none")
            return list(before.inputs), None
        shapes = [shape for one in self.inputs if (shape := shape_of(one)) is not None]
        if len(shapes) == len(self.inputs):
            return draw(shapes), None
        path = Path(self.inputs[0])
        if len(self.inputs) > 1 or path.suffix not in (".npz", ".npy"):
            said = " ".join(self.inputs)[:80]
            raise InputError(f"expected --inputs of shapes such as 2x3x32x32, or one .npz or .npy file, got {said}")
        arrays = {"0": npz.read_npy(path)} if path.suffix == ".npy" else npz.read(path)
        if "about" in arrays:
            recorded = read_recording(path)
            return list(recorded.inputs), recorded if recorded.framework == "torch" else None
        if not arrays or any(array.dtype.kind not in "fiub" for array in arrays.values()):
            raise InputError(f"expected --inputs of numbers, got {path}")
        return list(arrays.values()), None


def is_file(network: str) -> bool:
    """Whether a network is said by the file of its recording."""
    return network.endswith(".npz") or (":" not in network and Path(network).exists())


def _dtype(before: Recording | None) -> Any:
    return before.dtype if before is not None and before.dtype in get_args(Dtype) else "float64"


def _port(first: Any, second: Any, inputs: Sequence[np.ndarray], options: PortOptions) -> PortOptions:
    """Give the second network the weights of the first; names and orders that make them the same, where there are."""
    flax, torch = (isinstance(first, nnx.Module), isinstance(second, nnx.Module)), hasattr(first, "state_dict")
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        if flax == (True, True):
            try:
                nnx.update(second, nnx.state(first))
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise InputError(f"expected weights that the second network takes, got: {brief(error, 200)}") from None
            return options
        if flax == (False, False):
            _load(second, first.state_dict())
            return options
        network, module = (first, second) if torch else (second, first)
        options, constants = _proven(module, network, inputs, options)
        if flax[1]:
            from_torch(second, network.state_dict(), ignore=constants, **options)
        else:
            _load(second, to_torch(module, like=network.state_dict(), ignore=constants, **options))
        return options


def _proven(
    module: nnx.Module, network: Any, inputs: Sequence[np.ndarray], options: PortOptions
) -> tuple[PortOptions, tuple[str, ...]]:
    """Names and orders under which the networks are the same, and torch's constants; else torch's orders.

    The judge finds why.
    """
    try:
        proof = prove(module, network, tuple(inputs), **options)
    except InputError:
        return PortOptions(**{"flatten": "CHW", "unflatten": "CHW", **options}), ()  # type: ignore[typeddict-item]
    return proof.options, proof.constants


def _load(network: "torch.nn.Module", state: "dict[str, torch.Tensor]") -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"expected weights that the second network takes, got: {' '.join(str(error).split())[:300]}"
        ) from None
