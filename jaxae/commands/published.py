"""Put what ours obtain beside what was published, figure by figure."""

from jaxae.cli import Flags
from jaxae.usecases import published

DEFAULTS = published.PublishedSettings()


def main(settings: Flags[published.PublishedSettings] = DEFAULTS) -> None:
    """Replay the notebooks' printed costs, classify codes, and estimate log-likelihoods, beside the published figures.

    Args:
        settings: Settings of the comparison.
    """
    table = published.run(settings)
    try:
        if settings.json is not None:
            table.write(settings.json)
    finally:
        table.show()
