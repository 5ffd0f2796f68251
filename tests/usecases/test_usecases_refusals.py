"""What a use case does not take is refused in one line, before anything is read or trained that it would be for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx
from sklearn.exceptions import NotFittedError

from jaxae import AUTOENCODER, CONDITIONAL_VAE, InputError, bounds, load
from jaxae.data.dataset import Dataset, Split
from jaxae.network.models import Autoencoder, build
from jaxae.storage import npz
from jaxae.storage.extra import extra
from jaxae.usecases import anomaly, denoise, generate, model_source, pretrain, published, reduce
from jaxae.usecases.compress.code_tables import CodeTables, DamagedPayloadError
from jaxae.usecases.compress.codec import CODEC_FILE, Codec, load_codec, prepare
from jaxae.usecases.compress.container import MAGIC, VERSION, unpack
from jaxae.usecases.compress.files import (
    CompressSettings,
    DecompressSettings,
    compress_file,
    decompress_file,
    open_codec,
)
from jaxae.usecases.compress.files import run as run_compress
from jaxae.usecases.denoise_file import denoise_file
from jaxae.usecases.estimators import AutoencoderOutlierDetector, AutoencoderTransformer
from jaxae.usecases.image_quality import pooled_psnr
from jaxae.usecases.model_source import UseCaseSettings
from jaxae.usecases.novelty import threshold
from jaxae.usecases.picture import read_pixels

BEFORE = Path(__file__).parent / "compressed_before"
WIDE = (99_999_999,)
CUT = MAGIC + bytes([VERSION])


def few() -> Dataset:
    digits = load("digits")
    return Dataset("digits", Split(*(array[:200] for array in digits.train)), digits.test, 10)


def never(*_: Any, **__: Any) -> Any:
    pytest.fail("it began")


# Each is refused before the functions named here are called.
LATER = {
    anomaly: ("load_or_train", "BASELINES"),
    denoise: ("load_or_train", "principal_components"),
    pretrain: ("load_or_train",),
    published: ("fit_many", "load_models", "replay_published"),
    reduce: ("load_or_train", "encode"),
}
TOO_LARGE = {
    "an autoencoder of anomalies": (
        anomaly,
        lambda: anomaly.run(anomaly.AnomalySettings(data="digits", hidden=WIDE)),
        "expected a model within",
    ),
    "a VAE of anomalies": (
        anomaly,
        lambda: anomaly.run(anomaly.AnomalySettings(data="digits", num_latent=10**9)),
        "expected a model within",
    ),
    "a denoiser": (
        denoise,
        lambda: denoise.run(denoise.DenoiseSettings(data="digits", hidden=WIDE)),
        "expected a model within",
    ),
    "steps of fine-tuning": (
        pretrain,
        lambda: pretrain.run(pretrain.PretrainSettings(data="digits", steps=2**31 - 1)),
        "expected steps within",
    ),
    "starts of fine-tuning": (
        pretrain,
        lambda: pretrain.run(pretrain.PretrainSettings(data="digits", steps=1, seeds=10**8)),
        "expected 150000000 models within",
    ),
    "seeds of published figures": (
        published,
        lambda: published.run(published.PublishedSettings(data="digits", parts=("forest",), seeds=10**8)),
        "expected 100000000 models within",
    ),
    "samples of published figures": (
        published,
        lambda: published.run(published.PublishedSettings(data="digits", parts=("likelihood",), samples=2**31 - 1)),
        "expected samples within",
    ),
    "a code": (
        reduce,
        lambda: reduce.run(reduce.ReduceSettings(data="digits", hidden=WIDE)),
        "expected a model within",
    ),
    "a code that PCA has not": (
        reduce,
        lambda: reduce.reduce(few(), reduce.ReduceSettings(sizes=(2, 201))),
        "expected a code of at most 200 dimensions, as PCA has, got 201",
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_is_too_large_is_refused_before_anything_is_trained(case, monkeypatch):
    module, run, message = TOO_LARGE[case]
    for name in LATER[module]:
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(bounds, "host_memory", lambda: 10**11)
    with pytest.raises(InputError, match=message):
        run()


def test_a_runs_code_that_pca_has_not_is_refused():
    rows = np.zeros((5, 784), np.float32)
    with pytest.raises(InputError, match="expected a code of at most 5 dimensions, as PCA has, got 6"):
        reduce._by_pca(6, rows, rows, 0)


SETTINGS = {
    "a picture without a file": (lambda: denoise.DenoiseSettings(image=Path("a.png")), "both --image and --out"),
    "a file without a picture": (lambda: denoise.DenoiseSettings(out=Path("a.png")), "both --image and --out"),
    "a picture of all corruptions": (
        lambda: denoise.DenoiseSettings(image=Path("a.png"), out=Path("b.png")),
        "expected the --corruption that --image suffers from, got all",
    ),
    "a run and a pretrained model": (
        lambda: UseCaseSettings(run_dir=Path("a"), pretrained="ae-mnist").model_dir,
        "expected --run-dir or --pretrained, got both",
    ),
    "a contamination": (lambda: threshold(np.zeros(3, np.float32), 1.0), "expected contamination above 0"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_go_together_are_refused(case):
    make, message = SETTINGS[case]
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.usefixtures("unchecked")
def test_measures_compare_shapes():
    with pytest.raises(InputError, match="expected images"):
        pooled_psnr(np.zeros((2, 3, 3), np.uint8), np.zeros((1, 3, 3), np.uint8))


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"expected the package nothing, got none: pip install 'jaxae\[usecases\]'"):
        extra("jaxae.nothing", "nothing")


def test_outputs_are_tried_before_data_are_read(tmp_path):
    nowhere, absent = tmp_path / "none" / "x", str(tmp_path / "absent.npz")
    for run in (
        lambda: UseCaseSettings(data=absent, json=nowhere).open(1),
        lambda: published.run(published.PublishedSettings(data=absent, json=nowhere)),
        lambda: run_compress(CompressSettings(source=Path(absent), destination=nowhere)),
        lambda: run_compress(DecompressSettings(source=Path(absent), destination=nowhere)),
    ):
        with pytest.raises(InputError, match="none"):
            run()


def test_a_denoised_picture_has_a_name_that_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(denoise, "load_or_train", never)
    settings = denoise.DenoiseSettings(
        data="digits", corruption="gaussian", image=tmp_path / "in.png", out=tmp_path / "out.xyz"
    )
    with pytest.raises(InputError, match="expected a picture's name to write"):
        denoise.run(settings)


def test_a_picture_is_not_denoised_in_its_own_place(tmp_path):
    shutil.copy(BEFORE / "six.npy", tmp_path / "in.png")
    model = build(AUTOENCODER.model, rngs=nnx.Rngs(0))
    assert isinstance(model, Autoencoder)
    with pytest.raises(InputError, match="expected another file to write than those to read"):
        denoise_file(tmp_path / "in.png", tmp_path / "in.png", model, tiles=False)


def test_an_estimator_beyond_memory_or_before_fit_is_refused(monkeypatch):
    monkeypatch.setattr(bounds, "host_memory", lambda: 10**11)
    with pytest.raises(InputError, match="expected a model within"):
        AutoencoderTransformer((2**31 - 1,)).fit(np.eye(5))
    for call in (
        AutoencoderTransformer().transform,
        AutoencoderTransformer().inverse_transform,
        AutoencoderOutlierDetector().score_samples,
    ):
        with pytest.raises(NotFittedError):
            call(np.eye(32))


class TestSamples:
    def test_their_number_is_tried_before_data_are_read(self, tmp_path):
        settings = generate.GenerateSettings(data=str(tmp_path / "absent.npz"), count=2**31 - 1)
        with pytest.raises(InputError, match="expected samples within"):
            generate.run(settings)

    @pytest.mark.parametrize("name", ["a.npy", "a.jpg"])
    def test_their_file_is_tried_before_a_model_is_loaded(self, name, monkeypatch, tmp_path):
        monkeypatch.setattr(generate, "load_or_train", never)
        with pytest.raises(InputError, match="expected a name ending in"):
            generate.run(generate.GenerateSettings(data="digits", out=tmp_path / name))

    def test_a_model_of_other_classes_is_refused(self, tmp_path):
        settings = generate.GenerateSettings(data="digits", pretrained="vae-mnist", out=tmp_path / "a.png")
        with (
            pytest.warns(UserWarning, match="trained on mnist"),
            pytest.raises(InputError, match="on the 10 classes of digits, got one of 0"),
        ):
            generate.run(settings)


def test_costs_are_of_mnist_alone():
    with pytest.raises(InputError, match="expected mnist, of which the printed costs are, got digits"):
        published.run(published.PublishedSettings(data="digits", parts=("costs",)))


@pytest.mark.parametrize(("name", "message"), [("ae-mnist", "runs of plain VAEs"), ("cvae-mnist", "conditioned on 10")])
def test_a_likelihood_is_of_plain_vaes(name, message):
    folder = model_source.model_card(name).folder
    settings = published.PublishedSettings(data="digits", parts=("likelihood",), runs=(folder,), samples=1, images=1)
    with pytest.raises(InputError, match=message):
        published.run(settings)


class TestCompressed:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        return Path(shutil.copytree(BEFORE, tmp_path / "run"))

    def test_a_run_without_tables(self, folder):
        (folder / CODEC_FILE).unlink()
        with pytest.raises(InputError, match=f"expected a codec's tables, got no .*{CODEC_FILE}"):
            load_codec(folder)

    def test_tables_of_another_model_name_their_file(self, folder):
        tables = load_codec(folder).tables
        few = CodeTables(tables.width[1:], tables.lowest[1:], tables.counts[1:])
        npz.write(folder / CODEC_FILE, few.to_arrays())
        with pytest.raises(InputError, match=f"-dimensional code, got others in .*{CODEC_FILE}"):
            load_codec(folder)

    def test_a_model_of_classes(self):
        model = build(CONDITIONAL_VAE.model, rngs=nnx.Rngs(0))
        with pytest.raises(InputError, match="got one conditioned on 10 classes"):
            Codec.of(CONDITIONAL_VAE, model, load_codec(BEFORE).tables)

    def test_data_of_other_images(self):
        model = build(AUTOENCODER.model, rngs=nnx.Rngs(0))
        split = Split(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int32))
        with pytest.raises(
            InputError, match="expected data of grey images of 28x28, in which files are cut, got 8x8x3"
        ):
            prepare(AUTOENCODER, model, Dataset("own", split, split, 1, ("a",)))

    def test_a_folder_of_data_beside_the_path_that_a_run_has(self, folder, tmp_path):
        (tmp_path / "own").mkdir()
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "data": str(tmp_path / "own")}))
        with pytest.raises(InputError, match="expected no data_dir beside the path of the data"):
            open_codec(folder, data_dir=tmp_path)

    def test_a_model_that_is_nowhere(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="which made the file; in runs there is no codec"):
            decompress_file(BEFORE / "six.jxae", tmp_path / "out.npy")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match=r"expected a compressed file, got .*absent: No such file"):
            decompress_file(tmp_path / "absent", tmp_path / "out.npy", BEFORE)

    def test_an_output_in_the_place_of_an_input(self, tmp_path):
        codec = load_codec(BEFORE)
        for name in ("six.npy", "six.jxae"):
            shutil.copy(BEFORE / name, tmp_path)
        with pytest.raises(InputError):
            compress_file(tmp_path / "six.npy", tmp_path / "six.npy", codec, step=8)
        with pytest.raises(InputError):
            decompress_file(tmp_path / "six.jxae", tmp_path / "six.jxae", BEFORE)
        assert (tmp_path / "six.jxae").read_bytes() == (BEFORE / "six.jxae").read_bytes()

    @pytest.mark.parametrize("tail", [b"", b"12345678" + b"\xff" * 10, b"12345678" + b"\x01" * 3 + b"\x7f"])
    def test_a_header_that_ends_early_or_never(self, tail):
        with pytest.raises(InputError, match="which is truncated"):
            unpack(CUT + tail, "it")

    @pytest.mark.parametrize("content", [b"", b"PNG?", b"PNG?" + bytes(40)])
    def test_what_is_none(self, content):
        with pytest.raises(InputError, match="expected a file that jaxae compressed, got it, which is none"):
            unpack(content, "it")

    def test_a_payload_that_no_coder_wrote(self):
        tables = load_codec(BEFORE).tables
        with pytest.raises(DamagedPayloadError):
            tables.decode(bytes(8), 1, 9)

    @pytest.mark.usefixtures("unchecked")
    def test_pixels_of_another_kind(self):
        codec = load_codec(BEFORE)
        for pixels, message in (
            (np.zeros((28, 28), np.float32), "expected uint8 pixels, got float32"),
            (np.zeros((2, 8, 8), np.uint8), r"expected an image \[h, w\]"),
        ):
            with pytest.raises(InputError, match=message):
                codec.compress(pixels, 8)  # pyright: ignore[reportArgumentType]


def test_a_picture_of_several_frames_is_refused(tmp_path):
    from PIL import Image

    frames = [Image.new("L", (4, 4), grey) for grey in (0, 255)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"^expected one image, got .* of 2 frames"):
        read_pixels(tmp_path / "two.tif")


@pytest.mark.usefixtures("unchecked")
def test_a_path_is_a_path():
    with pytest.raises(InputError, match="an image or array file"):
        read_pixels(3)  # pyright: ignore[reportArgumentType]
