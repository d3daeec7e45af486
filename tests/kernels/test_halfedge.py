"""Half-edge surfaces under random operations: after each, every link, fan, valence and count is right, and the topology is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.geometry.manifold import SurfaceKind, classify_surface
from unproject.geometry.mesh import Mesh
from unproject.geometry.primitives import box, cylinder, icosphere, plane, torus
from unproject.geometry.topology import boundary_vertices, halfedge_twins, make_topology, mesh_topology
from unproject.kernels import halfedge

_tube = cylinder(segments=(5, 2))
MESHES = {
    "sphere": icosphere(1),
    "box": box(),
    "torus": torus(segments=(5, 4)),
    "plane": plane(segments=(3, 2)),
    "tube": Mesh(vertices=_tube.vertices[:15], faces=_tube.faces[:-10]),
    "triangle": Mesh(vertices=torch.eye(3), faces=torch.tensor([[0, 1, 2]])),
    "tetrahedron": Mesh(vertices=torch.rand(4, 3), faces=torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])),
}


def open_surface(mesh: Mesh, room: int = 60) -> Any:
    faces, vertices = mesh.face_count, mesh.vertex_count
    grow = lambda array, extra, fill=0: np.concatenate([array, np.full((extra, *array.shape[1:]), fill, array.dtype)])
    surface = halfedge.Surface(
        corners=grow(mesh.faces.reshape(-1).numpy().copy(), 6 * room, -1),
        twins=grow(halfedge_twins(mesh_topology(mesh)).numpy(), 6 * room, -1),
        marks=np.zeros(3 * faces + 6 * room, np.uint8),
        outgoing=np.full(vertices + room, -1),
        valences=np.zeros(vertices + room, np.int64),
        kinds=np.zeros(vertices + room, np.uint8),
        names=np.full(vertices + room, -1),
        positions=grow(mesh.vertices.double().numpy(), room),
        sizes=np.ones(vertices + room),
        counts=np.array([vertices, faces, faces]),
    )
    halfedge.connect(surface)
    return surface


def check(m: Any) -> SurfaceKind:
    """All invariants, against a topology built anew from the faces."""
    vertices, faces, alive = (int(count) for count in m.counts)
    corners = m.corners[: 3 * faces].reshape(-1, 3)
    kept = corners[corners[:, 0] >= 0]
    assert len(kept) == alive and (kept >= 0).all()
    ahead = np.roll(corners, -1, axis=1).reshape(-1)
    flat = corners.reshape(-1)
    for h in np.nonzero(flat >= 0)[0]:
        t = m.twins[h]
        if t >= 0:
            assert m.twins[t] == h and flat[t] == ahead[h] and ahead[t] == flat[h] and m.marks[t] == m.marks[h]
    topology = make_topology(torch.from_numpy(kept.copy()), vertices)
    used = np.unique(kept)
    assert set(np.nonzero(m.outgoing[:vertices] >= 0)[0]) == set(used)
    assert (flat[m.outgoing[used]] == used).all()
    assert (topology.neighbor_offsets.diff().numpy()[used] == m.valences[used]).all()
    assert (boundary_vertices(topology).numpy()[used] == (m.twins[m.outgoing[used]] < 0)).all()
    return classify_surface(topology)


def same_kind(a: SurfaceKind, b: SurfaceKind) -> bool:
    names = ("component_count", "boundary_loop_count", "euler_number", "genus", "edge_manifold", "vertex_manifold", "watertight")
    return all(getattr(a, name) == getattr(b, name) for name in names)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(MESHES)), st.lists(st.tuples(st.sampled_from("sfccc"), st.integers(0, 10**6)), max_size=30))
def test_any_sequence_of_operations(name: str, operations: list[tuple[str, int]]) -> None:
    m = open_surface(MESHES[name])
    kind = check(m)
    for operation, number in operations:
        alive = np.nonzero(m.corners[: 3 * m.counts[1]] >= 0)[0]
        h = int(alive[number % len(alive)])
        if operation == "s":
            halfedge.split_edge(m, h)
        elif operation == "f" and halfedge.can_flip(m, h):
            halfedge.flip_edge(m, h)
        elif operation == "c" and halfedge.can_collapse(m, h):
            halfedge.collapse_edge(m, h)
        assert same_kind(check(m), kind)
    halfedge.compact(m, np.empty(m.counts[0], np.int64), np.empty(3 * m.counts[1], np.int64))
    assert same_kind(check(m), kind) and m.counts[1] == m.counts[2]


@pytest.mark.parametrize("name", MESHES)
def test_nothing_collapses_further_than_the_topology_allows(name: str) -> None:
    m = open_surface(MESHES[name])
    kind = check(m)
    for _ in range(200):
        chosen = [h for h in range(3 * m.counts[1]) if m.corners[h] >= 0 and halfedge.can_collapse(m, h)]
        if not chosen:
            break
        halfedge.collapse_edge(m, chosen[0])
        assert same_kind(check(m), kind)
    assert m.counts[2] >= {"torus": 14, "triangle": 1, "plane": 1, "tube": 6}.get(name, 4)
    assert m.counts[2] <= {"torus": 20, "triangle": 1, "plane": 1, "tube": 8}.get(name, 4)


def test_fans_of_a_bow_tie() -> None:
    topology = make_topology(torch.tensor([[0, 1, 2], [0, 3, 4], [0, 2, 5]]), 6)
    corners, twins = topology.faces.reshape(-1).numpy(), halfedge_twins(topology).numpy()
    labels = np.empty(9, np.int64)
    assert halfedge.label_fans(corners, twins, labels) == 7
    assert labels[0] == labels[6] != labels[3] and labels[2] == labels[7]


def test_marks_follow_their_edges() -> None:
    """A marked straight line through a plane stays one through splits, flips and collapses beside it."""
    mesh = plane(segments=(4, 4))
    m = open_surface(mesh)
    ends = np.stack([m.corners[:96], np.roll(m.corners[:96].reshape(-1, 3), -1, axis=1).reshape(-1)], axis=1)
    on_line = (np.abs(m.positions[ends, 0]) < 1e-6).all(axis=1)
    m.marks[:96][on_line] = halfedge.FEATURE
    generator = np.random.default_rng(0)
    for _ in range(60):
        alive = np.nonzero(m.corners[: 3 * m.counts[1]] >= 0)[0]
        h = int(generator.choice(alive))
        if m.counts[0] < 75 and generator.random() < 0.3:
            halfedge.split_edge(m, h)
        elif halfedge.can_flip(m, h):
            halfedge.flip_edge(m, h)
        check(m)
    corners = m.corners[: 3 * m.counts[1]].reshape(-1, 3)
    marked = np.nonzero(m.marks[: 3 * m.counts[1]] == halfedge.FEATURE)[0]
    a, b = corners.reshape(-1)[marked], np.roll(corners, -1, axis=1).reshape(-1)[marked]
    assert np.abs(m.positions[a, 0]).max() < 1e-6 and np.abs(m.positions[b, 0]).max() < 1e-6
    assert np.linalg.norm(m.positions[a] - m.positions[b], axis=1).sum() == pytest.approx(2)
