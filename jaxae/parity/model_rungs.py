"""Rungs of whole networks: stages, forward pass, cost, gradients, one step of Adam."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from jaxae.network.models import AutoencoderOutput, ConditionalVAE, VAEOutput, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.parity.calls import record_nnx, record_torch
from jaxae.parity.channel_order import align
from jaxae.parity.gap import Gap, measure
from jaxae.parity.pair import Feed, Pair, TorchBatch
from jaxae.parity.rung_result import RungResult
from jaxae.parity.tolerance import ADAM_IDENTICAL, ADAM_OWN, FORWARD, GRADIENT
from jaxae.parity.trajectory import Snapshot, jax_steps, torch_steps


def stage_row(pair: Pair, feed: Feed) -> RungResult:
    """Outputs of every named layer."""
    batch = pair.batch(feed, 0)
    with torch.no_grad():
        _, calls = record_torch(pair.reference, lambda model: _call_torch(model, batch))
    _, twin_calls = record_nnx(pair.twin, lambda model: _call_twin(model, pair, feed))
    stages = {call.path: call for call in calls if call.path}
    got = {call.path: call.outputs[0] for call in twin_calls if call.path}
    wanted = {path: align(call, call.outputs[0], got.get(path)) for path, call in stages.items()}
    return pair.result("stages", measure(got, wanted), FORWARD[pair.dtype])


def forward_row(pair: Pair, feed: Feed, *, rung: str = "forward pass") -> RungResult:
    """Mean, log variance, code (given eps) and reconstruction; shapes first."""
    batch = pair.batch(feed, 0)
    with torch.no_grad():
        output = _call_torch(pair.reference, batch)

    # Parameters as an argument: XLA would fold constants through the whole network.
    @jax.jit
    def run(parameters: Parameters) -> AutoencoderOutput | VAEOutput:
        return _call_twin(with_parameters(pair.config.model, parameters), pair, feed)

    found = run(pair.parameters)
    if isinstance(found, AutoencoderOutput):
        wanted: dict[str, Any] = {"reconstruction": output}
        got = {"reconstruction": found.reconstruction}
    else:
        wanted = dict(zip(("mean", "log_var", "code", "reconstruction"), output, strict=True))
        wanted["reconstruction"] = wanted["reconstruction"].permute(0, 2, 3, 1)
        got = {name: getattr(found, name) for name in wanted}
    return pair.result(rung, measure(got, wanted), FORWARD[pair.dtype])


def reparameterization_row(pair: Pair) -> RungResult:
    """A code of given mean, log variance and eps."""
    dtype = np.dtype(pair.dtype)
    mean, log_var, eps = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(dtype)
    twin = pair.twin
    assert isinstance(twin, ConditionalVAE)
    wanted = pair.reference.reparameterize(*map(torch.from_numpy, (mean, log_var, eps)))
    gap = measure({"code": twin.reparameterize(*map(jnp.asarray, (mean, log_var, eps)))}, {"code": wanted})
    return pair.result("reparameterization, same eps", gap, FORWARD[pair.dtype])


def step_rows(pair: Pair, feed: Feed) -> Iterator[RungResult]:
    """One step of training from the same start: cost, gradients, parameters, both moments.

    The gradient that the compiled step takes is read off Adam's first moment, a tenth of it.
    In float32, gradients and step are held against torch's in float64 from the same weights, for
    torch's own float32 may be the farther one: a bias's gradient, summed over all pixels, by 2e-4,
    and so its second moment by 4e-4.
    """
    exact, truth = _torch_step(pair, feed, torch.float64)
    own, expected = _torch_step(pair, feed, pair.torch_dtype)
    found = next(jax_steps(pair, feed))

    def row(rung: str, gap: Gap, tolerance: float, note: str = "") -> RungResult:
        note = note if pair.dtype == "float32" else ""
        return pair.result(rung, gap, tolerance, note)

    yield row("cost", measure({"cost": found.cost}, {"cost": expected.cost}), FORWARD[pair.dtype])
    gradients = {name: 10 * value for name, value in found.first_moments.items()}
    theirs = measure(own, exact)
    note = f"from float64; torch's own: {theirs.max_rel:.1e} ({theirs.where})"
    yield row("gradients", measure(gradients, exact), GRADIENT[pair.dtype], note)
    theirs, between = measure(_flat(expected), _flat(truth)), measure(_flat(found), _flat(expected))
    note = f"from float64; torch's own: {theirs.max_rel:.1e} ({theirs.where}), between the two: {between.max_rel:.1e}"
    gap = measure(_flat(found), _flat(truth))
    yield row("Adam step, own gradients", gap, ADAM_OWN[pair.dtype], note)


def adam_row(pair: Pair, feed: Feed) -> RungResult:
    """One step of Adam on torch's gradients: parameters and both moments."""
    stepped = _own(pair)
    expected = next(torch_steps(stepped, feed))
    gradients = {name: jnp.array(value) for name, value in stepped.named_gradients().items()}
    optimizer = optax.adam(pair.config.train.learning_rate)
    start = pair.reference.state_dict()
    parameters = {name: jnp.array(value) for name, value in start.items()}
    updates, state = optimizer.update(gradients, optimizer.init(parameters))
    moments: Any = state[0]  # type: ignore[index]
    found = (0.0, optax.apply_updates(parameters, updates), moments.mu, moments.nu)
    gap = measure(_flat(found), _flat(expected))
    return pair.result("Adam step, same gradients", gap, ADAM_IDENTICAL[pair.dtype])


def _own(pair: Pair, dtype: torch.dtype | None = None) -> Pair:
    """The pair with a torch network of its own, to be stepped, in this dtype."""
    model = copy.deepcopy(pair.reference).to(dtype or pair.torch_dtype)
    wide = "float64" if dtype == torch.float64 else pair.dtype
    return dataclasses.replace(pair, reference=model, dtype=wide)


def _torch_step(pair: Pair, feed: Feed, dtype: torch.dtype) -> tuple[dict[str, torch.Tensor], Snapshot]:
    """Torch's gradients of the first batch, and what its step leaves, computed in this dtype."""
    own = _own(pair, dtype)
    snapshot = next(torch_steps(own, feed))
    return own.named_gradients(), snapshot


def _flat(snapshot: Any) -> dict[str, Any]:
    _, *trees = snapshot
    kinds = ("parameter", "first moment", "second moment")
    return {f"{name} ({kind})": value for kind, tree in zip(kinds, trees, strict=True) for name, value in tree.items()}


def _call_torch(model: Any, batch: TorchBatch) -> Any:
    if batch.eps is None:
        return model(batch.images)
    return model(batch.images, batch.labels, batch.eps)


def _call_twin(model: Any, pair: Pair, feed: Feed) -> Any:
    batch = pair.batch(feed, 0)
    images = jnp.asarray(batch.images.numpy())
    if batch.eps is None:
        return model(images)
    labels = None if batch.labels is None else jnp.asarray(batch.labels.numpy(), jnp.int32)
    return model(images.transpose(0, 2, 3, 1), labels, eps=jnp.asarray(batch.eps.numpy()))
