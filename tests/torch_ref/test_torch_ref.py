"""The reference's models, costs, data and batches, each against something written apart from it."""

import ast
import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import torch_ref  # noqa: E402
from torch_ref import Autoencoder, ConditionalVariationalAutoencoder, DenseVariationalAutoencoder, InputError  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    # On a busy machine OpenMP threads spin for each other: 9 s of tests became 107.
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images_and_labels(count=12, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 10
    return torch_ref.Split(torch.from_numpy(images), torch.from_numpy(labels))


def cvae(seed=0, **settings):
    torch.manual_seed(seed)
    return ConditionalVariationalAutoencoder(784, 7, settings.pop("num_classes", 10), **settings)


def test_imports_nothing_but_torch_numpy_and_the_standard_library():
    allowed = {"torch", "numpy", *sys.stdlib_module_names}
    for path in Path(torch_ref.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path


class TestAutoencoder:
    def test_draws_in_the_posts_order(self):
        torch.manual_seed(123)
        model = Autoencoder(784)
        after = torch.get_rng_state()

        torch.manual_seed(123)
        linear_1 = torch.nn.Linear(784, 32)
        first = torch.empty(32, 784).normal_(0.0, 0.1)
        linear_2 = torch.nn.Linear(32, 784)
        second = torch.empty(32, 784).normal_(0.0, 0.1)
        assert torch.equal(model.linear_1.weight, second)
        assert not torch.equal(model.linear_1.weight, first)
        assert not torch.equal(model.linear_1.weight, linear_1.weight)
        assert not model.linear_1.bias.any()
        assert torch.equal(model.linear_2.weight, linear_2.weight)
        assert torch.equal(model.linear_2.bias, linear_2.bias)
        assert torch.equal(after, torch.get_rng_state())

    def test_linear_1_is_normal_and_linear_2_keeps_its_default(self):
        model = Autoencoder(784)
        weight = model.linear_1.weight.detach()
        assert weight.mean().abs() < 0.003  # 0.1 / sqrt(25088) is 0.0006
        assert weight.std().item() == pytest.approx(0.1, rel=0.03)
        bound = 1 / 32**0.5
        assert 0.99 * bound < model.linear_2.weight.abs().max() <= bound
        assert model.linear_2.bias.any()

    def test_mirrors_hidden_sizes(self):
        model = Autoencoder(784, (128, 32))
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        assert shapes == {
            "linear_1.weight": (128, 784),
            "linear_1.bias": (128,),
            "linear_2.weight": (32, 128),
            "linear_2.bias": (32,),
            "linear_3.weight": (128, 32),
            "linear_3.bias": (128,),
            "linear_4.weight": (784, 128),
            "linear_4.bias": (784,),
        }
        assert model.linear_1.weight.std().item() == pytest.approx(0.1, rel=0.03)
        assert model.get_parameter("linear_3.bias").any()
        assert model.encoder(torch.rand(5, 784)).shape == (5, 32)

    @pytest.mark.parametrize(
        ("name", "function"),
        [
            ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x)),
            ("relu", lambda x: np.maximum(x, 0)),
            ("tanh", np.tanh),
        ],
    )
    def test_forward_by_hand(self, name, function):
        model = Autoencoder(784, [5, 3], activation=name).double()
        weights = {key: value.numpy() for key, value in model.state_dict().items()}
        features = np.random.default_rng(1).random((4, 784))
        x = features
        for index in (1, 2, 3, 4):
            x = x @ weights[f"linear_{index}.weight"].T + weights[f"linear_{index}.bias"]
            x = function(x) if index < 4 else 1 / (1 + np.exp(-x))
        decoded = model(torch.from_numpy(features)).detach().numpy()
        np.testing.assert_allclose(decoded, x, rtol=1e-12)  # measured: 1e-15

    def test_refuses_nonsense(self):
        with pytest.raises(InputError, match="at least one"):
            Autoencoder(784, [32, 0])
        with pytest.raises(InputError, match="at least one"):
            Autoencoder(784, [])
        with pytest.raises(InputError, match="'gelu'"):
            Autoencoder(784, activation="gelu")


class TestConditionalVAE:
    def test_draws_in_the_posts_order(self):
        model = cvae()
        after = torch.get_rng_state()
        torch.manual_seed(0)
        layers = {
            "enc_conv_1": torch.nn.Conv2d(11, 16, (6, 6), (2, 2), 0),
            "enc_conv_2": torch.nn.Conv2d(16, 32, (4, 4), (2, 2), 0),
            "enc_conv_3": torch.nn.Conv2d(32, 64, (2, 2), (2, 2), 0),
            "z_mean": torch.nn.Linear(256, 7),
            "z_log_var": torch.nn.Linear(256, 7),
            "dec_linear_1": torch.nn.Linear(17, 256),
            "dec_deconv_1": torch.nn.ConvTranspose2d(64, 32, (2, 2), (2, 2), 0),
            "dec_deconv_2": torch.nn.ConvTranspose2d(32, 16, (4, 4), (3, 3), 1),
            "dec_deconv_3": torch.nn.ConvTranspose2d(16, 1, (6, 6), (3, 3), 4),
        }
        assert [name for name, _ in model.named_children()] == list(layers)
        for name, layer in layers.items():
            for key, value in layer.state_dict().items():
                assert torch.equal(model.state_dict()[f"{name}.{key}"], value), f"{name}.{key}"
        assert torch.equal(after, torch.get_rng_state())

    @pytest.mark.parametrize(
        ("settings", "channels"), [({}, 1), ({"num_classes": 0}, 1), ({"reconstruct_condition": True}, 11)]
    )
    def test_shapes(self, settings, channels):
        model = cvae(**settings)
        targets = torch.tensor([3, 0, 9], dtype=torch.int32)
        outputs = model(torch.rand(3, 1, 28, 28), targets)
        shapes = [tuple(output.shape) for output in outputs]
        assert shapes == [(3, 7), (3, 7), (3, 7), (3, channels, 28, 28)]
        assert outputs[3].min() >= 0
        assert outputs[3].max() <= 1

    def test_spatial_sizes(self):
        model = cvae()
        sizes = []
        for layer in model.children():
            layer.register_forward_hook(lambda _m, _i, output: sizes.append(tuple(output.shape)))
        model(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]))
        assert [size[2] for size in sizes if len(size) == 4] == [12, 5, 2, 4, 11, 28]

    def test_plain_vae_takes_no_labels(self):
        model = cvae(num_classes=0)
        assert model.enc_conv_1.in_channels == 1
        assert model.dec_linear_1.in_features == 7
        eps = torch.randn(2, 7)
        features = torch.rand(2, 1, 28, 28)
        unlabelled = model(features, None, eps)[3]
        labelled = model(features, torch.tensor([4, 5]), eps)[3]
        assert torch.equal(unlabelled, labelled)

    def test_the_class_conditions_encoder_and_decoder(self):
        model = cvae()
        features, eps = torch.rand(1, 1, 28, 28).expand(2, 1, 28, 28), torch.zeros(2, 7)
        z_mean, *_, decoded = model(features, torch.tensor([4, 5]), eps)
        assert not torch.equal(z_mean[0], z_mean[1])
        decoded = model.decoder(torch.zeros(2, 7), torch.tensor([4, 5]))
        assert not torch.equal(decoded[0], decoded[1])

    def test_leaky_relu_comes_before_the_sigmoid(self):
        model, without = cvae(), cvae(output_leaky_relu=False)
        logits = []
        model.dec_deconv_3.register_forward_hook(lambda _m, _i, output: logits.append(output))
        encoded, targets = 5 * torch.randn(4, 7), torch.tensor([1, 2, 3, 4])
        decoded = model.decoder(encoded, targets)
        (x,) = logits
        assert x.min() < -0.1
        assert torch.equal(decoded, torch.sigmoid(torch.where(x > 0, x, 0.01 * x)))
        assert torch.equal(without.decoder(encoded, targets), torch.sigmoid(x))
        assert not torch.equal(decoded, torch.sigmoid(x))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_noise_is_float32_from_the_cpu_stream_or_passed_in(self, dtype):
        model = cvae().to(dtype)
        mean, log_var = torch.randn(2, 3, 7, dtype=dtype)
        torch.manual_seed(5)
        drawn = model.reparameterize(mean, log_var)
        torch.manual_seed(5)
        eps = torch.randn(3, 7)
        assert torch.equal(drawn, mean + eps.to(dtype) * torch.exp(log_var / 2))
        state = torch.get_rng_state()
        assert torch.equal(drawn, model.reparameterize(mean, log_var, eps))
        assert torch.equal(state, torch.get_rng_state())

    def test_log_var_is_a_log_variance(self):
        model = cvae()
        mean, log_var = torch.zeros(1, 7), torch.full((1, 7), float(np.log(9.0)))
        z = model.reparameterize(mean, log_var, torch.ones(1, 7))
        torch.testing.assert_close(z, torch.full((1, 7), 3.0))

    def test_refuses_nonsense(self):
        model = cvae()
        targets = torch.tensor([1, 2])
        with pytest.raises(InputError, match=r"\(B, 1, 28, 28\), got \(2, 28, 28, 1\)"):
            model(torch.rand(2, 28, 28, 1), targets)
        with pytest.raises(InputError, match=r"eps of \(2, 7\), got \(1, 7\)"):
            model(torch.rand(2, 1, 28, 28), targets, torch.zeros(1, 7))
        with pytest.raises(InputError, match="expected labels"):
            model(torch.rand(2, 1, 28, 28), None)
        with pytest.raises(InputError, match="num_classes=0"):
            cvae(num_classes=0, reconstruct_condition=True)
        for arguments in ((783, 7, 10), (784, 0, 10), (784, 7, -1)):
            with pytest.raises(InputError):
                ConditionalVariationalAutoencoder(*arguments)


class TestDenseVAE:
    def test_is_the_networks_formula(self):
        torch.manual_seed(0)
        model = DenseVariationalAutoencoder(4, 10, [6, 5])
        layers = dict(model.named_children())
        assert list(layers) == [
            *("enc_linear_1", "enc_linear_2", "z_mean", "z_log_var", "dec_linear_1", "dec_linear_2", "dec_linear_3")
        ]
        images, labels = torch.rand(3, 1, 28, 28), torch.tensor([1, 9, 0])
        eps, onehot = torch.randn(3, 4), torch.nn.functional.one_hot(labels, 10).float()
        mean, log_var, code, decoded = model(images, labels, eps)
        x = torch.cat([images.flatten(1), onehot], 1)
        x = torch.tanh(layers["enc_linear_2"](torch.tanh(layers["enc_linear_1"](x))))
        torch.testing.assert_close(mean, model.z_mean(x))
        torch.testing.assert_close(log_var, model.z_log_var(x))
        z = torch.cat([code, onehot], 1)
        z = layers["dec_linear_3"](torch.tanh(layers["dec_linear_2"](torch.tanh(layers["dec_linear_1"](z)))))
        torch.testing.assert_close(decoded, torch.sigmoid(z).view(3, 1, 28, 28))

    def test_the_default_is_the_literatures(self):
        shapes = {name: tuple(value.shape) for name, value in DenseVariationalAutoencoder().named_parameters()}
        weights = [shape for shape in shapes.values() if len(shape) == 2]
        assert weights == [(200, 784), (200, 200), (50, 200), (50, 200), (200, 50), (200, 200), (784, 200)]

    def test_refuses_nonsense(self):
        for latent, classes, hidden in ((0, 0, [3]), (4, -1, [3]), (4, 0, []), (4, 0, [3, 0])):
            with pytest.raises(InputError):
                DenseVariationalAutoencoder(latent, classes, hidden)
        with pytest.raises(InputError, match="an activation out of"):
            DenseVariationalAutoencoder(activation="sine")


def test_onehot():
    onehot = torch_ref.to_onehot(torch.tensor([2, 0], dtype=torch.int32), 3, "cpu")
    assert onehot.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert onehot.dtype == torch.float32
    assert torch_ref.to_onehot(torch.tensor([2, 0]), 0, "cpu").shape == (2, 0)


class TestCosts:
    def test_autoencoder_cost_is_a_mean_over_batch_and_pixels(self):
        p, t = np.random.default_rng(0).random((2, 3, 5))
        by_hand = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum() / 15
        cost = torch_ref.autoencoder_cost(torch.from_numpy(p), torch.from_numpy(t))
        assert cost.item() == pytest.approx(by_hand, rel=1e-13)

    @pytest.mark.parametrize("beta", [1.0, 0.0, 2.5])
    def test_cvae_cost_is_a_sum_with_beta_on_the_kl_term(self, beta):
        generator = np.random.default_rng(0)
        p, t = generator.random((2, 3, 1, 4, 5))
        mean, log_var = generator.normal(size=(2, 3, 7))
        bce = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()
        kl = 0.5 * (mean**2 + np.exp(log_var) - log_var - 1).sum()
        cost = torch_ref.cvae_cost(*map(torch.from_numpy, (mean, log_var, p, t)), beta=beta)
        assert cost.item() == pytest.approx(bce + beta * kl, rel=1e-13)

    def test_logarithms_are_clamped_at_100(self):
        p, t = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
        assert torch_ref.autoencoder_cost(p, t).item() == pytest.approx(200 / 3)

    def test_shapes_do_not_broadcast(self):
        with pytest.raises(ValueError, match="size"):
            torch_ref.autoencoder_cost(torch.rand(3, 784), torch.rand(1, 784))

    def test_target_of_the_condition_variant(self):
        features, targets = torch.rand(2, 1, 28, 28), torch.tensor([3, 8])
        assert torch_ref.reconstruction_target(cvae(), features, targets) is features
        target = torch_ref.reconstruction_target(cvae(reconstruct_condition=True), features, targets)
        assert target.shape == (2, 11, 28, 28)
        assert torch.equal(target[:, :1], features)
        assert torch.equal(target[:, 1:].mean((2, 3)), F.one_hot(targets, 10).float())
        assert set(target[:, 1:].unique().tolist()) == {0.0, 1.0}


class TestEvaluate:
    def test_is_in_nats_an_image(self):
        split, model = images_and_labels(), cvae()
        eps = torch.randn(12, 7)
        features = split.images.numpy().astype(np.float32) / np.float32(255)
        mean, log_var, _, decoded = model(torch.from_numpy(features), split.labels, eps)
        mean, log_var, p = (x.detach().double().numpy() for x in (mean, log_var, decoded))
        reconstruction = -(features * np.log(p) + (1 - features) * np.log(1 - p)).sum() / 12
        kl = 0.5 * (mean**2 + np.exp(log_var) - log_var - 1).sum() / 12
        result = torch_ref.evaluate(model, *split, eps, beta=2.0, batch_size=5)
        expected = (reconstruction + 2 * kl, reconstruction, kl)
        assert result == pytest.approx(expected, rel=1e-5)  # measured: 1e-7, float32

    def test_autoencoder_is_its_cost_times_the_pixels(self):
        split, model = images_and_labels(), Autoencoder(784)
        result = torch_ref.evaluate(model, split.images)
        features = torch_ref.to_float(split.images).flatten(1)
        cost = torch_ref.autoencoder_cost(model(features), features).item()
        assert result.cost == result.reconstruction == pytest.approx(784 * cost, rel=1e-6)
        assert result.kl == 0

    def test_repeats_and_leaves_the_stream_alone(self):
        split, model = images_and_labels(), cvae()
        state = torch.get_rng_state()
        first = torch_ref.evaluate(model, *split)
        assert torch.equal(state, torch.get_rng_state())
        torch.manual_seed(99)
        assert torch_ref.evaluate(model, *split) == first
        assert torch_ref.evaluate(model, *split, batch_size=5) == pytest.approx(first, rel=1e-5)
        assert torch_ref.evaluate(model, *split, torch.zeros(12, 7)) != first

    def test_refuses_other_images(self):
        with pytest.raises(InputError, match="uint8"):
            torch_ref.evaluate(cvae(), torch.rand(3, 1, 28, 28), torch.zeros(3))


def numpy_order(size, seed, replay):
    """The permutation of the first epoch after `seed`, from NumPy's Mersenne Twister alone."""

    def randperm(random):
        order = np.arange(size)
        for i in range(size - 1):
            j = i + int(random.randint(0, 2**32, dtype=np.uint32)) % (size - i)
            order[i], order[j] = order[j], order[i]
        return order

    random = np.random.RandomState(seed)
    random.randint(0, 2**32, size=2, dtype=np.uint32)
    if replay == "torch-1":
        return randperm(random)
    # Of the 63-bit seed that the sampler draws, the generator keeps the low 32 bits.
    _, low = random.randint(0, 2**32, size=2, dtype=np.uint32)
    return randperm(np.random.RandomState(int(low)))


class TestBatches:
    @pytest.mark.parametrize(("count", "batch_size"), [(12, 5), (12, 4), (7, 7), (300, 64)])
    def test_replay_torch_is_the_installed_dataloader(self, count, batch_size):
        split = images_and_labels(count)
        real = DataLoader(torch_ref.ImageDataset(split), batch_size=batch_size, shuffle=True, num_workers=0)
        replayed = torch_ref.shuffled_batches(split, batch_size, "torch")
        assert len(real) == len(replayed)
        epochs = []
        for batches in (real, replayed):
            torch.manual_seed(3)
            run = []
            for _ in range(3):
                for features, targets in batches:
                    run.append((features, targets, torch.randn(2, 3), torch.get_rng_state()))
            epochs.append(run)
        assert len(epochs[0]) == len(epochs[1]) == 3 * len(real)
        for one, other in zip(*epochs, strict=True):
            for left, right in zip(one, other, strict=True):
                assert left.dtype == right.dtype
                assert torch.equal(left, right)

    @pytest.mark.parametrize("replay", ["torch-1", "torch"])
    @pytest.mark.parametrize("seed", [0, 123])
    def test_order_is_what_numpy_says(self, replay, seed):
        torch.manual_seed(seed)
        np.testing.assert_array_equal(torch_ref.epoch_order(1000, replay), numpy_order(1000, seed, replay))

    def test_torch_1_draws_the_permutation_from_the_global_stream(self):
        split = images_and_labels(300)
        labels = []
        for replay in ("torch-1", "torch-1", "torch"):
            torch.manual_seed(3)
            labels.append(torch.cat([t for _, t in torch_ref.shuffled_batches(split, 64, replay)]))
        assert torch.equal(labels[0], labels[1])
        assert not torch.equal(labels[0], labels[2])
        assert labels[0].sort().values.tolist() == split.labels.sort().values.tolist()

    def test_default_is_the_real_dataloader(self):
        assert isinstance(torch_ref.shuffled_batches(images_and_labels(), 4), DataLoader)

    def test_pixels_are_divided_in_float32(self):
        values = np.arange(256, dtype=np.uint8)
        floats = torch_ref.to_float(torch.from_numpy(values)).numpy()
        np.testing.assert_array_equal(floats, values.astype(np.float32) / np.float32(255))
        assert (floats != values.astype(np.float32) * np.float32(1 / 255)).sum() > 100


def write_idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content += array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_folder(tmp_path):
    """IDX files as torchvision leaves them, one of the four still gzipped."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count, seed in (("train", 12, 0), ("t10k", 6, 1)):
        images, labels = images_and_labels(count, seed)
        suffix = ".gz" if prefix == "train" else ""
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", images[:, 0].numpy())
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels.numpy().astype(np.uint8))
    return folder


class TestData:
    @pytest.mark.parametrize("up", [0, 1, 2])
    def test_idx_folder_and_those_around_it(self, idx_folder, up):
        folder = [idx_folder, *idx_folder.parents][up]
        data = torch_ref.load_idx(folder)
        for split, (count, seed) in zip(data, ((12, 0), (6, 1)), strict=True):
            images, labels = images_and_labels(count, seed)
            assert split.images.dtype == torch.uint8
            assert torch.equal(split.images, images)
            assert split.labels.dtype == torch.int64
            assert torch.equal(split.labels, labels)

    def test_real_mnist(self, mnist_dir):
        data = torch_ref.load_idx(mnist_dir)
        assert data.train.images.shape == (60000, 1, 28, 28)
        assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
        assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]

    def test_ambiguous_folder(self, idx_folder):
        root = idx_folder.parents[1]
        (root / "KMNIST").symlink_to(root / "MNIST")
        with pytest.raises(InputError, match="more than one data set"):
            torch_ref.load_idx(root)

    @pytest.mark.parametrize(
        ("name", "damage", "message"),
        [
            ("train-images-idx3-ubyte.gz", lambda b: b[:-100], "Compressed file ended"),
            ("train-images-idx3-ubyte.gz", lambda b: b"PK" + b[2:], "Not a gzipped file"),
            ("train-images-idx3-ubyte.gz", lambda b: b[:200] + b"\0\0" + b[202:], "cannot read"),
            ("t10k-images-idx3-ubyte", lambda b: b[:-1], "too short|fewer bytes"),
            ("t10k-images-idx3-ubyte", lambda b: b + b"\0", "more bytes"),
            ("t10k-images-idx3-ubyte", lambda b: b[:7], "no IDX file"),
            ("t10k-images-idx3-ubyte", lambda _: b"", "begins with nothing"),
            ("t10k-images-idx3-ubyte", lambda b: b[:4] + b"\xff" * 12 + b[16:], "too short"),
            ("t10k-labels-idx1-ubyte", lambda b: b"\0\0\x0d" + b[3:], "unsigned bytes"),
            ("t10k-labels-idx1-ubyte", lambda b: b[:4] + b"\0\0\0\5" + b[8:-1], "expected 6"),
        ],
    )
    def test_damaged_idx_files(self, idx_folder, name, damage, message):
        path = idx_folder / name
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(InputError, match=message) as caught:
            torch_ref.load_idx(idx_folder)
        assert "\n" not in str(caught.value)

    def test_gzip_header_that_promises_terabytes(self, idx_folder):
        path = idx_folder / "train-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28)))
        with pytest.raises(InputError, match="too short for the shape"):
            torch_ref.load_idx(idx_folder)

    def test_images_of_another_size(self, idx_folder):
        write_idx(idx_folder / "t10k-images-idx3-ubyte", np.zeros((6, 27, 28), np.uint8))
        with pytest.raises(InputError, match=r"got uint8 \(6, 27, 28, 1\)"):
            torch_ref.load_idx(idx_folder)

    def test_missing_file_and_folder(self, idx_folder):
        (idx_folder / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(InputError, match="no t10k-labels-idx1-ubyte"):
            torch_ref.load_idx(idx_folder)
        with pytest.raises(InputError, match="no such folder"):
            torch_ref.load_idx(idx_folder / "nowhere")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"train_images": None}, "train_images is not a file in the archive"),
            ({"train_images": np.zeros((12, 28, 28, 1), np.float32)}, "expected train images"),
            ({"train_images": np.zeros((12, 28, 28), np.uint8)}, "expected train images"),
            ({"test_images": np.zeros((0, 28, 28, 1), np.uint8)}, "expected 0 integer test"),
            ({"test_labels": np.zeros(6, np.float32)}, "integer test labels"),
            ({"test_labels": np.array([{}] * 6)}, "cannot read .* allow_pickle"),
            ({"test_images": np.zeros((0, 28, 28, 1), np.uint8), "test_labels": np.zeros(0, int)}, "test set is empty"),
        ],
    )
    def test_bad_arrays(self, tmp_path, changes, message):
        arrays = {
            "train_images": np.zeros((12, 28, 28, 1), np.uint8),
            "train_labels": np.zeros(12, np.int32),
            "test_images": np.zeros((6, 28, 28, 1), np.uint8),
            "test_labels": np.zeros(6, np.int32),
        }
        np.savez(tmp_path / "good.npz", **arrays)
        assert len(torch_ref.load_arrays(tmp_path / "good.npz").train.labels) == 12
        arrays = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(InputError, match=message) as caught:
            torch_ref.load_arrays(tmp_path / "bad.npz")
        assert "\n" not in str(caught.value)

    def test_files_that_are_no_archive(self, tmp_path):
        np.save(tmp_path / "array.npy", np.zeros(3))
        (tmp_path / "text.npz").write_text("PK? no")
        (tmp_path / "empty.npz").touch()
        np.savez(tmp_path / "cut.npz", train_images=np.zeros((12, 28, 28, 1), np.uint8))
        whole = (tmp_path / "cut.npz").read_bytes()
        (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
        for name in ("array.npy", "text.npz", "empty.npz", "cut.npz", "absent.npz", "."):
            with pytest.raises(InputError) as caught:
                torch_ref.load_arrays(tmp_path / name)
            assert "\n" not in str(caught.value)
