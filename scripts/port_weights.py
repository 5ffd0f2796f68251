"""Port weights between PyTorch and Flax, files to files."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from jaxae.cli import run
from jaxae.config import AutoencoderConfig, ModelConfig
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.port import PortReport, describe, from_torch, save
from jaxae.port.files import Layout, WeightFile, from_flax, read_file
from jaxae.port.project_models import recognise, settings_of

# Rounding errors of one forward pass, in units of the dtype; measured in float32: 1 to 4.
TOLERANCE = 32


def main(
    src: tyro.conf.Positional[Path],
    dst: tyro.conf.Positional[Path | None] = None,
    to: Literal["flax", "torch"] | None = None,
    verify: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    inspect: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    model: str | None = None,
    flatten: tuple[str, ...] = (),
    unflatten: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> None:
    """Port weights between PyTorch and Flax.

    The project's own models are known by their tensors.

    Args:
        src: A .pt or .pth file, a .safetensors file in either layout, or a run directory.
        dst: A .safetensors, .pt or .pth file.
        to: Layout to write. [default: torch for .pt and .pth, else the one that src has not]
        verify: Run source and result on random input and print the largest difference.
        inspect: Print what becomes what and write nothing.
        model: Factory of your own NNX module, package.module:factory; called without arguments.
        flatten: For layers after a flatten, torch's channels and space: fc1=16,5,5; or CHW.
        unflatten: The same for layers whose outputs become an image.
        names: Where paths differ, Flax's and torch's: encoder.conv=features.0
    """
    if inspect == (dst is not None) or (inspect and verify):
        raise InputError("expected DST to write to, or --inspect alone")
    held = read_file(src)
    if any(str(one.dtype).endswith("float64") for one in held.tensors.values()):
        jax.config.update("jax_enable_x64", True)
    config = recognise(held) if model is None else None
    module: Any = nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0))) if config else (
        _factory(str(model))
    )  # fmt: skip
    options = _options(flatten, unflatten, names)
    if inspect:
        source = held.tensors if held.layout == "torch" else None
        print(describe(module, source, **options))
        return
    assert dst is not None
    if dst.resolve() == src.resolve():
        raise InputError(f"expected DST beside SRC, got {dst} for both")
    layout = to or _other_layout(held, dst)
    report = _load(module, held, options)
    model_settings = settings_of(config) if config else None
    more = options if layout == "torch" else {}
    if layout == "torch":
        more = {**options, "carried": report.carried}
    save(dst, module, layout=layout, model=model_settings, **more)
    _tell(held, report)
    if verify:
        if config is None:
            raise InputError("--verify runs jaxae's own models; jaxae.parity.compare runs yours")
        _verify(config, held, read_file(dst))


def _factory(model: str) -> nnx.Module:
    package, _, name = model.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = getattr(importlib.import_module(package), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"expected --model package.module:factory, got {model}: {error}"
        ) from error
    if not isinstance(module, nnx.Module):
        raise InputError(f"expected {model} to make an nnx.Module, got {type(module).__name__}")
    return module


def _options(
    flatten: tuple[str, ...], unflatten: tuple[str, ...], names: tuple[str, ...]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, given in (("flatten", flatten), ("unflatten", unflatten)):
        if given == ("CHW",):
            options[key] = "CHW"
        elif given:
            pairs = [_pair(key, one) for one in given]
            options[key] = {path: _order(key, order) for path, order in pairs}
    if names:
        options["names"] = dict(_pair("names", one) for one in names)
    return options


def _pair(flag: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals:
        raise InputError(f"expected --{flag} path=value, got {text!r}")
    return left, right


def _order(flag: str, text: str) -> str | tuple[int, ...]:
    try:
        return text if text == "CHW" else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise InputError(f"expected --{flag} path=channels,height,width, got {text!r}") from None


def _other_layout(held: WeightFile, dst: Path) -> Layout:
    if dst.suffix != ".safetensors":
        return "torch"
    return "flax" if held.layout == "torch" else "torch"


def _load(module: nnx.Module, held: WeightFile, options: dict[str, Any]) -> PortReport:
    if held.layout == "torch":
        return from_torch(module, held.tensors, **options)
    return from_flax(module, held.tensors)


def _tell(held: WeightFile, report: PortReport) -> None:
    """On stderr, what the file written does not say."""
    lines = [*(f"forward-only: {one}" for one in report.forward_only), *report.notes]
    content = held.content or {}
    if content is not held.tensors and content:
        rest = [name for name in content if content[name] is not held.tensors]
        lines.append(f"only weights are written, not {', '.join(map(str, rest))}")
    for line in lines:
        print(line, file=sys.stderr)


def _verify(config: ModelConfig, source: WeightFile, written: WeightFile) -> None:
    """Each file in its own framework, on the same random input."""
    rng = np.random.default_rng(0)
    shape = (8, config.num_features) if isinstance(config, AutoencoderConfig) else (8, 28, 28, 1)
    x = rng.random(shape)
    eps = None if isinstance(config, AutoencoderConfig) else rng.normal(size=(8, config.num_latent))
    label = None
    if not isinstance(config, AutoencoderConfig) and config.num_classes:
        label = rng.integers(config.num_classes, size=8)
    one, two = (_run(config, held, x, label, eps) for held in (source, written))
    worst = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
    largest = max(float(np.abs(a).max()) for a in one)
    print(f"largest difference {worst:.2e} on random input, outputs up to {largest:.2f} "
          f"({source.layout} {_dtype(source)}, {written.layout} {_dtype(written)})")  # fmt: skip
    coarsest = max(float(jnp.finfo(_dtype(held)).eps) for held in (source, written))
    if not worst <= TOLERANCE * coarsest * largest:
        raise InputError(f"the networks differ by {worst:.2e} of {largest:.2f}")


def _dtype(held: WeightFile) -> str:
    return str(next(iter(held.tensors.values())).dtype).removeprefix("torch.")


def _run(config: ModelConfig, held: WeightFile, x: Any, label: Any, eps: Any) -> list[np.ndarray]:
    if held.layout == "flax":
        model: Any = build(config, rngs=nnx.Rngs(0))
        from_flax(model, held.tensors)
        dtype = jax.tree.leaves(nnx.state(model))[0].dtype
        with jax.default_matmul_precision("highest"):
            if isinstance(config, AutoencoderConfig):
                return [np.asarray(model(x.astype(dtype)).reconstruction, np.float64)]
            out: Any = model(x.astype(dtype), label, eps=eps.astype(dtype))
        return [np.asarray(one, np.float64) for one in (out.mean, out.log_var, out.reconstruction)]
    return _run_torch(config, held, x, label, eps)


def _run_torch(
    config: ModelConfig, held: WeightFile, x: Any, label: Any, eps: Any
) -> list[np.ndarray]:
    import torch

    import torch_ref.models as reference
    from jaxae.port.arrays import from_tensor, to_tensor
    from jaxae.port.names import unwrap

    if isinstance(config, AutoencoderConfig):
        net: Any = reference.Autoencoder(
            config.num_features, config.hidden, activation=config.activation
        )
    else:
        net = reference.ConditionalVariationalAutoencoder(
            784, config.num_latent, config.num_classes,
            reconstruct_condition=config.reconstruct_condition,
            output_leaky_relu=config.output_leaky_relu,
        )  # fmt: skip
    state = {
        short: to_tensor(from_tensor(full, held.tensors[full]))
        for short, full in unwrap(held.tensors).items()
    }
    dtype = next(iter(state.values())).dtype
    net.to(dtype).load_state_dict(state)
    cast = lambda array: torch.from_numpy(array).to(dtype)  # noqa: E731
    with torch.no_grad():
        if isinstance(config, AutoencoderConfig):
            return [net(cast(x)).double().numpy()]
        labels = None if label is None else torch.from_numpy(label)
        mean, log_var, _, image = net(cast(x.transpose(0, 3, 1, 2).copy()), labels, cast(eps))
    return [one.double().numpy() for one in (mean, log_var, image.permute(0, 2, 3, 1))]


if __name__ == "__main__":
    run(main)
