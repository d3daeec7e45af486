"""Parts of a file on several threads.

Not `ops.dispatch`: reading and writing take milliseconds, between torch's work rather than among it, and torch's OpenMP team ends only
when its last thread has run, which on a busy machine takes longer than the file. Here nobody waits for a thread that has not begun.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

import torch


def for_each_part(body: Callable[[int], object], count: int) -> None:
    """Call `body(0)` to `body(count - 1)` on `torch.get_num_threads()` threads, this one among them. Parts run in any order.

    An error or a KeyboardInterrupt ends the loop before the next part and is raised here.
    """
    parts = iter(range(count))
    errors: list[BaseException] = []
    running = 0
    changed = threading.Condition()

    def work() -> None:
        nonlocal running
        while True:
            with changed:
                part = None if errors else next(parts, None)
                if part is None:
                    return
                running += 1
            try:
                body(part)
            except BaseException as error:
                errors.append(error)
            finally:
                with changed:
                    running -= 1
                    changed.notify_all()

    for _ in range(min(torch.get_num_threads(), count) - 1):
        _thread.start_new_thread(work, ())
    try:
        work()
    except BaseException as error:
        errors.append(error)
    with changed:
        while running:
            changed.wait(0.1)
    if errors:
        raise errors[0]


def part_ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """[0, count) cut into ranges of nearly the same size; none of them empty."""
    parts = max(1, min(parts, count))
    return [(k * count // parts, (k + 1) * count // parts) for k in range(parts)] if count else []


def for_each_range(body: Callable[[int, int], object], count: int, grain: int) -> None:
    """Call `body(begin, end)` for ranges of [0, count) of at least about `grain` items, four a thread."""
    ranges = part_ranges(count, min(4 * torch.get_num_threads(), count // max(grain, 1)))
    for_each_part(lambda part: body(*ranges[part]), len(ranges))
