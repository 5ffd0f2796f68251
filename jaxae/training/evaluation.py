"""What a trained model costs on a split, as training tells it after each epoch."""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int32, UInt8

from jaxae.bounds import Amount, check
from jaxae.config import VAEConfig
from jaxae.network.models import Model
from jaxae.network.parameters import parameters_of
from jaxae.training.checks import check_split
from jaxae.training.placement import put_examples, put_plan
from jaxae.training.plan import evaluation_plan
from jaxae.training.program import Program
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Metrics
from jaxae.training.step import evaluate


def evaluate_model(
    model: Model,
    split: tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]],
    *,
    beta: float = 1.0,
    binarize: bool = False,
    mesh: Mesh | None = None,
) -> Metrics:
    """Mean cost, reconstruction and KL divergence of a split's images, in nats per image.

    Each image's code is drawn once, by the key that all evaluations draw from: a number repeats itself, and two
    models are compared on the same noise.

    Args:
        model: A trained model.
        split: Images and labels.
        beta: Weight of the KL term in the cost.
        binarize: Whether pixels are drawn 0 or 1, as a training that binarizes has them.
        mesh: Devices that share a batch; by default one.

    Raises:
        InputError: If images, labels or beta are not what such a model is trained on.
    """
    check("beta", beta, Amount)
    classes = model.config.num_classes if isinstance(model.config, VAEConfig) else 0
    check_split(model.config, split, classes or 2**31 - 1)
    program = Program(model.config, mesh or make_mesh(devices=1), binarize=binarize)
    examples = put_examples(program, *split)
    plan = put_plan(program, evaluation_plan(len(split[1])))
    return evaluate(parameters_of(model), examples, plan, beta, program=program)
