"""Compare any torch network with its NNX twin, and find the first layer at which they part."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from jaxae.parity.comparison import Comparison
from jaxae.parity.flax_recorder import record as record_flax
from jaxae.parity.judge import judge
from jaxae.port import PortOptions, from_torch
from jaxae.port.flatten import Flatten
from jaxae.port.names import Names
from jaxae.port.trial import Inputs, float64_copy, float64_twin, read_inputs
from torch_ref.recording import Conditions, Optimizer

if TYPE_CHECKING:
    import torch


def compare(
    torch_module: "torch.nn.Module",
    nnx_module: nnx.Module,
    inputs: Inputs,
    *,
    nnx_inputs: Inputs | None = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    port: bool = True,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    gradients: bool = True,
    train: bool = False,
    loss: Callable[[Any], Any] | None = None,
    nnx_loss: Callable[[Any], Any] | None = None,
    steps: int = 0,
    optimizer: Optimizer = "adam",
    learning_rate: float = 1e-3,
    tolerance: float | None = None,
) -> Comparison:
    """Run a torch network and an NNX network on the same weights and inputs, layer beside layer.

    Both are copied, and computed in float64 on the CPU; a layer that insists on another dtype is held to that one's
    tolerance, and what follows it. Gradients, of parameters and of float inputs, are those of the loss.

    Args:
        torch_module: Torch network.
        nnx_module: Twin of the torch network, whose weights it is given.
        inputs: Argument of the torch network, or a tuple of them: arrays.
        nnx_inputs: Argument or arguments of the twin; by default those of torch, float arrays of four or more axes
            with their channels moved to the end.
        torch_call: Call of the torch network, `lambda module, *inputs: module(*inputs)[0]` say; the result may be any
            tree of arrays.
        nnx_call: Call of the twin. Both results must have as many arrays, in one order.
        port: Whether to port the weights; otherwise both networks keep what they hold.
        names: Names of tensors in torch, as in `jaxae.port.from_torch`.
        flatten: Order of flattened images, as in `jaxae.port.from_torch`; by default torch's.
        unflatten: Order of images made of vectors, as in `jaxae.port.from_torch`; by default torch's.
        gradients: Whether to compare gradients too.
        train: Whether both run in training mode (batch statistics); dropout is switched off, and its rates compared.
        loss: Function of the result that gives the scalar whose gradients are taken; by default the sum of all results,
            each element weighted by a fixed random number.
        nnx_loss: The same of the twin's result, where one function does not do for both.
        steps: Number of steps of an optimizer to compare.
        optimizer: Optimizer, "adam" or "sgd" with torch's defaults.
        learning_rate: Learning rate of the optimizer.
        tolerance: Largest relative gap; by default that of the dtype, `jaxae.parity.allowance.ALLOWANCES`.

    Raises:
        InputError: If the weights cannot be ported, the results do not correspond, or the inputs are not arrays.
    """
    from torch_ref.recorder import record as record_torch

    wide = read_inputs(inputs)
    asked = Conditions(train, steps, optimizer, learning_rate, "given" if loss or nnx_loss else "", gradients)
    options = PortOptions(names=names, flatten=flatten or "CHW", unflatten=unflatten or "CHW")
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        module, twin = float64_copy(torch_module), float64_twin(nnx_module)
        # The state_dict, not the module: settings that differ are to be found, not refused.
        if port:
            from_torch(twin, module.state_dict(), **options)
        theirs = record_torch(module, wide, asked, call=torch_call, loss=loss)
        ours = record_flax(
            twin,
            wide,
            asked,
            nnx_inputs=nnx_inputs,
            call=nnx_call,
            loss=nnx_loss or loss,
            available=module.state_dict(),
            options=options,
        )
    return judge(theirs, ours, tolerance=tolerance)
