"""What pixels are taken for: the post's Bernoulli, Gaussians, discretised logistic distributions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

SCALES = ("fixed", "learned", "per-pixel")
# Least log scales of those that are learned, approached as softplus approaches zero.
FLOORS = {"gaussian": -6.0, "discretized-logistic": -7.0 - math.log(2)}


class PixelLikelihood(torch.nn.Module):
    """What a decoder's last layer says of pixels.

    A Gaussian's standard deviation or a logistic's scale is fixed, learned as one number (`dec_log_scale`, the log of
    it over `scale_value`), or said by the decoder for each pixel, in as many channels behind those of the means.
    """

    likelihood = "bernoulli"
    scale = "learned"
    scale_value = 0.1
    dec_log_scale: Tensor

    def take_pixels_for(self, likelihood: str, scale: str, scale_value: float, *, channels: int) -> int:
        """Set the likelihood of pixels; gives the channels that the decoder has.

        Raises InputError for an unknown one.
        """
        if likelihood not in ("bernoulli", *FLOORS) or scale not in SCALES or not 0 < scale_value < math.inf:
            raise InputError(
                f"expected a likelihood out of bernoulli, {', '.join(FLOORS)}, a scale out of {', '.join(SCALES)} "
                f"and a value above 0, got {likelihood!r}, {scale!r} and {scale_value}"
            )
        self.likelihood, self.scale, self.scale_value = likelihood, scale, scale_value
        if likelihood != "bernoulli" and scale == "learned":
            self.dec_log_scale = torch.nn.Parameter(torch.zeros(1))
        return channels * (2 if likelihood != "bernoulli" and scale == "per-pixel" else 1)

    def pixels_of(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means [B, C, H, W] in [0, 1] (a logistic's locations) and log scales of what the last layer says."""
        if self.likelihood == "bernoulli":
            return torch.sigmoid(outputs), None
        start = torch.full((1,), math.log(self.scale_value), dtype=outputs.dtype, device=outputs.device)
        if self.scale == "fixed":
            return torch.sigmoid(outputs), start
        outputs, raw = outputs.chunk(2, dim=1) if self.scale == "per-pixel" else (outputs, self.dec_log_scale)
        floor = FLOORS[self.likelihood]
        return torch.sigmoid(outputs), floor + F.softplus(start + raw - floor, threshold=1e9)

    def pixel_cost(self, mean: Tensor, log_scale: Tensor | None, target: Tensor) -> Tensor:
        """Negative log-likelihood of pixels in [0, 1], in nats, summed over all of the batch.

        Of "discretized-logistic" that of the nearest of 256 grey values: what the logistic distribution has within half
        a level of it, 0 and 1 all that is beyond them too (arXiv:1606.04934, arXiv:1701.05517).
        """
        if log_scale is None:
            return F.binary_cross_entropy(mean, target, reduction="sum")
        if self.likelihood == "gaussian":
            return -torch.distributions.Normal(mean, log_scale.exp()).log_prob(target).sum()
        level, scale = torch.round(255 * target), log_scale.exp()
        above, below = (((level + half) / 255 - mean) / scale for half in (0.5, -0.5))
        inside = torch.log(-torch.expm1(-1 / (255 * scale)))
        log_p = F.logsigmoid(above) + F.logsigmoid(-below) + inside
        log_p = torch.where(level == 0, F.logsigmoid(above), log_p)
        return -torch.where(level == 255, F.logsigmoid(-below), log_p).sum()
