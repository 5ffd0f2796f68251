"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that jaxae cannot work with: one line saying what was expected and what came.

    Scripts print its message and exit with status 2; any other exception is a bug and keeps its traceback.
    """


class DivergenceError(ArithmeticError):
    """A training step whose cost or gradient is not finite; its message names the step."""


class StoppedError(RuntimeError):
    """A training that a signal ended; all it did is in its last checkpoint."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


def brief(text: object, most: int = 80) -> str:
    """What a file says, for a message: one line, cut to so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[:most]}..."
