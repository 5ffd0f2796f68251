"""Models against torch's are on the parity ladder; here are their own claims and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import torch_ref
from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, DenseVAEConfig
from jaxae.errors import InputError
from jaxae.network.dense_vae import DenseVAE
from jaxae.network.models import Autoencoder, ConditionalVAE, build, init_parameters, parameter_shapes, with_parameters
from jaxae.network.parameters import parameters_of
from jaxae.port import from_torch, to_torch
from jaxae.port.reference import reference_module


def vae(**settings) -> ConditionalVAE:
    return ConditionalVAE(ConditionalVAEConfig(num_latent=4, **settings), rngs=nnx.Rngs(0))


IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 28, 28, 1)), jnp.float32)
LABELS = jnp.array([1, 9, 0])
EPS = jnp.asarray(np.random.default_rng(1).standard_normal((3, 4)), jnp.float32)


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "tanh"])
@pytest.mark.parametrize("hidden", [(5,), (30, 7), (20, 10, 3)])
def test_an_autoencoder_of_any_depth_is_torchs(hidden, activation, x64):
    torch.manual_seed(0)
    reference = torch_ref.Autoencoder(40, list(hidden), activation=activation).double()
    config = AutoencoderConfig(40, hidden, activation)
    model = Autoencoder(config, rngs=nnx.Rngs(0))
    from_torch(model, reference)
    x = np.random.default_rng(0).uniform(size=(6, 40))
    with torch.no_grad():
        code = reference.encoder(torch.from_numpy(x)).numpy()
        expected = reference(torch.from_numpy(x)).numpy()
    output = model(jnp.asarray(x))
    # Measured: 1e-15.
    np.testing.assert_allclose(output.code, code, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(output.reconstruction, expected, rtol=1e-12)
    np.testing.assert_allclose(jax.nn.sigmoid(output.logits), expected, rtol=1e-12)


def test_an_autoencoder_flattens_images():
    model = Autoencoder(rngs=nnx.Rngs(0))
    assert model(IMAGES).reconstruction.shape == (3, 784)
    np.testing.assert_array_equal(model.encode(IMAGES), model.encode(IMAGES.reshape(3, 784)))


@pytest.mark.parametrize("lowering", ["plain", "matmul"])
@pytest.mark.parametrize(("hidden", "activation", "classes"), [((5,), "relu", 0), ((9, 6, 7), "tanh", 10)])
def test_a_dense_vae_of_any_depth_is_torchs(hidden, activation, classes, lowering, x64):
    config = DenseVAEConfig(4, classes, lowering=lowering, hidden=hidden, activation=activation)
    torch.manual_seed(0)
    reference = reference_module(config).double()
    model = DenseVAE(config, rngs=nnx.Rngs(0))
    from_torch(model, reference)
    label = LABELS if classes else None
    output = model(IMAGES.astype(float), label, eps=EPS.astype(float))
    images = torch.from_numpy(np.array(IMAGES, np.float64)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = reference(images, torch.from_numpy(np.array(LABELS)), torch.from_numpy(np.array(EPS, np.float64)))
    # Measured: 1e-15.
    for name, value in zip(("mean", "log_var", "code", "reconstruction"), expected, strict=True):
        wanted = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
        np.testing.assert_allclose(getattr(output, name), wanted.numpy(), rtol=1e-12, atol=1e-13)
    back = to_torch(model)
    assert list(back) == list(reference.state_dict())
    for name, tensor in reference.state_dict().items():
        assert torch.equal(back[name], tensor)


def test_the_class_matters_to_both_halves_of_a_dense_vae():
    model = DenseVAE(DenseVAEConfig(4, 10), rngs=nnx.Rngs(0))
    other = (LABELS + 1) % 10
    assert np.abs(model.encode(IMAGES, LABELS)[0] - model.encode(IMAGES, other)[0]).max() > 1e-3
    assert np.abs(model.decode(EPS, LABELS) - model.decode(EPS, other)).max() > 1e-4
    assert model.sample(3, key=jax.random.key(0), count=5).shape == (5, 28, 28, 1)


def test_stages_of_a_vae_fit_together():
    for settings, label, channels in (
        ({}, LABELS, 1),
        ({"num_classes": 0}, None, 1),
        ({"reconstruct_condition": True}, LABELS, 11),
    ):
        model = vae(**settings)
        output = model(IMAGES, label, eps=EPS)
        mean, log_var = model.encode(IMAGES, label)
        np.testing.assert_array_equal(output.mean, mean)
        np.testing.assert_array_equal(output.log_var, log_var)
        np.testing.assert_allclose(output.code, mean + EPS * jnp.exp(log_var / 2), rtol=1e-6)
        assert output.reconstruction.shape == (3, 28, 28, channels)
        decoded = model.decode(output.code, label)
        np.testing.assert_allclose(output.reconstruction, decoded, rtol=1e-6)


def test_the_last_leaky_relu_can_be_left_out():
    with_it, without = vae(), vae(output_leaky_relu=False)
    logits = without.decode_logits(EPS, LABELS)
    assert (logits < -0.01).any()
    expected = np.where(logits > 0, logits, 0.01 * logits)
    np.testing.assert_allclose(with_it.decode_logits(EPS, LABELS), expected, rtol=1e-5, atol=1e-6)


def test_the_class_matters_to_both_halves():
    model = vae()
    other = (LABELS + 1) % 10
    assert np.abs(model.encode(IMAGES, LABELS)[0] - model.encode(IMAGES, other)[0]).max() > 1e-3
    assert np.abs(model.decode(EPS, LABELS) - model.decode(EPS, other)).max() > 1e-4


def test_samples_follow_labels_and_keys():
    model, key = vae(), jax.random.key(0)
    assert model.sample(3, key=key, count=5).shape == (5, 28, 28, 1)
    assert model.sample(LABELS, key=key).shape == (3, 28, 28, 1)
    assert vae(num_classes=0).sample(key=key, count=2).shape == (2, 28, 28, 1)
    once, again = (model.sample(3, key=key, count=2) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - model.sample(3, key=jax.random.key(1), count=2)).max() > 1e-4


def test_an_interpolation_ends_at_its_images():
    plain = vae(num_classes=0)
    way = plain.interpolate(IMAGES[0], IMAGES[1], 5)
    ends = plain.decode(plain.encode(IMAGES[:2])[0])
    np.testing.assert_allclose(way[jnp.array([0, 4])], ends, rtol=1e-5)
    model = vae()
    way = model.interpolate(IMAGES[0], IMAGES[1], 4, LABELS[:2])
    ends = model.decode(model.encode(IMAGES[:2], LABELS[:2])[0], LABELS[:2])
    np.testing.assert_allclose(way[jnp.array([0, 3])], ends, rtol=1e-5)
    autoencoder = Autoencoder(rngs=nnx.Rngs(0))
    way = autoencoder.interpolate(IMAGES[0], IMAGES[1], 3)
    np.testing.assert_allclose(way[jnp.array([0, 2])], autoencoder(IMAGES[:2]).reconstruction, rtol=1e-5)


@pytest.mark.parametrize("config", [AutoencoderConfig(hidden=(9, 4)), ConditionalVAEConfig(3, 2), DenseVAEConfig(3, 2)])
def test_parameters_leave_a_model_and_return(config):
    parameters = init_parameters(config, jax.random.key(4))
    model = with_parameters(config, parameters)
    returned = parameters_of(model)
    assert jax.tree.structure(returned) == jax.tree.structure(parameters)
    assert all(map(np.array_equal, jax.tree.leaves(returned), jax.tree.leaves(parameters)))
    assert jax.tree.structure(parameters_of(build(config, rngs=nnx.Rngs(0)))) == jax.tree.structure(parameters)


@pytest.mark.parametrize("config", [AutoencoderConfig(hidden=(7,)), ConditionalVAEConfig(num_latent=4)])
def test_parameters_are_the_same_bits_however_they_are_compiled(config):
    alone = init_parameters(config, jax.random.key(4))
    within = jax.jit(lambda key: init_parameters(config, key))(jax.random.key(4))
    assert jax.tree.all(jax.tree.map(np.array_equal, alone, within))


@pytest.mark.parametrize("config", [AutoencoderConfig(), ConditionalVAEConfig()], ids=["ae", "cvae"])
def test_shapes_follow_a_change_of_x64(config):
    for enabled, dtype in [(True, "float64"), (False, "float32"), (True, "float64")]:
        with jax.enable_x64(enabled):
            assert {str(leaf.dtype) for leaf in jax.tree.leaves(parameter_shapes(config))} == {dtype}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vae()(IMAGES, eps=EPS), "got none for 10 classes"),
        (lambda: vae(num_classes=0)(IMAGES, LABELS, eps=EPS), "got labels for 0 classes"),
        (lambda: vae()(IMAGES, LABELS[:2], eps=EPS), "expected 3 labels"),
        (lambda: vae()(IMAGES, LABELS, eps=EPS[:1]), "of one shape"),
        (lambda: vae()(IMAGES[:, :27], LABELS, eps=EPS), r"\[batch, 28, 28, 1\]"),
        (lambda: vae()(IMAGES[..., 0], LABELS, eps=EPS), r"\[batch, 28, 28, 1\]"),
        (lambda: vae().decode(EPS), "got none for 10 classes"),
        (lambda: Autoencoder(rngs=nnx.Rngs(0))(IMAGES[:, :5]), "784 features per example, got 140"),
        (lambda: Autoencoder(rngs=nnx.Rngs(0))(np.zeros((2, 784), np.uint8)), "expected floats.* got uint8"),
        (lambda: Autoencoder(rngs=nnx.Rngs(0)).decode(np.zeros((2, 32), int)), "expected floats.* got int64"),
        (lambda: vae()((255 * IMAGES).astype(np.uint8), LABELS, eps=EPS), "expected floats.* got uint8"),
        (lambda: jax.jit(lambda x: vae().encode(x, LABELS))(jnp.zeros((3, 28, 28, 1), int)), "expected floats"),
        (lambda: vae().sample(99, key=jax.random.key(0)), "expected labels from 0 to 9, got 99"),
        (lambda: vae().sample(-1, key=jax.random.key(0)), "expected labels from 0 to 9, got -1"),
        (lambda: vae()(IMAGES, np.array([0, 10, 1]), eps=EPS), "expected labels from 0 to 9, got 10"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("initialization", "normal"), [("post", ["linear_1"]), ("intended", ["linear_1", "linear_2"]), ("torch", [])]
)
def test_the_layers_of_an_initialization_start_from_n_0_01(initialization, normal):
    model = Autoencoder(AutoencoderConfig(hidden=(300, 20), initialization=initialization), rngs=nnx.Rngs(0))
    for name in ("linear_1", "linear_2", "linear_3", "linear_4"):
        layer = getattr(model, name)
        deviation, largest = float(layer.kernel[...].std()), float(abs(layer.kernel[...]).max())
        if name in normal:
            assert deviation == pytest.approx(0.1, rel=0.03)
            assert not layer.bias[...].any()
        else:
            bound = 1 / np.sqrt(layer.in_features)
            assert largest <= bound
            assert deviation == pytest.approx(bound / np.sqrt(3), rel=0.03)
