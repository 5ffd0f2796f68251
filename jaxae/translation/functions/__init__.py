"""Rules for torch's functions."""
