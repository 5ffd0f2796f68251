"""The commands to run: from each script's flags and what can be typed for them, jobs that succeed or are refused."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from .covering import cover, pairs_of, singles_of
from .flags import Flag, commands_of
from .values import EVERYWHERE, OPEN_FLAGS, REFUSED, TRAINING, USE_CASE

OUTPUTS = (
    "--json",
    "--figure",
    "--plot",
    "--out",
    "--record",
    "--save-weights",
    "--onnx",
    "--page",
    "--stablehlo",
    "destination",
    "dst",
)
PARSED = "expected what .* --help lists, got "


@dataclass(frozen=True)
class Job:
    """A command, and how it must end.

    Attributes:
        script: Name of the script, without .py.
        argv: Its arguments, with the names of files in braces.
        refusal: Regular expression of the one line that refuses it; "" if it must succeed.
        again: Whether it is run in the folder of the job before.
        writes: Files that it is told to write.
    """

    script: str
    argv: tuple[str, ...]
    refusal: str = ""
    again: bool = False
    writes: tuple[str, ...] = ()

    @property
    def process(self) -> tuple[str, ...]:
        """What a process has but once: jobs that differ in it need one each. What is refused never gets there."""
        if self.refusal:
            return ()
        words = " ".join(self.argv)
        double = "--dtype float64" in words or ("--replay torch" in words and "--dtype" not in words)
        devices = words.partition("--devices ")[2][:1]
        return ("float64" if double else "", devices)


@dataclass(frozen=True)
class Command:
    """A script, or a subcommand of one, with what can be typed for each of its flags."""

    script: str
    subcommand: str
    flags: tuple[Flag, ...]

    @property
    def name(self) -> str:
        """Name in the tables here."""
        return f"{self.script} {self.subcommand}".strip()

    @property
    def refused(self) -> dict[frozenset[str], str]:
        """Values that are refused together."""
        names = {flag.name for flag in self.flags}
        return {
            frozenset(values.split(" & ")): message
            for scripts, table in REFUSED.items()
            for values, message in table.items()
            if self.name in scripts.split(", ") or (not scripts and values.split()[0] in names)
        }

    @property
    def domains(self) -> list[tuple[str, ...]]:
        """What can be typed for each flag, the first being the one that others are tried beside."""
        table = OPEN_FLAGS[self.name]
        whole = []
        for flag in self.flags:
            values = table.get(flag.name, flag.choices)
            typed = (flag.name,) if flag.name.startswith("--") else ()
            # What brings flags of its own, or is a closed set's, is typed as it stands.
            spelt = (one if not one or one.startswith("--") else " ".join((*typed, one)) for one in values)
            if values:
                whole.append(tuple(spelt))
        return whole

    def undescribed(self) -> set[str]:
        """Flags of which the table here does not say what to type, and rows of the table that are no flags."""
        table = OPEN_FLAGS[self.name]
        brought = {word for values in (*table.values(), *self.refused) for value in values for word in value.split()}
        known = {flag.name for flag in self.flags}
        silent = {flag.name for flag in self.flags if not (flag.choices or table.get(flag.name))} - brought
        foreign = set(table) - known - set(EVERYWHERE) - set(TRAINING) - set(USE_CASE)
        return silent | foreign

    def job(self, values: Mapping[str, str], refusal: str = "", *, again: bool = False) -> Job:
        """The job that types these values, by their flags."""
        words = [word for value in values.values() for word in shlex.split(value)]
        writes = [word for flag, word in pairwise(words) if flag in OUTPUTS]
        writes += [value for flag, value in values.items() if flag in OUTPUTS and value[:1] not in ("", "-")]
        subcommand = (self.subcommand,) if self.subcommand else ()
        return Job(self.script, (*subcommand, *words), refusal, again, tuple(writes))

    def rows(self, *, whole: bool) -> list[tuple[str, ...]]:
        """Rows that hold every pair of values; in short, every value."""
        domains, forbidden = self.domains, list(self.refused)
        wanted = pairs_of(domains, forbidden) if whole else singles_of(domains, forbidden)
        return cover(domains, wanted, forbidden)

    def good_jobs(self, *, whole: bool) -> list[Job]:
        """Jobs that must succeed; one that resumes comes after the one that it resumes.

        A command whose first values are refused takes packages that are not here.
        """
        if any(frozenset((value,)) in self.refused for value in self.base.values()):
            return []
        jobs = []
        for row in self.rows(whole=whole):
            values = dict(zip(self._typed_flags, row, strict=True))
            if "--resume" in row:
                jobs.append(self.job(values | {"--resume": ""}))
            jobs.append(self.job(values, again="--resume" in row))
        return jobs

    @property
    def base(self) -> dict[str, str]:
        """The first value of each flag."""
        return {flag: values[0] for flag, values in zip(self._typed_flags, self.domains, strict=True)}

    def bad_jobs(self) -> list[Job]:
        """Jobs that must be refused in one line, with nothing written."""
        base = self.base
        jobs = []

        def add(flag_values: dict[str, str], refusal: str) -> None:
            jobs.append(self.job(base | flag_values, refusal))

        for together, message in self.refused.items():
            add({self._owner(value): value for value in together}, message)
        add({"": "--no-such-flag"}, PARSED)
        for flag in self.flags:
            dashed = flag.name.startswith("--")
            if dashed and any(flag.choices) and all(" " in one for one in flag.choices if one):
                add({flag.name: f"{flag.name} nonsense"}, PARSED)
            if flag.number:
                add({flag.name: f"{flag.name} nonsense"}, PARSED)
                add({flag.name: f"{flag.name} -1"}, "expected .*, got ")
            if flag.number == "float":
                add({flag.name: f"{flag.name} nan"}, "expected .*, got ")
            if flag.name in OUTPUTS and flag.name in base and self.script != "explore":  # whose output is a new folder
                typed = f"{flag.name} " if dashed else ""
                usual = (base[flag.name] or "file.png").split()[-1]
                add({flag.name: f"{typed}{{folder}}"}, "expected (the name of a file to write|a file that ends in)")
                add({flag.name: f"{typed}nowhere/{usual}"}, "expected a folder that can be written to, got nowhere")
            if flag.name in ("source", "src", "run"):
                add({flag.name: "{nowhere}"}, "expected .*, got .*nowhere")
            if flag.name in ("--data", "--compare") or (flag.name == "--run-dir" and "train" not in self.script):
                add({flag.name: f"{flag.name} {{nowhere}}"}, "expected .*, got ")
            if flag.name == "--data-dir" and "--data" in base:
                add({"--data": "--data mnist --data-dir {nowhere}"}, "expected a data_dir that can be read, got ")
            if flag.name == "--pretrained" and "--run-dir" in base:
                add({"--run-dir": f"{flag.name} nonsense"}, "expected .*, got .*nonsense")
        return jobs

    def _owner(self, value: str) -> str:
        """Name of the flag that a value is of."""
        owners = (flag for flag, values in zip(self._typed_flags, self.domains, strict=True) if value in values)
        return next(owners, value.split()[0])

    @property
    def _typed_flags(self) -> list[str]:
        table = OPEN_FLAGS[self.name]
        return [flag.name for flag in self.flags if table.get(flag.name, flag.choices)]


def all_commands(scripts: list[str]) -> list[Command]:
    """The commands of scripts, by name."""
    return [Command(script, name, flags) for script in scripts for name, flags in commands_of(script).items()]
