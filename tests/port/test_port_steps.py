"""Twenty steps of torch's optimizer and of the ported chain, on given gradients in float64; and chains of one's own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch.optim import lr_scheduler, swa_utils

from jaxae import port
from jaxae.errors import InputError
from jaxae.network.parameters import parameters_of

RNG = np.random.default_rng(0)
SHAPES = {"one.weight": (3, 4), "one.bias": (3,), "two.weight": (2, 3), "two.bias": (2,)}


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)


class Ours(nnx.Module):
    def __init__(self):
        more: Any = {"rngs": nnx.Rngs(0), "param_dtype": jnp.float64}
        self.one, self.two = nnx.Linear(4, 3, **more), nnx.Linear(3, 2, **more)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2, as lion-pytorch has it."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is None:
                    continue
                moment = self.state[one].setdefault("exp_avg", torch.zeros_like(one))
                one.mul_(1 - group["lr"] * group["weight_decay"])
                one.sub_(group["lr"] * torch.sign(moment.lerp(one.grad, 1 - group["betas"][0])))
                moment.lerp_(one.grad, 1 - group["betas"][1])


def start() -> Any:
    torch.manual_seed(0)
    return Theirs().double()


def gradients(steps: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{name: rng.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(steps)]


def step_torch(model: torch.nn.Module, optimizer: Any, given: list[Any], scheduler: Any = None, clip: float = 0.0):
    for gradient in given:
        for name, one in model.named_parameters():
            one.grad = torch.from_numpy(gradient[name].copy()) if one.requires_grad else None
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if scheduler:
            scheduler.step()


def step_optax(model: nnx.Module, tx: Any, state: Any, given: list[Any]) -> Any:
    params: Any = parameters_of(model)
    update = jax.jit(tx.update)
    for gradient in given:
        layers = {name: {"kernel": gradient[f"{name}.weight"].T, "bias": gradient[f"{name}.bias"]} for name in params}
        updates, state = update(jax.tree.map(jnp.asarray, layers), state, params)
        params = optax.apply_updates(params, updates)
    nnx.update(model, params)
    return state


def apart(ours: nnx.Module, theirs: torch.nn.Module) -> float:
    got = port.to_torch(ours, like=theirs)
    return max(float((got[name] - one).abs().max()) for name, one in theirs.state_dict().items())


def moved(theirs: Any, optimizer: Any, **options: Any) -> tuple[Any, port.OptimizerPort]:
    ours = Ours()
    port.from_torch(ours, theirs)
    return ours, port.optimizer_from_torch(ours, optimizer, theirs, **options)


MAKE: dict[str, Callable[[Any], Any]] = {
    "adam": lambda ps: torch.optim.Adam(ps, 0.01, (0.8, 0.99), 1e-6, weight_decay=0.1),
    "amsgrad": lambda ps: torch.optim.Adam(ps, 0.01, (0.8, 0.9), 1e-3, weight_decay=0.1, amsgrad=True),
    "amsgrad of adamw": lambda ps: torch.optim.AdamW(ps, 0.01, (0.8, 0.9), 1e-3, weight_decay=0.1, amsgrad=True),
    "sgd": lambda ps: torch.optim.SGD(ps, 0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, 0.01, 0.9, 1e-3, weight_decay=0.1),
    "rmsprop with momentum": lambda ps: torch.optim.RMSprop(ps, 0.01, momentum=0.9),
    "rmsprop, centered": lambda ps: torch.optim.RMSprop(ps, 0.01, 0.8, 1e-3, momentum=0.5, centered=True),
    "adagrad": lambda ps: torch.optim.Adagrad(ps, 0.1, lr_decay=0.1, weight_decay=0.1, eps=1e-3),
    "adagrad with a start": lambda ps: torch.optim.Adagrad(ps, 0.1, initial_accumulator_value=0.2),
    "lion": lambda ps: Lion(ps, 0.01, (0.8, 0.9), 0.1),
}


@pytest.mark.parametrize("name", MAKE)
def test_twenty_steps(x64, name):
    theirs, before = start(), 7
    optimizer = MAKE[name](theirs.parameters())
    step_torch(theirs, optimizer, gradients(before, 1))
    ours, ported = moved(theirs, optimizer)
    back = port.optimizer_to_torch(ours, ported.state, ported.groups)
    kept = optimizer.state_dict()
    for number, held in kept["state"].items():
        for key, value in held.items():
            assert torch.equal(back["state"][number][key], torch.as_tensor(value)), key
    assert back["param_groups"] == kept["param_groups"]
    state = step_optax(ours, ported.tx, ported.state, gradients(20))
    step_torch(theirs, optimizer, gradients(20))
    assert apart(ours, theirs) < 1e-12  # measured 6e-16
    # And back: what torch keeps after the steps, from optax's.
    after = port.optimizer_to_torch(ours, state, ported.groups)
    for number, held in optimizer.state_dict()["state"].items():
        for key, value in held.items():
            assert np.allclose(after["state"][number][key], value, rtol=0, atol=1e-12), key


@pytest.mark.parametrize("name", ["amsgrad", "rmsprop", "adagrad"])
def test_a_state_dict_alone_tells_the_class(x64, name):
    theirs = start()
    optimizer = MAKE[name](theirs.parameters())
    step_torch(theirs, optimizer, gradients(3))
    ours, ported = moved(theirs, optimizer)
    kind: Any = {"kind": "Adam"} if name == "amsgrad" else {}
    alone = port.optimizer_from_torch(ours, optimizer.state_dict(), theirs.state_dict(), **kind)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, alone.state, ported.state)))


def cosine(optimizer: Any) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, 40)


def warmup(optimizer: Any) -> Any:
    return lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 5))


OWN: dict[str, Any] = {
    "cosine": (optax.adam(optax.cosine_decay_schedule(0.01, 40)), torch.optim.Adam, cosine, 0.0, "schedule"),
    "warm-up": (
        optax.adamw(optax.linear_schedule(0.0, 0.01, 5), weight_decay=1e-2),
        torch.optim.AdamW,
        warmup,
        0.0,
        "schedule",
    ),
    "injected": (
        optax.inject_hyperparams(optax.adam)(optax.cosine_decay_schedule(0.01, 40)),
        torch.optim.Adam,
        cosine,
        0.0,
        None,
    ),
    "clipped": (optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01)), torch.optim.Adam, None, 0.1, "clipping"),
}


@pytest.mark.parametrize("name", OWN)
def test_chains_of_ones_own_go_on(x64, name):
    tx, kind, schedule, clip, note = OWN[name]
    theirs = start()
    optimizer = kind(theirs.parameters(), 0.01)
    scheduler = schedule(optimizer) if schedule else None
    step_torch(theirs, optimizer, gradients(7, 1), scheduler, clip)
    ours, ported = moved(theirs, optimizer, tx=tx)
    assert note is None or any(note in one for one in ported.notes)
    step_optax(ours, ported.tx, ported.state, gradients(20))
    step_torch(theirs, optimizer, gradients(20), scheduler, clip)
    # optax's linear_schedule rounds to float32 (measured 3e-9); clip_grad_norm_ adds 1e-6 to the norm (1e-8).
    assert apart(ours, theirs) < (1e-7 if name in ("warm-up", "clipped") else 1e-12)


@pytest.mark.parametrize(
    "tx",
    [
        optax.adam(optax.cosine_decay_schedule(0.02, 40)),
        optax.adam(optax.cosine_decay_schedule(0.01, 20)),
        optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.02)),
        optax.chain(optax.clip_by_global_norm(1e-6), optax.sgd(0.01)),
        optax.MultiSteps(optax.adam(0.02), 4).gradient_transformation(),
        optax.amsgrad(0.01),
    ],
)
def test_chains_of_ones_own_that_step_elsewhere_are_refused(x64, tx):
    theirs = start()
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    scheduler = cosine(optimizer)
    step_torch(theirs, optimizer, gradients(7), scheduler)
    with pytest.raises(InputError, match="expected a chain"):
        moved(theirs, optimizer, tx=tx)


@pytest.mark.parametrize("wrong", [{"b1": 0.8}, {"b2": 0.99}, {"eps": 1e-6}])
def test_a_fresh_optimizer_shows_its_hyperparameters_too(x64, wrong):
    """At its first step Adam's betas cancel: the trial must go on."""
    theirs = start()
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    moved(theirs, optimizer, tx=optax.adam(0.01))
    with pytest.raises(InputError, match="another step"):
        moved(theirs, optimizer, tx=optax.adam(0.01, **wrong))


def test_gradient_accumulation(x64):
    theirs = start()
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    step_torch(theirs, optimizer, gradients(3, 1))
    tx = optax.MultiSteps(optax.adam(0.01), 4, accumulator_dtype=jnp.float64).gradient_transformation()
    ours, ported = moved(theirs, optimizer, tx=tx)
    parts = gradients(8)
    step_optax(ours, ported.tx, ported.state, parts)
    means = [
        {name: np.mean([part[name] for part in four], axis=0) for name in SHAPES} for four in (parts[:4], parts[4:])
    ]
    step_torch(theirs, optimizer, means)
    assert apart(ours, theirs) < 1e-12


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda one: lr_scheduler.StepLR(one, 10),
    "OneCycleLR": lambda one: lr_scheduler.OneCycleLR(one, 0.01, total_steps=40),
    "CyclicLR": lambda one: lr_scheduler.CyclicLR(one, 1e-3, 1e-2, cycle_momentum=False),
    "SWALR": lambda one: swa_utils.SWALR(one, 0.05),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("live", [True, False])
def test_what_schedulers_write_into_a_group_is_carried(x64, name, live):
    theirs = start()
    optimizer = torch.optim.Adam([{"params": list(theirs.parameters()), "name": "backbone", "lr_scale": 0.5}], 0.01)
    scheduler = SCHEDULERS[name](optimizer)
    step_torch(theirs, optimizer, gradients(3, 1), scheduler)
    kept = optimizer.state_dict()
    ours = Ours()
    port.from_torch(ours, theirs)
    ported = port.optimizer_from_torch(ours, optimizer if live else kept, theirs)
    assert any("name" in note and "change no step" in note for note in ported.notes)
    assert port.optimizer_to_torch(ours, ported.state, ported.groups)["param_groups"] == kept["param_groups"]
    step_optax(ours, ported.tx, ported.state, gradients(1))
    step_torch(theirs, optimizer, gradients(1))
    assert apart(ours, theirs) < 1e-12


def test_unknown_keys_of_a_state_dict_need_the_class(x64):
    theirs = start()
    optimizer = torch.optim.Adam([{"params": list(theirs.parameters()), "rectify": True}], 0.01)
    moved(theirs, optimizer)  # torch's own class reads no such key
    ours, state = Ours(), optimizer.state_dict()
    with pytest.raises(InputError, match="got rectify: say kind='Adam'"):
        port.optimizer_from_torch(ours, state, theirs)
    port.optimizer_from_torch(ours, state, theirs, kind="Adam")


@pytest.mark.parametrize("kind", ["adam", "sgd", "adagrad", "lion"])
@pytest.mark.parametrize("as_state_dict", [False, True])
def test_frozen_layers_stay(x64, kind, as_state_dict):
    theirs = start()
    theirs.one.requires_grad_(False)
    optimizer = MAKE[kind](theirs.parameters())
    step_torch(theirs, optimizer, gradients(3, 1))
    ours = Ours()
    port.from_torch(ours, theirs)
    given = (optimizer.state_dict(), theirs.state_dict()) if as_state_dict else (optimizer, theirs)
    told: Any = {"kind": "Adam"} if as_state_dict and kind == "adam" else {"kind": "Lion"} if kind == "lion" else {}
    ported = port.optimizer_from_torch(ours, *given, **told)
    assert any("one.weight, one.bias had no gradient" in note for note in ported.notes)
    step_optax(ours, ported.tx, ported.state, gradients(20))
    step_torch(theirs, optimizer, gradients(20))
    assert apart(ours, theirs) < 1e-12
    back = port.optimizer_to_torch(ours, ported.state, ported.groups)
    assert sorted(back["state"]) == [2, 3]


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_layers_unfrozen_later_have_their_own_count(x64, kind):
    theirs = start()
    theirs.one.requires_grad_(False)
    optimizer = MAKE[kind](theirs.parameters())
    step_torch(theirs, optimizer, gradients(3, 1))
    theirs.one.requires_grad_(True)
    step_torch(theirs, optimizer, gradients(2, 2))
    ours, ported = moved(theirs, optimizer)
    state = step_optax(ours, ported.tx, ported.state, gradients(20))
    step_torch(theirs, optimizer, gradients(20))
    assert apart(ours, theirs) < 1e-12
    after = port.optimizer_to_torch(ours, state, ported.groups)
    assert [int(after["state"][number]["step"]) for number in range(4)] == [22, 22, 25, 25]


def test_parameters_left_out_are_found_by_shape_or_asked_for(x64):
    theirs = start()
    theirs.one.requires_grad_(False)
    optimizer = torch.optim.Adam(theirs.two.parameters(), 0.01)
    step_torch(theirs, optimizer, gradients(3, 1))
    ours = Ours()
    port.from_torch(ours, theirs)
    ported = port.optimizer_from_torch(ours, optimizer.state_dict(), theirs.state_dict())
    assert any("by their shapes" in note and "two.weight, two.bias" in note for note in ported.notes)
    step_optax(ours, ported.tx, ported.state, gradients(20))
    step_torch(theirs, optimizer, gradients(20))
    assert apart(ours, theirs) < 1e-12
    twins = {
        f"{name}.{part}": torch.zeros(SHAPES[f"one.{part}"]) for name in ("one", "two") for part in ("weight", "bias")
    }

    class Twins(nnx.Module):
        def __init__(self):
            self.one, self.two = (nnx.Linear(4, 3, rngs=nnx.Rngs(0)) for _ in range(2))

    alone = torch.nn.Linear(4, 3)
    only = torch.optim.Adam(alone.parameters())
    alone(torch.ones(1, 4)).sum().backward()
    only.step()
    with pytest.raises(InputError, match=r"expected the names of the optimizer's 2 parameters in order"):
        port.optimizer_from_torch(Twins(), only.state_dict(), twins)
    port.optimizer_from_torch(Twins(), only.state_dict(), ["two.weight", "two.bias"])


def test_lightnings_optimizer_states(x64):
    theirs = start()
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    step_torch(theirs, optimizer, gradients(3))
    ours, ported = moved(theirs, optimizer)
    saved = {"epoch": 3, "state_dict": theirs.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    again = port.optimizer_from_torch(ours, saved)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again.state, ported.state)))
    with pytest.raises(InputError, match="checkpoint of one optimizer, got 2"):
        port.optimizer_from_torch(ours, saved | {"optimizer_states": [{}, {}]})
