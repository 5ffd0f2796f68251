"""Export of a trained model, kept only once another runtime has computed what JAX does."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from jaxtyping import Float

from jaxae.bounds import Checked
from jaxae.cli import default
from jaxae.errors import InputError
from jaxae.network.models import with_parameters
from jaxae.network.parameters import parameters_of
from jaxae.pretrained.card import model_card
from jaxae.storage.extra import extra
from jaxae.storage.files import check_writable, write_bytes
from jaxae.training.run_folder import load_run, run_files
from jaxae.usecases.export.whole import Exported, Part

# Of pixels in [0, 1]; of codes, relative to the largest of them or to 1.
TOLERANCE = 1e-6
# Where float32 itself is farther off, as where sums of a thousand pixels cancel: so many times JAX's own distance from
# float64.
_OWN_ERRORS = 4


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Checked):
    """What is exported, and to which files.

    Attributes:
        run: Folder of a finished run.
        pretrained: Name of a trained model that comes with the package, in place of a run.
        part: Part of the model: whole, encoder or decoder.
        onnx: ONNX file to write, .onnx.
        stablehlo: File of a StableHLO program to write, which jax.export reads without jaxae.
    """

    run: Annotated[tyro.conf.Positional[Path | None], default("none", "[RUN]")] = None
    pretrained: Annotated[str | None, default("none", "STR")] = None
    part: Part = "whole"
    onnx: Annotated[Path | None, default("no file", "PATH")] = None
    stablehlo: Annotated[Path | None, default("no file", "PATH")] = None

    def folder(self) -> Path:
        """Folder of the run or of the pretrained model.

        Raises:
            InputError: If both are named or neither, or there is no pretrained model of that name.
        """
        if (self.run is None) == (self.pretrained is None):
            raise InputError("expected a run or --pretrained, got both or neither")
        return self.run if self.run is not None else model_card(str(self.pretrained)).folder

    def check(self) -> None:
        """Refuse files that cannot be written, before anything is computed.

        Raises:
            InputError: If one cannot be, replaces what is read or has another ending, or there is none.
        """
        check_writable(self.onnx, self.stablehlo)
        check_writable(self.onnx, self.stablehlo, inputs=run_files(self.folder()))
        if self.onnx is None and self.stablehlo is None:
            raise InputError("expected --onnx or --stablehlo, got neither")
        if self.onnx is not None and self.onnx.suffix != ".onnx":
            raise InputError(f"expected a file that ends in .onnx, got {self.onnx}")


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        exported: The part.
        sizes: Bytes of each file.
        gaps: Largest difference from JAX of each file's outputs, of pixels in [0, 1] or relative to the largest code.
    """

    exported: Exported
    sizes: dict[Path, int]
    gaps: dict[Path, float]

    def __str__(self) -> str:
        """A line for each file, then inputs and outputs."""
        near = {path: f"within {gap:.0e} of" if gap else "the same as" for path, gap in self.gaps.items()}
        lines = [f"{path}: {size:,} bytes, {near[path]} JAX's numbers" for path, size in self.sizes.items()]
        given = ", ".join(
            f"{name} [{', '.join(map(str, ('batch', *shape)))}]" for name, shape in self.exported.inputs.items()
        )
        return "\n".join([*lines, f"inputs: {given}", f"outputs: {', '.join(self.exported.outputs)}"])


def run(settings: ExportSettings) -> ExportResult:
    """Export a model; no file is kept that computes other numbers than JAX: beyond 1e-6, or float32's own error there.

    Raises:
        InputError: If the run is not there, a file cannot be written, or its numbers are not JAX's.
    """
    settings.check()
    config, model = load_run(settings.folder())
    if settings.onnx is not None:
        extra("onnx", "onnx", "onnx")
        extra("onnxruntime", "onnxruntime", "onnx")
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), parameters_of(model))
    # Other runtimes have their own ways with convolutions.
    exported = Exported(
        with_parameters(dataclasses.replace(model.config, lowering="plain"), single), config, settings.part
    )
    made: dict[Path, tuple[bytes, float]] = {}
    if settings.onnx is not None:
        made[settings.onnx] = (content := exported.to_onnx()), _gap(exported, content, "onnx")
    if settings.stablehlo is not None:
        made[settings.stablehlo] = (content := exported.to_stablehlo()), _gap(exported, content, "stablehlo")
    for path, (content, _) in made.items():
        write_bytes(path, content)
    sizes = {path: len(content) for path, (content, _) in made.items()}
    return ExportResult(exported, sizes, {path: gap for path, (_, gap) in made.items()})


def _gap(exported: Exported, content: bytes, kind: str) -> float:
    """The largest difference between a file's numbers and JAX's, for batches of two sizes.

    Raises:
        InputError: If it is beyond the tolerance.
    """
    gaps, allowed = [0.0], [TOLERANCE]
    for batch in (1, 5):
        inputs = exported.example(batch, seed=batch)
        found = _by_onnxruntime(content, inputs) if kind == "onnx" else _by_stablehlo(content, inputs)
        exact, rounded = exported.by_jax_in_float64(inputs), exported.by_jax(inputs)
        for name, own, true, other in zip(exported.outputs, rounded, exact, found, strict=True):
            scale = 1.0 if name == "reconstruction" else max(1.0, float(np.abs(own).max()))
            gaps.append(float(np.abs(own - other).max()) / scale if own.shape == other.shape else np.inf)
            allowed.append(_OWN_ERRORS * float(np.abs(own - true).max()) / scale)
    if not max(gaps) <= max(allowed):
        raise InputError(f"expected an export within {max(allowed):.0e} of JAX's numbers, got {max(gaps):.0e}")
    return max(gaps)


def _by_onnxruntime(content: bytes, inputs: dict[str, np.ndarray]) -> list[Float[np.ndarray, "batch ..."]]:
    runtime = extra("onnxruntime", "onnxruntime", "onnx")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def _by_stablehlo(content: bytes, inputs: dict[str, np.ndarray]) -> list[Float[np.ndarray, "batch ..."]]:
    from jax import export

    return [np.asarray(out) for out in export.deserialize(bytearray(content)).call(*inputs.values())]
