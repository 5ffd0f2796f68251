"""The torch contenders of a pair."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from jaxae.bench.pair.contenders import find_one
from jaxae.bench.pair.half import Half
from jaxae.bench.pair.task import PairTask, TakeHalf, handlers_of
from jaxae.bench.pair.weights import tensors_of
from jaxae.bench.torch_device import TorchDevice, check_compiler

Tensors = tuple[Tensor, ...]
# Inputs and targets.
Batch = tuple[Tensors, ...]


class TorchPairRunner(TorchDevice):
    """Steps of a user's torch network, always on the same inputs."""

    epoch_steps = 1

    def __init__(self, task: PairTask, take: TakeHalf):
        contender = find_one(task.contender)
        super().__init__(
            task.device, contender.dtype, threads=task.threads, tf32=task.tf32, deterministic=task.deterministic
        )
        half, self._measure = take(task), task.measure
        module: Any = half.module
        self._module: torch.nn.Module = module.to(self._device).train(task.measure != "inference")
        self._make_optimizer: Any = half.optimizer
        self._optimizer: torch.optim.Optimizer
        self._batch: Batch = tuple(
            tuple(torch.from_numpy(one).to(self._device) for one in some) for some in (half.inputs, half.targets)
        )
        self._initial = {name: one.clone() for name, one in tensors_of(self._module).items()}
        infer, self._cost_of = self._functions(half)
        cost_of = self._cost_of

        def cost(inputs: Tensors, targets: Tensors) -> Tensor:
            return cost_of(infer(inputs, targets), inputs, targets)

        self._compute: Callable[..., object] = infer if task.measure == "inference" else cost
        if contender.mode is not None:
            check_compiler(self._device)
            self._compute = torch.compile(
                self._compute, mode=contender.mode, fullgraph=contender.fullgraph, dynamic=False
            )
        # What a CUDA graph gives lies where its next replay writes.
        self._replayed = contender.mode in ("reduce-overhead", "max-autotune") and task.device == "gpu"
        self._last: Any = None

    def reset(self, *, given_noise: bool) -> None:
        """Put back the initial weights, with a fresh optimizer."""
        # In place: a compiled step keeps the tensors that it was made with.
        for name, own in tensors_of(self._module).items():
            own.copy_(self._initial[name])
        self._optimizer = self._make_optimizer(self._module.parameters())

    def run(self, steps: int) -> None:
        """Take steps."""
        if self._measure == "inference":
            with torch.inference_mode():
                for _ in range(steps):
                    self._last = self._computed()
            return
        costs = []
        for _ in range(steps):
            self._optimizer.zero_grad()
            cost = self._computed()
            cost.backward()
            if self._measure == "step":
                self._optimizer.step()
            costs.append(cost.detach().clone() if self._replayed else cost.detach())
        self._last = costs

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps; of inference, the cost of what it gives, of gradients their norm."""
        if self._measure == "step":
            return torch.stack(self._last[-count:]).tolist()
        if self._measure == "gradients":
            found = [one.grad.double().square().sum() for one in self._module.parameters() if one.grad is not None]
            return [torch.stack(found).sum().sqrt().item()] * count
        with torch.inference_mode():
            return [float(self._cost_of(self._last, *self._batch))] * count

    def _computed(self) -> Any:
        if self._replayed:
            torch.compiler.cudagraph_mark_step_begin()
        return self._compute(*self._batch)

    def _functions(self, half: Half) -> tuple[Callable[[Tensors, Tensors], object], Callable[..., Tensor]]:
        """Functions of the result, and of its cost: of plain names, which torch.compile follows best."""
        module, call, loss, narrow = self._module, half.call, half.loss, self._dtype == torch.bfloat16
        device = self._device.type

        def infer(inputs: Tensors, targets: Tensors) -> object:
            if not narrow:
                return call(module, *inputs)
            with torch.autocast(device, torch.bfloat16):
                return call(module, *inputs)

        def cost_of(result: object, inputs: Tensors, targets: Tensors) -> Any:
            return loss(pytree.tree_map(_widened, result) if narrow else result, *inputs, *targets)

        return infer, cost_of


def _widened(leaf: object) -> object:
    """A result's leaf with bfloat16 as float32, in which costs are computed."""
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16 else leaf


HANDLERS = {"describe": TorchPairRunner.describe, **handlers_of(TorchPairRunner)}
