"""What all benchmarks share: the clock, the table with ratios, the header with machine and versions, the command line."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("unproject", "torch", "numba", "numpy", "scipy", "pykdtree", "open3d", "trimesh", "embreex", "scikit-image", "small_gicp")


def time_min(function: Callable[[], Any], *, seconds: float = 1.0, repeat: int = 50) -> float:
    """Shortest of several runs, in milliseconds: at least one after a warm-up, at most `repeat` or for so many seconds."""
    return time_all({"only": function}, seconds=seconds, repeat=repeat)["only"]


def time_all(functions: dict[str, Callable[[], Any]], *, seconds: float = 1.0, repeat: int = 50) -> dict[str, float]:
    """Shortest runs of several functions in milliseconds, taken in turn, so that a busy machine harms all alike.

    Args:
        functions: by name; each runs once to warm up.
        seconds: for each function, on average.
        repeat: rounds at most.
    """
    best = {name: float("inf") for name in functions}
    for function in functions.values():
        function()
    begin = time.perf_counter()
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
        if time.perf_counter() - begin > seconds * len(functions):
            break
    return {name: 1e3 * value for name, value in best.items()}


class Table:
    """Rows of timings; printed as they come, with the ratio of each peer to unproject (above 1: unproject is faster)."""

    def __init__(self, title: str, columns: Sequence[str], *, ours: str = "unproject", unit: str = "ms"):
        self.title, self.columns, self.ours, self.unit = title, list(columns), ours, unit
        self.rows: list[dict[str, Any]] = []
        print(f"\n{title} ({unit}; in brackets: times {ours})")
        print(f"{'':34s}" + "".join(f"{column:>22s}" for column in self.columns), flush=True)

    def add(self, label: str, values: dict[str, float], **facts: Any) -> None:
        """A row. Columns without a value stay empty."""
        self.rows.append({"label": label, **values, **facts})
        cells = []
        for column in self.columns:
            value = values.get(column)
            if value is None:
                cells.append("-")
            elif column == self.ours or not values.get(self.ours):
                cells.append(f"{value:.3g}")
            else:
                cells.append(f"{value:.3g} [{value / values[self.ours]:.2f}]")
        notes = "  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items())
        print(f"{label:34s}" + "".join(f"{cell:>22s}" for cell in cells) + (f"  {notes}" if notes else ""), flush=True)


def machine() -> dict[str, str]:
    """Processor, cores in use, system and the versions of the packages that are installed."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(),
    }
    facts["python"] = platform.python_version()
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if hasattr(os, "getloadavg"):
        facts["load"] = f"{os.getloadavg()[0]:.1f}"
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def parse_arguments(description: str | None) -> argparse.Namespace:
    """--quick, --threads N, --json FILE, --join FILES and --write, which every benchmark has; sets the threads and prints the header."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, unproject and OpenMP peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--write", action="store_true", help="put the tables into this benchmark's section of RESULTS.md")
    parser.add_argument("--join", type=Path, nargs="+", metavar="FILE", help="measure nothing; take the tables of earlier --json files")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("  ".join(f"{name} {value}" for name, value in machine().items()))
    return options


def write_json(path: Path | None, tables: Sequence[Table]) -> None:
    """The tables with the machine's facts, if a file is asked for."""
    if path is not None:
        content = {"machine": machine(), "tables": [_content(t) for t in tables]}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _content(table: Table) -> dict[str, Any]:
    return {"title": table.title, "unit": table.unit, "ours": table.ours, "columns": table.columns, "rows": table.rows}


def join_tables(paths: Sequence[Path]) -> list[Table]:
    """Tables that were measured in pieces: those of one title become one, rows of one label one row."""
    tables: dict[str, Table] = {}
    for path in paths:
        for content in json.loads(path.read_text(encoding="utf-8"))["tables"]:
            title = content["title"]
            if title not in tables:
                tables[title] = Table(title, content["columns"], ours=content["ours"], unit=content["unit"])
            table = tables[title]
            for row in content["rows"]:
                known = next((r for r in table.rows if r["label"] == row["label"]), None)
                table.rows.append(row) if known is None else known.update(row)
    return list(tables.values())


def write_results(name: str, tables: Sequence[Table], *, notes: str = "") -> None:
    """Replace the section of one benchmark in RESULTS.md, or append it.

    Args:
        name: of the benchmark's file without `.py`; it marks the section.
        tables: printed as Markdown, values with the ratio to ours in brackets.
        notes: Markdown after the tables (what the numbers mean, pictures).
    """
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    said = f"`python benchmarks/{name}.py --write` on {time.strftime('%Y-%m-%d')}: {facts}."
    parts = [f"## {name}", said, *map(_markdown, tables), notes]
    section = f"<!-- {name} -->\n" + "\n\n".join(part for part in parts if part) + f"\n<!-- /{name} -->\n"
    path = Path(__file__).parent / "RESULTS.md"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    head, mark, rest = text.partition(f"<!-- {name} -->\n")
    tail = rest.partition(f"<!-- /{name} -->\n")[2] if mark else ""
    path.write_text(head.rstrip("\n") + "\n\n" + section + ("\n" + tail.lstrip("\n") if tail.strip() else ""), encoding="utf-8")


def _markdown(table: Table) -> str:
    facts = [key for key in dict.fromkeys(key for row in table.rows for key in row) if key != "label" and key not in table.columns]
    header = [f"{table.title} ({table.unit})", *table.columns, *facts]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in table.rows:
        cells = [row["label"], *(_cell(row.get(column), row.get(table.ours), column == table.ours) for column in table.columns)]
        cells += [f"{row[key]:.3g}" if isinstance(row.get(key), float) else str(row.get(key, "")) for key in facts]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, ours: float | None, is_ours: bool) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if is_ours or not ours else f"{value:.3g} [{value / ours:.2f}]"
