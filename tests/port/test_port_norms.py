"""Normalisations without scale and bias: no tensor tells of them, so their settings are all there is to check."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.errors import InputError

torch.manual_seed(0)
RNGS = nnx.Rngs(0)
BARE: Any = {"use_scale": False, "use_bias": False, "use_fast_variance": False, "rngs": RNGS}
# A small input, of which epsilon is no small part.
IMAGES = 0.01 * np.random.default_rng(0).normal(size=(2, 3, 4, 5))

RIGHT = {
    "instance": (lambda: torch.nn.InstanceNorm2d(6), lambda: nnx.InstanceNorm(6, epsilon=1e-5, **BARE)),
    "group": (
        lambda: torch.nn.GroupNorm(2, 6, affine=False),
        lambda: nnx.GroupNorm(6, num_groups=2, epsilon=1e-5, **BARE),
    ),
}
WRONG = {
    "instance's eps": (torch.nn.InstanceNorm2d(6), nnx.InstanceNorm(6, **BARE), "eps is 1e-05 in torch"),
    "group's eps": (
        torch.nn.GroupNorm(2, 6, affine=False),
        nnx.GroupNorm(6, num_groups=2, **BARE),
        "eps is 1e-05 in torch",
    ),
    "groups": (
        torch.nn.GroupNorm(2, 6, affine=False),
        nnx.GroupNorm(6, num_groups=3, epsilon=1e-5, **BARE),
        "groups is 2 in torch, but 3",
    ),
    "layer's eps": (torch.nn.LayerNorm(6, elementwise_affine=False), nnx.LayerNorm(6, **BARE), "eps is 1e-05 in torch"),
    "layer's axes": (
        torch.nn.LayerNorm([5, 6], elementwise_affine=False),
        nnx.LayerNorm(6, epsilon=1e-5, **BARE),
        "normalises 2 axes",
    ),
    "Flax's axes": (
        torch.nn.LayerNorm(6, elementwise_affine=False),
        nnx.LayerNorm(6, epsilon=1e-5, reduction_axes=(1, 2), **BARE),
        r"its reduction_axes is \(1, 2\)",
    ),
    "RMS's eps": (
        torch.nn.RMSNorm(6, elementwise_affine=False),
        nnx.RMSNorm(6, use_scale=False, rngs=RNGS),
        r"eps is 1\.19\d+e-07 in torch",
    ),
    "running statistics": (
        torch.nn.InstanceNorm2d(6, track_running_stats=True),
        nnx.InstanceNorm(6, epsilon=1e-5, **BARE),
        "keeps running statistics|unexpected",
    ),
}


class Theirs(torch.nn.Module):
    def __init__(self, norm: torch.nn.Module):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 1)
        self.norm = norm

    def forward(self, x):
        return self.norm(self.conv(x))


class Ours(nnx.Module):
    def __init__(self, norm: nnx.Module):
        self.conv = nnx.Conv(3, 6, (1, 1), param_dtype=jnp.float64, rngs=RNGS)
        self.norm = norm

    def __call__(self, x):
        norm: Any = self.norm
        return norm(self.conv(x))


def gap(ours: Any, theirs: torch.nn.Module) -> float:
    a = np.asarray(ours(jnp.asarray(np.moveaxis(IMAGES, 1, -1))))
    b = np.moveaxis(theirs(torch.from_numpy(IMAGES)).detach().numpy(), 1, -1)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("name", RIGHT)
def test_norms_that_agree_port_and_compute_the_same(x64, name):
    norm, flax = RIGHT[name]
    theirs, ours = Theirs(norm()).double(), Ours(flax())
    report = port.from_torch(ours, theirs)
    assert gap(ours, theirs) < 1e-12
    assert not report.assumed
    assert not report.notes
    back = port.to_torch(ours, like=theirs)
    assert all(torch.equal(back[key], value) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize("name", WRONG)
def test_norms_that_differ_are_refused_by_name(x64, name):
    norm, flax, why = WRONG[name]
    theirs, ours = Theirs(norm).double(), Ours(flax)
    before = np.asarray(ours.conv.kernel[...])
    with pytest.raises(InputError, match=why):
        port.from_torch(ours, theirs)
    assert np.array_equal(before, ours.conv.kernel[...])
    with pytest.raises(InputError, match=why):
        port.to_torch(ours, like=theirs)


def test_another_layer_in_its_place_is_refused(x64):
    with pytest.raises(InputError, match=r"'norm' is BatchNorm2d in torch, but 'norm' is InstanceNorm"):
        port.from_torch(Ours(nnx.InstanceNorm(6, **BARE)), Theirs(torch.nn.BatchNorm2d(6, affine=False)))


def sequential(*norms: nnx.Module) -> nnx.Sequential:
    layers: list[Any] = []
    for norm in norms:
        layers += [nnx.Conv(3, 3, (1, 1), rngs=RNGS), norm]
    return nnx.Sequential(*layers)


def test_in_a_sequential_with_other_numbers_they_are_paired_in_order():
    one, two = torch.nn.InstanceNorm2d(3, eps=1e-3), torch.nn.InstanceNorm2d(3, eps=1e-2)
    conv, relu = (lambda: torch.nn.Conv2d(3, 3, 1)), torch.nn.ReLU
    theirs = torch.nn.Sequential(conv(), relu(), one, conv(), relu(), two)
    right = nnx.InstanceNorm(3, epsilon=1e-3, **BARE), nnx.InstanceNorm(3, epsilon=1e-2, **BARE)
    port.from_torch(sequential(*right), theirs)
    with pytest.raises(InputError, match=r"'layers\.1': eps is 0\.001 in torch, but 0\.01 in Flax"):
        port.from_torch(sequential(*reversed(right)), theirs)


def test_what_no_torch_layer_tells_is_told_as_assumed(x64):
    ours = Ours(nnx.InstanceNorm(6, **BARE))
    report = port.from_torch(ours, Theirs(torch.nn.InstanceNorm2d(6)).double().state_dict())
    assert any("norm: eps 1e-06 (torch's default: 1e-05)" in line for line in report.assumed)
    # torch has the norm as a function: no layer is there to ask.
    theirs = Theirs(torch.nn.InstanceNorm2d(6)).double()
    del theirs.norm
    report = port.from_torch(ours, theirs)
    assert any("assumed" in note and "norm: eps 1e-06" in note for note in report.notes)
