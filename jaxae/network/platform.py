"""The platform that programs are traced for: JAX's own, or that of devices which are only described."""

from contextlib import AbstractContextManager, nullcontext

import jax

# Part of the key of JAX's caches: what was traced for one platform is not taken for another.
_named = jax.make_user_context(None)


def platform() -> str:
    """Name of the platform, such as "cpu" or "gpu": the form of a program, not what it computes, depends on it."""
    return _named.value or jax.default_backend()


def traced_for(name: str) -> AbstractContextManager[None]:
    """What is traced meanwhile is for the platform of this name."""
    return nullcontext() if name == platform() else _named(name)
