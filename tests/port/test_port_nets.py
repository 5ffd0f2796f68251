"""Networks as public model zoos have them, built in both frameworks: names, flattens, ties."""

import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.config import AutoencoderConfig, ConditionalVAEConfig
from jaxae.errors import InputError
from jaxae.network.models import build
from torch_ref.models import Autoencoder as TorchAutoencoder
from torch_ref.models import ConditionalVariationalAutoencoder

torch.set_num_threads(2)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


def relative(ours: Any, theirs: torch.Tensor) -> float:
    a, b = np.asarray(ours), theirs.detach().numpy()
    b = np.moveaxis(b, 1, -1) if b.ndim == 4 else b
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


class TorchLeNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = torch.nn.Conv2d(6, 16, 5)
        self.fc1 = torch.nn.Linear(16 * 5 * 3, 120)
        self.fc2 = torch.nn.Linear(120, 84)
        self.fc3 = torch.nn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class LeNet(nnx.Module):
    def __init__(self, channels_last: bool = True, dtype: Any = jnp.float32):
        more = {"rngs": nnx.Rngs(0), "param_dtype": dtype}
        self.conv1 = nnx.Conv(1, 6, (5, 5), padding=2, **more)
        self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", **more)
        self.fc1 = nnx.Linear(16 * 5 * 3, 120, **more)
        self.fc2 = nnx.Linear(120, 84, **more)
        self.fc3 = nnx.Linear(84, 10, **more)
        self.channels_last = channels_last

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        x = (x if self.channels_last else x.transpose(0, 3, 1, 2)).reshape(len(x), -1)
        return self.fc3(nnx.relu(self.fc2(nnx.relu(self.fc1(x)))))


FLAT = {"fc1": (16, 5, 3)}


@pytest.mark.parametrize("channels_last", [True, False])
def test_lenet_with_both_orders_of_flattening(x64, channels_last):
    theirs = TorchLeNet().double()
    ours = nnx.eval_shape(lambda: LeNet(channels_last, jnp.float64))
    flatten: Any = FLAT if channels_last else "CHW"
    port.from_torch(ours, theirs, flatten=flatten)
    x = images(3, 28, 20, 1)
    expected = theirs(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    assert relative(ours(jnp.asarray(x)), expected) < 1e-13  # measured 4e-16
    back = port.to_torch(ours, flatten=flatten, like=theirs)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())
    port.from_torch(ours, theirs, flatten="CHW" if channels_last else FLAT)
    assert relative(ours(jnp.asarray(x)), expected) > 1e-2  # the wrong order: same shapes


@pytest.mark.parametrize("port_of", [port.from_torch, lambda ours, _: port.to_torch(ours)])
def test_a_flatten_that_shapes_cannot_tell_is_an_error(port_of):
    with pytest.raises(
        InputError,
        match=r"'fc1' takes 240 features, 15 for each of the 16 channels"
        r" of 'conv2'",
    ) as caught:
        port_of(LeNet(), TorchLeNet())
    assert "fc2" not in str(caught.value)
    assert "fc3" not in str(caught.value)


@pytest.mark.parametrize(
    ("flatten", "why"),
    [
        ({"fc1": (16, 5, 4)}, "'fc1' has 240 features, which are not"),
        ({"fc9": (16, 5, 3)}, "'fc9' is no layer"),
        ({"fc1": "HWC"}, "which are not the"),
        ({"conv1": (1, 1)}, "'conv1' (Conv) has no flat features"),
        ("HWC", "expected flatten to be 'CHW' or a mapping"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_flatten_that_cannot_be(flatten, why):
    with pytest.raises(InputError, match=re.escape(why)):
        port.from_torch(LeNet(), TorchLeNet(), flatten=flatten)


class TorchVAE(torch.nn.Module):
    """Sequentials with functions between, and a decoder that reshapes to an image."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 4, 2, 1),
            torch.nn.BatchNorm2d(8),
            torch.nn.LeakyReLU(0.01),
            torch.nn.Conv2d(8, 12, 4, 2, 1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
        )
        self.fc_mu = torch.nn.Linear(12 * 3 * 2, 5)
        self.fc_var = torch.nn.Linear(12 * 3 * 2, 5)
        self.decoder_input = torch.nn.Linear(5, 12 * 3 * 2)
        self.decoder = torch.nn.Sequential(
            torch.nn.Unflatten(1, (12, 3, 2)),
            torch.nn.ConvTranspose2d(12, 8, 3, 2, 1, 1),
            torch.nn.ReLU(),
            torch.nn.ConvTranspose2d(8, 1, 3, 2, 1, 1),
        )

    def forward(self, x):
        x = self.encoder(x)
        return self.decoder(self.decoder_input(self.fc_mu(x) + self.fc_var(x)))


class VAE(nnx.Module):
    def __init__(self):
        more: Any = {"rngs": nnx.Rngs(0), "param_dtype": jnp.float64}
        norm = nnx.BatchNorm(8, momentum=0.9, use_running_average=True, **more)
        self.encoder = nnx.Sequential(
            nnx.Conv(1, 8, (4, 4), 2, padding=1, **more),
            norm,
            nnx.leaky_relu,
            nnx.Conv(8, 12, (4, 4), 2, padding=1, **more),
            nnx.relu,
        )
        self.fc_mu = nnx.Linear(72, 5, **more)
        self.fc_var = nnx.Linear(72, 5, **more)
        self.decoder_input = nnx.Linear(5, 72, **more)
        up: Any = {"padding": [(1, 2), (1, 2)], "transpose_kernel": True, **more}
        self.decoder = nnx.Sequential(
            nnx.ConvTranspose(12, 8, (3, 3), 2, **up), nnx.relu, nnx.ConvTranspose(8, 1, (3, 3), 2, **up)
        )

    def __call__(self, x):
        x = self.encoder(x).reshape(len(x), -1)
        x = self.decoder_input(self.fc_mu(x) + self.fc_var(x))
        return self.decoder(x.reshape(len(x), 3, 2, 12))


ORDERS: Any = {"flatten": {"fc_mu": (12, 3, 2), "fc_var": (12, 3, 2)}, "unflatten": {"decoder_input": (12, 3, 2)}}


@pytest.fixture
def vaes(x64):
    theirs = TorchVAE().double()
    theirs(torch.from_numpy(images(8, 1, 12, 8)))  # moves the running statistics
    return theirs.eval(), nnx.eval_shape(VAE)


def check_vae(theirs: Any, ours: Any) -> None:
    x = images(2, 12, 8, 1)
    expected = theirs(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    assert relative(ours(jnp.asarray(x)), expected) < 1e-13


def test_conv_vae_with_sequential_numbers(vaes):
    theirs, ours = vaes
    report = port.from_torch(ours, theirs, **ORDERS)
    check_vae(theirs, ours)
    assert any("decoder: layers [0, 2] paired in order with torch's [1, 3]" in note for note in report.notes)
    back = port.to_torch(ours, like=theirs, carried=report.carried, **ORDERS)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())
    assert list(back) == list(theirs.state_dict())


@pytest.mark.parametrize("left_out", ["flatten", "unflatten"])
def test_each_unsaid_order_is_asked_for(vaes, left_out):
    theirs, ours = vaes
    said = {key: value for key, value in ORDERS.items() if key != left_out}
    with pytest.raises(InputError) as caught:
        port.from_torch(ours, theirs, **said)
    asked = re.findall(r"(\w+)={'(\w+)'", str(caught.value))
    assert asked == [(left_out, name) for name in ORDERS[left_out]]


def test_wrappers_prefixes(vaes):
    theirs, ours = vaes
    port.from_torch(ours, torch.nn.DataParallel(theirs), **ORDERS)
    check_vae(theirs, ours)
    state = theirs.state_dict()
    compiled = {f"_orig_mod.module.{name}": one for name, one in state.items()}
    ours = nnx.eval_shape(VAE)
    report = port.from_torch(ours, compiled, **ORDERS)
    check_vae(theirs, ours)
    back = port.to_torch(ours, like=compiled, carried=report.carried, **ORDERS)
    assert list(back) == list(compiled)
    inner = {name.replace("encoder.", "encoder._orig_mod."): one for name, one in state.items()}
    port.from_torch(nnx.eval_shape(VAE), inner, **ORDERS)
    with pytest.raises(InputError, match="one tensor named"):
        port.from_torch(nnx.eval_shape(VAE), {**state, **compiled}, **ORDERS)


def test_merged_modules_have_lost_their_order_but_torch_keeps_it(vaes):
    """nnx.merge sorts attributes; the flatten is still asked of the right layers."""
    theirs, ours = vaes
    merged = nnx.merge(*nnx.split(ours))
    with pytest.raises(InputError) as caught:
        port.from_torch(merged, theirs)
    assert re.findall(r"'(\w+)' (?:takes|gives)", str(caught.value)) == ["fc_mu", "fc_var", "decoder_input"]
    port.from_torch(merged, theirs, **ORDERS)
    check_vae(theirs, merged)


def test_files_of_ours_keep_the_order_of_declaration(vaes, tmp_path):
    """A safetensors file sorts its tensors; what the layers' order tells is in its metadata."""
    theirs, ours = vaes
    port.from_torch(ours, theirs, **ORDERS)
    path = tmp_path / "vae.safetensors"
    port.save(path, ours, layout="torch", like=theirs, **ORDERS)
    merged = nnx.merge(*nnx.split(ours))
    with pytest.raises(InputError) as caught:
        port.from_torch(merged, path)
    assert re.findall(r"'(\w+)' (?:takes|gives)", str(caught.value)) == ["fc_mu", "fc_var", "decoder_input"]


def test_dcgan_halves(x64):
    more: Any = {
        "use_bias": False,
        "rngs": nnx.Rngs(0),
        "param_dtype": jnp.float64,
        "kernel_init": nnx.initializers.zeros,
    }
    norm: Any = {"momentum": 0.9, "use_running_average": True, "rngs": nnx.Rngs(0), "param_dtype": jnp.float64}
    generator = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(7, 12, 4, 1, 0, bias=False),
        torch.nn.BatchNorm2d(12),
        torch.nn.ReLU(True),
        torch.nn.ConvTranspose2d(12, 6, 4, 2, 1, bias=False),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(True),
        torch.nn.ConvTranspose2d(6, 3, 4, 2, 1, bias=False),
        torch.nn.Tanh(),
    )
    ours = nnx.Sequential(
        nnx.ConvTranspose(7, 12, (4, 4), padding=3, transpose_kernel=True, **more),
        nnx.BatchNorm(12, **norm),
        nnx.relu,
        nnx.ConvTranspose(12, 6, (4, 4), 2, padding=2, transpose_kernel=True, **more),
        nnx.BatchNorm(6, **norm),
        nnx.relu,
        nnx.ConvTranspose(6, 3, (4, 4), 2, padding=2, transpose_kernel=True, **more),
        nnx.tanh,
    )
    code = images(2, 7, 1, 1)
    theirs = generator.double()
    theirs(torch.from_numpy(code))
    port.from_torch(ours, theirs.eval())
    got = ours(jnp.asarray(np.moveaxis(code, 1, -1)))
    assert relative(got, theirs(torch.from_numpy(code))) < 1e-13

    judge = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 4, 2, 1, bias=False),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Conv2d(6, 8, 4, 2, 1, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.LeakyReLU(0.2),
        torch.nn.Conv2d(8, 1, 4, 1, 0, bias=False),
        torch.nn.Sigmoid(),
    ).double()
    ours = nnx.Sequential(
        nnx.Conv(3, 6, (4, 4), 2, padding=1, **more),
        lambda x: nnx.leaky_relu(x, 0.2),
        nnx.Conv(6, 8, (4, 4), 2, padding=1, **more),
        nnx.BatchNorm(8, **norm),
        lambda x: nnx.leaky_relu(x, 0.2),
        nnx.Conv(8, 1, (4, 4), padding="VALID", **more),
        nnx.sigmoid,
    )
    report = port.from_torch(ours, judge.eval().state_dict())
    assert len(report.assumed) == 4
    expected = judge(theirs(torch.from_numpy(code)))
    assert relative(ours(got), expected) < 1e-13


@pytest.mark.parametrize("classes", [10, 0])
def test_the_projects_own_models_port_by_layer_type_alone(classes):
    theirs: Any = ConditionalVariationalAutoencoder(784, 5, classes).eval()
    ours: Any = build(ConditionalVAEConfig(5, classes), rngs=nnx.Rngs(0))
    port.from_torch(ours, theirs)
    x, eps = images(3, 1, 28, 28).astype("f"), images(3, 5).astype("f")
    label = np.array([1, 0, 9]) if classes else None
    expected = theirs(torch.from_numpy(x), None if label is None else torch.from_numpy(label), torch.from_numpy(eps))
    got = ours(jnp.asarray(x).transpose(0, 2, 3, 1), label, eps=jnp.asarray(eps))
    pairs = zip((got.mean, got.log_var, got.code, got.reconstruction), expected, strict=True)
    for one, two in pairs:
        assert relative(one, two) < 2e-6  # float32; measured 3e-7
    autoencoder = build(AutoencoderConfig(hidden=(32, 8)), rngs=nnx.Rngs(0))
    port.from_torch(autoencoder, TorchAutoencoder(784, (32, 8)))


def test_names_by_mapping_and_function():
    class Ours(nnx.Module):
        def __init__(self):
            self.first = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
            self.rest = nnx.List([nnx.Linear(4, 4, rngs=nnx.Rngs(0)) for _ in range(2)])

    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)
    )
    both = {"rest": "", "first": "0"}
    with pytest.raises(InputError, match=r"missing|two variables of the NNX module claim"):
        port.from_torch(Ours(), theirs, names=both)  # three numbers for two layers
    mapping = {"first": "0", "rest.0": "2", "rest.1": "4"}
    ours = Ours()
    port.from_torch(ours, theirs, names=mapping)
    assert np.array_equal(ours.rest[1].kernel[...], theirs.get_parameter("4.weight").detach().numpy().T)
    other = Ours()
    port.from_torch(other, theirs, names=lambda path: mapping[path])
    assert jnp.array_equal(other.rest[0].kernel[...], ours.rest[0].kernel[...])
    leaf = {**mapping, "first.bias": "bias_of_first"}
    state = theirs.state_dict()
    state["bias_of_first"] = state.pop("0.bias")
    port.from_torch(Ours(), state, names=leaf)
    with pytest.raises(InputError, match="'second', which is no layer"):
        port.from_torch(Ours(), theirs, names={**mapping, "second": "6"})
    with pytest.raises(InputError, match="expected the function of names to return a path, got None"):
        port.from_torch(Ours(), theirs, names=cast("Any", lambda path: None))
    with pytest.raises(InputError, match="two variables of the NNX module claim"):
        port.from_torch(Ours(), theirs, names={**mapping, "rest.1": "2"})


def test_every_fault_is_named_at_once_and_nothing_changes():
    ours = LeNet()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(ours)))
    state = TorchLeNet().state_dict()
    state["conv1.wieght"] = state.pop("conv1.weight")
    state["fc2.bias"] = torch.zeros(3)
    state["extra"] = torch.zeros(2)
    del state["fc3.bias"]
    with pytest.raises(InputError) as caught:
        port.from_torch(ours, state, flatten=FLAT)
    message = str(caught.value)
    for part in (
        "missing 'conv1.weight' (6, 1, 5, 5) for conv1.kernel (did you mean",
        "unexpected 'conv1.wieght'",
        "mis-shaped 'fc2.bias': expected (84,)",
        "missing 'fc3.bias' (10,)",
        "unexpected 'extra' (2,)",
    ):
        assert part in message
    assert "\n" not in message
    after = nnx.to_pure_dict(nnx.state(ours))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))


def test_ignored_tensors_are_reported():
    state = {**TorchLeNet().state_dict(), "head.weight": torch.zeros(2), "head.bias": torch.zeros(2)}
    report = port.from_torch(LeNet(), state, flatten=FLAT, ignore=["head.*"])
    assert "'head.bias' is ignored, as asked" in report.notes
    with pytest.raises(InputError, match="no tensor matches"):
        port.from_torch(LeNet(), TorchLeNet(), flatten=FLAT, ignore="tail.*")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (torch.nn.utils.parametrizations.weight_norm, "remove_parametrizations"),
        (torch.nn.utils.parametrizations.spectral_norm, "remove_parametrizations"),
    ],
)
def test_reparametrised_weights_are_refused(change, why):
    theirs = torch.nn.Sequential(change(torch.nn.Linear(3, 3)))
    ours = nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=why):
        port.from_torch(ours, theirs)
    with pytest.raises(InputError, match=why):
        port.from_torch(ours, theirs.state_dict())


def linear_state(**changes: Any) -> dict[str, Any]:
    return {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)} | changes


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"weight_orig": torch.zeros(2, 3), "bias": torch.zeros(2)}, "'weight_orig' is refused"),
        ({"weight_g": torch.zeros(2, 1), "weight_v": torch.zeros(2, 3)}, "remove_weight_norm"),
        (linear_state(weight=torch.zeros(2, 3).to_sparse()), "'weight' is sparse"),
        (linear_state(weight=torch.zeros(2, 3, device="meta")), "'weight' has no data"),
        (linear_state(weight=torch.zeros(2, 3, dtype=torch.complex64)), "'weight' is complex"),
        (linear_state(weight=torch.zeros(2, 3, dtype=torch.int8)), "'weight' is int8"),
        (linear_state(weight=torch.zeros(2, 3, dtype=torch.float8_e4m3fn)), "float8_e4m3fn"),
        (linear_state(weight=[[0.0] * 3] * 2), "'weight' is no tensor but list"),
        (linear_state(_extra_state={"a": 1}), "'_extra_state' is no tensor but dict"),
        (linear_state(zero_point=torch.ones(())), "quantised"),
        ({}, "missing 'weight'"),
        ({"a": {"weight": torch.zeros(2)}, "b": {"weight": torch.zeros(2)}}, "one state_dict"),
        ({"epoch": 3}, "expected a state_dict"),
        (3, "expected a torch module"),
    ],
)
def test_tensors_that_cannot_be_ported(state, why):
    with pytest.raises(InputError, match=re.escape(why)):
        port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), state)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_a_tensor_that_has_no_address_is_refused():
    with pytest.raises(InputError, match=r"'weight' is sparse \(sparse_csr\)"):
        port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), linear_state(weight=torch.zeros(2, 3).to_sparse_csr()))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*")
def test_quantised_tensors_are_refused():
    quantised = torch.quantize_per_tensor(torch.zeros(2, 3), 1.0, 0, torch.qint8)
    with pytest.raises(InputError, match="'weight' is quantised"):
        port.from_torch(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), linear_state(weight=quantised))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept_bit_by_bit(dtype):
    theirs = torch.nn.Linear(3, 2).to(getattr(torch, dtype))
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    port.from_torch(ours, theirs)
    assert ours.kernel.dtype == dtype
    back = port.to_torch(ours)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())
    assert back["weight"].dtype == getattr(torch, dtype)
    port.from_torch(ours, theirs, dtype=jnp.float32)
    assert ours.kernel.dtype == jnp.float32
    assert port.to_torch(ours, dtype="bfloat16")["weight"].dtype == torch.bfloat16


def test_float64_is_refused_without_x64_rather_than_rounded():
    ours = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    theirs = torch.nn.Linear(3, 2).double()
    with pytest.raises(InputError, match=r"'weight' is float64, which JAX would round: enable x64"):
        port.from_torch(ours, theirs)
    port.from_torch(ours, theirs, dtype="float32")
    assert ours.kernel.dtype == jnp.float32


def test_nan_is_ported_with_a_warning():
    theirs, ours = torch.nn.Linear(3, 2), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    theirs.weight.data[1, 2] = torch.nan
    with pytest.warns(UserWarning, match="NaN in 'weight'"):
        report = port.from_torch(ours, theirs)
    assert "NaN in 'weight'" in report.notes[0]
    assert jnp.isnan(ours.kernel[...][2, 1])
    with pytest.warns(UserWarning, match="NaN in 'weight'"):
        port.to_torch(ours)


def test_no_memory_is_shared():
    theirs, ours = torch.nn.Linear(64, 64), nnx.Linear(64, 64, rngs=nnx.Rngs(0))
    port.from_torch(ours, theirs)
    kept = np.array(ours.kernel[...])
    theirs.weight.data.zero_()
    assert np.array_equal(ours.kernel[...], kept)
    back = port.to_torch(ours)
    back["weight"].zero_()
    assert np.array_equal(ours.kernel[...], kept)
    arrays = {"weight": np.ones((64, 64), np.float32), "bias": np.ones(64, np.float32)}
    port.from_torch(ours, arrays)
    arrays["bias"][:] = 0
    assert ours.bias is not None
    assert np.array_equal(ours.bias[...], np.ones(64))


class TorchTied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.up = torch.nn.Linear(4, 4)
        self.again = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.again.weight, self.again.bias = self.up.weight, self.up.bias


class Tied(nnx.Module):
    """Its head is `embed.attend`, its second layer the first one again."""

    def __init__(self):
        self.embed = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
        self.up = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.again = self.up


def test_tied_weights_stay_tied():
    theirs, ours = TorchTied(), Tied()
    report = port.from_torch(ours, theirs)
    assert any("'head.weight' is the same tensor as 'embed.weight'" in note for note in report.notes)
    assert ours.again.kernel is ours.up.kernel
    back = port.to_torch(ours, like=theirs)
    assert back["head.weight"].data_ptr() == back["embed.weight"].data_ptr()
    assert back["again.weight"].data_ptr() == back["up.weight"].data_ptr()
    again = TorchTied()
    again.load_state_dict(back)
    assert torch.equal(again.head.weight, theirs.head.weight)


def test_ties_that_one_side_lacks():
    class Untied(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
            self.up = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.again = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.head = nnx.Linear(4, 5, use_bias=False, rngs=nnx.Rngs(0))

    with pytest.raises(InputError, match=r"'embed\.weight' and 'head\.weight' are one tensor in torch"):
        port.from_torch(Untied(), TorchTied())
    report = port.from_torch(Untied(), TorchTied(), untie=True)
    assert any("untie=True" in note for note in report.notes)
    loose = {name: one.clone() for name, one in TorchTied().state_dict().items()}
    del loose["head.weight"]
    port.from_torch(Tied(), loose)  # equal, though apart
    loose["again.bias"] = loose["again.bias"] + 1
    with pytest.raises(InputError, match=r"'up\.bias' and 'again\.bias' differ"):
        port.from_torch(Tied(), loose)
    del loose["again.bias"], loose["again.weight"]
    port.from_torch(Tied(), loose)  # a file that keeps one of two tied names


def test_one_layer_does_not_fill_a_stack():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.fc = nnx.Linear(4, 4, rngs=rngs)

    stacked = nnx.vmap(Block, in_axes=0, out_axes=0)(nnx.Rngs(0).split(3))
    why = r"missing 'fc\.0\.weight' \(4, 4\)"
    with pytest.raises(InputError, match=why):  # though a single layer's kernel would broadcast
        port.from_torch(stacked, {"fc.weight": torch.ones(4, 4), "fc.bias": torch.ones(4)})


def test_abstract_modules_are_filled():
    ours = nnx.eval_shape(LeNet)
    theirs = TorchLeNet()
    with pytest.raises(InputError, match="is abstract"):
        port.to_torch(ours, flatten=FLAT)
    port.from_torch(ours, theirs, flatten=FLAT)
    x = images(2, 28, 20, 1).astype("f")
    assert relative(ours(x), theirs(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))) < 2e-6


def test_to_torch_that_does_not_fit():
    like = TorchLeNet().state_dict()
    like["fc3.weight"] = torch.zeros(9, 84)
    like["fc4.bias"] = like.pop("fc3.bias")
    with pytest.raises(InputError) as caught:
        port.to_torch(LeNet(), flatten=FLAT, like=like)
    for part in (
        "mis-shaped 'fc3.weight': torch has (9, 84), Flax gives (10, 84)",
        "missing 'fc4.bias' (10,) of torch's",
        "unexpected 'fc3.bias' (10,)",
    ):
        assert part in str(caught.value)


@pytest.mark.usefixtures("unchecked")
def test_what_describes_or_carries_nothing_is_refused():
    """What no tensor is read for is refused like what is."""
    linear = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="weights that port to torch, got: names has 'second', which is no layer"):
        port.describe(linear, names={"second": "6"})
    with pytest.raises(InputError, match=r"expected an nnx\.Module, got Linear"):
        port.from_torch(cast("Any", torch.nn.Linear(3, 2)), linear_state())
    with pytest.raises(InputError, match="'num_batches_tracked' is carried, but the module has no such layer"):
        port.to_torch(linear, carried={"num_batches_tracked": np.array(3)})
    with pytest.raises(InputError, match="'' is Bilinear in torch"):
        port.to_torch(linear, like=torch.nn.Bilinear(3, 3, 2))


def test_the_report_is_a_table():
    text = str(port.describe(LeNet(), TorchLeNet().state_dict(), flatten=FLAT))
    lines = text.splitlines()
    assert lines[0].split() == ["torch", "shape", "pattern", "flax", "shape", "dtype"]
    assert "outputs inputs ... -> ... inputs outputs" in lines[1]
    assert any(line.startswith("assumed: conv1: stride (1, 1)") for line in lines)
