"""Camera paths without intrinsics: Open3D's trajectory.log and TUM's text format. Files hold world-from-camera, we camera-from-world."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import check_rigid
from ..errors import ArgumentError, FormatError, check_shape
from ..lie.quaternions import matrix_from_quaternion, quaternion_from_matrix
from ..lie.se3 import affine_matrix, se3_inverse
from .atomic import atomic_write, write_all
from .json_node import read_text


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A path of camera poses.

    Attributes:
        camera_from_world: [N, 4, 4] rigid, OpenCV axes.
        names: N; frame numbers of a log, or time stamps as the file writes them.
    """

    camera_from_world: Tensor
    names: tuple[str, ...]


def load_trajectory(path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> Trajectory:
    """Read an Open3D / Redwood trajectory (.log: three numbers, then a 4x4 matrix) or a TUM one (time tx ty tz qx qy qz qw).

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: neither, or damaged; the message has the line.
    """
    place = Path(path)
    lines = [(i + 1, line.split()) for i, line in enumerate(read_text(place).splitlines()) if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise FormatError("an empty trajectory", path=place)
    names, poses = _read_log(lines, place) if len(lines[0][1]) == 3 else _read_tum(lines, place)
    return Trajectory(camera_from_world=se3_inverse(torch.from_numpy(poses)).to(dtype), names=tuple(names))


def save_trajectory(trajectory: Trajectory, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a trajectory: as Open3D's log where the name ends in .log, else in TUM's format (names are then its time stamps).

    Raises:
        ArgumentError: wrong shapes, or names that are no numbers.
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    poses = check_shape(trajectory.camera_from_world, ["N", 4, 4], name="camera_from_world", where="save_trajectory", finite=True)
    if len(trajectory.names) != poses.shape[0]:
        raise ArgumentError(f"save_trajectory: {poses.shape[0]} poses but {len(trajectory.names)} names")
    world_from_camera = se3_inverse(poses.detach().double())
    rows = []
    if Path(path).suffix == ".log":
        for i, matrix in enumerate(world_from_camera.tolist()):
            rows.append(f"{i} {i} {i + 1}")
            rows += [" ".join(repr(v) for v in row) for row in matrix]
    else:
        quaternions = quaternion_from_matrix(world_from_camera[:, :3, :3])[:, [1, 2, 3, 0]].tolist()
        for name, t, q in zip(trajectory.names, world_from_camera[:, :3, 3].tolist(), quaternions):
            _number(name)
            rows.append(" ".join([name, *(repr(v) for v in (*t, *q))]))
    with atomic_write(path, overwrite=overwrite) as file:
        write_all(file, ("\n".join(rows) + "\n").encode())


def _number(name: str) -> None:
    try:
        float(name)
    except ValueError:
        raise ArgumentError(f"save_trajectory: `names` must be time stamps for a TUM file, got {name!r}") from None


def _read_log(lines: list[tuple[int, list[str]]], path: Path) -> tuple[list[str], np.ndarray]:
    names, poses = [], []
    for start in range(0, len(lines), 5):
        block = lines[start : start + 5]
        if len(block) < 5:
            raise FormatError("the file ends inside a pose", path=path, line=block[-1][0])
        names.append(_numbers(block[0], 3, path, words=True)[0])
        matrix = np.array([_numbers(row, 4, path) for row in block[1:]])
        _check(matrix, path, block[1][0])
        poses.append(matrix)
    return names, np.stack(poses)


def _read_tum(lines: list[tuple[int, list[str]]], path: Path) -> tuple[list[str], np.ndarray]:
    values = np.array([_numbers(line, 8, path) for line in lines])
    length = np.linalg.norm(values[:, 4:], axis=1)
    wrong = np.flatnonzero(np.abs(length - 1) > 1e-2)
    if len(wrong):
        raise FormatError(f"the quaternion has length {length[wrong[0]]:.3g}, not 1", path=path, line=lines[wrong[0]][0])
    rotation = matrix_from_quaternion(torch.from_numpy(values[:, [7, 4, 5, 6]]))
    return [words[0] for _, words in lines], affine_matrix(rotation, torch.from_numpy(values[:, 1:4])).numpy()


def _numbers(line: tuple[int, list[str]], count: int, path: Path, *, words: bool = False) -> list:
    number, parts = line
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = [np.nan]
    if len(parts) != count or not np.isfinite(values).all():
        raise FormatError(f"expected {count} numbers, got {' '.join(parts)[:60]!r}", path=path, line=number)
    return parts if words else values


def _check(matrix: np.ndarray, path: Path, line: int) -> None:
    try:
        check_rigid(torch.from_numpy(matrix), name="pose", where="trajectory")
    except ArgumentError as error:
        raise FormatError(str(error).partition(": ")[2], path=path, line=line) from None
