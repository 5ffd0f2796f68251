"""`python -m jaxae`: the command line, as `jaxae` starts it."""

from jaxae.commands.table import main

if __name__ == "__main__":
    main()
