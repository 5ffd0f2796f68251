"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that jaxae cannot work with: one line saying what was expected and what came.

    Scripts print its message and exit with status 2; any other exception is a bug and keeps its
    traceback.
    """
