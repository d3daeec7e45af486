"""Subdivision: counts, shapes that stay, limits of Loop's rules, everything that a mesh carries."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.manifold import boundary_loops, classify_surface
from unproject.geometry.material import Material
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import face_areas
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.subdivide import subdivide_loop, subdivide_midpoint
from unproject.geometry.topology import make_topology, mesh_topology


def dressed(mesh: Mesh) -> Mesh:
    """The mesh with every field set."""
    v, f = mesh.vertex_count, mesh.face_count
    xyz = mesh.vertices
    return Mesh(
        vertices=xyz,
        faces=mesh.faces,
        vertex_normals=torch.nn.functional.normalize(xyz + 3, dim=1),
        vertex_colors=torch.rand(v, 4, dtype=xyz.dtype),
        uvs=torch.rand(3 * f, 2, dtype=xyz.dtype),
        face_uvs=torch.arange(3 * f).view(f, 3),
        corner_normals=torch.nn.functional.normalize(xyz[mesh.faces] + 3, dim=-1),
        materials=(Material(name="a"), Material(name="b")),
        face_materials=torch.arange(f) % 2,
        vertex_attributes={"xyz": xyz, "label": torch.full((v,), 7)},
        face_attributes={"number": torch.arange(f)},
        metadata={"comment": "kept"},
    )


@pytest.mark.parametrize("subdivide", [subdivide_midpoint, subdivide_loop])
@pytest.mark.parametrize("mesh", [icosphere(1), torus(segments=(5, 4)), plane(segments=(2, 3))], ids=["sphere", "torus", "plane"])
def test_keeps_the_kind_of_surface(subdivide, mesh: Mesh) -> None:  # type: ignore[no-untyped-def]
    before, after = classify_surface(mesh_topology(mesh)), classify_surface(mesh_topology(subdivide(mesh)))
    assert after.face_count == 4 * before.face_count and after.vertex_count == before.vertex_count + before.edge_count
    assert (after.genus, after.boundary_loop_count, after.component_count) == (before.genus, before.boundary_loop_count, 1)
    assert after.consistently_wound and after.watertight == before.watertight
    assert subdivide(mesh, levels=2).face_count == 16 * mesh.face_count and subdivide(mesh, levels=0) is mesh


def test_midpoint_stays_on_the_surface() -> None:
    cube = box((1.0, 2.0, 3.0), dtype=torch.float64)
    fine = subdivide_midpoint(cube, levels=2)
    assert torch.equal(fine.vertices[:8], cube.vertices)
    quarter = face_areas(fine.vertices, fine.faces).view(-1, 16)
    torch.testing.assert_close(quarter, face_areas(cube.vertices, cube.faces)[:, None].expand(-1, 16) / 16)


def test_every_field_of_the_midpoint() -> None:
    mesh = dressed(torus(segments=(5, 4), dtype=torch.float64))
    fine = subdivide_midpoint(mesh)
    torch.testing.assert_close(fine.vertex_attributes["xyz"], fine.vertices)
    assert bool((fine.vertex_attributes["label"] == 7).all()) and fine.vertex_attributes["label"].dtype == torch.int64
    assert fine.face_attributes["number"].tolist() == [f for f in range(mesh.face_count) for _ in range(4)]
    assert torch.equal(fine.face_materials, mesh.face_materials.repeat_interleave(4))  # type: ignore[union-attr, arg-type]
    assert fine.materials is mesh.materials and fine.metadata == mesh.metadata
    assert fine.vertex_colors is not None and fine.vertex_colors.shape == (fine.vertex_count, 4)
    # UVs and corner normals are affine on each face: the corners of each child follow from those of its parent
    assert mesh.face_uvs is not None and mesh.uvs is not None and fine.uvs is not None and fine.face_uvs is not None
    parent = mesh.uvs[mesh.face_uvs]
    middle = 0.5 * (parent + parent.roll(-1, dims=1))
    expected = torch.stack([middle[:, 0], middle[:, 1], middle[:, 2]], dim=1)
    torch.testing.assert_close(fine.uvs[fine.face_uvs].view(-1, 4, 3, 2)[:, 3], expected)
    torch.testing.assert_close(fine.uvs[fine.face_uvs].view(-1, 4, 3, 2)[:, 0, 0], parent[:, 0])
    assert fine.corner_normals is not None and mesh.corner_normals is not None
    assert torch.equal(fine.corner_normals.view(-1, 4, 3, 3)[:, 2, 2], mesh.corner_normals[:, 2])
    assert fine.vertex_normals is not None
    torch.testing.assert_close(fine.vertex_normals.norm(dim=1), torch.ones(fine.vertex_count, dtype=torch.float64))


def test_uvs_of_a_collapsed_triangle() -> None:
    mesh = Mesh(
        vertices=torch.rand(3, 3), faces=torch.tensor([[0, 1, 2]]), uvs=torch.tensor([[0.0, 0], [1, 0]]), face_uvs=torch.tensor([[0, 0, 1]])
    )
    fine = subdivide_midpoint(mesh)
    assert fine.uvs is not None and fine.face_uvs is not None
    assert fine.uvs[fine.face_uvs][3].tolist() == [[0, 0], [0.5, 0], [0.5, 0]]


def test_loop_mask_of_a_regular_vertex() -> None:
    angles = torch.arange(6, dtype=torch.float64) * math.pi / 3
    ring = torch.stack([angles.cos(), angles.sin(), torch.zeros(6, dtype=torch.float64)], dim=1)
    height = torch.rand(7, dtype=torch.float64)
    vertices = torch.cat([torch.zeros(1, 3, dtype=torch.float64), ring])
    vertices[:, 2] = height
    faces = torch.tensor([[0, 1 + i, 1 + (i + 1) % 6] for i in range(6)])
    fine = subdivide_loop(Mesh(vertices=vertices, faces=faces))
    assert fine.vertices[0, 2].item() == pytest.approx((10 * height[0] + height[1:].sum()).item() / 16)
    assert fine.vertices[1, 2].item() == pytest.approx((6 * height[1] + height[2] + height[6]).item() / 8)
    edges = make_topology(faces, 7).edges.tolist()
    spoke = fine.vertices[7 + edges.index([0, 1]), 2]
    assert spoke.item() == pytest.approx((3 * height[0] + 3 * height[1] + height[2] + height[6]).item() / 8)
    rim = fine.vertices[7 + edges.index([1, 2]), 2]
    assert rim.item() == pytest.approx((height[1] + height[2]).item() / 2)


def test_loop_boundary_depends_on_the_boundary_only() -> None:
    sheet = plane(segments=(4, 4), dtype=torch.float64)
    topology = mesh_topology(sheet)
    (loop,) = boundary_loops(topology)
    inside = torch.ones(sheet.vertex_count, dtype=torch.bool)
    inside[loop] = False
    moved = sheet.vertices.clone()
    moved[inside] += torch.randn(int(inside.sum()), 3, dtype=torch.float64)
    first, second = (subdivide_loop(Mesh(vertices=v, faces=sheet.faces)) for v in (sheet.vertices, moved))
    (rim,) = boundary_loops(mesh_topology(first))
    assert torch.equal(first.vertices[rim], second.vertices[rim])
    assert first.vertices[rim, 2].abs().max() == 0 and len(rim) == 32


def test_loop_makes_a_sphere_of_an_icosahedron() -> None:
    fine = subdivide_loop(icosphere(0, dtype=torch.float64), levels=4)
    radius = fine.vertices.norm(dim=1)
    assert radius.max() / radius.min() < 1.03
    mesh = dressed(icosphere(0, dtype=torch.float64))
    smooth = subdivide_loop(mesh)
    torch.testing.assert_close(smooth.vertex_attributes["xyz"], smooth.vertices)
    assert smooth.vertex_normals is None and smooth.corner_normals is None and smooth.uvs is not None


def test_three_faces_of_an_edge_and_isolated_vertices() -> None:
    vertices = torch.randn(6, 3, dtype=torch.float64)
    fins = Mesh(vertices=vertices, faces=torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    fine = subdivide_loop(fins)
    assert torch.equal(fine.vertices[5], vertices[5]) and bool(torch.isfinite(fine.vertices).all())


def test_gradcheck() -> None:
    mesh = icosphere(0, dtype=torch.float64)
    for subdivide in (subdivide_midpoint, subdivide_loop):
        torch.autograd.gradcheck(
            lambda v, s=subdivide: s(Mesh(vertices=v, faces=mesh.faces)).vertices, (mesh.vertices.clone().requires_grad_(),)
        )


def test_messages() -> None:
    with pytest.raises(ArgumentError, match="face 0 names a vertex twice"):
        subdivide_loop(Mesh(vertices=torch.rand(3, 3), faces=torch.tensor([[0, 1, 1]])))
    with pytest.raises(ArgumentError, match="`levels` must lie in 0 to 12"):
        subdivide_midpoint(box(), levels=-1)
