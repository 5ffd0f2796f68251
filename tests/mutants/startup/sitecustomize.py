"""Runs as Python starts: installs the job that the environment names."""

import importlib.util
import os
from pathlib import Path

if "JAXAE_MUTANTS" in os.environ:
    spec = importlib.util.spec_from_file_location("jaxae_mutants_hook", Path(__file__).parents[1] / "hook.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    hook.install(os.environ["JAXAE_MUTANTS"])
