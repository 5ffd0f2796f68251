"""Ports from file to file, by way of an NNX module."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from flax import nnx
from jax.typing import DTypeLike

from jaxae.config import ModelConfig
from jaxae.errors import InputError
from jaxae.port.conversion import network_of
from jaxae.port.files import load, save, written_layout
from jaxae.port.options import PortOptions
from jaxae.port.project_models import settings_of
from jaxae.port.proof import Proof, prove
from jaxae.port.report import PortReport
from jaxae.port.source import WeightSource, read_source
from jaxae.port.trial import Inputs
from jaxae.port.users_code import call_factory
from jaxae.port.verify import Verification, verify
from jaxae.port.weights import ToTorchKeywords
from jaxae.storage.files import check_writable, whole_or_absent
from jaxae.storage.safetensors import Layout
from jaxae.training.run_folder import run_files

if TYPE_CHECKING:
    import torch


def port_file(
    source: WeightSource,
    path: Path,
    module: nnx.Module,
    *,
    layout: Layout | None = None,
    model: ModelConfig | None = None,
    verified: bool = False,
    ignore: Iterable[str] = (),
    missing: Iterable[str] = (),
    untie: bool = False,
    dtype: DTypeLike | None = None,
    like: WeightSource | None = None,
    **options: Unpack[PortOptions],
) -> tuple[PortReport, Verification | None]:
    """Write a file's weights to another file, whole or not at all.

    Args:
        source: The weights.
        path: Path of the file to write, which ends in .safetensors, .pt or .pth.
        module: An NNX module of the weights' network, which is filled; abstract ones will do.
        layout: Framework whose names and axes are written; None takes torch's for .pt and .pth, else the one that the
            source has not.
        model: Settings of the network, where it is one of the project's models.
        verified: Whether to run both networks, and to write nothing where they differ.
        ignore: Patterns of torch tensors to leave aside, or, of weights in Flax's layout, to leave as `like` has them.
        missing: Patterns of NNX variables that torch lacks and that keep their values.
        untie: Whether weights that are one tensor in torch may become several variables.
        dtype: Dtype that floats are cast to; None keeps the source's.
        like: Weights in torch's layout whose names, order and shapes the file gets.
        **options: Names, flatten and unflatten of `PortOptions`.

    Returns:
        What became what on the way into the NNX module; how far the two files' networks are apart, where that was
        asked for.

    Raises:
        InputError: If the weights do not port, the file cannot be written, or the networks differ.
    """
    if verified:
        check_verifiable(model)
    if path.suffix == ".safetensors" and layout is None:
        layout = "flax" if source.layout == "torch" else "torch"
    layout = written_layout(path, layout)
    origins = [Path(one.origin) for one in (source, like) if one is not None]
    check_writable(path, inputs=[file for one in origins for file in (run_files(one) if one.is_dir() else [one])])
    from_torch = source.layout == "torch"
    given: Any = {"dtype": dtype, "missing": missing, "untie": untie, **({"ignore": ignore} if from_torch else {})}
    given = {name: value for name, value in given.items() if value}
    report = load(module, source, **given, **(options if from_torch else PortOptions()))
    more = ToTorchKeywords() if from_torch and layout == "flax" else ToTorchKeywords(**options)
    if layout == "torch":
        more["carried"] = report.carried
    if like is not None:
        more["like"] = like
    if ignore and not from_torch:
        more["ignore"] = ignore
    settings = None if model is None else settings_of(model)
    if not verified or model is None:
        save(path, module, layout=layout, model=settings, **more)
        return report, None
    with whole_or_absent(path) as beside:
        save(beside, module, layout=layout, model=settings, **more)
        return report, verify(model, source, read_source(beside))


def check_verifiable(model: ModelConfig | None) -> None:
    """Refuse to verify a network that is none of the project's models.

    Raises:
        InputError: If it is none.
    """
    if model is None:
        remedy = "jaxae.parity.compare runs any network"
        raise InputError(f"expected one of jaxae's own models to verify, got another: {remedy}")


def prove_file(
    source: WeightSource,
    module: nnx.Module,
    factory: "Callable[[], torch.nn.Module]",
    inputs: Inputs,
    **options: Unpack[PortOptions],
) -> tuple[Proof, WeightSource]:
    """Run a file's network in both frameworks, to find names and orders and to prove a port.

    Args:
        source: The weights, in either layout.
        module: An NNX module of the weights' network.
        factory: Function that makes the torch network.
        inputs: Arguments of the torch network, or their shapes.
        **options: Names, flatten and unflatten of `PortOptions`, as far as they are known.

    Returns:
        The proof; the weights by the torch network's own names.

    Raises:
        InputError: If the networks differ, or the weights are those of another.
    """
    network, own = network_of(source, factory) if source.layout == "torch" else (factory(), source)
    return prove(module, network, inputs, **options), own


def make_module(factory: str) -> nnx.Module:
    """Call a user's factory of an NNX module, package.module:factory, without arguments.

    Raises:
        InputError: If there is none of that name, or it makes something else.
    """
    made = call_factory(factory)
    if not isinstance(made, nnx.Module):
        raise InputError(f"expected {factory} to make an nnx.Module, got {type(made).__name__}")
    return made


def make_network(factory: str) -> "torch.nn.Module":
    """Call a user's factory of a torch module, in the same way."""
    made: Any = call_factory(factory)
    if not (hasattr(made, "state_dict") and hasattr(made, "named_modules")):
        raise InputError(f"expected {factory} to make a torch.nn.Module, got {type(made).__name__}")
    return made
