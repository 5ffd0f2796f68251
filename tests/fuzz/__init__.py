"""A fuzzer of every reader of files: sound files, altered by the thousand, are read or refused, and nothing else.

`python -m tests.fuzz --count 100000` is the whole; pytest runs a short form. `python -m tests.fuzz.kills` is its
companion for what is written: trainings killed at any moment.
"""
