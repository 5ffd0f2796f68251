"""Shapes and types written down are checked as the tests run: import this before anything of jaxae.

What `jaxae.config` and `jaxae.cli` refuse with a message of their own is theirs to check.
"""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# Not bench: it runs in processes of its own.
ROOMS = ("data", "network", "parity", "port", "storage", "torch_rng", "training", "usecases")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is asked for
install_import_hook([f"jaxae.{room}" for room in ROOMS], "checked_types.checked")
