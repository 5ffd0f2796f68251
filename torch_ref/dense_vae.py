"""The literature's fully connected VAE in PyTorch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import InputError
from .models import VariationalAutoencoder, activation_of, check_sizes


class DenseVariationalAutoencoder(VariationalAutoencoder):
    """Fully connected VAE, by default 784-200-200-50 and back: `enc_linear_1`, ..., `dec_linear_1`, ...

    The VAE of Burda et al. 2016 (arXiv:1509.00519), with torch's own initial weights. The class, if
    any, enters as a one-hot vector behind the pixels and behind the code.

    `settings` holds the constructor's arguments. Raises InputError for sizes that cannot be.
    """

    def __init__(
        self,
        num_latent: int = 50,
        num_classes: int = 0,
        hidden: Sequence[int] = (200, 200),
        *,
        activation: str = "tanh",
        likelihood: str = "bernoulli",
        scale: str = "learned",
        scale_value: float = 0.1,
    ):
        super().__init__()
        check_sizes(num_latent, num_classes)
        if not hidden or min(hidden) < 1:
            raise InputError(f"expected layer sizes of at least one, got {list(hidden)}")
        self.settings = {
            "num_latent": num_latent,
            "num_classes": num_classes,
            "hidden": list(hidden),
            "activation": activation,
            "likelihood": likelihood,
            "scale": scale,
            "scale_value": scale_value,
        }
        self.num_latent = num_latent
        self.num_classes = num_classes
        self.activation = activation_of(activation)
        self.num_hidden = len(hidden)

        into = [28 * 28 + num_classes, *hidden]
        planes = self.take_pixels_for(likelihood, scale, scale_value, channels=1)
        out_of = [num_latent + num_classes, *reversed(hidden), planes * 28 * 28]
        for index in range(self.num_hidden):
            setattr(self, f"enc_linear_{index + 1}", torch.nn.Linear(into[index], into[index + 1]))
        self.z_mean = torch.nn.Linear(hidden[-1], num_latent)
        self.z_log_var = torch.nn.Linear(hidden[-1], num_latent)
        for index in range(self.num_hidden + 1):
            setattr(self, f"dec_linear_{index + 1}", torch.nn.Linear(out_of[index], out_of[index + 1]))

    def features(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """The last hidden layer [B, hidden[-1]] of images [B, 1, 28, 28] and labels [B]."""
        x = self._with_onehot(images.flatten(1), targets)
        for index in range(1, self.num_hidden + 1):
            x = self.activation(getattr(self, f"enc_linear_{index}")(x))
        return x

    def decoded_logits(self, encoded: Tensor, targets: Tensor | None) -> Tensor:
        """Logits of pixels, and perhaps their log scales, [B, 1 or 2, 28, 28] of codes and labels [B]."""
        x = self._with_onehot(encoded, targets)
        for index in range(1, self.num_hidden + 1):
            x = self.activation(getattr(self, f"dec_linear_{index}")(x))
        x = getattr(self, f"dec_linear_{self.num_hidden + 1}")(x)
        return x.view(len(x), -1, 28, 28)
