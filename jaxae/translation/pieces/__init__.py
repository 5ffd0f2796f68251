"""What Flax and JAX lack and a translation needs: each is copied into the source that uses it, with what it uses."""
