"""The post's two networks in PyTorch, its attribute names, draws and quirks.

The post is "All about Autoencoders"; it derives from the autoencoder notebooks of
rasbt/deeplearning-models. Where its prose and its code part, the code is followed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError
from .likelihood import PixelLikelihood

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"leaky_relu": F.leaky_relu, "relu": F.relu, "tanh": torch.tanh}
INITIALIZATIONS = ("post", "intended", "torch")


class Autoencoder(torch.nn.Module):
    """Fully connected autoencoder, by default 784-32-784: layers `linear_1`, `linear_2`, ...

    Several hidden sizes are mirrored: (128, 32) is 784-128-32-128-784. The activation (slope 0.01
    for leaky_relu) follows every layer but the last, which a sigmoid follows.

    `initialization` tells which layers start from N(0, 0.1), with biases of zero: "post" is linear_1
    alone, as the post's code has it; "intended" is linear_1 and linear_2, which it means; "torch" is none.

    `settings` holds the constructor's arguments. Raises InputError for sizes below one, an unknown
    activation or initialization.
    """

    linear_1: torch.nn.Linear
    linear_2: torch.nn.Linear

    def __init__(
        self,
        num_features: int,
        num_hidden_1: int | Sequence[int] = 32,
        *,
        activation: str = "leaky_relu",
        initialization: str = "post",
    ):
        super().__init__()
        hidden = [num_hidden_1] if isinstance(num_hidden_1, int) else list(num_hidden_1)
        if not hidden or min(num_features, *hidden) < 1:
            raise InputError(f"expected layer sizes of at least one, got {num_features} features and {hidden}")
        if initialization not in INITIALIZATIONS:
            raise InputError(f"expected an initialization out of {', '.join(INITIALIZATIONS)}, got {initialization!r}")
        self.settings = {
            "num_features": num_features,
            "num_hidden_1": hidden,
            "activation": activation,
            "initialization": initialization,
        }
        self.activation = activation_of(activation)
        self.num_encoder_layers = len(hidden)

        sizes = [num_features, *hidden, *reversed(hidden[:-1]), num_features]
        self.num_layers = len(sizes) - 1
        for index in range(1, self.num_layers + 1):
            setattr(self, f"linear_{index}", torch.nn.Linear(sizes[index - 1], sizes[index]))
            if index <= 2 and initialization != "torch":
                # The post means linear_2 the second time but names linear_1 again: linear_1 is
                # drawn twice, which moves the random stream, and linear_2 keeps torch's default.
                layer = self.linear_1 if initialization == "post" else getattr(self, f"linear_{index}")
                layer.weight.detach().normal_(0.0, 0.1)
                layer.bias.detach().zero_()

    def encoder(self, features: Tensor) -> Tensor:
        """Codes [B, hidden[-1]] of features [B, num_features], past the activation."""
        x = features
        for index in range(1, self.num_encoder_layers + 1):
            x = self.activation(getattr(self, f"linear_{index}")(x))
        return x

    def decoder(self, encoded: Tensor) -> Tensor:
        """Reconstructions [B, num_features] in [0, 1] of codes [B, hidden[-1]]."""
        x = encoded
        for index in range(self.num_encoder_layers + 1, self.num_layers):
            x = self.activation(getattr(self, f"linear_{index}")(x))
        return torch.sigmoid(getattr(self, f"linear_{self.num_layers}")(x))

    def forward(self, features: Tensor) -> Tensor:
        """Reconstructions [B, num_features] in [0, 1] of features [B, num_features]."""
        return self.decoder(self.encoder(features))


class VariationalAutoencoder(PixelLikelihood, ABC):
    """What the VAEs share: a code from the posterior, and the pass through both halves.

    A VAE has layers `z_mean` and `z_log_var`, `features` before and `decoder` after them; its
    `settings` are the constructor's arguments, and with `num_classes=0` its labels may be None.
    """

    num_latent: int
    num_classes: int
    reconstruct_condition: bool = False
    image_shape: tuple[int, int, int] = (1, 28, 28)
    settings: dict[str, object]
    z_mean: torch.nn.Linear
    z_log_var: torch.nn.Linear

    @abstractmethod
    def features(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """What `z_mean` and `z_log_var` are given, [B, width], of images [B, C, H, W] and labels [B]."""

    @abstractmethod
    def decoded_logits(self, encoded: Tensor, targets: Tensor | None) -> Tensor:
        """What the decoder's last layer says [B, C, H, W] of codes [B, num_latent] and labels [B]."""

    def decoder(self, encoded: Tensor, targets: Tensor | None = None) -> Tensor:
        """Pixel probabilities, or means of pixels, [B, C, H, W] of codes [B, num_latent] and labels [B]."""
        return self.pixels(encoded, targets)[0]

    def pixels(self, encoded: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Those means, and the log scales [B, C, H, W] or [1] about them; None of Bernoulli pixels."""
        return self.pixels_of(self.decoded_logits(encoded, targets))

    def reparameterize(self, z_mu: Tensor, z_log_var: Tensor, eps: Tensor | None = None) -> Tensor:
        """z_mu + eps exp(z_log_var / 2), each [B, num_latent].

        Without `eps`, standard normal noise is drawn in float32 on the CPU's generator and moved,
        as the post does: the stream is the same for every device and dtype.
        """
        if eps is None:
            eps = torch.randn(z_mu.size(0), z_mu.size(1), dtype=torch.float32)
        if eps.shape != z_mu.shape:
            raise InputError(f"expected eps of {tuple(z_mu.shape)}, got {tuple(eps.shape)}")
        return z_mu + eps.to(z_mu) * torch.exp(z_log_var / 2.0)

    def encoder(
        self, features: Tensor, targets: Tensor | None = None, eps: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """z_mean, z_log_var and the sampled code, each [B, num_latent].

        Takes features [B, *image_shape] in [0, 1] and labels [B].
        """
        if features.shape[1:] != self.image_shape:
            raise InputError(
                f"expected features of (B, {', '.join(map(str, self.image_shape))}), got {tuple(features.shape)}"
            )
        x = self.features(features, targets)
        z_mean = self.z_mean(x)
        # A log variance, whatever the post's prose says: the standard deviation is exp(z / 2).
        z_log_var = self.z_log_var(x)
        return z_mean, z_log_var, self.reparameterize(z_mean, z_log_var, eps)

    def forward(
        self, features: Tensor, targets: Tensor | None = None, eps: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_mean, z_log_var, encoded and decoded of features [B, *image_shape] and labels [B]."""
        z_mean, z_log_var, encoded = self.encoder(features, targets, eps)
        return z_mean, z_log_var, encoded, self.decoder(encoded, targets)

    def _labels(self, targets: Tensor | None, batch: int) -> Tensor:
        if targets is None:
            raise InputError(f"expected labels, as the model has {self.num_classes} classes, got none")
        if len(targets) != batch:
            raise InputError(f"expected {batch} labels, got {len(targets)}")
        return targets

    def _with_onehot(self, rows: Tensor, targets: Tensor | None) -> Tensor:
        if not self.num_classes:
            return rows
        onehot = to_onehot(self._labels(targets, len(rows)), self.num_classes, rows.device)
        return torch.cat((rows, onehot.to(rows.dtype)), dim=1)


class ConditionalVariationalAutoencoder(VariationalAutoencoder):
    """Convolutional VAE of 28×28 images, conditioned on a class; with `num_classes=0` a plain VAE.

    Spatial sizes are 28, 12, 5, 2 on the way in and 2, 4, 11, 28 on the way out. The class enters
    the encoder as constant one-hot planes and the decoder as a one-hot vector beside the code.

    Args:
        num_features: 784; the post takes it and does not use it.
        num_latent: dimensions of the code.
        num_classes: labels are 0 to num_classes - 1; with 0, labels may be None.
        reconstruct_condition: the post's commented-out variant, which reconstructs the one-hot
            planes beside the image (1 + num_classes output channels).
        output_leaky_relu: keep the post's leaky_relu between the last deconvolution and the
            sigmoid, which holds probabilities of dark pixels near one half or above.

    `settings` holds the constructor's arguments. Raises InputError for sizes that cannot be.
    """

    def __init__(
        self,
        num_features: int,
        num_latent: int,
        num_classes: int,
        *,
        reconstruct_condition: bool = False,
        output_leaky_relu: bool = True,
    ):
        super().__init__()
        if num_features != 28 * 28:
            raise InputError(f"expected 784 features (28 by 28 pixels), got {num_features}")
        check_sizes(num_latent, num_classes)
        if reconstruct_condition and not num_classes:
            raise InputError("expected classes to reconstruct the condition of, got num_classes=0")
        self.settings = {
            "num_features": num_features,
            "num_latent": num_latent,
            "num_classes": num_classes,
            "reconstruct_condition": reconstruct_condition,
            "output_leaky_relu": output_leaky_relu,
        }
        self.num_latent = num_latent
        self.num_classes = num_classes
        self.reconstruct_condition = reconstruct_condition
        self.output_leaky_relu = output_leaky_relu

        self.enc_conv_1 = torch.nn.Conv2d(1 + num_classes, 16, kernel_size=6, stride=2)
        self.enc_conv_2 = torch.nn.Conv2d(16, 32, kernel_size=4, stride=2)
        self.enc_conv_3 = torch.nn.Conv2d(32, 64, kernel_size=2, stride=2)
        self.z_mean = torch.nn.Linear(64 * 2 * 2, num_latent)
        self.z_log_var = torch.nn.Linear(64 * 2 * 2, num_latent)

        self.dec_linear_1 = torch.nn.Linear(num_latent + num_classes, 64 * 2 * 2)
        self.dec_deconv_1 = torch.nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2)
        self.dec_deconv_2 = torch.nn.ConvTranspose2d(32, 16, kernel_size=4, stride=3, padding=1)
        self.dec_deconv_3 = torch.nn.ConvTranspose2d(
            16, 1 + num_classes if reconstruct_condition else 1, kernel_size=6, stride=3, padding=4
        )

    def features(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Flat features [B, 256] of images [B, 1, 28, 28] and labels [B], behind three convolutions."""
        x = images
        if self.num_classes:
            x = with_condition(images, self._labels(targets, len(images)), self.num_classes)
        x = F.leaky_relu(self.enc_conv_1(x))
        x = F.leaky_relu(self.enc_conv_2(x))
        x = F.leaky_relu(self.enc_conv_3(x))
        return x.view(-1, 64 * 2 * 2)

    def decoded_logits(self, encoded: Tensor, targets: Tensor | None) -> Tensor:
        """Logits of pixels [B, 1, 28, 28] of codes [B, num_latent] and labels [B].

        With `reconstruct_condition` the class planes follow as further channels.
        """
        x = self.dec_linear_1(self._with_onehot(encoded, targets)).view(-1, 64, 2, 2)
        x = F.leaky_relu(self.dec_deconv_1(x))
        x = F.leaky_relu(self.dec_deconv_2(x))
        x = self.dec_deconv_3(x)
        return F.leaky_relu(x) if self.output_leaky_relu else x


def check_sizes(num_latent: int, num_classes: int) -> None:
    """Refuse sizes of a code or a condition that cannot be, by an InputError."""
    if num_latent < 1:
        raise InputError(f"expected at least one latent dimension, got {num_latent}")
    if num_classes < 0:
        raise InputError(f"expected zero or more classes, got {num_classes}")


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of this name; an unknown one is an InputError."""
    if name not in ACTIVATIONS:
        raise InputError(f"expected an activation out of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def to_onehot(targets: Tensor, num_classes: int, device: torch.device | str) -> Tensor:
    """One-hot rows, float32 [B, num_classes], of integer labels [B]; [B, 0] without classes.

    Raises InputError for labels of another shape or dtype, and on the CPU for labels of no class: a GPU would have to
    be waited for, and a compiled program cannot look.
    """
    if targets.ndim != 1 or targets.dtype.is_floating_point or targets.dtype.is_complex:
        raise InputError(f"expected integer labels (B,), got {targets.dtype} {tuple(targets.shape)}")
    if num_classes and targets.device.type == "cpu" and not torch.compiler.is_compiling() and len(targets):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= num_classes:
            raise InputError(f"expected labels from 0 to {num_classes - 1}, got {low if low < 0 else high}")
    onehot = torch.zeros(targets.size(0), num_classes, dtype=torch.float32, device=device)
    if num_classes:
        onehot.scatter_(1, targets.to(device=device, dtype=torch.int64).view(-1, 1), 1)
    return onehot


def with_condition(features: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Images [B, 1, H, W] with one constant plane per class after them: [B, 1 + num_classes, H, W]."""
    onehot = to_onehot(targets, num_classes, features.device).view(-1, num_classes, 1, 1)
    planes = torch.ones(
        features.size(0), num_classes, features.size(2), features.size(3), dtype=features.dtype, device=features.device
    )
    return torch.cat((features, planes * onehot.to(features.dtype)), dim=1)
