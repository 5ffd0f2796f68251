"""The `torch_ref` module that a configuration describes."""

from typing import TYPE_CHECKING, Any

from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, ConvVAEConfig, DenseVAEConfig, ModelConfig

if TYPE_CHECKING:
    import torch


def reference_module(config: ModelConfig) -> "torch.nn.Module":
    """Build torch_ref's network of these settings, drawn from torch's global generator.

    This file imports neither JAX nor Flax: a process of torch's own may use it.
    """
    import torch_ref

    if isinstance(config, AutoencoderConfig):
        return torch_ref.Autoencoder(
            config.num_features, config.hidden, activation=config.activation, initialization=config.initialization
        )
    if isinstance(config, DenseVAEConfig | ConvVAEConfig):
        pixels: Any = {name: getattr(config, name) for name in ("likelihood", "scale", "scale_value")}
    if isinstance(config, DenseVAEConfig):
        return torch_ref.DenseVariationalAutoencoder(
            config.num_latent, config.num_classes, config.hidden, activation=config.activation, **pixels
        )
    if isinstance(config, ConvVAEConfig):
        return torch_ref.ConvVariationalAutoencoder(
            config.height,
            config.width,
            config.channels,
            config.widths,
            config.num_latent,
            config.num_classes,
            activation=config.activation,
            **pixels,
        )
    assert isinstance(config, ConditionalVAEConfig)
    return torch_ref.ConditionalVariationalAutoencoder(
        28 * 28,
        config.num_latent,
        config.num_classes,
        reconstruct_condition=config.reconstruct_condition,
        output_leaky_relu=config.output_leaky_relu,
    )
