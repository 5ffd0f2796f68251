"""Models that several use cases share, beside the post's own."""

from collections.abc import Sequence
from pathlib import Path

from jax.sharding import Mesh

from jaxae.config import (
    AUTOENCODER,
    CONDITIONAL_VAE,
    CONV_VAE,
    AutoencoderConfig,
    ConditionalVAEConfig,
    ConvVAEConfig,
    DenseVAEConfig,
    RunConfig,
)
from jaxae.data.dataset import Dataset
from jaxae.network.models import Model
from jaxae.training.fit import fit
from jaxae.training.run_folder import load_run
from jaxae.usecases.method_table import tell
from jaxae.usecases.model_source import UseCaseSettings


def deep_autoencoder(dataset: Dataset, *, code: int = 32) -> RunConfig:
    """An autoencoder of the image's pixels, 512, 128 and the code, trained for about 4,700 steps, or 100 epochs."""
    count = len(dataset.train.labels)
    batch_size = min(256, max(1, count // 8))
    epochs = min(100, max(1, round(4700 * batch_size / count)))
    config = AUTOENCODER.replace(num_features=dataset.num_features, hidden=(512, 128, code), data=dataset.name)
    return config.replace(batch_size=batch_size, epochs=epochs, learning_rate=0.001, seed=0)


def plain_vae(dataset: Dataset, *, code: int = 32) -> RunConfig:
    """The post's VAE without condition and last leaky_relu: about 5,600 steps, or 50 epochs.

    Of images that are not the post's, the convolutional VAE of their shape.
    """
    count = len(dataset.train.labels)
    batch_size = min(128, max(1, count // 8))
    config = CONDITIONAL_VAE.replace(num_classes=0, output_leaky_relu=False)
    if dataset.image_shape != ConditionalVAEConfig().image_shape:
        config = CONV_VAE.replace(**dict(zip(("height", "width", "channels"), dataset.image_shape, strict=True)))
    epochs = min(50, max(1, round(5600 * batch_size / count)))
    return config.replace(num_latent=code, batch_size=batch_size, epochs=epochs, data=dataset.name)


def enough_epochs(num_examples: int, batch_size: int, least_steps: int) -> int:
    """Number of passes over a training set: 20, and at least so many steps."""
    return max(20, -(-least_steps // -(-num_examples // batch_size)))


def shared_recipes(dataset: Dataset, epochs: int | None = None) -> list[RunConfig]:
    """The post's autoencoder as it is, a deeper one, and a plain VAE, all of 32 dimensions."""
    batch_size = min(len(dataset.train.labels), AUTOENCODER.train.batch_size)
    post = AUTOENCODER.replace(num_features=dataset.num_features, data=dataset.name, batch_size=batch_size)
    configs = [post, deep_autoencoder(dataset), plain_vae(dataset)]
    return configs if epochs is None else [config.replace(epochs=epochs) for config in configs]


def describe(config: RunConfig) -> str:
    """A name that tells these models apart in a table."""
    if isinstance(config.model, AutoencoderConfig):
        whose = "the post's AE" if config.model == AUTOENCODER.model else "AE"
        name = f"{whose} {'-'.join(map(str, (config.model.num_features, *config.model.hidden)))}"
    else:
        kinds = {DenseVAEConfig: "dense", ConvVAEConfig: "convolutional"}
        kind = kinds.get(type(config.model), "plain")
        name = f"means of the {kind} VAE, {config.model.num_latent} latents"
    return f"{name}, {config.train.epochs} epochs"


def models_to_compare(
    settings: UseCaseSettings, also: Sequence[Path], dataset: Dataset, mesh: Mesh, epochs: int | None = None
) -> dict[str, tuple[RunConfig, Model]]:
    """Models of runs, or the shared recipes trained now, by names that tell them apart.

    Raises:
        InputError: If a run is not finished.
    """
    if settings.model_dir is not None:
        runs = [load_run(folder) for folder in (settings.model_dir, *also)]
        return {describe(config): (config, model) for config, model in runs}
    models: dict[str, tuple[RunConfig, Model]] = {}
    for config in shared_recipes(dataset, epochs):
        tell(f"training: {describe(config)}")
        models[describe(config)] = (config, fit(config, dataset, mesh=mesh, show_progress=True).model)
    return models
