"""Programs compiled for a GPU that is only described: what is read off them, and where XLA has its CUDA part, all."""

import importlib.util
import logging
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REPOSITORY

from jaxae import AUTOENCODER, CONDITIONAL_VAE
from jaxae.bench.flops import step_flops
from jaxae.bench.gpu import table
from jaxae.bench.gpu.compiled import CompiledProgram, described_mesh
from jaxae.bench.gpu.description import H100
from jaxae.bench.gpu.hlo import CompiledText
from jaxae.bench.gpu.launch_model import LaunchModel
from jaxae.bench.gpu.products import product_flops
from jaxae.bench.gpu.programs import programs
from jaxae.bench.gpu.thunks import Launches, count, outermost_loop, read_thunks
from jaxae.errors import InputError
from jaxae.network.apply import COMPILED
from jaxae.network.models import parameter_shapes
from jaxae.network.platform import traced_for
from jaxae.training.runtime import make_mesh

PROGRAMS = {program.name: program for program in programs()}
PAGE = (REPOSITORY / "docs" / "gpu.md").read_text()
THUNKS = """\
000: kCommandBuffer [source       | next=013 (1)]
    001: kCustomKernel [source       | next=002 (1)] loop_add_fusion_3 grid: [1, 1, 1] threads: [50, 1, 1]
    012: kCopy         [prev=005 (7) | sink        ] kCopy
013: kWhile         [prev=000 (1) | next=000 (1)]
condition:
    014: kCustomKernel [source | sink] loop_and_fusion grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source        | next=023 (1) ]
        015: kCustomKernel [source       | next=018 (3)] input_reduce_fusion_19 grid: [3, 1, 1]
        016: kCublasLtMatmul [source       | next=017 (1)] kCublasLtMatmul
    023: kConvolution   [prev=000 (1)  | next=024 (1) ] kConvolution
    024: kCustomKernel  [prev=023 (1)  | next=027 (3) ] loop_select_fusion grid: [576, 1, 1]
129: kCustomKernel [prev=013 (1) | sink] wrapped_slice grid: [1, 1, 1]
"""
HLO = """\
HloModule jit_train

%fused_row (p.0: u8[60000,784], p.1: s32[]) -> f32[1,784] {
  %p.1 = s32[] parameter(1)
  %p.0 = u8[60000,784]{1,0} parameter(0)
  %bitcast.1 = u8[60000,784]{1,0} bitcast(%p.0)
  %row = u8[1,784]{1,0} dynamic-slice(%bitcast.1, %p.1, %p.1), dynamic_slice_sizes={1,784}
  ROOT %floats = f32[1,784]{1,0} convert(%row)
}

%fused_note (q.0: bf16[50,2], q.1: bf16[1,2], q.2: s32[]) -> bf16[50,2] {
  %q.0 = bf16[50,2]{1,0} parameter(0)
  %q.1 = bf16[1,2]{1,0} parameter(1)
  %q.2 = s32[] parameter(2)
  ROOT %note = bf16[50,2]{1,0} dynamic-update-slice(%q.0, %q.1, %q.2, %q.2)
}

%body (arg: (s32[], u8[60000,784], bf16[50,2], bf16[1,2])) -> (s32[], u8[60000,784], bf16[50,2], bf16[1,2]) {
  %arg = (s32[], u8[60000,784]{1,0}, bf16[50,2]{1,0}, /*index=3*/bf16[1,2]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %data = u8[60000,784]{1,0} get-tuple-element(%arg), index=1
  %notes = bf16[50,2]{1,0} get-tuple-element(%arg), index=2
  %new = bf16[1,2]{1,0} get-tuple-element(%arg), index=3
  %taken = f32[1,784]{1,0} fusion(%data, %i), kind=kLoop, calls=%fused_row
  %conv = (f32[4]{0}, u8[0]{0}) custom-call(%taken), custom_call_target="__cudnn$convForward"
  %noted = bf16[50,2]{1,0} fusion(%notes, %new, %i), kind=kLoop, calls=%fused_note
  ROOT %all = (s32[], u8[60000,784]{1,0}, bf16[50,2]{1,0}, bf16[1,2]{1,0}) tuple(%i, %data, %noted, %new)
}

%condition (arg.1: (s32[])) -> pred[] {
  %arg.1 = (s32[]) parameter(0)
  ROOT %go = pred[] constant(true)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %start = (s32[], u8[60000,784]{1,0}, bf16[50,2]{1,0}, bf16[1,2]{1,0}) tuple(%x)
  %while.1 = (s32[], u8[60000,784]{1,0}, /*index=2*/bf16[50,2]{1,0}) while(%start), condition=%condition, body=%body
  ROOT %copy.1 = f32[4]{0} copy(%x)
}
"""


def installed() -> bool:
    """Whether what compiles for a GPU is there; JAX takes it only where it is not to look for a GPU."""
    there = importlib.util.find_spec("jax_plugins") and importlib.util.find_spec("jax_plugins.xla_cuda13")
    return there is not None and jax.config.values["jax_platforms"] == "cpu"


def rows_of(text: str) -> list[list[str]]:
    """Cells of each row of the Markdown tables in a text."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


needs_wheels = pytest.mark.skipif(
    not installed(), reason="needs the packages of docs/gpu.md on PYTHONPATH, and JAX_PLATFORMS=cpu"
)


def test_thunks_are_counted_in_graphs_and_out_of_them():
    thunks = read_thunks(THUNKS)
    loop = outermost_loop(thunks)
    assert loop is not None
    assert [one.kind for one in loop.inner] == ["CustomKernel", "CommandBuffer", "Convolution", "CustomKernel"]
    assert count(loop.inner) == Launches(loose=3, graphs=1, in_graphs=2, library_calls=2)
    assert count(thunks) == Launches(loose=4, graphs=2, in_graphs=4, library_calls=2)
    assert outermost_loop(loop.inner) is None


def test_bytes_are_those_of_the_parts_that_are_read_and_written():
    text = CompiledText(HLO)
    row, conv, note = 784 + 4 + 784 * 4, 784 * 4 + 16, 4 + 4 + 4
    assert text.moved_bytes == row + conv + note
    assert text.host_reads == 1
    counted = HLO.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"50"}}')
    assert CompiledText(counted).host_reads == 0


@pytest.mark.parametrize("lowering", ["plain", "matmul"])
def test_products_of_a_traced_step_are_those_counted_by_hand(lowering):
    mesh = make_mesh(device="cpu", devices=1)
    plain = CONDITIONAL_VAE.replace(num_classes=0, lowering=lowering)
    for config, name in ((AUTOENCODER, "train ae"), (plain, "train cvae")):
        traced = PROGRAMS[name].trace(config, mesh)
        flops, by_hand = product_flops(traced.jaxpr.jaxpr), step_flops(config.model, config.train.batch_size)
        # As products of windows, taps that fall outside of an image are multiplied too.
        assert flops == by_hand if lowering == "plain" or config is AUTOENCODER else by_hand < flops < 1.2 * by_hand


@pytest.mark.parametrize(
    ("settings", "kernel", "flops"),
    [
        ({}, (10, 6), 2 * (4 * 10 * 8) * (6 * 9)),
        ({"feature_group_count": 2}, (10, 3), 2 * (4 * 10 * 8) * (3 * 9)),
        ({"batch_group_count": 2}, (10, 6), 2 * (2 * 10 * 8) * (6 * 9)),
        ({"rhs_dilation": (3, 1)}, (10, 6), 2 * (4 * 10 * 4) * (6 * 9)),
        ({"padding": [(1, 0), (0, 0)]}, (10, 6), 2 * (4 * 10) * 6 * (9 * 9 - 3)),
        ({"lhs_dilation": (2, 1), "padding": [(0, 0)] * 2}, (10, 6), 2 * (4 * 10) * 6 * 3 * (9 + 8 + 9)),
    ],
    ids=str,
)
def test_taps_of_a_convolution_are_counted_where_they_meet_a_pixel(settings, kernel, flops):
    window = {"window_strides": (1, 1), "padding": "VALID", **settings}
    x, w = jnp.zeros((4, 6, 10, 3)), jnp.zeros((*kernel, 3, 3))
    traced = jax.jit(partial(jax.lax.conv_general_dilated, **window)).trace(x, w)
    assert product_flops(traced.jaxpr.jaxpr) == flops


def test_the_model_adds_launches_reads_and_work():
    program = CompiledProgram("a", "float32", Launches(3, 2, 10, 0), 0, 1, 3_352_320, 0, 66_908)
    model = LaunchModel(launch_us=4, node_us=1, read_us=10)
    assert model.microseconds(program, H100) == pytest.approx(4 * 5 + 10 + 10 + 1)
    busy = replace(program, flops=669_081_600)
    assert model.microseconds(busy, H100) == pytest.approx(40 + 10)
    assert model.microseconds(replace(busy, dtype="bfloat16"), H100) == pytest.approx(40 + 1)


def test_a_program_is_traced_for_the_platform_that_is_named():
    """On a mesh of CPU devices training is the CPU's, whatever JAX's default; elsewhere the named platform's."""
    mesh = make_mesh(device="cpu", devices=1)
    train = PROGRAMS["train cvae"]
    here = train.trace(CONDITIONAL_VAE, mesh).lower().as_text()
    model = CONDITIONAL_VAE.model
    images, labels = jax.ShapeDtypeStruct((8, 28, 28, 1), np.float32), jax.ShapeDtypeStruct((8,), np.int32)
    arguments = (model, parameter_shapes(model), images, labels)
    with traced_for("gpu"):
        assert train.trace(CONDITIONAL_VAE, mesh).lower().as_text() == here
        assert "stablehlo.convolution" in COMPILED["encode"].trace(*arguments).lower().as_text()
    assert "stablehlo.convolution" not in COMPILED["encode"].trace(*arguments).lower().as_text()


def test_the_page_has_every_program():
    assert set(PROGRAMS) <= {row[0] for row in rows_of(PAGE)}


@pytest.mark.skipif(installed(), reason="the packages of docs/gpu.md are there")
def test_what_compiles_for_a_gpu_is_asked_for_where_it_is_not_there():
    with pytest.raises(InputError, match=r"expected jax-cuda13-pjrt, .* got none: pip install .*==" + jax.__version__):
        described_mesh(H100)


@needs_wheels
@pytest.mark.parametrize("name", ["train ae", "evaluate ae", "decode cvae"])
def test_the_page_tells_what_xla_makes_of_a_program(name):
    logging.getLogger("jax_plugins.xla_cuda13").setLevel(logging.ERROR)
    printed = table.run(table.CompileSettings(programs=(name,)), log=lambda line: None)
    (cells,), (told,) = ([row for row in rows_of(text) if row[0] == name] for text in (printed, PAGE))
    if f"JAX {jax.__version__}:" in PAGE:
        assert cells == told
    # Whatever the version: no loop asks the host whether it goes on.
    assert cells[6] == "0"
