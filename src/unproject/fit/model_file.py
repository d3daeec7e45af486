"""Files of linear models: the arrays of SMPL, SMPL-X and FLAME as .npz. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, FileAccessError, FormatError
from ..io.atomic import OutputFiles
from .linear_model import LinearModel, Skinning, check_model

_NEEDED = ("v_template", "f", "shapedirs")
_SKELETON = ("J_regressor", "weights", "kintree_table")


def load_model(path: str | Path, *, identity_count: int | None = None, dtype: torch.dtype = torch.float32) -> LinearModel:
    """Read a model from an .npz file with the arrays of SMPL.

    v_template [V, 3], f [F, 3], shapedirs [V, 3, K]; with a skeleton also J_regressor [J, V], weights [V, J], kintree_table [2, J] (parents
    in the first row) and posedirs [V, 3, 9 (J - 1)] if there are any. Of our own: expressiondirs [V, 3, L], shape_deviation [K],
    expression_deviation [L], landmark_names and landmark_vertices. Deviations are 1 without (as SMPL scales its bases).

    Args:
        path: the file.
        identity_count: columns of shapedirs that are identities; the further ones are expressions (SMPL-X and FLAME: 300). All by default.
        dtype: of the model's tensors.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: not an .npz, arrays that are missing, pickled (sparse or chumpy objects), of a wrong shape, or do not fit together.
    """
    path = Path(path)
    arrays = _read(path)
    for name in _NEEDED:
        if name not in arrays:
            raise FormatError(
                f"has no array {name!r}; a model needs {', '.join(_NEEDED)}, found {', '.join(sorted(arrays)) or 'none'}", path=path
            )
    basis, rest = _bases(arrays, path, identity_count, dtype)
    identities, expressions = basis.shape[2], rest.shape[2]
    model = LinearModel(
        mean=_real(arrays, "v_template", path, dtype), faces=_whole(arrays, "f", path), identity_basis=basis, expression_basis=rest,
        identity_deviation=_real(arrays, "shape_deviation", path, dtype, torch.ones(identities)),
        expression_deviation=_real(arrays, "expression_deviation", path, dtype, torch.ones(expressions)),
        skinning=_skinning(arrays, path, dtype), landmarks=_landmarks(arrays, path),
    )  # fmt: skip
    try:
        return check_model(model, where="the model")
    except ArgumentError as error:
        raise FormatError(str(error), path=path) from error


def _bases(arrays: dict[str, np.ndarray], path: Path, identity_count: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bases of identities [V, 3, K] and of expressions [V, 3, L]."""
    basis = _real(arrays, "shapedirs", path, dtype)
    if basis.dim() != 3:
        raise FormatError(f"shapedirs must be [V, 3, K], found {list(basis.shape)}", path=path)
    count = basis.shape[2] if identity_count is None else identity_count
    if not 0 <= count <= basis.shape[2]:
        raise ArgumentError(
            f"load_model: `identity_count` must lie in 0 to {basis.shape[2]}, the columns of shapedirs, got {identity_count}"
        )
    extra = _real(arrays, "expressiondirs", path, dtype, basis[:, :, :0])
    if extra.dim() != 3 or extra.shape[:2] != basis.shape[:2]:
        raise FormatError(f"expressiondirs must be {list(basis.shape[:2])} and L, found {list(extra.shape)}", path=path)
    return basis[:, :, :count], torch.cat([basis[:, :, count:], extra], 2)


def _skinning(arrays: dict[str, np.ndarray], path: Path, dtype: torch.dtype) -> Skinning | None:
    missing = [name for name in _SKELETON if name not in arrays]
    if len(missing) == len(_SKELETON):
        return None
    if missing:
        some = ", ".join(name for name in _SKELETON if name in arrays)
        raise FormatError(f"has a part of a skeleton ({some}) but not {', '.join(missing)}", path=path)
    parents = _whole(arrays, "kintree_table", path)
    if parents.dim() != 2 or parents.shape[0] != 2:
        raise FormatError(f"kintree_table must be [2, J], found {list(parents.shape)}", path=path)
    parents = parents[0].clone()
    parents[parents >= 2**31] = -1  # SMPL writes the root's -1 as unsigned
    return Skinning(
        joint_regressor=_real(arrays, "J_regressor", path, dtype), parents=parents, weights=_real(arrays, "weights", path, dtype),
        pose_basis=_real(arrays, "posedirs", path, dtype) if "posedirs" in arrays else None,
    )  # fmt: skip


def _landmarks(arrays: dict[str, np.ndarray], path: Path) -> dict[str, int]:
    names = [str(name) for name in arrays.get("landmark_names", np.empty(0, str)).ravel()]
    places = _whole(arrays, "landmark_vertices", path).flatten().tolist() if "landmark_vertices" in arrays else []
    if len(names) != len(places):
        raise FormatError(f"{len(names)} landmark_names for {len(places)} landmark_vertices", path=path)
    return dict(zip(names, places))


def save_model(path: str | Path, model: LinearModel, *, overwrite: bool = False) -> None:
    """Write a model as `load_model` reads it (compressed).

    Raises:
        FileAccessError: the file exists and may not be replaced, or cannot be written.
    """
    check_model(model, where="save_model")
    arrays = {
        "v_template": model.mean, "f": model.faces, "shapedirs": model.identity_basis, "expressiondirs": model.expression_basis,
        "shape_deviation": model.identity_deviation, "expression_deviation": model.expression_deviation,
        "landmark_vertices": torch.tensor(list(model.landmarks.values()), dtype=torch.int64),
    }  # fmt: skip
    if (skinning := model.skinning) is not None:
        joints = torch.arange(model.joint_count)
        table = torch.stack([skinning.parents.cpu(), joints])
        arrays |= {"J_regressor": skinning.joint_regressor, "weights": skinning.weights, "kintree_table": table}
        arrays |= {} if skinning.pose_basis is None else {"posedirs": skinning.pose_basis}
    plain = {name: value.detach().cpu().numpy() for name, value in arrays.items()}
    plain["landmark_names"] = np.array(list(model.landmarks), dtype=str)
    with OutputFiles(overwrite=overwrite) as files:
        np.savez_compressed(files.open(Path(path)), **plain)  # pyright: ignore[reportArgumentType]


def _read(path: Path) -> dict[str, np.ndarray]:
    wanted = {*_NEEDED, *_SKELETON, "posedirs", "expressiondirs", "shape_deviation", "expression_deviation"}
    wanted |= {"landmark_names", "landmark_vertices"}
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise FormatError(
                    "is not an .npz file. Pickled models (.pkl) are not read, since unpickling runs code; save their arrays, "
                    "J_regressor as a dense one, with numpy.savez",
                    path=path,
                )
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for name in wanted & set(archive.files):
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    fix = (
                        "save it as a plain (dense) array"
                        if "pickle" in str(error).lower() or "object" in str(error).lower()
                        else "it is damaged"
                    )
                    raise FormatError(f"array {name!r} cannot be read without unpickling or is cut off: {fix}", path=path) from error
            return arrays
    except OSError as error:
        raise FileAccessError(f"load_model: cannot read {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"is a damaged .npz file: {error}", path=path) from error


def _real(arrays: dict[str, np.ndarray], name: str, path: Path, dtype: torch.dtype, default: Tensor | None = None) -> Tensor:
    if default is not None and name not in arrays:
        return default.to(dtype)
    return torch.from_numpy(_numbers(arrays, name, path).astype(np.float64)).to(dtype)


def _whole(arrays: dict[str, np.ndarray], name: str, path: Path) -> Tensor:
    return torch.from_numpy(_numbers(arrays, name, path).astype(np.int64))


def _numbers(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    array = arrays[name]
    if array.dtype.kind not in "fiu":
        raise FormatError(f"array {name!r} must hold numbers, found {array.dtype}", path=path)
    return array
