"""What a torch module is: a sequence, a list, a container; and which of its tensors are one."""

from collections.abc import Mapping

import torch


def is_sequence(module: torch.nn.Module) -> bool:
    """Whether a module is a sequence and nothing else."""
    return isinstance(module, torch.nn.Sequential) and type(module).forward is torch.nn.Sequential.forward


def is_plain_sequence(module: torch.nn.Module) -> bool:
    """Whether a module is torch's own sequence."""
    return type(module) is torch.nn.Sequential


def is_container(module: torch.nn.Module) -> bool:
    """Whether a module is torch's own and only holds others, or tensors."""
    others = torch.nn.ModuleDict, torch.nn.ParameterList, torch.nn.ParameterDict
    return is_list(module) or type(module) in others


def is_list(module: torch.nn.Module) -> bool:
    """Whether a module is torch's own list or sequence; a class that extends one is somebody's own."""
    return type(module) in (torch.nn.ModuleList, torch.nn.Sequential)


def ties(module: torch.nn.Module) -> dict[str, str]:
    """Names of tensors that are one, each with the first."""
    first: dict[int, str] = {}
    ties = {}
    for name, one in module.named_parameters(remove_duplicate=False):
        if first.setdefault(id(one), name) != name:
            ties[name] = first[id(one)]
    return ties


def attended(modules: Mapping[str, torch.nn.Module], tied: Mapping[str, str], path: str) -> str:
    """The embedding whose table a linear layer without bias has for its weight; "" for other layers."""
    first = tied.get(f"{path}.weight", "").rpartition(".")[0]
    module = modules[path]
    shares = type(module) is torch.nn.Linear and module.bias is None and first in modules
    return first if shares and type(modules[first]) is torch.nn.Embedding else ""
