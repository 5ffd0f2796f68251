"""Rules for operations on each element: arithmetic, and what goes with it."""

from typing import Any

from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

# Expressions of one tensor.
_ONE = {
    "neg negative __neg__": "(-{})",
    "positive __pos__": "{}",
    "abs absolute __abs__": "jnp.abs({})",
    "exp": "jnp.exp({})",
    "exp2": "jnp.exp2({})",
    "expm1": "jnp.expm1({})",
    "log": "jnp.log({})",
    "log2": "jnp.log2({})",
    "log10": "jnp.log10({})",
    "log1p": "jnp.log1p({})",
    "sqrt": "jnp.sqrt({})",
    "rsqrt": "lax.rsqrt({})",
    "square": "jnp.square({})",
    "reciprocal": "(1 / {})",
    "sin": "jnp.sin({})",
    "cos": "jnp.cos({})",
    "tan": "jnp.tan({})",
    "asin arcsin": "jnp.arcsin({})",
    "acos arccos": "jnp.arccos({})",
    "atan arctan": "jnp.arctan({})",
    "sinh": "jnp.sinh({})",
    "cosh": "jnp.cosh({})",
    "tanh": "jnp.tanh({})",
    "asinh arcsinh": "jnp.arcsinh({})",
    "acosh arccosh": "jnp.arccosh({})",
    "atanh arctanh": "jnp.arctanh({})",
    "sinc": "jnp.sinc({})",
    "erf": "lax.erf({})",
    "erfc": "lax.erfc({})",
    "erfinv": "lax.erf_inv({})",
    "lgamma gammaln": "lax.lgamma({})",
    "digamma psi": "lax.digamma({})",
    "deg2rad": "jnp.deg2rad({})",
    "rad2deg": "jnp.rad2deg({})",
    "sign sgn": "jnp.sign({})",
    "floor": "jnp.floor({})",
    "ceil": "jnp.ceil({})",
    "trunc fix": "jnp.trunc({})",
    "isnan": "jnp.isnan({})",
    "isinf": "jnp.isinf({})",
    "isposinf": "jnp.isposinf({})",
    "isneginf": "jnp.isneginf({})",
    "isfinite": "jnp.isfinite({})",
    "logical_not": "jnp.logical_not({})",
    "bitwise_not __invert__": "(~{})",
    "sigmoid expit": "nnx.sigmoid({})",
    "frac": "({0} - jnp.trunc({0}))",
}
# Expressions of two, one of which may be a number.
_TWO = {
    "mul multiply __mul__ __rmul__": "({} * {})",
    "true_divide __truediv__": "({} / {})",
    "__rtruediv__ __rdiv__": "({1} / {0})",
    "floor_divide __floordiv__": "({} // {})",
    "__rfloordiv__": "({1} // {0})",
    "remainder __mod__": "({} % {})",
    "__rmod__": "({1} % {0})",
    "fmod": "jnp.fmod({}, {})",
    "minimum": "jnp.minimum({}, {})",
    "maximum": "jnp.maximum({}, {})",
    "fmin": "jnp.fmin({}, {})",
    "fmax": "jnp.fmax({}, {})",
    "clamp_min": "jnp.maximum({}, {})",
    "clamp_max": "jnp.minimum({}, {})",
    "atan2 arctan2": "jnp.arctan2({}, {})",
    "hypot": "jnp.hypot({}, {})",
    "copysign": "jnp.copysign({}, {})",
    "logaddexp": "jnp.logaddexp({}, {})",
    "logaddexp2": "jnp.logaddexp2({}, {})",
    "xlogy": "jax.scipy.special.xlogy({}, {})",
    "heaviside": "jnp.heaviside({}, {})",
    "eq __eq__": "({} == {})",
    "ne not_equal __ne__": "({} != {})",
    "lt less __lt__": "({} < {})",
    "le less_equal __le__": "({} <= {})",
    "gt greater __gt__": "({} > {})",
    "ge greater_equal __ge__": "({} >= {})",
    "logical_and": "jnp.logical_and({}, {})",
    "logical_or": "jnp.logical_or({}, {})",
    "logical_xor": "jnp.logical_xor({}, {})",
    "bitwise_and __and__ __rand__": "({} & {})",
    "bitwise_or __or__ __ror__": "({} | {})",
    "bitwise_xor __xor__ __rxor__": "({} ^ {})",
    "bitwise_left_shift __lshift__": "({} << {})",
    "bitwise_right_shift __rshift__": "({} >> {})",
}


def _of_one(names: str, template: str) -> None:
    def rule(w: Writer, input: Tensor) -> Out:
        return w.elementwise(template, input)

    function(*names.split())(rule)


def _of_two(names: str, template: str) -> None:
    def rule(w: Writer, input: Any, other: Any) -> Out:
        return w.elementwise(template, input, other)

    function(*names.split())(rule)


for _names, _template in _ONE.items():
    _of_one(_names, _template)
for _names, _template in _TWO.items():
    _of_two(_names, _template)


@function("add", "__add__", "__radd__")
def add(w: Writer, input: Any, other: Any, *, alpha: float = 1) -> Out:
    return w.elementwise("({} + {})" if alpha == 1 else "({} + {} * {})", input, *(_scaled(alpha)), other)


@function("sub", "subtract", "__sub__")
def sub(w: Writer, input: Any, other: Any, *, alpha: float = 1) -> Out:
    return w.elementwise("({} - {})" if alpha == 1 else "({} - {} * {})", input, *(_scaled(alpha)), other)


@function("rsub", "__rsub__")
def rsub(w: Writer, input: Any, other: Any, *, alpha: float = 1) -> Out:
    return sub(w, other, input, alpha=alpha)


def _scaled(alpha: float) -> tuple[float, ...]:
    return () if alpha == 1 else (alpha,)


@function("div", "divide")
def div(w: Writer, input: Any, other: Any, *, rounding_mode: str | None = None) -> Out:
    if rounding_mode == "trunc":
        if not any(isinstance(one, Tensor) and one.is_float() for one in (input, other)):
            raise w.refuse('has rounding_mode="trunc" for whole numbers; divide floats')
        return w.elementwise("jnp.trunc({} / {})", input, other)
    return w.elementwise("({} // {})" if rounding_mode == "floor" else "({} / {})", input, other)


@function("pow", "float_power", "__pow__")
def power(w: Writer, input: Any, exponent: Any) -> Out:
    if isinstance(exponent, int | float) and exponent == 2:
        return w.elementwise("jnp.square({})", input)
    if isinstance(exponent, float) and exponent == 0.5:
        return w.elementwise("jnp.sqrt({})", input)
    negative = isinstance(input, int | float) and input < 0
    return w.elementwise("(({}) ** {})" if negative else "({} ** {})", input, exponent)


@function("__rpow__")
def rpower(w: Writer, input: Any, exponent: Any) -> Out:
    return power(w, exponent, input)


@function("ldexp")
def ldexp(w: Writer, input: Any, other: Any) -> Out:
    return w.elementwise("({} * 2.0 ** {})", input, other)


@function("round")
def rounded(w: Writer, input: Tensor, *, decimals: int = 0) -> Out:
    if decimals == 0:
        return w.elementwise("jnp.round({})", input)
    return w.elementwise(f"(jnp.round({{}} * {10.0**decimals}) / {10.0**decimals})", input)


@function("clamp", "clip")
def clamp(w: Writer, input: Tensor, min: Any = None, max: Any = None) -> Out:
    if max is None:
        return w.elementwise("jnp.maximum({}, {})", input, min)
    if min is None:
        return w.elementwise("jnp.minimum({}, {})", input, max)
    return w.elementwise("jnp.clip({}, {}, {})", input, min, max)


@function("lerp")
def lerp(w: Writer, input: Tensor, end: Tensor, weight: Any) -> Out:
    return w.elementwise("({0} + {2} * ({1} - {0}))", input, end, weight)


@function("addcmul")
def addcmul(w: Writer, input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Out:
    if value == 1:
        return w.elementwise("({} + {} * {})", input, tensor1, tensor2)
    return w.elementwise("({} + {} * {} * {})", input, value, tensor1, tensor2)


@function("addcdiv")
def addcdiv(w: Writer, input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Out:
    if value == 1:
        return w.elementwise("({} + {} / {})", input, tensor1, tensor2)
    return w.elementwise("({} + {} * {} / {})", input, value, tensor1, tensor2)


@function("isclose")
def isclose(w: Writer, input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8) -> Out:
    return w.elementwise("jnp.isclose({}, {}, rtol={}, atol={})", input, other, rtol, atol)


@function("nan_to_num")
def nan_to_num(
    w: Writer, input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Out:
    bounds = {"nan": nan, "posinf": posinf, "neginf": neginf}
    more = "".join(f", {name}={w.literal(one)}" for name, one in bounds.items() if one is not None)
    return w.elementwise(f"jnp.nan_to_num({{}}{more})", input)


@function("where")
def where(w: Writer, condition: Any, input: Any, other: Any) -> Out:
    """`torch.where(condition, input, other)`, and `input.where(condition, other)`."""
    if not _is_bool(condition):
        condition, input = input, condition
    elif _is_bool(input) and _is_bool(other):
        raise w.refuse("chooses among booleans; write it with & and |")
    return w.elementwise("jnp.where({}, {}, {})", condition, input, other)


@function("masked_fill")
def masked_fill(w: Writer, input: Tensor, mask: Tensor, value: Any) -> Out:
    if _is_bool(input) and not isinstance(value, Tensor):
        value = bool(value)
    return w.elementwise("jnp.where({1}, {2}, {0})", input, mask, value)


def _is_bool(x: Any) -> bool:
    return isinstance(x, Tensor) and x.value.dtype.each[0] == "bool"


@function("logit")
def logit(w: Writer, input: Tensor, eps: float | None = None) -> Out:
    if eps is None:
        return w.elementwise("jax.scipy.special.logit({})", input)
    return w.elementwise("jax.scipy.special.logit(jnp.clip({}, {}, {}))", input, eps, 1 - eps)
