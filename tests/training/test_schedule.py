import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import torch_ref
from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, AutoencoderConfig, RunConfig
from jaxae.port.reference import reference_module
from jaxae.training.plan import Plan, batches
from jaxae.training.schedule import KeySchedule, TorchSchedule, make_schedule

EXAMPLES, BATCH = 107, 25


def torch_schedule(config: RunConfig, loader) -> TorchSchedule:
    model = config.model
    return TorchSchedule(config.train.seed, EXAMPLES, BATCH, loader=loader, model=model)


def key_schedule(seed: int) -> KeySchedule:
    return KeySchedule(seed, EXAMPLES, BATCH, model=AUTOENCODER.model)


def eps_of(plan: Plan) -> np.ndarray:
    assert plan.noise.eps is not None
    return np.asarray(plan.noise.eps)


def seeded_reference(config: RunConfig):
    """The torch network as the post's script builds it: the stream is left behind its draws."""
    torch.manual_seed(config.train.seed)
    return reference_module(config.model)


def torch_weights(module) -> dict[str, np.ndarray]:
    """By Flax names, in Flax's layout."""
    flax = {}
    for name, value in module.state_dict().items():
        array = value.numpy()
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            array = array.T
        flax[name.replace("weight", "kernel")] = array
    return flax


CONFIGS = [
    AUTOENCODER,
    AUTOENCODER.replace(hidden=(40, 24, 8), seed=5),
    AUTOENCODER.replace(initialization="intended"),
    AUTOENCODER.replace(initialization="torch"),
    CONDITIONAL_VAE,
    CONDITIONAL_VAE.replace(reconstruct_condition=True, seed=3),
    CONDITIONAL_VAE.replace(num_classes=0, num_latent=7, seed=2**32 - 1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_replay_starts_from_torchs_weights(config):
    parameters = torch_schedule(config, "torch").init_parameters()
    expected = torch_weights(seeded_reference(config))
    found = {f"{layer}.{key}": v for layer, leaves in parameters.items() for key, v in leaves.items()}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == np.float32
        # Bit for bit, but for the autoencoder's normals where torch's kernels round otherwise.
        largest = np.abs(expected[name]).max()
        exact = not (isinstance(config.model, AutoencoderConfig) and name in ("linear_1.kernel", "linear_2.kernel"))
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=0 if exact else 5e-7 * largest)


@pytest.mark.parametrize("loader", ["torch-1", "torch"])
@pytest.mark.parametrize("config", [AUTOENCODER, CONDITIONAL_VAE, CONDITIONAL_VAE.replace(num_latent=3)])
def test_a_replay_has_the_batches_and_noise_of_the_reference(config, loader):
    schedule = torch_schedule(config, loader)
    seeded_reference(config)
    # Images that say which they are.
    images = torch.zeros(EXAMPLES, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(EXAMPLES)
    split = torch_ref.Split(images, torch.arange(EXAMPLES))
    loop = torch_ref.shuffled_batches(split, BATCH, loader)
    for epoch in range(3):
        plan = schedule.plan(epoch)
        assert plan.first_step == epoch * 5
        assert plan.order.shape == (5, BATCH)
        for row, noise, (features, labels) in zip(np.asarray(plan.order), eps_of(plan), loop, strict=True):
            count = len(labels)
            assert row[:count].tolist() == labels.tolist()
            assert (features[:, 0, 0, 0] * 255).round().tolist() == labels.tolist()
            assert (row[count:] == -1).all()
            if config is AUTOENCODER:
                assert noise.shape == (BATCH, 0)
                continue
            eps = torch.randn(count, config.model.num_latent).numpy()
            np.testing.assert_allclose(noise[:count], eps, rtol=5e-7, atol=1e-9)
            assert not noise[count:].any()


def test_todays_replay_is_what_the_installed_dataloader_draws():
    schedule = torch_schedule(AUTOENCODER, "torch")
    seeded_reference(AUTOENCODER)
    loader = DataLoader(TensorDataset(torch.arange(EXAMPLES)), batch_size=BATCH, shuffle=True)
    for epoch in range(2):
        drawn = torch.cat([batch for (batch,) in loader]).tolist()
        order = schedule.plan(epoch).order.ravel()
        assert order[order >= 0].tolist() == drawn


def test_the_two_loaders_differ():
    first, second = (torch_schedule(AUTOENCODER, loader).plan(0) for loader in ("torch-1", "torch"))
    assert not np.array_equal(first.order, second.order)


def test_plans_do_not_depend_on_the_order_in_which_they_are_asked_for():
    config = CONDITIONAL_VAE.replace(num_latent=4)
    ahead, behind = (torch_schedule(config, "torch-1") for _ in range(2))
    late = ahead.plan(2)
    plans = [behind.plan(epoch) for epoch in range(3)]
    for one, other in ((late, plans[2]), (ahead.plan(0), plans[0]), (ahead.plan(2), plans[2])):
        assert np.array_equal(one.order, other.order)
        assert np.array_equal(eps_of(one), eps_of(other))


def test_keys_shuffle_each_epoch_anew_and_each_seed_otherwise():
    schedule = key_schedule(1)
    plans = [schedule.plan(epoch) for epoch in range(3)]
    orders = [plan.order.ravel() for plan in plans]
    for order in orders:
        assert sorted(order[order >= 0]) == list(range(EXAMPLES))
        assert (order[EXAMPLES:] == -1).all()
    assert not np.array_equal(orders[0], orders[1])
    assert [plan.first_step for plan in plans] == [0, 5, 10]
    assert np.array_equal(key_schedule(1).plan(2).order, plans[2].order)
    other = key_schedule(2)
    assert not np.array_equal(other.plan(0).order, plans[0].order)
    keys = [one.plan(0).noise.key for one in (schedule, other)]
    assert keys[0] is not None
    assert keys[0] != keys[1]


def test_a_configuration_chooses_its_schedule():
    assert isinstance(make_schedule(CONDITIONAL_VAE, 300), KeySchedule)
    assert isinstance(make_schedule(CONDITIONAL_VAE.replace(replay="torch-1"), 300), TorchSchedule)


def test_batches_fill_up_with_minus_one():
    assert batches(np.arange(5), 2).tolist() == [[0, 1], [2, 3], [4, -1]]
    assert batches(np.arange(4), 2).tolist() == [[0, 1], [2, 3]]
    assert batches(np.arange(2), 3).dtype == np.int32
