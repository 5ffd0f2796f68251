"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that torch_ref cannot work with: one line saying what was expected and what came.

    The command prints its message and exits with status 2; any other exception is a bug and keeps
    its traceback.
    """
