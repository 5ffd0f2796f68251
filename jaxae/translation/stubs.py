"""Stubs: classes that are left for a person to write."""

from typing import Any

import torch

from jaxae.translation.rules import LayerCode
from jaxae.translation.writer import Out, Tensor, Writer


def stub(module: torch.nn.Module, given: str, gave: str) -> tuple[str, LayerCode]:
    """The source of a class that a person will write, and how it is made and called.

    Args:
        module: The torch module that it stands for.
        given: Shapes of what it is given, in words.
        gave: Shapes of what it gives.
    """
    kind = type(module)
    told = [f"Given {given}, it gives {gave}."]
    tensors = [f"{name} {tuple(one.shape)}" for name, one in module.state_dict().items()]
    told += [f"Its tensors in torch: {', '.join(tensors)}."] if tensors else []
    lines = [
        f"class {kind.__name__}(nnx.Module):",
        f'    """Left to be written: `{kind.__qualname__}` of {kind.__module__}.',
        "",
        *(f"    {line}" for line in told),
        '    """',
        "",
        "    def __init__(self, *, rngs: nnx.Rngs):",
        "        self.rngs = rngs",
        "",
        "    def __call__(self, *inputs: jax.Array) -> jax.Array:",
        f'        raise NotImplementedError("{kind.__name__} is left to be written")',
    ]

    def call(w: Writer, layer: str, *args: Any, **kwargs: Any) -> Out:
        given = [w.plain(one) if isinstance(one, Tensor) else w.literal(one) for one in args]
        named = [f"{k}={w.plain(v) if isinstance(v, Tensor) else w.literal(v)}" for k, v in kwargs.items()]
        return Out(f"{layer}({', '.join([*given, *named])})")

    return "\n".join(lines), LayerCode(f"{kind.__name__}(rngs=rngs)", call)
