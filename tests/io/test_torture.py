"""Strange files of other projects: each loads as trimesh or plyfile have it, or is refused with file, place and reason."""

from __future__ import annotations

import csv
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from unproject import Mesh, PointCloud, load
from unproject.errors import FormatError

REFUSED = {
    "open3d/point_cloud_sample3.pts": "line 11",  # a word in a number's place
    "open3d/test_sample_wrong_format.ply": "line 14",  # 128 as a char
    "tinyobjloader/invalid-relative-texture-index.obj": "line 2",
    "tinyobjloader/invalid-relative-vertex-index.obj": "line 1",
    "tinyobjloader/issue-140-zero-face-idx.obj": "line 16",  # OBJ counts from 1
    "trimesh/off.zip": "19 model files",
}
"""Files that contradict their format or do not say which model is meant; what the message must name."""

BY_AREA = {
    "tinyobjloader/cornell_box.obj": "negative indices, which trimesh counts from the end of the file",
    "tinyobjloader/cornell_box_multimaterial.obj": "the same",
    "tinyobjloader/missing_material_file.obj": "the same",
    "tinyobjloader/no_material.obj": "the same",
    "tinyobjloader/test-nan.obj": "trimesh cannot read it",
    "tinyobjloader/issue-295-trianguation-failure.obj": "concave polygons, which trimesh cuts as fans, with overlaps",
    "tinyobjloader/issue-319-002.obj": "the same",
    "tinyobjloader/issue-330.obj": "the same",
    "trimesh/wallhole.obj": "the same",
}
"""Files that trimesh reads wrongly, and why. They are held against the polygons' vector areas from a reader of a few lines."""


BENT = {"trimesh/polygonfaces.obj": [3, 5]}
"""Files of one polygon that is not flat, so that its area depends on how it is cut: faces and vertices used."""


def polygon_area(path: Path) -> float:
    """The area of all polygons of an OBJ (those that are flat), by Newell's formula."""
    points: list[list[float]] = []
    total = 0.0
    for line in path.read_text(encoding="latin-1").replace("\\\n", " ").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            points.append([float("nan" if "#" in w else w) for w in words[1:4]])
        elif words[:1] == ["f"]:
            numbers = [int(w.split("/")[0]) for w in words[1:]]
            loop = np.array([points[n - 1 if n > 0 else n] for n in numbers])
            total += float(np.linalg.norm(np.cross(loop, np.roll(loop, -1, axis=0)).sum(0)) / 2)
    return total


def files(folder: Path) -> list[dict[str, str]]:
    with open(folder / "torture" / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def triangles(corners: np.ndarray) -> np.ndarray:
    """[F, 9] corner positions, rotated so that the least corner is first, sorted: the same for any order of faces and vertices."""
    corners = np.round(corners.astype(np.float64), 5) + 0.0
    keys = [min(range(3), key=lambda k, t=t: tuple(t[k])) for t in corners]
    rolled = np.stack([np.roll(t, -k, axis=0) for t, k in zip(corners, keys)]).reshape(-1, 9) if len(corners) else np.zeros((0, 9))
    return rolled[np.lexsort(rolled.T[::-1])]


def area(corners: np.ndarray) -> float:
    return float(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2)


def by_trimesh(path: Path) -> np.ndarray | None:
    """[F, 3, 3] what trimesh reads, in the scene's coordinates; None if it cannot."""
    import trimesh

    logging.getLogger("trimesh").setLevel(logging.CRITICAL)
    try:
        loaded = trimesh.load(path, process=False, maintain_order=True)
        meshes = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
        found = [np.asarray(m.vertices)[np.asarray(m.faces)] for m in meshes if isinstance(m, trimesh.Trimesh)]
    except Exception:
        return None
    return np.concatenate(found) if found else np.zeros((0, 3, 3))


def test_every_file(data_folder: Path) -> None:
    compared, wrong = 0, []
    rows = files(data_folder)
    assert len(rows) > 150
    for row in rows:
        name = row["file"]
        path = data_folder / "torture" / name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = load(path)
        except FormatError as error:
            if name not in REFUSED or REFUSED[name] not in str(error) or path.name not in str(error):
                wrong.append(f"{name}: {error}")
            continue
        if name in REFUSED:
            wrong.append(f"{name}: should be refused")
            continue
        if isinstance(value, PointCloud) or value.face_count == 0:
            compared += points_agree(row, value, wrong)
            continue
        assert isinstance(value, Mesh)
        if name in BENT:
            compared += 1
            if [value.face_count, len(value.faces.unique())] != BENT[name]:
                wrong.append(f"{name}: {value.face_count} faces")
            continue
        if name in BY_AREA:
            compared += 1
            found, expected = area(value.vertices.double().numpy()[value.faces.numpy()]), polygon_area(path)
            if np.isfinite(expected) and not np.isclose(found, expected, rtol=2e-2):
                wrong.append(f"{name}: area {found:.6g}, of its polygons {expected:.6g}")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = None if int(row["faces"]) < 0 else by_trimesh(path)
        if theirs is None:
            continue
        compared += 1
        ours = value.vertices.double().numpy()[value.faces.numpy()]
        if not agree(ours, theirs):
            wrong.append(f"{name}: {len(ours)} faces of area {area(ours):.6g}, trimesh {len(theirs)} of area {area(theirs):.6g}")
    assert not wrong, "\n".join(wrong)
    assert compared > 120


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """The same triangles, up to how quads are cut (then: the same number, area and corners)."""
    if len(ours) != len(theirs):
        return False
    scale = max(float(np.abs(theirs).max(initial=0)), 1e-30)
    ours, theirs = ours / scale, theirs / scale
    if np.allclose(triangles(ours), triangles(theirs), atol=3e-5):
        return True
    same_box = np.allclose([ours.min((0, 1)), ours.max((0, 1))], [theirs.min((0, 1)), theirs.max((0, 1))], atol=1e-5)
    return bool(same_box and np.isclose(area(ours), area(theirs), rtol=2e-3))


def points_agree(row: dict[str, str], value: Mesh | PointCloud, wrong: list[str]) -> int:
    """Points without faces: as many as the header of a PCD says, or as another reader found."""
    count = value.vertex_count if isinstance(value, Mesh) else value.point_count
    promised = row["header"].rpartition("POINTS ")[2]
    if row["file"].endswith(".pcd") and count != int(promised):
        wrong.append(f"{row['file']}: {count} points of {promised}")
    elif row["trimesh_5.2.0"] == "ok points" and count != int(row["verts"]):
        wrong.append(f"{row['file']}: {count} points, trimesh has {row['verts']}")
    elif isinstance(value, PointCloud) and not torch.isfinite(value.positions).any() and count:
        wrong.append(f"{row['file']}: no point is finite")
    return 1


def test_vertices_as_plyfile_has_them(data_folder: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    compared = 0
    for row in files(data_folder):
        if row["plyfile"] != "ok":
            continue
        path = data_folder / "torture" / row["file"]
        elements = plyfile.PlyData.read(str(path))
        if "vertex" not in elements:
            continue
        theirs = elements["vertex"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = load(path)
        positions = value.vertices if isinstance(value, Mesh) else value.positions
        if len(positions):
            expected = np.stack([np.asarray(theirs[k]) for k in "xyz"], axis=1)
            np.testing.assert_array_equal(positions.numpy(), expected, err_msg=row["file"])
        compared += 1
    assert compared > 25
