"""The post's models and training loops in PyTorch, and a dense VAE: the reference that jaxae is held against."""

from importlib import import_module

# Each name is imported at its first use: the command is there before torch. Types are in the stub beside this file.
_NAMES = {
    "batches": ("ImageDataset", "ReplayedBatches", "epoch_order", "shuffled_batches"),
    "checkpoint": ("Restored", "load_checkpoint", "save_checkpoint"),
    "conv_vae": ("ConvVariationalAutoencoder",),
    "data": ("Dataset", "Split", "load_arrays", "load_idx", "to_float"),
    "dense_vae": ("DenseVariationalAutoencoder",),
    "errors": ("InputError",),
    "loops": ("Evaluation", "evaluate", "train_autoencoder", "train_cvae", "train_step_autoencoder", "train_step_cvae"),
    "losses": ("autoencoder_cost", "cvae_cost", "kl_divergence", "reconstruction_target"),
    "models": (
        "Autoencoder",
        "ConditionalVariationalAutoencoder",
        "VariationalAutoencoder",
        "to_onehot",
        "with_condition",
    ),
}
_FILES = {name: file for file, names in _NAMES.items() for name in names}
__all__ = sorted(_FILES)


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
