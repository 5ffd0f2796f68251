"""A model of the time that a compiled program takes on a GPU. It is a model: nothing here was measured."""

from dataclasses import dataclass

from jaxae.bench.gpu.compiled import CompiledProgram
from jaxae.bench.gpu.description import GPUDescription
from jaxae.bounds import Amount, Checked


@dataclass(frozen=True)
class LaunchModel(Checked):
    """What a launch is assumed to take; the work itself takes as long as the description's peak rates allow at best.

    Attributes:
        launch_us: Microseconds of a kernel, copy or library call that is launched on its own, or of a whole CUDA graph.
        node_us: Microseconds of one within a CUDA graph.
        read_us: Microseconds in which the host waits for the GPU to read whether a loop goes on.
    """

    launch_us: Amount = 4.0
    node_us: Amount = 1.5
    read_us: Amount = 10.0

    def microseconds(self, program: CompiledProgram, gpu: GPUDescription) -> float:
        """Expected time of one pass of a program's loop, or of all of a program without one."""
        launches = program.launches
        waiting = self.launch_us * (launches.loose + launches.graphs) + self.node_us * launches.in_graphs
        waiting += self.read_us * program.host_reads
        peak = gpu.tensor_flops if program.dtype == "bfloat16" else gpu.flops
        return waiting + 1e6 * max(program.moved_bytes / gpu.bandwidth, program.flops / peak)
