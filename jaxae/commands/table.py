"""The commands by the words that are typed for them, and the one that starts them: `jaxae`, or `python -m jaxae`.

Nothing heavy is imported before a command is known: its file brings what it needs.
"""

import difflib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

from jaxae.ending import carry_out, watch
from jaxae.errors import InputError

# What is typed, with the file here that has its main and what it does; as the help lists them, a line between groups.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "train": {
        "train ae": ("train_ae", "the post's plain autoencoder, 784-32-784"),
        "train cvae": ("train_cvae", "the post's convolutional VAE, conditioned on the class"),
        "train conv-vae": ("train_conv_vae", "a convolutional VAE of pictures of any size, in colour too"),
        "train dense-vae": ("train_dense_vae", "the literature's fully connected VAE, on binarized pixels"),
    },
    "use what is trained": {
        "generate": ("generate", "draw images of a class, or judge how real they look"),
        "reduce": ("reduce", "reduce images to codes of a few dimensions, beside PCA"),
        "denoise": ("denoise", "remove noise from images, beside the usual filters"),
        "anomaly": ("anomaly", "train on one class, tell the others apart"),
        "compress": ("compress", "compress images and decompress them; rate against distortion"),
        "features": ("features", "classify and cluster on codes"),
        "pretrain": ("pretrain", "fine-tune a pretrained encoder on few labels"),
        "explore": ("explore", "a page in the browser: drag a point, and what is decoded changes"),
        "convert": ("convert", "write data as records, to train on more than memory holds"),
        "export": ("export", "write a model as ONNX or StableHLO, for other runtimes"),
    },
    "between torch and JAX": {
        "port": ("port", "port weights, files to files"),
        "compare": ("compare", "compare two networks, and find where they part first"),
        "translate": ("translate", "write a torch network as Flax source, with proof"),
        "parity": ("parity", "compare the two frameworks, from one layer to whole trainings"),
        "published": ("published", "what was published beside what is obtained here"),
        "bench": ("bench", "measure how fast both frameworks train"),
        "compile-for": ("compile_for", "what XLA launches for each program on a GPU, none being there"),
    },
}
COMMANDS = {name: file for group in GROUPS.values() for name, (file, _) in group.items()}
SHELLS = ("bash", "zsh", "tcsh")


def main_of(command: str) -> Callable[..., None]:
    """The function whose arguments are a command's flags."""
    return import_module(f"jaxae.commands.{COMMANDS[command]}").main


def main() -> None:
    """Start the command that is typed; without any, list them."""
    watch()  # before the imports, which take a while
    words = sys.argv[1:]
    if words[:1] in ([], ["--help"], ["-h"], ["help"]):
        carry_out(lambda: print(listing()))
    elif words[0] == "--version":
        carry_out(lambda: print(versions()))
    elif words[0] == "completion":
        carry_out(lambda: print_completion(words[1:]))
    elif (command := command_of(words)) in COMMANDS:
        from jaxae.cli import run

        sys.argv = [f"jaxae {command}", *words[len(command.split()) :]]
        run(main_of(command))
    elif command and words[len(command.split()) :] in (["--help"], ["-h"]):
        carry_out(lambda: print(listing(command)))
    else:
        carry_out(lambda: refuse(words))


def command_of(words: Sequence[str]) -> str:
    """The command that words begin with; the first word of some, where they name only that; "" for none."""
    for count in (2, 1):
        if len(words) >= count and (typed := " ".join(words[:count])) in COMMANDS:
            return typed
    return words[0] if any(name.startswith(f"{words[0]} ") for name in COMMANDS) else ""


def refuse(words: Sequence[str]) -> None:
    """Tell what could have been meant.

    Raises:
        InputError: If words are no command, as here they are not.
    """
    typed = " ".join(words[:2] if command_of(words) else words[:1])
    near = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    near = near or difflib.get_close_matches(typed, [*COMMANDS, "completion"], n=3)
    meant = " or ".join(f"jaxae {name}" for name in near) if near else "a command that jaxae --help lists"
    raise InputError(f"expected {meant}, got jaxae {typed}")


def listing(first: str = "") -> str:
    """The commands and what they do; those alone that begin with a word, where one is given."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"usage: jaxae {first or 'COMMAND'} [flags]", ""]
    for title, group in GROUPS.items():
        rows = [f"  {name:<{width}}{told}" for name, (_, told) in group.items() if name.startswith(first)]
        lines += [f"{title}:", *rows, ""] if rows else []
    lines += [] if first else [f"  {'--version':<{width}}versions of what is installed, and the devices", ""]
    lines.append("jaxae COMMAND --help lists the flags of one; jaxae completion bash prints what completes them")
    return "\n".join(lines)


def versions() -> str:
    """Versions of jaxae and what it stands on, and the devices that JAX finds."""
    import jax

    lines = [f"{name} {metadata.version(name)}" for name in ("jaxae", "jax", "flax")]
    devices = ", ".join(f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices())
    return "\n".join([*lines, f"devices: {devices}"])


def print_completion(words: Sequence[str]) -> None:
    """Print the script that completes commands and flags in a shell.

    Raises:
        InputError: If the shell is none of bash, zsh and tcsh.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        raise InputError(f"expected jaxae completion {'|'.join(SHELLS)}, got {' '.join(words) or 'none'}")
    import tyro

    tree: dict[str, Any] = {}
    for name in COMMANDS:
        branch, *leaf = name.split()
        if leaf:
            tree.setdefault(branch, {})[leaf[0]] = main_of(name)
        else:
            tree[branch] = main_of(name)
    tyro.cli(_union(tree), prog="jaxae", args=["--tyro-print-completion", words[0]])


def _union(tree: dict[str, Any]) -> Any:
    """The type of which tyro makes the commands of a tree of functions."""
    from functools import reduce
    from operator import or_
    from typing import Annotated

    import tyro

    members = []
    for name, branch in tree.items():
        if isinstance(branch, dict):

            def choose(command: Any) -> None:
                """Choose one of several."""

            choose.__annotations__["command"] = Annotated[_union(branch), tyro.conf.arg(name="")]
            branch = choose
        members.append(Annotated[Any, tyro.conf.subcommand(name, constructor=branch)])
    return reduce(or_, members)
