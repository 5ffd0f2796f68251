"""Rungs of whole networks: stages, forward pass, cost, gradients, one step of Adam."""

from collections.abc import Iterator
from dataclasses import replace
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
from jaxae.parity.channel_order import align
from jaxae.parity.pair import Feed, Pair, TorchBatch, make_feed
from jaxae.parity.rung_result import RungResult
from jaxae.parity.tolerance import ADAM, DECIDED, FORWARD, GRADIENT
from jaxae.parity.trajectory import Snapshot, jax_steps, torch_snapshot, torch_steps
from jaxae.port.calls import record_nnx
from torch_ref.calls import record_calls


def stage_row(pair: Pair, feed: Feed) -> RungResult:
    """Outputs of every named layer."""
    _, twin_calls = record_nnx(pair.twin, lambda model: _call_twin(model, pair, feed))
    got = {call.path: call.outputs[0] for call in twin_calls if call.path}

    def outputs_of(side: Pair) -> dict[str, np.ndarray]:
        with torch.no_grad():
            _, calls = record_calls(side.reference, lambda model: _call_torch(model, side.batch(feed, 0)))
        return {call.path: align(call, call.outputs[0], got.get(call.path)) for call in calls if call.path}

    return pair.judge("stages", FORWARD, got, outputs_of(pair), outputs_of(pair.copied("float64")))


def forward_row(pair: Pair, feed: Feed, *, rung: str = "forward pass") -> RungResult:
    """Mean, log variance, code (given eps) and reconstruction; shapes first."""

    # Parameters as an argument: XLA would fold constants through the whole network.
    @jax.jit
    def run(parameters: Parameters) -> AutoencoderOutput | VAEOutput:
        return _call_twin(with_parameters(pair.config.model, parameters), pair, feed)

    def outputs_of(side: Pair) -> dict[str, Any]:
        with torch.no_grad():
            output = _call_torch(side.reference, side.batch(feed, 0))
        if not pair.is_vae:
            return {"reconstruction": output}
        *code, reconstruction = output
        names = ("mean", "log_var", "code", "reconstruction")
        return dict(zip(names, (*code, reconstruction.permute(0, 2, 3, 1)), strict=True))

    found, wanted = run(pair.parameters), outputs_of(pair)
    got = {name: getattr(found, name) for name in wanted}
    return pair.judge(rung, FORWARD, got, wanted, outputs_of(pair.copied("float64")))


def reparameterization_row(pair: Pair) -> RungResult:
    """A code of given mean, log variance and eps."""
    arrays = np.random.default_rng(3).standard_normal((3, 5, 4)).astype(pair.dtype)
    twin = pair.twin
    assert isinstance(twin, VAE)
    reference = pair.reference
    assert isinstance(reference, torch_ref.VariationalAutoencoder)
    wanted, exact = (
        {"code": reference.reparameterize(*map(torch.from_numpy, arrays.astype(dtype)))}
        for dtype in (pair.dtype, "float64")
    )
    got = {"code": twin.reparameterize(*map(jnp.asarray, arrays))}
    return pair.judge("reparameterization, same eps", FORWARD, got, wanted, exact)


def calm_feed(pair: Pair, *, steps: int, batch_size: int, examples: int = 8, candidates: int = 64) -> Feed:
    """A feed whose first batch is of a few examples, chosen so that rounding turns no activation's sign.

    leaky_relu's slope jumps at zero: where a value stands within rounding of it, the gradients of any two arithmetics
    may part by a thousandth. Of many small batches the one is taken whose values stand farthest from zero in float64.
    """
    feed = make_feed(steps=steps, batch_size=batch_size)
    wide, shuffled = pair.copied("float64"), np.random.default_rng(0)
    margins: dict[float, np.ndarray] = {}
    for _ in range(candidates):
        row = np.full(batch_size, -1, np.int32)
        row[:examples] = shuffled.choice(len(feed.images), examples, replace=False)
        with torch.no_grad():
            batch = wide.batch(feed._replace(order=row[None]), 0)
            _, calls = record_calls(wide.reference, lambda model, batch=batch: _call_torch(model, batch))
        layers = [np.abs(call.outputs[0]) for call in calls if call.path]
        margins[min(float(values.min() / values.max()) for values in layers)] = row
    return feed._replace(order=np.concatenate([margins[max(margins)][None], feed.order[1:]]))


def step_rows(pair: Pair, feed: Feed) -> Iterator[RungResult]:
    """One step of training from the same start: cost, gradients, parameters, both moments.

    The gradient that the compiled step takes is read off Adam's first moment, a tenth of it. A parameter is compared
    where its gradient is zero or large enough for its sign not to be rounding's.
    """
    exact, truth = _torch_step(pair.copied("float64"), feed)
    own, expected = _torch_step(pair.copied(), feed)
    found = next(jax_steps(pair, feed))
    ours, theirs, wide = ({"cost": snapshot.cost} for snapshot in (found, expected, truth))
    yield pair.judge("cost", FORWARD, ours, theirs, wide)
    gradients = {name: 10 * value for name, value in found.first_moments.items()}
    yield pair.judge("gradients", GRADIENT, gradients, own, exact)
    decided = {name: (abs(value) > DECIDED * abs(value).max()).numpy() for name, value in exact.items()}
    decided = {name: mask | (exact[name] == 0).numpy() for name, mask in decided.items()}
    left_out = sum(int((~mask).sum()) for mask in decided.values())
    ours, theirs, wide = (
        _flat(side._replace(parameters={name: side.parameters[name][mask] for name, mask in decided.items()}))
        for side in (found, expected, truth)
    )
    note = f"{left_out} parameters of gradients below {DECIDED:.0e} left out"
    yield pair.judge("Adam step, own gradients", ADAM, ours, theirs, wide, note)


def saturated_row(pair: Pair, feed: Feed) -> RungResult:
    """Gradients of an autoencoder whose weights saturate the sigmoid: torch's slope of the cross-entropy is its own.

    Of float64 alone: in float32 nothing is left of the slope there, in torch either.
    """
    loud = pair.copied()
    with torch.no_grad():
        loud.reference.get_parameter("linear_2.weight").mul_(300)
    last = {**pair.parameters["linear_2"], "kernel": 300 * pair.parameters["linear_2"]["kernel"]}
    loud = replace(loud, parameters={**pair.parameters, "linear_2": last})
    own, _ = _torch_step(loud.copied(), feed)
    found = {name: 10 * value for name, value in next(jax_steps(loud, feed)).first_moments.items()}
    return pair.judge("gradients of saturated pixels", GRADIENT, found, own, own)


def adam_row(pair: Pair, feed: Feed) -> RungResult:
    """One step of Adam on torch's gradients: parameters and both moments."""
    own, expected = _torch_step(pair.copied(), feed)
    wide = pair.copied("float64")
    for name, leaf in wide.reference.named_parameters():
        leaf.grad = own[name].double()
    wide_optimizer = wide.optimizer(wide.reference.parameters())
    wide_optimizer.step()
    exact = torch_snapshot(wide.reference, wide_optimizer, 0.0)
    gradients = {name: jnp.array(value) for name, value in own.items()}
    optimizer: Any = optax.adam(pair.config.train.learning_rate)
    parameters = {name: jnp.array(value) for name, value in pair.reference.state_dict().items()}
    updates, (moments, *_) = optimizer.update(gradients, optimizer.init(parameters))
    found = (0.0, optax.apply_updates(parameters, updates), moments.mu, moments.nu)
    return pair.judge("Adam step, same gradients", ADAM, _flat(found), _flat(expected), _flat(exact))


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
