"""`unproject warmup`: compile every kernel now, for float32 and float64."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from ..ops.examples import all_examples
from .manners import Manners, Terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Call every operator's example; compiled kernels stay in the cache folder ($UNPROJECT_CACHE_DIR, else the user's)."""
    from ..kernels.jit import cache_directory

    begin = time.perf_counter()
    calls = [(op, make, dtype) for op, make in all_examples() for dtype in (torch.float32, torch.float64)]
    slowest, slowest_seconds = "", 0.0
    with terminal.progress(op="{task.fields[op]}") as progress:
        task = progress.add_task("compile", total=len(calls), op="")
        for op, make, dtype in calls:
            progress.update(task, op=str(op))
            start = time.perf_counter()
            op(*make(dtype))
            if (seconds := time.perf_counter() - start) > slowest_seconds:
                slowest, slowest_seconds = f"{getattr(op, '_qualname', op)} {str(dtype).removeprefix('torch.')}", seconds
            progress.advance(task)
    seconds = time.perf_counter() - begin
    result = {"operators": len(calls) // 2, "seconds": seconds, "slowest": slowest, "slowest_seconds": slowest_seconds}
    rows = [("operators", len(calls) // 2), ("time", f"{seconds:.1f} s"), ("slowest", f"{slowest} ({slowest_seconds:.1f} s)")]
    terminal.table("Compiled kernels", [*rows, ("kept in", cache_directory())])
    return {**result, "cache": cache_directory()}
