"""Sphinx: the site of this documentation, its notebooks run as it is built."""

import os
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from jaxae.port.trial import Inputs
from jaxae.usecases.explore.explore import ExploreSettings, run

project = "jaxae"
version = release = version_of("jaxae")
copyright = "the jaxae authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb"}
# The pages of notebooks are .md; their twins are for Colab. What was translated is shown by its own page.
exclude_patterns = ["**.ipynb", "_build"]

html_theme = "furo"
html_title = "jaxae"
html_static_path = ["_static"]
html_css_files = ["jaxae.css"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
# A single backtick in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_class_signature = "mixed"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# Every cell runs, and one that fails fails the build; a fast form of it runs none.
nb_execution_mode = "off" if os.environ.get("JAXAE_DOCS_FAST") else "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# Pages outside: the machine of a reader has them, a build without a network need not.
linkcheck_ignore = [r"http://localhost.*"]

# What numpy takes for an array is ten types long.
LONG = {stringify_annotation(Inputs, "smart"): "Inputs"}


def shorten(_app: Sphinx, *event: object) -> tuple[str, str] | None:
    """A signature with the names of types that are written out at length."""
    signature, returns = event[-2:]
    if not isinstance(signature, str):
        return None
    for long, short in LONG.items():
        signature = signature.replace(long, short)
    return signature, str(returns or "")


def write_explorer(app: Sphinx, error: Exception | None) -> None:
    """The explorer that its page shows, in a folder beside it."""
    folder = Path(app.outdir) / "explorer-page"
    if error is None and app.builder.name == "html" and not folder.exists():
        run(ExploreSettings(pretrained="vae-2d-mnist", out=folder, images=800))


def setup(app: Sphinx) -> None:
    """Have signatures shortened, and the explorer written."""
    app.connect("autodoc-process-signature", shorten)
    app.connect("build-finished", write_explorer)
