"""Rules for the functions of torch.nn.functional that take weights: convolutions, norms, embeddings; and dropout."""

from typing import Any

from jaxae.translation.functions.arguments import each, image
from jaxae.translation.rules import function
from jaxae.translation.writer import Out, Tensor, Writer


def _convolution(space: int) -> None:
    def conv(
        w: Writer,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Out:
        if isinstance(padding, str):
            sizes = zip(weight.shape[2:], each(dilation, space), strict=True)
            around = [d * (k - 1) if padding == "same" else 0 for k, d in sizes]
            pairs = tuple((one // 2, one - one // 2) for one in around)
        else:
            pairs = tuple((one, one) for one in each(padding, space))
        settings = {"strides": (each(stride, space), 1), "dilation": (each(dilation, space), 1), "groups": (groups, 1)}
        more = _settings(w, {"padding": (pairs, (0, 0)), **settings})
        return Out(f"{w.piece('conv')}({image(w, input, space)}, {_weights(w, weight, bias)}{more})", last=True)

    def conv_transpose(
        w: Writer,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Out:
        names = {"strides": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        usual = {"strides": 1, "padding": 0, "output_padding": 0, "dilation": 1}
        settings = {name: (each(one, space), usual[name]) for name, one in names.items()}
        more = _settings(w, {**settings, "groups": (groups, 1)})
        code = f"{w.piece('conv_transpose')}({image(w, input, space)}, {_weights(w, weight, bias)}{more})"
        return Out(code, last=True)

    function(f"conv{space}d", channels=True)(conv)
    function(f"conv_transpose{space}d", channels=True)(conv_transpose)


def _weights(w: Writer, weight: Tensor, bias: Tensor | None) -> str:
    return ", ".join([w.plain(weight), *([bias.code] if bias is not None else [])])


def _settings(w: Writer, settings: dict[str, tuple[Any, Any]]) -> str:
    """What is not as usual, by name."""
    text = ""
    for name, (value, usual) in settings.items():
        if value != usual and not (isinstance(value, tuple) and set(value) == {usual}):
            text += f", {name}={w.literal(value, name)}"
    return text


for _space in (1, 2, 3):
    _convolution(_space)


def _scale(w: Writer, code: str, weight: Tensor | None, bias: Tensor | None, shape: str = "") -> str:
    """Times a weight and plus a bias."""
    code = f"{code} * {w.plain(weight)}{shape}" if weight is not None else code
    code = f"{code} + {w.plain(bias)}{shape}" if bias is not None else code
    return f"({code})" if weight is not None or bias is not None else code


@function("batch_norm", channels=True)
def batch_norm(
    w: Writer,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Out:
    """With the statistics that it is given; the batch's own where it is given none."""
    x, small = w.last(input), w.literal(eps, "eps")
    if running_mean is None or running_var is None:
        axes = tuple(range(max(input.ndim, 2) - 1))
        code = f"{w.piece('standardised')}({x}, {w.literal(axes)}, {small})"
    elif training:
        raise w.refuse("changes the statistics that it is given; use a torch.nn.BatchNorm")
    else:
        code = f"(({x} - {running_mean.code}) / jnp.sqrt({running_var.code} + {small}))"
    return Out(_scale(w, code, weight, bias), last=input.ndim >= 3)


@function("layer_norm")
def layer_norm(
    w: Writer,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Out:
    axes = tuple(range(-len(normalized_shape), 0))
    where = w.literal(axes[0] if len(axes) == 1 else axes)
    code = f"{w.piece('standardised')}({w.plain(input)}, {where}, {w.literal(eps, 'eps')})"
    return Out(_scale(w, code, weight, bias))


@function("rms_norm")
def rms_norm(
    w: Writer, input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Out:
    axes = tuple(range(-len(normalized_shape), 0))
    x = w.plain(input)
    small = f"jnp.finfo({input.code}.dtype).eps" if eps is None else w.literal(eps, "eps")
    mean = f"jnp.mean(jnp.square({x}), axis={w.literal(axes[0] if len(axes) == 1 else axes)}, keepdims=True)"
    return Out(_scale(w, f"({x} * lax.rsqrt({mean} + {small}))", weight, None))


@function("group_norm", channels=True)
def group_norm(
    w: Writer,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Out:
    code = f"{w.piece('group_norm')}({w.last(input)}, {w.literal(num_groups, 'groups')}, {w.literal(eps, 'eps')})"
    return Out(_scale(w, code, weight, bias), last=input.ndim >= 3)


@function("instance_norm", channels=True)
def instance_norm(
    w: Writer,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Out:
    if not use_input_stats:
        return batch_norm(w, input, running_mean, running_var, weight, bias, False, momentum, eps)
    if running_mean is not None:
        raise w.refuse("changes the statistics that it is given")
    axes = tuple(range(1, input.ndim - 1))
    where = w.literal(axes[0] if len(axes) == 1 else axes)
    code = f"{w.piece('standardised')}({w.last(input)}, {where}, {w.literal(eps, 'eps')})"
    return Out(_scale(w, code, weight, bias), last=True)


@function("local_response_norm", channels=True)
def local_response_norm(
    w: Writer, input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Out:
    given = ", ".join(map(w.literal, (size, alpha, beta, k)))
    return Out(f"{w.piece('local_response_norm')}({w.last(input)}, {given})", last=input.ndim >= 3)


@function("embedding")
def embedding(
    w: Writer,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Out:
    if max_norm is not None or scale_grad_by_freq:
        raise w.refuse("changes its weights or derivatives (max_norm, scale_grad_by_freq)")
    ids = w.plain(input)
    if padding_idx is None or padding_idx < 0:
        return Out(f"{weight.code}[{ids}]")
    return Out(f"{w.piece('embedded')}({weight.code}, {ids}, padding={w.literal(padding_idx, 'padding')})")


@function("one_hot")
def one_hot(w: Writer, tensor: Tensor, num_classes: int = -1) -> Out:
    if num_classes == -1:
        raise w.refuse("counts the classes in the data; give num_classes")
    return Out(f"nnx.one_hot({w.plain(tensor)}, {w.literal(num_classes, 'num_classes')}, dtype=int)")


def _dropout(name: str, whole_channels: bool) -> None:
    def rule(w: Writer, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Out:
        if p == 0:
            return w.elementwise("{}", input)
        if training and not w.training:
            raise w.refuse("drops in evaluation too (training=True); give training=self.training")
        more = ""
        if whole_channels:
            if input.ndim < 3:
                raise w.refuse("takes a batch of images")
            axes = [n for n, axis in enumerate(input.order) if axis >= 2]
            more = f", broadcast_dims={w.literal(tuple(axes), 'broadcast_dims')}"
        layer = w.make("dropout", f"nnx.Dropout({w.literal(p, 'rate')}{more}, rngs=rngs)")
        return w.elementwise(f"{layer}({{}})", input)

    function(name)(rule)


_dropout("dropout", False)
for _space in (1, 2, 3):
    _dropout(f"dropout{_space}d", True)


@function("alpha_dropout", "feature_alpha_dropout")
def alpha_dropout(w: Writer, input: Tensor, *_: Any, **__: Any) -> Out:
    raise w.refuse("has no counterpart in Flax; use dropout")
