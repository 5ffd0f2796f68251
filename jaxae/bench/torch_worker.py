"""The torch contenders, in a process of their own that never imports JAX."""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jaxae.bench.contenders import find
from jaxae.bench.problem import PRESETS, Problem, read
from jaxae.bench.runner import FrameworkInfo, Task, TimedRunner
from jaxae.errors import InputError
from jaxae.port.reference import reference_module
from torch_ref import ImageDataset, Split, autoencoder_cost, cvae_cost, kl_divergence, to_float

# None lets the cost draw its own.
Noise = Tensor | None


class TorchRunner:
    """Steps of the reference's training, one model after another where there are several."""

    whole_epochs = False
    devices = 1

    def __init__(self, task: Task):
        contender = find(task.contender)
        _configure(task)
        self._device = torch.device("cuda" if task.device == "gpu" else "cpu")
        self._dtype = getattr(torch, task.dtype)
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

    def wait(self) -> None:
        """Return when all steps have ended."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def costs(self, count: int) -> list[float]:
        """Costs of the last steps."""
        return self._trainings[0].costs(count)

    def compilations(self) -> int:
        """Programs compiled so far."""
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    def device_memory(self) -> int | None:
        """Peak bytes on the devices; None on a CPU."""
        return None if self._device.type == "cpu" else torch.cuda.max_memory_allocated()

    def multiply(self, size: int) -> float:
        """Seconds of one matrix product."""
        a, b = (torch.rand(size, size).to(self._device, self._dtype) for _ in range(2))
        product = a @ b
        self.wait()
        begun = time.perf_counter()
        torch.matmul(a, b, out=product)
        self.wait()
        return time.perf_counter() - begun

    @staticmethod
    def describe(device: str) -> FrameworkInfo:
        """Versions and device; InputError where the device is not there."""
        if device == "gpu" and not torch.cuda.is_available():
            raise InputError("expected a gpu that torch can use, got only: cpu")
        name = torch.cuda.get_device_name() if device == "gpu" else platform.machine()
        return FrameworkInfo({"torch": torch.__version__, "numpy": np.__version__}, name)


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
            compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
            if device.type == "cpu" and not any(map(shutil.which, compilers)):
                raise RuntimeError("no C++ compiler, which torch.compile needs on a cpu")
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


def _configure(task: Task) -> None:
    """Choose threads and arithmetic, before torch's first parallel operation."""
    torch.set_num_threads(task.threads)
    # XLA flushes denormal numbers to zero on a CPU, and so may torch.
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = task.tf32
    # XLA tries its kernels out too.
    torch.backends.cudnn.benchmark = not task.deterministic
    torch.use_deterministic_algorithms(task.deterministic)


def _nchw(images: np.ndarray) -> Tensor:
    # One channel: NHWC and NCHW are the same bytes.
    return torch.from_numpy(images).reshape(-1, 1, *images.shape[1:3])


HANDLERS = TimedRunner(TorchRunner).handlers
