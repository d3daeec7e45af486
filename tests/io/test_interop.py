"""Round trips through the values of other libraries: order, every field, memory, gradients."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from unproject.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from unproject.geometry.batch import MeshBatch, PointCloudBatch, batch_meshes
from unproject.geometry.laplacian import cotangent_laplacian
from unproject.geometry.material import Material
from unproject.geometry.mesh import Mesh
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import icosphere, plane
from unproject.geometry.topology import mesh_topology
from unproject.io.interop import from_numpy, from_scipy, from_trimesh, to_numpy, to_scipy, to_trimesh
from unproject.io.interop_open3d import from_open3d, to_open3d
from unproject.io.interop_pytorch3d import from_pytorch3d, points_to_pytorch3d, to_pytorch3d


def full_mesh(dtype: torch.dtype = torch.float32) -> Mesh:
    """A mesh with every field, whose vertices are in no order that a program would choose, one of them unused."""
    mesh = icosphere(0, dtype=dtype)
    v, f = mesh.vertex_count, mesh.face_count
    return replace(
        mesh,
        vertices=torch.cat([mesh.vertices, mesh.vertices[:1] * 2]).requires_grad_(),
        vertex_normals=torch.nn.functional.normalize(torch.randn(v + 1, 3, dtype=dtype), dim=1),
        vertex_colors=torch.rand(v + 1, 4),
        uvs=torch.rand(7, 2),
        face_uvs=torch.randint(0, 7, (f, 3)),
        corner_normals=torch.nn.functional.normalize(torch.randn(f, 3, 3), dim=2),
        materials=(Material(name="a", diffuse=torch.tensor([0.25, 0.5, 1.0])), Material(name="b", diffuse_texture=torch.rand(2, 3, 3))),
        face_materials=torch.arange(f) % 2,
        vertex_attributes={"heat": torch.randn(v + 1), "id": torch.arange(v + 1), "on": torch.arange(v + 1) > 3},
        face_attributes={"part": torch.arange(f).view(f, 1).expand(f, 2).contiguous()},
        metadata={"comments": ("hello",)},
    )


def full_cloud() -> PointCloud:
    positions = torch.randn(9, 3, dtype=torch.float64)
    attributes = {"time": torch.rand(9), "label": torch.arange(9)}
    return PointCloud(positions=positions, normals=torch.randn(9, 3), colors=torch.rand(9, 3), attributes=attributes, metadata={"a": 1})


def assert_same(got: Mesh | PointCloud, want: Mesh | PointCloud) -> None:
    """Every tensor, bit by bit."""
    ours, theirs = to_numpy(want), to_numpy(got)
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        assert theirs[name].dtype == array.dtype, name
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)


@pytest.mark.parametrize("value", [full_mesh(), full_mesh(torch.float64), full_cloud()], ids=["mesh32", "mesh64", "cloud"])
def test_numpy_round_trip_shares_memory(value: Mesh | PointCloud) -> None:
    arrays = to_numpy(value)
    back = from_numpy(arrays)
    assert_same(back, value)
    first = "vertices" if isinstance(value, Mesh) else "positions"
    assert getattr(back, first).data_ptr() == getattr(value, first).data_ptr()


def test_numpy_widens_and_refuses() -> None:
    arrays = {
        "vertices": np.eye(3, dtype=">f4"),
        "faces": np.array([[0, 1, 2]], np.uint32),
        "vertex_attributes/id": np.arange(3, dtype=np.uint16),
    }
    mesh = from_numpy(arrays)
    assert isinstance(mesh, Mesh) and mesh.faces.dtype == torch.int64 and mesh.vertices.tolist() == np.eye(3).tolist()
    assert mesh.vertex_attributes["id"].tolist() == [0, 1, 2]
    with pytest.raises(ArgumentError, match="'vertices' and 'faces', or 'positions'"):
        from_numpy({"faces": arrays["faces"]})
    with pytest.raises(ArgumentError, match="'heat' is no field of Mesh"):
        from_numpy({**arrays, "heat": np.zeros(3)})
    with pytest.raises(ArgumentError, match="must lie in 0 to 2"):
        from_numpy({**arrays, "faces": np.array([[0, 1, 3]])})
    with pytest.raises(ArgumentTypeError, match="Mesh or a PointCloud"):
        to_numpy(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_scipy(layout: torch.layout) -> None:
    mesh = icosphere(1, dtype=torch.float64)
    laplacian = cotangent_laplacian(mesh.vertices, mesh_topology(mesh))
    matrix = to_scipy(laplacian.to_sparse_csr() if layout == torch.sparse_csr else laplacian)
    x = torch.randn(mesh.vertex_count, dtype=torch.float64)
    np.testing.assert_allclose(matrix @ x.numpy(), (laplacian @ x).numpy(), atol=1e-12)
    for form in (matrix, matrix.tocsc(), matrix.tocoo()):
        torch.testing.assert_close(from_scipy(form).to_dense(), laplacian.to_dense())
    with pytest.raises(ArgumentError, match="sparse"):
        to_scipy(torch.eye(3))
    with pytest.raises(ArgumentTypeError, match="SciPy sparse"):
        from_scipy(np.eye(3))


@pytest.mark.parametrize("value", [full_mesh(), full_mesh(torch.float64), full_cloud()], ids=["mesh32", "mesh64", "cloud"])
def test_trimesh_round_trip(value: Mesh | PointCloud) -> None:
    shown = to_trimesh(value)
    first = value.vertices if isinstance(value, Mesh) else value.positions
    np.testing.assert_array_equal(shown.vertices, first.detach().double().numpy())
    back = from_trimesh(shown)
    assert_same(back, value)
    assert back.metadata == value.metadata
    if isinstance(value, Mesh) and isinstance(back, Mesh):
        assert [m.name for m in back.materials] == ["a", "b"]


def test_trimesh_textured_and_changed_colors() -> None:
    base = plane(segments=(2, 2))
    mesh = replace(base, materials=(Material(name="wood", diffuse_texture=torch.rand(4, 4, 3)),))
    shown: Any = to_trimesh(mesh)
    assert shown.visual.kind == "texture" and shown.visual.uv.shape == (9, 2)
    assert shown.visual.material.baseColorTexture.size == (4, 4)
    assert_same(from_trimesh(shown), mesh)
    painted: Any = to_trimesh(replace(base, uvs=None, vertex_colors=torch.rand(9, 3)))
    painted.visual.vertex_colors[:] = [255, 0, 51, 255]
    back = from_trimesh(painted)
    assert isinstance(back, Mesh) and back.vertex_colors is not None
    torch.testing.assert_close(back.vertex_colors, torch.tensor([1.0, 0, 0.2, 1]).expand(9, 4))


def test_trimesh_of_its_own() -> None:
    import trimesh

    box = trimesh.creation.box()
    mesh = from_trimesh(box)
    assert isinstance(mesh, Mesh) and mesh.vertices.dtype == torch.float32 and mesh.faces.tolist() == box.faces.tolist()
    shared = from_trimesh(box, dtype=torch.float64)
    assert isinstance(shared, Mesh) and shared.vertices.dtype == torch.float64
    with pytest.raises(ArgumentTypeError, match="trimesh"):
        from_trimesh(trimesh.Scene())


def test_open3d_round_trip() -> None:
    pytest.importorskip("open3d")
    mesh = replace(full_mesh(), materials=(), face_materials=torch.arange(20) % 3)
    back = from_open3d(to_open3d(mesh))
    assert isinstance(back, Mesh) and back.uvs is not None and back.face_uvs is not None and mesh.uvs is not None
    torch.testing.assert_close(back.uvs[back.face_uvs], mesh.uvs[mesh.face_uvs])
    assert_same(replace(back, uvs=mesh.uvs, face_uvs=mesh.face_uvs), mesh)
    cloud = full_cloud()
    assert_same(from_open3d(to_open3d(cloud)), cloud)


def test_open3d_shares_memory_and_reads_legacy() -> None:
    open3d = pytest.importorskip("open3d")
    mesh = icosphere(1)
    theirs = to_open3d(mesh)
    theirs.vertex["positions"][0] = open3d.core.Tensor([5.0, 6.0, 7.0], open3d.core.float32)
    assert mesh.vertices[0].tolist() == [5, 6, 7]
    legacy = theirs.to_legacy()
    legacy.paint_uniform_color([0.25, 0.5, 1.0])
    back = from_open3d(legacy)
    assert isinstance(back, Mesh) and back.faces.tolist() == mesh.faces.tolist() and back.vertex_colors is not None
    assert back.vertex_colors[3].tolist() == [0.25, 0.5, 1]
    torch.testing.assert_close(back.vertices, mesh.vertices.double())
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.eye(3)))
    points = from_open3d(cloud)
    assert isinstance(points, PointCloud) and points.positions.tolist() == np.eye(3).tolist()
    with pytest.raises(ArgumentTypeError, match="Open3D"):
        from_open3d(3)


def test_open3d_texture() -> None:
    pytest.importorskip("open3d")
    texture = torch.randint(0, 256, (4, 6, 3)).float() / 255
    mesh = replace(plane(), materials=(Material(diffuse=torch.tensor([0.5, 0.25, 1.0]), diffuse_texture=texture),))
    back = from_open3d(to_open3d(mesh))
    assert isinstance(back, Mesh) and back.materials[0].diffuse_texture is not None
    torch.testing.assert_close(back.materials[0].diffuse_texture, texture)
    torch.testing.assert_close(back.materials[0].diffuse, mesh.materials[0].diffuse)


class _Meshes:
    """The part of PyTorch3D's Meshes that is used, for machines without it."""

    def __init__(self, verts: list, faces: list, textures: Any = None, *, verts_normals: Any = None):
        self.verts, self.faces, self.textures, self.normals = verts, faces, textures, verts_normals

    def verts_list(self) -> list:
        return self.verts

    def faces_list(self) -> list:
        return self.faces


def _pytorch3d_like(monkeypatch: pytest.MonkeyPatch) -> None:
    def vertex(verts_features: list) -> SimpleNamespace:
        return SimpleNamespace(verts_features_list=lambda: verts_features)

    def uv(maps: list, faces_uvs: list, verts_uvs: list) -> SimpleNamespace:
        return SimpleNamespace(maps_list=lambda: maps, faces_uvs_list=lambda: faces_uvs, verts_uvs_list=lambda: verts_uvs)

    def clouds(points: list, normals: Any = None, features: Any = None) -> SimpleNamespace:
        return SimpleNamespace(points_list=lambda: points, normals_list=lambda: normals, features_list=lambda: features)

    package, structures, renderer = ModuleType("pytorch3d"), ModuleType("pytorch3d.structures"), ModuleType("pytorch3d.renderer")
    vars(structures).update(Meshes=_Meshes, Pointclouds=clouds)
    vars(renderer).update(TexturesVertex=vertex, TexturesUV=uv)
    vars(package).update(structures=structures, renderer=renderer)
    for module in (package, structures, renderer):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(params=["installed", "alike"])
def pytorch3d(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "installed":
        pytest.importorskip("pytorch3d")
    else:
        _pytorch3d_like(monkeypatch)


@pytest.mark.usefixtures("pytorch3d")
def test_pytorch3d_meshes() -> None:
    vertices = icosphere(0).vertices.requires_grad_()
    first = replace(icosphere(0), vertices=vertices, vertex_colors=torch.rand(12, 3))
    second = replace(plane(segments=(2, 1)), uvs=None, vertex_colors=torch.rand(6, 3))
    batch = from_pytorch3d(to_pytorch3d(batch_meshes([first, second])))
    assert isinstance(batch, MeshBatch) and batch.batch_size == 2
    for got, want in zip((batch[0], batch[1]), (first, second)):
        assert_same(got, want)
    batch.vertices.square().sum().backward()
    torch.testing.assert_close(vertices.grad, 2 * vertices.detach())


@pytest.mark.usefixtures("pytorch3d")
def test_pytorch3d_textures_and_clouds() -> None:
    mesh = replace(plane(), materials=(Material(diffuse_texture=torch.rand(4, 4, 3)),))
    back = from_pytorch3d(to_pytorch3d(mesh))[0]
    assert isinstance(back, Mesh) and back.uvs is not None and mesh.uvs is not None
    torch.testing.assert_close(back.uvs[back.face_uvs], mesh.uvs[mesh.faces])
    assert torch.equal(back.materials[0].diffuse_texture, mesh.materials[0].diffuse_texture)  # type: ignore[arg-type]
    cloud = PointCloud(positions=torch.rand(5, 3), colors=torch.rand(5, 3))
    clouds = from_pytorch3d(points_to_pytorch3d([cloud]))
    assert isinstance(clouds, PointCloudBatch)
    assert_same(clouds[0], cloud)
    with pytest.raises(ArgumentError, match="PyTorch3D"):
        from_pytorch3d(3)


def test_missing_peer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(MissingDependencyError, match="pip install open3d"):
        to_open3d(icosphere(0))
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    with pytest.raises(MissingDependencyError, match="PyTorch3D"):
        to_pytorch3d(icosphere(0))
