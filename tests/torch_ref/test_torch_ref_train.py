"""The reference's loops, command and checkpoints; the loops against the post's own script."""

import io
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import torch_ref  # noqa: E402
from torch_ref.train import main  # noqa: E402

LOG_LINE = re.compile(r"Epoch: \d{3}/\d{3} \| Batch \d{3}/\d{3} \| Cost: \d+\.\d{4}")
TRAIN, TEST = 40, 12


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    # On a busy machine OpenMP threads spin for each other: 9 s of tests became 107.
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "arrays.npz"
    generator = np.random.default_rng(0)
    np.savez(
        path,
        train_images=generator.integers(0, 256, (TRAIN, 28, 28, 1), dtype=np.uint8),
        train_labels=(np.arange(TRAIN) % 10).astype(np.int32),
        test_images=generator.integers(0, 256, (TEST, 28, 28, 1), dtype=np.uint8),
        test_labels=(np.arange(TEST) % 10).astype(np.int32),
    )
    return path


def post_script(arrays, kind, replay_1=False):
    """The post's script, written out apart from torch_ref: its log lines and final weights."""
    with np.load(arrays) as archive:
        images = archive["train_images"].reshape(-1, 1, 28, 28).astype(np.float32) / 255
        labels = archive["train_labels"].astype(np.int64)
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    loader = DataLoader(dataset, batch_size=16, shuffle=True)

    def torch_1_batches():
        torch.empty((), dtype=torch.int64).random_()
        for indices in torch.randperm(len(dataset)).split(16):
            yield dataset[indices]

    def leaky(x):
        return F.leaky_relu(x)

    torch.manual_seed(11)
    if kind == "ae":
        linear_1 = torch.nn.Linear(784, 32)
        linear_1.weight.detach().normal_(0.0, 0.1)
        linear_1.bias.detach().zero_()
        linear_2 = torch.nn.Linear(32, 784)
        linear_1.weight.detach().normal_(0.0, 0.1)
        linear_1.bias.detach().zero_()
        layers = [linear_1, linear_2]
    else:
        layers = [
            torch.nn.Conv2d(11, 16, 6, 2),
            torch.nn.Conv2d(16, 32, 4, 2),
            torch.nn.Conv2d(32, 64, 2, 2),
            torch.nn.Linear(256, 50),
            torch.nn.Linear(256, 50),
            torch.nn.Linear(60, 256),
            torch.nn.ConvTranspose2d(64, 32, 2, 2),
            torch.nn.ConvTranspose2d(32, 16, 4, 3, 1),
            torch.nn.ConvTranspose2d(16, 1, 6, 3, 4),
        ]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.003)
    lines = []
    for epoch in range(2):
        batches = torch_1_batches() if replay_1 else loader
        for batch_idx, (features, targets) in enumerate(batches):
            if kind == "ae":
                features = features.view(-1, 784)
                decoded = torch.sigmoid(layers[1](leaky(layers[0](features))))
                cost = F.binary_cross_entropy(decoded, features)
            else:
                onehot = F.one_hot(targets, 10).float()
                planes = torch.ones(len(features), 10, 28, 28) * onehot.view(-1, 10, 1, 1)
                x = torch.cat((features, planes), dim=1)
                for layer in layers[:3]:
                    x = leaky(layer(x))
                mean, log_var = (layer(x.view(-1, 256)) for layer in layers[3:5])
                eps = torch.randn(mean.size(0), mean.size(1))
                z = torch.cat((mean + eps * torch.exp(log_var / 2.0), onehot), dim=1)
                x = layers[5](z).view(-1, 64, 2, 2)
                for layer in layers[6:]:
                    x = leaky(layer(x))
                kl = (0.5 * (mean**2 + torch.exp(log_var) - log_var - 1)).sum()
                cost = kl + F.binary_cross_entropy(torch.sigmoid(x), features, reduction="sum")
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            lines.append(
                "Epoch: %03d/%03d | Batch %03d/%03d | Cost: %.4f"  # noqa: UP031
                % (epoch + 1, 2, batch_idx, len(loader), cost.detach())
            )
        lines.append("Time elapsed: 0.00 min")
    return [*lines, "Total Training Time: 0.00 min"], parameters


def command(kind, arrays, *more):
    return [
        *(kind, "--arrays", str(arrays), "--epochs", "2", "--batch-size", "16"),
        *("--learning-rate", "0.003", "--seed", "11", "--log-every", "1", "--device", "cpu"),
        *more,
    ]


@pytest.mark.parametrize("kind", ["ae", "cvae"])
@pytest.mark.parametrize("replay", [None, "torch", "torch-1"])
def test_prints_the_very_lines_of_the_posts_script(arrays, tmp_path, capsys, kind, replay):
    lines, parameters = post_script(arrays, kind, replay_1=replay == "torch-1")
    more = ["--replay", replay] if replay else []
    assert main(command(kind, arrays, "--save", str(tmp_path / "m.pt"), *more)) == 0
    out, err = capsys.readouterr()
    assert [re.sub(r"\d+\.\d\d min", "0.00 min", line) for line in out.splitlines()] == lines
    assert re.fullmatch(
        r"Test cost: \d+\.\d{4} \| Reconstruction: \d+\.\d{4} \| KL: \d+\.\d{4} "
        rf"\| nats per image, {TEST} images\n",
        err,
    )
    model = torch_ref.load_checkpoint(tmp_path / "m.pt").model
    for mine, expected in zip(model.parameters(), parameters, strict=True):
        assert torch.equal(mine, expected)


def test_replays_differ_from_each_other(arrays, capsys):
    logs = []
    for replay in ("torch", "torch-1", "torch"):
        assert main(command("cvae", arrays, "--replay", replay)) == 0
        logs.append([line for line in capsys.readouterr().out.splitlines() if "Cost" in line])
    assert logs[0] == logs[2]
    assert logs[0] != logs[1]


def test_as_a_process(arrays):
    result = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "torch_ref.train", "ae"),
            *("--arrays", str(arrays), "--epochs", "2", "--batch-size", "16"),
            *("--log-every", "2", "--threads", "1", "--device", "cpu"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [bool(LOG_LINE.fullmatch(line)) for line in lines] == [1, 1, 0, 1, 1, 0, 0]
    assert re.fullmatch(r"Time elapsed: \d+\.\d\d min", lines[2])
    assert re.fullmatch(r"Total Training Time: \d+\.\d\d min", lines[-1])
    assert result.stderr.startswith("Test cost: ")


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (("cvae", "--num-classes", "0"), {"num_classes": 0}),
        (("cvae", "--reconstruct-condition"), {"reconstruct_condition": True}),
        (("cvae", "--num-latent", "3", "--beta", "4"), {"num_latent": 3}),
        (("cvae", "--no-output-leaky-relu"), {"output_leaky_relu": False}),
        (("ae", "--hidden", "20", "4", "--activation", "tanh"), {"num_hidden_1": [20, 4]}),
        (("ae", "--epochs", "0"), {"num_hidden_1": [32]}),
    ],
)
def test_options_reach_the_model(arrays, tmp_path, capsys, options, settings):
    path = tmp_path / "m.pt"
    argv = [*command(options[0], arrays, "--save", str(path)), *options[1:]]
    assert main(argv) == 0
    model = torch_ref.load_checkpoint(path).model
    assert settings.items() <= model.settings.items()
    costs = capsys.readouterr().out.count("Cost")
    assert costs == (0 if options[-2:] == ("--epochs", "0") else 6)


def test_beta_weighs_the_kl_term_of_training_and_evaluation(arrays, capsys):
    costs, results = [], []
    for beta in ("0", "1", "1.0"):
        assert main(command("cvae", arrays, "--beta", beta)) == 0
        out, err = capsys.readouterr()
        costs.append([float(cost) for cost in re.findall(r"Cost: (\S+)", out)])
        results.append([float(number) for number in re.findall(r": (\S+)", err)])
    assert costs[1] == costs[2]
    assert costs[0][0] < costs[1][0]
    for beta, (cost, reconstruction, kl) in zip((0, 1, 1), results, strict=True):
        assert cost == pytest.approx(reconstruction + beta * kl, abs=1e-4)
        assert kl > 0.001


def test_float64_starts_from_the_float32_draws(arrays, tmp_path):
    models = []
    for dtype in ("float32", "float64"):
        path = tmp_path / f"{dtype}.pt"
        argv = command("cvae", arrays, "--dtype", dtype, "--save", str(path), "--epochs", "0")
        assert main(argv) == 0
        models.append(torch_ref.load_checkpoint(path).model)
    for single, double in zip(*(model.parameters() for model in models), strict=True):
        assert double.dtype == torch.float64
        assert torch.equal(single.double(), double)


def test_float64_trains_close_to_float32(arrays, capsys):
    costs = []
    for dtype in ("float32", "float64"):
        assert main(command("cvae", arrays, "--replay", "torch", "--dtype", dtype)) == 0
        out = capsys.readouterr().out
        costs.append([float(cost) for cost in re.findall(r"Cost: (\S+)", out)])
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)  # measured: 2e-7


class TestSteps:
    def test_noise_can_be_passed_in(self):
        results = []
        for eps in (torch.zeros(3, 4), torch.zeros(3, 4), torch.ones(3, 4)):
            torch.manual_seed(0)
            model = torch_ref.ConditionalVariationalAutoencoder(784, 4, 10)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            features, targets = torch.rand(3, 1, 28, 28), torch.tensor([1, 2, 3])
            costs = [torch_ref.train_step_cvae(model, optimizer, features, targets, eps=eps).item() for _ in range(5)]
            assert costs[4] < costs[0]
            results.append(costs)
        assert results[0] == results[1] != results[2]

    def test_autoencoder_step_gives_the_cost_before_it(self):
        model = torch_ref.Autoencoder(784)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        features = torch.rand(3, 784)
        before = torch_ref.autoencoder_cost(model(features), features).item()
        cost = torch_ref.train_step_autoencoder(model, optimizer, features)
        assert cost.item() == before
        assert not cost.requires_grad
        assert torch_ref.autoencoder_cost(model(features), features).item() < before


class TestCheckpoint:
    def test_is_what_people_save(self, arrays, tmp_path):
        path = tmp_path / "m.pt"
        assert main(command("cvae", arrays, "--save", str(path))) == 0
        content = torch.load(path, weights_only=True)
        assert content["epoch"] == 2
        assert "enc_conv_1.weight" in content["model_state_dict"]
        moments = content["optimizer_state_dict"]["state"][0]
        assert moments["step"].item() == 6
        assert moments["exp_avg_sq"].shape == (16, 11, 6, 6)
        assert content["optimizer_state_dict"]["param_groups"][0]["lr"] == 0.003
        assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_training_goes_on_from_it(self, arrays, tmp_path, dtype):
        path = tmp_path / "m.pt"
        assert main(command("ae", arrays, "--save", str(path), "--dtype", dtype)) == 0
        first, second = torch.rand(2, 5, 784, dtype=getattr(torch, dtype))
        ends = []
        for interrupted in (False, True):
            model, optimizer, epoch, loss = torch_ref.load_checkpoint(path)
            assert (epoch, type(loss)) == (2, float)
            torch_ref.train_step_autoencoder(model, optimizer, first)
            if interrupted:
                torch_ref.save_checkpoint(path, model, optimizer, epoch=3, loss=None)
                model, optimizer, epoch, loss = torch_ref.load_checkpoint(path)
                assert (epoch, loss) == (3, None)
            torch_ref.train_step_autoencoder(model, optimizer, second)
            ends.append(list(model.parameters()))
        for one, other in zip(*ends, strict=True):
            assert one.dtype == getattr(torch, dtype)
            assert torch.equal(one, other)

    def test_refuses_to_run_a_pickle(self, tmp_path):
        mark = tmp_path / "ran"

        class Attack:
            def __reduce__(self):
                return os.system, (f"touch {mark}",)

        path = tmp_path / "attack.pt"
        torch.save({"model_state_dict": Attack()}, path)
        with pytest.raises(torch_ref.InputError, match="cannot read") as caught:
            torch_ref.load_checkpoint(path)
        assert "\n" not in str(caught.value)
        assert not mark.exists()
        torch.load(path, weights_only=False)
        assert mark.exists()

    def test_files_of_other_kinds(self, arrays, tmp_path):
        good = tmp_path / "good.pt"
        assert main(command("ae", arrays, "--save", str(good))) == 0
        content = torch.load(good, weights_only=True)
        weights, optimizer = content["model_state_dict"], content["optimizer_state_dict"]
        (first, *_), (group,) = weights, optimizer["param_groups"]

        def with_moments(**other: object) -> dict:
            states = {**optimizer["state"], 0: {**optimizer["state"][0], **other}}
            return {**content, "optimizer_state_dict": {**optimizer, "state": states}}

        first_moment = optimizer["state"][0]["exp_avg"]
        bad = {
            "truncated": good.read_bytes()[:-2000],
            "empty": b"",
            "text": b"weights",
            "pickle": pickle.dumps({"epoch": 1}),
        }
        for name, change in {
            "state_dict": content["model_state_dict"],
            "settings": {**content, "settings": {**content["settings"], "num_hidden_1": [31]}},
            "no_settings": {**content, "settings": {}},
            "model": {**content, "model": "GAN"},
            "no_weights": {**content, "model_state_dict": {}},
            "unhashable": {**content, "model": ["Autoencoder"]},
            "huge": {**content, "settings": {**content["settings"], "num_features": 10**12}},
            "claims": {**content, "model_state_dict": {**weights, first: torch.zeros(1).expand(10**12)}},
            "whole_numbers": {**content, "model_state_dict": {name: one.long() for name, one in weights.items()}},
            "two_kinds": {**content, "model_state_dict": {**weights, first: weights[first].double()}},
            "moments": with_moments(exp_avg=torch.zeros(3)),
            "complex": with_moments(exp_avg=first_moment.to(torch.complex64)),
            "before_the_first_step": with_moments(step=torch.tensor(-1.5)),
            "others": {
                **content,
                "optimizer_state_dict": {**optimizer, "param_groups": [{**group, "params": group["params"][::-1]}]},
            },
            "rate": {**content, "optimizer_state_dict": {**optimizer, "param_groups": [{**group, "lr": "fast"}]}},
            "two_groups": {**content, "optimizer_state_dict": {**optimizer, "param_groups": [group, group]}},
            "epoch": {**content, "epoch": "three"},
        }.items():
            buffer = io.BytesIO()
            torch.save(change, buffer)
            bad[name] = buffer.getvalue()
        for name, data in bad.items():
            path = tmp_path / name
            path.write_bytes(data)
            with pytest.raises(torch_ref.InputError, match=name) as caught:
                torch_ref.load_checkpoint(path)
            assert "\n" not in str(caught.value), name
            assert len(str(caught.value)) < 500

    def test_hostile_pickles(self, tmp_path):
        """What the walk refuses is tested with jaxae's readers of torch files; here, that it is walked."""
        path = tmp_path / "hostile.pt"
        for pickled in (
            b"}(" + b")" + b"\x85" * 1_000_000 + b"K\x01u",
            b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
        ):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x/data.pkl", b"\x80\x02" + pickled + b".")
                archive.writestr("x/version", b"3\n")
            with pytest.raises(torch_ref.InputError, match=r"nests its parts|not written out"):
                torch_ref.load_checkpoint(path)
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(torch_ref.InputError, match="a pipe or a device"):
            torch_ref.load_checkpoint(tmp_path / "pipe.pt")

    def test_loading_draws_nothing_from_the_random_stream(self, arrays, tmp_path):
        path = tmp_path / "m.pt"
        assert main(command("ae", arrays, "--save", str(path))) == 0
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        torch_ref.load_checkpoint(path)
        assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--epochs", "-1"), "--epochs: expected 0 to 2147483647, got -1"),
        (("--epochs", "two"), "--epochs: invalid int value: 'two'"),
        (("--batch-size", "0"), "--batch-size: expected 1 to 2147483647, got 0"),
        (("--batch-size", "41"), "at most the 40 training images, got 41"),
        (("--learning-rate", "-0.1"), "--learning-rate: expected a finite number"),
        (("--learning-rate", "nan"), "--learning-rate: expected a finite number"),
        (("--beta", "-1"), "--beta: expected a finite number"),
        (("--log-every", "0"), "--log-every: expected 1 to"),
        (("--threads", "0"), "--threads: expected 1 to 1024"),
        (("--seed", "-1"), "--seed: expected 0 to"),
        (("--num-latent", "0"), "--num-latent: expected 1 to 2147483647, got 0"),
        (("--num-classes", "-1"), "--num-classes: expected 0 to 2147483647, got -1"),
        (("--num-latent", str(2**31 - 1)), "cannot build a model of this size"),
        (("--num-latent", str(10**30)), "--num-latent: expected 1 to 2147483647"),
        (("--save", "two\nlines/m.pt"), "no such folder"),
        (("--num-classes", "9"), "train labels of 0 to 8 for --num-classes 9, got 0 to 9"),
        (("--num-classes", "0", "--reconstruct-condition"), "num_classes=0"),
        (("--device", "cuda:99"), "there is no 'cuda:99' here, but cpu"),
        (("--device", "abacus"), "there is no 'abacus' here, but cpu"),
        (("--device", "meta"), "there is no 'meta' here, but cpu"),
        (("--dtype", "int8"), "--dtype: invalid choice"),
        (("--replay", "torch-2"), "--replay: invalid choice"),
        (("--replay",), "--replay: expected one argument"),
        (("--frobnicate",), "unrecognized arguments: --frobnicate"),
        (("--data-dir", "."), "--data-dir: not allowed with argument --arrays"),
        (("--save", "nowhere/m.pt"), "no such folder"),
        (("--save", "."), "it is a folder or a disk"),
        (("--learning-rate", "1e30"), "training diverged by epoch 1, batch"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arrays, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    assert main(command("cvae", arrays, "--save", "m.pt", *more)) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    if "diverged" not in message:
        assert not out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: ae|cvae"),
        (["gan"], "invalid choice: 'gan'"),
        (["ae", "--arrays", "absent.npz"], "cannot read absent.npz"),
        (["ae", "--data-dir", "absent"], "no such folder: absent"),
        (["ae", "--data-dir", "."], "no train-images-idx3-ubyte"),
        (["ae", "--arrays", "a.npz", "--beta", "2"], "unrecognized arguments: --beta 2"),
        (["ae", "--arrays", "a.npz", "--hid", "2"], "unrecognized arguments: --hid 2"),
    ],
)
def test_bad_command_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1


def test_a_diverged_run_leaves_the_older_file(arrays, tmp_path, capsys):
    path = tmp_path / "m.pt"
    path.write_bytes(b"older")
    assert main(command("ae", arrays, "--save", str(path), "--learning-rate", "1e38")) == 2
    assert path.read_bytes() == b"older"
    assert "finite" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.npz", "soft", "hard"])
def test_what_is_read_is_not_replaced(arrays, tmp_path, capsys, name):
    source = Path(shutil.copy(arrays, tmp_path / "a.npz"))
    (tmp_path / "soft").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    before = source.read_bytes()
    assert main(command("ae", source, "--save", str(tmp_path / name))) == 2
    assert re.fullmatch(r"error: cannot write .*: .*a\.npz is read\n", capsys.readouterr().err)
    assert source.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_links_permissions_and_devices_stay(arrays, tmp_path):
    (tmp_path / "m.pt").touch(mode=0o640)
    (tmp_path / "m.pt").chmod(0o640)
    (tmp_path / "link").symlink_to("m.pt")
    for path in (tmp_path / "link", Path(os.devnull)):
        assert main(command("ae", arrays, "--epochs", "0", "--save", str(path))) == 0
    assert torch_ref.load_checkpoint(tmp_path / "m.pt").epoch == 0
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "m.pt").stat().st_mode) == 0o640
    assert Path(os.devnull).is_char_device()


def test_a_full_disk_is_one_line(arrays, tmp_path, monkeypatch, capsys):
    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert main(command("ae", arrays, "--save", str(tmp_path / "m.pt"))) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_mnist_needs_no_folder():
    from torch_ref.train import MNIST

    data = torch_ref.load_idx(MNIST)
    assert len(data.train.labels) == 60_000
    assert data.test.labels[:3].tolist() == [7, 2, 1]
