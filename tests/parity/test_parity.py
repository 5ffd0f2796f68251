"""The ladder, each rung a test, and for each rung a mistake that turns it red."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxae.data.dataset import Dataset, Split, load
from jaxae.network import losses
from jaxae.network.models import init_parameters
from jaxae.parity import (
    initial_rungs,
    layer_rungs,
    loss_rungs,
    model_rungs,
    mutation,
    runs,
    trajectory,
)
from jaxae.parity.ladder import Plan, climb
from jaxae.parity.pair import CASES, Feed, Pair, make_feed, make_pair, make_shifted_feed
from jaxae.parity.row import Gap, Row, measure
from jaxae.parity.trajectory import trajectory_rows
from jaxae.port import from_torch

pytestmark = pytest.mark.usefixtures("x64")

VAES = [name for name in CASES if name != "Autoencoder"]
both = pytest.mark.parametrize("dtype", ["float64", "float32"])
every_case = pytest.mark.parametrize("name", CASES)
every_vae = pytest.mark.parametrize("name", VAES)


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterable[None]:
    # torch's threads spin while they wait, which slows JAX's down.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def feed(steps: int = 1, batch_size: int = 8) -> Feed:
    return make_feed(steps=steps, batch_size=batch_size)


def check(rows: Iterable[Row]) -> list[Row]:
    rows = list(rows)
    assert rows
    failed = [f"{row.model}, {row.rung} ({row.dtype}): {row.gap}" for row in rows if not row.passed]
    assert not failed, "\n".join(failed)
    return rows


def red(rows: Iterable[Row]) -> set[str]:
    return {row.rung for row in rows if not row.passed}


@both
def test_layers(dtype):
    check(layer_rungs.layer_rows(dtype))


@both
def test_a_class_as_a_bias(dtype):
    check(layer_rungs.condition_rows(dtype))


@both
def test_activations(dtype):
    check(layer_rungs.activation_rows(dtype))


def test_red_when_kernels_have_their_axes_swapped(monkeypatch):
    def swapped(layer, reference):
        from_torch(layer, reference)
        kernel = layer.kernel[...]
        if kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1]:
            layer.kernel.set_value(kernel.swapaxes(0, 1))
        elif kernel.ndim == 2:
            layer.kernel.set_value(kernel.T.reshape(kernel.shape))

    square = ({"kernel_size": 3},)
    monkeypatch.setattr(layer_rungs, "CONV", square)
    monkeypatch.setattr(layer_rungs, "CONV_TRANSPOSE", square)
    rows = list(layer_rungs.layer_rows("float32", transfer=swapped))
    kinds = ("Conv, plain lowering", "Conv, matmul lowering", "ConvTranspose, plain lowering")
    assert red(rows) >= {"Linear", "Linear: gradients", *kinds, *(f"{k}: gradients" for k in kinds)}


def test_red_when_a_slope_is_jaxs_own():
    wrong = {"leaky_relu": (jax.nn.leaky_relu, torch.nn.functional.leaky_relu)}
    assert red(layer_rungs.activation_rows("float64", activations=wrong)) == {"leaky_relu"}


@both
def test_losses(dtype):
    check(loss_rungs.loss_rows(dtype))


def clamped_bce(p, t):
    log_p, log_q = (jnp.maximum(jnp.log(x), -100) for x in (p, 1 - p))
    return -(t * log_p + (1 - t) * log_q).reshape(len(p), -1).sum(1)


@pytest.mark.parametrize(
    ("change", "rungs"),
    [
        # The same formula, differentiated: NaN or nothing where torch has its own slope.
        ({"from_probabilities": clamped_bce}, {"BCE from probabilities, sum, saturated"}),
        (
            {"kl": lambda m, v: losses.kl_from_standard_normal(m, v) / m.shape[1]},
            {"KL divergence, sum", "beta-ELBO, beta 0.3"},
        ),
        ({"negative_elbo": lambda r, kl, beta: r + kl}, {"beta-ELBO, beta 0.3"}),
        ({"negative_elbo": lambda r, kl, beta: r}, {"beta-ELBO, beta 0.3"}),
        (
            {"from_logits": lambda x, t: losses.bce_from_probabilities(jax.nn.sigmoid(x), t)},
            {"BCE from logits, sum"},
        ),
    ],
)
def test_red_when_a_loss_is_wrong(change, rungs):
    functions = loss_rungs.Losses(**change)
    assert red(loss_rungs.loss_rows("float64", functions=functions)) == rungs


@pytest.mark.parametrize("name", ["Autoencoder", "ConditionalVAE"])
def test_initial_distributions(name):
    check([initial_rungs.initialisation_row(make_pair(name, "float32"))])


def test_red_when_an_initial_bound_is_off():
    def wider(config, key):
        return jax.tree.map(lambda leaf: 1.1 * leaf, init_parameters(config, key))

    pair = make_pair("Autoencoder", "float32")
    assert red([initial_rungs.initialisation_row(pair, draw=wider)])


@every_case
def test_replayed_initial_weights(name):
    check([initial_rungs.replayed_weights_row(make_pair(name, "float32"))])


def test_red_when_a_replay_draws_out_of_order(monkeypatch):
    pair = make_pair("VAE", "float32")
    build = initial_rungs.build_reference

    def late(config):
        torch.rand(1)
        return build(config)

    monkeypatch.setattr(initial_rungs, "build_reference", late)
    assert red([initial_rungs.replayed_weights_row(pair)])


@both
@every_case
def test_stages(name, dtype):
    check([model_rungs.stage_row(make_pair(name, dtype), feed())])


@both
@every_case
def test_forward_pass(name, dtype):
    check([model_rungs.forward_row(make_pair(name, dtype), feed())])


@pytest.mark.parametrize("lowering", ["plain", "matmul"])
@every_vae
def test_forward_pass_of_each_lowering(name, lowering):
    check([model_rungs.forward_row(make_pair(name, "float64", lowering=lowering), feed())])


@pytest.mark.parametrize("mutate", [mutation.perturbed_weight, mutation.reshaped_kernel])
@pytest.mark.parametrize("name", ["Autoencoder", "VAE"])
def test_red_when_a_weight_is_wrong(name, mutate):
    pair = mutate(make_pair(name, "float32"))
    assert red([model_rungs.stage_row(pair, feed()), model_rungs.forward_row(pair, feed())]) == {
        "stages",
        "forward pass",
    }


def test_red_when_axes_are_swapped():
    pair = mutation.swapped_axes(make_pair("ConditionalVAE", "float32"))
    row = model_rungs.stage_row(pair, feed())
    assert red([row]) == {"stages"}


@both
def test_reparameterization(dtype):
    pair = make_pair("VAE", dtype)
    check([model_rungs.reparameterization_row(pair), initial_rungs.own_noise_row(pair, feed())])


def test_red_when_log_variance_is_taken_for_log_deviation():
    pair = make_pair("VAE", "float64")

    def wrong(mean, log_var, eps):
        return mean + eps * jnp.exp(log_var)

    assert red([model_rungs.reparameterization_row(pair, reparameterize=wrong)])


def test_red_when_own_noise_is_not_normal():
    pair = make_pair("VAE", "float64")

    def wrong(mean, log_var, eps):
        return mean + 1.05 * eps * jnp.exp(log_var / 2)

    assert red([initial_rungs.own_noise_row(pair, feed(), reparameterize=wrong)])


@both
@every_case
def test_one_step(name, dtype):
    rows = check(model_rungs.step_rows(make_pair(name, dtype), feed()))
    assert [row.rung for row in rows] == ["cost", "gradients", "Adam step, own gradients"]


@both
@pytest.mark.parametrize("name", ["Autoencoder", "VAE"])
def test_adam_on_the_same_gradients(name, dtype):
    check([model_rungs.adam_row(make_pair(name, dtype), feed())])


@pytest.mark.parametrize("mutate", [mutation.dropped_kl, mutation.averaged_kl])
def test_red_when_the_kl_term_is_wrong(mutate):
    rows = list(model_rungs.step_rows(mutate(make_pair("VAE", "float64")), feed()))
    assert red(rows) == {"cost", "gradients", "Adam step, own gradients"}


@pytest.mark.parametrize("mutate", [mutation.eps_inside_root, mutation.uncorrected_moments])
def test_red_when_adam_is_wrong(mutate):
    pair = mutate(make_pair("Autoencoder", "float64"))
    rows = [*model_rungs.step_rows(pair, feed()), model_rungs.adam_row(pair, feed())]
    assert red(rows) == {"Adam step, own gradients", "Adam step, same gradients"}


def test_red_when_optax_is_not_told_of_torchs_eps():
    pair = make_pair("Autoencoder", "float64")
    row = model_rungs.adam_row(pair, feed(), adam=lambda rate: optax.adam(rate, eps=1e-7))
    assert red([row])


def test_a_thousand_steps_of_the_autoencoder():
    pair, single = make_pair("Autoencoder", "float64"), make_pair("Autoencoder", "float32")
    many = make_shifted_feed(steps=1000, batch_size=64)
    rows, curves = trajectory_rows(pair, many, single)
    check(rows)
    assert [curve.who for curve in curves] == ["jax", "torch", "jax"]
    assert all(len(values) == 1000 for curve in curves for values in curve.quantities.values())
    # float32 does drift, and float64 hardly.
    assert curves[2].quantities["parameters"][-1] > 1e-7 > curves[0].quantities["parameters"].max()


@every_vae
def test_a_hundred_steps_of_a_vae(name):
    rows, _ = trajectory_rows(make_pair(name, "float64"), feed(100, 8))
    assert len(check(rows)) == 4
    assert all(row.note == "100 steps" for row in rows)


def test_a_trajectory_is_judged_as_far_as_torch_follows_itself(monkeypatch):
    """Gaps beyond the tolerance are excused where torch's own are, and nowhere else."""
    pair, few_steps = make_pair("Autoencoder", "float64"), feed(6, 8)
    monkeypatch.setattr(trajectory, "TRAJECTORY", 1e-17)
    rows, curves = trajectory_rows(pair, few_steps)
    assert [curve.who for curve in curves] == ["jax", "torch, one bit off"]
    assert all(row.note.startswith("steps 1 to 0 of 6") for row in rows)
    assert "trajectory: parameters" in red(rows)


@pytest.mark.parametrize(
    "mutate", [mutation.perturbed_weight, mutation.eps_inside_root, mutation.uncorrected_moments]
)
def test_red_when_a_trajectory_has_a_mistake(mutate):
    rows, _ = trajectory_rows(mutate(make_pair("Autoencoder", "float64")), feed(20, 64))
    assert {"trajectory: cost", "trajectory: parameters"} <= red(rows)


def test_red_when_saturated_pixels_are_differentiated_otherwise():
    """Weights this large saturate the sigmoid; autodiff of the clamped formula parts there."""

    def saturated(pair: Pair) -> Pair:
        with torch.no_grad():
            pair.reference.linear_2.weight.mul_(300)
        kernel = 300 * pair.parameters["linear_2"]["kernel"]
        linear = {**pair.parameters["linear_2"], "kernel": kernel}
        return dataclasses.replace(pair, parameters={**pair.parameters, "linear_2": linear})

    right = saturated(make_pair("Autoencoder", "float64"))
    check(model_rungs.step_rows(right, feed()))
    wrong = mutation.autodiff_bce(saturated(make_pair("Autoencoder", "float64")))
    assert "gradients" in red(model_rungs.step_rows(wrong, feed()))


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Too few digits for the batches to divide: the last one of an epoch is smaller."""
    digits = load("digits")
    train = Split(digits.train.images[:300], digits.train.labels[:300])
    return dataclasses.replace(digits, train=train)


@both
@pytest.mark.parametrize("loader", ["torch-1", "torch"])
def test_replayed_run_of_the_autoencoder(dtype, loader, few):
    check(runs.run_rows(make_pair("Autoencoder", dtype), few, epochs=5, loader=loader))


@every_vae
def test_replayed_run_of_a_vae(name, few):
    check(runs.run_rows(make_pair(name, "float64"), few, epochs=2))


def test_replayed_run_of_a_vae_in_float32(few):
    check(runs.run_rows(make_pair("ConditionalVAE", "float32"), few, epochs=2, loader="torch"))


def test_red_when_a_run_is_replayed_for_another_loader(few, monkeypatch):
    other = runs.jax_run
    monkeypatch.setattr(
        runs,
        "jax_run",
        lambda pair, config, data: other(pair, config.replace(replay="torch"), data),
    )
    rows = list(runs.run_rows(make_pair("Autoencoder", "float64"), few, epochs=1))
    assert len(red(rows)) == 2


def test_red_when_adam_of_a_run_is_wrong(few):
    pair = mutation.uncorrected_moments(make_pair("Autoencoder", "float32"))
    assert red(runs.run_rows(pair, few, epochs=2)) == {"replay of 2 epochs on digits: costs"}


def test_the_ladder_has_every_rung(few):
    plan = Plan(("Autoencoder",), steps=3, datasets=((few, 1),))
    report = climb(
        dataclasses.replace(plan, rungs=("initialisation", "model", "step", "trajectory", "run"))
    )
    assert report.passed
    assert {row.dtype for row in report.rows} == {"float64", "float32"}
    wrong = dataclasses.replace(plan, rungs=("model",), mutation=mutation.perturbed_weight)
    assert not climb(wrong).passed
    assert not climb(Plan((), ())).passed


def test_measure_compares_names_and_shapes_first():
    x = np.ones((3, 1))
    assert measure({"x": x}, {"y": x}).max_rel == np.inf
    assert "shape" in measure({"x": x.T}, {"x": x}).where
    assert measure({"x": x * np.nan}, {"x": x}).max_rel == np.inf
    assert measure({"x": x}, {"x": 0 * x}) == Gap(1.0, np.inf, "x")
    assert measure({"x": x + 1, "y": x}, {"x": x, "y": x}) == Gap(1.0, 1.0, "x")
    assert measure({"x": x + 1}, {"x": x}, {"x": 4 * x}) == Gap(1.0, 0.25, "x")
