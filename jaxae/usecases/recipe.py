"""The deeper autoencoder that several use cases share, beside the post's own."""

from jaxae.config import AUTOENCODER, RunConfig
from jaxae.data import Dataset


def deep_autoencoder(dataset: Dataset, *, code: int = 32) -> RunConfig:
    """A 784-512-128-code autoencoder trained for about 4,700 steps, or 200 epochs."""
    count = len(dataset.train.labels)
    batch_size = min(256, max(1, count // 8))
    epochs = min(200, max(1, round(4700 * batch_size / count)))
    return AUTOENCODER.replace(
        hidden=(512, 128, code),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=0.001,
        seed=0,
        data=dataset.name,
    )
