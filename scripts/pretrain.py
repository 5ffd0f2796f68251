"""Fine-tune a pretrained encoder on few labels, beside the same network from scratch."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.pretrain import main

if __name__ == "__main__":
    run(main)
