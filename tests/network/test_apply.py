import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import programs_of

from jaxae import AUTOENCODER, CONDITIONAL_VAE, InputError, load
from jaxae.data.pixels import as_unit_float
from jaxae.network import apply
from jaxae.network.apply import map_rows, pad_rows, padded_length
from jaxae.network.losses import bce_from_logits, kl_from_standard_normal
from jaxae.network.models import Autoencoder, ConditionalVAE, init_parameters, with_parameters
from jaxae.network.parameters import parameters_of


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 16, 21])
def test_rows_come_back_in_order_whatever_their_number(count):
    sizes = []

    def function(x, y):
        sizes.append(len(x))
        return {"sum": x + y[:, None], "first": x[:, 0]}

    x = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    y = np.arange(count, dtype=np.int32)
    out = map_rows(function, x, y, least=2, most=8)
    np.testing.assert_array_equal(out["sum"], x + y[:, None])
    np.testing.assert_array_equal(out["first"], x[:, 0])
    assert out["first"].dtype == np.float32
    assert set(sizes) == {2 if count < 3 else 4 if count == 3 else 8}


def test_padding_keeps_dtype_and_rows():
    padded = pad_rows(np.full((3, 2), 7, np.uint8), 4)
    assert padded.dtype == np.uint8
    assert padded.tolist() == [[7, 7], [7, 7], [7, 7], [0, 0]]
    assert [padded_length(n) for n in (0, 1, 2, 3, 64, 65)] == [1, 1, 2, 4, 64, 128]
    assert padded_length(3, 64) == 64


CONFIGS = {
    "autoencoder": AUTOENCODER.replace(hidden=(6,)).model,
    "conditional": CONDITIONAL_VAE.replace(num_latent=3).model,
    "plain": CONDITIONAL_VAE.replace(num_latent=3, num_classes=0).model,
    "11 channels": CONDITIONAL_VAE.replace(num_latent=3, reconstruct_condition=True).model,
}


def a_model(name: str, dtype: str = "float32", seed: int = 0):
    config = CONFIGS[name]
    parameters = init_parameters(config, jax.random.key(seed))
    return with_parameters(config, jax.tree.map(lambda leaf: leaf.astype(dtype), parameters))


def some_digits(count: int):
    train = load("digits").train
    return train.images[:count], train.labels[:count]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [0, 1, 70])
def test_any_number_of_rows_is_what_the_model_makes_of_each(name, count):
    model = a_model(name)
    images, labels = some_digits(count)
    x = jnp.asarray(as_unit_float(images))
    label = jnp.asarray(labels) if name in ("conditional", "11 channels") else None
    codes = apply.encode(model, images, labels)
    decoded = apply.decode(model, codes, labels)
    again = apply.reconstruct(model, images, labels)
    scores = apply.score(model, images, labels, draws=2)
    assert codes.shape == (count, model.config.code_size)
    assert decoded.shape == ((count, 784) if name == "autoencoder" else (count, 28, 28, 1))
    assert again.shape == images.shape
    assert scores.shape == (count,)
    if not count:
        return
    if isinstance(model, Autoencoder):
        output = model(x)
        np.testing.assert_allclose(codes, output.code, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(decoded, output.reconstruction, atol=1e-6)
        expected = bce_from_logits(output.logits, x.reshape(count, -1))
    else:
        mean, log_var = apply.posterior(model, images, labels)
        for found, wanted in zip((mean, log_var), model.encode(x, label), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(codes, mean)
        wanted = model.decode(mean, label)[..., :1]
        np.testing.assert_allclose(decoded, wanted, atol=1e-6)
        draws = jax.random.normal(jax.random.key(0), (2, 3))
        costs = [
            bce_from_logits(model.decode_logits(mean + np.exp(log_var / 2) * eps[None], label)[..., :1], x)
            for eps in draws
        ]
        expected = np.mean(costs, 0) + kl_from_standard_normal(jnp.asarray(mean), jnp.asarray(log_var))
    np.testing.assert_allclose(again.reshape(decoded.shape), decoded, atol=1e-6)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["autoencoder", "conditional"])
def test_the_parameters_decide_the_dtype(name):
    images, labels = some_digits(5)
    single = a_model(name)
    exact = apply.reconstruct(single, images, labels)
    with jax.enable_x64(True):
        wider = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters_of(single))
        model = with_parameters(CONFIGS[name], wider)
        for found in (
            apply.encode(model, images, labels),
            apply.reconstruct(model, images, labels),
            apply.score(model, images, labels),
            apply.decode(model, np.zeros((2, model.config.code_size), np.float32), labels[:2]),
        ):
            assert found.dtype == np.float64
            assert np.isfinite(found).all()
        np.testing.assert_allclose(apply.reconstruct(model, images, labels), exact, atol=1e-6)
    rough = apply.reconstruct(a_model(name, "bfloat16"), images, labels)
    assert rough.dtype.name == "bfloat16"
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(rough.astype(np.float32), exact, atol=0.02)


def test_models_of_one_configuration_share_a_program():
    images, labels = some_digits(9)
    functions = [apply._encode, apply._decode, apply._reconstruct, apply._score, apply._posterior]
    results, compiled = [], []
    for seed in range(3):
        model = a_model("conditional", seed=seed)
        assert isinstance(model, ConditionalVAE)
        codes = apply.encode(model, images, labels)
        apply.posterior(model, images, labels)
        apply.decode(model, codes, labels)
        apply.score(model, images, labels)
        results.append(apply.reconstruct(model, images, labels))
        compiled.append([programs_of(function) for function in functions])
    assert compiled[0] == compiled[1] == compiled[2]
    # And yet each has its own weights.
    assert np.abs(results[0] - results[1]).max() > 1e-3


def test_a_conditional_model_wants_labels_and_others_have_no_use_for_them():
    images, labels = some_digits(2)
    for run in (apply.encode, apply.reconstruct, apply.score):
        with pytest.raises(InputError, match="got one conditioned on 10 classes"):
            run(a_model("conditional"), images)
        for name in ("plain", "autoencoder"):
            model = a_model(name)
            np.testing.assert_array_equal(run(model, images), run(model, images, labels))
    with pytest.raises(InputError, match="expected an autoencoder or a plain VAE"):
        apply.check_unconditional(a_model("conditional"))
    apply.check_unconditional(a_model("plain"))
    apply.check_unconditional(a_model("autoencoder"))
