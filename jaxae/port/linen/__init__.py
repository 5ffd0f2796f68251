"""Linen: variables dicts and modules of `flax.linen`, seen as the NNX layers that they correspond to."""
