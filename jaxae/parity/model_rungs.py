"""Rungs of whole networks: stages, forward pass, cost, gradients, one step of Adam."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import torch_ref
from jaxae.network.models import AutoencoderOutput, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.network.vae import VAE, VAEOutput
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
    got = {call.path: call.outputs[0] for call in twin_calls if call.path}
    wanted = {call.path: align(call, call.outputs[0], got.get(call.path)) for call in calls if call.path}
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
    mean, log_var, eps = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(pair.dtype)
    twin = pair.twin
    assert isinstance(twin, VAE)
    assert isinstance(pair.reference, torch_ref.VariationalAutoencoder)
    wanted = pair.reference.reparameterize(*map(torch.from_numpy, (mean, log_var, eps)))
    gap = measure({"code": twin.reparameterize(*map(jnp.asarray, (mean, log_var, eps)))}, {"code": wanted})
    return pair.result("reparameterization, same eps", gap, FORWARD[pair.dtype])


def step_rows(pair: Pair, feed: Feed) -> Iterator[RungResult]:
    """One step of training from the same start: cost, gradients, parameters, both moments.

    The gradient that the compiled step takes is read off Adam's first moment, a tenth of it. In float32, gradients
    and step are held against torch's in float64 from the same weights, for torch's own float32 may be the farther
    one: a bias's gradient, summed over all pixels, by 2e-4, and so its second moment by 4e-4.
    """
    exact, truth = _torch_step(pair.copied("float64"), feed)
    own, expected = _torch_step(pair.copied(), feed)
    found = next(jax_steps(pair, feed))

    def row(rung: str, gap: Gap, tolerance: float, note: str = "") -> RungResult:
        return pair.result(rung, gap, tolerance, note if pair.dtype == "float32" else "")

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
    own, expected = _torch_step(pair.copied(), feed)
    gradients = {name: jnp.array(value) for name, value in own.items()}
    optimizer: Any = optax.adam(pair.config.train.learning_rate)
    parameters = {name: jnp.array(value) for name, value in pair.reference.state_dict().items()}
    updates, (moments, *_) = optimizer.update(gradients, optimizer.init(parameters))
    found = (0.0, optax.apply_updates(parameters, updates), moments.mu, moments.nu)
    gap = measure(_flat(found), _flat(expected))
    return pair.result("Adam step, same gradients", gap, ADAM_IDENTICAL[pair.dtype])


def _torch_step(pair: Pair, feed: Feed) -> tuple[dict[str, torch.Tensor], Snapshot]:
    """The gradients of the first batch that the step of a pair's torch network leaves, and its tensors."""
    snapshot = next(torch_steps(pair, feed))
    return {name: value.grad for name, value in pair.reference.named_parameters() if value.grad is not None}, snapshot


def _flat(snapshot: Any) -> dict[str, Any]:
    _, *trees = snapshot
    kinds = ("parameter", "first moment", "second moment")
    return {f"{name} ({kind})": value for kind, tree in zip(kinds, trees, strict=True) for name, value in tree.items()}


def _call_torch(model: Any, batch: TorchBatch) -> Any:
    return model(batch.images) if batch.eps is None else model(batch.images, batch.labels, batch.eps)


def _call_twin(model: Any, pair: Pair, feed: Feed) -> Any:
    batch = pair.batch(feed, 0)
    images = jnp.asarray(batch.images.numpy())
    if batch.eps is None:
        return model(images)
    labels = None if batch.labels is None else jnp.asarray(batch.labels.numpy(), jnp.int32)
    return model(images.transpose(0, 2, 3, 1), labels, eps=jnp.asarray(batch.eps.numpy()))
