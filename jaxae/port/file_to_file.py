"""Ports from file to file, by way of an NNX module."""

import importlib
import sys
from pathlib import Path
from typing import Any, Unpack

from flax import nnx

from jaxae.config import ModelConfig
from jaxae.errors import InputError
from jaxae.port.files import SaveKeywords, load, save, written_layout
from jaxae.port.options import PortOptions
from jaxae.port.project_models import settings_of
from jaxae.port.report import PortReport
from jaxae.port.source import WeightSource, read_source
from jaxae.port.verify import Verification, verify
from jaxae.storage.files import check_writable, whole_or_absent
from jaxae.storage.safetensors import Layout


def port_file(
    source: WeightSource,
    path: Path,
    module: nnx.Module,
    *,
    layout: Layout | None = None,
    model: ModelConfig | None = None,
    verified: bool = False,
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
        **options: Names, flatten and unflatten of `PortOptions`.

    Returns:
        What became what on the way into the NNX module; how far the two files' networks are apart, where that was
        asked for.

    Raises:
        InputError: If the weights do not port, the file cannot be written, or the networks differ.
    """
    if verified and model is None:
        remedy = "jaxae.parity.compare runs any network"
        raise InputError(f"expected one of jaxae's own models to verify, got another: {remedy}")
    if path.resolve() == Path(source.origin).resolve():
        raise InputError(f"expected another file to write than the one to read, got {path} twice")
    if path.suffix == ".safetensors" and layout is None:
        layout = "flax" if source.layout == "torch" else "torch"
    layout = written_layout(path, layout)
    check_writable(path)
    from_torch = source.layout == "torch"
    report = load(module, source, **(options if from_torch else PortOptions()))
    more = SaveKeywords() if from_torch and layout == "flax" else SaveKeywords(**options)
    if layout == "torch":
        more["carried"] = report.carried
    settings = None if model is None else settings_of(model)
    if not verified or model is None:
        save(path, module, layout=layout, model=settings, **more)
        return report, None
    try:
        with whole_or_absent(path) as beside:
            save(beside, module, layout=layout, model=settings, **more)
            return report, verify(model, source, read_source(beside))
    except OSError as error:
        raise InputError(f"expected {path} to be written, got an error: {error.strerror}") from error


def make_module(factory: str) -> nnx.Module:
    """Call a user's factory of an NNX module, package.module:factory, without arguments.

    Raises:
        InputError: If there is none of that name, or it makes something else.
    """
    package, _, name = factory.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made: Any = getattr(importlib.import_module(package), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"expected package.module:factory, got {factory}: {error}") from error
    if not isinstance(made, nnx.Module):
        raise InputError(f"expected {factory} to make an nnx.Module, got {type(made).__name__}")
    return made
