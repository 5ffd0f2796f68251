"""How many floating-point operations a training step's matrix products need at the least."""

from itertools import pairwise

from jaxae.config import AutoencoderConfig, ConditionalVAEConfig, ModelConfig


def step_flops(config: ModelConfig, batch_size: int) -> int:
    """Multiplications and additions in the products and convolutions of one training step.

    Each layer's forward product, its gradient by the weights, and (but for the first layer) by the
    input. Taps that fall into padding or outside the image are not counted, nor are the products
    with one-hot classes, which are table look-ups.
    """
    if isinstance(config, AutoencoderConfig):
        first, *rest = [a * b for a, b in pairwise(config.widths)]
    else:
        assert isinstance(config, ConditionalVAEConfig)  # the benchmark's presets
        first, *rest = _vae_products(config)
    return 2 * batch_size * (2 * first + 3 * sum(rest))


def _vae_products(config: ConditionalVAEConfig) -> list[int]:
    """Multiply-adds of one image through each layer of the VAE."""
    return [
        _pairs(12, 6, 2, 0, 28) ** 2 * 1 * 16,
        _pairs(5, 4, 2, 0, 12) ** 2 * 16 * 32,
        _pairs(2, 2, 2, 0, 5) ** 2 * 32 * 64,
        *[256 * config.num_latent] * 3,
        _pairs(2, 2, 2, 0, 4) ** 2 * 64 * 32,
        _pairs(4, 4, 3, 1, 11) ** 2 * 32 * 16,
        _pairs(11, 6, 3, 4, 28) ** 2 * 16 * config.num_output_channels,
    ]


def _pairs(windows: int, kernel: int, stride: int, padding: int, side: int) -> int:
    """Along one axis, how many (window, tap) pairs fall inside an image of this side.

    A convolution's windows are its outputs and the image is its input; a transposed one's windows
    are its inputs and the image is its output.
    """
    return sum(0 <= window * stride - padding + tap < side for window in range(windows) for tap in range(kernel))
