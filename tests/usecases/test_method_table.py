import json
from dataclasses import dataclass

import numpy as np
import pytest

from jaxae.errors import InputError
from jaxae.usecases.method_table import Column, MethodTable


@dataclass(frozen=True)
class ARow:
    name: str
    error: float | np.floating | None
    group: int = 0
    unseen: tuple[int, ...] = ()


def a_table(rows, group=None):
    columns = (Column("name", "name"), Column("error", "error (%)", "lower", 2))
    return MethodTable("Title", columns, tuple(rows), {"seed": 3}, ("A note.",), group)


def test_marks_the_best_and_ties(capsys):
    a_table([ARow("a", 1.001), ARow("b [x]", 1.004), ARow("c", 2.0), ARow("d", None)]).show()
    shown = capsys.readouterr().out
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if line.startswith("|")
    ]
    assert cells[2:] == [["a", "1.00 *"], ["b [x]", "1.00 *"], ["c", "2.00"], ["d", "-"]]
    assert "seed 3" in shown
    assert "A note." in shown


def test_contests_are_within_groups():
    rows = [ARow("a", 5.0, 1), ARow("b", 6.0, 1), ARow("c", 1.0, 2), ARow("d", 2.0, 2)]
    table = a_table(rows, "group")
    assert [table.wins(row, table.columns[1]) for row in rows] == [True, False, True, False]


def test_json_holds_every_figure(tmp_path):
    table = a_table([ARow("a", np.float32(0.5), unseen=(1, 2))])
    table.write(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["rows"] == [{"name": "a", "error": 0.5, "group": 0, "unseen": [1, 2]}]
    with pytest.raises(InputError, match="can be written"):
        table.write(tmp_path / "no" / "t.json")
