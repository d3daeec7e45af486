"""Input files: their bytes, decompressed where needed, and the files beside them that they name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np

from ..errors import FileAccessError, FormatError
from .formats import READABLE

PADDING = 24
"""Bytes behind every text: a line break and zeros, so that parsers may look ahead."""

COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zip")
MAXIMUM_UNPACKED = 4 << 30


class FileWarning(UserWarning):
    """A file was read, but something in it was missing, ignored or repaired."""


def warn_file(path: object, text: str) -> None:
    """Issue a FileWarning that names the file."""
    warnings.warn(f"{path}: {text}", FileWarning, stacklevel=2)


def warn_of_lost(path: object, format_name: str, names: Sequence[str]) -> None:
    """Issue a FileWarning that names the attributes that a format has no place for, if there are any."""
    if names:
        warn_file(path, f"{format_name} cannot hold the attributes {', '.join(map(repr, names[:8]))}; they are not written")


class Resources(Protocol):
    """Where the files lie that another file names."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a file named inside the model file; None if there is none, or if it may not be read (with a warning)."""
        ...


class FolderResources:
    """Files beside a model file. A name may not lead out of its folder unless `allow_outside`."""

    def __init__(self, model: Path, allow_outside: bool = False):
        self._model, self._allow_outside = model, allow_outside

    def read(self, name: str) -> bytes | None:
        found = self.find(name)
        if found is None:
            return None
        try:
            return found.read_bytes()
        except OSError as error:
            warn_file(self._model, f"{name!r} cannot be read ({error.strerror})")
            return None

    def find(self, name: str) -> Path | None:
        """The file that `name` stands for. Of a path that leads nowhere (an absolute one of another machine), its last part is tried."""
        cleaned = name.strip().strip('"').replace("\\", "/")
        if not cleaned or "\0" in cleaned:
            return None
        folder = self._model.parent
        for candidate in (folder / cleaned, folder / PurePosixPath(cleaned).name):
            try:
                if not candidate.is_file():
                    continue
                if self._allow_outside or candidate.resolve().is_relative_to(folder.resolve()):
                    return candidate
            except (OSError, ValueError, RuntimeError):
                continue
            warn_file(self._model, f"{name!r} lies outside of the file's folder and is not read (allow_outside=True would)")
        return None


class ZipResources:
    """Files in the same archive as the model file."""

    def __init__(self, archive: zipfile.ZipFile, model: str, limit: int):
        self._archive, self._folder, self._limit = archive, PurePosixPath(model).parent, limit

    def read(self, name: str) -> bytes | None:
        cleaned = name.strip().strip('"').replace("\\", "/").removeprefix("./")
        names = self._archive.namelist()
        for candidate in (str(self._folder / cleaned), str(self._folder / PurePosixPath(cleaned).name)):
            if candidate in names:
                return _unpack_member(self._archive, candidate, self._limit)
        return None


class Source:
    """The bytes of one model file, on disk or in memory.

    Attributes:
        path: the file as the caller names it, for messages.
        name: its name without a compression ending, lower case.
        size: number of bytes.
        resources: the files beside it.
        data: the bytes, if they are in memory.
    """

    def __init__(self, path: Path, name: str, data: np.ndarray | None, file: BinaryIO | None, resources: Resources):
        self.path, self.name, self.resources = path, name.lower(), resources
        self.data, self._file, self._lock = data, file, threading.Lock()
        self.size = os.fstat(file.fileno()).st_size if file is not None else len(data) if data is not None else 0

    @property
    def descriptor(self) -> int | None:
        """The open file, where kernels can read from it themselves (not on Windows)."""
        return self._file.fileno() if self._file is not None and hasattr(os, "preadv") else None

    @property
    def suffix(self) -> str:
        """The ending of the name, such as ".ply"."""
        return PurePosixPath(self.name).suffix

    def read_into(self, offset: int, target: np.ndarray) -> None:
        """Fill a contiguous array with the bytes from `offset` on. Safe in several threads.

        Raises:
            FormatError: the file ends before.
        """
        if target.size == 0:
            return
        view = target.reshape(-1).view(np.uint8).data
        if offset + len(view) > self.size:
            raise FormatError(f"the file ends at byte {self.size}, but the data goes on to {offset + len(view)}", path=self.path)
        if self.data is not None:
            view[:] = self.data.data[offset : offset + len(view)]
            return
        done = 0
        while done < len(view):
            got = self._read_some(offset + done, view[done:])
            if got <= 0:
                raise FormatError("the file became shorter while it was read", path=self.path, byte=offset + done)
            done += got

    def _read_some(self, offset: int, view: memoryview) -> int:
        assert self._file is not None
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view) or 0  # type: ignore[attr-defined]

    def read(self, offset: int, count: int) -> np.ndarray:
        """`count` bytes from `offset` on, as a fresh uint8 array."""
        target = np.empty(count, np.uint8)
        self.read_into(offset, target)
        return target

    def head(self, count: int = 1024) -> bytes:
        """The first bytes."""
        return self.read(0, min(count, self.size)).tobytes()

    def bytes(self) -> bytes:
        """All bytes."""
        if self._file is None:
            return self.read(0, self.size).tobytes()
        with self._lock:
            self._file.seek(0)
            return self._file.read()

    def text(self, offset: int = 0) -> np.ndarray:
        """The bytes from `offset` on as text: uint8, line breaks are "\\n" or "\\r\\n", no byte order mark, with PADDING behind."""
        count = self.size - offset
        target = np.empty(count + PADDING, np.uint8)
        self.read_into(offset, target[:count])
        if offset == 0:
            start = target[:4].tobytes()
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                decoded = target[:count].tobytes().decode("utf-16", errors="replace").encode()
                target = np.frombuffer(decoded + bytes(PADDING), np.uint8).copy()
                count = len(decoded)
            elif start.startswith(b"\xef\xbb\xbf"):
                target[:3] = 32
        _unify_line_breaks(target[:count])
        target[count:] = 0
        target[count] = 10
        return target


def _unify_line_breaks(text: np.ndarray) -> None:
    """Old Mac files end lines with "\r" alone: where there is no "\n", they become one."""
    if 10 not in text[:65536] and 13 in text[:65536]:
        text[text == 13] = 10


@contextmanager
def open_source(path: str | os.PathLike[str], *, allow_outside: bool = False, maximum_unpacked: int | None = None) -> Iterator[Source]:
    """Open a file for reading. gzip, bzip2, xz and zip archives (with one model in them) are unpacked in memory.

    Args:
        allow_outside: whether the file may name files outside of its folder.
        maximum_unpacked: most bytes that a compressed file may unpack to; by default 100 times its size (at least 64 MiB), at most 4 GiB.

    Raises:
        FileAccessError: no such file, no permission, a folder or a device.
        FormatError: a damaged archive, or more bytes than allowed.
    """
    place = Path(path)
    try:
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise FileAccessError(f"{place}: {'a folder' if place.is_dir() else 'not a regular file'}, cannot be read as a model")
        file = open(place, "rb")  # noqa: SIM115 closed below
    except OSError as error:
        if isinstance(error, FileAccessError):
            raise
        raise FileAccessError(f"{place}: {error.strerror or error}") from error
    with file:
        resources = FolderResources(place, allow_outside)
        start = file.read(6)
        limit = maximum_unpacked or min(max(100 * os.fstat(file.fileno()).st_size, 64 << 20), MAXIMUM_UNPACKED)
        opener = _opener(start)
        if opener is not None:
            file.seek(0)
            data = _unpack(opener, file, limit, place)
            yield Source(place, _plain_name(place.name), data, None, resources)
        elif start.startswith(b"PK\x03\x04") and place.suffix.lower() != ".3mf":
            with _open_zip(file, place) as archive:
                member = _model_member(archive, place)
                data = np.frombuffer(_unpack_member(archive, member, limit, place), np.uint8)
                yield Source(place, PurePosixPath(member).name, data, None, ZipResources(archive, member, limit))
        else:
            yield Source(place, place.name, None, file, resources)


def memory_source(data: bytes, path: Path, name: str, resources: Resources) -> Source:
    """Bytes in memory as if they were a file."""
    return Source(path, name, np.frombuffer(data, np.uint8), None, resources)


def _plain_name(name: str) -> str:
    lowered = name.lower()
    for ending in (".gz", ".bz2", ".xz"):
        if lowered.endswith(ending):
            return name[: -len(ending)]
    return name


def _opener(start: bytes) -> Any:
    if start.startswith(b"\x1f\x8b"):
        return gzip.open
    if start.startswith(b"BZh"):
        return bz2.open
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open
    return None


def _unpack(opener: Any, file: BinaryIO, limit: int, path: Path) -> np.ndarray:
    try:
        with opener(file, "rb") as stream:
            return _read_limited(stream, limit, path)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise FormatError(f"the compressed data is damaged ({error})", path=path) from error


def _read_limited(stream: Any, limit: int, path: object) -> np.ndarray:
    blocks, total = [], 0
    while block := stream.read(1 << 20):
        total += len(block)
        if total > limit:
            raise FormatError(f"unpacks to more than {limit} bytes (maximum_unpacked allows more)", path=path)
        blocks.append(block)
    return np.frombuffer(b"".join(blocks), np.uint8)


@contextmanager
def _open_zip(file: BinaryIO, path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FormatError(f"the archive is damaged ({error})", path=path) from error
    with archive:
        yield archive


def _unpack_member(archive: zipfile.ZipFile, name: str, limit: int, path: object = None) -> bytes:
    try:
        with archive.open(name) as stream:
            return _read_limited(stream, limit, path or name).tobytes()
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError) as error:
        raise FormatError(f"{name!r} in the archive is damaged or protected ({error})", path=path) from error


def _model_member(archive: zipfile.ZipFile, path: Path) -> str:
    """The one model in an archive."""
    names = [info.filename for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    models = [name for name in names if PurePosixPath(name.lower()).suffix.lstrip(".") in READABLE]
    if len(models) != 1:
        raise FormatError(f"the archive has {len(models)} model files; unpack it and name one", path=path)
    return models[0]
