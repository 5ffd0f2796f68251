"""Data that people make by hand, at every door that takes them: what does not suit is refused, what does is taken."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxae
from jaxae import AUTOENCODER, DENSE_VAE, Dataset, InputError, Split
from jaxae.network import apply, losses
from jaxae.network.models import build
from jaxae.usecases.compress.codec import prepare
from jaxae.usecases.estimators import AutoencoderOutlierDetector, AutoencoderTransformer
from jaxae.usecases.samplers import Posteriors, draw_codes

pytestmark = pytest.mark.usefixtures("unchecked")

digits = jaxae.load("digits")
IMAGES, LABELS = digits.test.images[:12], digits.test.labels[:12]
# Any: they are given what their types do not allow.
AE: Any
VAE: Any
CVAE: Any
AE, VAE, CVAE = (
    build(config.replace(hidden=(4,)).model, rngs=nnx.Rngs(0))
    for config in (AUTOENCODER, DENSE_VAE.replace(num_latent=3), DENSE_VAE.replace(num_latent=3, num_classes=10))
)
UNIT = jaxae.as_unit_float(IMAGES)


def with_one(value: float) -> np.ndarray:
    """The images as floats with one other pixel."""
    changed = UNIT.copy()
    changed[3, 4, 5] = value
    return changed


WRONG_IMAGES = {
    "floats 0 to 255": IMAGES.astype(np.float32),
    "NaN": with_one(np.nan),
    "infinity": with_one(np.inf),
    "negative": with_one(-0.1),
    "int64": IMAGES.astype(np.int64),
    "bool": IMAGES > 0,
    "objects": IMAGES.astype(object),
    "strings": IMAGES.astype(str),
    "complex": UNIT.astype(complex),
    "another shape": np.zeros((12, 27, 28, 1), np.uint8),
    "0-d": np.uint8(3),
    "ragged": [[1, 2], [3]],
}
WRONG_LABELS = {
    "fewer": LABELS[:-1],
    "more": np.append(LABELS, LABELS),
    "1 to 10": LABELS + 1,
    "-1": np.full(12, -1),
    "99": np.full(12, 99),
    "beyond int32": np.full(12, 2**32 + 1),
    "floats": LABELS.astype(float),
    "bool": LABELS > 4,
    "objects": LABELS.astype(object),
    "one-hot": np.eye(10, dtype=np.int32)[LABELS],
    "0-d": np.int32(3),
    "ragged": [[1, 2], [3]],
}
LIKE_THEM = {
    "int64 labels": (IMAGES, LABELS.astype(np.int64)),
    "uint8 labels": (IMAGES, LABELS.astype(np.uint8)),
    "float64": (UNIT.astype(np.float64), LABELS),
    "float16": (UNIT.astype(np.float16), LABELS),
    "Fortran order": (np.asfortranarray(IMAGES), LABELS),
    "backwards in memory": (IMAGES[::-1].copy()[::-1], LABELS[::-1].copy()[::-1]),
    "big-endian": (UNIT.astype(">f4"), LABELS.astype(">i8")),
    "JAX": (jnp.asarray(IMAGES), jnp.asarray(LABELS)),
    "a list of labels": (IMAGES, LABELS.tolist()),
}


def data_set(images: object, labels: object) -> Dataset:
    return Dataset("own", Split(images, labels), Split(IMAGES, LABELS), 10)  # pyright: ignore[reportArgumentType]


DOORS = {
    "Dataset": lambda images, labels: data_set(images, labels),
    "evaluate_model": lambda images, labels: jaxae.evaluate_model(CVAE, (images, labels)),
    "encode": lambda images, labels: apply.encode(CVAE, images, labels),
    "posterior": lambda images, labels: apply.posterior(CVAE, images, labels),
    "reconstruct": lambda images, labels: apply.reconstruct(CVAE, images, labels),
    "score": lambda images, labels: apply.score(CVAE, images, labels),
    "Posteriors.of": lambda images, labels: Posteriors.of(CVAE, Split(images, labels)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_wrong_images_are_refused(door, case):
    if (door, case) == ("Dataset", "another shape"):
        return  # which a network of rows may have; the two splits are of one
    with pytest.raises(InputError, match=r"^expected .*, got [^\n]*$") as refused:
        DOORS[door](WRONG_IMAGES[case], LABELS)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", WRONG_LABELS)
def test_wrong_labels_are_refused(door, case):
    with pytest.raises(InputError, match=r"^expected .*, got [^\n]*$") as refused:
        DOORS[door](IMAGES, WRONG_LABELS[case])
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("case", LIKE_THEM)
def test_arrays_of_other_kinds_with_the_same_values_are_taken(case):
    images, labels = LIKE_THEM[case]
    made = data_set(images, labels)
    assert made.train.labels.dtype == np.int32
    np.testing.assert_array_equal(made.train.labels, LABELS)
    tolerance = 2e-3 if case == "float16" else 1e-5
    for encode in (lambda *split: apply.encode(CVAE, *split), lambda *split: jaxae.evaluate_model(CVAE, split).cost):
        np.testing.assert_allclose(encode(*made.train), encode(IMAGES, LABELS), rtol=tolerance, atol=tolerance)


def test_a_memmap_and_a_read_only_array_are_trained_on_and_left_as_they_are(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    labels = LABELS.copy()
    labels.flags.writeable = False
    config = AUTOENCODER.replace(hidden=(2,), epochs=1, batch_size=4)
    found, expected = (
        jaxae.fit(config, data_set(*arrays)).metrics[-1] for arrays in ((images, labels), (IMAGES, LABELS))
    )
    assert found["test_cost"] == expected["test_cost"]
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), IMAGES)


def test_an_empty_split_and_two_shapes_are_refused():
    for train, test in ((slice(0), slice(None)), (slice(None), slice(0))):
        with pytest.raises(InputError, match="expected at least one image, got none in the"):
            Dataset("own", Split(IMAGES[train], LABELS[train]), Split(IMAGES[test], LABELS[test]), 10)
    with pytest.raises(InputError, match="expected images of shape Nx14x28x1, got 12x28x28x1 in the test split"):
        Dataset("own", Split(IMAGES[:, ::2], LABELS), Split(IMAGES, LABELS), 10)
    for classes in (0, -1, 2**40, 10.0, None, "10"):
        with pytest.raises(InputError, match="expected num_classes"):
            Dataset("own", Split(IMAGES, LABELS), Split(IMAGES, LABELS), classes)  # pyright: ignore[reportArgumentType]


# What takes codes, labels or numbers beside images, and what it must not be given.
CODES = np.zeros((2, 3), np.float32)
KEY = jax.random.key(0)
REFUSED = {
    "codes of NaN": lambda: apply.decode(VAE, np.full((2, 3), np.nan)),
    "codes of another width": lambda: apply.decode(VAE, np.zeros((2, 4))),
    "codes of integers": lambda: apply.decode(VAE, np.zeros((2, 3), int)),
    "one code": lambda: apply.decode(VAE, np.zeros(3)),
    "the model's codes of another width": lambda: VAE.decode(jnp.zeros((2, 4))),
    "an autoencoder's codes of another width": lambda: AE.decode(jnp.zeros((2, 5))),
    "no rows": lambda: apply.encode(AE, IMAGES, rows=0),
    "no draws": lambda: apply.score(VAE, UNIT, draws=0),
    "endless draws": lambda: apply.score(VAE, UNIT, draws=2**31 - 1),
    "rows of NaN": lambda: apply.encode(AE, np.full((2, 784), np.nan)),
    "rows of integers": lambda: apply.encode(AE, np.zeros((2, 784), int)),
    "rows of another width": lambda: apply.encode(AE, np.zeros((2, 783))),
    "sample(99)": lambda: CVAE.sample(99, key=KEY),
    "sample(-1)": lambda: CVAE.sample(-1, key=KEY),
    "sample(2**32)": lambda: CVAE.sample(2**32, key=KEY),
    "sample(1.5)": lambda: CVAE.sample(1.5, key=KEY),  # pyright: ignore[reportArgumentType]
    "sample(True)": lambda: CVAE.sample(True, key=KEY),
    "sample of floats": lambda: CVAE.sample(jnp.zeros(3), key=KEY),
    "sample of a plain VAE's class": lambda: VAE.sample(3, key=KEY),
    "sample of none": lambda: VAE.sample(key=KEY, count=0),
    "endless samples": lambda: VAE.sample(key=KEY, count=2**31 - 1),
    "a way of no steps": lambda: VAE.interpolate(UNIT[0], UNIT[1], 0),
    "a way between two shapes": lambda: AE.interpolate(UNIT[0], UNIT[1, :14], 3),
    "a way between bytes": lambda: AE.interpolate(IMAGES[0], IMAGES[1], 3),
    "no samples of a likelihood": lambda: jaxae.importance_weighted_log_likelihood(VAE, UNIT, key=KEY, num_samples=0),
    "endless ones": lambda: jaxae.importance_weighted_log_likelihood(VAE, UNIT, key=KEY, num_samples=2**31 - 1),
    "a likelihood of bytes": lambda: jaxae.importance_weighted_log_likelihood(VAE, IMAGES, key=KEY),
    "a likelihood of NaN": lambda: jaxae.importance_weighted_log_likelihood(VAE, with_one(np.nan), key=KEY),
    "beta of NaN": lambda: jaxae.evaluate_model(VAE, (IMAGES, LABELS), beta=np.nan),
    "a negative beta": lambda: jaxae.evaluate_model(VAE, (IMAGES, LABELS), beta=-1),
    "a cost of bytes": lambda: losses.bce_from_logits(jnp.zeros((2, 3)), jnp.ones((2, 3), jnp.uint8)),
    "a cost of labels": lambda: losses.bce_from_probabilities(jnp.zeros((2, 3), int), jnp.zeros((2, 3), int)),
    "a divergence of integers": lambda: losses.kl_from_standard_normal(jnp.zeros((2, 3), int), jnp.zeros((2, 3), int)),
    "no seeds": lambda: jaxae.fit_many(AUTOENCODER.replace(batch_size=4), data_set(IMAGES, LABELS), seeds=[]),
    "a seed of -1": lambda: jaxae.fit_many(AUTOENCODER.replace(batch_size=4), data_set(IMAGES, LABELS), seeds=[-1]),
    "a rate of NaN": lambda: jaxae.fit_many(
        AUTOENCODER.replace(batch_size=4), data_set(IMAGES, LABELS), seeds=[0], learning_rates=[np.nan]
    ),
    "an unknown sampler": lambda: draw_codes("post", LABELS, POSTERIORS, seed=0),  # pyright: ignore[reportArgumentType]
    "a sampler's seed": lambda: draw_codes("prior", LABELS, POSTERIORS, seed=-1),
    "a quantile of NaN": lambda: draw_codes("rejection", LABELS, POSTERIORS, seed=0, quantile=np.nan),
    "a sampler's labels": lambda: draw_codes("prior", LABELS.astype(float), POSTERIORS, seed=0),
    "a codec's floats": lambda: CODEC.compress(UNIT, 4.0),
    "a codec's step": lambda: CODEC.compress(IMAGES, np.nan),
}
POSTERIORS = Posteriors(np.zeros((12, 3)), np.zeros((12, 3)), LABELS)
CODEC = prepare(AUTOENCODER, AE, digits)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_code_label_or_number_of_the_models_is_refused(case):
    with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$"):
        REFUSED[case]()


def test_a_model_that_diverged_has_no_samples_to_wait_for():
    state = nnx.state(CVAE)
    broken = nnx.merge(nnx.graphdef(CVAE), jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state))
    with pytest.raises(InputError, match="posteriors are finite"):
        Posteriors.of(broken, Split(IMAGES, LABELS))


def test_under_jit_shapes_and_dtypes_are_checked_and_values_are_not():
    run = jax.jit(lambda images, labels: CVAE.encode(images, labels)[0])
    assert run(UNIT, LABELS).shape == (12, 3)
    assert run(UNIT, LABELS + 90).shape == (12, 3)  # whose one-hot rows are of no class
    for images, labels in (
        (IMAGES, LABELS),
        (UNIT[:, :14], LABELS),
        (UNIT, LABELS[:3]),
        (UNIT, LABELS.astype(np.float32)),
    ):
        with pytest.raises(InputError, match=r"^expected "):
            run(images, labels)
    with pytest.raises(InputError, match=r"expected codes \[batch, 3\]"):
        jax.jit(VAE.decode)(jnp.zeros((2, 4)))
    assert jax.jit(lambda label: CVAE.sample(label, key=KEY, count=2))(jnp.int32(3)).shape == (2, 28, 28, 1)


ROWS = np.random.default_rng(0).random((70, 5))
BAD_ROWS = {
    "NaN": np.where(ROWS > 0.99, np.nan, ROWS),
    "infinity": np.where(ROWS > 0.99, np.inf, ROWS),
    "none": ROWS[:0],
    "no columns": ROWS[:, :0],
    "1-d": ROWS[0],
    "strings": np.full((3, 5), "x"),
    "complex": ROWS + 1j,
}


@pytest.mark.parametrize("kind", [AutoencoderTransformer, AutoencoderOutlierDetector])
def test_estimators_refuse_rows_and_settings(kind):
    fitted = kind(hidden=(2,), epochs=1).fit((255 * ROWS).astype(np.uint8), y=np.full(70, "any label"))
    calls = [fitted.transform, fitted.inverse_transform] if kind is AutoencoderTransformer else [fitted.predict]
    for bad in BAD_ROWS.values():
        for call in (kind(hidden=(2,), epochs=1).fit, *calls):
            with pytest.raises(ValueError, match=r"."):
                call(bad)
    for call in calls:
        with pytest.raises(ValueError, match=r"features|dimensions"):
            call(np.ones((3, 6)))
    for name, values in {
        "hidden": (0, (), (0,), "32", (2.5,), (2**40,), None),
        "epochs": (-1, 2**40, 1.5, None, True),
        "batch_size": (0, -1, 2**40, 1.5, None),
        "learning_rate": (np.nan, np.inf, -1, "x", None),
        "activation": ("x", None, 1),
        "random_state": (-1, 2**40, "x", 1.5),
        "corrupt": (3,),
    }.items():
        for value in values:
            with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$"):
                kind(**({"hidden": (2,), "epochs": 1} | {name: value})).fit(ROWS)
    with pytest.raises(InputError, match="expected the number of steps of 2147483647 epochs"):
        kind(hidden=(2,), epochs=2**31 - 1, batch_size=35).fit(ROWS)


def test_an_estimators_batch_may_be_longer_than_its_rows():
    usual, longer = (
        AutoencoderTransformer((2,), epochs=2, batch_size=size, random_state=0).fit(ROWS).transform(ROWS)
        for size in (70, 2**31 - 1)
    )
    np.testing.assert_allclose(usual, longer, rtol=1e-4, atol=1e-5)


def test_messages_name_the_split():
    with pytest.raises(InputError, match=re.escape("expected labels from 0 to 9, got 10 in the train split")):
        data_set(IMAGES, LABELS + 1)


@pytest.mark.parametrize("name", ["a\0b", "a" * 300])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(InputError, match="expected a data set that a file can be called"):
        jaxae.load(name)
