"""Exported models: other runtimes compute JAX's numbers, or no file is kept."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from jaxae.network.models import build
from jaxae.usecases.export import export
from jaxae.usecases.export.export import ExportSettings, run

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

MODELS = {
    "autoencoder": AUTOENCODER.replace(hidden=(20, 7), activation="tanh"),
    "conditional": CONDITIONAL_VAE.replace(num_latent=6),
    "11 channels": CONDITIONAL_VAE.replace(num_latent=6, reconstruct_condition=True, output_leaky_relu=False),
    "plain": CONDITIONAL_VAE.replace(num_latent=6, num_classes=0),
    "dense": DENSE_VAE.replace(num_latent=3, num_classes=4, hidden=(9, 8)),
    "convolutional": CONV_VAE.replace(
        num_latent=3, num_classes=4, height=9, width=14, widths=(4, 5), activation="leaky_relu"
    ),
}


def kept(config: RunConfig, folder: Path) -> Path:
    """A run folder of a fresh model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    save_weights(folder / "weights.safetensors", config, parameters_of(build(config.model, rngs=nnx.Rngs(0))))
    return folder


@pytest.mark.parametrize("part", ["whole", "encoder", "decoder"])
@pytest.mark.parametrize("name", MODELS)
def test_every_part_of_every_model_computes_the_same_numbers(name, part, tmp_path):
    folder = kept(MODELS[name], tmp_path / "run")
    result = run(ExportSettings(run=folder, part=part, onnx=tmp_path / "model.onnx"))
    model: Any = load_run(folder)[1]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = replace(result.exported, model=model).example(7, seed=3)
    assert [one.name for one in session.get_inputs()] == [*inputs]
    found = dict(zip(result.exported.outputs, session.run(None, inputs), strict=True))
    given = [inputs["labels"]] if "labels" in inputs else []
    wanted: dict[str, Any]
    if part == "decoder":
        wanted = {"reconstruction": nnx.jit(lambda model: model.decode(inputs["code"], *given))(model)}
    elif name == "autoencoder":
        wanted = nnx.jit(lambda model: model(inputs["images"]))(model)._asdict()
    else:
        mean, log_var = nnx.jit(lambda model: model.encode(inputs["images"], *given))(model)
        wanted = {"mean": mean, "log_var": log_var}
        if part == "whole":
            whole = nnx.jit(lambda model: model(inputs["images"], *given, eps=inputs["eps"]))(model)
            wanted["reconstruction"] = whole.reconstruction
    assert found.keys() >= {*result.exported.outputs}
    for output, values in found.items():
        np.testing.assert_allclose(values, wanted[output], atol=3e-6)  # measured: 8e-7


def test_what_a_file_says_of_itself(tmp_path):
    folder = kept(MODELS["conditional"], tmp_path / "run")
    print(result := run(ExportSettings(run=folder, onnx=tmp_path / "model.onnx")))
    proto = onnx.load(tmp_path / "model.onnx")
    said = {one.key: one.value for one in proto.metadata_props}
    assert RunConfig.from_json(json.loads(said["config"])) == MODELS["conditional"]
    assert json.loads(said["values"]).keys() == {"images", "labels", "eps", "mean", "log_var", "reconstruction"}
    assert said["part"] == "whole"
    assert "inputs: images [batch, 28, 28, 1], labels [batch], eps [batch, 6]" in str(result)
    batch = {one.type.tensor_type.shape.dim[0].dim_param for one in (*proto.graph.input, *proto.graph.output)}
    assert batch == {"batch"}


@pytest.mark.parametrize("name", ["autoencoder", "conditional", "convolutional"])
def test_stablehlo_runs_without_jaxae(name, tmp_path):
    folder = kept(MODELS[name], tmp_path / "run")
    result = run(ExportSettings(run=folder, stablehlo=tmp_path / "model.hlo"))
    inputs = result.exported.example(4, seed=1)
    np.savez(tmp_path / "inputs.npz", *inputs.values())
    code = (
        "import sys; sys.modules['jaxae'] = None\n"
        "import numpy as np\nfrom jax import export\n"
        "program = export.deserialize(bytearray(open('model.hlo', 'rb').read()))\n"
        "np.savez('outputs.npz', *program.call(*np.load('inputs.npz').values()))\n"
        "print(*program.platforms)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cpu", "cuda", "tpu"]
    with np.load(tmp_path / "outputs.npz") as outputs:
        for own, other in zip(result.exported.by_jax(inputs), outputs.values(), strict=True):
            np.testing.assert_allclose(own, other, atol=1e-6)


def transposed(operation: operations.Operation) -> operations.Operation:
    if operation.kind == "linear" and operation.weight is not None:
        rows = operation.weight.shape[0]
        return replace(operation, weight=np.ascontiguousarray(operation.weight.reshape(-1, rows).T))
    return operation


def without_activation(operation: operations.Operation) -> operations.Operation:
    return replace(operation, kind="tanh") if operation.kind == "leaky_relu" else operation


def another_padding(operation: operations.Operation) -> operations.Operation:
    if operation.kind == "conv" and operation.weight is not None:
        return replace(operation, weight=operation.weight[:, :, ::-1])
    return operation


@pytest.mark.parametrize("mistake", [transposed, without_activation, another_padding])
def test_a_file_with_a_mistake_is_not_kept(mistake, tmp_path, monkeypatch):
    folder = kept(MODELS["conditional"], tmp_path / "run")

    def wrong(model):
        right = operations.operations_of(model)
        return replace(
            right, encoder=[mistake(one) for one in right.encoder], decoder=[mistake(one) for one in right.decoder]
        )

    monkeypatch.setattr("jaxae.usecases.export.whole.operations_of", wrong)
    with pytest.raises(InputError, match=r"expected an export within .* of JAX's numbers, got "):
        run(ExportSettings(run=folder, onnx=tmp_path / "model.onnx"))
    assert not (tmp_path / "model.onnx").exists()


def test_a_double_run_is_exported_in_single(tmp_path, x64):
    config = MODELS["autoencoder"].replace(dtype="float64")
    folder = kept(config, tmp_path / "run")
    result = run(ExportSettings(run=folder, part="decoder", onnx=tmp_path / "model.onnx"))
    assert {leaf.dtype for leaf in jax.tree.leaves(parameters_of(result.exported.model))} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrained": "ae-mnist"}, "expected --onnx or --stablehlo, got neither"),
        ({"onnx": Path("a.onnx")}, "expected a run or --pretrained, got both or neither"),
        ({"pretrained": "ae-mnist", "run": Path("run"), "onnx": Path("a.onnx")}, "got both or neither"),
        ({"pretrained": "ae-mnist", "onnx": Path("a.pt")}, r"expected a file that ends in \.onnx, got a\.pt"),
    ],
)
def test_what_is_asked_must_be_possible(settings, message):
    with pytest.raises(InputError, match=message):
        run(ExportSettings(**settings))


def test_a_missing_package_is_told_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"expected the package onnx, got none: pip install 'jaxae\[onnx\]'"):
        export.run(ExportSettings(pretrained="ae-mnist", onnx=tmp_path / "a.onnx"))
    assert not any(tmp_path.iterdir())
