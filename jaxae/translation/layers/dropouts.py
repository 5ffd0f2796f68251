"""Rules for dropout in its kinds."""

from typing import Any

from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Holes, LayerSetting, Out, Tensor, Writer


@layer("Dropout")
def dropout(holes: Holes, module: Any) -> LayerCode:
    return LayerCode(holes.call("nnx.Dropout", (module.p, "rate")), _as_it_comes)


@layer("AlphaDropout")
def alpha_dropout(holes: Holes, module: Any) -> LayerCode:
    return LayerCode(holes.call(holes.piece("AlphaDropout"), (module.p, "rate")), _as_it_comes)


@layer("Dropout1d", "Dropout2d", "Dropout3d")
def channel_dropout(holes: Holes, module: Any) -> LayerCode:
    rank = int(type(module).__name__[-2])
    axes = tuple(range(1, rank + 1))
    return LayerCode(
        holes.call("nnx.Dropout", (module.p, "rate"), broadcast_dims=axes), _of_channels(rank), channels=True
    )


@layer("FeatureAlphaDropout")
def feature_alpha_dropout(holes: Holes, module: Any) -> LayerCode:
    axes = (1, 2)
    new = holes.call(holes.piece("AlphaDropout"), (module.p, "rate"), broadcast_dims=LayerSetting(axes, ()))
    return LayerCode(new, _of_channels(2), channels=True)


def _as_it_comes(w: Writer, layer: str, input: Tensor) -> Out:
    return Out(f"{layer}({input.code})", input.last)


def _of_channels(rank: int) -> Any:
    """The call of a dropout of whole channels, which stand at the end."""

    def call(w: Writer, layer: str, input: Tensor) -> Out:
        if input.ndim != rank + 2:
            raise w.refuse(f"drops whole channels of an array of {input.ndim} axes; give it {rank + 2}")
        return Out(f"{layer}({w.last(input)})", last=True)

    return call


@layer("RReLU")
def rrelu(holes: Holes, module: Any) -> LayerCode:
    return LayerCode(holes.call(holes.piece("RReLU"), (module.lower, "lower"), (module.upper, "upper")), _as_it_comes)


@layer("PReLU")
def prelu(holes: Holes, module: Any) -> LayerCode:
    if module.num_parameters == 1:
        new = holes.call("nnx.PReLU", negative_slope_init=LayerSetting(0.25, 0.01), rngs=False)
        return LayerCode(new, _as_it_comes, weights={"weight": "{}.negative_slope[...][None]"})
    new = holes.call(holes.piece("ChannelPReLU"), (module.num_parameters, "num_features"))

    def call(w: Writer, layer: str, input: Tensor) -> Out:
        return Out(f"{layer}({w.last(input)})", last=input.ndim >= 3)

    return LayerCode(new, call, channels=True, weights={"weight": "{}.weight[...]"})
