"""The thread dispatcher: every item once, the same result on any number of threads, in forks, workers and threads; errors come out."""

from __future__ import annotations

import _thread
import itertools
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unproject.geometry.neighbors import knn
from unproject.kernels.jit import kernel
from unproject.ops import dispatch
from unproject.ops.dispatch import for_each_slice, parallel_for, slice_count


@kernel
def add_one_range(begin, end, values):
    for i in range(begin, end):
        values[i] += 1


@kernel
def spin_range(begin, end, values):
    """About a millisecond an item."""
    for i in range(begin, end):
        for _ in range(100_000):
            values[i] = np.sin(values[i]) + 1


@pytest.fixture(params=["team", "pool"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads: torch's OpenMP team, or the pool that stands in for it."""
    if request.param == "pool":
        monkeypatch.setattr(dispatch, "_openmp", lambda: None)
    elif dispatch._openmp() is None:
        pytest.skip("torch has no OpenMP team here")
    monkeypatch.setattr(dispatch, "_LATE_S", float("inf"))
    monkeypatch.setattr(dispatch, "_patience", dispatch._Patience())
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 10_001])
@pytest.mark.parametrize("slices", [None, 1, 3, 16, 20_000])
def test_every_item_once(threads: None, count: int, slices: int | None) -> None:
    values = np.zeros(count + 2)
    parallel_for(add_one_range, count, values, grain=64, slices=slices)
    assert (values[:count] == 1).all()
    assert (values[count:] == 0).all()


def test_slices_depend_on_their_number_only(threads: None) -> None:
    def boundaries() -> list[tuple[int, int, int]]:
        found = []
        for_each_slice(lambda slot, begin, end: found.append((slot, begin, end)), 103, slices=7)
        return sorted(found)

    together = boundaries()
    torch.set_num_threads(1)
    assert boundaries() == together
    assert together[0][1] == 0
    assert together[-1][2] == 103
    assert all(a[2] == b[1] for a, b in itertools.pairwise(together))


@pytest.mark.parametrize("thread_count", [1, 2, 5])
def test_slice_count(thread_count: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count)
    try:
        assert slice_count(1000, 1000) == 1
        assert slice_count(10**9, 1000) == (256 if thread_count == 1 else 8 * thread_count)
    finally:
        torch.set_num_threads(before)


def test_long_work_is_cut_into_many_slices(threads: None) -> None:
    calls = []
    parallel_for(lambda begin, end: calls.append(end - begin), 10**7, grain=1000)
    assert len(calls) == 256
    assert sum(calls) == 10**7
    calls.clear()
    parallel_for(lambda begin, end: calls.append(end - begin), 30, grain=1)
    assert calls == [1] * 30


def test_a_late_team_gets_a_rest_that_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    patience = dispatch._Patience()
    assert not patience.is_resting()
    patience.note(elapsed=0.010, busy=0.006)
    assert not patience.is_resting()
    rests = []
    for _ in range(8):
        patience.note(elapsed=0.1, busy=0.001)
        begin = now[0]
        while patience.is_resting():
            now[0] += 0.005
        rests.append(now[0] - begin)
    assert rests[0] == pytest.approx(0.02, abs=0.005)
    assert rests[1] == pytest.approx(0.04, abs=0.005)
    assert rests[-1] == pytest.approx(0.5, abs=0.005)
    patience.note(elapsed=0.010, busy=0.009)
    patience.note(elapsed=0.1, busy=0.001)
    now[0] += 0.025
    assert not patience.is_resting()


def test_while_the_team_rests_the_caller_works_alone(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_LATE_S", 0.0)
    dispatch._patience.note(elapsed=1e3, busy=0.0)
    seen = set()
    for_each_slice(lambda slot, begin, end: seen.add(threading.get_ident()), 100, slices=100)
    assert seen == {threading.get_ident()}


def test_sums_over_slots_are_the_same_on_any_number_of_threads(threads: None) -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)

    def total() -> np.float32:
        slots = np.zeros(13, np.float32)

        def add(slot: int, begin: int, end: int) -> None:
            slots[slot] = values[begin:end].sum()

        for_each_slice(add, len(values), slices=len(slots))
        return slots.sum()

    together = total()
    torch.set_num_threads(1)
    assert total() == together


def test_an_error_ends_the_loop_and_comes_out(threads: None) -> None:
    ran = []

    def fail(slot: int, begin: int, end: int) -> None:
        ran.append(slot)
        if slot == 2:
            raise ValueError("slice 2 is bad")

    with pytest.raises(ValueError, match="slice 2 is bad"):
        for_each_slice(fail, 10_000, slices=10_000)
    assert len(ran) < 10_000
    test_every_item_once(threads, 100, 16)


def test_a_slice_may_run_a_loop_of_its_own(threads: None) -> None:
    values = np.zeros((6, 500))
    for_each_slice(lambda slot, begin, end: parallel_for(add_one_range, 500, values[slot], grain=1), 6, slices=6)
    assert (values == 1).all()


@pytest.mark.parametrize("thread_count", [1, 2])
def test_keyboard_interrupt_stops_a_long_loop(threads: None, thread_count: int) -> None:
    torch.set_num_threads(thread_count)
    values = np.zeros(60_000)
    spin_range(0, 1, values)
    timer = threading.Timer(0.1, _thread.interrupt_main)
    begin = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        parallel_for(spin_range, len(values), values, slices=6000)
    assert time.monotonic() - begin < 20  # of about a minute of work
    assert (values == 0).any()


def test_several_threads_at_once(threads: None) -> None:
    points = torch.rand(1500, 3, generator=torch.Generator().manual_seed(0))
    expected = knn(points, points, 4).index
    wrong = []

    def search() -> None:
        for _ in range(3):
            if not torch.equal(knn(points, points, 4).index, expected):
                wrong.append(threading.get_ident())

    team = [threading.Thread(target=search) for _ in range(3)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(60)
    assert not any(thread.is_alive() for thread in team)
    assert wrong == []


def test_the_team_is_free_again_after_a_loop(threads: None) -> None:
    for _ in range(2):
        seen = set()
        both = threading.Barrier(2, timeout=30)

        def meet(slot: int, begin: int, end: int, both: threading.Barrier = both, seen: set[int] = seen) -> None:
            both.wait()  # passes only if two threads are here at once
            seen.add(threading.get_ident())

        for_each_slice(meet, 2, slices=2)
        assert len(seen) == 2


def _search_in_child(points: torch.Tensor, queue) -> None:
    torch.set_num_threads(2)
    queue.put(knn(points, points, 4).index.numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child(threads: None) -> None:
    points = torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))
    expected = knn(points, points, 4).index.numpy()  # the parent's team is running now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_search_in_child, args=(points, queue))
    child.start()
    found = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    assert np.array_equal(found, expected)


LOADER = """
import sys, torch
from torch.utils.data import DataLoader, Dataset
from unproject.geometry.neighbors import nearest

class Clouds(Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, i):
        points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(i))
        return nearest(points[:1000], points[1000:]).index

if __name__ == "__main__":
    torch.set_num_threads(2)
    clouds = Clouds()
    expected = torch.stack([clouds[i] for i in range(6)])
    for method in sys.argv[1:]:
        found = torch.cat(list(DataLoader(clouds, batch_size=2, num_workers=2 if method == "fork" else 1, multiprocessing_context=method)))
        assert torch.equal(found, expected), method
        print(method, "works")
"""


def test_data_loader_workers(tmp_path: Path) -> None:
    methods = [method for method in ("fork", "spawn") if method in multiprocessing.get_all_start_methods()]
    script = tmp_path / "loader.py"
    script.write_text(LOADER)
    run = subprocess.run([sys.executable, str(script), *methods], capture_output=True, text=True, timeout=200)
    assert run.stdout.split() == [word for method in methods for word in (method, "works")], run.stderr
