"""Layers that nnx.vmap stacked for nnx.scan: one leading axis in Flax, a list of modules in torch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from jaxae import port
from jaxae.errors import InputError

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def stack(make, count, rngs):
    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def build(own):
        return make(own)

    return build(rngs)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.fc1 = nnx.Linear(4, 8, rngs=rngs)
        self.fc2 = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return x + self.fc2(nnx.relu(self.fc1(self.norm(x))))


class Scanned(nnx.Module):
    def __init__(self, rngs, count=3):
        self.embed = nnx.Linear(6, 4, rngs=rngs)
        self.blocks = stack(Block, count, rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def run(block, x):
            return block(x)

        return self.head(run(self.blocks, self.embed(x)))


class TorchBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


class Listed(nn.Module):
    def __init__(self, count=3, name="blocks", backwards=False):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 4), nn.Linear(4, 2)
        setattr(self, name, nn.ModuleList(TorchBlock() for _ in range(count)))
        self.name, self.backwards = name, backwards

    def forward(self, x):
        x = self.embed(x)
        blocks = list(getattr(self, self.name))
        for block in blocks[::-1] if self.backwards else blocks:
            x = block(x)
        return self.head(x)


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def apart(ours, theirs) -> float:
    with torch.no_grad():
        return float(np.abs(np.asarray(ours(X)) - theirs(torch.from_numpy(X)).numpy()).max())


def same(ours: dict, theirs: dict) -> bool:
    return set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("abstract", [False, True])
def test_a_list_of_blocks_and_back(abstract):
    theirs = Listed()
    ours = nnx.eval_shape(lambda: Scanned(rngs())) if abstract else Scanned(rngs())
    report = port.from_torch(ours, theirs)
    assert apart(ours, theirs) < 1e-5
    assert same(port.to_torch(ours), theirs.state_dict())
    assert list(port.to_torch(ours, like=theirs)) == list(theirs.state_dict())
    assert "blocks.fc1.kernel[2]" in str(report)
    assert any("'blocks.{}.fc1'" in note for note in report.notes)


def test_it_is_proven():
    report = port.from_torch(Scanned(rngs()), Listed(), inputs=X)
    assert report.proof.startswith("proven at")
    state = port.to_torch(Scanned(rngs()), like=Listed(), inputs=X)
    assert set(state) == set(Listed().state_dict())


def test_blocks_that_run_in_another_order_are_refused():
    ours = Scanned(rngs())
    before = jax.tree.leaves(nnx.state(ours))
    with pytest.raises(InputError, match="expected networks that give the same, got a difference"):
        port.from_torch(ours, Listed(backwards=True), inputs=X)
    assert all(one is other for one, other in zip(jax.tree.leaves(nnx.state(ours)), before, strict=True))


@pytest.mark.parametrize(
    "names", [{"blocks": "h"}, {"blocks": "h.{}"}, lambda path: path.replace("blocks", "h")], ids=["list", "{}", "def"]
)
def test_other_names(names):
    theirs, ours = Listed(name="h"), Scanned(rngs())
    port.from_torch(ours, theirs, names=names)
    assert apart(ours, theirs) < 1e-5
    assert same(port.to_torch(ours, names=names), theirs.state_dict())


@pytest.mark.parametrize(("there", "message"), [(2, "missing 'blocks.2.fc1.weight'"), (4, "unexpected 'blocks.3.fc1")])
def test_another_number_of_blocks_is_refused(there, message):
    with pytest.raises(InputError, match=message):
        port.from_torch(Scanned(rngs()), Listed(there))


def test_files_keep_the_stack(tmp_path):
    theirs, ours, loaded = Listed(), Scanned(rngs()), Scanned(nnx.Rngs(1))
    port.from_torch(ours, theirs)
    for layout in ("flax", "torch"):
        port.save(tmp_path / "a.safetensors", ours, layout=layout)
        port.load(loaded, tmp_path / "a.safetensors")
        assert apart(loaded, theirs) < 1e-5


class Convolutional(nnx.Module):
    """Convolutions without a bias, whose kernel's rank alone does not tell a stack, and norms with statistics."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 2, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(2, momentum=0.9, rngs=rngs)
        self.still = nnx.InstanceNorm(2, use_bias=False, use_scale=False, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((2, 1)))


class TorchConvolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2, 1e-5)
        self.still, self.scale = nn.InstanceNorm2d(2, 1e-6), nn.Parameter(torch.randn(2, 1))


class Deep(nnx.Module):
    def __init__(self, rngs):
        self.stages = stack(lambda own: Stage(own), 2, rngs)


class Stage(nnx.Module):
    def __init__(self, rngs):
        self.blocks = stack(Convolutional, 3, rngs)
        self.down = nnx.Conv(2, 2, (2, 2), rngs=rngs)


class TorchStage(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(TorchConvolutional() for _ in range(3))
        self.down = nn.Conv2d(2, 2, 2, padding="same")


class TorchDeep(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(TorchStage() for _ in range(2))


def test_stacks_in_stacks_with_every_kind_of_variable():
    theirs: Any = TorchDeep()
    ours = Deep(rngs())
    with torch.no_grad():
        for buffer in theirs.buffers():
            buffer.copy_(torch.rand(buffer.shape)) if buffer.is_floating_point() else buffer.fill_(7)
    report = port.from_torch(ours, theirs)
    kernel = ours.stages.blocks.conv.kernel[...]
    assert kernel.shape == (2, 3, 3, 3, 2, 2)
    block = theirs.stages[1].blocks[2]
    np.testing.assert_array_equal(kernel[1, 2].transpose(3, 2, 0, 1), block.conv.weight.detach())
    np.testing.assert_array_equal(ours.stages.blocks.norm.var[1, 2], block.norm.running_var)
    np.testing.assert_array_equal(ours.stages.blocks.scale[1, 2], block.scale.detach())
    state = port.to_torch(ours, like=theirs, carried=report.carried)
    assert same(state, theirs.state_dict())


def test_settings_are_held_against_every_layer():
    theirs: Any = TorchDeep()
    theirs.stages[1].blocks[2].norm.eps = 0.1
    with pytest.raises(InputError, match=r"'stages.blocks.norm': eps is 0.1 in torch"):
        port.from_torch(Deep(rngs()), theirs)


def step(theirs, optimizer):
    optimizer.zero_grad()
    theirs(torch.from_numpy(X)).square().mean().backward()
    optimizer.step()


def test_an_optimizer_goes_on():
    theirs, ours = Listed(), Scanned(rngs())
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-2)
    for _ in range(3):
        step(theirs, optimizer)
    port.from_torch(ours, theirs)
    moved = port.optimizer_from_torch(ours, optimizer, theirs)
    back = port.optimizer_to_torch(ours, moved.state, moved.groups)["state"]
    for number, held in optimizer.state_dict()["state"].items():
        assert same(back[number], held)


def test_layers_of_a_stack_that_are_trained_otherwise_are_refused():
    theirs: Any = Listed()
    ours = Scanned(rngs())
    theirs.blocks[1].fc1.requires_grad_(False)
    optimizer = torch.optim.Adam([one for one in theirs.parameters() if one.requires_grad], 1e-2)
    step(theirs, optimizer)
    with pytest.raises(InputError, match=r"'blocks.fc1.kernel' holds stacked layers, of which torch leaves out some"):
        port.optimizer_from_torch(ours, optimizer, theirs)


class Otherwise(nn.Module):
    """The same blocks under names of its own, with layers of one shape that run in another order than declared."""

    def __init__(self):
        super().__init__()
        self.out, self.into = nn.Linear(4, 2), nn.Linear(6, 4)
        self.layer = nn.ModuleList(
            nn.ModuleDict({"second": nn.Linear(4, 4), "ln": nn.LayerNorm(4), "first": nn.Linear(4, 4)})
            for _ in range(3)
        )

    def forward(self, x):
        x = self.into(x)
        blocks: Any = self.layer
        for block in blocks:
            x = x + block["second"](torch.relu(block["first"](block["ln"](x))))
        return self.out(x)


class Square(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.fc1, self.fc2 = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return x + self.fc2(nnx.relu(self.fc1(self.norm(x))))


class ScannedSquare(Scanned):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.blocks = stack(Square, 3, rngs)


def test_no_name_is_needed_where_both_run():
    theirs, ours = Otherwise(), ScannedSquare(rngs())
    report = port.from_torch(ours, theirs, inputs=X)
    assert report.proof.startswith("proven at")
    assert apart(ours, theirs) < 1e-5
    state = port.to_torch(ours, like=theirs, inputs=X)
    assert same(state, theirs.state_dict())
