"""Rules for linear layers and embeddings."""

from typing import Any

from jaxae.translation.layers.reparametrised import Raw, in_norm, raw, remedy
from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Holes, LayerSetting, Out, RefusedError, Tensor, Writer


@layer("Linear", "NonDynamicallyQuantizableLinear", norms=True)
def linear(holes: Holes, module: Any) -> LayerCode:
    features = (module.in_features, "in_features"), (module.out_features, "out_features")
    new = holes.call("nnx.Linear", *features, use_bias=LayerSetting(module.bias is not None, True))
    if raw(module) is not Raw.PLAIN:
        return LayerCode(in_norm(holes, module, new))
    return LayerCode(new, weights={"weight": "{}.kernel[...].T", "bias": "{}.bias[...]"})


@layer("Bilinear")
def bilinear(holes: Holes, module: Any) -> LayerCode:
    features = (
        (module.in1_features, "first_features"),
        (module.in2_features, "second_features"),
        (module.out_features, "out_features"),
    )
    name = holes.piece("Bilinear")
    new = holes.call(name, *features, use_bias=LayerSetting(module.bias is not None, True))

    def call(w: Writer, layer: str, input1: Tensor, input2: Tensor) -> Out:
        return Out(f"{layer}({w.plain(input1)}, {w.plain(input2)})")

    return LayerCode(new, call, weights={"weight": "{}.weight[...]", "bias": "{}.bias[...]"})


@layer("Identity")
def identity(holes: Holes, module: Any) -> LayerCode:
    return LayerCode(call=lambda w, _, input: Out(input.code, input.last))


@layer("Embedding", norms=True)
def embedding(holes: Holes, module: Any) -> LayerCode:
    if module.max_norm is not None:
        raise RefusedError(
            "has max_norm, by which torch overwrites rows of the table when it reads them; scale the table once instead"
        )
    norm = raw(module)
    if norm is Raw.WEIGHT_NORM or (norm is Raw.SPECTRAL_NORM and module.padding_idx is not None):
        raise RefusedError(f"has a {norm.value}; {remedy(norm)}")
    features = (module.num_embeddings, "num_embeddings"), (module.embedding_dim, "features")
    weights = {"weight": "{}.embedding[...]"}
    if module.padding_idx is not None:
        return LayerCode(holes.call(holes.piece("PaddedEmbed"), *features, padding=module.padding_idx), weights=weights)
    new = holes.call("nnx.Embed", *features)
    return LayerCode(new, weights=weights) if norm is Raw.PLAIN else LayerCode(in_norm(holes, module, new))


@layer("EmbeddingBag")
def embedding_bag(holes: Holes, module: Any) -> LayerCode:
    raise RefusedError("is an EmbeddingBag, which Flax lacks; write it as an Embedding and a sum or mean of its rows")
