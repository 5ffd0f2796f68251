"""The ladder, each rung a test, and for each rung a mistake that turns it red."""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

from jaxae.data.dataset import Dataset, Split, load
from jaxae.errors import InputError
from jaxae.network import losses
from jaxae.network.models import ConditionalVAE, init_parameters
from jaxae.parity import initial_rungs, layer_rungs, loss_rungs, model_rungs, mutations, run_rungs, trajectory
from jaxae.parity.cases import CASES
from jaxae.parity.ladder import LadderResult, run_ladder
from jaxae.parity.pair import Feed, make_feed, make_pair, make_shifted_feed
from jaxae.parity.rung_result import RungResult
from jaxae.parity.settings import LadderSettings
from jaxae.parity.trajectory import trajectory_rows
from jaxae.port import from_torch
from torch_ref.calls import record_calls

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


def check(rows: Iterable[RungResult]) -> list[RungResult]:
    rows = list(rows)
    assert rows
    failed = [f"{row.model}, {row.rung} ({row.dtype}): {row.gap}" for row in rows if not row.passed]
    assert not failed, "\n".join(failed)
    return rows


def red(rows: Iterable[RungResult]) -> set[str]:
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
    monkeypatch.setattr(layer_rungs, "from_torch", swapped)
    monkeypatch.setattr(layer_rungs, "CONV", square)
    monkeypatch.setattr(layer_rungs, "CONV_TRANSPOSE", square)
    rows = list(layer_rungs.layer_rows("float32"))
    kinds = ("Conv, plain lowering", "Conv, matmul lowering", "ConvTranspose, plain lowering")
    assert red(rows) >= {"Linear", "Linear: gradients", *kinds, *(f"{k}: gradients" for k in kinds)}


def test_red_when_a_slope_is_jaxs_own(monkeypatch):
    wrong = (jax.nn.leaky_relu, torch.nn.functional.leaky_relu)
    monkeypatch.setitem(layer_rungs.ACTIVATION_PAIRS, "leaky_relu", wrong)
    assert red(layer_rungs.activation_rows("float64")) == {"leaky_relu"}


@both
def test_losses(dtype):
    check(loss_rungs.loss_rows(dtype))


def clamped_bce(p, t):
    log_p, log_q = (jnp.maximum(jnp.log(x), -100) for x in (p, 1 - p))
    return -(t * log_p + (1 - t) * log_q).reshape(len(p), -1).sum(1)


# What the mistakes below are made of, for they replace the functions themselves.
own_kl, own_bce = losses.kl_from_standard_normal, losses.bce_from_probabilities


@pytest.mark.parametrize(
    ("name", "wrong", "rungs"),
    [
        # The same formula, differentiated: NaN or nothing where torch has its own slope.
        ("bce_from_probabilities", clamped_bce, {"BCE from probabilities, sum, saturated"}),
        (
            "kl_from_standard_normal",
            lambda m, v: own_kl(m, v) / m.shape[1],
            {"KL divergence, sum", "beta-ELBO, beta 0.3"},
        ),
        ("negative_elbo", lambda r, kl, beta: r + kl, {"beta-ELBO, beta 0.3"}),
        ("negative_elbo", lambda r, kl, beta: r, {"beta-ELBO, beta 0.3"}),
        ("bce_from_logits", lambda x, t: own_bce(jax.nn.sigmoid(x), t), {"BCE from logits, sum"}),
    ],
)
def test_red_when_a_loss_is_wrong(name, wrong, rungs, monkeypatch):
    monkeypatch.setattr(losses, name, wrong)
    assert red(loss_rungs.loss_rows("float64")) == rungs


@pytest.mark.parametrize("name", ["Autoencoder", "ConditionalVAE"])
def test_initial_distributions(name):
    check([initial_rungs.initialisation_row(make_pair(name, "float32"))])


def test_red_when_an_initial_bound_is_off(monkeypatch):
    def wider(config, key):
        return jax.tree.map(lambda leaf: 1.1 * leaf, init_parameters(config, key))

    pair = make_pair("Autoencoder", "float32")
    monkeypatch.setattr(initial_rungs, "init_parameters", wider)
    assert red([initial_rungs.initialisation_row(pair)])


@every_case
def test_replayed_initial_weights(name):
    check([initial_rungs.replayed_weights_row(make_pair(name, "float32"))])


def test_red_when_a_replay_draws_out_of_order(monkeypatch):
    pair = make_pair("VAE", "float32")
    build = initial_rungs.reference_module

    def late(config):
        torch.rand(1)
        return build(config)

    monkeypatch.setattr(initial_rungs, "reference_module", late)
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


@pytest.mark.parametrize("mutate", [mutations.perturbed_weight, mutations.reshaped_kernel])
@pytest.mark.parametrize("name", ["Autoencoder", "VAE"])
def test_red_when_a_weight_is_wrong(name, mutate):
    pair = mutate(make_pair(name, "float32"))
    assert red([model_rungs.stage_row(pair, feed()), model_rungs.forward_row(pair, feed())]) == {
        "stages",
        "forward pass",
    }


def test_red_when_axes_are_swapped():
    pair = mutations.swapped_axes(make_pair("ConditionalVAE", "float32"))
    row = model_rungs.stage_row(pair, feed())
    assert red([row]) == {"stages"}


@both
def test_reparameterization(dtype):
    pair = make_pair("VAE", dtype)
    check([model_rungs.reparameterization_row(pair), initial_rungs.own_noise_row(pair, feed())])


def test_red_when_log_variance_is_taken_for_log_deviation(monkeypatch):
    pair = make_pair("VAE", "float64")

    def wrong(model, mean, log_var, eps):
        return mean + eps * jnp.exp(log_var)

    monkeypatch.setattr(ConditionalVAE, "reparameterize", wrong)
    assert red([model_rungs.reparameterization_row(pair)])


def test_red_when_own_noise_is_not_normal(monkeypatch):
    pair = make_pair("VAE", "float64")

    def wrong(model, mean, log_var, eps):
        return mean + 1.05 * eps * jnp.exp(log_var / 2)

    monkeypatch.setattr(ConditionalVAE, "reparameterize", wrong)
    assert red([initial_rungs.own_noise_row(pair, feed())])


@both
@every_case
def test_one_step(name, dtype):
    rows = check(model_rungs.step_rows(make_pair(name, dtype), feed()))
    assert [row.rung for row in rows] == ["cost", "gradients", "Adam step, own gradients"]


@both
@pytest.mark.parametrize("name", ["Autoencoder", "VAE"])
def test_adam_on_the_same_gradients(name, dtype):
    check([model_rungs.adam_row(make_pair(name, dtype), feed())])


@pytest.mark.parametrize(("reduction", "examples"), [("sum", 1), ("batch_mean", 8)])
@pytest.mark.parametrize("name", ["Autoencoder", "VAE"])
def test_one_step_of_another_reduction(name, reduction, examples):
    """A sum over batch and pixels, or that over the batch: torch's step of the same cost, and not the post's."""
    pair = make_pair(name, "float64")

    def cost(model, batch):
        total = pair.cost(model, batch)
        return total * (1 if pair.is_vae else batch.images.numel()) / examples

    program = dataclasses.replace(pair.program, reduction=reduction)
    check(model_rungs.step_rows(dataclasses.replace(pair, cost=cost, program=program), feed()))
    assert "cost" in red(model_rungs.step_rows(dataclasses.replace(pair, cost=cost), feed())) or (
        pair.is_vae and reduction == "sum"
    )


@pytest.mark.parametrize("mutate", [mutations.dropped_kl, mutations.averaged_kl])
def test_red_when_the_kl_term_is_wrong(mutate):
    rows = list(model_rungs.step_rows(mutate(make_pair("VAE", "float64")), feed()))
    assert red(rows) == {"cost", "gradients", "Adam step, own gradients"}


@pytest.mark.parametrize("mutate", [mutations.eps_inside_root, mutations.uncorrected_moments])
def test_red_when_adam_is_wrong(mutate):
    pair = mutate(make_pair("Autoencoder", "float64"))
    rows = [*model_rungs.step_rows(pair, feed()), model_rungs.adam_row(pair, feed())]
    assert red(rows) == {"Adam step, own gradients", "Adam step, same gradients"}


def test_red_when_optax_is_not_told_of_torchs_eps(monkeypatch):
    pair, adam = make_pair("Autoencoder", "float64"), optax.adam
    monkeypatch.setattr(optax, "adam", lambda rate: adam(rate, eps=1e-7))
    assert red([model_rungs.adam_row(pair, feed())])


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
    "mutate", [mutations.perturbed_weight, mutations.eps_inside_root, mutations.uncorrected_moments]
)
def test_red_when_a_trajectory_has_a_mistake(mutate):
    rows, _ = trajectory_rows(mutate(make_pair("Autoencoder", "float64")), feed(20, 64))
    assert {"trajectory: cost", "trajectory: parameters"} <= red(rows)


def test_saturated_pixels():
    """Weights this large saturate the sigmoid; autodiff of the clamped formula parts there."""
    pair = make_pair("Autoencoder", "float64")
    check([model_rungs.saturated_row(pair, feed())])
    assert red([model_rungs.saturated_row(mutations.autodiff_bce(pair), feed())])


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Too few digits for the batches to divide: the last one of an epoch is smaller."""
    digits = load("digits")
    train = Split(digits.train.images[:300], digits.train.labels[:300])
    return dataclasses.replace(digits, train=train)


@pytest.mark.parametrize("loader", ["torch-1", "torch"])
def test_replayed_run_of_the_autoencoder(loader, few):
    pairs = (make_pair("Autoencoder", dtype) for dtype in ("float64", "float32"))
    exact, single = pairs
    rows = check(run_rungs.run_rows(exact, few, single, epochs=5, loader=loader))
    assert [row.dtype for row in rows] == ["float64", "float64", "float32", "float32"]


@every_vae
def test_replayed_run_of_a_vae(name, few):
    single = make_pair(name, "float32") if name == "ConditionalVAE" else None
    check(run_rungs.run_rows(make_pair(name, "float64"), few, single, epochs=2))


def test_red_when_a_run_is_replayed_for_another_loader(few, monkeypatch):
    other = run_rungs.jax_run
    monkeypatch.setattr(
        run_rungs, "jax_run", lambda pair, config, data: other(pair, config.replace(replay="torch"), data)
    )
    rows = list(run_rungs.run_rows(make_pair("Autoencoder", "float64"), few, epochs=1))
    assert len(red(rows)) == 2


def test_red_when_adam_of_a_run_is_wrong(few):
    exact, single = (mutations.uncorrected_moments(make_pair("Autoencoder", kind)) for kind in ("float64", "float32"))
    rows = [row for row in run_rungs.run_rows(exact, few, single, epochs=2) if row.dtype == "float32"]
    assert red(rows) == {"replay of 2 epochs on digits: costs"}


def test_the_ladder_has_every_rung(few):
    settings = LadderSettings(
        models=("Autoencoder",), rungs=("initialisation", "model", "step", "trajectory", "run"), steps=3
    )
    result = run_ladder(settings, datasets=((few, 1),))
    assert result.passed
    assert {row.dtype for row in result.rows} == {"float64", "float32"}
    wrong = dataclasses.replace(settings, rungs=("model",), mutation="perturbed-weight")
    assert not run_ladder(wrong).passed
    assert not LadderResult().passed


@pytest.mark.parametrize("fields", [{"models": ()}, {"rungs": ()}, {"rungs": ("stairs",)}])
def test_a_ladder_of_nothing_is_refused(fields):
    with pytest.raises(InputError, match=r"expected \w+ out of"):
        LadderSettings(**fields)


def test_a_calm_batch_stands_clear_of_every_kink():
    """In float64 no activation of it stands within a multiple of float32's rounding of zero."""
    pair = make_pair("ConditionalVAE, 11 channels", "float32")
    calm = model_rungs.calm_feed(pair, steps=2, batch_size=16)
    assert calm.order.shape == (2, 16)
    assert (calm.order[0] >= 0).sum() == 8
    wide = pair.copied("float64")
    with torch.no_grad():
        batch = wide.batch(calm, 0)
        _, calls = record_calls(wide.reference, lambda model: model(batch.images, batch.labels, batch.eps))
    margins = [float(abs(c.outputs[0]).min() / abs(c.outputs[0]).max()) for c in calls if c.path]
    assert min(margins) > 3e-6
