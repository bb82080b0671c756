"""How every command-line program tells what went wrong."""

from __future__ import annotations

import argparse
import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from org_ovirt_node.cli import common
from org_ovirt_node.errors import Interrupted, NodeError, PayloadError, StorageError


def program(tmp_path: Path, error: Exception, release: bool = True) -> int:
    """The exit status of a program in which ``error`` is raised, and then something cannot be released."""
    parser = argparse.ArgumentParser(prog="a-program")
    common.add_common_options(parser)

    def busy() -> NoReturn:
        raise StorageError("/mnt is busy", hint="See who uses it.")

    def action(options: argparse.Namespace) -> int:
        with ExitStack() as stack:
            if release:
                stack.callback(busy)
            raise error

    return common.main(parser, action, ["--log", str(tmp_path / "log")])


def test_what_goes_wrong_first_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = program(tmp_path, PayloadError("the image is damaged", hint="Fetch it again."))
    assert status == PayloadError.status
    assert capsys.readouterr().err.splitlines() == [
        "a-program: the image is damaged",
        "a-program: Fetch it again.",
        "a-program: not everything was released: /mnt is busy",
        "a-program: See who uses it.",
    ]


def test_an_interrupted_program_that_cannot_release_all_does_not_say_that_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = program(tmp_path, Interrupted("interrupted by SIGTERM; everything was released"))
    assert status == Interrupted.status
    said = capsys.readouterr().err
    assert "everything was released\n" not in said
    assert said.startswith("a-program: interrupted\na-program: not everything was released: /mnt is busy\n")


def test_the_cause_of_an_error_that_replaces_it_is_not_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise StorageError("the detail")
        except StorageError as detail:
            raise PayloadError("the whole") from detail
    except PayloadError as error:
        program(tmp_path, error, release=False)
    assert capsys.readouterr().err == "a-program: the whole\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_more_is_no_defect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert program(tmp_path, OSError(number, os.strerror(number), "/out/node.json"), release=False) == NodeError.status
    assert capsys.readouterr().err == f"a-program: /out/node.json cannot be written: {os.strerror(number)}\n"


def test_another_error_of_the_system_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/nothing")
    assert program(tmp_path, error, release=False) == common.DEFECT
    assert "internal error: FileNotFoundError" in capsys.readouterr().err
