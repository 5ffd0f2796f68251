"""Settings of how data of one's own are read."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxae.bounds import Checked, Range, Share

Fit = Literal["crop", "pad"]
# Pixels of a side: far more than a network of this package takes.
Side = Annotated[int, Range(1, 4096)]


@dataclass(frozen=True, kw_only=True)
class Reading(Checked):
    """How pictures are read; what is left alone is as it was found.

    Attributes:
        size: Pixels of a side that images are resampled to, bicubically and with antialiasing.
        fit: Way to make a picture square before that: crop its middle, or pad it with black.
        grey: Whether colours become luminance.
        upright: Whether EMNIST's images, which its authors left lying on their side, are turned upright.
        test_share: Share of each class that becomes the test set where the data have none; by default a sixth.
        skip_broken: Whether pictures that cannot be read are left out and counted, rather than refused.
    """

    size: Side | None = None
    fit: Fit = "crop"
    grey: bool = False
    upright: bool = False
    test_share: Share | None = None
    skip_broken: bool = False


AS_FOUND = Reading()
