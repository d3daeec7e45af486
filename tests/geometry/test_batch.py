"""Batches of meshes and clouds: every field survives packing, splitting, indexing, padding and pickling."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.batch import (
    MeshBatch,
    PointCloudBatch,
    batch_meshes,
    batch_points,
    concatenate_meshes,
    concatenate_points,
    pad_meshes,
    pad_points,
    split_meshes,
    split_points,
    unpad_meshes,
    unpad_points,
)
from unproject.geometry.material import Material
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import vertex_normals
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import icosphere, plane, torus
from unproject.geometry.sample import sample_points, sample_surface
from unproject.geometry.topology import mesh_topology


def same(a: Any, b: Any) -> bool:
    """Equal values, types and structure; NaN equals NaN."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and bool(torch.all((a == b) | ((a != a) & (b != b))))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


def random_mesh(seed: int, fields: frozenset[str]) -> Mesh:
    g = torch.Generator().manual_seed(seed)
    v, f, t = (int(torch.randint(low, 7, (), generator=g)) for low in (1, 0, 1))
    index = lambda n: torch.randint(0, n, (f, 3), generator=g)
    rand = lambda *shape: torch.rand(*shape, generator=g)
    possible: dict[str, Any] = {
        "vertex_normals": rand(v, 3),
        "vertex_colors": rand(v, 4),
        "corner_normals": rand(f, 3, 3),
        "vertex_attributes": {"heat": rand(v), "label": torch.randint(0, 9, (v,), generator=g)},
        "face_attributes": {"frame": rand(f, 2, 2), "flag": rand(f) > 0.5},
        "metadata": {"comment": f"mesh {seed}"},
    }
    chosen = {name: value for name, value in possible.items() if name in fields}
    if "uvs" in fields:
        chosen["uvs"] = rand(t, 2) if "face_uvs" in fields else rand(v, 2)
        if "face_uvs" in fields:
            chosen["face_uvs"] = index(t)
    if "materials" in fields:
        chosen["materials"] = tuple(Material(name=f"{seed}.{i}") for i in range(seed % 3))
        if "face_materials" in fields:
            chosen["face_materials"] = torch.randint(-1, max(seed % 3, 1), (f,), generator=g) if seed % 3 else torch.full((f,), -1)
    return Mesh(vertices=rand(v, 3), faces=index(v), **chosen)


names = ["vertex_normals", "vertex_colors", "corner_normals", "vertex_attributes", "face_attributes", "metadata"]
names += ["uvs", "face_uvs", "materials", "face_materials"]
some_meshes = st.lists(st.tuples(st.integers(0, 1000), st.frozensets(st.sampled_from(names))), max_size=4)


@settings(max_examples=80, deadline=None)
@given(some_meshes)
def test_meshes_survive_every_way(cases: list[tuple[int, frozenset[str]]]) -> None:
    """Also where some have a field that others lack."""
    meshes = [random_mesh(seed, fields) for seed, fields in cases]
    batch = batch_meshes(meshes)
    assert len(batch) == len(meshes) and batch.vertex_count == sum(mesh.vertex_count for mesh in meshes)
    assert same(split_meshes(batch), meshes)
    assert same(unpad_meshes(pad_meshes(batch)), batch)
    assert same(pickle.loads(pickle.dumps(batch)), batch)
    assert same(batch_meshes([batch[i] for i in range(len(batch))]), batch)
    assert same(split_meshes(concatenate_meshes([batch, batch])), meshes + meshes)
    assert same(split_meshes(batch[::-1]), meshes[::-1])


def random_cloud(seed: int, fields: frozenset[str]) -> PointCloud:
    g = torch.Generator().manual_seed(seed)
    n = int(torch.randint(0, 6, (), generator=g))
    possible = {
        "normals": torch.rand(n, 3, generator=g),
        "colors": torch.rand(n, 3, generator=g),
        "attributes": {"time": torch.rand(n, generator=g), "ring": torch.randint(0, 9, (n, 2), generator=g)},
        "metadata": {"comment": f"cloud {seed}"},
    }
    return PointCloud(positions=torch.rand(n, 3, generator=g), **{k: v for k, v in possible.items() if k in fields})  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 999), st.frozensets(st.sampled_from(["normals", "colors", "attributes", "metadata"]))), max_size=4)
)
def test_clouds_survive_every_way(cases: list[tuple[int, frozenset[str]]]) -> None:
    clouds = [random_cloud(seed, fields) for seed, fields in cases]
    batch = batch_points(clouds)
    assert batch.point_count == sum(cloud.point_count for cloud in clouds)
    assert same(split_points(batch), clouds)
    assert same(unpad_points(pad_points(batch)), batch)
    assert same(pickle.loads(pickle.dumps(batch)), batch)
    assert same(split_points(concatenate_points([batch, batch])), clouds + clouds)


@pytest.fixture
def three() -> MeshBatch:
    return batch_meshes([icosphere(1), plane(segments=(2, 1)), torus(segments=(4, 3))])


def test_selection(three: MeshBatch) -> None:
    assert [len(three[index]) for index in (slice(1, None), [2, 0], torch.tensor([1]), torch.tensor([True, False, True]))] == [2, 2, 1, 2]
    assert same(three[[2, 0]][0].vertices, three[2].vertices) and same(three[-1], three[2])
    assert three[[]].vertices.shape == (0, 3)
    assert sum(1 for _ in three) == 3
    for bad in (3, -4, [5], torch.tensor([True])):
        with pytest.raises(IndexError):
            three[bad]


def test_packed_faces_are_global(three: MeshBatch) -> None:
    lengths = three.vertices[three.faces].diff(dim=1).norm(dim=-1)
    parts = torch.cat([mesh.vertices[mesh.faces].diff(dim=1).norm(dim=-1) for mesh in split_meshes(three)])
    assert torch.equal(lengths, parts)
    padded = pad_meshes(three)
    assert padded.faces.shape == (3, 80, 3) and padded.vertices.shape == (3, 42, 3)
    assert bool((padded.faces[1, 4:] == -1).all()) and padded.faces[2].max() == 11


def test_moves_detaches_and_differentiates(three: MeshBatch) -> None:
    meshes = [dataclasses.replace(mesh, vertices=mesh.vertices.clone().requires_grad_()) for mesh in split_meshes(three)]
    batch = batch_meshes(meshes)
    (batch.vertices * torch.arange(batch.vertex_count)[:, None]).sum().backward()
    assert meshes[1].vertices.grad is not None and meshes[1].vertices.grad[0].tolist() == [42, 42, 42]
    assert not batch.detach().vertices.requires_grad
    double = batch.to(torch.float64)
    assert double.vertices.dtype == torch.float64 and double.faces.dtype == torch.int64 and double.to("meta").faces.is_meta
    assert pad_meshes(batch).vertices.requires_grad


def test_operators_take_batches(three: MeshBatch) -> None:
    """The same as one mesh at a time."""
    topology = mesh_topology(three)
    assert topology.edge_offsets.diff().tolist() == [mesh_topology(mesh).edge_count for mesh in split_meshes(three)]
    single = torch.cat([vertex_normals(mesh.vertices, mesh.faces) for mesh in split_meshes(three)])
    torch.testing.assert_close(vertex_normals(three.vertices, three.faces), single)
    samples = sample_surface(three, 40)
    assert samples.offsets.tolist() == [0, 40, 80, 120]
    for b in range(3):
        chosen = samples.faces[40 * b : 40 * (b + 1)]
        assert three.face_offsets[b] <= chosen.min() and chosen.max() < three.face_offsets[b + 1]
    assert sample_points(three, 5).positions.shape == (15, 3)


def test_missing_values_are_nan_and_remembered() -> None:
    bare, dressed = icosphere(0), dataclasses.replace(icosphere(0), vertex_colors=torch.ones(12, 3))
    batch = batch_meshes([bare, dressed])
    assert batch.vertex_colors is not None and bool(batch.vertex_colors[:12].isnan().all())
    assert batch.absent["vertex_colors"].tolist() == [True, False]


def test_messages() -> None:
    three, four = (dataclasses.replace(icosphere(0), vertex_colors=torch.ones(12, n)) for n in (3, 4))
    with pytest.raises(ArgumentError, match=r"`vertex_colors` of item 1 is float32 \[..., 4\], of another float32 \[..., 3\]"):
        batch_meshes([three, four])
    with pytest.raises(ArgumentError, match=r"`vertices` of item 1 is float64"):
        batch_meshes([icosphere(0), icosphere(0, dtype=torch.float64)])
    with pytest.raises(ArgumentError, match=r"`normals` of item 0 has 2 rows, not 3"):
        batch_points([PointCloud(positions=torch.rand(3, 3), normals=torch.rand(2, 3))])


def test_empty_batches() -> None:
    for batch in (batch_meshes([]), batch_points([])):
        assert isinstance(batch, MeshBatch | PointCloudBatch) and len(batch) == 0 and batch.to(torch.float64) is not None
