"""`python -m torch_ref.train ae|cvae|dense-vae`: the post's training scripts as a command."""

from .ending import carry_out, note_saved, watch

if __name__ == "__main__":
    watch()  # before torch is imported, which takes a while

import argparse
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from .batches import shuffled_batches
from .checkpoint import check_writable, save_checkpoint
from .data import Dataset, load_arrays, load_idx
from .dense_vae import DenseVariationalAutoencoder
from .errors import InputError
from .loops import evaluate, train_autoencoder, train_cvae
from .models import ACTIVATIONS, INITIALIZATIONS, Autoencoder, ConditionalVariationalAutoencoder, VariationalAutoencoder


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


# By its path: torch_ref imports nothing of jaxae.
MNIST = Path(__file__).resolve().parents[1] / "jaxae" / "data" / "mnist_idx"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Settings of a run; the defaults are the original notebooks'. Raises InputError."""
    parser = _Parser(prog="python -m torch_ref.train", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="ae|cvae|dense-vae")
    ae = commands.add_parser("ae", help="the fully connected autoencoder", allow_abbrev=False)
    cvae = commands.add_parser("cvae", help="the conditional VAE", allow_abbrev=False)
    dense = commands.add_parser("dense-vae", help="the fully connected VAE", allow_abbrev=False)
    for command in (ae, cvae, dense):
        source = command.add_mutually_exclusive_group()
        source.add_argument(
            "--data-dir", metavar="FOLDER", help="a folder of MNIST's IDX files (default: those that come with jaxae)"
        )
        source.add_argument("--arrays", metavar="FILE.npz", help="arrays that jaxae saved")
        command.add_argument("--epochs", type=int, help="default: %(default)s")
        command.add_argument("--batch-size", type=int, help="default: %(default)s")
        command.add_argument("--learning-rate", type=float, help="default: %(default)s")
        command.add_argument("--seed", type=int, help="default: %(default)s")
        command.add_argument(
            "--replay",
            choices=("torch-1", "torch"),
            help="draw the batch order as torch 1.x's DataLoader did, or as today's does",
        )
        command.add_argument("--save", metavar="FILE.pt", help="write weights and optimizer")
        command.add_argument("--log-every", type=int, default=50, metavar="BATCHES", help="default: 50")
        command.add_argument("--device", help="as torch names it; default: cuda:0, else cpu")
        command.add_argument("--dtype", choices=("float32", "float64"), default="float32")
        command.add_argument("--threads", type=int, help="CPU threads; default: torch's own")
    ae.set_defaults(epochs=5, batch_size=256, learning_rate=0.005, seed=123)
    ae.add_argument("--initialization", choices=INITIALIZATIONS, default="post", help="layers drawn from N(0, 0.1)")
    for command, hidden, activation in ((ae, [32], "leaky_relu"), (dense, [200, 200], "tanh")):
        command.add_argument(
            "--hidden", type=int, nargs="+", default=hidden, metavar="SIZE", help="default: %(default)s"
        )
        command.add_argument("--activation", choices=tuple(ACTIVATIONS), default=activation)
    for command, classes in ((cvae, 10), (dense, 0)):
        command.set_defaults(epochs=50, batch_size=128, learning_rate=0.001, seed=0)
        command.add_argument("--num-latent", type=int, default=50, help="default: 50")
        command.add_argument("--num-classes", type=int, default=classes, help="default: %(default)s; 0: the plain VAE")
        command.add_argument("--beta", type=float, default=1.0, help="weight of the KL term; default: 1")
    cvae.add_argument("--reconstruct-condition", action="store_true", help="reconstruct image and class planes")
    cvae.add_argument(
        "--no-output-leaky-relu",
        dest="output_leaky_relu",
        action="store_false",
        help="drop the post's leaky_relu before the sigmoid",
    )
    return parser.parse_args(argv)


def run(settings: argparse.Namespace) -> None:
    """Load, train, evaluate and save as the settings say. Raises InputError."""
    _check_numbers(settings)
    device = _device(settings.device)
    if settings.save:
        check_writable(settings.save, inputs=(settings.arrays, settings.data_dir, MNIST))
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    folder = MNIST if settings.data_dir is None else settings.data_dir
    data = load_arrays(settings.arrays) if settings.arrays else load_idx(folder)
    _check_data(settings, data)

    batches = shuffled_batches(data.train, settings.batch_size, settings.replay)
    schedule = {
        "num_epochs": settings.epochs,
        "log_every": settings.log_every,
        "log": functools.partial(print, flush=True),
    }
    beta = 1.0 if settings.command == "ae" else settings.beta
    # The model's parameters are the first draws of the stream, always in float32 on the CPU.
    torch.manual_seed(settings.seed)
    model = _model(settings).to(device=device, dtype=getattr(torch, settings.dtype))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    if isinstance(model, Autoencoder):
        cost = train_autoencoder(model, optimizer, batches, **schedule)
    else:
        cost = train_cvae(model, optimizer, batches, beta=beta, **schedule)

    # Saved before it is evaluated: a fault in the evaluation costs no training.
    if settings.save:
        save_checkpoint(settings.save, model, optimizer, epoch=settings.epochs, loss=cost)
        note_saved(settings.save)
    result = evaluate(model, *data.test, beta=beta)
    print(
        f"Test cost: {result.cost:.4f} | Reconstruction: {result.reconstruction:.4f} "
        f"| KL: {result.kl:.4f} | nats per image, {len(data.test.labels)} images",
        file=sys.stderr,
    )


def _model(settings: argparse.Namespace) -> Autoencoder | VariationalAutoencoder:
    try:
        if settings.command == "ae":
            return Autoencoder(
                28 * 28, settings.hidden, activation=settings.activation, initialization=settings.initialization
            )
        if settings.command == "dense-vae":
            return DenseVariationalAutoencoder(
                settings.num_latent, settings.num_classes, settings.hidden, activation=settings.activation
            )
        return ConditionalVariationalAutoencoder(
            28 * 28,
            settings.num_latent,
            settings.num_classes,
            reconstruct_condition=settings.reconstruct_condition,
            output_leaky_relu=settings.output_leaky_relu,
        )
    # Sizes beyond the memory are a RuntimeError, beyond 64 bits one of the others.
    except (RuntimeError, TypeError, OverflowError) as error:
        raise InputError(f"torch cannot build a model of this size: {error}") from error


def _check_numbers(settings: argparse.Namespace) -> None:
    def hold(name: str, least: int, most: int = 2**31 - 1) -> None:
        value = getattr(settings, name, None)
        for one in value if isinstance(value, list) else [value]:
            if one is not None and not least <= one <= most:
                flag = name.replace("_", "-")
                raise InputError(f"argument --{flag}: expected {least} to {most}, got {str(one)[:80]}")

    hold("epochs", 0)
    hold("batch_size", 1)
    hold("log_every", 1)
    hold("threads", 1, 1024)
    hold("hidden", 1)
    hold("num_latent", 1)
    hold("num_classes", 0)
    for name in ("learning_rate", "beta"):
        value = getattr(settings, name, 0.0)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"argument --{name.replace('_', '-')}: expected a finite number of at least 0, got {value}"
            )
    if not 0 <= settings.seed < 2**64:
        raise InputError(f"argument --seed: expected 0 to 2**64 - 1, got {settings.seed}")


def _check_data(settings: argparse.Namespace, data: Dataset) -> None:
    count = len(data.train.labels)
    if settings.batch_size > count:
        raise InputError(
            f"argument --batch-size: expected at most the {count} training images, got {settings.batch_size}"
        )
    classes = getattr(settings, "num_classes", 0)
    if not classes:
        return
    for name, split in data._asdict().items():
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= classes:
            raise InputError(
                f"expected {name} labels of 0 to {classes - 1} for --num-classes {classes}, got {low} to {high}"
            )


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    # A build without CUDA asserts; a missing device is a RuntimeError, "meta" has no data.
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"argument --device: there is no {name!r} here, but {', '.join(there)}") from error
    return device


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status."""
    return carry_out(lambda: run(parse(argv)))


if __name__ == "__main__":
    sys.exit(main())
