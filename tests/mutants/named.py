"""Changes that once left every test green: they are made again in each run."""

from collections.abc import Mapping
from dataclasses import dataclass

from .mutant import Edit, Mutant, Source


@dataclass(frozen=True)
class Named:
    """A change of a text that stands once in a file.

    Attributes:
        tests: The test file that has to turn red.
    """

    path: str
    old: str
    new: str
    tests: str


NAMED = (
    # The checkpoint's digest, without its arrays, and not looked at.
    Named(
        "jaxae/training/checkpoint.py",
        "digest.update(array.tobytes())",
        "array.tobytes()",
        "tests/training/test_damage.py",
    ),
    Named(
        "jaxae/training/checkpoint.py",
        'if _digest(arrays, content["meta"]) != content["digest"]:',
        "if False:",
        "tests/training/test_damage.py",
    ),
    # Adam's second decay.
    Named("jaxae/training/step.py", "0.9, 0.999, 1e-8", "0.9, 0.9989, 1e-8", "tests/training/test_step.py"),
    # One row's noise is the next example's.
    Named(
        "jaxae/training/cost.py",
        "* order.shape[1] + jnp.arange(order.shape[1])",
        "* order.shape[1] + jnp.arange(order.shape[1]).at[1].add(1)",
        "tests/training/test_step.py",
    ),
)


def named_mutants(sources: Mapping[str, Source]) -> dict[Mutant, str]:
    """The named changes, each with its test file.

    Raises:
        ValueError: If a text does not stand once in its file.
    """
    found = {}
    for one in NAMED:
        source = sources[one.path]
        before, *after = source.content.decode().split(one.old)
        if len(after) != 1:
            raise ValueError(f"expected one {one.old!r} in {one.path}, got {len(after)}")
        start = len(before.encode())
        edit = Edit(start, start + len(one.old.encode()), instead=one.new)
        line = before.count("\n") + 1
        found[Mutant(one.path, line, 0, "named", "", False, f"{one.old} [-> {one.new}]", (edit,))] = one.tests
    return found
