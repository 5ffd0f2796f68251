"""What `checked_types` has the tests check, and that it does."""

import jax.numpy as jnp
import pytest

from jaxae.network.losses import kl_from_standard_normal
from jaxae.port.names import join
from jaxae.port.row import Setting


@pytest.mark.parametrize("arguments", [(1, "b"), ("a", None)])
def test_a_wrong_type_is_found_where_no_shape_is_written(arguments):
    assert join("a", "b") == "a.b"
    with pytest.raises(Exception, match="violates type hint"):
        join(*arguments)


def test_shapes_that_do_not_agree_are_found():
    with pytest.raises(Exception, match="Type-check error"):
        kl_from_standard_normal(jnp.zeros((2, 3)), jnp.zeros((2, 4)))


def test_fields_are_checked():
    with pytest.raises(Exception, match="violates type hint"):
        Setting(1, len, len)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("unchecked")
def test_a_test_may_do_without():
    assert join("", None) == ""  # pyright: ignore[reportArgumentType]
