"""What cannot be said in Flax, case by case: functions by their line, modules and sequences by their name."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_functions import Net, gaps, images, translated
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from jaxae.errors import InputError
from jaxae.translation.entry import translate

Function = Callable[[torch.Tensor], object]
IMAGES = images()
ROWS = np.ones((2, 5, 4), np.float32)


def put(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    y = x.clone()
    y[index] = value
    return y


REFUSED: dict[str, Function] = {
    "elu has scales": lambda x: torch._C._nn.elu(x, 1.0, 2.0),  # type: ignore[attr-defined]
    "tensor is made of tensors or sizes of the batch": lambda x: torch.tensor([x.shape[0], 2]),
    "type to 'torch.DoubleTensor'; give it a torch.dtype": lambda x: x.type("torch.DoubleTensor"),
    "takes an index that is no number": lambda x: x[True],
    "takes a list of tensors as an index": lambda x: x[:, [x.argmax() % 4, x.argmin() % 4]],
    "narrow starts or ends at a number that follows the batch": lambda x: x.narrow(0, 0, x.shape[0]),
    "splits into parts that follow the batch": lambda x: x.split([x.shape[0] - 1, 1])[0],
    "mse_loss has weights; multiply by them": lambda x: F.mse_loss(x, x, weight=torch.ones_like(x)),  # pyright: ignore[reportCallIssue]
    "pads by a number that follows the batch": lambda x: F.pad(x, (x.shape[0], 0)),
    "max_pool2d pools an axis that follows the batch": lambda x: F.max_pool2d(x.transpose(0, 2), 1),
    "adaptive_avg_pool2d pools an axis that follows": lambda x: F.adaptive_avg_pool2d(x.transpose(0, 2), 1),
    "looks for the first axis of size 3": lambda x: torch.cross(x[:, :3], x[:, 1:]),
    "norm has order 'nuc'; take a number": lambda x: torch.norm(x, p="nuc", dim=(2, 3)),
    "has a size that follows the batch": lambda x: F.interpolate(x, size=(x.shape[0], 3)),
    "takes other elements than rounding says": lambda x: F.interpolate(x.repeat(1, 1, 1, 5)[..., :26], size=(6, 46)),
    "dropout2d takes a batch of images": lambda x: F.dropout2d(x.flatten(1), 0.2, False),
    "has arguments without a rule: takes from 2 to 9": lambda x: torch.instance_norm(
        x, None, None, None, None, True, 0.1, 1e-5, False
    ),
    "arange a number that follows the batch, and is no size": lambda x: torch.arange(2 ** x.shape[0] + 5),
}
WRITES: dict[str, Function] = {
    "writes elements at a mask": lambda x: put(x, torch.ones_like(x, dtype=torch.bool), x.flatten()),
    "writes at tensors mixed with numbers": lambda x: put(x, (0, slice(None), torch.tensor([0, 1])), 1.0),
}


def refusals(module: nn.Module, *inputs: np.ndarray) -> list[str]:
    """The reasons of each place, without the line that is quoted."""
    with pytest.raises(InputError) as caught:
        translated(module, *inputs)
    told = str(caught.value)
    count, _, places = told.removeprefix("expected a network that Flax source can say, got ").partition(
        " places that it cannot: "
    )
    found = [re.split(r"\)?\): ", one)[-1] for one in places.split("; /")]
    assert (int(count) if count.isdigit() else None) == len(found), told
    return found


@pytest.mark.filterwarnings("ignore")  # torch tells of what it gave up
def test_functions_and_writes_that_cannot_be_said() -> None:
    cases = REFUSED | WRITES
    found = refusals(Net([*cases.values()], layer=False), IMAGES)
    for reason, one in zip(cases, found, strict=True):
        assert reason in one


def test_cross_products_are_over_the_axis_that_is_named() -> None:
    last: list[Function] = [
        lambda x: torch.linalg.cross(x[..., :3], x[..., 3:]),
        lambda x: torch.cross(x[:, :3], x[:, 1:], dim=1),
    ]
    assert max(gaps(Net(last, layer=False), IMAGES, slopes=False)) < 1e-12


def does(forward: Callable[..., Any], **parts: nn.Module) -> nn.Module:
    """A module of a class of its own that does what a function of it and its inputs says."""
    module = type("Does", (nn.Module,), {"forward": forward})()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def two() -> nn.Module:
    return does(lambda self, x: (x, x + 1))


def added() -> nn.Module:
    return does(lambda self, pair: pair[0] + pair[1])


class Scale(nn.Module):
    """Multiplies by a parameter of the module above it."""

    def __init__(self, holder: nn.Module):
        super().__init__()
        self.above = [holder]

    def forward(self, x: torch.Tensor) -> Any:
        above: Any = self.above[0]
        return x * above.scale


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.child = Scale(self)

    def forward(self, x: torch.Tensor) -> Any:
        return self.child(x) + self.scale


class Keeps(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x.sin()
        return x


MODULES: dict[str, tuple[Callable[[], nn.Module], np.ndarray, str]] = {
    "places of a pool": (
        lambda: does(lambda self, x: self.a(x)[0], a=nn.MaxPool2d(2, return_indices=True)),
        IMAGES,
        "a (MaxPool2d) gives the places of the largest",
    ),
    "places of an adaptive pool": (
        lambda: does(lambda self, x: self.a(x)[0], a=nn.AdaptiveMaxPool2d(2, return_indices=True)),
        IMAGES,
        "a (AdaptiveMaxPool2d) gives the places of the largest",
    ),
    "a bias of keys": (
        lambda: does(lambda self, x: self.a(x, x, x)[0], a=nn.MultiheadAttention(4, 1, add_bias_kv=True)),
        ROWS,
        "a (MultiheadAttention) has add_bias_kv",
    ),
    "attention of zeros": (
        lambda: does(lambda self, x: self.a(x, x, x)[0], a=nn.MultiheadAttention(4, 1, add_zero_attn=True)),
        ROWS,
        "a (MultiheadAttention) has add_zero_attn",
    ),
    "a size in the call": (
        lambda: does(lambda self, x: self.a(x, output_size=(12, 12)), a=nn.ConvTranspose2d(4, 4, 2, 2)),
        IMAGES,
        "a (ConvTranspose2d) with output_size in the call",
    ),
    "no batch": (lambda: nn.Sequential(nn.InstanceNorm2d(4)), ROWS, "0 (InstanceNorm2d) is given an array without a"),
    "no plain call": (lambda: nn.Sequential(nn.GRUCell(4, 4)), ROWS[0], "a layer in a sequence that is called in no"),
    "a pair in a sequence": (lambda: nn.Sequential(two(), added()), ROWS, "a sequence whose layers take several"),
    "a pair to a sequence": (
        lambda: does(lambda self, x: self.a((x, x)), a=nn.Sequential(added())),
        ROWS,
        "a (Sequential) a sequence whose layers take several",
    ),
    "a pair of a sequence": (lambda: nn.Sequential(two()), ROWS, "a sequence whose layers give several"),
    "a layer's several": (
        lambda: does(lambda self, x: self.a(x)[0], a=nn.Sequential(nn.LSTM(4, 3))),
        ROWS,
        "a (Sequential) a sequence whose layers give several",
    ),
    "a sequence's layer": (
        lambda: does(lambda self, x: self.a(x), a=nn.Sequential(nn.Dropout2d(0.2))),
        ROWS,
        "a.0 (Dropout2d) drops whole channels of an array of 3 axes",
    ),
    "a list's layer": (
        lambda: does(lambda self, x: self.a[0](x), a=nn.ModuleList([nn.Dropout2d(0.2)])),
        ROWS,
        "a.0 (Dropout2d) drops whole channels of an array of 3 axes",
    ),
    "a parameter above": (Scaled, ROWS, "mul scale is read in child, which is not above it"),
    "a layer's tensor": (
        lambda: does(lambda self, x: self.a(x)[0].sum() + self.a.weight_hh_l0, a=nn.LSTM(4, 4)),
        ROWS,
        "add a.weight_hh_l0, a tensor of a layer, is read outside of it",
    ),
    "a tensor that was kept": (
        lambda: does(lambda self, x: self.a(x) + self.a.kept, a=Keeps()),
        ROWS,
        "add takes a tensor (unnamed) that another module computed",
    ),
    "another thing": (
        lambda: does(
            lambda self, x: self.a(x, True) + self.a(x, False),
            a=does(lambda self, x, sine: x.sin() if sine else x.cos().tan()),
        ),
        ROWS,
        "a (Does) calls a once more, for which it does other things",
    ),
    "another layout": (
        lambda: does(
            lambda self, x: self.a((self.c(x), self.c(x))).sum() + self.a((x @ x, x @ x)).sum(),
            a=added(),
            c=nn.Conv2d(4, 4, 1),
        ),
        IMAGES,
        "a (Does) is given tensors in another layout than before",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", MODULES)
def test_modules_that_cannot_be_said(case: str) -> None:
    make, inputs, reason = MODULES[case]
    (told,) = refusals(make(), inputs)
    assert told.startswith(reason)


KEPT = torch.ones(3)


def unlike(act: Callable[[torch.Tensor, int], object]) -> nn.Module:
    """Does something else each time that it is called."""
    calls: Iterator[int] = itertools.count()
    return type("Does", (nn.Module,), {"forward": lambda self, x: act(x, next(calls))})()


def looked_at(x: torch.Tensor, call: int) -> torch.Tensor:
    x = x.sin()
    for other in [KEPT, KEPT + 0][: call % 2]:
        other.tolist()
    return x


UNLIKE: dict[str, Callable[[torch.Tensor, int], object]] = {
    r"\w+ once, \w+ then \(operation 0 of it\)": lambda x, n: [torch.sin, torch.cos, torch.tan, torch.exp][n % 4](x),
    "it runs more often in one of the runs": lambda x, n: [x := x.sin() for _ in range(n + 1)][-1],
    r"\d+.5 once, \d+.5 then": lambda x, n: x * (n + 0.5),
}


@pytest.mark.parametrize("told", UNLIKE)
def test_what_is_unlike_from_run_to_run_is_refused(told: str) -> None:
    with pytest.raises(InputError, match=f"that does the same from run to run, got .*{told}$"):
        translated(unlike(UNLIKE[told]), ROWS)


def test_training_mode_that_does_not_run_is_told_and_left_out() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise RuntimeError("not here\nat all")
        return self.a(x)

    found = translate(does(forward, a=nn.Linear(4, 2)), ((2, 4),), steps=1)
    assert found.notes == ("training mode was not read: not here",)


def test_a_layer_that_is_never_called_may_be_of_any_kind() -> None:
    pruned = prune.l1_unstructured(nn.Linear(3, 3), "weight", 0.3)
    found = translate(does(lambda self, x: self.a(x), a=nn.Linear(4, 2), b=pruned), ((2, 4),), steps=1)
    assert found.proof.passed
