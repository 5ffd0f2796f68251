"""The table: per layer, which torch tensor becomes which Flax variable, by what axis pattern."""
