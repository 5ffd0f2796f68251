"""Rules for recurrent layers and cells."""

from typing import Any

from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Code, Holes, LayerSetting, Out, RefusedError, Tensor, Writer

_CELLS = {"LSTM": "LSTMCell", "GRU": "GRUCell"}


def _cell(holes: Holes, kind: str, module: Any) -> str:
    if kind in _CELLS:
        return holes.piece(_CELLS[kind])
    return holes.piece("ReLUCell" if module.nonlinearity == "relu" else "SimpleCell")


@layer("LSTM", "GRU", "RNN")
def recurrent(holes: Holes, module: Any) -> LayerCode:
    if getattr(module, "proj_size", 0):
        raise RefusedError("has proj_size, which no recurrent layer of Flax has")
    new = holes.call(
        holes.piece("Recurrent"),
        (module.input_size, "in_features"),
        (module.hidden_size, "hidden_features"),
        cell=Code(_cell(holes, type(module).__name__, module)),
        num_layers=LayerSetting(module.num_layers, 1),
        bidirectional=LayerSetting(module.bidirectional, False),
        dropout_rate=LayerSetting(float(module.dropout), 0.0),
        use_bias=LayerSetting(module.bias, True),
        batch_first=LayerSetting(module.batch_first, False),
    )

    def call(w: Writer, layer: str, input: Any, hx: Any = None) -> Out:
        if not isinstance(input, Tensor):
            raise w.refuse(
                "is given a PackedSequence; give it the padded sequences, and mask what lies behind their ends"
            )
        return Out(f"{layer}({', '.join([w.plain(input), *_state(w, hx)])})")

    return LayerCode(new, call)


@layer("LSTMCell", "GRUCell", "RNNCell")
def cell(holes: Holes, module: Any) -> LayerCode:
    kind = type(module).__name__.removesuffix("Cell")
    features = (module.input_size, "in_features"), (module.hidden_size, "hidden_features")
    new = holes.call(_cell(holes, kind, module), *features, use_bias=LayerSetting(module.bias, True))

    def call(w: Writer, layer: str, input: Tensor, hx: Any = None) -> Out:
        code = w.plain(input)
        state = "".join(_state(w, hx)) or f"{layer}.start({code})"
        return Out(f"{layer}({state}, {code})[0]")

    return LayerCode(new, call)


def _state(w: Writer, given: Any) -> list[str]:
    """The expression of a state that is given, if one is."""
    if given is None:
        return []
    if isinstance(given, Tensor):
        return [w.plain(given)]
    return [f"({', '.join(w.plain(one) for one in given)})"]
