"""Settings of the networks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

from jaxae.bounds import Checked, Count, CountOrZero, Range, Widths, require

Activation = Literal["leaky_relu", "relu", "tanh"]
Initialization = Literal["post", "intended", "torch"]
Lowering = Literal["auto", "plain", "matmul"]
Likelihood = Literal["bernoulli", "gaussian", "discretized-logistic"]
Scale = Literal["fixed", "learned", "per-pixel"]
# Of pixels in [0, 1]: far below a grey level to far above all of them.
ScaleValue = Annotated[float, Range(1e-6, 1e6)]


@dataclass(frozen=True)
class AutoencoderConfig(Checked):
    """A fully connected autoencoder, mirrored about its last hidden layer.

    Attributes:
        num_features: Number of features of one example, 784 for the post's images.
        hidden: Widths of the layers from the input to the code: (32,) is the post's 784-32-784, (128, 32) is
            784-128-32-128-784.
        activation: Function after every layer but the last, which the sigmoid follows.
        initialization: Layers whose fresh weights are of N(0, 0.1), with biases of zero, where the others have torch's
            defaults: "post" is linear_1 alone, as the post's code has it; "intended" is linear_1 and linear_2, which
            it means; "torch" is none.
        lowering: Form of the layers as XLA operations; the function computed is the same. "auto" is "plain", as there
            are no convolutions.
    """

    num_features: Count = 784
    hidden: Widths = (32,)
    activation: Activation = "leaky_relu"
    initialization: Initialization = "post"
    lowering: Lowering = "auto"

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.hidden[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the linear layers, input to reconstruction."""
        return (self.num_features, *self.hidden, *reversed(self.hidden[:-1]), self.num_features)


@dataclass(frozen=True)
class VAEConfig(Checked, ABC):
    """What the settings of every VAE of images hold; a network's own come beside them.

    Attributes:
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 makes the plain VAE.
        lowering: Form of the layers as XLA operations; the function computed is the same. "auto" takes what was
            measured to be the fastest on the backend.
        likelihood: Distribution of a pixel: "bernoulli", whose cross-entropy stands for grey values too; "gaussian", a
            density of pixels in [0, 1]; or "discretized-logistic", a probability of each of 256 grey values. Its mean
            (the logistic's location) is the reconstruction.
        scale: Origin of the Gaussian's standard deviation or the logistic's scale: "fixed", "learned" as one number for
            all pixels, or "per-pixel", which the decoder says for each pixel of each image.
        scale_value: The fixed scale, or the one that a learned one starts from, in units of pixels in [0, 1].
    """

    num_latent: Count = 50
    num_classes: CountOrZero = 10
    lowering: Lowering = "auto"
    likelihood: Likelihood = "bernoulli"
    scale: Scale = "learned"
    scale_value: ScaleValue = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "scale_value"):
            value = getattr(self, name)
            told = f"no {name} of a Bernoulli likelihood, which has none"
            require(self.likelihood != "bernoulli" or value == getattr(VAEConfig, name), told, value)

    @property
    def learns_scale(self) -> bool:
        """Whether one of the network's parameters is the scale of all pixels."""
        return self.likelihood != "bernoulli" and self.scale == "learned"

    @property
    def num_decoded_channels(self) -> int:
        """Channels that the decoder computes: the reconstruction's, and with scales per pixel as many of these."""
        return self.num_output_channels * (2 if self.scale == "per-pixel" else 1)

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.num_latent

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return 28, 28, 1

    @property
    @abstractmethod
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image's, and the planes of a reconstructed condition."""


@dataclass(frozen=True)
class ConditionalVAEConfig(VAEConfig):
    """The post's convolutional VAE, conditioned on a class.

    Attributes:
        reconstruct_condition: Whether the one-hot planes of the class are reconstructed beside the
            image (1 + num_classes output channels), which the post has commented out.
        output_leaky_relu: Whether leaky_relu is applied to the last deconvolution before the
            sigmoid, as the post's code does.
    """

    reconstruct_condition: bool = False
    output_leaky_relu: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.num_classes > 0 or not self.reconstruct_condition,
            "num_classes above 0 where the condition is reconstructed",
            self.num_classes,
        )
        require(self.likelihood == "bernoulli", "the post's likelihood, bernoulli, for the post's VAE", self.likelihood)

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image, and the planes of a reconstructed condition."""
        return 1 + (self.num_classes if self.reconstruct_condition else 0)


@dataclass(frozen=True)
class DenseVAEConfig(VAEConfig):
    """The literature's fully connected VAE: 784-200-200-50 and back, by default without a condition.

    Attributes:
        hidden: Widths of the encoder's layers from the image to the code; the decoder has them in reverse.
        activation: Function after each of these layers.
    """

    num_classes: CountOrZero = 0
    hidden: Widths = (200, 200)
    activation: Activation = "tanh"

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image alone."""
        return 1


@dataclass(frozen=True)
class ConvVAEConfig(VAEConfig):
    """A convolutional VAE of images of any size, grey or in colour, by default without a condition.

    Each of the encoder's convolutions halves the sides (kernel 4, stride 2, padding 1, as in DCGAN, arXiv:1511.06434),
    each of the decoder's doubles them.

    Attributes:
        height: Height of the images.
        width: Width of the images.
        channels: Number of channels of the images, 1 for grey and 3 for colour.
        widths: Numbers of channels after each of the encoder's convolutions; the decoder has them in reverse.
        activation: Function after each of these layers.
    """

    num_classes: CountOrZero = 0
    height: Count = 64
    width: Count = 64
    channels: Count = 3
    widths: Widths = (32, 64, 128)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        most = min(self.height, self.width).bit_length() - 1
        require(
            len(self.widths) <= most,
            f"at most {most} widths, as each halves the sides of {self.height} by {self.width}",
            len(self.widths),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.height, self.width, self.channels

    @property
    def sides(self) -> tuple[tuple[int, int], ...]:
        """Height and width before, between and after the encoder's convolutions."""
        return tuple((self.height >> n, self.width >> n) for n in range(len(self.widths) + 1))

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image's."""
        return self.channels


ModelConfig = AutoencoderConfig | VAEConfig
