"""Every command of every script, run to its end: a matrix made of the scripts' own flags.

`python -m tests.commands` runs the whole of it.
"""
