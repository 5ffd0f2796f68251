"""The package's compiled programs, each traced for arrays that are described and never made."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.bench.gpu.compiled import CompiledProgram, compile_program
from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, CONV_VAE, DENSE_VAE, ModelConfig, RunConfig, VAEConfig
from jaxae.network.apply import COMPILED
from jaxae.network.likelihood import importance_weighted_log_likelihood
from jaxae.network.models import init_parameters, parameter_shapes, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.network.platform import traced_for
from jaxae.network.vae import VAE
from jaxae.training.placement import BY_MODEL, WHOLE, Specs, init_state, plan_specs
from jaxae.training.plan import Noise, Plan, evaluation_plan
from jaxae.training.program import Program, program_of
from jaxae.training.runtime import divide_by_models
from jaxae.training.state import Examples, hyperparameters_of
from jaxae.training.step import evaluate, evaluate_many, train_many_steps, train_steps

Preset = Literal["ae", "cvae", "dense-vae", "conv-vae"]
PRESETS: dict[Preset, RunConfig] = {
    "ae": AUTOENCODER,
    "cvae": CONDITIONAL_VAE,
    "dense-vae": DENSE_VAE,
    "conv-vae": CONV_VAE,
}
# As `fit` and `jaxae.network.apply` call them: MNIST's number of images, steps between two logged costs, rows at once.
_EXAMPLES, _STEPS, _ROWS, _MODELS, _DRAWS = 60_000, 50, 1024, 4, 8
_KEY = jax.eval_shape(partial(jax.random.key, 0))


@dataclass(frozen=True)
class DescribedProgram:
    """A program of the package by name.

    Attributes:
        name: Name of the program: what it does, and for which preset.
        config: Preset, as the program has it.
        trace: Function of the preset and a mesh that traces it.
    """

    name: str
    config: RunConfig
    trace: Callable[[RunConfig, Mesh], Any]

    def compile(self, mesh: Mesh) -> CompiledProgram:
        """Compile it for a described mesh."""
        dtype, platform = self.config.train.dtype, mesh.devices.flat[0].platform
        with jax.enable_x64(dtype == "float64"), traced_for(platform):
            return compile_program(self.name, self.trace(self.config, mesh), dtype)


def programs() -> Iterator[DescribedProgram]:
    """The programs of training, evaluation, a trained model, parity and the benchmark."""
    for name, config in PRESETS.items():
        yield DescribedProgram(f"train {name}", config, _train)
        yield DescribedProgram(f"train {name} bfloat16", config.replace(dtype="bfloat16"), _train)
    other = replace(CONDITIONAL_VAE, model=replace(CONDITIONAL_VAE.model, lowering="matmul"))
    yield DescribedProgram("train cvae matmul", other, _train)
    yield DescribedProgram("train cvae matmul bfloat16", other.replace(dtype="bfloat16"), _train)
    for name in ("ae", "cvae"):
        config = PRESETS[name]
        yield DescribedProgram(f"train {name} {_MODELS} models", config, partial(_train, models=_MODELS))
        replay = config.replace(replay="torch", dtype="float64")
        yield DescribedProgram(f"parity {name} replay float64", replay, partial(_train, given=True))
        yield DescribedProgram(f"bench {name} step", config, partial(_train, steps=1, given=True))
        epoch = _EXAMPLES // config.train.batch_size
        yield DescribedProgram(f"bench {name} epoch", config, partial(_train, steps=epoch, given=True))
    for name, config in PRESETS.items():
        yield DescribedProgram(f"evaluate {name}", config, _evaluate)
    yield DescribedProgram(f"evaluate cvae {_MODELS} models", CONDITIONAL_VAE, partial(_evaluate, models=_MODELS))
    for name, config in PRESETS.items():
        yield DescribedProgram(f"initialise {name}", config, _initialise)
        is_vae = isinstance(config.model, VAEConfig)
        for function in COMPILED:
            if is_vae or function != "posterior":
                yield DescribedProgram(f"{function} {name}", config, partial(_apply, function))
        if is_vae:
            yield DescribedProgram(f"sample {name}", config, _sample)
            yield DescribedProgram(f"likelihood {name}", config, _likelihood)


def _train(config: RunConfig, mesh: Mesh, *, steps: int = _STEPS, given: bool = False, models: int = 0) -> Any:
    program = program_of(config, divide_by_models(mesh, models) if models else mesh)
    lead = (models,) if models else ()
    state = jax.eval_shape(partial(init_state, program), parameter_shapes(config.model))
    state = _place(program.mesh, _stacked(state, lead), BY_MODEL if models else WHOLE)
    order = _array((*lead, steps, config.train.batch_size), jnp.int32)
    eps = _array((*order.shape, program.num_latent), jnp.float32)
    plan = Plan(order, Noise(None, eps) if given else Noise(_stacked(_KEY, lead), None), 0)
    plan = plan._replace(**_placed_fields(program.mesh, plan))
    hyperparameters = hyperparameters_of(config)
    if models:
        hyperparameters = jax.tree.map(lambda _: _array(lead, jnp.float32), hyperparameters)
    train = train_many_steps if models else train_steps
    return train.trace(state, _examples(program), plan, steps, hyperparameters, program=program)


def _evaluate(config: RunConfig, mesh: Mesh, *, models: int = 0) -> Any:
    program = program_of(config, divide_by_models(mesh, models) if models else mesh)
    lead = (models,) if models else ()
    parameters = _stacked(parameter_shapes(config.model), lead)
    plan = jax.eval_shape(lambda: evaluation_plan(_EXAMPLES // 6))
    plan = plan._replace(**_placed_fields(program.mesh, plan), first_step=0)
    beta = _array(lead, jnp.float32) if models else config.train.beta
    run = evaluate_many if models else evaluate
    placed = _place(program.mesh, parameters, BY_MODEL if models else WHOLE)
    return run.trace(placed, _examples(program), plan, beta, program=program)


def _initialise(config: RunConfig, mesh: Mesh) -> Any:
    key = _place(mesh, _KEY, WHOLE)
    return jax.jit(partial(init_parameters, config.model)).trace(key)


def _apply(function: str, config: RunConfig, mesh: Mesh) -> Any:
    model, conditional = config.model, isinstance(config.model, VAEConfig) and config.model.num_classes
    rows = (model.code_size,) if function == "decode" else _example_shape(model)
    x = _array((_ROWS, *rows), jnp.float32)
    label = (_array((_ROWS,), jnp.int32),) if conditional else ()
    parameters, x, *label = _place(mesh, (parameter_shapes(model), x, *label), WHOLE)
    compiled: Any = COMPILED[function]
    if function != "score":
        return compiled.trace(model, parameters, x, *label)
    eps = _array((_DRAWS, model.code_size), jnp.float32) if isinstance(model, VAEConfig) else None
    return compiled.trace(_place(mesh, eps, WHOLE), model, parameters, x, *label)


def _sample(config: RunConfig, mesh: Mesh) -> Any:
    def sample(parameters: Parameters, label: jax.Array | None, key: jax.Array) -> jax.Array:
        return _vae(config, parameters).sample(label, key=key, count=_ROWS)

    label = _array((_ROWS,), jnp.int32) if _vae_classes(config) else None
    return jax.jit(sample).trace(*_place(mesh, (parameter_shapes(config.model), label, _KEY), WHOLE))


def _likelihood(config: RunConfig, mesh: Mesh) -> Any:
    def estimate(parameters: Parameters, x: jax.Array, label: jax.Array | None, key: jax.Array) -> jax.Array:
        return importance_weighted_log_likelihood(_vae(config, parameters), x, label, key=key)

    x = _array((_ROWS, *_example_shape(config.model)), jnp.float32)
    label = _array((_ROWS,), jnp.int32) if _vae_classes(config) else None
    return jax.jit(estimate).trace(*_place(mesh, (parameter_shapes(config.model), x, label, _KEY), WHOLE))


def _vae(config: RunConfig, parameters: Parameters) -> VAE:
    model = with_parameters(config.model, parameters)
    assert isinstance(model, VAE)
    return model


def _vae_classes(config: RunConfig) -> int:
    return config.model.num_classes if isinstance(config.model, VAEConfig) else 0


def _example_shape(model: ModelConfig) -> tuple[int, ...]:
    return model.image_shape if isinstance(model, VAEConfig) else (28, 28, 1)


def _examples(program: Program) -> Examples:
    images = _array((_EXAMPLES, *_example_shape(program.model)), jnp.uint8)
    return _place(program.mesh, Examples(images, _array((_EXAMPLES,), jnp.int32)), WHOLE)


def _array(shape: tuple[int, ...], dtype: Any) -> Any:
    """An array that is described alone, in the place of one."""
    return jax.ShapeDtypeStruct(shape, dtype)


def _placed_fields(mesh: Mesh, plan: Plan) -> dict[str, Any]:
    specs = plan_specs(plan)
    return {name: _place(mesh, getattr(plan, name), getattr(specs, name)) for name in ("order", "noise")}


def _stacked(tree: Any, lead: tuple[int, ...]) -> Any:
    return jax.tree.map(lambda leaf: _array((*lead, *leaf.shape), leaf.dtype), tree)


def _place(mesh: Mesh, tree: Any, specs: Specs) -> Any:
    """Described arrays, as they lie on the mesh."""

    def place(leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    if isinstance(specs, PartitionSpec):
        return jax.tree.map(lambda leaf: place(leaf, specs), tree)
    return jax.tree.map(place, tree, specs)
