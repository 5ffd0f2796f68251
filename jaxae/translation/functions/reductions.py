"""Rules for what is taken over axes: sums, means, norms, and what is ordered."""

from typing import Any

from jaxae.translation.functions.arguments import cast, product
from jaxae.translation.graph import Dtype
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_REDUCED = {
    "sum": "{}.sum({})",
    "mean": "{}.mean({})",
    "prod": "{}.prod({})",
    "amax": "{}.max({})",
    "amin": "{}.min({})",
    "all": "{}.all({})",
    "any": "{}.any({})",
    "logsumexp": "nnx.logsumexp({}, {})",
    "nansum": "jnp.nansum({}, {})",
    "nanmean": "jnp.nanmean({}, {})",
    "count_nonzero": "jnp.count_nonzero({}, {})",
}


def _reduced(name: str, template: str) -> None:
    def rule(w: Writer, input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None) -> Out:
        return _reduce(w, template, cast(w, input, dtype), dim, keepdim)

    function(name)(rule)


def _reduce(w: Writer, template: str, x: Tensor, dim: Any, keepdim: bool) -> Out:
    out = w.reduce(template, x, dim, keepdim)
    return Out(out.code.replace(", )", ")"), out.last)


for _name, _template in _REDUCED.items():
    _reduced(_name, _template)


def _extreme(name: str) -> None:
    def rule(w: Writer, input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        other = dim if isinstance(dim, Tensor) else other
        if other is not None:
            return w.elementwise(f"jnp.{name}imum({{}}, {{}})", input, other)
        values = _reduce(w, f"{{}}.{name}({{}})", input, dim, keepdim)
        if dim is None:
            return values
        return values, _reduce(w, f"{{}}.arg{name}({{}})", input, dim, keepdim)

    function(name)(rule)

    def place(w: Writer, input: Tensor, dim: int | None = None, keepdim: bool = False) -> Out:
        x = Tensor(w.plain(input), input.value) if dim is None else input
        return _reduce(w, f"{{}}.arg{name}({{}})", x, dim, keepdim)

    function(f"arg{name}")(place)


_extreme("max")
_extreme("min")


@function("aminmax")
def aminmax(w: Writer, input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    return tuple(_reduce(w, f"{{}}.{name}({{}})", input, dim, keepdim) for name in ("min", "max"))


def _spread(name: str, *parts: str) -> None:
    def rule(
        w: Writer,
        input: Tensor,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        degrees = correction if correction is not None else 0 if unbiased is False else 1
        more = f", ddof={w.literal(degrees, 'ddof')}" if degrees else ""
        outs = [_reduce(w, f"{{}}.{one}({{}}{more if one != 'mean' else ''})", input, dim, keepdim) for one in parts]
        outs = [Out(one.code.replace("(, ", "("), one.last) for one in outs]
        return outs[0] if len(outs) == 1 else tuple(outs)

    function(name)(rule)


_spread("std", "std")
_spread("var", "var")
_spread("std_mean", "std", "mean")
_spread("var_mean", "var", "mean")


def vector_norm(w: Writer, x: Tensor, p: Any, dim: Any, keepdim: bool) -> Out:
    """A p-norm over axes, whose derivative at zero is zero."""
    if p in (2, 2.0, "fro", None):
        return _reduce(w, f"{w.piece('norm')}({{}}, {{}})", x, dim, keepdim)
    if not isinstance(p, int | float):
        raise w.refuse(f"has order {p!r}; take a number")
    if p == float("inf"):
        return _reduce(w, "jnp.abs({}).max({})", x, dim, keepdim)
    if p == float("-inf"):
        return _reduce(w, "jnp.abs({}).min({})", x, dim, keepdim)
    if p == 0:
        out = _reduce(w, "({} != 0).sum({})", x, dim, keepdim)
        return Out(f"{out.code}.astype({x.code}.dtype)", out.last)
    if p == 1:
        return _reduce(w, "jnp.abs({}).sum({})", x, dim, keepdim)
    order = w.literal(p, "order")
    out = _reduce(w, f"(jnp.abs({{}}) ** {order}).sum({{}})", x, dim, keepdim)
    return Out(f"({out.code} ** (1 / {order}))", out.last)


@function("norm", "linalg.vector_norm")
def norm(
    w: Writer,
    input: Tensor,
    p: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    ord: Any = None,
    dtype: Dtype | None = None,
) -> Out:
    return vector_norm(w, cast(w, input, dtype), p if ord is None else ord, dim, keepdim)


@function("linalg.norm")
def linalg_norm(
    w: Writer, A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Out:
    x = cast(w, A, dtype)
    one_axis = isinstance(dim, int) or (isinstance(dim, tuple | list) and len(dim) == 1) or (dim is None and x.ndim < 2)
    if ord is not None and ord != "fro" and not one_axis:
        raise w.refuse("is a matrix's norm; only Frobenius's and norms of vectors have a rule")
    return vector_norm(w, x, 2 if ord is None else ord, dim, keepdim)


@function("linalg.matrix_norm")
def matrix_norm(w: Writer, A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False) -> Out:
    return linalg_norm(w, A, ord, dim, keepdim)


@function("normalize")
def normalize(w: Writer, input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Out:
    length = vector_norm(w, input, p, dim, True)
    return Out(f"({input.code} / jnp.maximum({length.code}, {w.literal(eps, 'eps')}))", input.last)


def _along(name: str, template: str) -> None:
    def rule(w: Writer, input: Tensor, dim: int, *, dtype: Dtype | None = None) -> Out:
        x = cast(w, input, dtype)
        return Out(template.format(x.code, w.literal(w.axis(x, dim), "axis")), x.last)

    function(name)(rule)


_along("cumsum", "jnp.cumsum({}, axis={})")
_along("cumprod", "jnp.cumprod({}, axis={})")
_along("logcumsumexp", "lax.cumlogsumexp({}, axis={})")


@function("diff")
def diff(w: Writer, input: Tensor, n: int = 1, dim: int = -1) -> Out:
    return Out(f"jnp.diff({input.code}, {w.literal(n)}, axis={w.literal(w.axis(input, dim), 'axis')})", input.last)


@function("median", "nanmedian")
def median(w: Writer, input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the two in the middle, as torch has it."""
    if dim is not None:
        raise w.refuse("gives places too, which torch does not define where elements are equal; sort and take one")
    middle = product(input.shape)
    if not isinstance(middle, int):
        return Out(f"jnp.sort({input.code}, axis=None)[({input.code}.size - 1) // 2]")
    return Out(f"jnp.sort({input.code}, axis=None)[{w.literal((middle - 1) // 2)}]")


@function("topk")
def topk(w: Writer, input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Out:
    axis = w.axis(input, dim)
    if largest and axis in (-1, input.ndim - 1):
        return Out(f"lax.top_k({input.code}, {w.literal(k, 'k')})", input.last)
    more = "" if largest else ", largest=False"
    return Out(f"{w.piece('topk')}({input.code}, {w.literal(k, 'k')}, axis={w.literal(axis)}{more})", input.last)


def _order(w: Writer, name: str, x: Tensor, dim: int, descending: bool) -> Out:
    more = ", descending=True" if descending else ""
    return Out(f"jnp.{name}({x.code}, axis={w.literal(w.axis(x, dim), 'axis')}{more})", x.last)


@function("sort")
def sort(w: Writer, input: Tensor, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Any:
    return tuple(_order(w, name, input, dim, descending) for name in ("sort", "argsort"))


@function("argsort")
def argsort(w: Writer, input: Tensor, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Out:
    return _order(w, "argsort", input, dim, descending)


@function("msort")
def msort(w: Writer, input: Tensor) -> Out:
    return _order(w, "sort", input, 0, False)


@function("cosine_similarity")
def cosine_similarity(w: Writer, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Out:
    (one, other), last = w.together(x1, x2)
    if x1.ndim != x2.ndim or last:
        one, other, dim = w.plain(x1), w.plain(x2), dim % x1.ndim - max(x1.ndim, x2.ndim)
    more = "" if eps == 1e-8 else f", eps={w.literal(eps, 'eps')}"
    return Out(f"{w.piece('cosine_similarity')}({one}, {other}, axis={w.literal(dim, 'axis')}{more})")


@function("pairwise_distance")
def pairwise_distance(
    w: Writer, x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Out:
    gap = w.elementwise(f"({{}} - {{}} + {w.literal(eps, 'eps')})", x1, x2)
    wider = x1 if x1.ndim >= x2.ndim else x2
    return vector_norm(w, Tensor(gap.code, wider.value, gap.last), p, -1, keepdim)


@function("cdist")
def cdist(w: Writer, x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Out:
    gap = f"({w.plain(x1)}[..., :, None, :] - {w.plain(x2)}[..., None, :, :])"
    return vector_norm(w, Tensor(gap, x1.value), p, -1, False)
