import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from flax import nnx

from jaxae import CONDITIONAL_VAE, InputError, load
from jaxae.data.dataset import Dataset, Split
from jaxae.network.apply import decode
from jaxae.network.models import ConditionalVAE, build
from jaxae.usecases.classifier import Judge, frechet_distance, train_judge
from jaxae.usecases.gallery import draw_gallery
from jaxae.usecases.generate import GenerateSettings, check_request, compare_generation, generate_file, run
from jaxae.usecases.picture import read_pixels
from jaxae.usecases.samplers import Posteriors, RejectionSampler, draw_codes

SCRIPT = REPOSITORY / "scripts" / "generate.py"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def judge(digits) -> Judge:
    return train_judge(digits, steps=150)


@pytest.fixture(scope="module")
def model() -> ConditionalVAE:
    model = build(CONDITIONAL_VAE.replace(num_latent=4).model, rngs=nnx.Rngs(0))
    assert isinstance(model, ConditionalVAE)
    return model


def separated() -> Posteriors:
    """Two classes, each a single narrow Gaussian: at 1 and at -1 in the first dimension."""
    labels = np.array([0, 1], np.int32)
    mean = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    return Posteriors(mean, np.full((2, 2), np.log(0.01), np.float32), labels)


def test_the_judge_knows_real_images_and_not_wrong_labels(judge, digits):
    images, labels = digits.test
    accuracy, frechet = judge.judge(images, labels)
    assert accuracy == judge.accuracy
    assert accuracy > 0.85
    assert abs(frechet) < 1e-3
    assert judge.judge(images, (labels + 1) % 10)[0] < 0.15
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)
    assert judge.judge(noise, labels)[1] > 10


@pytest.mark.usefixtures("unchecked")
def test_frechet_distance_of_known_gaussians():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(50_000, 2)) * [1, 2]
    second = generator.normal(size=(50_000, 2)) * [3, 2] + [0, 1]
    # |m1 - m2|^2 + (1 - 3)^2 = 5; sampling error was 0.02 at most over ten seeds.
    assert frechet_distance(first, second) == pytest.approx(5, abs=0.1)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="one length"):
        frechet_distance(first, second[:, :1])


def test_the_density_ratio_is_exact():
    from scipy.stats import norm

    generator = np.random.default_rng(0)
    mean = generator.normal(size=(6, 3)).astype(np.float32)
    log_var = generator.normal(size=(6, 3)).astype(np.float32)
    posteriors = Posteriors(mean, log_var, np.array([0, 1, 0, 0, 1, 0], np.int32))
    codes = generator.normal(size=(5, 3)).astype(np.float32)
    own = [0, 2, 3, 5]
    mixture = np.mean([norm.pdf(codes, mean[i], np.exp(log_var[i] / 2)).prod(1) for i in own], axis=0)
    wanted = np.log(mixture) - norm.logpdf(codes).sum(1)
    # float32 by a multiplied-out square; 4e-6 measured.
    np.testing.assert_allclose(posteriors.log_ratio(codes, 0), wanted, atol=1e-4)
    assert not np.allclose(posteriors.log_ratio(codes, 1), wanted, atol=0.1)


def test_the_aggregated_posterior_is_that_of_the_label():
    labels = np.array([0, 1] * 500, np.int32)
    codes = separated().draw(labels, np.random.default_rng(0))
    for label, centre in ((0, 1.0), (1, -1.0)):
        own = codes[labels == label]
        assert own.mean(0) == pytest.approx([centre, 0], abs=0.02)
        assert own.std(0) == pytest.approx([0.1, 0.1], abs=0.02)


def test_rejection_keeps_what_the_posterior_covers():
    labels = np.array([0, 1] * 40, np.int32)
    draw = RejectionSampler(separated(), 0.999).draw(labels, np.random.default_rng(0))
    assert draw.codes[labels == 0, 0].mean() == pytest.approx(1, abs=0.1)
    assert draw.codes[labels == 1, 0].mean() == pytest.approx(-1, abs=0.1)
    assert draw.acceptance is not None
    assert 0 < draw.acceptance < 0.05
    prior = draw_codes("prior", labels, separated(), seed=0)
    assert prior.acceptance is None
    assert abs(prior.codes[labels == 0, 0].mean()) < 0.5


def test_rejection_accepts_all_where_posterior_and_prior_agree():
    same = Posteriors(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), np.zeros(3, int))
    draw = RejectionSampler(same).draw(np.zeros(100, np.int32), np.random.default_rng(0))
    assert draw.acceptance == pytest.approx(1, abs=1e-3)


def test_a_label_without_training_images_is_refused():
    for sampler in ("aggregated", "rejection"):
        with pytest.raises(InputError, match="got 2"):
            draw_codes(sampler, np.array([2], np.int32), separated(), seed=0)


def test_samples_go_to_files(model, digits, tmp_path):
    few = Dataset("few", Split(*(array[:60] for array in digits.train)), digits.test, 10)
    picture, arrays = tmp_path / "seven.png", tmp_path / "all.npz"
    generate_file(picture, model, few, sampler="prior", label=7, count=6)
    assert read_pixels(picture).shape == (2 * 28, 3 * 28)
    generate_file(arrays, model, few, sampler="aggregated", label=None, count=12, seed=3)
    with np.load(arrays) as content:
        assert content["images"].shape == (12, 28, 28, 1)
        assert content["images"].dtype == np.uint8
        assert content["labels"].tolist() == [*range(10), 0, 1]
        posteriors = Posteriors.of(model, few.train)
        codes = draw_codes("aggregated", content["labels"], posteriors, seed=3).codes
        again = decode(model, codes, content["labels"])
        assert np.abs(again * 255 - content["images"]).max() < 0.51


def test_what_cannot_be_written_is_refused_before_training(tmp_path):
    for path, label, count, message in (
        (tmp_path / "a.png", 10, 4, "label from 0 to 9, got 10"),
        (tmp_path / "a.png", -1, 4, "got -1"),
        (tmp_path / "a.png", 3, 0, "expected count from 1 to .*, got 0"),
        (tmp_path / "a.jpg", 3, 4, "name ending in"),
        (tmp_path / "none" / "a.png", 3, 4, "folder"),
    ):
        with pytest.raises(InputError, match=message):
            check_request(path, label, count, 10)


def test_the_table_ranks_real_images_apart(model, judge, digits, tmp_path):
    comparison = compare_generation({"untrained": model}, digits, judge, count=100, mixture_components=1)
    rows = {(row.model, row.sampler): row for row in comparison.table.rows}
    assert rows["real training images", "-"].accuracy > 85
    assert rows["untrained", "the prior"].accuracy < 40
    mixture = rows["PCA-50", "a Gaussian mixture of each class"]
    assert mixture.frechet < rows["untrained", "the prior"].frechet
    accuracy = comparison.table.columns[2]
    assert not comparison.table.wins(rows["real training images", "-"], accuracy)
    assert comparison.table.wins(mixture, accuracy)
    draw_gallery(tmp_path / "gallery.png", model, digits, title="untrained")
    assert (tmp_path / "gallery.png").stat().st_size > 10_000


def test_the_script_refuses_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--label", "12", "--out", tmp_path / "x.png"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: expected a label from 0 to 9, got 12\n"
    assert not list(tmp_path.iterdir())


def test_more_samples_than_memory_has_room_for_are_refused_before_data_are_read(tmp_path):
    settings = GenerateSettings(data=str(tmp_path / "none.npz"), count=2**31 - 1)
    with pytest.raises(InputError, match=r"^expected samples within "):
        run(settings)
