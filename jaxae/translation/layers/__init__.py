"""Rules for torch's layers."""
