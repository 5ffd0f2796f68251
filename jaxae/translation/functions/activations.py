"""Rules for the activations of torch.nn.functional."""

from typing import Any

from jaxae.translation.functions.arguments import cast
from jaxae.translation.graph import Dtype
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer

_PLAIN = {
    "relu": "nnx.relu({})",
    "relu6": "nnx.relu6({})",
    "selu": "nnx.selu({})",
    "silu": "nnx.silu({})",
    "mish": "jax.nn.mish({})",
    "hardswish": "nnx.hard_swish({})",
    "hardsigmoid": "nnx.hard_sigmoid({})",
    "tanhshrink": "({0} - jnp.tanh({0}))",
    "softsign": "nnx.soft_sign({})",
    "logsigmoid log_sigmoid": "nnx.log_sigmoid({})",
}


def _plain(names: str, template: str) -> None:
    def rule(w: Writer, input: Tensor, inplace: bool = False) -> Out:
        return w.elementwise(template, input)

    function(*names.split())(rule)


for _names, _template in _PLAIN.items():
    _plain(_names, _template)


@function("gelu")
def gelu(w: Writer, input: Tensor, approximate: str = "none") -> Out:
    exact = "" if approximate == "tanh" else ", approximate=False"
    return w.elementwise(f"nnx.gelu({{}}{exact})", input)


@function("leaky_relu")
def leaky_relu(w: Writer, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Out:
    if negative_slope == 0.01:
        return w.elementwise("nnx.leaky_relu({})", input)
    return Out(f"nnx.leaky_relu({input.code}, negative_slope={w.literal(negative_slope, 'slope')})", input.last)


@function("elu")
def elu(
    w: Writer, input: Tensor, alpha: float = 1.0, inplace: Any = False, input_scale: float = 1, scale: float = 1
) -> Out:
    if inplace not in (False, True) or (input_scale, scale) != (1, 1):
        raise w.refuse("has scales; torch.nn.functional.elu has none")
    return w.elementwise("nnx.elu({})" if alpha == 1 else f"nnx.elu({{}}, alpha={w.literal(alpha, 'alpha')})", input)


@function("celu")
def celu(w: Writer, input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Out:
    return w.elementwise("nnx.celu({})" if alpha == 1 else f"nnx.celu({{}}, alpha={w.literal(alpha, 'alpha')})", input)


@function("hardtanh")
def hardtanh(w: Writer, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Out:
    if (min_val, max_val) == (-1, 1):
        return w.elementwise("nnx.hard_tanh({})", input)
    return w.elementwise("jnp.clip({}, {}, {})", input, min_val, max_val)


@function("hardshrink")
def hardshrink(w: Writer, input: Tensor, lambd: float = 0.5) -> Out:
    return w.elementwise("jnp.where(jnp.abs({0}) > {1}, {0}, 0)", input, lambd)


@function("softshrink")
def softshrink(w: Writer, input: Tensor, lambd: float = 0.5) -> Out:
    return w.elementwise("(jnp.sign({0}) * jnp.maximum(jnp.abs({0}) - {1}, 0))", input, lambd)


@function("threshold")
def threshold(w: Writer, input: Tensor, threshold: float, value: float, inplace: bool = False) -> Out:
    return w.elementwise("jnp.where({0} > {1}, {0}, {2})", input, threshold, value)


@function("softplus")
def softplus(w: Writer, input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Out:
    settings = {"beta": (beta, 1), "threshold": (threshold, 20)}
    more = "".join(f", {name}={w.literal(one, name)}" for name, (one, usual) in settings.items() if one != usual)
    return w.elementwise(f"{w.piece('softplus')}({{}}{more})", input)


def _dim(x: Tensor, dim: int | None) -> int:
    return dim if dim is not None else 0 if x.ndim in (0, 1, 3) else 1


@function("softmax")
def softmax(w: Writer, input: Tensor, dim: int | None = None, dtype: Dtype | None = None, _stacklevel: int = 3) -> Out:
    x = cast(w, input, dtype)
    return Out(f"nnx.softmax({x.code}, axis={_axis(w, x, dim)})", x.last)


@function("log_softmax")
def log_softmax(
    w: Writer, input: Tensor, dim: int | None = None, dtype: Dtype | None = None, _stacklevel: int = 3
) -> Out:
    x = cast(w, input, dtype)
    return Out(f"nnx.log_softmax({x.code}, axis={_axis(w, x, dim)})", x.last)


@function("softmin")
def softmin(w: Writer, input: Tensor, dim: int | None = None, dtype: Dtype | None = None, _stacklevel: int = 3) -> Out:
    x = cast(w, input, dtype)
    return Out(f"nnx.softmax(-{x.code}, axis={_axis(w, x, dim)})", x.last)


def _axis(w: Writer, x: Tensor, dim: int | None) -> str:
    return w.literal(w.axis(x, _dim(x, dim)), "axis")


@function("glu")
def glu(w: Writer, input: Tensor, dim: int = -1) -> Out:
    return Out(f"nnx.glu({input.code}, axis={_axis(w, input, dim)})", input.last)


@function("prelu")
def prelu(w: Writer, input: Tensor, weight: Tensor) -> Out:
    slope = weight.code
    if weight.shape != (1,) and not input.last and input.ndim > 2:
        slope = f"{slope}[:, {', '.join(['None'] * (input.ndim - 2))}]"
    return Out(f"jnp.where({input.code} > 0, {input.code}, {slope} * {input.code})", input.last)


@function("rrelu")
def rrelu(
    w: Writer, input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Out:
    if training:
        raise w.refuse("draws its slopes, in evaluation too; use leaky_relu with their mean")
    return leaky_relu(w, input, (lower + upper) / 2)


@function("gumbel_softmax")
def gumbel_softmax(
    w: Writer, logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Out:
    raise w.refuse("draws noise inside of torch; write softmax((logits + noise) / tau) with noise of torch.rand_like")
