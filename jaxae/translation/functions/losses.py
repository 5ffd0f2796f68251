"""Rules for losses, where a network computes its own."""

from typing import Any

from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer


def _reduced(out: Out, reduction: str) -> Out:
    return out if reduction == "none" else Out(f"{out.code}.{reduction}()")


def _legacy(w: Writer, size_average: Any, reduce: Any) -> None:
    if size_average is not None or reduce is not None:
        raise w.refuse("has size_average or reduce, which torch gave up; use reduction")


def _of_gap(name: str, template: str, *settings: str) -> None:
    def rule(
        w: Writer,
        input: Tensor,
        target: Tensor,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        beta: float = 1.0,
        delta: float = 1.0,
        weight: Any = None,
    ) -> Out:
        _legacy(w, size_average, reduce)
        if weight is not None:
            raise w.refuse("has weights; multiply by them")
        more = [{"beta": beta, "delta": delta}[one] for one in settings]
        if settings == ("beta",) and beta == 0:
            return _reduced(w.elementwise("jnp.abs({} - {})", input, target), reduction)
        if settings:
            w.piece(name.removesuffix("_loss"))
        return _reduced(w.elementwise(template, input, target, *more), reduction)

    def huber(
        w: Writer, input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, **more: Any
    ) -> Out:
        return rule(w, input, target, None, None, reduction, delta=delta, **more)

    function(name)(huber if settings == ("delta",) else rule)


_of_gap("mse_loss", "jnp.square({} - {})")
_of_gap("l1_loss", "jnp.abs({} - {})")
_of_gap("smooth_l1_loss", "smooth_l1({} - {}, {})", "beta")
_of_gap("huber_loss", "huber({} - {}, {})", "delta")


@function("binary_cross_entropy")
def binary_cross_entropy(
    w: Writer,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Out:
    _legacy(w, size_average, reduce)
    code = f"{w.piece('binary_cross_entropy')}({{0}}, {{1}})"
    return _reduced(_weighted(w, code, input, target, weight), reduction)


def _weighted(w: Writer, code: str, input: Tensor, target: Tensor, weight: Tensor | None) -> Out:
    if weight is None:
        return w.elementwise(code, input, target)
    return w.elementwise(f"({code} * {{2}})", input, target, weight)


@function("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    w: Writer,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Out:
    _legacy(w, size_average, reduce)
    if pos_weight is not None:
        first = w.elementwise("({1} * {2} * nnx.log_sigmoid({0}))", input, target, pos_weight)
        second = w.elementwise("((1 - {1}) * nnx.log_sigmoid(-{0}))", input, target)
        pair = Tensor(first.code, input.value, first.last), Tensor(second.code, input.value, second.last)
        out = w.elementwise("(-({} + {}))", *pair)
        if weight is not None:
            out = w.elementwise("({} * {})", Tensor(out.code, input.value, out.last), weight)
        return _reduced(out, reduction)
    return _reduced(_weighted(w, "(jnp.logaddexp({0}, 0) - {0} * {1})", input, target, weight), reduction)


@function("kl_div")
def kl_div(
    w: Writer,
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Out:
    _legacy(w, size_average, reduce)
    template = "(jnp.exp({1}) * ({1} - {0}))" if log_target else "(jax.scipy.special.xlogy({1}, {1}) - {1} * {0})"
    out = w.elementwise(template, input, target)
    if reduction == "batchmean":
        return Out(f"({out.code}.sum() / {w.size(input.shape[0])})")
    return _reduced(out, reduction)


@function("cross_entropy")
def cross_entropy(
    w: Writer,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Out:
    _legacy(w, size_average, reduce)
    scores = f"nnx.log_softmax({w.last(input)}, axis=-1)"
    if target.is_float():
        if weight is not None:
            raise w.refuse("has weights beside probabilities")
        wanted = w.last(target)
        if label_smoothing:
            share = w.literal(label_smoothing, "smoothing")
            classes = input.shape[1] if input.ndim > 1 else input.shape[0]
            wanted = f"((1 - {share}) * {wanted} + {share} / {w.size(classes)})"
        return _reduced(Out(f"(-({wanted} * {scores}).sum(axis=-1))"), reduction)
    return _picked(w, scores, target, weight, ignore_index, reduction, label_smoothing)


@function("nll_loss", "nll_loss_nd")
def nll_loss(
    w: Writer,
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Out:
    _legacy(w, size_average, reduce)
    return _picked(w, w.last(input), target, weight, ignore_index, reduction)


def _picked(
    w: Writer, scores: str, target: Tensor, weight: Tensor | None, ignored: int, reduction: str, smoothing: float = 0.0
) -> Out:
    if smoothing and weight is not None:
        raise w.refuse("has weights beside smoothing")
    more = f", weight={weight.code}" if weight is not None else ""
    more += f", ignored={w.literal(ignored, 'ignored')}" if ignored != -100 else ""
    more += f", smoothing={w.literal(smoothing, 'smoothing')}" if smoothing else ""
    more += f", reduction={reduction!r}" if reduction != "mean" else ""
    return Out(f"{w.piece('nll_loss')}({scores}, {w.plain(target)}{more})")
