"""Smoothness losses: hand-computed values, kernel against reference, derivatives, batches, degenerate faces."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.laplacian import cotangent_laplacian, uniform_laplacian
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.topology import Topology, make_topology, mesh_topology
from unproject.losses.smoothness import edge_length_loss, laplacian_smoothing_loss, normal_consistency_loss
from unproject.ops import smoothness as ops
from unproject.reference import smoothness as reference

Loss = Callable[[Tensor, Topology], Tensor]

LOSSES: dict[str, Loss] = {
    "edge": lambda v, t: edge_length_loss(v, t, target=0.3),
    "uniform": laplacian_smoothing_loss,
    "uniform squared": lambda v, t: laplacian_smoothing_loss(v, t, squared=True),
    "cotangent": lambda v, t: laplacian_smoothing_loss(v, t, weighting="cotangent"),
    "curvature": lambda v, t: laplacian_smoothing_loss(v, t, weighting="curvature"),
    "normals": normal_consistency_loss,
}


def reference_loss(name: str, v: Tensor, t: Topology) -> Tensor:
    """The same loss through the torch twins."""
    if name == "edge":
        return reference.edge_length_loss(v, t.edges, v.new_tensor([0.3]), t.edge_offsets)
    if name == "normals":
        return reference.normal_consistency_loss(v, t.faces, t.pairs, t.pair_offsets, ops.smallest_sine(v.dtype))
    weights = scales = v.new_empty(0)
    if not name.startswith("uniform"):
        weights = reference.cotangent_weights(v.detach(), t.faces, t.edge_halfedge_offsets, t.edge_halfedges, 1e-5)
        scales = reference.cotangent_scales(t.neighbor_offsets, t.neighbor_edges, weights)
    if name == "curvature":
        scales = 0.5 / reference.vertex_areas(v.detach(), t.faces)
    rows = (t.neighbor_offsets, t.neighbors, t.neighbor_edges, weights, scales, t.vertex_offsets)
    return reference.laplacian_loss(v, *rows, "squared" in name)


def bumpy(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Topology]:
    mesh = icosphere(2, dtype=dtype)
    return mesh.vertices + 0.05 * torch.randn_like(mesh.vertices), mesh_topology(mesh)


def fan(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Topology]:
    """Three faces at one edge, one wound the other way, an isolated vertex, and a boundary."""
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [1, 5, 2]])
    return torch.randn(7, 3, dtype=dtype), make_topology(faces, 7)


@pytest.mark.parametrize("make", [bumpy, fan])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_matches_reference(name: str, make: Callable[..., tuple[Tensor, Topology]], dtype: torch.dtype) -> None:
    if name == "curvature" and make is fan:
        pytest.skip("the reference above has no floor for vertices without area")
    vertices, topology = make(dtype)
    own, twin = vertices.clone().requires_grad_(), vertices.clone().requires_grad_()
    value, expected = LOSSES[name](own, topology), reference_loss(name, twin, topology)
    cotangent = torch.randn((), dtype=dtype)
    (value * cotangent).backward()
    (expected * cotangent).backward()
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(own.grad, twin.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["edge", "uniform", "uniform squared", "normals"])
def test_derivatives_of_both_orders(name: str) -> None:
    mesh = box(dtype=torch.float64)
    vertices = (mesh.vertices + 0.1 * torch.randn_like(mesh.vertices)).requires_grad_()
    topology = mesh_topology(mesh)
    torch.autograd.gradcheck(lambda v: LOSSES[name](v, topology), (vertices,))
    torch.autograd.gradgradcheck(lambda v: LOSSES[name](v, topology), (vertices,))


@pytest.mark.parametrize("name", ["cotangent", "curvature"])
def test_cotangent_weights_are_held_fixed(name: str) -> None:
    """The derivative is that of the loss with the weights of the starting point."""
    vertices, topology = bumpy()
    vertices.requires_grad_()
    LOSSES[name](vertices, topology).backward()
    frozen = vertices.detach()
    weights = reference.cotangent_weights(frozen, topology.faces, topology.edge_halfedge_offsets, topology.edge_halfedges, 1e-5)
    if name == "cotangent":
        scales = reference.cotangent_scales(topology.neighbor_offsets, topology.neighbor_edges, weights)
    else:
        scales = 0.5 / reference.vertex_areas(frozen, topology.faces)
    rows = (topology.neighbor_offsets, topology.neighbors, topology.neighbor_edges, weights, scales, topology.vertex_offsets, False)
    direction, step = torch.randn_like(frozen), 1e-6
    ahead, behind = (ops.laplacian_loss(frozen + s * direction, *rows)[0] for s in (step, -step))
    assert vertices.grad is not None
    torch.testing.assert_close((vertices.grad * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-9)


def test_hand_computed_values() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]], dtype=torch.float64)
    topology = make_topology(torch.tensor([[0, 1, 2]]), 3)
    assert edge_length_loss(vertices, topology).item() == pytest.approx((9 + 16 + 25) / 3)
    assert edge_length_loss(vertices, topology, target=4.0).item() == pytest.approx((1 + 0 + 1) / 3)
    assert edge_length_loss(vertices, topology, target=torch.tensor([3.0, 4.0, 5.0])).item() == pytest.approx(0)
    means = [(1.5, 2.0), (-3.0, 2.0), (1.5, -4.0)]  # neighbour mean minus vertex
    assert laplacian_smoothing_loss(vertices, topology).item() == pytest.approx(sum(math.hypot(*m) for m in means) / 3)
    # opposite angles: 90 degrees to edge 12 (cotangent 0), at vertex 2 (4/3) to edge 01, at vertex 1 (3/4) to edge 02
    w01, w02 = 4 / 3, 3 / 4
    moves = [math.hypot(3 * w01, 4 * w02) / (w01 + w02), 3.0, 4.0]
    assert laplacian_smoothing_loss(vertices, topology, weighting="cotangent").item() == pytest.approx(sum(moves) / 3)
    curved = [math.hypot(3 * w01, 4 * w02), 3 * w01, 4 * w02]
    expected = sum(0.25 * x / 6 for x in curved) / 3
    assert laplacian_smoothing_loss(vertices, topology, weighting="curvature").item() == pytest.approx(expected)


def test_normal_consistency_of_known_angles() -> None:
    cube = box(dtype=torch.float64)  # 12 edges of 90 degrees and 6 diagonals of 0
    assert normal_consistency_loss(cube.vertices, mesh_topology(cube)).item() == pytest.approx(12 / 18)
    folded = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1e-3]], dtype=torch.float64)
    for faces in ([[0, 1, 2], [1, 0, 3]], [[0, 1, 2], [0, 1, 3]]):  # wound alike or not
        loss = normal_consistency_loss(folded, make_topology(torch.tensor(faces), 4))
        assert loss.item() == pytest.approx(2.0, abs=1e-5)


def test_three_faces_of_an_edge_pair_three_times() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    topology = make_topology(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]), 5)
    assert topology.pairs.shape[0] == 3
    assert normal_consistency_loss(vertices, topology).item() == pytest.approx((0 + 1 + 1) / 3)


def test_agrees_with_laplacian_matrices() -> None:
    vertices, topology = bumpy()
    offsets = uniform_laplacian(topology, normalized=True, dtype=torch.float64) @ vertices
    torch.testing.assert_close(laplacian_smoothing_loss(vertices, topology), offsets.norm(dim=1).mean())
    offsets = cotangent_laplacian(vertices, topology, normalized=True) @ vertices
    torch.testing.assert_close(laplacian_smoothing_loss(vertices, topology, weighting="cotangent"), offsets.norm(dim=1).mean())


def test_curvature_of_a_sphere() -> None:
    mesh = icosphere(4, radius=2.0, dtype=torch.float64)
    loss = laplacian_smoothing_loss(mesh.vertices, mesh_topology(mesh), weighting="curvature")
    # the mean curvature 1/R over the area of all faces around, which is three times the vertex's share
    assert loss.item() == pytest.approx(1 / (3 * 2.0), rel=0.01)


@pytest.mark.parametrize("name", LOSSES)
def test_batch_is_the_mean_over_meshes(name: str) -> None:
    meshes = [icosphere(1, dtype=torch.float64), plane(segments=(3, 2), dtype=torch.float64), torus(segments=(6, 5), dtype=torch.float64)]
    parts = [mesh.vertices + 0.05 * torch.randn_like(mesh.vertices) for mesh in meshes]
    vertex_offsets = torch.tensor([0, *torch.tensor([len(p) for p in parts]).cumsum(0).tolist()])
    face_offsets = torch.tensor([0, *torch.tensor([mesh.face_count for mesh in meshes]).cumsum(0).tolist()])
    faces = torch.cat([mesh.faces + start for mesh, start in zip(meshes, vertex_offsets)])
    topology = make_topology(faces, int(vertex_offsets[-1]), vertex_offsets=vertex_offsets, face_offsets=face_offsets)
    packed = torch.cat(parts).requires_grad_()
    single = [part.clone().requires_grad_() for part in parts]
    value = LOSSES[name](packed, topology)
    expected = torch.stack([LOSSES[name](part, mesh_topology(mesh)) for part, mesh in zip(single, meshes)]).mean()
    tolerance = 1e-5 if name == "curvature" else 1e-12  # its floor for tiny areas depends on all of them
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    value.backward()
    expected.backward()
    torch.testing.assert_close(packed.grad, torch.cat([part.grad for part in single]), rtol=tolerance, atol=tolerance)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_faces_give_finite_gradients(name: str, dtype: torch.dtype) -> None:
    mesh = icosphere(1, dtype=dtype)
    vertices = mesh.vertices.clone()
    vertices[12:16] = vertices[12]  # coincident
    vertices[0] = 0.5 * (vertices[20] + vertices[21])
    for scale in (1e-15, 1.0, 1e12):
        scaled = (scale * vertices).requires_grad_()
        value = LOSSES[name](scaled, mesh_topology(mesh))
        value.backward()
        assert scaled.grad is not None
        assert bool(torch.isfinite(value)) and bool(torch.isfinite(scaled.grad).all())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_no_faces(name: str, count: int) -> None:
    vertices = torch.rand(count, 3, requires_grad=True)
    value = LOSSES[name](vertices, make_topology(torch.zeros(0, 3, dtype=torch.int64), count))
    value.backward()
    assert value.item() == 0
    assert vertices.grad is not None and not bool(vertices.grad.any())


def test_many_slices_give_the_same() -> None:
    mesh = icosphere(5, dtype=torch.float64)
    vertices, topology = mesh.vertices + 0.01 * torch.randn_like(mesh.vertices), mesh_topology(mesh)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            leaf = vertices.clone().requires_grad_()
            normal_consistency_loss(leaf, topology).backward()
            results.append(leaf.grad)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: edge_length_loss(torch.rand(5, 3), t), "`topology` is of 4 vertices, `vertices` has 5"),
        (lambda t: edge_length_loss(torch.rand(4, 2), t), r"`vertices` must be \[V, 3\] floats"),
        (lambda t: edge_length_loss(torch.rand(4, 3), t, target=torch.rand(2)), r"`target` must be a number or \[6\]"),
        (lambda t: laplacian_smoothing_loss(torch.rand(4, 3), t, weighting="cot"), '"uniform", "cotangent" or "curvature"'),
    ],
)
def test_messages(call: Callable[[Topology], Tensor], message: str) -> None:
    topology = make_topology(torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]), 4)
    with pytest.raises(ArgumentError, match=message):
        call(topology)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(dtype: torch.dtype) -> None:
    for op, make in [
        (ops.edge_length_loss, ops._edge_length_example),
        (ops.laplacian_loss, ops._laplacian_example),
        (ops.normal_consistency_loss, ops._normal_consistency_example),
        (ops.cotangent_weights, ops._cotangent_weights_example),
        (ops.cotangent_scales, ops._cotangent_scales_example),
        (ops.vertex_areas, ops._vertex_areas_example),
    ]:
        torch.library.opcheck(op.overload, make(dtype))
