"""Primitives: volume and area of the ideal shape in the limit, counts, outward faces."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.manifold import is_watertight
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import face_areas, face_normals
from unproject.geometry.primitives import box, capsule, cylinder, icosphere, plane, torus
from unproject.geometry.topology import mesh_topology

PI = math.pi


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    "mesh, volume_of, area_of",
    [
        (icosphere(4, radius=2.0), 4 / 3 * PI * 8, 4 * PI * 4),
        (torus(2.0, 0.5, segments=(128, 64)), 2 * PI**2 * 2 * 0.25, 4 * PI**2 * 2 * 0.5),
        (box((1.0, 2.0, 3.0), segments=3), 6.0, 22.0),
        (box((1.0, 2.0, 3.0)), 6.0, 22.0),
        (cylinder(0.5, 3.0, segments=(128, 4)), PI * 0.75, 2 * PI * 0.25 + PI * 3),
        (capsule(0.5, 2.0, segments=(128, 32)), PI * 0.5 + 4 / 3 * PI / 8, PI * 2 + PI),
    ],
)
def test_volume_and_area(mesh: Mesh, volume_of: float, area_of: float) -> None:
    assert is_watertight(mesh_topology(mesh))
    assert volume(mesh) == pytest.approx(volume_of, rel=0.01)
    assert face_areas(mesh.vertices, mesh.faces).sum().item() == pytest.approx(area_of, rel=0.01)
    assert mesh.vertices.mean(0).abs().max() < 1e-5
    assert torch.unique(mesh.vertices, dim=0).shape == mesh.vertices.shape


def test_icosphere_levels() -> None:
    for level in range(5):
        sphere = icosphere(level, radius=3.0, dtype=torch.float64)
        assert (sphere.face_count, sphere.vertex_count) == (20 * 4**level, 10 * 4**level + 2)
        torch.testing.assert_close(sphere.vertices.norm(dim=1), torch.full((sphere.vertex_count,), 3.0, dtype=torch.float64))
    assert torch.equal(icosphere(3).vertices, icosphere(4).vertices[: icosphere(3).vertex_count])


def test_plane_faces_up_with_uvs() -> None:
    sheet = plane((4.0, 2.0), segments=(2, 3))
    assert bool((face_normals(sheet.vertices, sheet.faces) == torch.tensor([0.0, 0, 1])).all())
    assert sheet.uvs is not None
    torch.testing.assert_close((sheet.uvs - 0.5) * torch.tensor([4.0, 2.0]), sheet.vertices[:, :2])
    assert sheet.face_count == 12


@pytest.mark.parametrize("make", [icosphere, torus, box, cylinder, capsule, plane])
def test_dtype(make) -> None:  # type: ignore[no-untyped-def]
    assert make().vertices.dtype == torch.float32 and make(dtype=torch.float64).vertices.dtype == torch.float64


def test_errors() -> None:
    for call in (lambda: icosphere(-1), lambda: icosphere(11), lambda: torus(segments=(2, 5)), lambda: plane(segments=(0, 1))):
        with pytest.raises(ArgumentError, match="must"):
            call()
    with pytest.raises(ArgumentError, match="at least 3 segments"):
        cylinder(segments=(2, 1))
