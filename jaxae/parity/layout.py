"""Temporary."""
import numpy as np

def from_state_dict(state):
    tree = {}
    for name, tensor in state.items():
        layer, kind = name.rsplit(".", 1)
        value = tensor.detach().numpy().copy()
        if kind == "weight":
            value = value.T if value.ndim == 2 else value.transpose(2, 3, 1, 0)
            kind = "kernel"
        tree.setdefault(layer, {})[kind] = np.ascontiguousarray(value)
    return tree

def to_named(tree):
    out = {}
    for layer, leaves in tree.items():
        for kind, value in leaves.items():
            value = np.asarray(value)
            if kind == "kernel":
                value = value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
                kind = "weight"
            out[f"{layer}.{kind}"] = value
    return out
