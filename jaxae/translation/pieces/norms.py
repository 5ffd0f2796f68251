"""Norms without a layer, over several axes, and by the precision of the input."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


def standardised(x: jax.Array, axes: int | tuple[int, ...], eps: float) -> jax.Array:
    """Less its mean, over its deviation along some axes."""
    return (x - x.mean(axes, keepdims=True)) * lax.rsqrt(x.var(axes, keepdims=True) + eps)


def group_norm(x: jax.Array, groups: int, eps: float) -> jax.Array:
    """Images (n, *space, c), standardised over space and each group of channels."""
    parts = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    return standardised(parts, (1, 3), eps).reshape(x.shape)


def local_response_norm(x: jax.Array, size: int, alpha: float, beta: float, k: float) -> jax.Array:
    """Each element over a power of the squares of its neighbours among the channels at the end."""
    around = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(x), around)
    mean = sum(squares[..., n : n + x.shape[-1]] for n in range(size)) / size
    return x / (k + alpha * mean) ** beta


class LayerNormOverAxes(nnx.Module):
    """A layer norm over several of the last axes.

    Args:
        shape: Sizes of those axes.
        epsilon: What is added to the variance.
        use_bias: Whether a bias is added.
        use_scale: Whether the result is scaled.
        rngs: Random streams.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        use_scale: bool = True,
        rngs: nnx.Rngs,
    ):
        self.weight = nnx.Param(jnp.ones(shape)) if use_scale else None
        self.bias = nnx.Param(jnp.zeros(shape)) if use_bias else None
        self.axes = tuple(range(-len(shape), 0))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """The input with mean 0 and variance 1 over the axes, scaled and moved."""
        x = standardised(x, self.axes, self.epsilon)
        x = x if self.weight is None else x * self.weight[...]
        return x if self.bias is None else x + self.bias[...]


class RMSNormOverAxes(nnx.Module):
    """A root mean square norm over one or several of the last axes.

    Args:
        shape: Sizes of those axes.
        epsilon: What is added to the mean square; None for the machine epsilon of the input's dtype.
        use_scale: Whether the result is scaled.
        rngs: Random streams.
    """

    def __init__(self, shape: tuple[int, ...], *, epsilon: float | None = None, use_scale: bool = True, rngs: nnx.Rngs):
        self.weight = nnx.Param(jnp.ones(shape)) if use_scale else None
        self.axes = tuple(range(-len(shape), 0))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """The input with mean square 1 over the axes, scaled."""
        epsilon = float(jnp.finfo(x.dtype).eps) if self.epsilon is None else self.epsilon
        x = x * lax.rsqrt(jnp.square(x).mean(self.axes, keepdims=True) + epsilon)
        return x if self.weight is None else x * self.weight[...]


class WeightNorm(nnx.Module):
    """A layer whose kernel is given by its length, for each of its last axis, and by its direction.

    `nnx.WeightNorm` overwrites the kernel that it is trained by; this one does not.

    Args:
        layer: The layer.
        rngs: Random streams.
    """

    def __init__(self, layer: nnx.Linear | nnx.Conv | nnx.ConvTranspose, *, rngs: nnx.Rngs):
        self.layer = layer
        kernel = layer.kernel[...]
        self.scale = nnx.Param(jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1)))))

    @property
    def torch_rows(self) -> tuple[tuple[tuple[str, str, str], ...], ...]:
        """Names of torch's tensors, of the variables that they become, and their axes, in both of torch's styles."""
        ones = " 1" * (self.layer.kernel.ndim - 1)
        styles = ("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v")
        return tuple(
            (
                (scale, "scale", f"features{ones} -> features"),
                (direction, "layer.kernel", "one other ... -> ... other one"),
                ("bias", "layer.bias", "outputs -> outputs"),
            )
            for scale, direction in styles
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer gives with its kernel scaled."""
        kernel = self.layer.kernel[...]
        length = jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))))
        layer = nnx.clone(self.layer)
        layer.kernel.set_value(kernel * (self.scale[...] / length))
        return layer(x)


def unit(x: jax.Array, eps: float) -> jax.Array:
    """A vector of length 1."""
    return x / jnp.maximum(jnp.sqrt(jnp.square(x).sum()), eps)


class SpectralNorm(nnx.Module):
    """A layer whose weight is divided by its largest singular value, as two vectors tell it: u and v.

    In training each call brings them nearer by steps of the power iteration. `nnx.SpectralNorm` does so in every
    call, and overwrites the kernel that it is trained by.

    Args:
        layer: The layer.
        axis: The axis of torch's weight, (outputs, inputs, *space), along which u lies.
        steps: Steps of the power iteration in each call.
        epsilon: The least length that a vector is divided by.
        u_first: Whether a step brings u nearer first, as torch's parametrization does, or v, as the older hook.
        rngs: Random streams.
    """

    def __init__(
        self,
        layer: nnx.Linear | nnx.Conv | nnx.ConvTranspose | nnx.Embed,
        *,
        axis: int = 0,
        steps: int = 1,
        epsilon: float = 1e-12,
        u_first: bool = True,
        rngs: nnx.Rngs,
    ):
        self.layer = layer
        self.axis, self.steps, self.epsilon, self.u_first = axis, steps, epsilon, u_first
        self.use_running_average = False
        rows, columns = self.matrix().shape
        self.u = nnx.BatchStat(unit(rngs.params.normal((rows,)), epsilon))
        self.v = nnx.BatchStat(unit(rngs.params.normal((columns,)), epsilon))

    @property
    def torch_rows(self) -> tuple[tuple[tuple[str, str, str], ...], ...]:
        """Names of torch's tensors, of the variables that they become, and their axes, in both of torch's styles."""
        variable, axes = "layer.kernel", "one other ... -> ... other one"
        if isinstance(self.layer, nnx.Embed):
            variable, axes = "layer.embedding", "rows features -> rows features"
        bias = (("bias", "layer.bias", "outputs -> outputs"),) if getattr(self.layer, "bias", None) is not None else ()
        styles = (
            ("parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"),
            ("weight_orig", "weight_u", "weight_v"),
        )
        return tuple(
            ((whole, variable, axes), (u, "u", "rows -> rows"), (v, "v", "columns -> columns"), *bias)
            for whole, u, v in styles
        )

    def matrix(self) -> jax.Array:
        """The weight with one axis as rows, and the others, in torch's order, as columns."""
        weight = self.variable(self.layer)[...]
        if not isinstance(self.layer, nnx.Embed):
            weight = jnp.moveaxis(weight, (-1, -2), (0, 1))
        weight = jnp.moveaxis(weight, self.axis, 0)
        return weight.reshape(weight.shape[0], -1)

    def variable(self, layer: nnx.Linear | nnx.Conv | nnx.ConvTranspose | nnx.Embed) -> nnx.Param:
        """The weight of the layer."""
        return layer.embedding if isinstance(layer, nnx.Embed) else layer.kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer gives with its weight divided."""
        matrix = self.matrix()
        u, v = self.u[...], self.v[...]
        if not self.use_running_average:
            fixed = lax.stop_gradient(matrix)
            for _ in range(self.steps):
                if self.u_first:
                    u = unit(fixed @ v, self.epsilon)
                v = unit(fixed.T @ u, self.epsilon)
                if not self.u_first:
                    u = unit(fixed @ v, self.epsilon)
            self.u.set_value(u)
            self.v.set_value(v)
        layer = nnx.clone(self.layer)
        weight = self.variable(layer)
        weight.set_value(weight[...] / (u @ matrix @ v))
        return layer(x)
