"""The rule for attention."""

from typing import Any

from jaxae.translation.rules import LayerCode, layer
from jaxae.translation.writer import Holes, LayerSetting, Out, RefusedError, Tensor, Writer


@layer("MultiheadAttention")
def attention(holes: Holes, module: Any) -> LayerCode:
    if module.bias_k is not None or module.bias_v is not None:
        raise RefusedError("has add_bias_kv, which no attention of Flax has")
    if module.add_zero_attn:
        raise RefusedError("has add_zero_attn, which no attention of Flax has")
    size = module.embed_dim
    new = holes.call(
        holes.piece("MultiHeadAttention"),
        (module.num_heads, "num_heads"),
        (size, "in_features"),
        key_features=LayerSetting(None if module.kdim == size else module.kdim, None),
        value_features=LayerSetting(None if module.vdim == size else module.vdim, None),
        dropout_rate=LayerSetting(module.dropout, 0.0),
        use_bias=LayerSetting(module.in_proj_bias is not None, True),
        batch_first=LayerSetting(module.batch_first, True),
    )

    def call(
        w: Writer,
        layer: str,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # says of the mask what it is: there is one always
    ) -> list[Out]:
        codes = [w.plain(one) for one in (query, key, value)]
        mask = _mask(w, module.num_heads, key_padding_mask, attn_mask)
        while len(codes) > 1 and codes[-1] == codes[-2]:
            codes.pop()
        given = [*codes, *([f"mask={mask}"] if mask else [])]
        outs = [Out(f"{layer}({', '.join(given)})")]
        if need_weights:
            name = w.piece("attention_weights" if average_attn_weights else "attention_weights_of_heads")
            given = [layer, w.plain(query), w.plain(key), *([mask] if mask else [])]
            outs.append(Out(f"{name}({', '.join(given)})"))
        return outs

    return LayerCode(new, call)


def _mask(w: Writer, heads: int, padding: Tensor | None, mask: Tensor | None) -> str:
    """Where to attend, or what to add to the scores; "" for neither."""
    parts: list[tuple[str, bool]] = []
    if mask is not None:
        code = w.plain(mask)
        if mask.ndim == 3:  # one for each head of each row
            code = f"{code}.reshape(-1, {heads}, {w.size(mask.shape[1])}, {w.size(mask.shape[2])})"
        parts.append((code, mask.is_float()))
    if padding is not None:
        index = "[:, None, None, :]" if padding.ndim == 2 else "[None, None, :]"
        parts.append((f"{w.plain(padding)}{index}", padding.is_float()))
    if not any(is_float for _, is_float in parts):
        codes = [code for code, _ in parts]
        return "" if not codes else f"~{codes[0]}" if len(codes) == 1 else f"~({' | '.join(codes)})"
    return " + ".join(code if is_float else f"jnp.where({code}, -jnp.inf, 0.0)" for code, is_float in parts)
