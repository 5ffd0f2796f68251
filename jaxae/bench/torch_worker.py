"""The torch contenders, in a process of their own that never imports JAX."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jaxae.bench.contenders import find
from jaxae.bench.problem import PRESETS, Problem, read
from jaxae.bench.runner import Task, TimedRunner
from jaxae.bench.torch_device import TorchDevice, check_compiler
from jaxae.port.reference import reference_module
from torch_ref import ImageDataset, Split, autoencoder_cost, cvae_cost, kl_divergence, to_float

# None lets the cost draw its own.
Noise = Tensor | None


class TorchRunner(TorchDevice):
    """Steps of the reference's training, one model after another where there are several."""

    def __init__(self, task: Task):
        super().__init__(
            task.device, task.dtype, threads=task.threads, tf32=task.tf32, deterministic=task.deterministic
        )
        contender = find(task.contender)
        problem = read(task.problem)
        self.epoch_steps = len(problem.order)
        feed: Any = (_LoaderFeed if contender.feed == "loader" else _IndexFeed)(problem, self._device)
        kind = _GraphedTraining if contender.graph else _Training
        self._trainings = [kind(task, problem, feed, self._device) for _ in range(task.models)]
        self._drawn = task.drawn_noise

    def reset(self, *, given_noise: bool) -> None:
        """Put back the initial weights, with a fresh optimizer."""
        for training in self._trainings:
            training.reset(given_noise=given_noise or not self._drawn)

    def run(self, steps: int) -> None:
        """Take steps from the first batch on."""
        for training in self._trainings:
            training.run(steps)

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps."""
        return self._trainings[0].costs(count)


class _IndexFeed:
    """Batches gathered by index from examples that lie on the device as floats."""

    def __init__(self, problem: Problem, device: torch.device):
        self.images = to_float(_nchw(problem.images)).to(device)
        self.labels = torch.from_numpy(problem.labels).long().to(device)
        self.order = torch.from_numpy(problem.order).long().to(device)
        self.noise = torch.from_numpy(problem.noise).to(device)

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for step in range(steps):
            row = step % len(self.order)
            index = self.order[row]
            images, labels = self.images.index_select(0, index), self.labels.index_select(0, index)
            yield images, labels, self.noise[row]


class _LoaderFeed:
    """Batches from a DataLoader, example by example, as the post's script has them."""

    def __init__(self, problem: Problem, device: torch.device):
        self._dataset = ImageDataset(Split(_nchw(problem.images), torch.from_numpy(problem.labels).long()))
        self._order = problem.order.tolist()
        self._noise = torch.from_numpy(problem.noise)
        self._device = device

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while steps > 0:
            loader = torch.utils.data.DataLoader(self._dataset, batch_sampler=self._order[:steps])
            for (images, labels), noise in zip(loader, self._noise, strict=False):
                yield images.to(self._device), labels.to(self._device), noise.to(self._device)
            steps -= len(self._order)


class _Training:
    """A model with its optimizer."""

    def __init__(self, task: Task, problem: Problem, feed: Any, device: torch.device, *, capturable: bool = False):
        contender = find(task.contender)
        self._feed = feed
        self._model = reference_module(PRESETS[task.model].model).to(device)
        self._initial = {name: torch.from_numpy(a).to(device) for name, a in problem.torch.items()}
        # The post's loop has the plain optimizer; the others have torch's fastest.
        settings: dict[str, Any] = {} if contender.feed == "loader" else {"fused": True, "capturable": capturable}
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=task.learning_rate, **settings)
        compute = contextlib.nullcontext
        if task.dtype == "bfloat16":
            compute = partial(torch.autocast, device.type, torch.bfloat16)
        plain, rewritten = {"ae": (_ae_cost, _ae_rewritten), "cvae": (_cvae_cost, _cvae_rewritten)}[task.model]
        cost = partial(rewritten if contender.rewrite else plain, self._model, compute, task.beta)
        if contender.compiled:
            check_compiler(device)
            cost = torch.compile(cost, dynamic=False)
        self._cost: Callable[[Tensor, Tensor, Noise], Tensor] = cost
        self._costs: list[Tensor] = []
        self._given_noise = True

    def reset(self, *, given_noise: bool) -> None:
        # In place: a compiled or captured step keeps the tensors that it was made with.
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                parameter.copy_(self._initial[name])
            for state in self._optimizer.state.values():
                for moment in state.values():
                    moment.zero_()
        self._given_noise = given_noise

    def run(self, steps: int) -> None:
        self._costs = [self._step(*batch) for batch in self._feed.batches(steps)]

    def _step(self, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        cost = self._cost(images, labels, noise if self._given_noise else None)
        self._optimizer.zero_grad()
        cost.backward()
        self._optimizer.step()
        return cost.detach()

    def costs(self, count: int) -> list[float]:
        return torch.stack(self._costs[-count:]).tolist()


class _GraphedTraining(_Training):
    """The whole step as one CUDA graph, which finds its batch by a counter on the device."""

    def __init__(self, task: Task, problem: Problem, feed: _IndexFeed, device: torch.device):
        super().__init__(task, problem, feed, device, capturable=True)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._log = torch.zeros(len(feed.order), device=device)
        self._taken = 0
        self._graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def run(self, steps: int) -> None:
        if self._given_noise not in self._graphs:
            self._graphs[self._given_noise] = self._capture()
            self.reset(given_noise=self._given_noise)
        self._counter.zero_()
        graph = self._graphs[self._given_noise]
        for _ in range(steps):
            graph.replay()
        self._taken = steps

    def costs(self, count: int) -> list[float]:
        steps = range(self._taken - count, self._taken)
        return self._log[[step % len(self._log) for step in steps]].tolist()

    def _capture(self) -> "torch.cuda.CUDAGraph":
        # Allocations settle on a side stream first, as torch's notes on CUDA graphs ask for.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step_on()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._step_on()
        return graph

    def _step_on(self) -> None:
        feed = self._feed
        index = feed.order.index_select(0, self._counter).squeeze(0)
        images, labels = feed.images.index_select(0, index), feed.labels.index_select(0, index)
        noise = feed.noise.index_select(0, self._counter).squeeze(0)
        self._log.index_copy_(0, self._counter, self._step(images, labels, noise).reshape(1))
        self._counter.add_(1).remainder_(len(self._log))


def _ae_cost(model: Any, compute: Any, beta: float, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
    features = images.flatten(1)
    with compute():
        decoded = model(features)
    return autoencoder_cost(decoded.float(), features)


def _ae_rewritten(model: Any, compute: Any, beta: float, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
    features = images.flatten(1)
    with compute():
        logits = model.linear_2(model.encoder(features))
    return F.binary_cross_entropy_with_logits(logits.float(), features)


def _cvae_cost(model: Any, compute: Any, beta: float, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
    if noise is None:
        noise = torch.randn(len(images), model.num_latent, device=images.device)
    with compute():
        mean, log_var, _, decoded = model(images, labels, noise)
    return cvae_cost(mean.float(), log_var.float(), decoded.float(), images, beta)


def _cvae_rewritten(model: Any, compute: Any, beta: float, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
    """The same cost with the class planes, and the one-hot rows, looked up as biases."""
    if noise is None:
        noise = torch.randn(len(images), model.num_latent, device=images.device)
    with compute():
        kernel = model.enc_conv_1.weight
        planes = kernel[:, 1:].sum((2, 3)).t() + model.enc_conv_1.bias
        x = F.conv2d(images, kernel[:, :1], stride=2)
        x = F.leaky_relu(x + F.embedding(labels, planes)[:, :, None, None])
        x = F.leaky_relu(model.enc_conv_2(x))
        x = F.leaky_relu(model.enc_conv_3(x)).flatten(1)
        mean, log_var = model.z_mean(x), model.z_log_var(x)
        code = mean + noise * torch.exp(log_var / 2)
        weight, latent = model.dec_linear_1.weight, model.num_latent
        bias = F.embedding(labels, weight[:, latent:].t() + model.dec_linear_1.bias)
        x = (F.linear(code, weight[:, :latent]) + bias).view(-1, 64, 2, 2)
        x = F.leaky_relu(model.dec_deconv_1(x))
        x = F.leaky_relu(model.dec_deconv_2(x))
        logits = F.leaky_relu(model.dec_deconv_3(x)).float()
    bce = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return beta * kl_divergence(mean.float(), log_var.float()) + bce


def _nchw(images: np.ndarray) -> Tensor:
    # One channel: NHWC and NCHW are the same bytes.
    return torch.from_numpy(images).reshape(-1, 1, *images.shape[1:3])


HANDLERS = {"describe": TorchRunner.describe, **TimedRunner(TorchRunner).handlers}
