"""Meshes and clouds as the values of other libraries, and back: NumPy, SciPy and trimesh (Open3D and PyTorch3D have files of their own).

Vertex order and every field survive a round trip; what the other library has no place for travels in its free attributes. Memory is
shared where both sides store the same type, so a change on one side is then seen on the other; `.clone()` first where that matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, check_indices
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .options import LoadOptions
from .ply_write import bytes_of_colors
from .scene import material_from_trimesh
from .scene_write import material_to_trimesh

if TYPE_CHECKING:
    import scipy.sparse
    import trimesh

_CARRIED = "unproject"
"""The key under which trimesh's metadata carries what trimesh has no place for."""
_COLORS, _FACE_UVS, _CORNER_NORMALS, _FACE_MATERIALS = "unproject_colors", "face_uvs", "corner_normals", "face_materials"


def to_numpy(value: Mesh | PointCloud) -> dict[str, np.ndarray]:
    """All tensors by name, as arrays; attributes as "vertex_attributes/heat". Ready for `numpy.savez`. Materials and metadata stay out.

    Memory is shared with tensors on the CPU.
    """
    _check_value(value, "to_numpy")
    arrays: dict[str, np.ndarray] = {}
    for f in fields(value):
        item = getattr(value, f.name)
        if isinstance(item, Tensor):
            arrays[f.name] = to_array(item)
        elif isinstance(item, Mapping) and f.name != "metadata":
            arrays |= {f"{f.name}/{name}": to_array(tensor) for name, tensor in item.items()}
    return arrays


def from_numpy(arrays: Mapping[str, np.ndarray]) -> Mesh | PointCloud:
    """A mesh (if there are "faces") or a cloud from arrays named as `to_numpy` names them. Memory is shared where the type allows.

    Raises:
        ArgumentError: neither "vertices" and "faces" nor "positions", or a name that is no field.
    """
    kind = Mesh if "vertices" in arrays else PointCloud
    if not ({"vertices", "faces"} <= set(arrays) or "positions" in arrays):
        raise ArgumentError(f"from_numpy: there must be 'vertices' and 'faces', or 'positions'; got {sorted(arrays)[:8]}")
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {}
    for name, array in arrays.items():
        field, slash, attribute = name.partition("/")
        if field not in known or field in ("materials", "metadata") or (bool(slash) != field.endswith("attributes")):
            raise ArgumentError(f"from_numpy: {name!r} is no field of {kind.__name__}")
        if slash:
            values.setdefault(field, {})[attribute] = to_tensor(array)
        else:
            values[field] = to_tensor(array)
    for name in ("faces", "face_uvs", "face_materials"):
        if name in values:
            values[name] = values[name].to(torch.int64)
    if kind is Mesh:
        check_indices(values["faces"], len(values["vertices"]), name="faces", where="from_numpy")
    return kind(**values)


def to_scipy(matrix: Tensor) -> scipy.sparse.csr_array:
    """A sparse matrix (of a Laplacian, COO or CSR) as a SciPy CSR array. The values are shared with a coalesced tensor on the CPU.

    Raises:
        ArgumentError: not a sparse matrix.
    """
    from scipy.sparse import coo_array, csr_array

    if not isinstance(matrix, Tensor) or matrix.dim() != 2 or matrix.layout not in (torch.sparse_coo, torch.sparse_csr):
        raise ArgumentError("to_scipy: `matrix` must be a sparse [N, M] tensor in COO or CSR layout")
    matrix = matrix.detach().cpu()
    if matrix.layout == torch.sparse_csr:
        parts = (matrix.values().numpy(), matrix.col_indices().numpy(), matrix.crow_indices().numpy())
        return csr_array(parts, shape=tuple(matrix.shape))
    matrix = matrix.coalesce()
    rows, columns = matrix.indices().numpy()
    return coo_array((matrix.values().numpy(), (rows, columns)), shape=tuple(matrix.shape)).tocsr()


def from_scipy(matrix: Any) -> Tensor:
    """A SciPy sparse matrix of any layout as a coalesced sparse COO tensor [N, M].

    Raises:
        ArgumentTypeError: not a sparse matrix of SciPy.
    """
    from scipy.sparse import coo_array, issparse

    if not issparse(matrix):
        raise ArgumentTypeError(f"from_scipy: `matrix` must be a SciPy sparse matrix, got {type(matrix).__name__}")
    entries = coo_array(matrix)
    indices = torch.from_numpy(np.stack([np.asarray(c, np.int64) for c in entries.coords]))
    return torch.sparse_coo_tensor(indices, to_tensor(entries.data), entries.shape, check_invariants=True).coalesce()


def to_trimesh(value: Mesh | PointCloud) -> trimesh.Trimesh | trimesh.PointCloud:
    """A Trimesh or trimesh.PointCloud with the same vertices in the same order, unprocessed.

    One UV a vertex and one material become trimesh's texture visuals; else vertex colours become colour visuals (8 bits a channel).
    Attributes go into `vertex_attributes` and `face_attributes`. UVs with indices of their own, corner normals and several materials,
    which trimesh cannot hold with this vertex order, go into `face_attributes` and `metadata`: `from_trimesh` gives them back, and saving
    as .glb (`unproject.save`) shows them in other programs. Positions become float64, all that trimesh has.
    """
    import trimesh

    _check_value(value, "to_trimesh")
    if isinstance(value, PointCloud):
        cloud: Any = trimesh.PointCloud(to_array(value.positions), colors=None if value.colors is None else bytes_of_colors(value.colors))
        arrays = {name: array for name, array in to_numpy(value).items() if name != "positions"}
        cloud.metadata[_CARRIED] = {"arrays": arrays, "metadata": value.metadata, "dtype": value.positions.dtype}
        return cloud
    normals = None if value.vertex_normals is None else to_array(value.vertex_normals)
    result = trimesh.Trimesh(
        to_array(value.vertices), to_array(value.faces), vertex_normals=normals, visual=_visual(value), process=False, validate=False
    )
    result.vertex_attributes.update({name: to_array(item) for name, item in value.vertex_attributes.items()})
    if value.vertex_colors is not None:
        result.vertex_attributes[_COLORS] = to_array(value.vertex_colors)
    result.face_attributes.update({name: to_array(item) for name, item in value.face_attributes.items()})
    corner = {_FACE_UVS: value.face_uvs, _CORNER_NORMALS: value.corner_normals, _FACE_MATERIALS: value.face_materials}
    result.face_attributes.update({name: to_array(item) for name, item in corner.items() if item is not None})
    result.metadata[_CARRIED] = {
        "materials": value.materials,
        "uvs": value.uvs,
        "normals": value.vertex_normals,
        "metadata": value.metadata,
        "dtype": value.vertices.dtype,
    }
    return result


def from_trimesh(value: Any, *, dtype: torch.dtype | None = None) -> Mesh | PointCloud:
    """A Trimesh or trimesh.PointCloud as ours: same order, nothing merged; colours, UVs, material, attributes and normals (if computed).

    Args:
        value: of trimesh. A Scene must be joined first (`scene.to_geometry()`).
        dtype: of the positions; None: as before `to_trimesh`, and float32 for what trimesh made itself. float64 shares trimesh's memory.

    Raises:
        ArgumentTypeError: another type.
    """
    import trimesh

    if not isinstance(value, (trimesh.Trimesh, trimesh.PointCloud)):
        raise ArgumentTypeError(f"from_trimesh: `value` must be a Trimesh or a trimesh.PointCloud, got {type(value).__name__}")
    carried: dict[str, Any] = value.metadata.get(_CARRIED, {})
    positions = to_tensor(np.asarray(value.vertices)).to(dtype or carried.get("dtype", torch.float32))
    if isinstance(value, trimesh.PointCloud):
        return _cloud_from_trimesh(value, positions, carried)
    vertex = {str(k): v for k, v in value.vertex_attributes.items() if np.shape(v)[:1] == (len(positions),)}
    face = {str(k): v for k, v in value.face_attributes.items() if np.shape(v)[:1] == (len(value.faces),)}
    result: dict[str, Any] = {"vertices": positions, "faces": to_tensor(np.asarray(value.faces)).to(torch.int64)}
    result["vertex_normals"] = _normals(value, carried, positions)
    result |= _read_visual(value, carried, vertex.pop(_COLORS, None))
    if carried.get("materials"):
        result["materials"] = carried["materials"]
    for name in (_FACE_UVS, _CORNER_NORMALS, _FACE_MATERIALS):
        if name in face:
            tensor = to_tensor(np.asarray(face.pop(name)))
            result[name] = tensor if tensor.is_floating_point() else tensor.to(torch.int64)
    if result.get(_FACE_UVS) is not None:
        result["uvs"] = carried.get("uvs")
    numeric = lambda values: {name: to_tensor(np.asarray(item)) for name, item in values.items() if np.asarray(item).dtype.kind in "bfiu"}
    visual: Any = value.visual
    if visual.kind == "face":
        face.setdefault("colors", np.asarray(visual.face_colors, np.float32) / np.float32(255))
    return Mesh(vertex_attributes=numeric(vertex), face_attributes=numeric(face), metadata=carried.get("metadata", {}), **result)


def _visual(mesh: Mesh) -> Any:
    from trimesh.visual import ColorVisuals, TextureVisuals

    if mesh.uvs is not None and mesh.face_uvs is None and len(mesh.materials) <= 1:
        material = material_to_trimesh(mesh.materials[0]) if mesh.materials else None
        return TextureVisuals(uv=to_array(mesh.uvs), material=material)
    return ColorVisuals() if mesh.vertex_colors is None else ColorVisuals(vertex_colors=bytes_of_colors(mesh.vertex_colors))


def _read_visual(value: Any, carried: Mapping[str, Any], exact: np.ndarray | None) -> dict[str, Any]:
    """Colours, UVs and material. The float colours that came along count as long as they are those that trimesh shows."""
    result: dict[str, Any] = {}
    shown = None
    if value.visual.kind == "texture":
        uv = getattr(value.visual, "uv", None)
        if uv is not None and np.shape(uv) == (len(value.vertices), 2):
            before = carried.get("uvs")
            result["uvs"] = to_tensor(np.asarray(uv)).to(torch.float32 if before is None else before.dtype)
        if not carried and value.visual.material is not None:
            result["materials"] = (material_from_trimesh(value.visual.material, LoadOptions()),)
    elif value.visual.kind == "vertex":
        shown = np.asarray(value.visual.vertex_colors)
    if exact is not None:
        kept = to_tensor(exact)
        channels = kept.shape[1]
        if shown is None or np.array_equal(bytes_of_colors(kept), shown[:, :channels]):
            return result | {"vertex_colors": kept}
    if shown is not None:
        result["vertex_colors"] = torch.from_numpy(shown.astype(np.float32) / np.float32(255))
    return result


def _normals(value: Any, carried: Mapping[str, Any], positions: Tensor) -> Tensor | None:
    """The normals that trimesh holds already; it is not asked to compute any. Those that came along keep their type."""
    if "vertex_normals" not in value._cache or len(value.vertex_normals) != len(positions):
        return None
    normals, before = to_tensor(np.array(value.vertex_normals)), carried.get("normals")
    return normals.to(positions.dtype if before is None else before.dtype)


def _cloud_from_trimesh(value: Any, positions: Tensor, carried: Mapping[str, Any]) -> PointCloud:
    arrays = {name: array for name, array in carried.get("arrays", {}).items() if len(array) == len(positions)}
    rest = {"positions": np.zeros((len(positions), 3), np.float32), **arrays}
    cloud = from_numpy(rest)
    assert isinstance(cloud, PointCloud)
    colors = None if value.colors is None or np.shape(value.colors)[0] != len(positions) else np.asarray(value.colors)
    kept = cloud.colors
    if colors is not None and not (kept is not None and np.array_equal(bytes_of_colors(kept), colors[:, :3])):
        kept = torch.from_numpy(colors[:, :3].astype(np.float32) / np.float32(255))
    return replace(cloud, positions=positions, colors=kept, metadata=carried.get("metadata", {}))


def to_array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array, sharing memory on the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor, sharing memory where it is writable, in native byte order, and of a type that torch has."""
    array = np.asarray(array)
    wider = {"u2": "i4", "u4": "i8", "u8": "i8"}.get(array.dtype.str[1:])
    if wider or not array.dtype.isnative:
        array = array.astype(wider or array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array.view(np.ndarray))


def _check_value(value: object, where: str) -> None:
    if not isinstance(value, (Mesh, PointCloud)):
        raise ArgumentTypeError(f"{where}: the value must be a Mesh or a PointCloud, got {type(value).__name__}")
