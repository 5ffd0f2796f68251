"""Trajectories: a thousand training steps of both frameworks from one start, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Float

from jaxae.parity.gap import Gap, measure
from jaxae.parity.pair import Feed, Pair
from jaxae.parity.rung_result import RungResult, allowed
from jaxae.parity.tolerance import DRIFT, TRAJECTORY
from jaxae.training.plan import Noise, Plan
from jaxae.training.state import hyperparameters_of
from jaxae.training.trainer import Trainer


class Snapshot(NamedTuple):
    """A framework after a step: its tensors by torch's names, in torch's layout."""

    cost: float
    parameters: dict[str, np.ndarray]
    first_moments: dict[str, np.ndarray]
    second_moments: dict[str, np.ndarray]


def torch_steps(pair: Pair, feed: Feed) -> Iterator[Snapshot]:
    """Train the torch network; each step gives what it left, views that the next one changes."""
    optimizer = pair.optimizer(pair.reference.parameters())
    for step in range(len(feed.order)):
        cost = pair.cost(pair.reference, pair.batch(feed, step))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        yield torch_snapshot(pair.reference, optimizer, cost.item())


def torch_snapshot(network: torch.nn.Module, optimizer: torch.optim.Optimizer, cost: float) -> Snapshot:
    """What a step of torch's Adam has left, as views."""
    parameters = dict(network.named_parameters())
    moments = [
        {name: optimizer.state[leaf][kind].numpy() for name, leaf in parameters.items()}
        for kind in ("exp_avg", "exp_avg_sq")
    ]
    return Snapshot(cost, {name: leaf.detach().numpy() for name, leaf in parameters.items()}, *moments)


def jax_steps(pair: Pair, feed: Feed, *, moments: bool = True) -> Iterator[Snapshot]:
    """Train the twin by the project's compiled step, one step per call; the moments are empty where not asked for."""
    trainer = Trainer.start(
        pair.program, pair.parameters, (pair.pictures(feed.images), feed.labels), hyperparameters_of(pair.config)
    )
    noise = feed.noise if pair.is_vae else feed.noise[..., :0]
    plan = trainer.place(Plan(feed.order, Noise.given(noise), 0))
    for step in range(len(feed.order)):
        metrics = trainer.take(plan, step + 1)
        adam = trainer.state.optimizer[0]
        trees = (trainer.state.parameters, adam.mu, adam.nu) if moments else (trainer.state.parameters,)
        leaves, structure = jax.tree.flatten(trees)
        # As one vector: to fetch some fifty arrays takes longer than to compute them.
        flat = np.asarray(_concatenated(leaves))
        parts = np.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
        found = structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
        named = [pair.named(tree) for tree in found]
        yield Snapshot(float(metrics.cost[step]), *named, *[{}] * (3 - len(named)))


@jax.jit
def _concatenated(leaves: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([leaf.ravel() for leaf in leaves])


@dataclass(frozen=True)
class Curve:
    """Relative gaps of one trajectory, step by step.

    Attributes:
        model: Name of the case.
        dtype: Dtype of both frameworks' arithmetic.
        against: What the gaps are from: "torch" in the same dtype, or "torch in float64".
        who: Whose gaps these are: "jax", "torch", or "torch, one bit off".
        quantities: Gaps at each step by quantity: cost, parameters, and in float64 first and second moments.
    """

    model: str
    dtype: str
    who: str
    against: str
    quantities: dict[str, Float[np.ndarray, " steps"]]


QUANTITIES = ("cost", "parameters", "first moments", "second moments")


def gaps(actual: Snapshot, expected: Snapshot) -> list[Gap]:
    """How far two snapshots are apart, quantity by quantity.

    First moments are held against the gradients that they average, the root of the second moment:
    a bias of one element has an average that passes through zero. Moments that were not fetched are not compared.
    """
    _, parameters, first, second = actual
    found = [measure({"cost": actual.cost}, {"cost": expected.cost}), measure(parameters, expected.parameters)]
    if first:
        gradients = {name: np.sqrt(value) for name, value in expected.second_moments.items()}
        found += [measure(first, expected.first_moments, gradients), measure(second, expected.second_moments)]
    return found


def trajectory_rows(pair: Pair, feed: Feed, single: Pair | None = None) -> tuple[list[RungResult], list[Curve]]:
    """A training in float64 from one start, with the same batches and noise, compared at each step.

    Each row is the largest gap of any step. Training amplifies the last bit until, in some networks
    within a thousand steps, torch no longer follows torch: where a gap is too large, torch is run
    against itself with one bit of one weight changed, and only steps up to where these two part
    by a hundredth of the tolerance are judged. The curves have all steps.

    A pair in float32 of the same start walks along where one is given: see `_drift`.
    """
    walks = [torch_steps(pair.copied(), feed), jax_steps(pair, feed)]
    if single is not None:
        # Their moments are judged by nobody.
        walks += [(side._replace(first_moments={}, second_moments={}) for side in torch_steps(single.copied(), feed))]
        walks += [jax_steps(single, feed, moments=False)]
    found = [[gaps(other, truth) for other in others] for truth, *others in zip(*walks, strict=True)]
    exact, *rest = map(list, zip(*found, strict=True))
    curves = [_curve(pair, "jax", "torch", exact)]
    judged, note = len(exact), f"{len(exact)} steps"
    if any(gap.max_rel > TRAJECTORY for step in exact for gap in step):
        own = _own_sensitivity(pair, feed)
        curves.append(_curve(pair, "torch, one bit off", "torch", own))
        parted = (max(gap.max_rel for gap in step) > TRAJECTORY / 100 for step in own)
        judged = next((step for step, apart in enumerate(parted) if apart), judged)
        note = f"steps 1 to {judged} of {len(exact)}, as far as torch follows torch with one bit off"
    rows = []
    for index, name in enumerate(QUANTITIES):
        column = [step[index] for step in exact[: max(judged, 1)]]
        worst = max(column, key=lambda gap: gap.max_rel)
        largest = Gap(max(gap.max_abs for gap in column), worst.max_rel, worst.where)
        rows.append(pair.result(f"trajectory: {name}", largest, TRAJECTORY, note=note))
    if single is not None:
        theirs, ours = rest
        curves += [_curve(single, who, "torch in float64", own) for who, own in (("torch", theirs), ("jax", ours))]
        rows.append(_drift(single, ours, theirs))
    return rows, curves


def _own_sensitivity(pair: Pair, feed: Feed) -> list[list[Gap]]:
    """How far torch parts from itself, step by step, when one bit of one weight is changed."""
    nudged = pair.copied()
    with torch.no_grad():
        weight = next(nudged.reference.parameters()).view(-1)
        largest = weight.abs().argmax()
        weight[largest] = torch.nextafter(weight[largest], torch.zeros_like(weight[largest]))
    walks = zip(torch_steps(pair.copied(), feed), torch_steps(nudged, feed), strict=True)
    return [gaps(other, truth) for truth, other in walks]


def _drift(pair: Pair, ours: list[list[Gap]], theirs: list[list[Gap]]) -> RungResult:
    """How both frameworks in float32 drift from torch in float64.

    Rounding is amplified by training itself, until any two arithmetics follow paths of their own;
    so what can be asked is that JAX leaves the exact path no faster than torch does. A cost's drift
    is the mean over all steps of its relative gap; its floor is a thousandth, by which torch's own
    costs part with one and with four threads.
    """
    drift, torch_drift = (float(np.mean([step[0].max_rel for step in who])) for who in (ours, theirs))
    gap = Gap(max(step[0].max_abs for step in ours), drift, "cost")
    note = (
        f"mean of {len(ours)} steps; "
        f"parameters at the end: {ours[-1][1].max_rel:.0e}, torch's {theirs[-1][1].max_rel:.0e}"
    )
    return pair.result("trajectory: drift of cost", gap, *allowed(torch_drift, DRIFT), note=note)


def _curve(pair: Pair, who: str, against: str, found: list[list[Gap]]) -> Curve:
    columns = zip(QUANTITIES, zip(*found, strict=True), strict=False)
    quantities = {name: np.array([gap.max_rel for gap in column]) for name, column in columns}
    return Curve(pair.name, pair.dtype, who, against, quantities)
