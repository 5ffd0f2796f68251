"""How a model is trained: the settings of a training."""

from dataclasses import dataclass
from typing import Literal

from jaxae.bounds import Amount, Checked, Count, CountOrZero, Seed, require

ComputeDtype = Literal["float32", "bfloat16", "float64"]
Replay = Literal["no", "torch-1", "torch"]
Reduction = Literal["post", "sum", "batch_mean"]


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How a model is trained, by Adam at optax's and torch's common defaults.

    Attributes:
        epochs: Number of passes over the training set; 0 writes the initial model.
        batch_size: Number of examples per step; the last batch of an epoch may be smaller.
        learning_rate: Adam's learning rate.
        seed: Seed of initial weights, batch order and noise.
        beta: Weight of the KL term; 1 is the ELBO. The plain autoencoder has no such term.
        binarize: Whether a pixel is 1 with its grey value as the probability, else 0, drawn anew at
            each step; the test set's draws stay the same. A replay has none.
        dtype: Dtype of the network's arithmetic; parameters are float32 for "bfloat16".
        replay: Random stream to repeat: "no" is JAX's own; "torch-1" and "torch" draw weights, order and noise as
            torch would after `torch.manual_seed(seed)`, under the DataLoader of torch 1.x or of today.
        reduction: Reduction of the cost: "post" is the autoencoder's mean over batch and pixels and the VAE's sum over
            both, "sum" that sum for either, "batch_mean" a sum over pixels and a mean over the batch.
    """

    epochs: CountOrZero
    batch_size: Count
    learning_rate: Amount
    seed: Seed
    beta: Amount = 1.0
    binarize: bool = False
    dtype: ComputeDtype = "float32"
    replay: Replay = "no"
    reduction: Reduction = "post"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.binarize or self.replay == "no", "no replay where pixels are binarized", self.replay)

    @property
    def from_probabilities(self) -> bool:
        """Whether the cross-entropy is torch's, from probabilities, rather than from logits.

        A replay repeats torch's numbers, clamp and saturation included; any other training is better off with the
        logits (their gradient does not vanish where the sigmoid saturates).
        """
        return self.replay != "no"
