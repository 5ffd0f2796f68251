"""Trained models that come with the package: each a run folder with a model card."""
