"""A trained model applied to many rows: encode, decode, reconstruct, score.

Each is one compiled function, to which a model's settings are static and its parameters arguments: models of the same
settings share a program, and none has weights baked in. Rows go through in parts of one size: any number of rows, in
little memory, runs few programs. Inputs are cast to the parameters' dtype. Shapes come from the arrays and the
settings.

Images are uint8 or floats in [0, 1], and finite; rows [n, features] of an autoencoder may be any finite floats, as the
estimators scale them. All else is an InputError, and so are labels of no class, or not one for each row.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num, Shaped

from jaxae.bounds import Count, check, check_fits
from jaxae.config import AutoencoderConfig, ModelConfig, VAEConfig
from jaxae.data.pixels import as_array, as_unit_float, check_labels, check_pixels
from jaxae.errors import InputError
from jaxae.network.fork import check_not_forked
from jaxae.network.losses import bce_from_logits, kl_from_standard_normal
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.parameters import ArrayTree, Parameters, parameters_of
from jaxae.network.pixel_cost import DecodedPixels, pixel_cost
from jaxae.network.vae import VAE

Labels = Int[np.ndarray, " n"] | None
# Rows per call of a compiled function, where the caller has no wish of its own.
_FEWEST_ROWS, _MOST_ROWS = 64, 1024


def encode(
    model: Model, images: Num[np.ndarray, "n ..."], labels: Labels = None, *, rows: int = _MOST_ROWS
) -> Float[np.ndarray, "n code"]:
    """Codes of images: the autoencoder's, or the means of the VAE's posterior.

    Args:
        model: A trained model.
        images: uint8 images, or floats.
        labels: Classes of the images, for a conditional model; any other has no use for them.
        rows: Largest number of rows in one call of the compiled function.

    Raises:
        InputError: If images or labels are not the model's.
    """
    return _over_rows(_encode, model, rows, _pixels(model, images), labels)


def posterior(
    model: VAE, images: Num[np.ndarray, "n ..."], labels: Labels = None, *, rows: int = _MOST_ROWS
) -> tuple[Float[np.ndarray, "n latent"], Float[np.ndarray, "n latent"]]:
    """Mean and log variance (not log deviation) of the posterior of images.

    Raises:
        InputError: If images or labels are not the model's.
    """
    return _over_rows(_posterior, model, rows, _pixels(model, images), labels)


def decode(
    model: Model, codes: Float[np.ndarray, "n code"], labels: Labels = None, *, rows: int = _MOST_ROWS
) -> Float[np.ndarray, "n ..."]:
    """Images in [0, 1] of codes: [n, h, w, c] of a VAE, without the planes of a condition.

    An autoencoder's are [n, features], for it does not know the shape of what it reconstructs.

    Raises:
        InputError: If codes or labels are not the model's.
    """
    codes = as_array("codes", codes)
    if codes.ndim != 2 or codes.shape[1] != model.config.code_size:
        raise InputError(f"expected codes [n, {model.config.code_size}], got {list(codes.shape)}")
    _check_finite("codes", codes)
    return _over_rows(_decode, model, rows, codes, labels)


def reconstruct(
    model: Model, images: Num[np.ndarray, "n ..."], labels: Labels = None, *, rows: int = _MOST_ROWS
) -> Float[np.ndarray, "n ..."]:
    """Images in [0, 1] decoded from images' own codes (a VAE's means), in the images' shape.

    Raises:
        InputError: If images or labels are not the model's.
    """
    return _over_rows(_reconstruct, model, rows, _pixels(model, images), labels).reshape(np.shape(images))


def score(
    model: Model,
    images: Num[np.ndarray, "n ..."],
    labels: Labels = None,
    *,
    key: Key[Array, ""] | None = None,
    draws: int = 8,
    rows: int = _MOST_ROWS,
) -> Float[np.ndarray, " n"]:
    """Cost of each image in nats, summed over pixels: the higher, the less like the training set.

    The autoencoder's is the cross-entropy of the reconstruction. The VAE's is its bound on
    -log p(x), averaged over draws of the code that all images share (Kingma and Welling 2014,
    arXiv:1312.6114, equation 3).

    Args:
        model: A trained model.
        images: uint8 images, or floats in [0, 1].
        labels: Classes of the images, for a conditional model.
        key: Key of a VAE's draws; by default key 0.
        draws: Number of a VAE's draws.
        rows: Largest number of rows in one call of the compiled function.

    Raises:
        InputError: If images, labels or draws are not the model's.
    """
    check("draws", draws, Count)
    eps = None
    if isinstance(model.config, VAEConfig):
        check_fits("draws of a code", draws * model.config.num_latent * 4)
        key = jax.random.key(0) if key is None else key
        eps = jax.random.normal(key, (draws, model.config.num_latent))
    function = partial(_score, eps)
    return _over_rows(function, model, rows, _pixels(model, images), labels)


def check_unconditional(model: Model) -> None:
    """Refuse a conditional model where images have no labels to go with them.

    Raises:
        InputError: If the model is conditioned on a class.
    """
    if isinstance(model, VAE) and model.config.num_classes:
        raise InputError(
            f"expected an autoencoder or a plain VAE, got one conditioned on {model.config.num_classes} classes"
        )


def map_rows(
    function: Callable[..., ArrayTree],
    *arrays: Shaped[np.ndarray, "n ..."],
    least: int = _FEWEST_ROWS,
    most: int = _MOST_ROWS,
) -> ArrayTree:
    """Apply a function to parts of rows, and join what it makes of them.

    A part is `most` rows, or where there are fewer the next power of two, filled up with rows of zeros whose results
    are dropped.

    Args:
        function: Function of as many arrays, to an array or a tree of arrays, row by row.
        arrays: Arrays of one length.
        least: Least number of rows in a part.
        most: Largest number of rows in a part.
    """
    check_not_forked()
    count = len(arrays[0])
    size = min(most, padded_length(count, least))
    results = []
    # One part even of no rows, whose result has the right shape.
    for begin in range(0, max(count, 1), size):
        results.append(function(*(pad_rows(array[begin : begin + size], size) for array in arrays)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)


def pad_rows(array: Shaped[np.ndarray, "n ..."], size: int) -> Shaped[np.ndarray, "size ..."]:
    """Rows followed by as many rows of zeros as are missing."""
    return np.pad(array, [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1))


def padded_length(count: int, least: int = 1) -> int:
    """The power of two that holds a count, at least `least`."""
    return max(least, 1 << max(count - 1, 0).bit_length())


def image_of(config: ModelConfig, decoded: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """What a model decodes without the planes of a reconstructed condition."""
    return decoded if isinstance(config, AutoencoderConfig) else decoded[..., : config.image_shape[2]]


def _over_rows(
    function: Callable[..., Any], model: Model, rows: int, values: Num[np.ndarray, "n ..."], labels: Labels
) -> Any:
    check("rows", rows, Count)
    run = partial(function, model.config, parameters_of(model))
    labels = _condition(model, labels, len(values))
    arrays = (values,) if labels is None else (values, np.asarray(labels, np.int32))
    return map_rows(run, *arrays, least=min(_FEWEST_ROWS, rows), most=rows)


def _condition(model: Model, labels: Labels, count: int) -> Labels:
    """The labels where the model is conditional; they are nothing to any other."""
    if isinstance(model.config, AutoencoderConfig) or not model.config.num_classes:
        return None
    if labels is None:
        check_unconditional(model)
    elif count or np.size(labels):
        check_labels(labels, model.config.num_classes, num_images=count)
    return labels


def _pixels(model: Model, images: Num[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """Images as floats, of a model's shape."""
    images = as_array("images", images)
    shape = images.shape[1:]
    if isinstance(model.config, VAEConfig) and shape != model.config.image_shape:
        raise InputError(
            f"expected images [n, {', '.join(map(str, model.config.image_shape))}], got {list(images.shape)}"
        )
    if isinstance(model.config, AutoencoderConfig) and (
        not images.ndim or math.prod(shape) != model.config.num_features
    ):
        raise InputError(f"expected examples of {model.config.num_features} features, got {list(images.shape)}")
    if images.dtype == np.uint8:
        return as_unit_float(images)
    if images.ndim == 2:
        _check_finite("rows", images)
    else:
        check_pixels(images)
    return images


def _check_finite(what: str, values: Num[np.ndarray, "n ..."]) -> None:
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise InputError(f"expected {what} of floats, got {values.dtype}")
    if not np.isfinite(values).all():
        raise InputError(f"expected {what} of finite floats, got NaN or infinity")


def _cast(parameters: Parameters, values: Array) -> Array:
    return values.astype(jax.tree.leaves(parameters)[0].dtype)


@partial(jax.jit, static_argnums=0)
def _encode(config: ModelConfig, parameters: Parameters, x: Array, label: Array | None = None) -> Array:
    model = with_parameters(config, parameters)
    x = _cast(parameters, x)
    return model.encode(x) if isinstance(model, Autoencoder) else model.encode(x, label)[0]


@partial(jax.jit, static_argnums=0)
def _posterior(config: VAEConfig, parameters: Parameters, x: Array, label: Array | None = None) -> tuple[Array, Array]:
    model = with_parameters(config, parameters)
    assert isinstance(model, VAE)
    return model.encode(_cast(parameters, x), label)


@partial(jax.jit, static_argnums=0)
def _decode(config: ModelConfig, parameters: Parameters, code: Array, label: Array | None = None) -> Array:
    model = with_parameters(config, parameters)
    code = _cast(parameters, code)
    if isinstance(model, Autoencoder):
        return model.decode(code)
    return image_of(config, model.decode(code, label))


@partial(jax.jit, static_argnums=0)
def _reconstruct(config: ModelConfig, parameters: Parameters, x: Array, label: Array | None = None) -> Array:
    model = with_parameters(config, parameters)
    x = _cast(parameters, x)
    if isinstance(model, Autoencoder):
        return model(x).reconstruction
    return image_of(config, model.decode(model.encode(x, label)[0], label))


@partial(jax.jit, static_argnums=1)
def _score(
    eps: Array | None, config: ModelConfig, parameters: Parameters, x: Array, label: Array | None = None
) -> Array:
    model = with_parameters(config, parameters)
    x = _cast(parameters, x)
    if isinstance(model, Autoencoder):
        return bce_from_logits(model(x).logits, x.reshape(len(x), -1))
    assert eps is not None
    mean, log_var = model.encode(x, label)

    def bound(eps: Array) -> Array:
        drawn = jnp.broadcast_to(eps[None], mean.shape)
        code = model.reparameterize(mean, log_var, drawn)
        logits, log_scale = model.decode_pixels(code, label)
        return pixel_cost(model.config, DecodedPixels(image_of(config, logits), log_scale), x)

    reconstruction = jax.lax.map(bound, _cast(parameters, eps)).mean(0)
    return reconstruction + kl_from_standard_normal(mean, log_var)


# By the names of the functions above that run them: for whoever compiles them without running any.
COMPILED = {"encode": _encode, "posterior": _posterior, "decode": _decode, "reconstruct": _reconstruct, "score": _score}
