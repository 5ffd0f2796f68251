"""The recorder: runs a copy of a torch network, and notes down what it did."""

import operator
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .calls import leaves, record_calls, to_array
from .copies import copied
from .errors import InputError
from .recording import Conditions, Dtype, Recording, weighting

Run = Callable[..., Any]


def record(
    module: nn.Module,
    inputs: Sequence[np.ndarray],
    asked: Conditions | None = None,
    *,
    call: Run | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    dtype: Dtype = "float64",
    device: str = "cpu",
    name: str = "",
) -> Recording:
    """Run a copy of a network: forward with every layer noted down, gradients, and steps of an optimizer.

    Args:
        module: The network, which is left alone.
        inputs: Its arguments, floats in any dtype.
        asked: What it is to do.
        call: Call of it, `lambda module, *inputs: module(*inputs)[0]` say; the result may be any tree of tensors.
        loss: Function of the result that gives the scalar whose gradients are taken; by default the sum of all results,
            weighted as by `weighting`.
        dtype: Dtype of floats.
        device: Device as torch names it.
        name: Name of the network; by default its class.

    Raises:
        InputError: If the network does not run on the inputs, or there is nothing to take gradients of.
    """
    asked = asked or Conditions()
    whole = getattr(module, "_orig_mod", module)  # of torch.compile
    taken = getattr(torch, dtype)
    network = copied(whole).to(device=device, dtype=taken).train(asked.train)
    dropout = _silence(network) if asked.train else {}
    weights = _state(network)
    # A tensor of two names is trained under both.
    trained = frozenset(name for name, one in network.named_parameters(remove_duplicate=False) if one.requires_grad)
    run = call or operator.call
    arguments = [_argument(one, taken, device) for one in inputs]
    floats = [index for index, one in enumerate(arguments) if one.is_floating_point()]
    noted = copied(network)
    try:
        with torch.set_grad_enabled(asked.gradients):
            for index in floats if asked.gradients else ():
                arguments[index].requires_grad_()
            # A clone, as a network may change what it is given in place.
            result, calls = record_calls(noted, lambda model: run(model, *(one.clone() for one in arguments)))
        found = {path: leaf for path, leaf in leaves(result) if isinstance(leaf, Tensor)}
        gradients, input_gradients, costs, after = {}, {}, [], {}
        if asked.gradients:
            parameters = {name: one for name, one in noted.named_parameters() if one.requires_grad}
            cost = _objective(result, loss)
            wanted = [*parameters.values(), *(arguments[index] for index in floats)]
            taken_of = torch.autograd.grad(cost, wanted, allow_unused=True)
            arrays = [to_array(torch.zeros_like(x) if g is None else g) for x, g in zip(wanted, taken_of, strict=True)]
            gradients = dict(zip(parameters, arrays, strict=False))
            input_gradients = dict(zip(floats, arrays[len(parameters) :], strict=True))
            costs = _steps(
                network, lambda model: _objective(run(model, *(one.detach().clone() for one in arguments)), loss), asked
            )
            passed = _state(noted)
            after = {one: value if one in trained else passed[one] for one, value in _state(network).items()}
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"expected inputs that the torch network takes, got: {reason[:300]}") from error
    return Recording(
        framework="torch",
        network=name or type(whole).__name__,
        dtype=dtype,
        device=_named(device),
        versions={"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        precision=_precision(),
        asked=asked,
        inputs=[np.array(one) for one in inputs],
        results={path: to_array(leaf) for path, leaf in found.items()},
        calls=calls,
        weights=weights,
        trained=trained,
        gradients=gradients,
        input_gradients=input_gradients,
        after=after,
        costs=costs,
        dropout=dropout,
        notes=_random(noted, run, arguments, found),
    )


def _argument(array: np.ndarray, dtype: torch.dtype, device: str) -> Tensor:
    tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def _state(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: to_array(value) for name, value in network.state_dict().items() if value.is_floating_point()}


def _objective(result: Any, loss: Callable[[Any], Tensor] | None) -> Tensor:
    """The scalar that gradients are of."""
    if loss is not None:
        cost = loss(result)
        if not isinstance(cost, Tensor) or cost.numel() != 1 or not cost.requires_grad:
            raise InputError("expected a loss that gives a scalar with a gradient, got another")
        return cost.reshape(())
    terms = [leaf for _, leaf in leaves(result) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not terms:
        raise InputError("expected a result with a gradient, got none: say that no gradients are to be taken")
    return sum((torch.from_numpy(weighting(y.shape)).to(y) * y).sum() for y in terms)  # type: ignore[return-value]


def _steps(network: nn.Module, objective: Callable[[nn.Module], Tensor], asked: Conditions) -> list[float]:
    """Take the steps; the costs before each and after the last."""
    trained = [one for one in network.parameters() if one.requires_grad]
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    optimizer = kinds[asked.optimizer](trained, lr=asked.learning_rate) if trained else None
    costs = []
    for _ in range(asked.steps):
        cost = objective(network)
        costs.append(cost.item())
        if optimizer is not None:
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
    return [*costs, objective(network).item()]


def _silence(network: nn.Module) -> dict[str, float]:
    """Switch dropout off; the rates that it had, by the layers' paths."""
    rates = {}
    for path, layer in network.named_modules():
        name = "p" if isinstance(layer, nn.modules.dropout._DropoutNd) else "dropout"
        rate = getattr(layer, name, None)
        if isinstance(layer, nn.modules.dropout._DropoutNd | nn.MultiheadAttention | nn.RNNBase) and rate:
            rates[path] = float(rate)
            setattr(layer, name, 0.0)
    return rates


def _random(noted: nn.Module, run: Run, arguments: Sequence[Tensor], found: dict[str, Tensor]) -> list[str]:
    """A note where a second call gives other numbers."""
    before = {path: to_array(leaf) for path, leaf in found.items()}
    with torch.no_grad():
        again = leaves(run(noted, *(one.clone() for one in arguments)))
    values = {path: to_array(leaf) for path, leaf in again if isinstance(leaf, Tensor)}
    same = before.keys() == values.keys() and all(_near(before[path], values[path]) for path in before)
    return [] if same else ["torch's network gives other numbers when it is called again: dropout, or other noise"]


def _near(before: np.ndarray, again: np.ndarray) -> bool:
    """Whether two arrays are one but for the order in which a GPU adds."""
    scale = 1e-4 * float(np.abs(before.astype(np.float64)).max(initial=0))
    return before.shape == again.shape and np.allclose(before, again, rtol=0, atol=scale, equal_nan=True)


def _precision() -> dict[str, str]:
    return {
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.backends.cuda.matmul.allow_tf32": str(torch.backends.cuda.matmul.allow_tf32),
        "torch.backends.cudnn.allow_tf32": str(torch.backends.cudnn.allow_tf32),
    }


def _named(device: str) -> str:
    kind = torch.device(device)
    return f"gpu {torch.cuda.get_device_name(kind)}" if kind.type == "cuda" else kind.type
