"""What the rules of operations and layers write with: expressions of JAX for what torch did, and their layouts.

An expression is text. Tensors and constants stand in it as marks, `__v12__` and `__h3__`, which are names to Python's
own parser: what becomes a variable, and which constants a class takes as arguments, is decided when all is written.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxae.translation.graph import Dtype, Size, Value

Constant = Any  # what Python writes as a literal, or a tuple of such
Operand = Any  # a `Tensor`, a constant, or a number that follows the batch
NO_DEFAULT: Constant = object()  # of a setting that Flax asks for
MARK, VALUE = re.compile(r"__([vhu])(\d+)__"), re.compile(r"__v(\d+)__")
TO_LAST, TO_PLAIN = "jnp.moveaxis({}, 1, -1)", "jnp.moveaxis({}, -1, 1)"  # of torch's axis 1


class RefusedError(Exception):
    """What Flax source cannot say, or this translator has no rule for."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as a rule sees it.

    Attributes:
        code: The expression that gives it.
        value: Its shape and dtype, in torch's axes.
        last: Whether the expression has torch's axis 1 at the end.
    """

    code: str
    value: Value
    last: bool = False

    @property
    def shape(self) -> tuple[Any, ...]:
        """Its shape in torch's axes; what follows the batch is a `Size`."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.value.shape)

    @property
    def order(self) -> tuple[int, ...]:
        """Torch's axes in the order in which the expression has them."""
        return last_order(self.ndim) if self.last else tuple(range(self.ndim))

    def is_float(self) -> bool:
        """Whether its elements are floats."""
        return "float" in self.value.dtype.each[0]


@dataclass(frozen=True)
class Out:
    """An expression, and whether it has torch's axis 1 at the end."""

    code: str
    last: bool = False


@dataclass
class Hole:
    """A constant in the source.

    Attributes:
        value: What it is.
        hint: A name for it, should it become an argument of a class.
        default: What Flax's layer takes where nothing is said; the argument is then left out.
    """

    value: Constant
    hint: str
    default: "LayerSetting | None" = None


@dataclass
class Holes:
    """The constants and parts of one class's source.

    Attributes:
        holes: Constants by the numbers of their marks.
        units: Submodules of somebody's own by the numbers of theirs.
        pieces: Names of functions and classes that the source needs beside Flax and JAX.
    """

    holes: list[Hole] = field(default_factory=list)
    units: list[Any] = field(default_factory=list)
    pieces: set[str] = field(default_factory=set)

    def literal(self, value: Operand, hint: str = "") -> str:
        """A mark for a constant."""
        self.holes.append(Hole(value, hint))
        return f"__h{len(self.holes) - 1}__"

    def piece(self, name: str) -> str:
        """The name of a function or class of `jaxae.translation.pieces`, which is copied into the source."""
        self.pieces.add(name)
        return name

    def call(self, name: str, *args: Operand, rngs: bool = True, **kwargs: Operand) -> str:
        """The making of a layer: features by position, each with a name for it; settings by name.

        Args:
            name: The class, "nnx.Conv".
            *args: Pairs of a value and a name for it; a `Code` stands as it is.
            rngs: Whether it takes `rngs`.
            **kwargs: Settings: a `LayerSetting` is left out where it is Flax's default; a `Code` stands as it is.
        """
        parts = [one.text if isinstance(one, Code) else self.literal(*one) for one in args]
        for key, value in kwargs.items():
            if isinstance(value, Code):
                parts.append(f"{key}={value.text}")
                continue
            setting = value if isinstance(value, LayerSetting) else LayerSetting(value)
            parts.append(f"{key}={self.literal(setting.value, key)}")
            self.holes[-1].default = setting
        return f"{name}({', '.join([*parts, *(['rngs=rngs'] if rngs else [])])})"


@dataclass(frozen=True)
class LayerSetting:
    """A setting of a layer, and Flax's default of it: say it always, so that layers which differ by it are alike."""

    value: Constant
    default: Constant = NO_DEFAULT


@dataclass(frozen=True)
class Code:
    """An argument that is an expression, no constant."""

    text: str


class Writer:
    """Writes what one operation does: handed to every rule.

    Args:
        holes: Where the constants of the class go.
        sizes: Finds an expression for a number that follows the batch.
        make: Adds a layer of the source's own (a dropout) to the class; gives the expression for it.
        training: Whether it writes what is done in training mode alone.
    """

    def __init__(
        self, holes: Holes, sizes: Callable[[Size], str | None], make: Callable[[str, str], str], training: bool = False
    ):
        self.holes, self._sizes, self.make, self.training = holes, sizes, make, training

    def piece(self, name: str) -> str:
        """The name of a function or class of `jaxae.translation.pieces`, which is copied into the source."""
        return self.holes.piece(name)

    def literal(self, value: Operand, hint: str = "") -> str:
        """A constant; whole numbers that follow the batch are read off a tensor; tuples of them too."""
        if isinstance(value, Size):
            return self.size(value)
        if isinstance(value, tuple | list) and any(isinstance(one, Size) for one in value):
            inner = ", ".join(self.literal(one) for one in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        return self.holes.literal(tuple(value) if isinstance(value, list) else value, hint)

    def size(self, value: int | Size) -> str:
        """A whole number, read off a tensor where it follows the batch."""
        if not isinstance(value, Size):
            return self.holes.literal(value)
        found = self._sizes(value)
        if found is None:
            raise RefusedError("a number that follows the batch, and is no size of a tensor here")
        return found

    def dtype(self, dtype: Dtype, like: Tensor | None = None) -> str:
        """A dtype: that of a tensor where it follows the precision of the network."""
        if dtype.fixed is not None:
            return jax_name(dtype.fixed)
        return f"{like.code}.dtype" if like is not None else "float"

    def plain(self, x: Tensor) -> str:
        """The tensor in torch's axes."""
        return TO_PLAIN.format(x.code) if x.last else x.code

    def last(self, x: Tensor) -> str:
        """The tensor with torch's axis 1 at the end."""
        return x.code if x.last or x.ndim < 3 else TO_LAST.format(x.code)

    def together(self, *operands: Operand) -> tuple[list[str], bool]:
        """Operands that are broadcast together, numbers among them, in one layout; and whether that has axis 1 last."""
        tensors = [one for one in operands if isinstance(one, Tensor)]
        rank = max((one.ndim for one in tensors), default=0)
        last = any(one.last and one.ndim == rank for one in tensors)
        codes = []
        for one in operands:
            if not isinstance(one, Tensor):
                codes.append(self.literal(one))
            elif not last or one.ndim == 0:
                codes.append(self.plain(one))
            elif one.ndim == rank:
                codes.append(self.last(one))
            else:
                codes.append(self._lower(one, rank))
        return codes, last

    def _lower(self, x: Tensor, rank: int) -> str:
        """A tensor of fewer axes, to be broadcast against one of `rank` axes with axis 1 at the end."""
        code = self.plain(x)
        if all(size == 1 for size in x.shape):
            return code
        if x.ndim < rank - 1:  # it does not reach torch's axis 1: all of it stands before the channels
            return f"{code}[..., None]"
        if all(size == 1 for size in x.shape[1:]):
            return f"{code}[{', '.join([':', *['0'] * (x.ndim - 1)])}]"
        return f"jnp.moveaxis({code}, 0, -1)"

    def elementwise(self, template: str, *operands: Operand) -> Out:
        """An expression in which operands are broadcast together: `elementwise("jnp.maximum({}, {})", x, 0)`."""
        codes, last = self.together(*operands)
        return Out(template.format(*codes), last)

    def axis(self, x: Tensor, dim: int) -> int:
        """Where the expression has torch's axis `dim`."""
        if not x.last:
            return dim
        found = x.order.index(dim % x.ndim)
        return found - x.ndim if dim < 0 or found == x.ndim - 1 else found

    def axes(self, x: Tensor, dims: Sequence[int]) -> tuple[int, ...]:
        """Where the expression has several of torch's axes."""
        return tuple(sorted(self.axis(x, dim) for dim in dims))

    def without(self, x: Tensor, dims: Sequence[int]) -> tuple[Tensor, bool]:
        """A tensor some of whose axes go, in a layout that what is left may have; and whether that has axis 1 last."""
        gone = {dim % x.ndim for dim in dims}
        kept = [axis for axis in x.order if axis not in gone]
        places = tuple(sorted(kept).index(axis) for axis in kept)
        if places == tuple(range(len(kept))):
            return x, False
        if places == last_order(len(kept)):
            return x, True
        return Tensor(self.plain(x), x.value), False

    def reduce(self, template: str, x: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Out:
        """A reduction: `reduce("{}.mean({})", x, (2, 3))`; the axes and `keepdims` go in where the second gap is."""
        if dim is None or (isinstance(dim, tuple | list) and not dim):
            axes = f"axis=None, keepdims={self.literal(True)}" if keepdim else ""
            return Out(template.format(x.code, axes), x.last and keepdim)
        dims = [dim] if isinstance(dim, int) else list(dim)
        x, last = (x, x.last) if keepdim else self.without(x, dims)
        axes = self.axes(x, dims)
        said = self.literal(axes[0] if len(axes) == 1 else axes, "axis")
        return Out(template.format(x.code, f"axis={said}" + (", keepdims=True" if keepdim else "")), last)

    def permuted(self, x: Tensor, dims: Sequence[int]) -> Out:
        """Torch's `permute`: nothing to do where the expression has that order already."""
        dims = [dim % x.ndim for dim in dims]
        stored = tuple(dims.index(axis) for axis in x.order)
        if stored == tuple(range(x.ndim)):
            return Out(x.code)
        # Of three axes it is more likely a transposition than an image's.
        if (x.ndim >= 4 or (x.ndim == 3 and x.last)) and stored == last_order(x.ndim):
            return Out(x.code, last=True)
        moved = tuple(x.order.index(dim) for dim in dims)
        return Out(f"{x.code}.transpose({', '.join(map(self.literal, moved))})")

    def refuse(self, why: str) -> RefusedError:
        """An error that says what cannot be written: `raise w.refuse("...")`."""
        return RefusedError(why)


def jax_name(dtype: str) -> str:
    """A dtype of NumPy's name as JAX has it."""
    return f"jnp.{dtype.replace('bool', 'bool_')}"


def last_order(rank: int) -> tuple[int, ...]:
    """Torch's axes with axis 1 at the end."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


def static(value: Operand) -> bool:
    """Whether there is neither a tensor nor a number that follows the batch in an argument."""
    if isinstance(value, tuple | list):
        return all(map(static, value))
    return not isinstance(value, Tensor | Size)
