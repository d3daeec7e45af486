"""The `unproject` command: finds the subcommand, parses its options, and turns errors into one line and an exit code.

A subcommand is a module of this folder with a frozen dataclass `Options` (whose field `manners: Manners` is shared by all) and
`run(options, terminal) -> result`. Modules are imported when asked for, so that help is quick.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from ..errors import FileAccessError, FormatError, MissingDependencyError, UnprojectError
from .manners import Manners, Terminal

OK, BUG, USAGE, BAD_DATA, BAD_FORMAT, NO_ACCESS, MISSING_DEPENDENCY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


@dataclass(frozen=True)
class Command:
    """One line of the help. The module has the command's name."""

    group: str
    summary: str
    example: str


COMMANDS: Mapping[str, Command] = {
    "demo": Command("Start", "Scan, fit and draw an embedded sample.", "unproject demo"),
    "fit": Command("Recover", "A surface from a point cloud.", "unproject fit scan.ply -o surface.ply"),
    "pose": Command(
        "Recover", "The pose of a known object from an image.", "unproject pose photo.jpg --mesh cup.obj --camera K.json -o pose.json"
    ),
    "track": Command(
        "Recover", "The pose of a known object through a video.", "unproject track video.mp4 --mesh cup.obj --camera K.json -o track.jsonl"
    ),
    "fuse": Command("Recover", "A mesh from RGB-D frames.", "unproject fuse frames/ -o room.ply"),
    "register": Command("Recover", "The pose of a part in a scanned scene.", "unproject register scene.ply --model part.ply -o pose.json"),
    "regions": Command("Recover", "Flat, reachable regions of a surface to grasp.", "unproject regions part.ply -o regions.json"),
    "bop": Command("Recover", "Evaluate poses on a BOP dataset folder.", "unproject bop ycbv/ -o results.csv"),
    "render": Command("See and convert", "A picture of a mesh.", "unproject render cow.obj -o cow.png"),
    "info": Command("See and convert", "What is in a file.", "unproject info scan.ply"),
    "convert": Command("See and convert", "One format into another.", "unproject convert part.stl part.ply"),
    "view": Command("See and convert", "Files in an interactive viewer.", "unproject view surface.ply"),
    "warmup": Command("Start", "Compile all kernels now instead of at first use.", "unproject warmup"),
}

EXIT_CODES = (
    "Exit codes: 0 done, 1 internal error, 2 usage, 3 the data does not allow a result, 4 bad file format, "
    "5 a file cannot be read or written, 6 an optional package is missing, 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        show_help()
        return OK if words else USAGE
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"unproject {version('unproject')}")
        return OK
    name = words[0]
    commands = available()
    if name not in commands:
        print(f"unproject: no command {name!r}; there are {', '.join(commands)}", file=sys.stderr)
        return USAGE
    return _run(name, commands[name], words[1:])


def available() -> dict[str, Command]:
    """The commands whose modules are installed."""
    return {name: c for name, c in COMMANDS.items() if importlib.util.find_spec(f"unproject.cli.{name}")}


def show_help() -> None:
    """Print the commands in groups, one example each, on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    console.print("usage: unproject COMMAND [OPTIONS]    unproject COMMAND --help\n\nRecover 3D from data.\n", markup=False)
    commands = available()
    for group in dict.fromkeys(command.group for command in commands.values()):
        table = Table(title=group, show_header=False, box=None, title_justify="left", title_style="bold", padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=9)
        for name, command in commands.items():
            if command.group == group:
                table.add_row(name, f"{command.summary}\n[dim]{command.example}[/dim]")
        console.print(table)
        console.print()
    console.print(EXIT_CODES, markup=False)


def _run(name: str, command: Command, words: Sequence[str]) -> int:
    debug = "--debug" in words
    try:
        module = importlib.import_module(f".{name}", __package__)
        options = parse(module.Options, name, command, words)
        terminal = Terminal(name, options.manners)
        terminal.show_warnings_here()
        result = module.run(options, terminal)
        if result is not None:
            terminal.result(result)
        return OK
    except _UsageError as error:
        return _fail(name, str(error), USAGE)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        return OK
    except (UnprojectError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        return _fail(name, _one_line(error), exit_code(error))
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(name, f"internal error: {_one_line(error)} (run with --debug for the traceback)", BUG)


class _UsageError(Exception):
    """The words on the command line do not make sense."""


def parse(options_type: type[Any], name: str, command: Command, words: Sequence[str]) -> Any:
    """Parse a subcommand's words; --help prints and exits, anything wrong becomes a one-line usage error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                options_type, prog=f"unproject {name}", args=list(words), config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
                description=f"{command.summary}\n\nExample: {command.example}",
            )  # fmt: skip
    except SystemExit as stop:
        if not stop.code:
            raise
        text = re.sub(r"[╭╮╰╯│─]+", " ", said.getvalue())
        text = re.sub(r"\s+", " ", re.sub(r"For full helptext.*", "", text, flags=re.DOTALL)).strip()
        raise _UsageError(f"{text[:400]}; see unproject {name} --help") from None


def exit_code(error: BaseException) -> int:
    """The documented exit code of an error."""
    if isinstance(error, FormatError):
        return BAD_FORMAT
    if isinstance(error, (FileAccessError, OSError)):
        return NO_ACCESS
    if isinstance(error, MissingDependencyError):
        return MISSING_DEPENDENCY
    return BAD_DATA


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return re.sub(r"\s*\n\s*", " ", str(error)) or type(error).__name__


def _fail(name: str, message: str, code: int) -> int:
    print(f"unproject {name}: {message}", file=sys.stderr)
    return code


def entry() -> None:
    """The console script."""
    code = main()
    if code == INTERRUPTED:  # what was half-written is gone by now; Python and torch would take one or two seconds more to be taken down
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


__all__ = ["Manners", "Terminal", "entry", "main"]
