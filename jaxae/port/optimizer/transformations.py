"""Transformations of torch's whose formulas optax does not have, with optax's states."""

import jax
import jax.numpy as jnp
import optax


def scale_by_torch_amsgrad(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's step over the largest second moment so far: torch takes the maximum before the bias is corrected.

    `optax.scale_by_amsgrad` takes it after the correction, or corrects nothing.
    """

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        if not isinstance(state, optax.ScaleByAmsgradState):
            raise TypeError(f"expected a ScaleByAmsgradState, got {type(state).__name__}")
        count = jnp.asarray(state.count) + 1
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        largest = jax.tree.map(jnp.maximum, state.nu_max, nu)
        means = optax.tree.bias_correction(mu, b1, count)
        squares = optax.tree.bias_correction(largest, b2, count)
        steps = jax.tree.map(lambda mean, square: mean / (jnp.sqrt(square) + eps), means, squares)
        return steps, optax.ScaleByAmsgradState(count, mu, nu, largest)

    return optax.GradientTransformation(optax.scale_by_amsgrad().init, update)


def scale_by_torch_rss(initial: float, eps: float) -> optax.GradientTransformation:
    """Adagrad's step with torch's epsilon beside the root; `optax.scale_by_rss` has it inside."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        if not isinstance(state, optax.ScaleByRssState):
            raise TypeError(f"expected a ScaleByRssState, got {type(state).__name__}")
        sums = jax.tree.map(lambda one, square: one**2 + square, updates, state.sum_of_squares)
        steps = jax.tree.map(lambda one, square: one / (jnp.sqrt(square) + eps), updates, sums)
        return steps, optax.ScaleByRssState(sums)

    return optax.GradientTransformation(optax.scale_by_rss(initial).init, update)
