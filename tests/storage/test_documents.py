import json
import os
from pathlib import Path

import pytest

from jaxae import AUTOENCODER, CONDITIONAL_VAE, InputError, bench
from jaxae.config import read_config
from jaxae.parity.printed_log import read_lines
from jaxae.port.source import read_source
from jaxae.storage import documents
from jaxae.storage.files import check_new_folder, read_bytes

PIECES = {
    "": "Expecting value",
    "{": "Expecting",
    '{"a": 1, "a": 2}': "names 'a' twice",
    "[NaN]": "it has NaN",
    "[-Infinity]": "-Infinity",
}
PIECES |= {"[1e999]": "1e999", "[" * 10**6: "nest beyond", '{"a":' * 10**5: "nest beyond", "\0": "Expecting"}
PIECES |= {"[" + "9" * 5000 + "]": "integer string", '"x': "Unterminated"}


@pytest.mark.parametrize("text", PIECES, ids=lambda text: text[:20])
def test_what_is_no_json_is_refused_in_one_line(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=PIECES[text]) as refused:
        documents.read(path)
    told = str(refused.value)
    assert told.startswith("expected sound JSON, got ")
    assert "\n" not in told
    assert len(told) < 500


READERS = [documents.read, read_config, bench.read, read_lines]


@pytest.mark.parametrize("read", READERS, ids=lambda read: f"{read.__module__}.{read.__name__}")
def test_a_pipe_a_device_a_folder_and_what_is_endless_are_refused(read, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xff")
    for path in (*sorted(tmp_path.iterdir()), Path("/dev/zero"), Path("/dev/null"), tmp_path / "none"):
        with pytest.raises(InputError, match=r"^expected "):
            read(path)


def test_a_run_whose_configuration_is_a_pipe_is_no_source_of_weights(tmp_path):
    from flax import nnx

    from jaxae.network.models import build
    from jaxae.network.parameters import parameters_of
    from jaxae.training.run_folder import save_weights

    save_weights(
        tmp_path / "weights.safetensors", AUTOENCODER, parameters_of(build(AUTOENCODER.model, rngs=nnx.Rngs(0)))
    )
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InputError, match="a pipe or a device"):
        read_source(tmp_path)


WRONG = (None, True, -1, 0.5, 10**400, "x", "", [], {}, ["x"], {"x": 1}, [[1]])
PLACES = [
    (part, name)
    for part in ("model", "train")
    for name in (AUTOENCODER.to_json() | {"model": CONDITIONAL_VAE.to_json()["model"]})[part]
]


@pytest.mark.parametrize(("part", "name"), PLACES, ids=".".join)
def test_a_field_of_another_type_is_refused(part, name, tmp_path):
    path = tmp_path / "config.json"
    usual = CONDITIONAL_VAE.to_json()
    refused = taken = 0
    for value in WRONG:
        path.write_text(json.dumps(usual | {part: usual[part] | {name: value}}))
        try:
            config = read_config(path)
        except InputError as error:
            refused += str(error).startswith("expected ") and len(str(error)) < 500
        else:  # a value that the field may have: what is read is what was written
            assert config.to_json()[part][name] == value
            taken += 1
    assert refused + taken == len(WRONG)
    assert refused >= len(WRONG) - 3


@pytest.mark.parametrize("value", [*WRONG, [1, 2], {"model": 1}], ids=lambda value: repr(value)[:20])
def test_a_document_of_another_form_is_refused(value, tmp_path):
    path = tmp_path / "config.json"
    usual = AUTOENCODER.to_json()
    for document in (
        value,
        usual | {"model": value},
        usual | {"train": value},
        {"model": usual["model"], "train": value},
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match=r"^expected "):
            read_config(path)
    if not isinstance(value, str):
        path.write_text(json.dumps(usual | {"data": value}))
        with pytest.raises(InputError, match="expected data to be a str"):
            read_config(path)


def test_a_benchmark_of_another_type_is_refused(tmp_path):
    good = json.loads((Path(__file__).parents[2] / "docs" / "benchmark-cpu.json").read_text())
    path = tmp_path / "benchmark.json"

    def refused(document: object) -> None:
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match=r"^expected a benchmark's result in ") as error:
            bench.read(path)
        assert len(str(error.value)) < 500

    for value in (None, 1, "x", [], [1], {"environment": 1}):
        refused(value)
    for name, value in good["rows"][0].items():
        wrong = "x" if isinstance(value, list) else {"a": 1}
        refused(good | {"rows": [good["rows"][0] | {name: wrong}]})
    refused(good | {"rows": [good["rows"][0] | {"step_ms": 10**400}]})
    settings = good["environment"]["settings"]
    for name in settings:
        refused(good | {"environment": good["environment"] | {"settings": settings | {name: [None]}}})


def test_what_is_longer_than_it_may_be_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="it has more than 4 bytes"):
        read_bytes(tmp_path / "a", 4)


@pytest.mark.parametrize("there", ["folder", "link", "file"])
def test_a_new_folder_must_be_new_and_have_a_place(there, tmp_path):
    check_new_folder(tmp_path / "a" / "b")
    path = tmp_path / there
    if there == "folder":
        path.mkdir()
    elif there == "link":
        path.symlink_to("nowhere")
    else:
        path.touch()
        with pytest.raises(InputError, match=r"expected a folder that can be written to, got"):
            check_new_folder(path / "below")
    with pytest.raises(InputError, match="expected the name of a new folder, got"):
        check_new_folder(path)
