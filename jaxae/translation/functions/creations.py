"""Rules for new tensors: constants and noise."""

from typing import Any

from jaxae.translation.functions.arguments import dtype as named
from jaxae.translation.functions.arguments import numbers, said, sizes_code
from jaxae.translation.graph import Dtype, Size
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer, static


def _filled(name: str, code: str) -> None:
    def rule(
        w: Writer, *given: Any, size: Any = None, dtype: Dtype | None = None, names: Any = None, pinned: Any = None
    ) -> Out:
        sizes = numbers(given or [size])
        return Out(f"jnp.{code}({sizes_code(w, sizes)}{said(w, dtype)})")

    def like(w: Writer, input: Tensor, *, dtype: Dtype | None = None) -> Out:
        return w.elementwise(f"jnp.{code}_like({{}}{_other(w, input, dtype)})", input)

    def new(w: Writer, input: Tensor, *size: Any, dtype: Dtype | None = None, **more: Any) -> Out:
        sizes = numbers(size) if size else numbers([more["size"]])
        kind = named(w, input.value.dtype if dtype is None else dtype, input)
        return Out(f"jnp.{code}({sizes_code(w, sizes)}, dtype={kind})")

    function(name)(rule)
    function(f"{name}_like")(like)
    function(f"new_{name}")(new)


_filled("zeros", "zeros")
_filled("ones", "ones")
_filled("empty", "zeros")


def _other(w: Writer, x: Tensor, kind: Dtype | None) -> str:
    """A dtype that is not the tensor's."""
    return "" if kind is None or kind == x.value.dtype else said(w, kind)


def _scalar(w: Writer, value: Any) -> str:
    return value.code if isinstance(value, Tensor) else w.literal(value)


@function("full")
def full(w: Writer, size: Any, fill_value: Any, *, dtype: Dtype | None = None) -> Out:
    return Out(f"jnp.full({sizes_code(w, size)}, {_scalar(w, fill_value)}{said(w, dtype)})")


@function("full_like")
def full_like(w: Writer, input: Tensor, fill_value: Any, *, dtype: Dtype | None = None) -> Out:
    return w.elementwise(f"jnp.full_like({{}}, {_scalar(w, fill_value)}{_other(w, input, dtype)})", input)


@function("new_full")
def new_full(w: Writer, input: Tensor, size: Any, fill_value: Any, *, dtype: Dtype | None = None) -> Out:
    kind = named(w, input.value.dtype if dtype is None else dtype, input)
    return Out(f"jnp.full({sizes_code(w, size)}, {_scalar(w, fill_value)}, dtype={kind})")


@function("fill")
def fill(w: Writer, input: Tensor, value: Any) -> Out:
    return w.elementwise(f"jnp.full_like({{}}, {_scalar(w, value)})", input)


@function("zero")
def zero(w: Writer, input: Tensor) -> Out:
    return w.elementwise("jnp.zeros_like({})", input)


@function("copy")
def copy(w: Writer, input: Tensor, src: Tensor, non_blocking: bool = False) -> Out:
    if input.shape == src.shape and input.value.dtype == src.value.dtype:
        return w.elementwise("{}", src)
    kind = "" if input.value.dtype == src.value.dtype else f".astype({input.code}.dtype)"
    return Out(f"jnp.broadcast_to({w.plain(src)}, {sizes_code(w, input.shape)}){kind}")


@function("tensor", "as_tensor", "asarray", "scalar_tensor")
def tensor(w: Writer, data: Any, *, dtype: Dtype | None = None) -> Out:
    if isinstance(data, Tensor):
        kind = "" if dtype is None or dtype == data.value.dtype else f".astype({named(w, dtype)})"
        return w.elementwise(f"{{}}{kind}", data)
    if isinstance(data, tuple | list) and any(isinstance(one, Tensor) or not static(one) for one in data):
        raise w.refuse("is made of tensors or sizes of the batch; stack them")
    return Out(f"jnp.array({w.literal(data)}{said(w, dtype)})")


@function("new_tensor")
def new_tensor(w: Writer, input: Tensor, data: Any, *, dtype: Dtype | None = None) -> Out:
    return tensor(w, data, dtype=input.value.dtype if dtype is None else dtype)


@function("arange", "range")
def arange(
    w: Writer, *bounds: Any, start: Any = None, end: Any = None, step: Any = None, dtype: Dtype | None = None
) -> Out:
    given = list(bounds)
    if end is not None:
        given = [start if start is not None else 0, end] if not given or start is not None else [given[0], end]
    if step is not None:
        given = [*([0] if len(given) == 1 else []), *given, step]
    if given[0] == 0 and len(given) == 2:
        given = given[1:]
    codes = [_scalar(w, one) for one in given]
    return Out(f"jnp.arange({', '.join(codes)}{said(w, dtype)})")


@function("linspace")
def linspace(w: Writer, start: float, end: float, steps: Any, *, dtype: Dtype | None = None) -> Out:
    return Out(f"jnp.linspace({_scalar(w, start)}, {_scalar(w, end)}, {w.size(steps)}{said(w, dtype)})")


@function("logspace")
def logspace(w: Writer, start: float, end: float, steps: Any, base: float = 10.0, *, dtype: Dtype | None = None) -> Out:
    more = "" if base == 10 else f", base={w.literal(base)}"
    return Out(f"jnp.logspace({_scalar(w, start)}, {_scalar(w, end)}, {w.size(steps)}{more}{said(w, dtype)})")


@function("eye")
def eye(w: Writer, n: Any, m: Any = None, *, dtype: Dtype | None = None) -> Out:
    columns = "" if m is None else f", {w.size(m)}"
    return Out(f"jnp.eye({w.size(n)}{columns}{said(w, dtype)})")


# Noise: drawn from a key that the class keeps.


def _key(w: Writer) -> str:
    return f"{w.make('noise', 'rngs.noise.fork()')}()"


def _shape(w: Writer, size: Any, more: dict[str, Any]) -> str:
    return sizes_code(w, numbers(size) if size else numbers([more["size"]]))


def _noise(name: str, kind: str) -> None:
    def rule(w: Writer, *size: Any, dtype: Dtype | None = None, **more: Any) -> Out:
        return Out(f"jax.random.{kind}({_key(w)}, {_shape(w, size, more)}{said(w, dtype)})")

    def like(w: Writer, input: Tensor, *, dtype: Dtype | None = None) -> Out:
        code = f"{input.code}.dtype" if dtype is None or dtype == input.value.dtype else named(w, dtype)
        return Out(f"jax.random.{kind}({_key(w)}, {input.code}.shape, {code})", input.last)

    function(name)(rule)
    function(f"{name}_like")(like)


_noise("randn", "normal")
_noise("rand", "uniform")


def _drawn(w: Writer, x: Tensor, kind: str) -> Tensor:
    return Tensor(f"jax.random.{kind}({_key(w)}, {x.code}.shape, {x.code}.dtype)", x.value, x.last)


def _moved(w: Writer, drawn: Tensor, mean: Any, deviation: Any) -> Out:
    code, operands = "{}", [drawn]
    if isinstance(deviation, Tensor) or deviation != 1:
        code, operands = "{} * {}", [deviation, drawn]
    if isinstance(mean, Tensor) or mean != 0:
        code, operands = f"{{}} + {code}", [mean, *operands]
    return w.elementwise(f"({code})" if len(operands) > 1 else code, *operands)


@function("normal_")
def normal_in_place(w: Writer, input: Tensor, mean: float = 0, std: float = 1) -> Out:
    return _moved(w, _drawn(w, input, "normal"), mean, std)


@function("uniform_")
def uniform_in_place(w: Writer, input: Tensor, low: float = 0, high: float = 1, **named: float) -> Out:
    low, high = named.get("from", low), named.get("to", high)
    return _moved(w, _drawn(w, input, "uniform"), low, high - low)


@function("normal")
def normal(w: Writer, mean: Any, std: Any = 1.0, size: Any = None) -> Out:
    if size is not None:
        drawn = Out(f"jax.random.normal({_key(w)}, {sizes_code(w, size)})")
        like: Any = Tensor(drawn.code, _Shape(len(size)))  # type: ignore[arg-type]
        return _moved(w, like, mean, std)
    wider = max((one for one in (mean, std) if isinstance(one, Tensor)), key=lambda one: one.ndim)
    return _moved(w, _drawn(w, wider, "normal"), mean, std)


class _Shape:
    """Of a tensor whose number of axes alone is known."""

    def __init__(self, rank: int):
        self.shape = (0,) * rank


@function("bernoulli")
def bernoulli(w: Writer, input: Tensor) -> Out:
    return w.elementwise(f"jax.random.bernoulli({_key(w)}, {{0}}).astype({{0}}.dtype)", input)


@function("bernoulli_")
def bernoulli_in_place(w: Writer, input: Tensor, p: Any = 0.5) -> Out:
    shares, last = w.together(p, input)
    code = f"jax.random.bernoulli({_key(w)}, {shares[0]}, {shares[1]}.shape).astype({input.code}.dtype)"
    return Out(code, last)


@function("randint")
def randint(w: Writer, *bounds: Any, low: int = 0, high: Any = None, size: Any = None, dtype: Any = None) -> Out:
    given = list(bounds)
    if size is None:
        size = given.pop()
    if given:
        high = given.pop()
        low = given.pop() if given else low
    where = f"{sizes_code(w, size)}, {_scalar(w, low)}, {_scalar(w, high)}"
    return Out(f"jax.random.randint({_key(w)}, {where}{said(w, dtype)})")


@function("randperm")
def randperm(w: Writer, n: int | Size, *, dtype: Any = None) -> Out:
    return Out(f"jax.random.permutation({_key(w)}, {w.size(n)})")


def _refused(name: str) -> None:
    def rule(w: Writer, *_: Any, **__: Any) -> Out:
        raise w.refuse("draws from a distribution that has no rule; draw with rand or randn")

    function(name)(rule)


for _name in ("multinomial", "poisson", "binomial", "exponential_", "cauchy_", "log_normal_", "geometric_"):
    _refused(_name)
for _name in ("_standard_gamma", "_sample_dirichlet", "random_", "randint_like"):
    _refused(_name)
