"""Crossing over: k steps in one framework, on in the other, where either alone arrives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.errors import InputError

torch.set_num_threads(2)

STEPS = 12


def held(**changes: Any) -> dict[str, Any]:
    """A state_dict of Adam for one parameter, and the parameter's, with something in it changed."""
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    content = optimizer.state_dict()
    (group,), state = content["param_groups"], content["state"][0]
    for name, value in changes.items():
        part = content if name in content else group if name in group else state
        part[name] = value
    return {"optimizer": content, "model": {"weight": weight.detach(), "bias": torch.zeros(2)}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"param_groups": {}}, "an optimizer of others"),
        ({"param_groups": [3]}, "an optimizer of others"),
        ({"state": [1]}, "an optimizer of others"),
        ({"state": {0: 3}}, "an optimizer of others"),
        ({"params": ["weight"]}, "an optimizer of others"),
        ({"params": 7}, "an optimizer of others"),
        ({"lr": torch.zeros(2)}, "an optimizer of others"),
        ({"lr": "fast"}, "expected numbers for lr"),
        ({"betas": (0.9,)}, "expected numbers for lr, betas"),
        ({"eps": None}, "expected numbers for lr"),
        ({"amsgrad": "x" * 9999}, "for .*amsgrad, got another.*xxx"),
        ({"step": float("nan")}, "number of steps"),
        ({"step": 2**40}, "number of steps"),
        ({"step": torch.zeros(2)}, "number of steps"),
    ],
)
def test_an_optimizer_of_other_content_is_refused(changes, why):
    with pytest.raises(InputError, match=why) as caught:
        port.optimizer_from_torch(nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0)), held(**changes))
    assert len(str(caught.value)) < 500


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(2, 3, 3)
        self.norm = torch.nn.GroupNorm(1, 3)
        self.out = torch.nn.Linear(3 * 4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.conv(x))).flatten(1))


class Ours(nnx.Module):
    def __init__(self):
        more: Any = {"rngs": nnx.Rngs(0), "param_dtype": jnp.float64}
        self.conv = nnx.Conv(2, 3, (3,), padding="VALID", **more)
        self.norm = nnx.GroupNorm(3, 1, epsilon=1e-5, **more)
        self.out = nnx.Linear(3 * 4, 2, **more)

    def __call__(self, x):
        return self.out(jnp.tanh(self.norm(self.conv(x))).reshape(len(x), -1))


FLAT: Any = {"flatten": {"out": (3, 4)}}
BATCHES = np.random.default_rng(0).normal(size=(3 * STEPS, 5, 6, 2))


def train_torch(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: np.ndarray):
    for batch in batches:
        optimizer.zero_grad()
        model(torch.from_numpy(np.moveaxis(batch, -1, 1).copy())).pow(4).sum().backward()
        optimizer.step()


def train_jax(model: Any, tx: Any, state: Any, batches: np.ndarray) -> Any:
    graph, _ = nnx.split(model)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))

    @jax.jit
    def step(params, state, batch):
        def loss(params):
            return (nnx.merge(graph, params)(batch) ** 4).sum()

        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for batch in batches:
        params, state = step(params, state, jnp.asarray(batch))
    nnx.update(model, params)
    return state


def start() -> Any:
    torch.manual_seed(0)
    return Theirs().double()


def apart(ours: nnx.Module, theirs: torch.nn.Module) -> float:
    got = port.to_torch(ours, like=theirs, **FLAT)
    return max(float((got[name] - one).abs().max()) for name, one in theirs.state_dict().items())


def two_groups(model: Any) -> Any:
    groups = [
        {"params": [model.out.weight, model.conv.bias], "lr": 0.03, "weight_decay": 0.1},
        {"params": [*model.norm.parameters(), model.out.bias, model.conv.weight]},
    ]
    return torch.optim.AdamW(groups, lr=0.01)


MAKE: dict[str, Callable[[Any], Any]] = {
    "adam": lambda model: torch.optim.Adam(model.parameters(), 0.01, (0.8, 0.99), 1e-6),
    "adam with decay": lambda model: torch.optim.Adam(model.parameters(), weight_decay=0.1),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), 1e-3, weight_decay=0.1),
    "momentum": lambda model: torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9),
    "nesterov": lambda model: torch.optim.SGD(model.parameters(), 1e-3, momentum=0.8, nesterov=True, weight_decay=0.1),
    "groups": two_groups,
}


@pytest.mark.parametrize("name", MAKE)
def test_crossing_over(x64, name):
    """torch alone for 3k steps, against torch, JAX and torch again for k each."""
    alone = start()
    reference = MAKE[name](alone)
    theirs = start()
    optimizer = MAKE[name](theirs)
    train_torch(theirs, optimizer, BATCHES[:STEPS])
    ours = Ours()
    port.from_torch(ours, theirs, **FLAT)
    moved = port.optimizer_from_torch(ours, optimizer, theirs, **FLAT)

    # There and back at once: every moment and count, bit by bit.
    back = port.optimizer_to_torch(ours, moved.state, moved.groups, **FLAT)
    kept = optimizer.state_dict()
    assert back["state"].keys() == kept["state"].keys()
    for number, state in kept["state"].items():
        for moment, value in state.items():
            assert torch.equal(back["state"][number][moment], torch.as_tensor(value))
    for group, known in zip(back["param_groups"], kept["param_groups"], strict=True):
        for one in (group, known):
            one.pop("param_names", None)
        assert group == known

    # To JAX, and on.
    state = train_jax(ours, moved.tx, moved.state, BATCHES[STEPS : 2 * STEPS])
    train_torch(alone, reference, BATCHES[: 2 * STEPS])
    assert apart(ours, alone) < 1e-10  # measured 5e-16
    # Fresh moments arrive elsewhere.
    if name != "sgd":
        fresh = Ours()
        port.from_torch(fresh, theirs, **FLAT)
        params = nnx.to_pure_dict(nnx.state(fresh, nnx.Param))
        train_jax(fresh, moved.tx, moved.tx.init(params), BATCHES[STEPS : 2 * STEPS])
        assert apart(fresh, alone) > 1e-6

    # Back to torch, and on.
    theirs.load_state_dict(port.to_torch(ours, **FLAT))
    optimizer.load_state_dict(port.optimizer_to_torch(ours, state, moved.groups, **FLAT))
    train_torch(theirs, optimizer, BATCHES[2 * STEPS :])
    train_torch(alone, reference, BATCHES[2 * STEPS :])
    gaps = [(one - two).abs().max() for one, two in zip(theirs.parameters(), alone.parameters(), strict=True)]
    assert max(gaps) < 1e-10


def test_from_jax_to_torch_with_ones_own_chain(x64):
    ours, theirs = Ours(), start()
    port.from_torch(ours, theirs, **FLAT)
    params = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    tx = optax.adam(0.01)
    state = train_jax(ours, tx, tx.init(params), BATCHES[:STEPS])
    theirs.load_state_dict(port.to_torch(ours, **FLAT))
    optimizer = torch.optim.Adam(theirs.parameters(), 0.5)
    settings = port.Adam(0.01)
    with pytest.raises(InputError, match=r"steps as torch's optimizer would .* got another step"):
        port.optimizer_to_torch(ours, state, port.Adam(0.02), theirs, tx=tx, **FLAT)
    content = port.optimizer_to_torch(ours, state, settings, theirs, tx=tx, **FLAT)
    optimizer.load_state_dict(content)
    train_torch(theirs, optimizer, BATCHES[STEPS : 2 * STEPS])
    train_jax(ours, tx, state, BATCHES[STEPS : 2 * STEPS])
    assert apart(ours, theirs) < 1e-10
    with pytest.raises(InputError, match=r"keeps 2 moments of 'conv\.kernel', torch's SGD 1"):
        port.optimizer_to_torch(ours, state, port.SGD(0.1, momentum=0.9), theirs, **FLAT)


@pytest.mark.parametrize(
    ("tx", "why"),
    [
        (optax.chain(optax.scale_by_adam(0.8, 0.99, eps=1e-6), optax.scale(-0.01)), None),
        (optax.inject_hyperparams(optax.adam)(0.01, 0.8, 0.99, 1e-6), None),
        (optax.adam(0.02, 0.8, 0.99, 1e-6), "another step"),
        (optax.adam(0.01, 0.9, 0.99, 1e-6), "another step"),
        (optax.adam(0.01, 0.8, 0.99, 0.0, 1e-6), "another step"),
        (optax.adamw(0.01, 0.8, 0.99, 1e-6, weight_decay=0.1), "another step"),
        (optax.sgd(0.01, momentum=0.9), "another step"),
    ],
)
def test_hyperparameters_of_ones_own_chain_are_checked(x64, tx, why):
    theirs = start()
    optimizer = MAKE["adam"](theirs)
    train_torch(theirs, optimizer, BATCHES[:3])
    ours = Ours()
    port.from_torch(ours, theirs, **FLAT)
    if why is None:
        port.optimizer_from_torch(ours, optimizer, theirs, tx=tx, **FLAT)
    else:
        with pytest.raises(InputError, match=why):
            port.optimizer_from_torch(ours, optimizer, theirs, tx=tx, **FLAT)


def test_nnx_optimizers_state(x64):
    theirs = start()
    optimizer = MAKE["adam"](theirs)
    train_torch(theirs, optimizer, BATCHES[:STEPS])
    ours = Ours()
    port.from_torch(ours, theirs, **FLAT)
    params = nnx.state(ours, nnx.Param)
    moved = port.optimizer_from_torch(ours, optimizer, theirs, params=params, **FLAT)
    mine = nnx.Optimizer(ours, moved.tx, wrt=nnx.Param)
    port.fill_optimizer(mine, moved)
    for batch in BATCHES[STEPS : 2 * STEPS]:
        mine.update(ours, nnx.grad(lambda model, x: (model(x) ** 4).sum())(ours, batch))
    train_torch(theirs, optimizer, BATCHES[STEPS : 2 * STEPS])
    assert apart(ours, theirs) < 1e-10
    back = port.optimizer_to_torch(ours, mine.opt_state, moved.groups, **FLAT)
    assert back["state"][0]["step"] == 2 * STEPS


def test_state_dicts_and_checkpoints(x64, tmp_path):
    theirs = start()
    optimizer = MAKE["adam"](theirs)
    train_torch(theirs, optimizer, BATCHES[:3])
    ours = Ours()
    path = tmp_path / "run.pt"
    saved = {
        "epoch": 3,
        "model_state_dict": theirs.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": 0.5,
    }
    torch.save(saved, path)
    port.from_torch(ours, path, **FLAT)
    expected = port.optimizer_from_torch(ours, optimizer, theirs, **FLAT)
    state = optimizer.state_dict()
    names = [name for name, _ in theirs.named_parameters()]
    for given in [(path,), (saved,), (state, theirs.state_dict()), (state, names)]:
        moved = port.optimizer_from_torch(ours, *given, **FLAT)
        same = jax.tree.map(np.array_equal, moved.state, expected.state)
        assert all(jax.tree.leaves(same))
    with pytest.raises(InputError, match="numbers instead of names"):
        port.optimizer_from_torch(ours, optimizer.state_dict(), **FLAT)
    torch.save(state, path)  # a file of the optimizer alone
    moved = port.optimizer_from_torch(ours, path, names, **FLAT)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, moved.state, expected.state)))
    with pytest.raises(InputError, match="expected a torch file that ends in"):
        port.optimizer_from_torch(ours, tmp_path / "run.safetensors", names, **FLAT)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "maximize": (lambda model: torch.optim.SGD(model.parameters(), 0.1, maximize=True), "maximize"),
    "dampening": (lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, dampening=0.1), "dampening"),
    "adadelta": (lambda model: torch.optim.Adadelta(model.parameters()), "got Adadelta"),
    "nadam": (lambda model: torch.optim.NAdam(model.parameters()), r"got NAdam: torch's weighs .*momentum_decay"),
    "others": (lambda model: torch.optim.Adam(start().parameters()), "got one of others"),
}


class Trained(NamedTuple):
    """An Adam of three steps, its network, its state_dict and the names of what it trains."""

    model: Any
    optimizer: Any
    content: dict[str, Any]
    names: list[str]


def trained(make: Callable[[Any], Any] = MAKE["adam"]) -> Trained:
    model = start()
    optimizer = make(model)
    train_torch(model, optimizer, BATCHES[:3])
    return Trained(model, optimizer, optimizer.state_dict(), [name for name, _ in model.named_parameters()])


def renamed(names: list[str], old: str, new: str) -> list[str]:
    return [new if name == old else name for name in names]


def changed(one: Trained, change: Callable[[dict[str, Any]], Any]) -> Any:
    """The state_dict and the names, after a change of one parameter's state."""
    change(one.content["state"][1])
    return one.content, one.names


def of_group(one: Trained, **options: Any) -> Any:
    """The state_dict and the names, after a change of the group's options; None leaves one out."""
    group = one.content["param_groups"][0] | options
    one.content["param_groups"][0] = {name: value for name, value in group.items() if value is not None}
    return one.content, one.names


STATES: dict[str, tuple[Callable[[Trained], Any], str]] = {
    "no optimizer": (lambda one: (object(),), "expected a torch optimizer, its state_dict or a checkpoint, got object"),
    "another mapping": (lambda one: ({"epoch": 3},), "expected an optimizer's state_dict, got entries 'epoch'"),
    "no model": (
        lambda one: (one.content, 3),
        "expected a torch module, its state_dict or names of parameters, got int",
    ),
    "a part of a model": (
        lambda one: (torch.optim.Adam(one.model.out.parameters()).state_dict(), one.model.state_dict()),
        r"names of the optimizer's 2 parameters in order \(model=\[...\]\), got a state_dict of 6",
    ),
    "too few names": (lambda one: (one.content, one.names[:-1]), "names of the optimizer's 6 parameters, got 5"),
    "another name": (
        lambda one: (one.content, renamed(one.names, "conv.bias", "conv.bais")),
        r"the optimizer trains 'conv\.bais', which the NNX module has not \(did you mean 'conv\.bias'",
    ),
    "an unknown option": (lambda one: of_group(one, rho=0.1), "expected options of Adam that port, got rho"),
    "an unknown class": (lambda one: of_group(one, decoupled_weight_decay=None, weight_decay=0.1), "tell them apart"),
    "a state too many": (
        lambda one: changed(one, lambda state: state.update(max_exp_avg_sq=state["exp_avg"])),
        "the state of 'conv.bias' has max_exp_avg_sq, which Adam with these options does not keep",
    ),
    "a state too few": (
        lambda one: changed(one, lambda state: state.pop("exp_avg_sq")),
        "the state of 'conv.bias' has no exp_avg_sq",
    ),
    "a mis-shaped state": (
        lambda one: changed(one, lambda state: state.update(exp_avg=torch.zeros(2, 2).double())),
        r"exp_avg of 'conv\.bias' is \(2, 2\), expected \(3,\)",
    ),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.usefixtures("unchecked", "x64")
def test_states_that_do_not_fit_are_refused(name):
    given, why = STATES[name]
    with pytest.raises(InputError, match=why):
        port.optimizer_from_torch(Ours(), *given(trained()), **FLAT)


def test_chains_and_parameters_that_do_not_fit_are_refused(x64):
    ours, adam, momentum = Ours(), trained(), trained(MAKE["momentum"])
    params = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    wider = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, 2)), params)
    wanting = optax.chain(optax.adam(0.01, 0.8, 0.99, 1e-6), optax.contrib.reduce_on_plateau())
    for one, more, why in (
        (adam, {"params": wider}, r"expected a moment of shape \(3, 2\), got \(3,\) for 'conv\.bias'"),
        (
            adam,
            {"params": {"other": params}},
            "expected a chain with the moments of torch's optimizer, got one with others",
        ),
        (
            momentum,
            {"tx": optax.adam(0.01)},
            "expected a chain with the moments of torch's optimizer, got one with others",
        ),
        (adam, {"tx": wanting}, "expected a chain that fits the parameters, got: .*value"),
    ):
        with pytest.raises(InputError, match=why):
            port.optimizer_from_torch(ours, one.optimizer, one.model, **more, **FLAT)
    moved = port.optimizer_from_torch(ours, adam.optimizer, adam.model, **FLAT)
    with pytest.raises(
        InputError, match=r"expected an nnx\.Optimizer of the ported chain and parameters, got one with"
    ):
        port.fill_optimizer(nnx.Optimizer(ours, optax.sgd(0.1), wrt=nnx.Param), moved)


def test_states_that_torch_has_no_place_for_are_refused(x64):
    ours, one = Ours(), trained()
    moved = port.optimizer_from_torch(ours, one.optimizer, one.model, **FLAT)
    with pytest.raises(InputError, match="which tell the order of the optimizer's parameters, got None"):
        port.optimizer_to_torch(ours, moved.state, port.Adam(0.1), **FLAT)
    (group,) = moved.groups
    other = group._replace(names=tuple(renamed(one.names, "conv.bias", "conv.bais")))
    with pytest.raises(InputError, match=r"no parameter for 'conv\.bais' \(did you mean 'conv\.bias'"):
        port.optimizer_to_torch(ours, moved.state, [other], **FLAT)
    cell = nnx.OptimizedLSTMCell(3, 2, rngs=nnx.Rngs(0))
    names = tuple(name for name, _ in torch.nn.LSTMCell(3, 2).named_parameters())
    state = optax.adam(0.1).init(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
    with pytest.raises(InputError, match="'bias_ih' shares its variable in Flax: that port is forward-only"):
        port.optimizer_to_torch(cell, state, [port.Group(port.Adam(0.1), names)])


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(x64, name):
    theirs, ours = start(), Ours()
    make, why = REFUSED[name]
    with pytest.raises(InputError, match=why):
        port.optimizer_from_torch(ours, make(theirs), theirs, **FLAT)


def test_groups_of_a_state_dict_need_names(x64):
    theirs, ours = start(), Ours()
    optimizer = two_groups(theirs)
    with pytest.raises(InputError, match="does not tell which group has which"):
        port.optimizer_from_torch(ours, optimizer.state_dict(), theirs.state_dict(), **FLAT)


def test_parameters_outside_every_group_stay(x64):
    theirs = start()
    optimizer = torch.optim.Adam(theirs.out.parameters())
    train_torch(theirs, optimizer, BATCHES[:3])
    ours = Ours()
    port.from_torch(ours, theirs, **FLAT)
    moved = port.optimizer_from_torch(ours, optimizer, theirs, **FLAT)
    assert "are in no group" in moved.notes[0]
    train_jax(ours, moved.tx, moved.state, BATCHES[3:6])
    train_torch(theirs, optimizer, BATCHES[3:6])
    assert apart(ours, theirs) < 1e-10


def test_summed_biases_have_no_moments_to_port():
    theirs = torch.nn.LSTMCell(3, 2)
    ours = nnx.OptimizedLSTMCell(3, 2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="forward-only"):
        port.optimizer_from_torch(ours, torch.optim.Adam(theirs.parameters()), theirs)
