"""The table of rules whole: whoever imports this file has those of all files of functions and layers registered."""

from jaxae.translation import functions, layers
from jaxae.translation.catalogue import files_of

FILES = (*files_of(functions), *files_of(layers))
