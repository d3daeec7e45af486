"""The command line's manners: help, usage errors, exit codes, where output goes, and files that are not overwritten."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unproject.cli import main as cli
from unproject.cli.manners import Manners, Terminal, plain
from unproject.errors import ArgumentError, DataError, FileAccessError, FormatError, MissingDependencyError


def test_help_lists_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, command in cli.available().items():
        assert name in out and command.example.split()[1] == name
    assert "Exit codes" in out


def test_every_listed_command_exists() -> None:
    assert set(cli.available()) == set(cli.COMMANDS)


@pytest.mark.parametrize("name", list(cli.available()))
def test_each_command_has_help_with_its_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "Example:" in out and "--quiet" in out and "--json" in out and "--debug" in out and "--overwrite" in out


def test_no_command_and_unknown_command_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.USAGE
    assert cli.main(["fitt"]) == cli.USAGE
    assert "'fitt'" in capsys.readouterr().err


def test_usage_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup", "--foo"]) == cli.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "--foo" in said.err and "unproject warmup --help" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArgumentError("a"), cli.BAD_DATA),
        (DataError("a"), cli.BAD_DATA),
        (FormatError("a", path="x", line=3), cli.BAD_FORMAT),
        (FileAccessError("a"), cli.NO_ACCESS),
        (MissingDependencyError("a"), cli.MISSING_DEPENDENCY),
        (KeyboardInterrupt(), cli.INTERRUPTED),
        (RuntimeError("a\nb"), cli.BUG),
    ],
)
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(options: object, terminal: object) -> None:
        raise error

    from unproject.cli import warmup

    monkeypatch.setattr(warmup, "run", fail)
    assert cli.main(["warmup"]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("unproject warmup: ")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from unproject.cli import warmup

    def fail(options: object, terminal: object) -> None:
        raise DataError("nothing there")

    monkeypatch.setattr(warmup, "run", fail)
    assert cli.main(["warmup", "--debug"]) == cli.BAD_DATA
    assert "Traceback" in capsys.readouterr().err


def test_json_prints_one_object_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from unproject.cli import warmup

    def run(options: SimpleNamespace, terminal: Terminal) -> dict[str, object]:
        terminal.table("hidden", [("a", 1)])
        return {"value": math.nan, "path": Path("x"), "tensor": torch.eye(2)}

    monkeypatch.setattr(warmup, "run", run)
    assert cli.main(["warmup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"value": None, "path": "x", "tensor": [[1, 0], [0, 1]]}


def test_outputs_are_checked_before_work(tmp_path: Path) -> None:
    there = tmp_path / "there.ply"
    there.write_text("x")
    terminal = Terminal("fit", Manners())
    with pytest.raises(FileAccessError, match="--overwrite"):
        terminal.check_output(there)
    with pytest.raises(FileAccessError, match="does not exist"):
        terminal.check_output(tmp_path / "no" / "a.ply")
    with pytest.raises(FileAccessError, match="folder"):
        terminal.check_output(tmp_path)
    terminal.check_output(there, resuming=True)
    Terminal("fit", Manners(overwrite=True)).check_output(there, tmp_path / "new.ply", None)


def test_plain_keeps_what_json_knows() -> None:
    assert plain({"a": (1, 2.5, None, True, "s"), "b": math.inf}) == {"a": [1, 2.5, None, True, "s"], "b": None}


def test_an_interrupted_run_ends_without_taking_python_down(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(cli, "main", lambda: cli.INTERRUPTED)
    monkeypatch.setattr("os._exit", codes.append)
    with pytest.raises(SystemExit):
        cli.entry()
    assert codes == [130]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_while_the_package_is_imported_ends_in_one_line() -> None:
    code = """
import os, signal, sys
import unproject_command

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "unproject":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
unproject_command.entry()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 130
    assert run.stderr == "unproject: interrupted\n"
