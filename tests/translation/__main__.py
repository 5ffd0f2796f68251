"""Translate the zoo, and write what comes: `python -m tests.translation docs/translated`."""

import inspect
import sys
import time
from pathlib import Path

import torch

from jaxae.storage.tables import format_table
from jaxae.translation.entry import translate

from .zoo import ZOO, Animal, resnet50

SHOWN = {"ResNet-18": "resnet18", "U-Net": "unet", "GPT": "gpt", "VAE": "vae"}
TITLES = (
    "network",
    "torch, lines",
    "Flax, lines",
    "operations",
    "inference",
    "gradients",
    "training",
    "steps",
    "CPU s",
)


def main() -> None:
    """Write four of the translations, and a table of all."""
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    rows = []
    for name, animal in {**ZOO, "ResNet-50, 64x64 pixels": Animal(resnet50, ((2, 3, 64, 64),))}.items():
        module = animal.make()
        begun = time.process_time()
        found = translate(module, animal.inputs)
        seconds = time.process_time() - begun
        gaps: dict[str, float] = {}
        for check in found.proof.checks:
            kind, _, what = check.what.partition(": ")
            key = "steps" if "costs" in what else "gradients" if "gradients" in what else kind.partition(",")[0]
            gaps[key] = max(gaps.get(key, 0.0), check.gap if "Adam" not in kind or key == "steps" else 0.0)
        kinds = {type(one) for one in module.modules() if type(one).__module__ == type(module).__module__}
        lines = sum(len(inspect.getsourcelines(kind)[0]) for kind in kinds)
        written = len(found.source.splitlines())
        numbers = [f"{gaps[key]:.0e}" for key in ("inference", "gradients", "training", "steps")]
        rows.append((name, str(lines), str(written), str(found.operations), *numbers, f"{seconds:.0f}"))
        print(*rows[-1], flush=True)
        if name in SHOWN:
            (folder / f"{SHOWN[name]}.py").write_text(found.source)
    page = folder / "README.md"
    before, mark, _ = page.read_text().partition("<!-- table -->\n")
    table = format_table(TITLES, rows, style="markdown", right=range(1, 9))
    page.write_text(f"{before}{mark}\n{table}\n")


if __name__ == "__main__":
    main()
