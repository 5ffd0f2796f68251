"""A model as an ONNX graph, written node by node from its operations.

Not by a converter of jaxprs: there the feature-major lowering becomes gathers that ONNX's runtime refuses, and a batch
of any size is lost. An operation here is one ONNX node, or a few.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxae.network.operations import Operation
from jaxae.storage.extra import extra

OPSET = 17
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


@dataclass
class OnnxGraph:
    """A graph as it grows; names of values are what its methods take and give.

    Attributes:
        nodes: Nodes in the order in which they run.
        constants: Weights and other constants.
    """

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        """Add a node with one output; the output's name."""
        helper = extra("onnx.helper", "onnx", "onnx")
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray, what: str = "of") -> str:
        """Add a constant; its name."""
        numpy_helper = extra("onnx.numpy_helper", "onnx", "onnx")
        name = f"constant_{len(self.constants)}_{what}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def follow(self, operations: Sequence[Operation], x: str, labels: str = "") -> str:
        """Add operations on a value, one after another; the last one's output."""
        for operation in operations:
            x = self._add(operation, x, labels)
        return x

    def _add(self, operation: Operation, x: str, labels: str) -> str:
        settings = operation.settings
        match operation.kind:
            case "channels_first":
                return self.node("Transpose", x, perm=[0, 3, 1, 2])
            case "channels_last":
                return self.node("Transpose", x, perm=[0, 2, 3, 1])
            case "flatten":
                return self.node("Flatten", x, axis=1)
            case "unflatten":
                shape = self.constant(np.array([-1, *settings["shape"]], np.int64), "shape")
                return self.node("Reshape", x, shape)
            case "linear":
                return self.node("Gemm", x, *self._weights(operation), transB=1)
            case "conv" | "deconv":
                high, wide = settings["padding"]
                window: dict[str, Any] = {"strides": settings["stride"], "pads": [high, wide, high, wide]}
                if operation.kind == "conv":
                    return self.node("Conv", x, *self._weights(operation), **window)
                window["output_padding"] = settings["output_padding"]
                return self.node("ConvTranspose", x, *self._weights(operation), **window)
            case "leaky_relu":
                return self.node("LeakyRelu", x, alpha=0.01)
            case "class_vector":
                return self.node("Concat", x, self._one_hot(labels, settings["classes"]), axis=1)
            case "class_planes":
                return self._with_planes(x, labels, settings["classes"])
            case kind:
                return self.node(_ACTIVATIONS[kind], x)

    def _weights(self, operation: Operation) -> list[str]:
        return [
            self.constant(array, operation.kind) for array in (operation.weight, operation.bias) if array is not None
        ]

    def _one_hot(self, labels: str, classes: int) -> str:
        depth = self.constant(np.array(classes, np.int64), "classes")
        labels = self.node("Cast", labels, to=extra("onnx", "onnx", "onnx").TensorProto.INT64)
        return self.node("OneHot", labels, depth, self.constant(np.array([0, 1], np.float32), "off_on"), axis=-1)

    def _with_planes(self, x: str, labels: str, classes: int) -> str:
        """One-hot planes of an image's size: the vector, expanded to what the image's shape says."""
        vector = self.node(
            "Reshape", self._one_hot(labels, classes), self.constant(np.array([-1, classes, 1, 1]), "shape")
        )
        shape = self.node("Shape", x)
        size = self.node("Slice", shape, self.constant(np.array([2]), "from"), self.constant(np.array([4]), "to"))
        ones = self.constant(np.array([1, 1]), "ones")
        planes = self.node("Expand", vector, self.node("Concat", ones, size, axis=0))
        return self.node("Concat", x, planes, axis=1)
