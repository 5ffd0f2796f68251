"""Exported models: other runtimes compute JAX's numbers, or no file is kept."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from flax import nnx

from jaxae import (
    AUTOENCODER,
    CONDITIONAL_VAE,
    CONV_VAE,
    DENSE_VAE,
    InputError,
    RunConfig,
    load_run,
    parameters_of,
    save_weights,
)
from jaxae.network import operations
from jaxae.network.models import Model, parameter_shapes
from jaxae.usecases.export import export
from jaxae.usecases.export.export import ExportSettings, run
from jaxae.usecases.export.whole import Exported

MODELS = {
    "autoencoder": AUTOENCODER.replace(hidden=(20, 7), activation="tanh"),
    "conditional": CONDITIONAL_VAE.replace(num_latent=6),
    "11 channels": CONDITIONAL_VAE.replace(num_latent=6, reconstruct_condition=True, output_leaky_relu=False),
    "plain": CONDITIONAL_VAE.replace(num_latent=6, num_classes=0),
    "dense": DENSE_VAE.replace(num_latent=3, num_classes=4, hidden=(9, 8)),
    "convolutional": CONV_VAE.replace(
        num_latent=3, num_classes=4, height=9, width=14, widths=(4, 5), activation="leaky_relu"
    ),
    "scales per pixel": CONV_VAE.replace(
        num_latent=3, height=9, width=14, widths=(4,), likelihood="gaussian", scale="per-pixel"
    ),
}


def kept(config: RunConfig, folder: Path) -> Path:
    """A run folder of a model of random weights, about as large as those that layers begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.uniform(-1, 1, leaf.shape).astype(config.train.dtype) / max(1.0, np.prod(leaf.shape[:-1])) ** 0.5

    parameters = jax.tree.map(draw, parameter_shapes(config.model))
    save_weights(folder / "weights.safetensors", config, parameters)
    return folder


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a model, made once."""
    return cache(lambda name: kept(MODELS[name], tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def jax_of(folder_of: Callable[[str], Path]) -> Callable[[str], dict[str, np.ndarray]]:
    """What a model takes and gives, by its run's own lowering, in a batch of a size that no export was held against.

    The decoder is given the code that the whole model draws, so that one program tells of every part.
    """

    def compute(name: str) -> dict[str, np.ndarray]:
        config, model = load_run(folder_of(name))
        given = Exported(model, config, "whole").example(7, seed=3)
        eps = {"eps": given["eps"]} if "eps" in given else {}
        label = [given["labels"]] if "labels" in given else []
        out = nnx.jit(lambda model: model(given["images"], *label, **eps))(cast(Any, model))
        found = {key: np.asarray(value) for key, value in out._asdict().items()}
        if "eps" in given:
            found["code"] = found["mean"] + given["eps"] * np.exp(found["log_var"] / 2)
        return {**given, **found}

    return cache(compute)


@pytest.mark.parametrize("part", ["whole", "encoder", "decoder"])
@pytest.mark.parametrize("name", MODELS)
def test_every_part_of_every_model_computes_the_same_numbers(name, part, folder_of, jax_of, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    result = run(ExportSettings(run=folder_of(name), part=part, onnx=tmp_path / "model.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    values = jax_of(name)
    found = session.run(None, {one.name: values[one.name] for one in session.get_inputs()})
    code = ["code"] if name == "autoencoder" else ["mean", "log_var"]
    named = {"whole": [*code, "reconstruction"], "encoder": code, "decoder": ["reconstruction"]}[part]
    assert [one.name for one in session.get_outputs()] == named
    shapes = result.exported.output_shapes()
    for output, got in zip(named, found, strict=True):
        assert got.shape == (7, *shapes[output])
        np.testing.assert_allclose(got, values[output], atol=3e-6)  # measured: 5e-7


def test_what_a_file_says_of_itself(folder_of, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    result = run(ExportSettings(run=folder_of("conditional"), onnx=tmp_path / "model.onnx"))
    proto = onnx.load(tmp_path / "model.onnx")
    said = {one.key: one.value for one in proto.metadata_props}
    assert RunConfig.from_json(json.loads(said["config"])) == MODELS["conditional"]
    assert json.loads(said["values"]).keys() == {"images", "labels", "eps", "mean", "log_var", "reconstruction"}
    assert said["part"] == "whole"
    lines = str(result).splitlines()
    assert lines[0].startswith(
        f"{tmp_path / 'model.onnx'}: {(tmp_path / 'model.onnx').stat().st_size:,} bytes, within "
    )
    assert lines[1:] == [
        "inputs: images [batch, 28, 28, 1], labels [batch], eps [batch, 6]",
        "outputs: mean [batch, 6], log_var [batch, 6], reconstruction [batch, 28, 28, 1]",
    ]
    batch = {one.type.tensor_type.shape.dim[0].dim_param for one in (*proto.graph.input, *proto.graph.output)}
    assert batch == {"batch"}


def test_stablehlo_runs_without_jaxae(folder_of, tmp_path):
    """One process reads all, for it takes longest to begin."""
    pytest.importorskip("flatbuffers")
    wanted = {}
    for name in ("autoencoder", "conditional"):
        result = run(ExportSettings(run=folder_of(name), stablehlo=tmp_path / f"{name}.hlo"))
        inputs = result.exported.example(4, seed=1)
        np.savez(tmp_path / f"{name}.npz", *inputs.values())
        wanted[name] = result.exported.by_jax(inputs)
    code = (
        "import sys; sys.modules['jaxae'] = None\n"
        "import numpy as np\nfrom jax import export\n"
        "for name in sys.argv[1:]:\n"
        "    program = export.deserialize(bytearray(open(f'{name}.hlo', 'rb').read()))\n"
        "    np.savez(f'{name}-out.npz', *program.call(*np.load(f'{name}.npz').values()))\n"
        "    print(*program.platforms)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *wanted], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["cpu cuda tpu"] * len(wanted)
    for name, values in wanted.items():
        with np.load(tmp_path / f"{name}-out.npz") as outputs:
            for own, other in zip(values, outputs.values(), strict=True):
                np.testing.assert_allclose(own, other, atol=1e-6)  # measured: 0


def transposed(operation: operations.Operation) -> operations.Operation:
    if operation.kind == "linear" and operation.weight is not None:
        rows = operation.weight.shape[0]
        return replace(operation, weight=np.ascontiguousarray(operation.weight.reshape(-1, rows).T))
    return operation


def without_activation(operation: operations.Operation) -> operations.Operation:
    return replace(operation, kind="tanh") if operation.kind == "leaky_relu" else operation


def flipped(operation: operations.Operation) -> operations.Operation:
    if operation.kind == "conv" and operation.weight is not None:
        return replace(operation, weight=operation.weight[:, :, ::-1])
    return operation


def with_nan(operation: operations.Operation) -> operations.Operation:
    if operation.kind == "linear" and operation.weight is not None:
        return replace(operation, weight=operation.weight * np.float32(np.nan))
    return operation


def shifted(operation: operations.Operation) -> operations.Operation:
    if operation.kind in ("conv", "deconv") and operation.bias is not None:
        return replace(operation, bias=operation.bias + np.float32(1e-4))
    return operation


def plant(mistake: Callable[[operations.Operation], operations.Operation], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have graphs written from operations of which each has gone through `mistake`."""

    def wrong(model: Model) -> operations.Operations:
        right = operations.operations_of(model)
        encoder, decoder = ([mistake(one) for one in half] for half in (right.encoder, right.decoder))
        return replace(right, encoder=encoder, decoder=decoder)

    monkeypatch.setattr("jaxae.usecases.export.whole.operations_of", wrong)


@pytest.mark.parametrize(
    ("mistake", "part"),
    [
        (transposed, "decoder"),
        (without_activation, "encoder"),
        (flipped, "encoder"),
        (with_nan, "decoder"),
        (shifted, "decoder"),
    ],
)
def test_a_file_with_a_mistake_is_not_kept(mistake, part, folder_of, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    plant(mistake, monkeypatch)
    with pytest.raises(InputError, match=r"expected an export within .* of JAX's numbers, got "):
        run(ExportSettings(run=folder_of("conditional"), part=part, onnx=tmp_path / "model.onnx"))
    assert not any(tmp_path.iterdir())


def test_neither_file_is_kept_if_one_is_wrong(folder_of, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    plant(with_nan, monkeypatch)
    files = {"onnx": tmp_path / "model.onnx", "stablehlo": tmp_path / "model.hlo"}
    with pytest.raises(InputError, match=r"got nan in reconstruction"):
        run(ExportSettings(run=folder_of("autoencoder"), part="decoder", **files))
    assert not any(tmp_path.iterdir())


def test_shapes_other_than_jaxs_are_refused(folder_of, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    settings = ExportSettings(run=folder_of("autoencoder"), part="encoder", onnx=tmp_path / "model.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(Exported, "output_shapes", lambda _: {"code": (6,)})
        with pytest.raises(onnx.shape_inference.InferenceError, match="6"):
            run(settings)

    def one_number_each(_: bytes) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
        return lambda inputs: [np.zeros((len(inputs["images"]), 1), np.float32)]

    monkeypatch.setattr(export, "_by_onnxruntime", one_number_each)
    with pytest.raises(InputError, match=r"expected an export with code \[\d+, 7\], got \[\d+, 1\]"):
        run(settings)
    assert not any(tmp_path.iterdir())


def test_where_float32_is_far_off_its_own_error_is_allowed(tmp_path, monkeypatch):
    """The trained network of 11 channels; measured: 8e-6 beside 5e-5 of JAX's own."""
    pytest.importorskip("onnxruntime")
    settings = ExportSettings(pretrained="cvae-11-mnist", part="decoder", onnx=tmp_path / "model.onnx")
    (gap,) = run(settings).gaps.values()
    assert 1e-6 < gap < 2e-4
    (tmp_path / "model.onnx").unlink()

    def without_error(self: Exported, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        # JAX's own numbers differ by the size of the batch: these are those that the file is held against.
        parts = [self.by_jax({name: value[rows] for name, value in inputs.items()}) for rows in (np.s_[:1], np.s_[1:])]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    monkeypatch.setattr(Exported, "by_jax_in_float64", without_error)
    with pytest.raises(InputError, match="expected an export within 1e-06 of JAX's numbers"):
        run(settings)
    assert not any(tmp_path.iterdir())


def test_an_output_that_is_hard_to_round_does_not_excuse_another(folder_of, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")

    def far_off_in_mean(self: Exported, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        mean, *others = self.by_jax(inputs)
        return [mean + 1.0, *others]

    monkeypatch.setattr(Exported, "by_jax_in_float64", far_off_in_mean)
    plant(lambda one: shifted(one) if one.kind == "deconv" else one, monkeypatch)
    with pytest.raises(InputError, match=r"within 1e-06 of JAX's numbers, got .* in reconstruction$"):
        run(ExportSettings(run=folder_of("conditional"), onnx=tmp_path / "model.onnx"))


def test_a_double_run_is_exported_in_single(tmp_path, x64):
    pytest.importorskip("onnxruntime")
    folder = kept(MODELS["autoencoder"].replace(dtype="float64"), tmp_path / "run")
    result = run(ExportSettings(run=folder, part="decoder", onnx=tmp_path / "model.onnx"))
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters_of(result.exported.model))} == {np.dtype("float32")}
    assert str(result).endswith("\ntrained in float64, exported in float32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrained": "ae-mnist"}, "expected --onnx or --stablehlo, got neither"),
        ({"onnx": Path("a.onnx")}, "expected a run or --pretrained, got both or neither"),
        ({"pretrained": "ae-mnist", "run": Path("run"), "onnx": Path("a.onnx")}, "got both or neither"),
        ({"pretrained": "ae-mnist", "onnx": Path("a.pt")}, r"expected a file that ends in \.onnx, got a\.pt"),
        ({"pretrained": "ae", "onnx": Path("a.onnx")}, r"expected a pretrained model of ae-mnist, .*, got 'ae'"),
        ({"run": Path("none"), "onnx": Path("a.onnx")}, r"expected a run directory with a config\.json, got no none"),
        ({"pretrained": "ae-mnist", "onnx": Path("a.onnx"), "stablehlo": Path("a.onnx")}, "which are one"),
    ],
)
def test_what_is_asked_must_be_possible(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run(ExportSettings(**settings))


def test_a_run_of_many_seeds_has_no_one_model(tmp_path):
    folder = kept(MODELS["autoencoder"], tmp_path / "run")
    (folder / "weights.safetensors").rename(folder / "weights-seed-123.safetensors")
    with pytest.raises(InputError, match="expected the weights of a finished run, got no "):
        run(ExportSettings(run=folder, stablehlo=tmp_path / "a.hlo"))
    assert not (tmp_path / "a.hlo").exists()


def test_no_output_replaces_what_is_read(tmp_path):
    folder = kept(MODELS["autoencoder"], tmp_path / "run")
    settings = ExportSettings(run=folder, stablehlo=folder / "weights.safetensors")
    assert settings.stablehlo in settings.outputs()
    assert settings.stablehlo in settings.inputs()
    before = (folder / "weights.safetensors").read_bytes()
    with pytest.raises(InputError, match="expected"):
        run(settings)
    assert (folder / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(("package", "kind"), [("onnx", "onnx"), ("onnxruntime", "onnx"), ("flatbuffers", "stablehlo")])
def test_a_missing_package_is_told_first(package, kind, folder_of, tmp_path, monkeypatch):
    if package == "onnxruntime":
        pytest.importorskip("onnx")  # which is told before it
    folder = folder_of("autoencoder")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Exported, "by_jax", lambda *_: pytest.fail("computed first"))
    with pytest.raises(InputError, match=rf"expected the package {package}, got none: pip install 'jaxae\[onnx\]'"):
        run(ExportSettings(run=folder, **{kind: tmp_path / "a.onnx"}))
    assert not any(tmp_path.iterdir())
