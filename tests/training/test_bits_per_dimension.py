"""A training of 256 grey values, which learns their scale and tells bits per dimension."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import CONV_VAE, ConvVAE, fit, parameters_of
from jaxae.data.dataset import Dataset, Split
from jaxae.training.many import ManyResult, save_many
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Metrics

RNG = np.random.default_rng(0)


def test_a_training_learns_the_scale_and_tells_bits_per_dimension(tmp_path):
    images = RNG.integers(100, 140, (40, 4, 6, 3)).astype(np.uint8)
    data = Dataset("grey", Split(images[:32], np.zeros(32, int)), Split(images[32:], np.zeros(8, int)), 1)
    own = {"height": 4, "width": 6, "widths": (4,), "num_latent": 2, "likelihood": "discretized-logistic"}
    run = CONV_VAE.replace(**own, epochs=20, batch_size=16, learning_rate=0.05, beta=0.5)
    mesh = make_mesh(devices=1)
    result = fit(run, data, run_dir=tmp_path / "run", mesh=mesh)
    assert isinstance(result.model, ConvVAE)
    # Grey values of 40 levels alike deviate by 11.5 / 255, a logistic distribution of scale s by 1.81 s.
    spread = np.exp(np.log(0.1) + float(result.model.dec_log_scale[0]))
    assert 0.5 < spread / (11.5 / 255 / 1.81) < 1.5
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = lines[-1]
    # Of the whole KL divergence, whatever beta is; 40 levels alike take 5.3 bits.
    bits = (last["test_reconstruction"] + last["test_kl"]) / np.log(2) / (4 * 6 * 3)
    assert last["test_bits_per_dimension"] == pytest.approx(bits, rel=1e-6)
    assert np.log2(40) - 0.1 < bits < 6.2
    parameters = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), parameters_of(result.model))
    costs = Metrics(*(np.array([[last[f"test_{name}"]], [2.0]]) for name in Metrics._fields))
    save_many(tmp_path / "many", ManyResult(run, parameters, costs, costs), [0, 1])
    line = json.loads((tmp_path / "many" / "metrics.jsonl").read_text())
    both = [pytest.approx(bits, rel=1e-6), pytest.approx(4 / np.log(2) / (4 * 6 * 3))]
    assert line["test_bits_per_dimension"] == both
    assert line["test_bits_per_dimension_mean"] == pytest.approx(np.mean(line["test_bits_per_dimension"]))
