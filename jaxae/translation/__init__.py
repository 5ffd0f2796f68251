"""A torch module becomes readable Flax source, with proof."""
