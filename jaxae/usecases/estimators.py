"""The autoencoder as scikit-learn estimators: a transformer, and an outlier detector.

Both scale each feature to [0, 1] by the least and greatest value seen in `fit`, train on float32, and give back the
dtype that came in. What lies outside that range later is scaled alike, not clipped; a reconstruction, which ends in a
sigmoid, stays within it.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from jaxae.bounds import Count, Range, check, told
from jaxae.config import Activation, AutoencoderConfig, TrainConfig
from jaxae.errors import DivergenceError, InputError
from jaxae.network.apply import decode, encode, pad_rows, padded_length, reconstruct
from jaxae.network.models import Model, with_parameters
from jaxae.network.parameters import Parameters
from jaxae.training.checks import check_memory
from jaxae.training.program import Corruption, Program
from jaxae.training.progress import Progress
from jaxae.training.runtime import make_mesh
from jaxae.training.schedule import KeySchedule
from jaxae.training.state import Hyperparameters
from jaxae.training.trainer import Trainer

# The first is what other dtypes become.
_DTYPES: Any = [np.float64, np.float32]
_FEWEST_ROWS = 64
# scikit-learn's X: an array, a data frame, a list of lists; what is none is refused as scikit-learn refuses it.
Rows = Any


@dataclass(eq=False, repr=False)
class _AutoencoderEstimator(BaseEstimator):
    """What both have in common: settings, scaling, training, the network."""

    hidden: tuple[int, ...] = (32,)
    _: KW_ONLY
    activation: Activation = "leaky_relu"
    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 0.005
    corrupt: Corruption | None = None
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    def _fit_network(self, X: Rows) -> Float[np.ndarray, "n features"]:
        """Check rows, fit the scaling to them, and train the network on them."""
        X = self._checked(X, reset=True)
        self._check_settings()
        self.data_min_ = X.min(0)
        with np.errstate(over="ignore"):
            self.data_range_ = X.max(0) - self.data_min_
        if not np.isfinite(self.data_range_).all():
            raise InputError(f"expected features whose range {X.dtype} can hold, got a wider one")
        # A feature that never varied says nothing: it becomes 0, and goes back to what it was.
        self._divisor = np.where(self.data_range_ > 0, self.data_range_, 1).astype(X.dtype)
        # A longer batch would be filled up with rows that count for nothing.
        batch_size = min(self.batch_size, padded_length(len(X), _FEWEST_ROWS))
        train = TrainConfig(self.epochs, batch_size, self.learning_rate, self._seed())
        self.config_ = AutoencoderConfig(X.shape[1], tuple(self.hidden), self.activation)
        parameters, self.loss_curve_ = self._train(train, self._scale(X))
        # Kept on the host, where they pickle and outlive the device.
        self.parameters_ = jax.tree.map(np.array, parameters)
        return X

    def _check_settings(self) -> None:
        check("batch_size", self.batch_size, Count)
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Iterable):
            raise InputError(f"expected a tuple of whole numbers for hidden, got {told(self.hidden)}")
        if self.corrupt is not None and not callable(self.corrupt):
            raise InputError(f"expected corrupt to be callable, got {told(self.corrupt)}")

    def _seed(self) -> int:
        try:
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError as error:
            raise InputError(f"expected a random_state of scikit-learn's, got {told(self.random_state)}") from error

    def _checked(self, X: Rows, *, reset: bool = False) -> Float[np.ndarray, "n features"]:
        return np.asarray(validate_data(self, X, reset=reset, dtype=_DTYPES))

    def _scale(self, X: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n features"]:
        return ((X - self.data_min_[None]) / self._divisor[None]).astype(np.float32)

    def _network(self) -> Model:
        return with_parameters(self.config_, self.parameters_)

    def _train(self, train: TrainConfig, rows: Float[np.ndarray, "n features"]) -> tuple[Parameters, list[float]]:
        """The trained parameters, and the mean cost of each epoch in nats per row."""
        program = Program(self.config_, make_mesh(batch_size=train.batch_size), corrupt=self.corrupt)
        check_memory(program, batch_size=train.batch_size)
        schedule = KeySchedule(train.seed, len(rows), train.batch_size, model=self.config_)
        # Another number of rows, within a factor of two, runs the same compiled program.
        length = padded_length(len(rows), _FEWEST_ROWS)
        split = (pad_rows(rows, length), np.zeros(length, np.int32))
        hyperparameters = Hyperparameters(train.learning_rate, train.beta)
        trainer = Trainer.start(program, schedule.init_parameters(), split, hyperparameters)
        steps = -(-len(rows) // train.batch_size)
        check(f"the number of steps of {train.epochs} epochs", max(1, steps * train.epochs), Count)
        curve = []
        with Progress(train.epochs * steps, 0, train.batch_size, shown=self.verbose > 0) as progress:
            for epoch in range(train.epochs):
                # The next power of two, for the same reason.
                placed = trainer.place(schedule.plan(epoch), 0, padded_length(steps))
                metrics = trainer.take(placed, steps)
                costs = np.asarray(metrics.reconstruction)[:steps]
                if not np.isfinite(costs).all() or int(trainer.state.step) != (epoch + 1) * steps:
                    raise DivergenceError(
                        f"the cost or gradient of epoch {epoch + 1} is not finite; expected a smaller "
                        f"learning rate than {train.learning_rate}"
                    )
                curve.append(float(costs.mean()))
                progress.advance(steps, curve[-1])
                if self.verbose > 1:
                    print(f"Epoch: {epoch + 1:03d}/{train.epochs:03d} | Cost: {curve[-1]:.4f}")
        return trainer.state.parameters, curve


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _AutoencoderEstimator):
    """Dimensionality reduction by an autoencoder: features to codes, and back.

    Features are scaled to [0, 1] by a min-max fitted in `fit`, reconstructed under a binary cross-entropy, and scaled
    back by `inverse_transform`.

    Args:
        hidden: Widths from the features to the code; the last is the code's.
        activation: Activation after every layer but the last: leaky_relu, relu or tanh.
        epochs: Number of passes over the rows.
        batch_size: Number of rows per step.
        learning_rate: Adam's learning rate.
        corrupt: Function of a key and a row to the row that the network is shown, such as
            `jaxae.usecases.corruption.Gaussian()`; frozen, hashable, and picklable to be pickled.
        random_state: Random state of weights and order; an int makes `fit` repeat itself.
        verbose: 1 shows a bar on standard error where that is a terminal, 2 prints each epoch's mean cost too.

    Attributes:
        config_: The network's settings.
        parameters_: Its parameters, as a nested dict of NumPy arrays.
        loss_curve_: Mean cost of each epoch, in nats per row, summed over features.
        data_min_: Least value of each feature in `fit`.
        data_range_: Greatest less least.
        n_features_in_: Features seen in `fit`.
        feature_names_in_: Their names, where all were strings.
    """

    def fit(self, X: Rows, y: object = None) -> "AutoencoderTransformer":
        """Train on rows of features; `y` is ignored.

        Raises:
            InputError: If a setting is out of range.
            DivergenceError: If a cost is not finite.
        """
        self._fit_network(X)
        return self

    def transform(self, X: Rows) -> Float[np.ndarray, "n code"]:
        """Codes of rows of features."""
        check_is_fitted(self)
        X = self._checked(X)
        return encode(self._network(), self._scale(X)).astype(X.dtype)

    def inverse_transform(self, X: Rows) -> Float[np.ndarray, "n features"]:
        """Rows of features decoded from codes; each lies within the range seen in `fit`.

        Raises:
            InputError: If the codes are not as wide as the network's.
        """
        check_is_fitted(self)
        codes = np.asarray(check_array(X, dtype=_DTYPES))
        if codes.shape[1] != self._n_features_out:
            raise InputError(f"expected codes of {self._n_features_out} dimensions, got {codes.shape[1]}")
        scaled = decode(self._network(), codes.astype(np.float32))
        # A constant feature has range 0, and so comes back as it was.
        return (scaled * self.data_range_[None] + self.data_min_[None]).astype(codes.dtype)

    @property
    def _n_features_out(self) -> int:
        return self.config_.code_size

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class AutoencoderOutlierDetector(OutlierMixin, _AutoencoderEstimator):
    """Outliers as what an autoencoder, trained on the rows, reconstructs badly.

    Features are scaled to [0, 1] by a min-max fitted in `fit`; the error is the mean over features of the squared
    difference in that scale.

    Args:
        hidden: Widths from the features to the code, and all other settings: as in `AutoencoderTransformer`.
        contamination: Share of the rows in `fit` to be called outliers, above 0 up to 0.5.

    Attributes:
        offset_: The threshold: that quantile of the scores in `fit` which the contamination names.
        config_: The network's settings; what else `fit` finds is as in `AutoencoderTransformer`.
    """

    contamination: float = 0.1

    def fit(self, X: Rows, y: object = None) -> "AutoencoderOutlierDetector":
        """Train on rows of features and set the threshold; `y` is ignored.

        Raises:
            InputError: If a setting is out of range.
            DivergenceError: If a cost is not finite.
        """
        check("contamination", self.contamination, Annotated[float, Range(1e-9, 0.5)])
        X = self._fit_network(X)
        self.offset_ = float(np.percentile(self._score(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Rows) -> Float[np.ndarray, " n"]:
        """The negated mean squared error of each row: 0 at best, lower the more anomalous."""
        check_is_fitted(self)
        return self._score(self._checked(X))

    def decision_function(self, X: Rows) -> Float[np.ndarray, " n"]:
        """The score less the threshold: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Rows) -> np.ndarray:
        """-1 for outliers, 1 for the rest."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _score(self, X: Float[np.ndarray, "n features"]) -> Float[np.ndarray, " n"]:
        rows = self._scale(X)
        error = ((reconstruct(self._network(), rows) - rows) ** 2).sum(1)
        return -error.astype(np.float64) / X.shape[1]
