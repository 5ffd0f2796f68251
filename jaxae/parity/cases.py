"""The cases: networks that the ladder compares, and the dtypes it computes in."""

from typing import Literal

from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, CONV_VAE, DENSE_VAE, RunConfig

Precision = Literal["float64", "float32"]
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")

CASES: dict[str, RunConfig] = {
    "Autoencoder": AUTOENCODER,
    "ConditionalVAE": CONDITIONAL_VAE,
    "ConditionalVAE, 11 channels": CONDITIONAL_VAE.replace(reconstruct_condition=True),
    "VAE": CONDITIONAL_VAE.replace(num_classes=0),
    # A replay draws no pixels: the ladder feeds grey values to both frameworks.
    "DenseVAE": DENSE_VAE.replace(binarize=False),
    # Neither square nor grey, and of sides that lose a row as they are halved.
    "ConvVAE, 22 by 13 in colour": CONV_VAE.replace(num_latent=50, height=22, width=13, channels=3, widths=(8, 12)),
}
