"""A model's whole, its encoder or its decoder: what goes in and comes out, as JAX, ONNX and StableHLO have it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxae.config import RunConfig, VAEConfig
from jaxae.network.models import Autoencoder, Model, with_parameters
from jaxae.network.operations import operations_of
from jaxae.network.parameters import parameters_of
from jaxae.network.vae import VAE
from jaxae.storage.extra import extra
from jaxae.usecases.export.onnx_graph import OPSET, OnnxGraph

Part = Literal["whole", "encoder", "decoder"]
_TOLD = {
    "images": "float32 pixels in [0, 1], channels last",
    "labels": "int32 classes from 0 on",
    "eps": "standard normal noise, by which the code is drawn",
    "code": "code of an image",
    "mean": "mean of the posterior of a code",
    "log_var": "log variance of the posterior of a code",
    "reconstruction": "pixels in [0, 1], channels last",
}


@dataclass(frozen=True)
class Exported:
    """A part of a model with its inputs and outputs by name; the batch stands before each shape.

    Attributes:
        model: The model, in float32.
        config: Settings of its run.
        part: Which part.
    """

    model: Model
    config: RunConfig
    part: Part

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs without the batch, in their order."""
        model = self.model.config
        shape = model.image_shape if isinstance(model, VAEConfig) else (model.num_features,)
        code = (model.code_size,)
        labels: dict[str, tuple[int, ...]] = (
            {"labels": ()} if isinstance(model, VAEConfig) and model.num_classes else {}
        )
        if self.part == "decoder":
            return {"code": code, **labels}
        eps = {"eps": code} if self.part == "whole" and isinstance(model, VAEConfig) else {}
        return {"images": shape, **labels, **eps}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        encoded = ("code",) if isinstance(self.model, Autoencoder) else ("mean", "log_var")
        if self.part == "encoder":
            return encoded
        return ("reconstruction",) if self.part == "decoder" else (*encoded, "reconstruction")

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs without the batch, in their order; traced, not computed."""
        outputs = jax.eval_shape(self.function(), *self.example(1, seed=0).values())
        return {name: out.shape[1:] for name, out in zip(self.outputs, outputs, strict=True)}

    def example(self, batch: int, seed: int) -> dict[str, np.ndarray]:
        """Random inputs of a batch."""
        rng, model = np.random.default_rng(seed), self.model.config
        made: dict[str, np.ndarray] = {
            name: rng.standard_normal((batch, *shape)).astype(np.float32) for name, shape in self.inputs.items()
        }
        if "images" in made:
            made["images"] = rng.random(made["images"].shape, np.float32)
        if "labels" in made:
            assert isinstance(model, VAEConfig)
            made["labels"] = rng.integers(model.num_classes, size=batch).astype(np.int32)
        return made

    def function(self) -> Callable[..., tuple[Array, ...]]:
        """The part as a function of its inputs in their order."""

        def run(*arrays: Array) -> tuple[Array, ...]:
            given = dict(zip(self.inputs, arrays, strict=True))
            label = given.get("labels")
            if isinstance(self.model, Autoencoder):
                code = given["code"] if self.part == "decoder" else self.model.encode(given["images"])
                return (code,) if self.part == "encoder" else (code, self.model.decode(code))[-len(self.outputs) :]
            assert isinstance(self.model, VAE)
            if self.part == "decoder":
                return (self.model.decode(given["code"], label),)
            if self.part == "encoder":
                return self.model.encode(given["images"], label)
            out = self.model(given["images"], label, eps=given["eps"])
            return out.mean, out.log_var, out.reconstruction

        return run

    def by_jax(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of JAX, in the dtype of the model's parameters, products at highest precision."""
        with jax.default_matmul_precision("highest"):
            return [np.asarray(out) for out in jax.jit(self.function())(*map(jnp.asarray, inputs.values()))]

    def by_jax_in_float64(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs without float32's rounding."""
        with jax.enable_x64(True):
            double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), parameters_of(self.model))
            wide = {name: value if name == "labels" else value.astype(np.float64) for name, value in inputs.items()}
            return replace(self, model=with_parameters(self.model.config, double)).by_jax(wide)

    def to_onnx(self) -> bytes:
        """The ONNX file.

        Raises:
            InputError: If onnx is not installed.
        """
        onnx = extra("onnx", "onnx", "onnx")
        helper, types = onnx.helper, onnx.TensorProto
        graph, operations = OnnxGraph(), operations_of(self.model)
        labels = "labels" if "labels" in self.inputs else ""
        made: dict[str, str] = {}
        code = "code"
        if self.part != "decoder":
            x = graph.follow(operations.encoder, "images", labels)
            made = {name: graph.follow(head, x) for name, head in operations.heads.items()}
            code = made.get("code", "")
            if "eps" in self.inputs:
                half = graph.node("Mul", made["log_var"], graph.constant(np.array(0.5, np.float32)))
                code = graph.node("Add", made["mean"], graph.node("Mul", "eps", graph.node("Exp", half)))
        if self.part != "encoder":
            made["reconstruction"] = graph.follow(operations.decoder, code, labels)
        for name in self.outputs:
            graph.node("Identity", made[name], name=name)
        kinds = {"labels": types.INT32}
        values = [
            helper.make_tensor_value_info(name, kinds.get(name, types.FLOAT), ["batch", *shape])
            for name, shape in self.inputs.items()
        ]
        results = [
            helper.make_tensor_value_info(name, types.FLOAT, ["batch", *shape])
            for name, shape in self.output_shapes().items()
        ]
        whole = helper.make_graph(graph.nodes, f"jaxae_{self.part}", values, results, graph.constants)
        proto = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="jaxae")
        proto.ir_version = 9  # what runtimes of 2023 read
        proto.producer_version = metadata.version("jaxae")
        helper.set_model_props(proto, self.described())
        onnx.checker.check_model(proto, full_check=True)
        return proto.SerializeToString()

    def described(self) -> dict[str, str]:
        """What a file says of itself: version, settings, and what its inputs and outputs are."""
        told = {name: _TOLD[name] for name in (*self.inputs, *self.outputs)}
        return {
            "jaxae": metadata.version("jaxae"),
            "part": self.part,
            "config": json.dumps(self.config.to_json()),
            "values": json.dumps(told),
        }

    def to_stablehlo(self) -> bytes:
        """The program of the plain lowering as `jax.export` writes it: CPU, CUDA and TPU, a batch of any size.

        Raises:
            InputError: If flatbuffers is not installed.
        """
        extra("flatbuffers", "flatbuffers", "onnx")
        from jax import export

        (batch,) = export.symbolic_shape("batch")
        kinds: dict[str, Any] = {"labels": jnp.int32}
        shapes = [
            jax.ShapeDtypeStruct((batch, *shape), kinds.get(name, jnp.float32)) for name, shape in self.inputs.items()
        ]
        with jax.default_matmul_precision("highest"):
            program = export.export(jax.jit(self.function()), platforms=("cpu", "cuda", "tpu"))(*shapes)
        return bytes(program.serialize())
