"""Watch a torch module run: every operation that it asks torch for, every submodule that it calls, and from where.

The network runs on real tensors, so nothing in it is beyond reading: loops, helper functions and shapes are Python's as
ever. What the run decided by looking into a tensor (`if x.sum() > 0`) would hold for these inputs alone: it is refused.
"""

import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from jaxae.translation.graph import Body, Dtype, Graph, Op, Ref, Tree, Value, Where, refs
from torch_ref.calls import dtype_name, leaves

_TORCH = str(Path(torch.__file__).parent)
# What looks into a tensor and gives Python a number.
_LOOKS = frozenset(
    [
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "item",
        "tolist",
        "numpy",
        "__array__",
        "equal",
        "allclose",
        "is_nonzero",
        "__contains__",
    ]
)
# What is no variant of the function of the same name: it fills a tensor, and takes nothing of it but the shape.
_IN_PLACE_ALONE = {
    "normal_",
    "uniform_",
    "bernoulli_",
    "exponential_",
    "cauchy_",
    "log_normal_",
    "geometric_",
    "random_",
}
# What gives back the very tensor where there is nothing to convert.
_CASTS = {"to", "type", "type_as", "float", "double", "half", "bfloat16"}
_LARGEST_CONSTANT = 64  # elements of a tensor that came from outside, to be written into the source


class Watcher(TorchFunctionMode):
    """Notes down what a module does while it is called.

    Args:
        module: The network.
        is_leaf: Whether a submodule is one operation, whose inside is not looked at.

    Attributes:
        refusals: What cannot be translated, each with its place.
    """

    def __init__(self, module: torch.nn.Module, is_leaf: Callable[[torch.nn.Module], bool]):
        super().__init__()
        self.refusals: list[str] = []
        self.values: list[Value] = []
        self._module, self._is_leaf = module, is_leaf
        self._numbers: dict[int, int] = {}  # of tensors that are known, by identity
        self._kept: list[torch.Tensor] = []  # so that no identity is given to another
        self._stale: dict[int, str] = {}  # views and bases of what was overwritten, and where
        self._bodies: list[Body] = []
        self._codes: list[Any] = []  # of the forward of each of them
        self._calls: list[Op] = []  # the call of each of them
        self._count = 0  # of calls of modules
        self._within = 0  # leaves whose call is under way
        self._own: dict[int, str] = {}
        for name, one in [*module.named_parameters(), *module.named_buffers()]:
            self._own.setdefault(id(one), name)

    def watch(self, arguments: Sequence[torch.Tensor]) -> Graph:
        """Call the network and say what it did."""
        paths = {id(module): path for path, module in self._module.named_modules()}
        for one in arguments:
            self._add(one, data=True)
        with ExitStack() as stack:
            for module in self._module.modules():
                enter = partial(self._alone, self._enter, paths[id(module)])
                leave = partial(self._alone, self._leave)
                # Somebody's own hooks are operations beside the call; torch's that compute a weight are part of it.
                hooks = module._forward_pre_hooks.values()
                first = all(type(hook).__module__.startswith("torch.nn.utils") for hook in hooks)
                stack.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=first))
                stack.enter_context(module.register_forward_hook(leave, with_kwargs=True, prepend=True))
            stack.enter_context(_functions_told(self._custom))
            stack.enter_context(self)
            self._root = Op("", ((), {}), None, Where("", 0, ""), module=True)
            self._module(*arguments)
        assert self._root.body is not None
        return Graph(self._root.body, self.values)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        kwargs = kwargs or {}
        if self._within or not self._bodies:
            return func(*args, **kwargs)
        name = _short(func)
        where, direct = self._place()
        if name == "__setitem__":
            return self._overwrite(name, func, args, kwargs, where)
        arguments = self._tree((args, kwargs), where)
        versions = [one._version for one in _tensors((args, kwargs))]
        result = func(*args, **kwargs)
        if not _tensors(result):
            if name in _LOOKS and direct and any(self.values[one.index].data for one in refs(arguments)):
                self.refusals.append(f"{where}: it looks into a tensor ({name}), which holds for these inputs alone")
            return result
        written = [
            one for one, version in zip(_tensors((args, kwargs)), versions, strict=True) if one._version != version
        ]
        if name in _CASTS and any(result is one for one in args):  # in one precision, not in the other
            result = result.view_as(result)
        data = any(self.values[one.index].data for one in refs(arguments))
        for one in written:
            self._spoil(one, where)
        tree = self._results(result, data)
        self._bodies[-1].ops.append(Op(_without_underscore(name), arguments, tree, where))
        return result

    def _overwrite(self, name: str, func: Any, args: Any, kwargs: Any, where: Where) -> Any:
        target, _, value = args
        part_of_itself = torch.is_tensor(value) and _storage(value) == _storage(target)
        if part_of_itself:  # `x[:, 0] += 1` is a view taken, changed and put back: what it spoilt is put right again
            self._stale.pop(id(target), None)
        arguments = self._tree((args, kwargs), where)
        func(*args, **kwargs)
        self._spoil(target, where)
        data = any(self.values[one.index].data for one in refs(arguments))
        self._bodies[-1].ops.append(Op(name, arguments, self._results(target, data), where))
        return None

    def _spoil(self, target: torch.Tensor, where: Where) -> None:
        """After `target` was overwritten, its views and its base are no longer what they were computed as."""
        if (path := self._own.get(id(target))) is not None:
            self.refusals.append(f"{where}: it changes {path} in place, which a call of a Flax module does not")
        storage = _storage(target)
        for other in self._kept:
            if other is not target and id(other) in self._numbers and _storage(other) == storage:
                self._stale[id(other)] = str(where)
        self._stale.pop(id(target), None)

    def _alone(self, note: Callable[..., None], *arguments: Any) -> None:
        """Note the call of a module without noting what that asks torch for."""
        with torch._C.DisableTorchFunction():
            note(*arguments)

    def _enter(self, path: str, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if self._within:
            self._within += 1
            return
        where, _ = self._place()
        arguments = self._tree((args, kwargs), where)
        op = self._root
        if self._bodies:
            op = Op(path, arguments, None, where, module=True)
            self._bodies[-1].ops.append(op)
        if self._is_leaf(module) and self._bodies:
            self._within = 1
            self._leaf = op
            return
        op.body = Body(path, self._count, _named(module, *arguments))
        self._count += 1
        self._bodies.append(op.body)
        self._codes.append(getattr(type(module).forward, "__code__", None))
        self._calls.append(op)

    def _leave(self, module: torch.nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        if self._within:
            self._within -= 1
            if not self._within:
                data = any(self.values[one.index].data for one in refs(self._leaf.arguments))
                self._leaf.result = self._results(result, data)
            return
        op = self._calls.pop()
        body = self._bodies.pop()
        self._codes.pop()
        body.result = op.result = self._tree(result, op.where)

    def _place(self) -> tuple[Where, bool]:
        """Where the user's source is, and whether it asked torch itself; variables there are noted."""
        frame: FrameType | None = sys._getframe(2)
        direct = True
        # What a module of torch does by itself (a TransformerEncoder) is read as somebody's own.
        forward = self._codes[-1] if self._codes else None
        while frame is not None and _is_torchs(frame) and frame.f_code is not forward:
            direct = direct and frame.f_code.co_filename == __file__
            frame = frame.f_back
        if frame is None:
            return Where("", 0, ""), direct
        self._note_names(frame)
        file, line = frame.f_code.co_filename, frame.f_lineno
        return Where(file, line, linecache.getline(file, line).strip()), direct

    def _note_names(self, frame: FrameType) -> None:
        for name, held in frame.f_locals.items():
            several = isinstance(held, tuple | list) and len(held) <= 8
            for one in held if several else (held,):
                number = self._numbers.get(id(one)) if isinstance(one, torch.Tensor) else None
                if number is not None and not several and name.isidentifier():
                    self.values[number].names.setdefault(self._bodies[-1].number if self._bodies else 0, name)

    def _add(self, tensor: torch.Tensor, *, data: bool = False, path: str = "", constant: Any = None) -> Ref:
        kind = Dtype((dtype_name(tensor),))
        self.values.append(Value(tuple(tensor.shape), kind, path=path, constant=constant, data=data))
        self._numbers[id(tensor)] = len(self.values) - 1
        self._kept.append(tensor)
        return Ref(len(self.values) - 1)

    def _results(self, result: Any, data: bool) -> Tree:
        return self._plain(result, lambda tensor: self._add(tensor, data=data))

    def _tree(self, tree: Any, where: Where) -> Tree:
        return self._plain(tree, lambda tensor: self._known(tensor, where))

    def _known(self, tensor: torch.Tensor, where: Where) -> Ref:
        if id(tensor) in self._stale:
            place = self._stale.pop(id(tensor))
            self.refusals.append(f"{place}: it overwrites in place what {where} reads under another name")
        if id(tensor) in self._numbers:
            return Ref(self._numbers[id(tensor)])
        if id(tensor) in self._own:
            return self._add(tensor, path=self._own[id(tensor)])
        if tensor.grad_fn is not None:
            name = type(tensor.grad_fn).__name__
            self.refusals.append(f"{where}: it takes what {name} computed, which is none of torch's functions")
            return self._add(tensor, data=True)
        if tensor.numel() > _LARGEST_CONSTANT:
            self.refusals.append(
                f"{where}: it takes a tensor {tuple(tensor.shape)} that is no parameter or buffer; register it as one"
            )
        return self._add(tensor, constant=tensor.tolist() if tensor.numel() <= _LARGEST_CONSTANT else 0)

    def _custom(self, kind: type) -> None:
        where, _ = self._place()
        name = f"{kind.__module__}.{kind.__qualname__}"
        self.refusals.append(f"{where}: {name} is a torch.autograd.Function, whose derivative is its author's own")

    def _plain(self, tree: Any, of_tensor: Callable[[torch.Tensor], Any]) -> Tree:
        """A tree of plain values, with what a function gives for each tensor."""
        down = partial(self._plain, of_tensor=of_tensor)
        if isinstance(tree, torch.Tensor):
            return of_tensor(tree)
        if isinstance(tree, torch.dtype):
            return Dtype((str(tree).removeprefix("torch."),))
        if isinstance(tree, slice):
            return slice(down(tree.start), down(tree.stop), down(tree.step))
        if isinstance(tree, Mapping):
            return {key: down(child) for key, child in tree.items()}
        if isinstance(tree, tuple) and (names := getattr(tree, "_fields", None)) is not None:
            return {key: down(getattr(tree, key)) for key in names}
        if isinstance(tree, tuple | list):
            kind = list if isinstance(tree, list) else tuple
            return kind(down(child) for child in tree)
        if is_dataclass(tree) and not isinstance(tree, type):
            return {one.name: down(getattr(tree, one.name)) for one in fields(tree)}
        return tree


def _named(module: torch.nn.Module, args: tuple, kwargs: dict) -> dict[str, Tree]:
    """Arguments by the names of forward's parameters; those of `*inputs` are numbered."""
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    named: dict[str, Tree] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            several = len(value) > 1
            named |= {f"{name}{n}" if several else name.rstrip("s") or name: one for n, one in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _short(func: Any) -> str:
    """A function's name within torch: `relu` for torch's, a tensor's and torch.nn.functional's."""
    name = resolve_name(func) or getattr(func, "__qualname__", repr(func))
    name = name.removesuffix(".__get__")
    outer, _, last = name.rpartition(".")
    return f"linalg.{last}" if outer == "torch.linalg" else f"fft.{last}" if outer == "torch.fft" else last


def _without_underscore(name: str) -> str:
    return name if name.startswith("__") or name in _IN_PLACE_ALONE else name.rstrip("_")


def _is_torchs(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith((_TORCH, "<")) or file == __file__


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for _, leaf in leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextmanager
def _functions_told(tell: Callable[[type], None]) -> Iterator[None]:
    """Tell of the use of a torch.autograd.Function, which torch's own switch of functions does not show."""
    kind: Any = torch.autograd.Function
    plain = kind.__dict__["apply"]

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        tell(cls)
        return plain.__get__(None, cls)(*args, **kwargs)

    kind.apply = classmethod(apply)
    try:
        yield
    finally:
        kind.apply = plain
