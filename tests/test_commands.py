"""Every flag of every script in a command that runs to its end, or is refused in one line; see `tests/commands`."""

import pytest
from commands.covering import cover, pairs_of
from commands.flags import SCRIPTS, main_of
from commands.matrix import Job, all_commands
from commands.outcome import Outcome
from commands.runner import Runner

from jaxae.cli import run

COMMANDS = all_commands(sorted(path.stem for path in SCRIPTS.glob("*.py")))
# Their own tests run them, or the runs that files are made of do; here, their refusals.
DEAR = {
    *("train_ae", "train_cvae", "train_conv_vae", "train_dense_vae"),
    *("benchmark", "check_parity", "published", "translate", "export", "explore", "compile_for"),
    *("anomaly", "denoise", "features", "generate", "pretrain", "reduce"),
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_the_matrix_knows_every_flag(command):
    assert not command.undescribed()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_help_tells_of_every_flag(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [f"{command.script}.py", *command.subcommand.split(), "--help"])
    with pytest.raises(SystemExit) as ended:
        run(main_of(command.script))
    assert not ended.value.code
    told = capsys.readouterr().out
    assert [flag.name for flag in command.flags if flag.name.startswith("--") and flag.name not in told] == []


def test_rows_hold_every_pair_and_nothing_forbidden():
    domains, forbidden = [("a", "b", "c"), ("d", "e"), ("f", "g", "h")], [frozenset(("a", "e")), frozenset("h")]
    rows = cover(domains, pairs_of(domains, forbidden), forbidden)
    held = {frozenset(((i, row[i]), (j, row[j]))) for row in rows for i in range(3) for j in range(i)}
    assert pairs_of(domains, forbidden) <= held
    assert not [row for row in rows if "h" in row or {"a", "e"} <= {*row}]
    assert len(rows) < 3 * 2 * 2


@pytest.mark.parametrize(
    ("refusal", "ended", "fault"),
    [
        ("", {"broken": "TypeError"}, "TypeError"),
        ("", {"status": 1, "err": "error: no\n"}, "status 1"),
        ("", {"out": "| 0.1 | nan |"}, "no number"),
        ("", {"err": "warning: divided by zero\n"}, "divided by zero"),
        ("", {"err": "kept in run: weights.safetensors\n"}, "named, but not there"),
        ("expected a", {"status": 0, "err": "error: expected a, got b\n"}, "status 0"),
        ("expected a", {"status": 2, "err": "error: expected b, got a\n"}, "in place of one line"),
        ("expected a", {"status": 2, "err": "warning: c\nerror: expected a, got b\n"}, "in place of one line"),
        ("expected a", {"status": 2, "err": "error: expected a, got b\n", "out": "Epoch"}, "standard output"),
    ],
)
def test_a_fault_is_found(refusal, ended, fault, tmp_path):
    well = {"status": 0, "out": "Epoch", "err": "", "broken": "", "seconds": 0.0}
    assert Outcome(Job("train_ae", ()), tmp_path, (), **well).faults() == []
    outcome = Outcome(Job("train_ae", (), refusal), tmp_path, (), **(well | ended))
    assert any(fault in one for one in outcome.faults())


def test_a_fault_of_a_file_is_found(tmp_path):
    (tmp_path / "table.json").write_text('{"auroc": NaN}')
    well = {"status": 0, "out": "Epoch", "err": "", "broken": "", "seconds": 0.0}
    assert "no NaN" in Outcome(Job("anomaly", ()), tmp_path, (), **well).faults()[0]
    refused = Outcome(
        Job("anomaly", (), "expected"), tmp_path, (), **(well | {"status": 2, "err": "error: expected\n"})
    )
    assert any("written though refused: table.json" in one for one in refused.faults())


def test_commands_run_to_their_end_and_nonsense_is_refused(tmp_path):
    """A row for each training and file command, every value of one, all refusals; `-m tests.commands` is the whole."""
    jobs = [one.job(one.base) for one in COMMANDS if one.script not in DEAR and one.name != "compress compress"]
    jobs += [job for one in COMMANDS if one.script == "train_ae" for job in one.good_jobs(whole=False)]
    jobs += [job for one in COMMANDS for job in one.bad_jobs()]
    ended = Runner(tmp_path).run(jobs)
    wrong = {" ".join((one.job.script, *one.job.argv)): faults for one in ended if (faults := one.faults())}
    assert not wrong, "\n".join(f"{command}\n    {faults}" for command, faults in wrong.items())
