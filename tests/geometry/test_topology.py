"""Topology against brute force over the faces, and what kind of surface a mesh is."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.errors import ArgumentError, ArgumentTypeError
from unproject.geometry.manifold import (
    boundary_loops,
    classify_surface,
    component_count,
    corner_fans,
    euler_number,
    face_components,
    genus,
    is_consistently_wound,
    is_edge_manifold,
    is_vertex_manifold,
    is_watertight,
    vertex_components,
)
from unproject.geometry.mesh import Mesh
from unproject.geometry.primitives import box, capsule, cylinder, icosphere, plane, torus
from unproject.geometry.topology import (
    Topology,
    boundary_edges,
    boundary_vertices,
    edge_face_counts,
    edge_faces,
    face_pairs,
    halfedge_twins,
    make_topology,
    mesh_topology,
    pair_signs,
    unique_edges,
    vertex_faces,
)

faces_of_any_kind = st.integers(1, 9).flatmap(
    lambda count: st.tuples(st.just(count), st.lists(st.tuples(*[st.integers(0, count - 1)] * 3), max_size=25))
)


def build(faces: object, count: int) -> Topology:
    return make_topology(torch.tensor(faces, dtype=torch.int64).reshape(-1, 3), count)


@settings(max_examples=80, deadline=None)
@given(faces_of_any_kind)
def test_adjacency_of_any_faces(case: tuple[int, list[tuple[int, int, int]]]) -> None:
    count, faces = case
    topology = build(faces, count)
    of_edge = defaultdict(list)
    neighbors = defaultdict(set)
    for f, face in enumerate(faces):
        for i in range(3):
            a, b = face[i], face[(i + 1) % 3]
            if a != b:
                of_edge[min(a, b), max(a, b)].append(3 * f + i)
                neighbors[a].add(b)
                neighbors[b].add(a)
    edges = sorted(of_edge)
    assert topology.edges.tolist() == [list(edge) for edge in edges]
    assert torch.equal(topology.edges, unique_edges(topology.faces, count))
    bounds = topology.edge_halfedge_offsets.tolist()
    for e, edge in enumerate(edges):
        assert topology.edge_halfedges[bounds[e] : bounds[e + 1]].tolist() == of_edge[edge]
    for f, face in enumerate(faces):
        for i in range(3):
            e = int(topology.face_edges[f, i])
            assert e == (-1 if face[i] == face[(i + 1) % 3] else edges.index(tuple(sorted((face[i], face[(i + 1) % 3])))))
    expected_pairs = [[h, k] for edge in edges for n, k in enumerate(of_edge[edge]) for h in of_edge[edge][:n]]
    assert sorted(topology.pairs.tolist()) == sorted(expected_pairs)
    for v in range(count):
        row = slice(int(topology.neighbor_offsets[v]), int(topology.neighbor_offsets[v + 1]))
        assert topology.neighbors[row].tolist() == sorted(neighbors[v])
        assert topology.edges[topology.neighbor_edges[row]].tolist() == [sorted((v, n)) for n in sorted(neighbors[v])]
        row = slice(int(topology.corner_offsets[v]), int(topology.corner_offsets[v + 1]))
        assert topology.corners[row].tolist() == [3 * f + i for f, face in enumerate(faces) for i in range(3) if face[i] == v]


@settings(max_examples=60, deadline=None)
@given(faces_of_any_kind)
def test_kind_of_any_faces(case: tuple[int, list[tuple[int, int, int]]]) -> None:
    """Nothing fails on the strangest faces, and the parts agree with each other."""
    count, faces = case
    kind = classify_surface(build(faces, count))
    assert kind.euler_number == kind.vertex_count - kind.edge_count + kind.face_count
    if kind.watertight:
        assert kind.boundary_loop_count == 0 and kind.consistently_wound
    if kind.genus is not None:
        assert kind.genus >= 0 and kind.edge_manifold and kind.vertex_manifold
        assert kind.euler_number == 2 * kind.component_count - 2 * kind.genus - kind.boundary_loop_count


@pytest.mark.parametrize(
    "mesh, expected",
    [
        (icosphere(2), (1, 0, 2, 0, True)),
        (torus(segments=(8, 6)), (1, 0, 0, 1, True)),
        (box(segments=2), (1, 0, 2, 0, True)),
        (cylinder(segments=(9, 2)), (1, 0, 2, 0, True)),
        (capsule(segments=(7, 2)), (1, 0, 2, 0, True)),
        (plane(segments=(2, 3)), (1, 1, 1, 0, False)),
    ],
)
def test_kinds_of_known_surfaces(mesh: Mesh, expected: tuple[int, int, int, int, bool]) -> None:
    kind = classify_surface(mesh_topology(mesh))
    assert (kind.component_count, kind.boundary_loop_count, kind.euler_number, kind.genus, kind.watertight) == expected
    assert kind.edge_manifold and kind.vertex_manifold and kind.consistently_wound


def test_a_tube_has_two_loops_and_a_handle_is_counted_with_them() -> None:
    ring = cylinder(segments=(6, 2))
    open_tube = mesh_topology(Mesh(vertices=ring.vertices, faces=ring.faces[:-12]))
    assert len(boundary_loops(open_tube)) == 2 and genus(open_tube) == 0
    holed = torus(segments=(8, 6))
    topology = mesh_topology(Mesh(vertices=holed.vertices, faces=holed.faces[1:]))
    assert [len(loop) for loop in boundary_loops(topology)] == [3] and genus(topology) == 1


def test_boundary_loop_runs_with_the_faces() -> None:
    topology = build([[0, 1, 2], [0, 2, 3]], 4)
    (loop,) = boundary_loops(topology)
    start = loop.tolist().index(0)
    assert loop.roll(-start).tolist() == [0, 1, 2, 3]
    assert boundary_edges(topology).shape[0] == 4 and bool(boundary_vertices(topology).all())


def test_loops_that_touch_in_a_vertex_stay_apart() -> None:
    """Two triangles that share one corner: two loops of three, not one of six."""
    topology = build([[0, 1, 2], [0, 3, 4]], 5)
    assert sorted(sorted(loop.tolist()) for loop in boundary_loops(topology)) == [[0, 1, 2], [0, 3, 4]]
    assert not is_vertex_manifold(topology) and is_edge_manifold(topology)
    assert genus(topology) is None
    labels, fans = corner_fans(topology)
    assert fans == 6 and labels[0] != labels[3]


def test_non_manifold_and_badly_wound() -> None:
    fins = build([[0, 1, 2], [1, 0, 3], [0, 1, 4]], 5)
    assert not is_edge_manifold(fins) and not is_consistently_wound(fins)
    assert edge_face_counts(fins).max() == 3 and face_pairs(fins).shape == (3, 2)
    flipped = build([[0, 1, 2], [0, 1, 3]], 4)
    assert is_edge_manifold(flipped) and is_vertex_manifold(flipped) and not is_consistently_wound(flipped)
    assert pair_signs(flipped).tolist() == [-1] and bool((halfedge_twins(flipped) == -1).all())
    twice = build([[0, 1, 1]], 2)
    assert not is_edge_manifold(twice) and not is_watertight(twice)


def test_components() -> None:
    two = build([[0, 1, 2], [3, 4, 5], [2, 1, 6]], 8)
    assert face_components(two).tolist() == [0, 1, 0] and component_count(two) == 2
    assert vertex_components(two).tolist() == [0, 0, 0, 1, 1, 1, 0, 2]
    bow_tie = build([[0, 1, 2], [0, 3, 4]], 5)  # one vertex joins vertices, but no edge joins the faces
    assert component_count(bow_tie) == 2 and int(vertex_components(bow_tie).max()) == 0


def test_empty() -> None:
    for count in (0, 3):
        kind = classify_surface(build([], count))
        assert (kind.face_count, kind.vertex_count, kind.component_count, kind.genus, kind.watertight) == (0, 0, 0, 0, False)


def test_an_edge_of_very_many_faces_does_not_square() -> None:
    count = 3000
    faces = torch.stack([torch.zeros(count), torch.ones(count), torch.arange(count) + 2], dim=1).to(torch.int64)
    topology = make_topology(faces, count + 2)
    assert topology.pairs.shape[0] <= 64 * count and component_count(topology) == 1


def test_twins_pair_up() -> None:
    topology = mesh_topology(icosphere(2))
    twins = halfedge_twins(topology)
    assert torch.equal(twins[twins], torch.arange(twins.shape[0]))
    assert not bool((twins // 3 == torch.arange(twins.shape[0]) // 3).any())


def test_batch_offsets() -> None:
    meshes = [icosphere(1), plane(), torus(segments=(5, 4))]
    vertex_offsets = torch.tensor([0, 42, 42 + 4, 42 + 4 + 20])
    face_offsets = torch.tensor([0, 80, 82, 82 + 40])
    faces = torch.cat([mesh.faces + start for mesh, start in zip(meshes, vertex_offsets)])
    topology = make_topology(faces, 66, vertex_offsets=vertex_offsets, face_offsets=face_offsets)
    singles = [mesh_topology(mesh) for mesh in meshes]
    assert topology.edge_offsets.diff().tolist() == [single.edge_count for single in singles]
    assert topology.pair_offsets.diff().tolist() == [single.pairs.shape[0] for single in singles]
    assert topology.batch_size == 3 and component_count(topology) == 3
    assert euler_number(topology) == sum(euler_number(single) for single in singles)


def test_moves_as_one_value() -> None:
    topology = mesh_topology(box()).to("meta")
    assert topology.faces.is_meta and topology.neighbors.is_meta
    with pytest.raises(ArgumentTypeError, match="ragged"):
        topology[0]


def test_ragged_accessors() -> None:
    topology = mesh_topology(box())
    faces, offsets = vertex_faces(topology)
    assert all((topology.faces[faces[offsets[v] : offsets[v + 1]]] == v).any(1).all() for v in range(8))
    faces, offsets = edge_faces(topology)
    assert offsets.diff().tolist() == [2] * 18 and faces.shape == (36,)


def test_messages() -> None:
    with pytest.raises(ArgumentError, match=r"`faces` must be \[F, 3\] integers"):
        make_topology(torch.rand(4, 3), 4)
    with pytest.raises(ArgumentError, match="`faces` must lie in 0 to 2, found 3"):
        make_topology(torch.tensor([[0, 1, 3]]), 3)
    with pytest.raises(ArgumentError, match="both `vertex_offsets` and `face_offsets`"):
        make_topology(torch.tensor([[0, 1, 2]]), 3, vertex_offsets=torch.tensor([0, 3]))


@pytest.mark.parametrize("name", ["bullet3/data/teddy.obj", "bullet3/data/bunny.obj", "common3d/suzanne.obj", "open3d_models/knot.ply"])
def test_real_meshes_agree_with_trimesh(data_folder: Path, name: str) -> None:
    loaded = trimesh.load(data_folder / "meshes" / name, process=True, force="mesh")
    topology = make_topology(torch.as_tensor(np.asarray(loaded.faces), dtype=torch.int64), len(loaded.vertices))
    assert is_watertight(topology) == (loaded.is_watertight and loaded.is_winding_consistent)
    assert topology.edge_count == len(loaded.edges_unique)
    if is_edge_manifold(topology):  # trimesh joins faces across edges of exactly two faces only
        assert component_count(topology) == len(loaded.split(only_watertight=False))
    assert euler_number(topology) == loaded.euler_number
