"""Output files that appear whole or not at all: written under a temporary name beside the target, renamed when complete."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import FileAccessError

PAGE = 4096
"""Bytes that a system handles as one."""

_PIECE = 1 << 22
_RESERVED = 1 << 20


class OutputFiles:
    """A set of files that belong together, such as an OBJ, its MTL and images. They take their names when all are written.

    Use as a context manager: an error or an interrupt inside of it leaves nothing behind.
    """

    def __init__(self, *, overwrite: bool, durable: bool = False):
        self._overwrite, self._durable = overwrite, durable
        self._written: list[tuple[Path, Path]] = []
        self._open = ExitStack()

    def open(self, path: Path) -> BinaryIO:
        """A file to write, unbuffered.

        Raises:
            FileAccessError: the folder is missing or closed, the path is a folder, or the file exists and may not be replaced.
        """
        target = check_target(path, overwrite=self._overwrite)
        try:
            if target.exists() and not target.is_file():
                return self._open.enter_context(open(target, "wb", buffering=0))  # a pipe or terminal: nothing to rename
            temporary = target.with_name(f"{_part_stem(target)}{os.getpid()}-{secrets.token_hex(4)}.part")
            file = self._open.enter_context(open(temporary, "xb", buffering=0))  # noqa: SIM115 the stack closes it
        except OSError as error:
            raise FileAccessError(f"{path}: {error.strerror or error}") from error
        self._written.append((temporary, target))
        if target.exists():
            with contextlib.suppress(OSError):
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
        return file

    def write(self, path: Path, data: bytes) -> None:
        """Write a whole file."""
        write_all(self.open(path), data)

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as failure:
            if isinstance(failure, FileAccessError):
                raise
            raise FileAccessError(f"{self._written[-1][1]}: {failure.strerror or failure}") from failure
        finally:
            self._open.close()
            for temporary, _ in self._written:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileAccessError) and self._written:
            raise FileAccessError(f"{self._written[-1][1]}: {error.strerror or error}") from error

    def _commit(self) -> None:
        if self._durable:
            for temporary, _ in self._written:
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
        self._open.close()
        for temporary, target in reversed(self._written):  # the first file names the others: it appears last
            _take_name(temporary, target, overwrite=self._overwrite)
        if self._durable and hasattr(os, "O_DIRECTORY"):
            for folder in {target.parent for _, target in self._written}:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


def check_target(path: Path, *, overwrite: bool) -> Path:
    """The file that a path stands for (links followed), if it may be written.

    Raises:
        FileAccessError: the folder is missing, the path is a folder, or the file exists and may not be replaced.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise FileAccessError(f"{path} is a folder; name a file")
    if not target.parent.is_dir():
        raise FileAccessError(f"{path}: the folder {target.parent} does not exist")
    if not overwrite and target.exists():
        raise FileAccessError(f"{path} exists already; allow overwriting to replace it")
    return target


def remove_file(path: Path) -> None:
    """Remove a file that one process at a time writes, such as a checkpoint, and what killed ones left of it half-written."""
    target = Path(os.path.realpath(path))
    path.unlink(missing_ok=True)
    for part in target.parent.glob(f"{glob.escape(_part_stem(target))}*-*.part"):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _part_stem(target: Path) -> str:
    """How the names of a file begin while it is written."""
    return f".{target.name[:200]}."


def _take_name(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, target)
            return
        except FileExistsError:
            raise FileAccessError(f"{target} exists already; allow overwriting to replace it") from None
        except OSError:
            check_target(target, overwrite=False)  # a file system without links: the check and the renaming are two steps
    os.replace(temporary, target)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write everything; an unbuffered file may take less than it is given."""
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
    if len(view) > _PIECE and file.seekable():  # from page to page, which the system copies faster
        view = view[file.write(view[: PAGE - file.tell() % PAGE]) or 0 :]
    while len(view):
        view = view[file.write(view[:_PIECE]) or 0 :]


def reserve_space(file: BinaryIO, count: int) -> None:
    """Ask the file system for the next `count` bytes of a file at once: faster than piece by piece, and a full disk is noticed at once.

    Raises:
        OSError: the disk is full.
    """
    if count < _RESERVED or not hasattr(os, "posix_fallocate") or not file.seekable():
        return
    try:
        os.posix_fallocate(file.fileno(), file.tell(), count)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = True, durable: bool = False) -> Iterator[BinaryIO]:
    """A binary file to write that takes its name when the block ends well; otherwise nothing is left, and an old file stays.

    Args:
        overwrite: whether an existing file is replaced.
        durable: wait until the disk has the bytes (fsync).

    Raises:
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    with OutputFiles(overwrite=overwrite, durable=durable) as outputs:
        yield outputs.open(Path(path))
