"""Slices of a kernel's range over CPU threads: torch's own OpenMP team where there is one, else a thread pool."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from _thread import get_ident
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import thread_time
from typing import Any

import torch

_SLICES_PER_THREAD = 8
_MOST_SLICES = 256
_SLICE_GRAINS = 8  # a slice is at least so many grains, about 0.4 ms: each costs two changes of the GIL's owner
_LATE_S, _FIRST_REST_S, _LONGEST_REST_S = 0.004, 0.02, 0.5

_forked = False
_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()
_team_is_free = threading.Lock()


def parallel_for(kernel: Callable[..., Any], count: int, *args: Any, grain: int = 2048, slices: int | None = None) -> None:
    """Call `kernel(begin, end, *args)` over slices that cover [0, count), on `torch.get_num_threads()` threads.

    Small work (up to `grain` items, or one thread) is one call on the calling thread. Slices run in any order and must write
    to disjoint places. A KeyboardInterrupt or an error in a slice ends the loop before the next slice and is raised here.

    Args:
        kernel: releases the GIL.
        count: number of items.
        args: passed through, NumPy arrays and scalars.
        grain: items that are worth a thread, about 50 us of work.
        slices: how many slices, instead of as many as the work is worth.
    """
    if count <= 0:
        return
    for_each_slice(lambda _, begin, end: kernel(begin, end, *args), count, slices=slices or _free_slice_count(count, grain))


def slice_count(count: int, grain: int = 2048) -> int:
    """How many slices `count` items are worth on torch's threads where each costs memory: 1 for small work, at most eight a thread."""
    threads = torch.get_num_threads()
    if threads == 1 or count <= grain:
        return _free_slice_count(count, grain)
    return max(threads, min(count // max(grain, 1), _SLICES_PER_THREAD * threads))


def _free_slice_count(count: int, grain: int) -> int:
    """The same where slices cost only time: long work is cut into many, so that it can be interrupted; items of grain 1 stay apart."""
    threads = torch.get_num_threads()
    if threads == 1 or count <= grain:
        return max(1, min(count // (64 * max(grain, 1)), _MOST_SLICES))
    return max(threads, min(count // (_SLICE_GRAINS * grain if grain > 1 else 1), _MOST_SLICES))


def for_each_slice(body: Callable[[int, int, int], Any], count: int, *, slices: int) -> None:
    """Call `body(slot, begin, end)` for `slices` equal slices of [0, count); reductions give each slot its own accumulator.

    Slice boundaries depend on `count` and `slices` alone, so that sums over slots are the same in every run. While another loop has
    the team (a Python thread beside this one, or the loop around this one), or where the team comes late, the calling thread runs them.
    """
    slices = max(1, min(slices, count))
    if slices == 1:
        if count > 0:
            body(0, 0, count)
        return

    def run(slot: int) -> None:
        body(slot, slot * count // slices, (slot + 1) * count // slices)

    threads = min(torch.get_num_threads(), slices)
    if threads == 1 or _patience.is_resting() or not _team_is_free.acquire(blocking=False):
        for slot in range(slices):
            run(slot)
        return
    try:
        _run_team(run, slices, threads)
    finally:
        _team_is_free.release()


def _run_team(run: Callable[[int], None], count: int, threads: int) -> None:
    """Work off run(0) ... run(count - 1) on a team. `next` on a shared iterator is atomic under the GIL."""
    slots = iter(range(count))
    errors: list[BaseException] = []
    caller, begin, busy = get_ident(), time.monotonic(), 0.0

    def work() -> None:
        nonlocal busy
        is_caller = get_ident() == caller
        start = thread_time() if is_caller else 0.0
        try:
            for slot in slots:
                if errors:
                    return
                run(slot)
        except BaseException as error:
            errors.append(error)
        if is_caller:
            busy = thread_time() - start

    openmp = None if _forked else _openmp()
    if openmp is not None:
        _team_work.append((caller, work))
        try:
            openmp(_callback, None, threads, 0)
        finally:
            _team_work.clear()
    else:
        pool = _thread_pool()
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            if not other.cancel():  # what has not begun has nothing left to do
                other.result()
    if errors:
        raise errors[0]
    _patience.note(time.monotonic() - begin, busy)


class _Patience:
    """Whether the team comes when it is called. On a machine that is busy with other things, a loop waits for threads that are not
    scheduled, and alone would be faster; after that, loops do without the team for a while, twice as long each time it is late again.
    """

    def __init__(self) -> None:
        self._until, self._rest = 0.0, _FIRST_REST_S

    def is_resting(self) -> bool:
        return time.monotonic() < self._until

    def note(self, elapsed: float, busy: float) -> None:
        """Take in how long a loop took and how long the caller was at work in it, in seconds; equal shares are normal."""
        if elapsed > _LATE_S + 2 * busy:
            self._until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, _LONGEST_REST_S)
        else:
            self._rest = _FIRST_REST_S


_patience = _Patience()

_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_team_work: list[tuple[int, Callable[[], None]]] = []  # the caller and what the team does now: one loop at a time has it
_held = threading.local()


def _run_in_team(_: None) -> None:
    """What each thread of the team calls.

    To Python, OpenMP's threads are foreign: for each call it makes a thread state and throws it away, which takes longer than all the rest
    of a launch. One call of PyGILState_Ensure without its counterpart keeps the state for as long as the thread lives.
    """
    caller, work = _team_work[0]
    if get_ident() != caller and not hasattr(_held, "state"):
        _held.state = ctypes.pythonapi.PyGILState_Ensure()
    work()


_callback = _Callback(_run_in_team)  # once, since making one costs microseconds


@lru_cache(maxsize=1)
def _openmp() -> Any:
    """GOMP_parallel of the OpenMP library that torch has loaded; None where torch uses another one.

    A second thread pool beside torch's team would spin against it and cost up to three times the work.
    """
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            paths = {line.split()[-1] for line in maps if "libgomp" in line}
        paths = sorted(paths, key=lambda path: "torch" not in path)
        start = ctypes.CDLL(paths[0]).GOMP_parallel
    except (OSError, IndexError, AttributeError):
        return None
    start.restype = None
    start.argtypes = [_Callback, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return start


def _thread_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2)), thread_name_prefix="unproject")
        return _pool


def _after_fork() -> None:
    """OpenMP's threads and the pool's do not exist in a forked child: it starts a pool of its own."""
    global _forked, _pool, _pool_lock, _team_is_free
    _forked, _pool, _pool_lock, _team_is_free = True, None, threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
