"""Files that are whole or absent: what goes wrong on the way is told by the name that was asked for, or passed on."""

import os
import stat
from pathlib import Path

import pytest

from jaxae.errors import InputError
from jaxae.storage.files import (
    check_new_folder,
    check_writable,
    refuse_unwritable,
    whole_or_absent,
    whole_or_absent_folder,
    write_text,
)


def refused(*_: object, **__: object) -> None:
    raise PermissionError("not here")


def test_a_temporary_file_that_is_refused_goes_by_the_name_it_would_have_had(tmp_path):
    def fill() -> None:
        with whole_or_absent(tmp_path / "a.txt") as temporary:
            raise InputError(f"expected words, got {temporary}")

    with pytest.raises(InputError, match=f"^expected words, got {tmp_path / 'a.txt'}$"):
        fill()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_cannot_be_filled_takes_its_parents_with_it_but_for_what_others_put_there(there, tmp_path):
    def fill() -> None:
        with whole_or_absent_folder(tmp_path / "new" / "folder"):
            if there:
                (tmp_path / "new" / "theirs").write_text("")
            refused()

    with pytest.raises(InputError, match=r"^expected a folder that can be written, got .*folder: not here$"):
        fill()
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "theirs"] * there


def test_a_pipe_that_nobody_reads_is_no_file_that_cannot_be_written(tmp_path):
    with pytest.raises(BrokenPipeError), refuse_unwritable(tmp_path / "a"):
        raise BrokenPipeError


def test_names_that_no_system_takes_are_refused():
    with pytest.raises(InputError, match=r"^expected a folder that can be written, got .*: File name too long$"):
        check_new_folder(Path("x" * 5000) / "a")


def test_a_disk_is_not_written_over(tmp_path, monkeypatch):
    (tmp_path / "disk").write_text("")
    monkeypatch.setattr(stat, "S_ISBLK", lambda mode: True)
    with pytest.raises(InputError, match=r"expected the name of a file to write, got the disk .*disk$"):
        check_writable(tmp_path / "disk")


@pytest.mark.parametrize("function", ["fstat", "chown"])
def test_closed_streams_and_owners_that_cannot_be_kept_hinder_no_file(function, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, refused)
        write_text(path, "after")
    assert path.read_text() == "after"
