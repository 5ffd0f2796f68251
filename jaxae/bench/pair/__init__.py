"""A pair of your own: the same network in torch and in Flax, timed on equal terms."""
