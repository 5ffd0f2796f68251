"""`translate`: a torch module becomes readable Flax source, with proof."""

import itertools
import linecache
import types
from collections.abc import Iterator, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from jaxae.errors import InputError
from jaxae.port.trial import Inputs, read_inputs
from jaxae.translation import table  # noqa: F401  registers the rules
from jaxae.translation.body import write_body
from jaxae.translation.build import Builder
from jaxae.translation.catalogue import with_needs
from jaxae.translation.classes import grouped
from jaxae.translation.correspond import coarse, correspondence, operations
from jaxae.translation.naming import lines_of
from jaxae.translation.proof import TranslationProof, fill, prove
from jaxae.translation.reading import read, run_once, several_rows
from jaxae.translation.result import Asked, Translation
from jaxae.translation.rules import layer_rule
from jaxae.translation.source import marked, source_of
from jaxae.translation.units import Unit


def run(module: torch.nn.Module, inputs: Inputs, asked: Asked) -> Translation:
    """What `jaxae.translation.entry.translate` gives, which says what is refused."""
    by_name = {name: np.asarray(one) for name, one in asked.keywords.items()}
    arguments = several_rows([*read_inputs(inputs), *by_name.values()])
    if by_name or layer_rule(module) is not None:
        module = Network(module, tuple(by_name))
    run_once(module, arguments)
    reading = read(module, arguments, lambda one: layer_rule(one) is not None or type(one).__name__ in asked.leaf)
    builder = Builder(module, reading.inference, reading.training, write_body, keep=asked.keep_nchw, leaf=asked.leaf)
    builder.build()
    if refusals := [*reading.refusals, *builder.refusals]:
        raise InputError(
            f"expected a network that Flax source can say, got {len(refusals)} places that it cannot: "
            + "; ".join(refusals)
        )
    units = list(_by_height(builder.units))
    needed = set().union(*(unit.holes.pieces for unit in units))
    taken = {*with_needs(needed), "jax", "jnp", "nnx", "np", "lax"}
    lines = [(unit, lines_of(unit, builder.graph.values, taken)) for unit in units]
    groups = grouped(lines, sorted(taken))
    name = groups[-1].name

    def written(told: str) -> str:
        return source_of(groups, builder.graph.values, builder.last, needed, list(builder.stubs.values()), told)

    kind = type(module)
    title = f"`{kind.__qualname__}` of {kind.__module__}, translated from PyTorch to Flax NNX."
    plain = written(title)
    ours, found = made(plain, name), correspondence(builder)
    # The proof computes in float64 throughout: what both would round to float32 says nothing of the source.
    wide = made(plain.replace("jnp.float32", "jnp.float64"), name) if "jnp.float32" in plain else ours
    if builder.stubs:
        proof = TranslationProof((), (f"left to be written: {', '.join(builder.stubs)}",))
    else:
        training = reading.training is not None
        same = not any(unit.training for unit in units)
        proof = prove(
            module,
            wide,
            found,
            arguments,
            reading.other,
            training=training,
            same=same,
            steps=asked.steps,
            coarse=coarse(builder),
        )
    failure = proof.first_failure
    if failure is not None and not asked.unproven:
        raise InputError(f"expected a translation that does the same, got {failure}")
    versions = f"torch {torch.__version__.partition('+')[0]}, flax {flax.__version__}, jax {jax.__version__}"
    source = written(f"{title}\n\n{versions}.\n{proof}")
    if failure is not None:
        source = marked(source, groups, failure.where, str(failure))
    fill(ours, module, found)
    notes = tuple(reading.notes)
    return Translation(source, name, ours, proof, dict(found.names), operations(builder), notes)


class Network(torch.nn.Module):
    """A network that calls one module: a layer of torch's, which is no class of one's own, or one with keywords."""

    def __init__(self, network: torch.nn.Module, keywords: Sequence[str] = ()):
        super().__init__()
        self.network, self._keywords = network, keywords

    def forward(self, *inputs: torch.Tensor) -> object:
        """What the module gives; its keyword arguments come last."""
        count = len(inputs) - len(self._keywords)
        return self.network(*inputs[:count], **dict(zip(self._keywords, inputs[count:], strict=True)))


def made(source: str, name: str) -> nnx.Module:
    """The network that a source makes, its parameters zeros: they are filled, and random numbers would take a while."""
    space = types.ModuleType(f"translated_{name}")
    linecache.cache[f"{name}.py"] = (len(source), None, source.splitlines(keepends=True), f"{name}.py")
    exec(compile(source, f"{name}.py", "exec"), space.__dict__)  # our own writing
    abstract = nnx.eval_shape(lambda: getattr(space, name)(rngs=nnx.Rngs(0)))
    graph, state = nnx.split(abstract)
    keys = itertools.count()

    def concrete(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(next(keys))
        return jnp.zeros(leaf.shape, leaf.dtype)

    return nnx.merge(graph, jax.tree.map(concrete, state))


def _by_height(units: dict[str, Unit]) -> Iterator[Unit]:
    """The units, each after those that it makes."""
    done: list[Unit] = []

    def add(unit: Unit) -> None:
        for one in unit.holes.units:
            if not any(one is other for other in done):
                add(one)
        if not any(one is unit for one in done):
            done.append(unit)

    add(units[""])
    yield from done
