"""Settings of models and trainings: frozen, validated, to and from JSON."""

import lazy_loader

# The names are in the stub beside this file, and each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
