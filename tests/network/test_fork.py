import subprocess
import sys

import pytest

# Each door to a compiled program, in a process forked from one that has run JAX, with 20 s to refuse.
CODE = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import jax, numpy as np, jaxae
from flax import nnx
from jaxae.network import apply
from jaxae.network.models import build, with_parameters
from jaxae.network.parameters import parameters_of
from jaxae.training.runtime import make_mesh
from jaxae.usecases.estimators import AutoencoderTransformer
data = jaxae.load("digits")
config, key = jaxae.AUTOENCODER.replace(hidden=(2,), epochs=0), None
if {started}:
    models = [build(one.model, rngs=nnx.Rngs(0)) for one in (config, jaxae.DENSE_VAE)]
    key = jax.random.key(0)
    apply.encode(models[0], data.test.images[:3])
    parameters, mesh = parameters_of(models[0]), make_mesh()
doors = {{
    "fit": lambda: jaxae.fit(config, data),
    "mesh": lambda: make_mesh(),
    "fit on a mesh": lambda: jaxae.fit(config, data, mesh=mesh),
    "fit_many": lambda: jaxae.fit_many(config, data, seeds=[0, 1]),
    "encode": lambda: apply.encode(models[0], data.test.images[:3]),
    "evaluate": lambda: jaxae.evaluate_model(models[0], data.test),
    "pretrained": lambda: jaxae.load_pretrained("ae-mnist"),
    "model": lambda: with_parameters(config.model, parameters),
    "estimator": lambda: AutoencoderTransformer((2,), epochs=1).fit(np.eye(9)),
    "likelihood": lambda: jaxae.importance_weighted_log_likelihood(
        models[1], jaxae.as_unit_float(data.test.images[:2]), key=key),
}}
sys.stdout.flush()
for name in {names}:
    child = os.fork()
    if not child:
        signal.alarm(60)
        try:
            doors[name]()
            print(name, "ran", flush=True)
        except jaxae.InputError as error:
            print(name, error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
REFUSED = "expected a process that JAX was not started in before a fork, got one: make it by multiprocessing's spawn"
DOORS = [
    "fit",
    "mesh",
    "fit on a mesh",
    "fit_many",
    "encode",
    "evaluate",
    "pretrained",
    "model",
    "estimator",
    "likelihood",
]


@pytest.mark.parametrize(("started", "names"), [(True, DOORS), (False, ["fit"])], ids=["started", "not started"])
def test_a_forked_process_refuses_what_would_hang(started, names):
    code = CODE.format(started=started, names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} {REFUSED if started else 'ran'}" for name in names]
