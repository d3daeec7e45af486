"""The kernel decorator and its cache: found again, thrown away when any source changes, and never in the way."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unproject.kernels import jit
from unproject.kernels.jit import cache_directory, kernel

SCALE = """
from unproject.kernels.jit import kernel

@kernel
def scale(x):
    return x * {factor}
"""
RUN = """
from unproject.kernels.jit import kernel
from .scale import scale

@kernel
def run(values):
    for i in range(len(values)):
        values[i] = scale(values[i])
"""

_names = itertools.count()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], ModuleType]]:
    """Imports a package of two kernel files as a new process would, with a cache of its own."""
    package = tmp_path / "tiny_kernels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "scale.py").write_text(SCALE.format(factor=2))
    (package / "run.py").write_text(RUN)
    monkeypatch.setenv("UNPROJECT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("tiny_kernels")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        for cached in (jit.cache_directory, jit._source_closure, jit._source_stamp):
            cached.cache_clear()

    def load_module() -> ModuleType:
        forget()
        return importlib.import_module("tiny_kernels.run")

    yield load_module
    monkeypatch.undo()
    forget()


def result(module: ModuleType) -> float:
    values = np.ones(3)
    module.run(values)
    return float(values[0])


def hits(module: ModuleType) -> int:
    return sum(module.run.stats.cache_hits.values())


def test_compiled_once_and_found_again(load: Callable[[], ModuleType], tmp_path: Path) -> None:
    first = load()
    assert result(first) == 2
    assert hits(first) == 0
    assert list((tmp_path / "cache" / "kernels").glob("run-*/*.nbc"))
    second = load()
    assert result(second) == 2
    assert hits(second) == 1


def test_a_change_in_an_imported_kernel_file_compiles_anew(load: Callable[[], ModuleType], tmp_path: Path) -> None:
    assert result(load()) == 2
    (tmp_path / "tiny_kernels" / "scale.py").write_text(SCALE.format(factor=3))
    changed = load()
    assert result(changed) == 3
    assert hits(changed) == 0


@pytest.mark.parametrize("damage", [b"", b"rubbish", None], ids=["empty", "rubbish", "half"])
def test_a_damaged_cache_is_replaced(load: Callable[[], ModuleType], tmp_path: Path, damage: bytes | None) -> None:
    assert result(load()) == 2
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage is None else damage)
    repaired = load()
    assert result(repaired) == 2
    assert hits(repaired) == 0


def test_without_a_writable_directory_kernels_work(load: Callable[[], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNPROJECT_CACHE_DIR", str(tmp_path / "file" / "below"))
    module = load()
    assert cache_directory() is None
    assert result(module) == 2


def test_a_cache_that_vanishes_does_not_matter(load: Callable[[], ModuleType], tmp_path: Path) -> None:
    module = load()
    assert cache_directory() == tmp_path / "cache"
    kernels = tmp_path / "cache" / "kernels"
    kernels.rmdir()
    kernels.write_text("a file in its place")
    assert result(module) == 2


def test_without_a_setting_the_users_cache_folder_is_taken(
    load: Callable[[], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    monkeypatch.delenv("UNPROJECT_CACHE_DIR")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    cache_directory.cache_clear()
    found = cache_directory()
    assert found is not None
    assert found.name == "unproject"
    assert found.is_relative_to(tmp_path / "home")
    assert not found.is_relative_to(Path(jit.__file__).parents[1])


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners here")
def test_a_folder_of_somebody_else_is_not_taken(load: Callable[[], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    assert cache_directory() == tmp_path / "cache"
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    cache_directory.cache_clear()
    assert cache_directory() is None


def test_first_calls_from_several_threads(load: Callable[[], ModuleType]) -> None:
    module = load()
    results = []
    team = [threading.Thread(target=lambda: results.append(result(module))) for _ in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join(60)
    assert results == [2.0] * 4


@kernel
def classify(values, kinds):
    for i in range(len(values)):
        value = values[i]
        kinds[i] = 1 if value != value else (2 if value == np.inf else (3 if np.isfinite(value) else 4))


def test_default_flags_keep_nan_and_infinity() -> None:
    kinds = np.zeros(5, np.int64)
    classify(np.array([np.nan, np.inf, -np.inf, 1.5, 0.0]), kinds)
    assert kinds.tolist() == [1, 2, 4, 3, 3]


@kernel(fastmath=False)
def compensated_sum(values):
    total, lost = 0.0, 0.0
    for value in values:
        added = value - lost
        larger = total + added
        lost = (larger - total) - added
        total = larger
    return total


def test_without_fast_math_the_order_is_kept() -> None:
    assert compensated_sum(np.array([1e16, 1.0, 1.0, -1e16])) == 2


def test_division_by_zero_gives_infinity() -> None:
    @kernel
    def divide(a, b):
        return a / b

    assert divide(1.0, 0.0) == np.inf


@kernel
def _doubled(x):
    return 2 * x


@kernel
def _one_more(x):
    return _doubled(x) + 1


def test_a_kernel_is_called_by_python_and_by_kernels_in_any_order():
    assert _one_more(3) == 7
    assert _doubled(4) == 8
    assert _one_more(1.5) == 4.0
    assert gc.isenabled()
