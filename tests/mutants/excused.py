"""Mutants that no test need kill, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from .mutant import Mutant


@dataclass(frozen=True)
class Excuse:
    """Mutants of one function that leave the tests green, and rightly so.

    Attributes:
        scope: Qualified name of the function.
        words: Part of what is changed.
        why: Why no test can, or need, see it.
    """

    path: str
    scope: str
    words: str
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether a mutant is one of these."""
        return mutant.path == self.path and mutant.scope == self.scope and self.words in mutant.what


EXCUSES: tuple[Excuse, ...] = (
    Excuse(
        "jaxae/port/pickled/tensors.py",
        "tensor",
        "which is not ported",
        "the walk (torch_ref/pickle_calls.py) passes only calls that are read: it waits for the walk to pass more",
    ),
    Excuse(
        "jaxae/port/correspondence.py",
        "_Walk.follow",
        "raise PartError(first)",
        "it spares the rest of a way that is wrong already, whose end refuses it in the same words",
    ),
    Excuse(
        "jaxae/ending.py",
        "_end_of_imports",
        "contextlib.suppress(SystemExit)",
        "Python ends with the status of a SystemExit from its excepthook too: only its own end is spared",
    ),
    Excuse(
        "jaxae/torch_rng/generator.py",
        "Generator._normal_blocks",
        "flat = value.reshape(-1) [1 -> 2]",
        "NumPy finds a length that is below zero, whichever number it is",
    ),
    Excuse(
        "jaxae/port/linen/kinds.py",
        "_numbers",
        "nnx.Rngs(0)} [0 -> 1]",
        "the layer is made of shapes alone (nnx.eval_shape): nothing is drawn from the seed",
    ),
    Excuse(
        "jaxae/parity/mutations.py",
        "perturbed_weight",
        "[1e-4 -> 0.0002]",
        "a mistake twice as large is seen by all that has to see the smaller one",
    ),
    Excuse(
        "jaxae/parity/workers.py",
        "run_in_workers",
        "[50 -> 51]",
        "an estimate of memory, by a fiftieth more: what is refused is beyond it by far",
    ),
    Excuse(
        "jaxae/translation/spelling.py",
        "no_layers",
        "of its own",
        "no layer of torch's calls a function that drops or draws: it waits for a rule of one that does",
    ),
    Excuse(
        "jaxae/translation/pieces/recurrent.py",
        "RecurrentCell.__call__",
        "raise NotImplementedError",
        "it says what the cells share: each has its own, and nothing makes one of the class itself",
    ),
    Excuse(
        "jaxae/ending.py",
        "_end_of_imports",
        "contextlib.suppress(SystemExit)",
        "Python ends with the same status without it, if later: what was imported by then is torn down first",
    ),
)


def excuse_of(mutant: Mutant) -> Excuse | None:
    """The reason for which a mutant may live, if any."""
    return next((one for one in EXCUSES if one.covers(mutant)), None)


def stale(mutants: Sequence[Mutant]) -> list[Excuse]:
    """Excuses of none of all mutants there are."""
    return [one for one in EXCUSES if not any(map(one.covers, mutants))]
