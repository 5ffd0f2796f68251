"""What command lines share: one line for the user's errors, and the flags of data and trainings."""

import lazy_loader

# The names are in the stub beside this file, and each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
