"""Where the source has each of torch's modules."""

from collections.abc import Callable, Mapping

import torch

from jaxae.port.names import join
from jaxae.translation.modules import is_list


class Places:
    """The way to each module.

    Args:
        modules: torch's modules by their paths.
        chains: Elements of sequences, each with the path of torch's layer; filled while the source is written.
        is_used: Whether the source has the module at a path.
    """

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        chains: Mapping[str, list[tuple[str, str | None]]],
        is_used: Callable[[str], bool],
    ):
        self._modules, self._chains, self._is_used = modules, chains, is_used

    def listed(self, path: str) -> list[str]:
        """Paths of the elements of a list that the source has."""
        return [one for name, _ in self._modules[path].named_children() if self._is_used(one := join(path, name))]

    def expression(self, above: str, path: str) -> str:
        """The expression for a submodule inside the methods of a module above it."""
        text = "self"
        here = above
        names = path[len(here) + 1 if here else 0 :].split(".") if path != here else []
        steps = iter(self.steps(path, above))
        for name in names:
            step = next(steps)
            if here in self._chains:  # the elements of a sequence are its `layers`
                text, step = f"{text}.layers", next(steps)
            keyed = isinstance(step, int) or type(self._modules[here]) is torch.nn.ModuleDict
            text += f"[{step!r}]" if keyed else f".{step}"
            here = join(here, name)
        return text

    def steps(self, path: str, above: str = "") -> list[str | int]:
        """The attributes and indices that lead to a submodule from one above it."""
        relative = path[len(above) + 1 if above else 0 :]
        steps: list[str | int] = []
        here = above
        for name in relative.split(".") if relative else ():
            parent, child = self._modules[here], join(here, name)
            if here in self._chains:
                steps += ["layers", next(n for n, (_, one) in enumerate(self._chains[here]) if one == child)]
            elif is_list(parent):
                steps.append(self.listed(here).index(child))
            else:
                steps.append(name)
            here = child
        return steps
