"""A part in a scene: where it is, several of it, symmetric, absent, of another unit; and the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import unproject as up
from unproject.cli.main import main
from unproject.lie.se3 import se3_matrix
from unproject.lie.so3 import so3_distance, so3_log, so3_random
from unproject.register.symmetry import find_symmetries

from .test_globally import _part


def depth_scan(mesh: up.Mesh, *, noise: float = 0.002) -> up.PointCloud:
    """What a depth camera at the origin, looking along +z, sees of a mesh."""
    camera = up.perspective_camera(image_size=(150, 200), fov_y_deg=50.0)
    depth = up.rasterize(mesh.vertices, mesh.faces, camera).depth
    points = up.unproject_depth(camera, depth)[depth > 0]
    ray = torch.nn.functional.normalize(points, dim=1)
    return up.PointCloud(positions=points + noise * torch.randn(len(points), 1) * ray)


def placed(mesh: up.Mesh, pose: torch.Tensor) -> up.Mesh:
    return up.Mesh(vertices=up.se3_apply(pose.float(), mesh.vertices), faces=mesh.faces)


def together(*meshes: up.Mesh) -> up.Mesh:
    starts = [0, *torch.tensor([m.vertex_count for m in meshes]).cumsum(0).tolist()]
    faces = torch.cat([m.faces + start for m, start in zip(meshes, starts)])
    return up.Mesh(vertices=torch.cat([m.vertices for m in meshes]), faces=faces)


def at(x: float, y: float, z: float, seed: int) -> torch.Tensor:
    rotation = so3_random(dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return se3_matrix(rotation, torch.tensor([x, y, z], dtype=torch.float64))


SLAB = up.box((4.0, 3.0, 0.1))
TABLE = up.Mesh(vertices=SLAB.vertices + torch.tensor([0.0, 0.0, 5.2]), faces=SLAB.faces)
CLUTTER = up.icosphere(3).vertices * 0.35 + torch.tensor([1.0, 0.7, 4.7])
BALL = up.Mesh(vertices=CLUTTER, faces=up.icosphere(3).faces)


def test_finds_two_of_a_part_among_clutter() -> None:
    poses = [at(-0.8, -0.3, 4.4, 3), at(0.7, -0.5, 4.3, 8)]
    scene = depth_scan(together(TABLE, BALL, *(placed(_part(), pose) for pose in poses)))
    found = up.locate(_part(), scene, up.LocateOptions(instances=2, min_score=0.5))
    assert len(found) == 2
    for pose in poses:
        near = min(found, key=lambda one: float((one.scene_from_model - pose)[:3, 3].norm()))
        assert float((near.scene_from_model - pose)[:3, 3].norm()) < 0.03
        assert float(so3_distance(near.scene_from_model[:3, :3], pose[:3, :3])) < 0.05
        assert near.depth is not None and near.depth.violation < 0.05


def test_a_box_has_alternatives() -> None:
    block = up.box((1.0, 0.6, 0.35), segments=3)
    pose = at(0.0, 0.0, 4.3, 5)
    found = up.locate(block, depth_scan(together(TABLE, placed(block, pose))))[0]
    turns = [found.scene_from_model, *(a.scene_from_model for a in found.alternatives)]
    assert len(turns) == 4, "half a turn about each axis maps the box onto itself"
    assert min(float(so3_distance(t[:3, :3], pose[:3, :3])) for t in turns) < 0.06


def test_symmetries() -> None:
    halves = find_symmetries(up.box((1.0, 0.6, 0.35), segments=3))
    torch.testing.assert_close(so3_log(halves[:, :3, :3]).norm(dim=1), torch.full((3,), torch.pi).double(), rtol=0, atol=1e-3)
    assert len(find_symmetries(up.box())) == 23
    assert len(find_symmetries(_part())) == 0
    turns = find_symmetries(up.torus(1.0, 0.3))
    assert len(turns) > 10
    axis = turns[:, :3, 2]
    assert float(axis[:, :2].norm(dim=1).max()) < 0.05, "the torus' axis stays on itself"


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(up.DataError, match="not found"):
        up.locate(_part(), depth_scan(together(TABLE, BALL)))


def test_units_are_suspected() -> None:
    scene = depth_scan(TABLE)
    large = up.Mesh(vertices=1000 * _part().vertices, faces=_part().faces)
    with pytest.raises(up.DataError, match=r"multiply the model by 0\.001"):
        up.locate(large, scene)
    small = up.Mesh(vertices=0.001 * _part().vertices, faces=_part().faces)
    with pytest.raises(up.DataError, match="multiply the model by 1000"):
        up.locate(small, scene)
    with pytest.raises(up.DataError, match="without area"):
        up.locate(up.Mesh(vertices=torch.ones(3, 3), faces=torch.tensor([[0, 1, 2]])), scene)
    with pytest.raises(up.ArgumentError, match="sampling"):
        up.locate(_part(), scene, up.LocateOptions(sampling=0.9))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pose = at(0.2, -0.2, 4.3, 3)
    up.save(depth_scan(together(TABLE, placed(_part(), pose))), tmp_path / "scene.ply")
    up.save(_part(), tmp_path / "part.obj")
    words = ["register", str(tmp_path / "scene.ply"), "--model", str(tmp_path / "part.obj"), "-o", str(tmp_path / "pose.json")]
    assert main([*words, "--json", "--quiet", "--picture", str(tmp_path / "overlay.png")]) == 0
    said = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "pose.json").read_text())
    assert written["frames"][0]["scene_from_model"] == said["frames"][0]["scene_from_model"]
    assert float((torch.tensor(written["frames"][0]["scene_from_model"], dtype=torch.float64) - pose).abs().max()) < 0.05
    assert (tmp_path / "overlay.png").stat().st_size > 5000
    assert main(words) == 5, "exists"
    assert main([*words, "--overwrite", "--quiet", "--start", str(tmp_path / "pose.json"), "--max-distance", "0.05"]) == 0
    assert main([*words, "--overwrite", "--quiet", "--scale", "1000"]) == 3
    assert "multiply the model by 0.001" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--mode", "refine"]) == 3


def test_real_parasaurolophus(data_folder: Path) -> None:
    folder = data_folder / "scans/opencv_surface_matching"
    model, scene = up.load_mesh(folder / "parasaurolophus_low_normals2.ply"), up.load_points(folder / "rs1_normals.ply")
    found = up.locate(model, scene)[0]
    assert found.score > 0.65 and found.depth is not None and found.depth.support > 0.8 and found.depth.violation < 0.02
    assert found.registration.rmse < 2.0, "of a model of 363"


def test_real_milk_carton(data_folder: Path) -> None:
    folder = data_folder / "scans/pcl_data/tutorials/correspondence_grouping"
    found = up.locate(up.load_points(folder / "milk.pcd"), up.load_points(folder / "milk_cartoon_all_small_clorox.pcd"))[0]
    assert found.score > 0.85 and found.depth is not None and found.depth.support > 0.95 and found.depth.violation < 0.02
    assert found.registration.rmse < 0.002
