import numpy as np
import pytest

from jaxae.network.parts import in_parts, pad_rows, padded_length


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 16, 21])
def test_rows_come_back_in_order_whatever_their_number(count):
    sizes = []

    def function(x, y):
        sizes.append(len(x))
        return {"sum": x + y[:, None], "first": x[:, 0]}

    x = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    y = np.arange(count, dtype=np.int32)
    out = in_parts(function, x, y, least=2, most=8)
    np.testing.assert_array_equal(out["sum"], x + y[:, None])
    np.testing.assert_array_equal(out["first"], x[:, 0])
    assert out["first"].dtype == np.float32
    assert set(sizes) == {2 if count < 3 else 4 if count == 3 else 8}


def test_padding_keeps_dtype_and_rows():
    padded = pad_rows(np.full((3, 2), 7, np.uint8), 4)
    assert padded.dtype == np.uint8
    assert padded.tolist() == [[7, 7], [7, 7], [7, 7], [0, 0]]
    assert [padded_length(n) for n in (0, 1, 2, 3, 64, 65)] == [1, 1, 2, 4, 64, 128]
    assert padded_length(3, 64) == 64
