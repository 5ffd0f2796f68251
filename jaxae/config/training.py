"""How a model is trained: the settings of a training."""

from dataclasses import dataclass
from typing import Literal

from jaxae.bounds import Amount, Checked, Count, CountOrZero, PositiveAmount, Seed, Share, kinds_of, require

ComputeDtype = Literal["float32", "bfloat16", "float64"]
Replay = Literal["no", "torch-1", "torch"]
Reduction = Literal["post", "sum", "batch_mean"]
LearningRateSchedule = Literal["constant", "linear", "cosine"]
Keep = Literal["last", "best"]

# Settings that the post's own trainings have, and so a replay of them; all others are ours.
_REPLAYED = frozenset(
    ("epochs", "batch_size", "learning_rate", "seed", "beta", "binarize", "dtype", "replay", "reduction")
)


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
        dtype: Dtype of the arithmetic. For "bfloat16" that of the layers alone, forward and backward, on weights
            rounded to it at each step; parameters, Adam's moments, costs and all sums over a batch's costs and over
            devices are float32.
        replay: Random stream to repeat: "no" is JAX's own; "torch-1" and "torch" draw weights, order and noise as
            torch would after `torch.manual_seed(seed)`, under the DataLoader of torch 1.x or of today.
        reduction: Reduction of the cost: "post" is the autoencoder's mean over batch and pixels and the VAE's sum over
            both, "sum" that sum for either, "batch_mean" a sum over pixels and a mean over the batch.
        grad_clip_norm: Largest norm of a step's gradient, all parameters together; a larger one is scaled down to it.
            The gradient is that of the cost as `reduction` has it. None leaves all as they are.
        weight_decay: Decoupled weight decay, AdamW's (arXiv:1711.05101): beside Adam's step, learning rate times this
            is taken off each parameter, biases too.
        schedule: Course of the learning rate after the warm-up: "constant", or down to 0 at the training's end along a
            line ("linear") or half a cosine ("cosine", arXiv:1608.03983 without restarts).
        warmup_steps: Number of steps in which the learning rate first rises from 0 along a line.
        beta_warmup_epochs: Number of epochs in which beta rises from 0 along a line, step by step. The test set's cost
            is that of the whole beta all along.
        free_bits: KL divergence that a latent dimension has for free, in nats: in a step's cost its mean over the batch
            counts as no less, so that it has no reason to fall below (arXiv:1606.04934). The test set's cost has none.
        keep: Epoch whose parameters are the trained ones: the last, or the one of the least test cost ("best").
        patience: Number of epochs without a better test cost after which training ends; the best is then kept,
            whatever `keep` says. 0 ends none before its time.
        ema_decay: Decay per step of an exponential moving average of the parameters, which is then what is evaluated,
            shown and kept: after each step it is decay * average + (1 - decay) * parameters, from zero on, and is
            divided by 1 - decay ** steps when it is used. Training goes on from the parameters themselves. None
            averages none.
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
    grad_clip_norm: PositiveAmount | None = None
    weight_decay: Amount = 0.0
    schedule: LearningRateSchedule = "constant"
    warmup_steps: CountOrZero = 0
    beta_warmup_epochs: CountOrZero = 0
    free_bits: Amount = 0.0
    keep: Keep = "last"
    patience: CountOrZero = 0
    ema_decay: Share | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.binarize or self.replay == "no", "no replay where pixels are binarized", self.replay)
        if self.replay != "no":
            for name in kinds_of(TrainConfig):
                value = getattr(self, name)
                told = f"no {name} in a replay, which has the post's cost and plain Adam"
                require(name in _REPLAYED or value == getattr(TrainConfig, name), told, value)

    @property
    def has_an_end(self) -> bool:
        """Whether a step depends on how many there will be: more epochs are then another training."""
        return self.schedule != "constant"

    @property
    def keeps_best(self) -> bool:
        """Whether the parameters of the best epoch are the trained ones, rather than those of the last."""
        return self.keep == "best" or self.patience > 0

    @property
    def trained_weights(self) -> str:
        """Which parameters of a training are the trained ones, in words."""
        epoch = f"{'best' if self.keeps_best else 'last'} epoch"
        return epoch if self.ema_decay is None else f"moving average of decay {self.ema_decay:g} at the {epoch}"

    @property
    def arithmetic(self) -> str:
        """What is computed in which dtype, in words."""
        if self.dtype != "bfloat16":
            return self.dtype
        return "bfloat16 in the layers, forward and backward; float32 in weights, Adam and costs"

    @property
    def from_probabilities(self) -> bool:
        """Whether the cross-entropy is torch's, from probabilities, rather than from logits.

        A replay repeats torch's numbers, clamp and saturation included; any other training is better off with the
        logits (their gradient does not vanish where the sigmoid saturates).
        """
        return self.replay != "no"
