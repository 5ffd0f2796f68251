"""What XLA makes of the programs on a GPU that is only described, and a model of their time."""
