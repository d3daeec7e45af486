"""The manners that every subcommand shares: options, where output goes, progress, and when a file may be overwritten."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import FileAccessError


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How the command speaks."""

    quiet: bool = False
    """Print no progress, notes or warnings."""
    json: bool = False
    """Print the result as one JSON object on stdout instead of a table."""
    debug: bool = False
    """Show the traceback of an error."""
    overwrite: bool = False
    """Replace output files that exist."""


class Terminal:
    """Results on stdout, everything else on stderr."""

    def __init__(self, command: str, manners: Manners):
        self.command, self.manners = command, manners
        self._out = Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)
        self._err = Console(file=sys.stderr, quiet=manners.quiet, soft_wrap=not sys.stderr.isatty(), highlight=False)

    def note(self, text: str) -> None:
        """Say something in passing, on stderr."""
        self._err.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Say on stderr that something is not as the user may expect."""
        self._err.print(f"unproject {self.command}: warning: {text}", markup=False, style="yellow")

    def table(self, title: str, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Print a result table on stdout; nothing with --json, where the result itself is printed."""
        if self.manners.json:
            return
        table = Table(title=title, show_header=bool(header), title_justify="left", title_style="bold")
        for name in header or [""] * max((len(row) for row in rows), default=0):
            table.add_column(name)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self._out.print(table, markup=False)

    def result(self, values: Mapping[str, Any]) -> None:
        """Print the result as JSON if asked for; NaN and infinity become null."""
        if self.manners.json:
            sys.stdout.write(json.dumps(plain(values), allow_nan=False) + "\n")

    def progress(self, **columns: str) -> Progress:
        """A progress bar on stderr with time left, if that is a terminal.

        Args:
            columns: further text columns, such as losses="{task.fields[losses]}".
        """
        texts = [TextColumn(text) for text in columns.values()]
        return Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), *texts,
            console=self._err, transient=True, disable=self.manners.quiet or not self._err.is_terminal,
        )  # fmt: skip

    def check_output(self, *paths: Path | None, resuming: bool = False) -> None:
        """Refuse, before any work is done, an output that cannot be written or that exists without --overwrite.

        Args:
            resuming: whether the outputs are those of the run that is being resumed, which may replace them.
        """
        for path in paths:
            if path is None:
                continue
            if path.is_dir():
                raise FileAccessError(f"{path} is a folder; name a file")
            if not path.parent.is_dir():
                raise FileAccessError(f"{path.parent} does not exist; create the folder first")
            if path.exists() and not (self.manners.overwrite or resuming):
                raise FileAccessError(f"{path} exists; add --overwrite to replace it")

    def show_warnings_here(self) -> None:
        """Send Python warnings of the library through `warn`, one line each."""
        warnings.showwarning = lambda message, *_args, **_kwargs: self.warn(str(message))


def plain(value: Any) -> Any:
    """A value as JSON knows it: tensors and arrays as lists, paths as text, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)
