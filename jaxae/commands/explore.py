"""Write a trained model as a page in the browser."""

from jaxae.cli import Flags
from jaxae.usecases.explore import explore

DEFAULTS = explore.ExploreSettings()


def main(settings: Flags[explore.ExploreSettings] = DEFAULTS) -> None:
    """Write a page: a map of the codes of test images, a point to drag, whose picture is decoded as it moves.

    Classes as buttons, ways from image to image, and a canvas to draw on. It needs no network and no server.

    Args:
        settings: What is explored, and where the page is written.
    """
    print(explore.run(settings), flush=True)
    if settings.serve:
        explore.serve(settings.out, settings.port)
