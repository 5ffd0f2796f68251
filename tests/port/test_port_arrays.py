"""Arrays of every dtype, whatever values they hold."""

import ml_dtypes
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.port.arrays import cast_floats, copy_for_flax, from_tensor, has_nan, to_tensor, why_refused


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_nan_is_found_and_large_numbers_are_not(dtype):
    """Warnings are errors: a cast would warn of 1e300, which float32 does not hold."""
    largest = ml_dtypes.finfo(dtype).max
    assert not has_nan(np.array([[largest, -largest, 0, np.inf]], dtype))
    assert has_nan(np.array([[largest, np.nan]], dtype))
    assert not has_nan(np.zeros((0, 3), dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.bool_])
def test_numbers_that_are_no_floats_have_no_nan(dtype):
    assert not has_nan(np.array([0, 1], dtype))


def test_a_float64_weight_beyond_float32_ports_without_a_warning(x64):
    theirs = torch.nn.Linear(2, 1).double()
    theirs.weight.data.fill_(1e300)
    ours = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    report = port.from_torch(ours, theirs)
    assert not report.notes
    assert float(ours.kernel[...][0, 0]) == 1e300
    assert torch.equal(port.to_torch(ours)["weight"], theirs.weight)


def test_copies_keep_their_bits():
    for tensor in (torch.tensor([1.5, -0.0]).bfloat16(), torch.tensor([[1, 2], [3, 4]]).T):
        array = from_tensor("x", tensor)
        assert torch.equal(to_tensor(array), tensor)
        array[...] = 0
        assert tensor.any()


def test_a_negated_view_is_copied_as_it_looks():
    view = torch.complex(torch.ones(2), torch.ones(2)).conj().imag
    assert view.is_neg()
    assert from_tensor("x", view).tolist() == [-1, -1]


def test_axes_beyond_numpy_are_refused():
    why = why_refused("x", torch.empty((2**62, 0)))
    assert why is not None
    assert "beyond what NumPy counts" in why
    assert why_refused("x", torch.empty((2**40, 0))) is None


def test_only_floats_are_cast():
    assert cast_floats(np.ones(2), "bfloat16").dtype == ml_dtypes.bfloat16
    assert cast_floats(np.ones(2, int), "bfloat16").dtype == int


def test_problems_are_gathered():
    problems: list[str] = []
    assert copy_for_flax("x", np.ones(2), None, problems) is None
    assert copy_for_flax("y", [1.0], None, problems) is None
    kept = copy_for_flax("z", np.ones(2), "float32", problems)
    assert kept is not None
    assert kept.dtype == np.float32
    assert [one[:3] for one in problems] == ["'x'", "'y'"]
