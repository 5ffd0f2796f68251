import pickle
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import programs_of
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from jaxae.errors import DivergenceError, InputError
from jaxae.training.step import train_steps
from jaxae.usecases.corruption import MaskedPixels
from jaxae.usecases.estimators import AutoencoderOutlierDetector, AutoencoderTransformer

Estimator = TypeVar("Estimator", AutoencoderTransformer, AutoencoderOutlierDetector)

# Batches of 32 stay on one device, which compiles in half the time.
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 32}


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.asarray(load_digits(return_X_y=True)[0][:400])


@pytest.fixture(scope="module")
def fitted(rows: np.ndarray) -> AutoencoderTransformer:
    return AutoencoderTransformer((12,), epochs=60, batch_size=32, random_state=0).fit(rows)


@pytest.fixture(scope="module")
def detector(rows: np.ndarray) -> AutoencoderOutlierDetector:
    return AutoencoderOutlierDetector((12,), contamination=0.05, epochs=60, batch_size=32, random_state=0).fit(rows)


def copy_of(estimator: Estimator) -> Estimator:
    copy = clone(estimator)
    assert isinstance(copy, type(estimator))
    return copy


@parametrize_with_checks([AutoencoderTransformer(**QUICK), AutoencoderOutlierDetector(**QUICK)])
@pytest.mark.usefixtures("unchecked")
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_scikit_learn_checks_can_fail():
    class Forgetful(AutoencoderTransformer):
        def transform(self, X):
            return super().transform(X) + np.random.default_rng().normal()

    failed = []
    checks: Any = estimator_checks_generator(Forgetful(**QUICK))
    for estimator, check in checks:
        if check.func.__name__ == "check_methods_sample_order_invariance":
            with pytest.raises(AssertionError):
                check(estimator)
            failed.append(check)
    assert failed


class TestTransformer:
    def test_reconstructs_better_than_the_mean(self, fitted, rows):
        back = fitted.inverse_transform(fitted.transform(rows))
        assert back.shape == rows.shape
        error, variance = ((back - rows) ** 2).mean(), ((rows - rows.mean(0)) ** 2).mean()
        assert error < 0.5 * variance  # 0.26 measured

    def test_cost_falls(self, fitted):
        assert len(fitted.loss_curve_) == 60
        assert fitted.loss_curve_[-1] < 0.8 * fitted.loss_curve_[0]

    def test_codes_do_not_depend_on_units(self, fitted, rows):
        other = copy_of(fitted).fit(100 * rows - 7)
        codes = fitted.transform(rows)
        gap = np.abs(other.transform(100 * rows - 7) - codes).max() / np.abs(codes).max()
        assert gap < 1e-2  # 60 epochs of float32 rounding: 1e-5 measured

    def test_constant_feature_comes_back(self):
        rows = np.column_stack([np.linspace(0, 1, 40), np.full(40, 3.25)])
        back = AutoencoderTransformer((2,), **QUICK).fit(rows)
        assert np.all(back.inverse_transform(back.transform(rows))[:, 1] == 3.25)

    def test_decoded_values_stay_in_the_fitted_range(self, fitted, rows):
        back = fitted.inverse_transform(100 * np.ones((3, 12)))
        assert np.all((back >= rows.min(0)) & (back <= rows.max(0)))

    def test_works_in_pipeline_and_grid_search(self, rows):
        rows, labels = rows[:256], load_digits(return_X_y=True)[1][:256]
        pipeline = make_pipeline(
            AutoencoderTransformer(epochs=20, batch_size=32, random_state=0), LogisticRegression(max_iter=2000)
        )
        grid = {"autoencodertransformer__hidden": [(2,), (16,)]}
        search = GridSearchCV(pipeline, grid, cv=2).set_params(error_score="raise").fit(rows, labels)
        assert search.best_params_ == {"autoencodertransformer__hidden": (16,)}
        assert search.best_score_ > 0.5  # 0.1 by chance

    def test_pickles(self, fitted, rows):
        copy = pickle.loads(pickle.dumps(fitted))
        assert np.array_equal(copy.transform(rows), fitted.transform(rows))

    def test_takes_and_gives_data_frames(self, rows):
        frame = pd.DataFrame(rows[:64], columns=[f"pixel_{n}" for n in range(64)])
        transformer = AutoencoderTransformer((3,), **QUICK).set_output(transform="pandas")
        codes = transformer.fit_transform(frame)
        names = [f"autoencodertransformer{n}" for n in range(3)]
        assert list(codes.columns) == names == list(transformer.get_feature_names_out())
        assert codes.index.equals(frame.index)
        with pytest.raises(ValueError, match="feature names"):
            transformer.transform(frame[frame.columns[::-1]])

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_the_dtype(self, fitted, rows, dtype):
        codes = fitted.transform(rows.astype(dtype))
        assert codes.dtype == dtype
        assert fitted.inverse_transform(codes).dtype == dtype

    def test_random_state_decides(self, rows):
        codes = [AutoencoderTransformer((4,), random_state=seed, **QUICK).fit_transform(rows) for seed in (0, 0, 1)]
        assert np.array_equal(codes[0], codes[1])
        assert not np.allclose(codes[0], codes[2])

    def test_deep_networks_and_corruption(self, rows):
        transformer = AutoencoderTransformer(
            (20, 5), activation="tanh", corrupt=MaskedPixels(0.3), random_state=0, **QUICK
        )
        codes = transformer.fit_transform(rows)
        assert codes.shape == (len(rows), 5)
        clean = copy_of(transformer).set_params(corrupt=None).fit_transform(rows)
        assert not np.allclose(codes, clean)

    def test_other_row_counts_reuse_the_compiled_step(self, rows):
        make = AutoencoderTransformer((7,), **QUICK).fit
        make(rows[:100])
        compiled = programs_of(train_steps)
        make(rows[:65])
        make(rows[:128])
        assert programs_of(train_steps) == compiled
        make(rows[:129])
        assert programs_of(train_steps) == compiled + 1

    def test_says_what_it_does_when_asked(self, rows, capsys):
        AutoencoderTransformer((4,), verbose=2, **QUICK).fit(rows)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" | ")[0] for line in lines] == ["Epoch: 001/002", "Epoch: 002/002"]
        AutoencoderTransformer((4,), **QUICK).fit(rows)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"hidden": ()}, "expected hidden of 1 to 1000 members, got"),
            ({"hidden": 8}, "expected a tuple of whole numbers for hidden, got 8"),
            ({"hidden": (2.5,)}, "expected hidden to be a whole number, got 2.5"),
            ({"activation": "gelu"}, "activation to be one of"),
            ({"epochs": -1}, "expected epochs from 0 to 2147483647, got -1"),
            ({"epochs": 1.5}, "expected epochs to be a whole number, got 1.5"),
            ({"batch_size": 0}, "expected batch_size from 1 to 2147483647, got 0"),
            ({"learning_rate": float("nan")}, "expected learning_rate from 0 to 3.40282e.38, got nan"),
            ({"learning_rate": "fast"}, "expected learning_rate to be a number, got 'fast'"),
            ({"corrupt": 0.5}, "expected corrupt to be callable"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_refuses_bad_settings(self, rows, settings, message):
        with pytest.raises(InputError, match=message):
            AutoencoderTransformer(**settings).fit(rows)

    def test_refuses_codes_of_another_size(self, fitted):
        with pytest.raises(InputError, match="codes of 12 dimensions, got 5"):
            fitted.inverse_transform(np.zeros((2, 5)))

    def test_refuses_a_range_beyond_the_dtype(self):
        rows = np.array([[-1e308], [1e308]])
        with pytest.raises(InputError, match="range float64 can hold"):
            AutoencoderTransformer((1,), **QUICK).fit(rows)

    def test_names_a_divergence(self, rows):
        def burst(key, row):
            return row + jnp.inf

        with pytest.raises(DivergenceError, match="epoch 1 is not finite"):
            AutoencoderTransformer((4,), corrupt=burst, **QUICK).fit(rows)


class TestOutlierDetector:
    def test_finds_planted_outliers(self, detector, rows):
        strange = np.random.default_rng(0).permuted(rows, axis=1)
        scores = np.concatenate([detector.score_samples(rows), detector.score_samples(strange)])
        truth = np.repeat([1, 0], len(rows))
        assert roc_auc_score(truth, scores) > 0.98  # 1.0 measured
        assert (detector.predict(strange) == -1).mean() > 0.95

    def test_contamination_sets_the_share(self, detector, rows):
        assert (detector.predict(rows) == -1).mean() == pytest.approx(0.05, abs=0.003)
        assert np.array_equal(detector.decision_function(rows) < 0, detector.predict(rows) == -1)

    def test_score_is_the_negated_mean_squared_error(self, detector, rows):
        unit = (rows - rows.min(0)) / np.where(np.ptp(rows, 0) > 0, np.ptp(rows, 0), 1)
        first, last = (detector.parameters_[f"linear_{n}"] for n in (1, 2))
        hidden = unit @ first["kernel"] + first["bias"]
        hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
        decoded = 1 / (1 + np.exp(-(hidden @ last["kernel"] + last["bias"])))
        expected = -((decoded - unit) ** 2).mean(1)
        # float32 against float64: 1e-6 of the largest measured
        assert np.allclose(detector.score_samples(rows), expected, rtol=1e-4, atol=1e-7)

    def test_clones_pickles_and_names_its_settings(self, detector, rows):
        assert copy_of(detector).get_params() == detector.get_params()
        copy = pickle.loads(pickle.dumps(detector))
        assert np.array_equal(copy.decision_function(rows), detector.decision_function(rows))

    @pytest.mark.parametrize("contamination", [0, 0.6, -0.1, float("nan"), "auto"])
    @pytest.mark.usefixtures("unchecked")
    def test_refuses_bad_contamination(self, rows, contamination):
        with pytest.raises(InputError, match=r"expected contamination (from 1e-09 to 0.5|to be a number), got"):
            AutoencoderOutlierDetector(contamination=contamination).fit(rows)
