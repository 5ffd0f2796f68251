"""Networks of strangers port with inputs and not one hint, and their mistakes are found."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from port.strangers import GPT, NETWORKS, TorchGPT

from jaxae import InputError, port


def outputs(theirs: torch.nn.Module, ours: Any, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    x = inputs if isinstance(inputs, np.ndarray) else np.random.default_rng(0).normal(size=inputs).astype(np.float32)
    flax = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    with torch.no_grad(), jax.default_matmul_precision("highest"):
        ours.eval()
        result = np.asarray(ours(flax))
        wanted = theirs.eval()(torch.from_numpy(x)).numpy()
    return result, np.moveaxis(wanted, 1, -1) if wanted.ndim == 4 else wanted


@pytest.mark.parametrize("name", NETWORKS)
def test_no_hint_is_needed(name):
    torch.manual_seed(0)
    make, build, inputs = NETWORKS[name]
    theirs, ours = make(), build()
    report = port.from_torch(ours, theirs, inputs=inputs)
    assert report.proof.startswith("proven at")
    result, wanted = outputs(theirs, ours, inputs)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    report.proof = ""
    assert not report.assumed


def test_a_network_goes_back_under_torchs_names():
    torch.manual_seed(0)
    theirs, ours = TorchGPT(), GPT()
    inputs = NETWORKS["GPT"][2]
    port.from_torch(ours, theirs, inputs=inputs)
    state, before = port.to_torch(ours, like=theirs, inputs=inputs), theirs.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert state["lm_head.weight"].data_ptr() == state["wte.weight"].data_ptr()


def test_what_rounds_within_is_said_so():
    make, build, inputs = NETWORKS["Llama"]
    assert "float32" in port.from_torch(build(), make(), inputs=inputs).proof
    theirs, ours = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    assert "float32" not in port.from_torch(ours, theirs, inputs=(4, 3)).proof


@pytest.mark.parametrize("kinds", [{}, {"": ["Conv1D"]}])
def test_a_square_weight_of_a_state_dict_is_a_linear_layers_unless_said(kinds):
    weight = torch.arange(9.0).reshape(3, 3)
    ours = nnx.Linear(3, 3, use_bias=False, rngs=nnx.Rngs(0))
    port.from_torch(ours, {"weight": weight}, kinds=kinds)
    np.testing.assert_array_equal(ours.kernel[...], weight if kinds else weight.T)


def test_a_convolution_that_sees_more_than_a_pixel_is_no_linear_layer():
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="convolution of one pixel"):
        port.from_torch(ours, torch.nn.Conv2d(3, 2, 1, stride=2))
    port.from_torch(ours, torch.nn.Conv2d(3, 2, 1))
    assert ours.kernel.shape == (3, 2)


class TorchPlaces(torch.nn.Module):
    """Waves that torch keeps in a buffer, in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.register_buffer("pe", torch.sin(torch.arange(20.0).reshape(1, 5, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        waves: Any = self.pe
        return self.fc(x + waves)


class Places(nnx.Module):
    def __init__(self) -> None:
        self.out = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(x + jnp.sin(jnp.arange(20, dtype=x.dtype).reshape(1, 5, 4)))


def test_a_constant_that_torch_keeps_in_a_buffer_is_left_aside():
    report = port.from_torch(Places(), TorchPlaces(), inputs=(3, 5, 4))
    assert "float32" in report.proof
    assert any("'pe' is ignored" in note for note in report.notes)
