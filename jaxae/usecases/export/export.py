"""Export of a trained model, kept only once another runtime has computed what JAX does."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
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
_BATCHES = (1, 5)

_Values = list[Float[np.ndarray, "batch ..."]]
_Compute = Callable[[dict[str, np.ndarray]], _Values]


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

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it: the run's files.

        Raises:
            InputError: If no run is named, or one too many.
        """
        return run_files(self.folder())

    def outputs(self) -> list[Path | None]:
        """The files to write."""
        return [self.onnx, self.stablehlo]

    def check(self) -> None:
        """Refuse files that cannot be written, before anything is computed.

        Raises:
            InputError: If one cannot be, replaces what is read or has another ending, or there is none.
        """
        check_writable(*self.outputs())
        check_writable(*self.outputs(), inputs=self.inputs())
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
        """A line for each file, then inputs and outputs, and the dtype that the run had in place of float32."""
        near = {path: f"within {gap:.0e} of" if gap else "the same as" for path, gap in self.gaps.items()}
        lines = [f"{path}: {size:,} bytes, {near[path]} JAX's numbers" for path, size in self.sizes.items()]
        for told, values in (("inputs", self.exported.inputs), ("outputs", self.exported.output_shapes())):
            shapes = [f"{name} [{', '.join(map(str, ('batch', *shape)))}]" for name, shape in values.items()]
            lines.append(f"{told}: {', '.join(shapes)}")
        trained_in = self.exported.config.train.dtype
        return "\n".join([*lines, *([f"trained in {trained_in}, exported in float32"] * (trained_in != "float32"))])


def run(settings: ExportSettings) -> ExportResult:
    """Export a model; no file is kept that computes other numbers than JAX: beyond 1e-6, or float32's own error there.

    Raises:
        InputError: If the run is not there, a package is missing, a file cannot be written, or its numbers are not
            JAX's.
    """
    settings.check()
    config, model = load_run(settings.folder())
    if settings.onnx is not None:
        extra("onnx", "onnx", "onnx")
        extra("onnxruntime", "onnxruntime", "onnx")
    if settings.stablehlo is not None:
        extra("flatbuffers", "flatbuffers", "onnx")  # which jax.export needs, and jax does not bring
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), parameters_of(model))
    # Other runtimes have their own ways with convolutions.
    exported = Exported(
        with_parameters(dataclasses.replace(model.config, lowering="plain"), single), config, settings.part
    )
    made: dict[Path, tuple[bytes, _Compute]] = {}
    if settings.onnx is not None:
        made[settings.onnx] = (content := exported.to_onnx()), _by_onnxruntime(content)
    if settings.stablehlo is not None:
        made[settings.stablehlo] = (content := exported.to_stablehlo()), _by_stablehlo(content)
    gaps = dict(zip(made, _gaps(exported, [compute for _, compute in made.values()]), strict=True))
    for path, (content, _) in made.items():
        write_bytes(path, content)
    return ExportResult(exported, {path: len(content) for path, (content, _) in made.items()}, gaps)


def _gaps(exported: Exported, runtimes: list[_Compute]) -> list[float]:
    """The largest difference between each runtime's numbers and JAX's, for batches of two sizes.

    Raises:
        InputError: If an output is beyond its tolerance, or is NaN.
    """
    inputs = exported.example(sum(_BATCHES), seed=1)
    rounded = _in_batches(exported.by_jax, inputs)
    exact = cache(lambda: exported.by_jax_in_float64(inputs))
    largest = []
    for compute in runtimes:
        gaps = []
        for number, (own, other) in enumerate(zip(rounded, _in_batches(compute, inputs), strict=True)):
            name, allowed = exported.outputs[number], TOLERANCE
            if own.shape != other.shape:
                raise InputError(f"expected an export with {name} {list(own.shape)}, got {list(other.shape)}")
            scale = 1.0 if name == "reconstruction" else max(1.0, float(np.abs(own).max()))
            gap = float(np.abs(own - other).max()) / scale
            # "not <=": NaN is within nothing. Each output by itself: one that is hard to round excuses no other.
            if not gap <= allowed:
                allowed = max(allowed, _OWN_ERRORS * float(np.abs(own - exact()[number]).max()) / scale)
            if not gap <= allowed:
                raise InputError(f"expected an export within {allowed:.0e} of JAX's numbers, got {gap:.0e} in {name}")
            gaps.append(gap)
        largest.append(max(gaps))
    return largest


def _in_batches(compute: _Compute, inputs: dict[str, np.ndarray]) -> _Values:
    """The outputs of all rows, computed in batches of each of the sizes."""
    ends = list(accumulate(_BATCHES, initial=0))
    parts = [compute({name: value[begin:end] for name, value in inputs.items()}) for begin, end in pairwise(ends)]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _by_onnxruntime(content: bytes) -> _Compute:
    runtime = extra("onnxruntime", "onnxruntime", "onnx")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def _by_stablehlo(content: bytes) -> _Compute:
    from jax import export

    program = export.deserialize(bytearray(content))
    return lambda inputs: [np.asarray(out) for out in program.call(*inputs.values())]
