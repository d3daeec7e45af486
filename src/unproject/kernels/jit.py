"""The one decorator of all kernels: Numba without the GIL, cached per source and per machine."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

# Everything of fast-math except "no NaN" and "no infinity": kernels start minima at infinity and test for both.
FAST_MATH = {"reassoc", "nsz", "arcp", "contract", "afn"}


def kernel(function: Callable[..., Any] | None = None, *, fastmath: bool | set[str] | None = None, inline: str = "never") -> Any:
    """Compile a function for the CPU: no GIL, no bounds checks, IEEE infinities and NaN kept, cached on disk.

    A kernel over items is written for a range: `def nearest_range(begin, end, ...)`, and `parallel_for` slices it.

    Args:
        fastmath: LLVM fast-math flags instead of FAST_MATH; False where exact IEEE order matters.
        inline: "llvm" for functions with many arguments called for every item: LLVM puts them into the loop around them, which costs little
            compile time. "always" lets Numba do it, for tiny functions.
    """

    def compile_lazily(f: Callable[..., Any]) -> Any:
        # Most functions are called by kernels only: those do without what Python needs for a call, a fifth of the time to compile them.
        flags = FAST_MATH if fastmath is None else fastmath
        how = {"forceinline": True} if inline == "llvm" else {"inline": inline}
        how |= {"nogil": True, "fastmath": flags, "error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}
        dispatcher, inner = numba.njit(f, **how), numba.njit(f, no_cpython_wrapper=True, **how)
        dispatcher._cache, inner._cache = KernelCache(f), KernelCache(f, _InnerStorage)
        dispatcher.__class__ = _entry_class(type(dispatcher))
        dispatcher.inner = inner
        return dispatcher

    return compile_lazily if function is None else compile_lazily(function)


@cache
def _entry_class(kind: type) -> Any:
    """The class of what Python calls: a dispatcher that names another one, `inner`, where compiled code calls it."""

    class Entry(kind):
        @property
        def _numba_type_(self) -> Any:
            return self.inner._numba_type_

        def _compile_for_args(self, *args: Any, **kwargs: Any) -> Any:
            collects = gc.isenabled()
            gc.disable()  # a compiler makes millions of objects that stay: looking through them takes an eighth of its time
            try:
                return super()._compile_for_args(*args, **kwargs)
            finally:
                if collects:
                    gc.enable()

    return Entry


@lru_cache(maxsize=1)
def cache_directory() -> Path | None:
    """Where compiled kernels are kept: $UNPROJECT_CACHE_DIR, else the user's cache folder, else a temporary one, else nowhere.

    Never inside the package, which may be read-only.
    """
    candidates = []
    if "UNPROJECT_CACHE_DIR" in os.environ:
        candidates.append(Path(os.environ["UNPROJECT_CACHE_DIR"]))
    else:
        candidates.append(_user_cache() / "unproject")
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        candidates.append(Path(tempfile.gettempdir()) / f"unproject-{user}")
    for candidate in candidates:
        kernels = candidate / "kernels"
        try:
            kernels.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=kernels):
                pass
        except OSError:
            continue
        if hasattr(os, "getuid") and kernels.stat().st_uid != os.getuid():
            continue  # cached machine code is executed: never from a folder that somebody else owns
        return candidate
    return None


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


_IMPORT = re.compile(r"^ *from \.(\w*) import +(.*)$", re.MULTILINE)  # Python's own parser takes a tenth of a second for all files


@cache
def _source_closure(path: Path) -> frozenset[Path]:
    """The file and every file of this folder that it imports, directly or not: what its machine code depends on."""
    found, todo = set(), [path]
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        for module, names in _IMPORT.findall(current.read_text(encoding="utf-8")):
            wanted = [module] if module else re.findall(r"\w+", names)
            todo += [file for name in wanted if (file := current.parent / f"{name}.py").exists()]
    return frozenset(found)


@cache
def _source_stamp(path: Path) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for file in sorted(_source_closure(path)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:24]


class _Locator:
    """Tells Numba where one kernel's machine code lies. Its stamp covers the imported kernel files, which Numba's own does not."""

    def __init__(self, directory: Path, source: Path):
        self._path = str(directory / "kernels" / f"{source.stem}-{_source_stamp(source)}")
        self._stamp = _source_stamp(source)

    def ensure_cache_path(self) -> None:
        os.makedirs(self._path, exist_ok=True)

    def get_cache_path(self) -> str:
        return self._path

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> None:
        return None


class _Storage(CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any]):
        directory = cache_directory()
        if directory is None:
            raise RuntimeError("no writable cache directory")
        source = Path(function.__code__.co_filename)
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(directory, source)
        self._filename_base = self.get_filename_base(function.__qualname__.rpartition(".")[2], getattr(sys, "abiflags", ""))

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return f"{fullname}-{self._lineno}.py{sys.version_info[0]}{sys.version_info[1]}{abiflags}"


class _InnerStorage(_Storage):
    """The same for what other kernels call."""

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return super().get_filename_base(fullname, abiflags) + "-inner"


_DAMAGE = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    RuntimeError,
)


class KernelCache(FunctionCache):
    """Numba's function cache in our directory; without a directory, or on any trouble with it, a plain compilation."""

    _impl_class = _Storage

    def __init__(self, function: Callable[..., Any], storage: type[_Storage] = _Storage):
        self._function, self._opened = function, False
        self._impl_class = storage

    def _open(self) -> bool:
        if not self._opened:
            self._opened = True
            try:
                super().__init__(self._function)
            except (OSError, RuntimeError, SyntaxError):
                self._enabled = False
        return self._enabled

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context) if self._open() else None
        except _DAMAGE:
            return self._start_anew()

    def _start_anew(self) -> None:
        """Throw away an index that cannot be read, so that the coming compilation writes a new one."""
        with suppress(*_DAMAGE):
            self.flush()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            if self._open():
                super().save_overload(sig, data)
        except _DAMAGE:
            self._enabled = False  # a full or vanished disk costs the next start a compilation, not this one its result

    @property
    def cache_path(self) -> str:
        return self._cache_path if self._open() else ""
