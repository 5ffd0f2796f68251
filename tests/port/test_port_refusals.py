"""What the ports refuse: layers, tensors, files, each with what is said of it."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from jaxae import InputError, port
from jaxae.port import directory
from jaxae.port.file_to_file import make_network, port_file
from jaxae.port.flatten import Permutation
from jaxae.port.linen.view import viewed
from jaxae.port.optimizer.transformations import scale_by_torch_amsgrad, scale_by_torch_rss
from jaxae.port.source import read_source
from jaxae.port.spelled import spelled_options
from jaxae.port.trial import read_inputs
from jaxae.port.users_code import call_factory, named
from jaxae.port.weights import assign

T = torch.nn
RNGS = nnx.Rngs(0)


def linear(**more: Any) -> nnx.Linear:
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0), **more)


LAYERS: dict[str, tuple[Any, str]] = {
    "weights of each part of a batch": (partial(nnx.LinearGeneral, 3, 2, batch_axis={0: 4}), "its batch_axis gives"),
    "another dot_general": (partial(nnx.LinearGeneral, 3, 2, dot_general=jax.lax.dot_general), "its dot_general is"),
    "another einsum": (
        partial(nnx.Einsum, "ab,bc->ac", (3, 2), einsum_op=lambda *given, **more: jnp.einsum(*given, **more)),
        "its einsum_op is its own",
    ),
    "a residual cell": (partial(nnx.SimpleCell, 3, 3, residual=True), "torch's cell adds no residual"),
    "another activation": (partial(nnx.SimpleCell, 3, 2, activation_fn=nnx.sigmoid), "neither torch's tanh nor"),
    "norms of inputs": (
        lambda rngs: nnx.WeightNorm(nnx.Linear(3, 2, rngs=rngs), feature_axes=0, rngs=rngs),
        "scales each output of the kernel, and nothing else",
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_of_no_counterpart_are_refused(case):
    make, message = LAYERS[case]
    with pytest.raises(InputError, match=f"is refused: .*{message}"):
        port.to_torch(make(rngs=RNGS))


class Merged(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base_layer = T.Linear(5, 4)
        self.lora_A = T.ModuleDict({"default": T.Linear(5, 2, bias=False)})
        self.lora_B = T.ModuleDict({"default": T.Linear(2, 4, bias=False)})
        self.scaling = {"default": 1.0}
        self.merged = True


def test_merged_low_ranks_are_refused():
    with pytest.raises(InputError, match="merged into the kernel: unmerge them first"):
        port.from_torch(nnx.LoRALinear(5, 4, lora_rank=2, rngs=RNGS), Merged())


def test_a_lazy_layer_is_told_once():
    lazy = T.LazyLinear(2)
    with pytest.raises(InputError, match="'weight' has no shape yet") as caught:
        port.from_torch(linear(), lazy)
    assert str(caught.value).count("'weight'") == 1
    with pytest.raises(InputError, match="'weight' has no shape yet"):
        port.to_torch(linear(), like=lazy)
    with pytest.raises(InputError, match="expected a torch module that has its weights, got: 'weight' has no shape"):
        port.from_torch(linear(), lazy, inputs=(4, 3))


def test_what_is_ignored_must_be_a_tensor_that_can_be_copied():
    like = T.Linear(3, 2).state_dict() | {"mask": torch.eye(3).to_sparse()}
    with pytest.raises(InputError, match="'mask' is sparse"):
        port.to_torch(linear(), like=like, ignore="mask")


def test_an_order_that_is_no_permutation_is_refused():
    ours = nnx.Sequential(linear())
    with pytest.raises(InputError, match="3 features, of which the order given is no permutation"):
        port.to_torch(ours, flatten={"layers.0": Permutation((0, 1, 1))})


def test_a_factory_of_something_else_is_refused():
    with pytest.raises(InputError, match=r"OrderedDict to make a torch\.nn\.Module, got OrderedDict"):
        make_network("collections:OrderedDict")


def test_an_index_beyond_its_bounds_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    monkeypatch.setattr(directory, "_LARGEST_INDEX", 9)
    with pytest.raises(InputError, match="expected an index of less than 9 bytes"):
        read_source(tmp_path)


def test_a_file_that_cannot_be_read_is_of_no_kind():
    unreadable = Path("/proc/self/mem")
    if not unreadable.is_file():
        pytest.skip("has no file of that kind")
    assert directory.kind_of(unreadable) is None


def test_inputs_are_numbers():
    with pytest.raises(InputError, match="expected arrays of numbers, got input 1 of <U1"):
        read_inputs((np.zeros(3), np.array(["a"])))


def test_a_variable_that_takes_no_value_leaves_all_as_they_were():
    class Full(nnx.Param):
        def set_value(self, value: Any, **_: Any) -> None:
            if np.any(np.asarray(value)):
                raise MemoryError

    one, two = nnx.Param(jnp.zeros(3)), Full(jnp.zeros(3))
    with pytest.raises(MemoryError):
        assign([(one, np.ones(3, np.float32)), (two, np.ones(3, np.float32))])
    assert not np.any(np.asarray(one.get_value()))


def test_a_disk_that_is_full_at_the_end_of_a_file_is_told(tmp_path, monkeypatch):
    def save(*_: Any) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos")  # noqa: B904

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(InputError, match="No space left on device"):
        port.save(tmp_path / "x.pt", linear())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("made", [scale_by_torch_amsgrad(0.9, 0.999, 1e-8), scale_by_torch_rss(0.1, 1e-8)])
def test_a_state_of_another_transformation_is_refused(made, unchecked):
    with pytest.raises(TypeError, match=r"expected a ScaleBy\w+, got EmptyState"):
        made.update({"a": jnp.zeros(3)}, optax.EmptyState())


def test_names_of_fewer_parameters_than_the_optimizer_has_are_refused():
    theirs = T.Linear(3, 2)
    state = torch.optim.SGD(theirs.named_parameters(), 0.1).state_dict()
    state["param_groups"][0]["param_names"] = ["weight"]
    with pytest.raises(InputError, match="expected an optimizer of the 1 parameters, got one of 2"):
        port.optimizer_from_torch(linear(), state, theirs, kind="SGD")


def test_a_file_of_a_big_endian_machine_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save(T.Linear(3, 2).state_dict(), path, _use_new_zipfile_serialization=False)
    little = b"X\x0d\x00\x00\x00little_endian"
    content, count = re.subn(re.escape(little) + b"(q.)\x88", little + rb"\1" + b"\x89", path.read_bytes(), flags=re.S)
    assert count == 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="it was written on a big-endian machine"):
        read_source(path)


def test_a_device_is_no_torch_file(tmp_path):
    (tmp_path / "x.pt").symlink_to("/dev/null")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        read_source(tmp_path / "x.pt")


@pytest.mark.usefixtures("unchecked")
def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match="expected a file of weights that a file can be called"):
        read_source("a\0b.pt")


def test_results_of_other_numbers_of_arrays_are_told():
    with pytest.raises(InputError, match="Flax's result has 1 arrays, torch's 2"):
        port.from_torch(linear(), T.Linear(3, 2), inputs=(4, 3), torch_call=lambda module, x: (module(x), module(x)))


def test_a_result_that_only_the_first_weights_give_is_told():
    seen: list[torch.Tensor] = []

    def call(module: T.Linear, x: torch.Tensor) -> torch.Tensor:
        seen.append(module.weight.detach().clone())
        return module(x) if module.weight.equal(seen[0]) else -module(x)

    with pytest.raises(InputError, match="layers that are alike stand for each other in no way that was tried"):
        port.from_torch(linear(), T.Linear(3, 2), inputs=(4, 3), torch_call=call)


def test_a_variable_that_no_path_leads_to_is_refused():
    class Own(nnx.Module):
        def __init__(self) -> None:
            self.table = nnx.data({("a", "b"): nnx.Param(jnp.zeros(3))})

    with pytest.raises(InputError, match="no row says what"):
        port.to_torch(Own())


def test_a_strangers_network_is_not_verified(tmp_path):
    source = read_source(T.Linear(3, 2))
    with pytest.raises(InputError, match="expected one of jaxae's own models to verify, got another"):
        port_file(source, tmp_path / "x.safetensors", linear(), verified=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere:make", "ModuleNotFoundError: No module named 'nowhere'$"), ("math:pi", "it is float")]
)
def test_a_name_of_no_function_is_refused(name, said):
    with pytest.raises(InputError, match=f"expected package.module:factory, got {name}: {said}"):
        named(name)


def test_a_function_of_a_file_is_found_beside_its_neighbours(tmp_path):
    (tmp_path / "beside_it.py").write_text("NUMBER = 3")
    (tmp_path / "own.py").write_text("from beside_it import NUMBER\n\ndef make():\n    return NUMBER")
    assert call_factory(f"{tmp_path / 'own.py'}:make") == 3
    assert named(f"{tmp_path / 'own.py'}:make") is named(f"{tmp_path / 'own.py'}:make")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.py:make", r"expected a Python file, got no .*none\.py"),
        ("own.py:made", r"expected a function made in .*own\.py, got .*own\.py with make"),
        ("own.py", r"expected a function said after a colon in .*own\.py, got .*own\.py with make"),
        ("broken.py:make", r"expected a Python file that runs, got .*broken\.py: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_of_no_function_is_refused(name, said, tmp_path):
    (tmp_path / "own.py").write_text("from math import sqrt\n\ndef make():\n    pass")
    (tmp_path / "broken.py").write_text("1 / 0")
    for _ in range(2):  # what has failed once is not kept
        with pytest.raises(InputError, match=said):
            named(str(tmp_path / name))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise KeyError('a\\nb')", r"KeyError: 'a\\nb' \(made\.py, line 2\)"),
        ("raise ValueError", r"ValueError \(made\.py, line 2\)"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(made\.py, line 2\)"),
        ("return make()", r"RecursionError: maximum recursion depth exceeded.* \(made\.py, line 2\)"),
        ("raise InputError('expected a row, got none')", None),
    ],
)
def test_whatever_a_factory_raises_is_told_in_one_line(code, said, tmp_path):
    path = tmp_path / "made.py"
    path.write_text(f"def make():\n    {code}\nfrom jaxae import InputError")
    whole = (
        "expected a row, got none" if said is None else rf"expected package\.module:factory, got {path}:make: {said}"
    )
    with pytest.raises(InputError, match=f"^{whole}$"):
        call_factory(f"{path}:make")


@pytest.mark.parametrize(
    ("code", "said"),
    [("def make(:", r"SyntaxError: .*line 1\)"), ("import sys\nsys.exit()", r"SystemExit \(ended\.py, line 2\)")],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_a_module_that_does_not_run_is_refused_and_not_kept(code, said, as_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ended.py").write_text(code)
    expected = "a Python file that runs, got .*ended.py" if as_file else "package.module:factory, got ended:make"
    for _ in range(2):
        with pytest.raises(InputError, match=f"^expected {expected}: {said}$"):
            named("ended.py:make" if as_file else "ended:make")


def test_an_interruption_of_a_factory_is_none_of_its_errors(tmp_path):
    path = tmp_path / "stopped.py"
    path.write_text("def make():\n    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        call_factory(f"{path}:make")


def test_a_factory_takes_no_arguments():
    with pytest.raises(InputError, match=r"expected package\.module:factory, got math:sqrt: "):
        call_factory("math:sqrt")


def test_orders_are_spelled_as_paths_and_sizes(tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros(3))
    for text, said in {
        "fc1": "expected --flatten path=value, got 'fc1'",
        "fc1=a,b": "expected --flatten path=channels,height,width, got 'a,b'",
        f"fc1={tmp_path / 'floats.npy'}": "expected whole numbers in .*floats.npy, got float64",
    }.items():
        with pytest.raises(InputError, match=said):
            spelled_options((text,), (), ())


def test_flaxs_layout_goes_to_no_file_of_torch(tmp_path):
    with pytest.raises(InputError, match=r"expected torch's layout in .*x\.pt, got Flax's"):
        port.save(tmp_path / "x.pt", linear(), layout="flax")


def test_a_kernel_of_other_axes_fits_no_layer():
    odd = linear(use_bias=False)
    odd.kernel = nnx.Param(jnp.zeros(3))
    ours, theirs = nnx.Sequential(nnx.Linear(3, 3, rngs=RNGS), odd), T.Linear(3, 2, bias=False)
    with pytest.raises(InputError, match=r"has the kind and the shapes of 'layers\.1'"):
        port.from_torch(ours, T.Sequential(T.Linear(3, 3), theirs), inputs=(4, 3))
    with pytest.raises(InputError, match=r"'kernel' is \(3,\), not 'inputs outputs'"):
        port.from_torch(odd, theirs)


def test_a_view_has_no_attributes_of_its_own():
    assert not hasattr(viewed({"params": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}), "nonesuch")


def test_tensors_of_other_shapes_names_and_types_are_told():
    state = T.Linear(3, 2).state_dict()
    for other, said in (
        ({"weight": torch.zeros(4, 3)}, "mis-shaped 'weight'"),
        ({"extra": torch.zeros(5)}, "unexpected 'extra'"),
        ({"weight": torch.zeros(2, 3, dtype=torch.int32)}, "'weight' is int32, but 'kernel' is float32"),
    ):
        with pytest.raises(InputError, match=said):
            port.from_torch(linear(), {**state, **other})
