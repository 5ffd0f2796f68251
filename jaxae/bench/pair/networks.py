"""A pair of networks as its owner gives it: in both frameworks, with inputs, losses and optimizers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from jaxae.errors import InputError
from jaxae.port.options import PortOptions
from jaxae.port.trial import Inputs

if TYPE_CHECKING:
    import optax
    import torch
    from flax import linen, nnx

    from jaxae.port import LinenView

    # An NNX module, a Linen module, or a function of parameters and inputs with the parameters.
    JaxNetwork = nnx.Module | linen.Module | tuple[Callable[..., Any], Mapping[str, Any] | LinenView]

MADE = "torch module, JAX network, inputs, torch loss and JAX loss, and perhaps two optimizers"
# From parameters to an optimizer.
TorchOptimizer = Callable[..., "torch.optim.Optimizer"]


def call(module: Callable[..., object], *inputs: object) -> object:
    """The usual call of a network; one that torch.compile sees through, as it does not through `operator.call`."""
    return module(*inputs)


@dataclass(frozen=True)
class NetworkPair:
    """A network in both frameworks, with what its training takes; the fields are arguments of `jaxae.bench.compare`."""

    torch_module: "torch.nn.Module"
    nnx_module: "JaxNetwork"
    inputs: Inputs
    torch_loss: Callable[..., "torch.Tensor"]
    jax_loss: Callable[..., object]
    optimizers: "tuple[TorchOptimizer, optax.GradientTransformation] | None" = None
    targets: Inputs = ()
    nnx_inputs: Inputs | None = None
    nnx_targets: Inputs | None = None
    torch_call: Callable[..., Any] | None = None
    nnx_call: Callable[..., Any] | None = None
    options: PortOptions = field(default_factory=PortOptions)

    @classmethod
    def made(cls, made: object, name: str) -> "NetworkPair":
        """The pair that a user's function has returned: a tuple of five things or seven, or a dict by their names.

        Args:
            made: What it has returned.
            name: Name of the function.

        Raises:
            InputError: If it is something else.
        """
        if isinstance(made, Mapping):
            known = {one.name: one for one in fields(cls)}
            wanted = [key for key in list(known)[:5] if key not in made]
            unknown = [str(key) for key in made if key not in known]
            if wanted or unknown:
                told = f"none of {', '.join(wanted)}" if wanted else f"{', '.join(unknown)} too"
                raise InputError(f"expected {name} to return a dict of {', '.join(known)}, got {told}")
            return cls(**made)
        if not isinstance(made, tuple | list) or len(made) not in (5, 7):
            came = f"{len(made)} things" if isinstance(made, tuple | list) else type(made).__name__
            raise InputError(f"expected {name} to return 5 or 7 things ({MADE}), got {came}")
        return cls(*made[:5], optimizers=(made[5], made[6]) if len(made) == 7 else None)
