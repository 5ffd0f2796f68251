"""Trained models as files of other runtimes: ONNX graphs, and StableHLO programs."""
