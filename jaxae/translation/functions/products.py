"""Rules for products of vectors and matrices."""

from typing import Any

from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_PLAIN = {
    "matmul __matmul__ mm spmm bmm mv": "({} @ {})",
    "__rmatmul__": "({1} @ {0})",
    "dot vdot": "jnp.dot({}, {})",
    "inner": "jnp.inner({}, {})",
    "outer ger": "jnp.outer({}, {})",
    "kron": "jnp.kron({}, {})",
    "linalg.solve": "jnp.linalg.solve({}, {})",
}
_ONE = {
    "inverse linalg.inv": "jnp.linalg.inv({})",
    "det linalg.det": "jnp.linalg.det({})",
    "logdet": "jnp.linalg.slogdet({})[1]",
    "linalg.slogdet slogdet": "jnp.linalg.slogdet({})",
    "trace": "jnp.trace({})",
    "linalg.pinv pinverse": "jnp.linalg.pinv({})",
    "linalg.matrix_exp matrix_exp": "jax.scipy.linalg.expm({})",
}


def _of_two(names: str, template: str) -> None:
    def rule(w: Writer, input: Tensor, other: Tensor) -> Out:
        return Out(template.format(w.plain(input), w.plain(other)))

    function(*names.split())(rule)


def _of_one(names: str, template: str) -> None:
    def rule(w: Writer, input: Tensor) -> Out:
        return Out(template.format(w.plain(input)))

    function(*names.split())(rule)


for _names, _template in _PLAIN.items():
    _of_two(_names, _template)
for _names, _template in _ONE.items():
    _of_one(_names, _template)


@function("linalg.cholesky", "cholesky")
def cholesky(w: Writer, input: Tensor, upper: bool = False) -> Out:
    more = ", upper=True" if upper else ""
    return Out(f"jnp.linalg.cholesky({w.plain(input)}{more})")


@function("cross")
def cross(w: Writer, input: Tensor, other: Tensor, dim: int | None = None) -> Out:
    if dim is None:
        raise w.refuse("looks for the first axis of size 3; name it by dim")
    return linalg_cross(w, input, other, dim)


@function("linalg.cross")
def linalg_cross(w: Writer, input: Tensor, other: Tensor, dim: int = -1) -> Out:
    more = "" if dim == -1 else f", axis={w.literal(dim, 'axis')}"
    return Out(f"jnp.cross({w.plain(input)}, {w.plain(other)}{more})")


@function("einsum")
def einsum(w: Writer, equation: str, *operands: Any) -> Out:
    several = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple | list) else operands
    return Out(f"jnp.einsum({w.literal(equation)}, {', '.join(w.plain(one) for one in several)})")


@function("tensordot")
def tensordot(w: Writer, a: Tensor, b: Tensor, dims: Any = 2) -> Out:
    axes = dims if isinstance(dims, int) else tuple(tuple(one) for one in dims)
    return Out(f"jnp.tensordot({w.plain(a)}, {w.plain(b)}, axes={w.literal(axes, 'axes')})")


@function("addmm", "baddbmm", "addmv")
def addmm(w: Writer, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Out:
    first = "" if beta == 1 else f"{w.literal(beta)} * "
    second = "" if alpha == 1 else f"{w.literal(alpha)} * "
    return Out(f"({first}{w.plain(input)} + {second}({w.plain(mat1)} @ {w.plain(mat2)}))")


@function("addbmm")
def addbmm(w: Writer, input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Out:
    summed = Tensor(f"({w.plain(batch1)} @ {w.plain(batch2)}).sum(axis=0)", input.value)
    first = "" if beta == 1 else f"{w.literal(beta)} * "
    second = "" if alpha == 1 else f"{w.literal(alpha)} * "
    return Out(f"({first}{w.plain(input)} + {second}{summed.code})")


@function("linear")
def linear(w: Writer, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Out:
    kernel = weight.code.removesuffix(".T") if weight.code.endswith(".T") else f"{weight.code}.T"
    code = f"{w.plain(input)} @ {kernel if weight.ndim > 1 else weight.code}"
    return Out(f"({code} + {bias.code})" if bias is not None else f"({code})")


@function("bilinear")
def bilinear(w: Writer, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Out:
    code = f'jnp.einsum("...i,oij,...j->...o", {w.plain(input1)}, {w.plain(weight)}, {w.plain(input2)})'
    return Out(f"({code} + {bias.code})" if bias is not None else code)


@function("scaled_dot_product_attention")
def attention(
    w: Writer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Out:
    if dropout_p and not w.training:
        raise w.refuse("drops weights in evaluation too; give dropout_p=self.p if self.training else 0.0")
    codes = [w.plain(one) for one in (query, key, value)]
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        times = query.shape[-3] // key.shape[-3]
        codes[1:] = [f"{one}.repeat({w.literal(times, 'repeats')}, axis=-3)" for one in codes[1:]]
    mask = ""
    if attn_mask is not None:
        mask = f", {w.plain(attn_mask)}"
    elif is_causal:
        sizes = [query.shape[-2], key.shape[-2]]
        inner = w.size(sizes[0]) if sizes[0] == sizes[1] else ", ".join(map(w.size, sizes))
        mask = f", jnp.tri({inner}, dtype=bool)"
    more = "" if scale is None else f", scale={w.literal(scale, 'scale')}"
    if dropout_p:
        layer = w.make("dropout", f"nnx.Dropout({w.literal(dropout_p, 'rate')}, rngs=rngs)")
        more += f", dropout={layer}"
    return Out(f"{w.piece('attention')}({', '.join(codes)}{mask}{more})")
