"""A convolutional VAE of images of any size, grey or in colour, in PyTorch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import InputError
from .models import VariationalAutoencoder, activation_of, check_sizes


class ConvVariationalAutoencoder(VariationalAutoencoder):
    """Convolutions that halve the sides, and transposed ones that double them: kernel 4, stride 2, padding 1.

    Layers `enc_conv_1`, ..., `z_mean`, `z_log_var`, `dec_linear_1`, `dec_deconv_1`, ... with torch's own initial
    weights. The class, if any, enters as a one-hot vector behind the flattened features and behind the code.

    `settings` holds the constructor's arguments. Raises InputError for sizes that cannot be.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        num_latent: int = 50,
        num_classes: int = 0,
        *,
        activation: str = "relu",
        likelihood: str = "bernoulli",
        scale: str = "learned",
        scale_value: float = 0.1,
    ):
        super().__init__()
        check_sizes(num_latent, num_classes)
        if not widths or min(height, width, channels, *widths) < 1 or min(height, width) >> len(widths) < 1:
            raise InputError(
                f"expected sides that halve {len(widths)} times and layers of at least one channel, got "
                f"{height} by {width} by {channels} and widths {list(widths)}"
            )
        self.settings = {
            "height": height,
            "width": width,
            "channels": channels,
            "widths": list(widths),
            "num_latent": num_latent,
            "num_classes": num_classes,
            "activation": activation,
            "likelihood": likelihood,
            "scale": scale,
            "scale_value": scale_value,
        }
        self.image_shape = (channels, height, width)
        self.num_latent = num_latent
        self.num_classes = num_classes
        self.activation = activation_of(activation)
        self.num_layers = len(widths)

        sizes = [channels, *widths]
        for index in range(self.num_layers):
            conv = torch.nn.Conv2d(sizes[index], sizes[index + 1], kernel_size=4, stride=2, padding=1)
            setattr(self, f"enc_conv_{index + 1}", conv)
        self.inner_shape = (widths[-1], height >> self.num_layers, width >> self.num_layers)
        features = widths[-1] * self.inner_shape[1] * self.inner_shape[2]
        self.z_mean = torch.nn.Linear(features + num_classes, num_latent)
        self.z_log_var = torch.nn.Linear(features + num_classes, num_latent)
        self.dec_linear_1 = torch.nn.Linear(num_latent + num_classes, features)
        sizes[0] = self.take_pixels_for(likelihood, scale, scale_value, channels=channels)
        for index in reversed(range(self.num_layers)):
            # A side that was odd lost a row when it was halved.
            odd = ((height >> index) % 2, (width >> index) % 2)
            deconv = torch.nn.ConvTranspose2d(
                sizes[index + 1], sizes[index], kernel_size=4, stride=2, padding=1, output_padding=odd
            )
            setattr(self, f"dec_deconv_{self.num_layers - index}", deconv)

    def features(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Flat features, and the one-hot class behind them, of images [B, C, H, W] and labels [B]."""
        x = images
        for index in range(1, self.num_layers + 1):
            x = self.activation(getattr(self, f"enc_conv_{index}")(x))
        return self._with_onehot(x.flatten(1), targets)

    def decoded_logits(self, encoded: Tensor, targets: Tensor | None) -> Tensor:
        """Logits of pixels [B, C, H, W], and perhaps C planes of their log scales, of codes and labels [B]."""
        x = self.activation(self.dec_linear_1(self._with_onehot(encoded, targets))).view(-1, *self.inner_shape)
        for index in range(1, self.num_layers):
            x = self.activation(getattr(self, f"dec_deconv_{index}")(x))
        return getattr(self, f"dec_deconv_{self.num_layers}")(x)
