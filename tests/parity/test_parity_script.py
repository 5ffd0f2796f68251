"""`scripts/check_parity.py`: its table, files and exit statuses."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

pytest.importorskip("torch")  # the script compares with it


def check_parity(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/check_parity.py", "--workers", "1", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500)


def test_table_json_and_plot(tmp_path):
    files = tmp_path / "parity.json", tmp_path / "parity.png"
    chosen = ("--models", "Autoencoder", "--rungs", "model", "trajectory", "--steps", 20)
    result = check_parity(*chosen, "--json", files[0], "--plot", files[1])
    assert result.returncode == 0, result.stderr
    assert "all within their tolerance" in result.stdout
    rows = json.loads(files[0].read_text())["rows"]
    assert {row["rung"] for row in rows} >= {"stages", "forward pass", "trajectory: cost"}
    keys = {"model", "rung", "dtype", "max_abs", "max_rel", "tolerance", "origin", "passed"}
    assert all(set(row) == keys and row["passed"] is True for row in rows)
    for row in rows:
        lines = [line for line in result.stdout.splitlines() if line.startswith(row["model"])]
        assert any(row["rung"] in line for line in lines)
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_a_mistake_is_an_exit_status_of_1():
    chosen = ("--models", "Autoencoder", "--rungs", "model")
    result = check_parity(*chosen, "--mutation", "perturbed-weight")
    assert result.returncode == 1, result.stderr
    assert "FAIL" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_log_is_replayed_and_judged(tmp_path):
    log, out = tmp_path / "log.txt", tmp_path / "log.json"
    log.write_text("Epoch: 001/005 | Batch 000/234 | Cost: 0.7100\nEpoch: 001/005 | Batch 050/234 | Cost: 0.3026\n")
    result = check_parity("--log", log, "--json", out)
    assert result.returncode == 1, result.stderr
    (row,) = json.loads(out.read_text())["logs"]
    assert (row["log"], row["lines"], row["identical"], row["passed"]) == ("log.txt", 2, 1, False)
    assert "FAIL" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "LeNet"), "'LeNet'"),
        (("--rungs", "stairs"), "'stairs'"),
        (("--mutation", "typo"), "'typo'"),
        (("--steps", 0), "steps from 1 to 2147483647, got 0"),
        (("--threads", 0), "threads from 1 to 1024, got 0"),
        (("--published", "ae-typo"), "'ae-typo'"),
        (("--num-latent", 5), "--log FILE"),
        (("--log", "/no/such/log.txt"), "/no/such/log.txt"),
        (("--json", "/no/such/folder/x.json"), "/no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_status_of_2(arguments, message, command):
    status, out, err = command("check_parity.py", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
