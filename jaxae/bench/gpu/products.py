"""Floating-point operations of the matrix products and convolutions that a traced program asks for."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def product_flops(jaxpr: Jaxpr) -> int:
    """Multiplications and additions in products and convolutions, each loop counted once.

    A convolution's taps that fall into padding, or between spread pixels, are not counted.
    """
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case "dot_general":
                total += _dot_flops(equation)
            case "conv_general_dilated":
                total += _conv_flops(equation)
            case _:
                total += sum(map(product_flops, _inner(equation.params)))
    return total


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _dot_flops(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = _shape(equation.invars[0])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(shape[axis] for axis in contracted)


def _conv_flops(equation: JaxprEqn) -> int:
    numbers, params = equation.params["dimension_numbers"], equation.params
    image, kernel = map(_shape, equation.invars)
    out = _shape(equation.outvars[0])
    taps = 1
    for axis, (low, _) in enumerate(params["padding"]):
        taps *= sum(
            0 <= place < spread * (side - 1) + 1 and place % spread == 0
            for spread, side in [(params["lhs_dilation"][axis], image[numbers.lhs_spec[2 + axis]])]
            for window in range(out[numbers.out_spec[2 + axis]])
            for tap in range(kernel[numbers.rhs_spec[2 + axis]])
            for place in [window * params["window_strides"][axis] + tap * params["rhs_dilation"][axis] - low]
        )
    # A kernel's input channels are those of one group already; of a batch group, its share of the batch.
    channels = kernel[numbers.rhs_spec[1]] * out[numbers.out_spec[1]]
    return 2 * taps * channels * image[numbers.lhs_spec[0]] // params["batch_group_count"]
