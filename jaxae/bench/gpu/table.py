"""The table of what the programs compile to for a GPU, none of which is run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import jax

from jaxae.bench.gpu.compiled import CompiledProgram, described_mesh
from jaxae.bench.gpu.description import H100
from jaxae.bench.gpu.launch_model import LaunchModel
from jaxae.bench.gpu.programs import programs
from jaxae.cli import default
from jaxae.errors import InputError
from jaxae.storage.tables import format_table

TITLES = (
    "program",
    "launches",
    "loose",
    "graphs",
    "library calls",
    "around",
    "host reads",
    "MB moved",
    "MB temporary",
    "MFLOP",
    "model, us",
)


@dataclass(frozen=True)
class CompileSettings(LaunchModel):
    """What is compiled, and what a launch is assumed to take.

    Attributes:
        programs: Names of programs; what is no program's own stands for those whose names begin so.
        launch_us: Microseconds of a kernel, copy or library call that is launched on its own, or of a whole CUDA graph.
        node_us: Microseconds of one within a CUDA graph.
        read_us: Microseconds in which the host waits for the GPU to read whether a loop goes on.
    """

    programs: Annotated[tuple[str, ...] | None, default("all", "[STR [STR ...]]")] = None


def run(settings: CompileSettings, log: Callable[[str], None]) -> str:
    """Compile the programs for an H100, and tell of each in a row of a Markdown table.

    Args:
        settings: What is compiled, and what a launch is assumed to take.
        log: Function that takes a line for each program.

    Raises:
        InputError: If a name begins no program's, or the packages that compile for a GPU are not installed.
    """
    known = {program.name: program for program in programs()}
    wanted: set[str] = set()
    for name in ("",) if settings.programs is None else settings.programs:
        found = {name} & set(known) or {one for one in known if one.startswith(name)}
        if not found:
            kinds = ", ".join(dict.fromkeys(one.split()[0] for one in known))
            raise InputError(f"expected programs that docs/gpu.md lists, which begin with {kinds}, got {name!r}")
        wanted |= found
    mesh, rows = described_mesh(H100), []
    for name, program in known.items():
        if name in wanted:
            log(name)
            rows.append(_row(program.compile(mesh), settings))
    table = format_table(TITLES, rows, style="markdown", right=range(1, len(TITLES)))
    return f"{H100.name}, JAX {jax.__version__}: compiled, not run.\n\n{table}"


def _row(program: CompiledProgram, model: LaunchModel) -> list[str]:
    launches = program.launches
    counts = (launches.total, launches.loose, launches.graphs, launches.library_calls, program.around)
    return [
        program.name,
        *map(str, (*counts, program.host_reads)),
        f"{program.moved_bytes / 1e6:.1f}",
        f"{program.temporary_bytes / 1e6:.1f}",
        f"{program.flops / 1e6:,.0f}",
        f"{model.microseconds(program, H100):,.0f}",
    ]
