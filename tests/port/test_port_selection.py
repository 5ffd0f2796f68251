"""Which tensors of a source are meant: one state_dict of several, names below a prefix, what is left as it is."""

import json
from typing import Any

import jax
import numpy as np
import pytest
import torch
from commands.flags import main_of
from flax import nnx
from safetensors.torch import save_file

from jaxae import port
from jaxae.errors import InputError
from jaxae.port.source import read_source
from jaxae.port.torch_checkpoint import weights_of
from torch_ref.models import Autoencoder


class Ours(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(4, 2, rngs=nnx.Rngs(1))


class Theirs(torch.nn.Module):
    def __init__(self, classes: int = 2, buffers: bool = False):
        super().__init__()
        self.fc = torch.nn.Linear(3, 4)
        self.head = torch.nn.Linear(4, classes)
        if buffers:
            self.register_buffer("pe", torch.randn(5, 4))
            self.register_buffer("ids", torch.arange(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.fc(x)))


def ported(ours: Ours, theirs: torch.nn.Module) -> bool:
    return np.array_equal(ours.fc.kernel[...], theirs.state_dict()["fc.weight"].numpy().T)


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model", "model_ema"),
        ("netG", "netD"),
        ("models.generator", "models.discriminator"),
        ("state_dict", "ema.shadow"),
    ],
)
def test_several_state_dicts_are_named_and_one_is_asked_for(tmp_path, first, second, as_file):
    networks = {first: Theirs(), second: Theirs()}
    content: Any = {
        "epoch": 3,
        "loss": torch.tensor(0.3),
        "optimizer": torch.optim.SGD(Theirs().parameters()).state_dict(),
    }
    for name, network in networks.items():
        above, _, last = name.rpartition(".")
        (content.setdefault(above, {}) if above else content)[last] = network.state_dict()
    if as_file:
        torch.save(content, tmp_path / "x.pt")
        content = tmp_path / "x.pt"
    both = rf"got '{first}' \(4 tensors, fc.weight, ...\) and '{second}' \(4 .*weights='{first}'"
    with pytest.raises(InputError, match=both) as caught:
        port.from_torch(Ours(), content)
    assert len(str(caught.value)) < 500
    for name, network in networks.items():
        ours = Ours()
        port.from_torch(ours, content, weights=name)
        assert ported(ours, network)
        assert len(port.describe(ours, content, weights=name).rows) == 4
    with pytest.raises(InputError, match=f"out of '{first}', '{second}', got 'nonesuch'"):
        port.from_torch(Ours(), content, weights="nonesuch")


def test_mappings_of_tensors_that_are_no_weights_ask_nothing():
    state = Theirs().state_dict()
    for beside in ({"scale": torch.ones(())}, {"acc": np.float64(0.5)}, {}, {"class": torch.ones(3)}):
        assert weights_of({"net": state, "more": beside}) is state
        assert weights_of({"generator": state, "weights": beside}) is state


def test_a_state_dict_is_named_for_a_source_that_has_one_alone(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(Theirs().state_dict(), path)
    with pytest.raises(InputError, match="expected no weights= beside a source of one state_dict, got 'ema'"):
        port.from_torch(Ours(), path, weights="ema")


@pytest.mark.parametrize("prefix", ["student", "student.", "module.student", "student.backbone"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_networks_below_a_prefix(prefix, wrapped):
    student, teacher = Theirs(), Theirs()
    inner = "backbone." if prefix.endswith("backbone") else ""
    start = "module." if wrapped or prefix.startswith("module") else ""
    state = {f"{start}student.{inner}{name}": one for name, one in student.state_dict().items()}
    state |= {f"{start}teacher.{inner}{name}": one for name, one in teacher.state_dict().items()}
    state |= {f"{start}center": torch.zeros(1, 3)}
    with pytest.raises(InputError, match="prefix='") as caught:
        port.from_torch(Ours(), state)
    assert "teacher" in str(caught.value)
    ours = Ours()
    report = port.from_torch(ours, state, prefix=prefix)
    assert ported(ours, student)
    assert any("left aside" in note and "(4), " in note for note in report.notes)
    with pytest.raises(InputError, match=r"whose names begin with 'pupil\.', got "):
        port.from_torch(Ours(), state, prefix="pupil")


@pytest.mark.parametrize("listed", [False, True])
def test_the_optimizer_of_a_checkpoint_with_several_state_dicts(listed):
    theirs = Theirs()
    optimizer = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    ours = Ours()
    port.from_torch(ours, theirs)
    held: Any = {"optimizer_states": [optimizer.state_dict()]} if listed else {"optimizer": optimizer.state_dict()}
    averaged = torch.optim.swa_utils.AveragedModel(theirs).state_dict()
    expected = port.optimizer_from_torch(ours, optimizer, theirs)
    other = {"netD": torch.nn.Linear(9, 9).state_dict()}
    sources: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"model": theirs.state_dict(), "ema": averaged}, {}),
        ({"model": theirs.state_dict(), **other}, {"weights": "model"}),
    ]
    for content, options in sources:
        moved = port.optimizer_from_torch(ours, {**content, **held}, kind="Adam", **options)
        assert jax.tree.all(jax.tree.map(np.array_equal, moved.state, expected.state))
    with pytest.raises(InputError, match=r"got 'model' .* and 'netD' .*: say which, weights='model'"):
        port.optimizer_from_torch(ours, {"model": theirs.state_dict(), **other, **held})


def test_a_part_of_a_module():
    whole = torch.nn.ModuleDict({"student": Theirs(), "teacher": Theirs()})
    ours = Ours()
    port.from_torch(ours, whole, prefix="teacher")
    assert ported(ours, whole["teacher"])
    with pytest.raises(InputError, match="prefix of a part of the torch module, got 'pupil'"):
        port.from_torch(ours, whole, prefix="pupil")


@pytest.mark.parametrize("inner", ["", "model."])
def test_averaged_models_there_and_back(tmp_path, inner):
    theirs = Theirs()
    network = torch.nn.ModuleDict({"model": theirs}) if inner else theirs
    averaged = torch.optim.swa_utils.AveragedModel(network)
    averaged.update_parameters(network)
    torch.save({"swa": averaged.state_dict()}, tmp_path / "x.pt")
    for source in (averaged, averaged.state_dict(), tmp_path / "x.pt")[bool(inner) :]:
        ours = Ours()
        report = port.from_torch(ours, source)
        assert ported(ours, theirs)
        assert int(report.carried["n_averaged"]) == 1
        back = port.to_torch(ours, like=averaged.state_dict(), carried=report.carried)
        assert list(back) == list(averaged.state_dict())
        averaged.load_state_dict(back)
        port.to_torch(ours, carried=report.carried)


def test_a_new_head_keeps_its_values():
    theirs = Theirs(classes=7)
    ours, before = Ours(), Ours()
    state = {name: one for name, one in theirs.state_dict().items() if not name.startswith("head")}
    with pytest.raises(InputError, match=r"missing=\('head.kernel', 'head.bias'\) keeps what the NNX module has"):
        port.from_torch(ours, state)
    for patterns in (("head.*",), "head.*", ("head.kernel", "head.bias"), ("head.weight", "head.bias")):
        report = port.from_torch(ours, state, missing=patterns)
        assert ported(ours, theirs)
        assert np.array_equal(ours.head.kernel[...], before.head.kernel[...])
        assert [note for note in report.notes if "keeps its value" in note] == [
            "'head.kernel' keeps its value, as asked",
            "'head.bias' keeps its value, as asked",
        ]
        assert [row.flax for row in report.rows] == ["fc.kernel", "fc.bias"]
    with pytest.raises(InputError, match=r"'head.weight' is there, though missing= keeps 'head.kernel': ignore="):
        port.from_torch(ours, theirs, missing=["head.*"])
    for source in (theirs, theirs.state_dict()):
        port.from_torch(ours, source, missing=["head.*"], ignore=["head.*"])
    with pytest.raises(InputError, match="missing has 'tail', which no variable matches"):
        port.from_torch(ours, state, missing=["tail", "head.*"])
    with pytest.raises(InputError, match=r"'head\.kernel' is abstract: it has no value to keep"):
        port.from_torch(nnx.eval_shape(Ours), state, missing="head.*")


def test_a_new_layer_is_not_asked_for_its_order():
    ours = nnx.Sequential(
        nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0)), lambda x: x.reshape(len(x), -1), nnx.Linear(18, 2, rngs=nnx.Rngs(0))
    )
    theirs = torch.nn.Conv2d(1, 2, 3, padding="same")
    port.from_torch(ours, {f"0.{name}": one for name, one in theirs.state_dict().items()}, missing="layers.2.*")


def test_buffers_are_named_as_what_they_are_and_left_as_they_are():
    theirs = Theirs(buffers=True)
    kinds = r"unexpected 'pe' \(5, 4\), a buffer, no parameter; unexpected 'ids' \(5,\), a buffer, no parameter; "
    with pytest.raises(InputError, match=kinds + r"ignore=\('pe', 'ids'\) leaves aside"):
        port.from_torch(Ours(), theirs)
    with pytest.raises(InputError, match=r"unexpected 'pe' \(5, 4\); unexpected 'ids' \(5,\), a buffer"):
        port.from_torch(Ours(), theirs.state_dict())
    ours = Ours()
    report = port.from_torch(ours, theirs, ignore=["pe", "ids"])
    assert "'pe' is ignored, as asked" in report.notes
    with pytest.raises(InputError, match=r"missing 'pe' \(5, 4\) of torch's.*ignore= leaves it as it is"):
        port.to_torch(ours, like=theirs)
    back = port.to_torch(ours, like=theirs, ignore=["pe", "ids"])
    assert list(back) == list(theirs.state_dict())
    assert torch.equal(back["pe"], theirs.get_buffer("pe"))
    theirs.load_state_dict(back)
    back["pe"] += 1  # a copy
    assert not torch.equal(back["pe"], theirs.get_buffer("pe"))
    with pytest.raises(InputError, match="ignore has 'mask', which no tensor matches"):
        port.to_torch(ours, like=theirs, ignore=["pe", "ids", "mask"])


def test_a_head_that_torch_lacks_is_left_out():
    ours = Ours()
    like = {name: one for name, one in Theirs().state_dict().items() if not name.startswith("head")}
    with pytest.raises(InputError, match=r"unexpected .head\.weight."):
        port.to_torch(ours, like=like)
    assert list(port.to_torch(ours, like=like, ignore="head.*")) == ["fc.weight", "fc.bias"]
    assert list(port.to_torch(ours, ignore="head.*")) == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("sharded", [False, True])
def test_directories_of_transformers(tmp_path, ending, sharded):
    theirs = Theirs()
    state = dict(theirs.state_dict())
    stem = "model" if ending == "safetensors" else "pytorch_model"

    def save(part: dict[str, torch.Tensor], name: str) -> None:
        if ending == "safetensors":
            save_file(part, tmp_path / name, metadata={"format": "pt"})
        else:
            torch.save(part, tmp_path / name)

    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    if sharded:
        names = [f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)]
        save({name: one for name, one in state.items() if "fc" in name}, names[0])
        save({name: one for name, one in state.items() if "head" in name}, names[1])
        index = {"metadata": {}, "weight_map": {name: names["head" in name] for name in state}}
        (tmp_path / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    else:
        save(state, f"{stem}.{ending}")
    ours = Ours()
    port.from_torch(ours, tmp_path)
    assert ported(ours, theirs)


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ('{"weight_map": {"a": "../x.safetensors"}}', "names of files beside .*index.json, got '../x.safetensors'"),
        ('{"weight_map": {"a": 3}}', "names of files beside .*, got '3'"),
        ('{"weight_map": {}}', "without one"),
        ('{"weight_map": [1]}', "without one"),
        ("[]", "an index with a weight_map"),
        ("{", "an index with a weight_map"),
        ('{"weight_map": {"a": "none.safetensors"}}', "none.safetensors"),
        ('{"weight_map": {"a": "there.safetensors"}}', "expected 'a' in .*there.safetensors, as its index says"),
    ],
)
def test_indices_that_lie(tmp_path, index, why):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    save_file({"b.weight": torch.ones(2)}, tmp_path / "there.safetensors")
    with pytest.raises(InputError, match=why):
        read_source(tmp_path)


@pytest.mark.parametrize("name", ["weights.pkl", "weights", "weights.safetensors", "weights.tar", "weights.pt.backup"])
def test_a_files_content_tells_what_it_is(tmp_path, name):
    state = Theirs().state_dict()
    for new in (True, False):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=new)
        assert list(read_source(tmp_path / name).tensors) == list(state)
    save_file(state, tmp_path / name)
    assert set(read_source(tmp_path / name).tensors) == set(state)
    (tmp_path / name).write_text("no weights")
    with pytest.raises(InputError):
        read_source(tmp_path / name)


@pytest.mark.parametrize("kind", ["lightning", "averaged", "wrapped"])
def test_the_projects_models_are_known_in_other_checkpoints(tmp_path, kind):
    theirs = Autoencoder(20, 4)
    averaged = torch.optim.swa_utils.AveragedModel(theirs).state_dict()
    state = {
        "lightning": {f"model.{name}": one for name, one in theirs.state_dict().items()},
        "averaged": averaged,
        "wrapped": {f"model.{name}": one for name, one in averaged.items() if "." in name},
    }[kind]
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "a.ckpt")
    main_of("port_weights")(tmp_path / "a.ckpt", tmp_path / "b.safetensors", verify=True)
    arrays = read_source(tmp_path / "b.safetensors").tensors
    assert np.array_equal(arrays["linear_1.kernel"], theirs.state_dict()["linear_1.weight"].numpy().T)
