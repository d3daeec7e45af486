"""Non-rigid registration: the graph and its derivatives, both methods on known deformations, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

import unproject as up
from unproject.fit.deformation_graph import build_graph, deform_with_graph
from unproject.fit.landmarks import Landmarks
from unproject.fit.linear_model import pose_model
from unproject.fit.nonrigid import NonrigidOptions, NonrigidStep, nonrigid_icp, register_graph
from unproject.fit.sample_models import sample_face_model
from unproject.geometry.scan import scan_mesh

Method = Callable[..., Iterator[NonrigidStep]]
QUICK = NonrigidOptions(steps=4)
COARSE = NonrigidOptions(steps=4, nodes=50)  # where there is no detail
BOTH = pytest.mark.parametrize("method", [register_graph, nonrigid_icp])


def _last(steps: Iterator[NonrigidStep]) -> NonrigidStep:
    *_, last = steps
    return last


def _distance(cloud: up.PointCloud, mesh: up.Mesh) -> float:
    return float(up.closest_point(cloud.positions, mesh).squared_distance.mean().sqrt())


def _flips(mesh: up.Mesh) -> int:
    """Pairs of neighbouring faces folded onto each other."""
    topology = up.mesh_topology(mesh)
    normals = up.face_normals(mesh.vertices, mesh.faces)
    one, other = (topology.pairs // 3).T
    return int(((normals[one] * normals[other]).sum(1) < -0.5).sum())


def _bar() -> up.Mesh:
    return up.subdivide_midpoint(up.cylinder(0.2, 2.0, segments=(12, 16)))


def _bent(points: torch.Tensor, curvature: float) -> torch.Tensor:
    """Points about the z axis, bent about an axis along y: lengths along the axis are kept."""
    x, y, z = points.unbind(1)
    radius = 1 / curvature
    return torch.stack([radius - (radius - x) * (z / radius).cos(), y, (radius - x) * (z / radius).sin()], 1)


def test_graph_keeps_affine_motions_and_passes_gradcheck() -> None:
    ball = up.icosphere(2, dtype=torch.float64)
    graph = build_graph(ball, 20)
    assert torch.allclose(graph.vertex_weights.sum(1), torch.ones(162, dtype=torch.float64))
    assert graph.node_count == 20 and len(graph.edges) >= 20
    matrix, shift = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    shifts = graph.nodes @ matrix.T + shift - graph.nodes
    assert torch.allclose(deform_with_graph(graph, ball.vertices, matrix.expand(20, 3, 3), shifts), ball.vertices @ matrix.T + shift)
    small = up.icosphere(0, dtype=torch.float64)
    few = build_graph(small, 4, neighbors=2)
    leaves = (small.vertices.clone(), torch.randn(4, 3, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda *p: deform_with_graph(few, *p), tuple(leaf.requires_grad_() for leaf in leaves))


def test_graph_of_few_vertices_and_parts() -> None:
    one = build_graph(up.icosphere(0), 1)
    assert one.node_count == 1 and torch.equal(one.vertex_weights, torch.ones(12, 1))
    ball = up.icosphere(1)
    pair = up.Mesh(
        vertices=torch.cat([ball.vertices, ball.vertices + torch.tensor([2.01, 0, 0])]), faces=torch.cat([ball.faces, ball.faces + 42])
    )
    graph = build_graph(pair, 20)
    side = graph.nodes[:, 0] > 1.005
    own = torch.arange(84) >= 42
    assert bool(((side[graph.vertex_nodes] == own[:, None]) | (graph.vertex_weights == 0)).all()), (
        "touching parts do not pull on each other"
    )


@BOTH
def test_a_bar_bends_to_a_scan(method: Method) -> None:
    bar = _bar()
    goal = up.Mesh(vertices=_bent(bar.vertices, 0.7), faces=bar.faces)
    scan = scan_mesh(goal, points=4000, views=10, noise=0.002, outliers=0.03, seed=1)
    clean = scan_mesh(goal, points=4000, views=10, seed=2)
    last = _last(method(bar, scan, options=QUICK))
    assert _distance(clean, bar) > 0.08
    assert _distance(clean, last.mesh) < 0.013
    slid = float((last.mesh.vertices - goal.vertices).norm(dim=1).mean())
    assert slid < (0.03 if method is register_graph else 0.1), "places correspond, not only surfaces; points pulled to points slide more"
    assert _flips(last.mesh) <= _flips(bar) and len(up.self_intersections(last.mesh)) == 0
    assert last.index == last.total and torch.equal(last.mesh.faces, bar.faces)


@BOTH
def test_a_face_from_one_side(method: Method) -> None:
    """The back of the head is not in the scan: it follows and stays whole."""
    model = sample_face_model(level=3)
    template = up.Mesh(vertices=pose_model(model), faces=model.faces)
    identity = torch.tensor([1.0, -1.0, 1.5, -1.0, 1.0, 1.0, -1.0, 1.0])
    goal = up.Mesh(vertices=pose_model(model, identity, torch.tensor([1.0, 1.0, -1.0, 0.5])), faces=model.faces)
    scan = scan_mesh(goal, points=5000, views=12, noise=0.001, seed=3)
    front = scan.positions[:, 2] > 0
    scan = up.PointCloud(positions=scan.positions[front] + 10, normals=None if scan.normals is None else scan.normals[front])
    template = up.Mesh(vertices=template.vertices + 10, faces=template.faces)
    last = _last(method(template, scan, options=QUICK))
    assert _distance(scan, template) > 0.035
    assert _distance(scan, last.mesh) < 0.008
    assert _flips(last.mesh) == 0 and len(up.self_intersections(last.mesh)) == 0
    assert float((last.mesh.vertices - goal.vertices - 10).norm(dim=1).max()) < 0.2


@BOTH
def test_landmarks_lead(method: Method) -> None:
    """A ball that is turned about itself looks the same; landmarks tell."""
    ball = up.icosphere(2)
    turn = up.so3_exp(torch.tensor([0.0, 0.0, 0.5]))
    index = torch.arange(12)
    marks = Landmarks(vertices=index, positions=ball.vertices[index] @ turn.T, deviation=0.002)
    cloud = up.sample_points(ball, 2000).positions
    last = _last(method(ball, cloud, marks, options=COARSE))
    assert float((last.mesh.vertices[index] - marks.positions).norm(dim=1).max()) < 0.03
    assert float((last.mesh.vertices - ball.vertices @ turn.T).norm(dim=1).max()) < 0.08


def test_graph_turns_parts_as_wholes() -> None:
    """Where nothing but a turn happened, lengths of edges are kept."""
    bar = _bar()
    motion = up.se3_exp(torch.tensor([0.05, 0.02, 0.0, 0.2, 0.0, 0.1]))
    last = _last(register_graph(bar, up.se3_apply(motion, up.sample_points(bar, 4000).positions), options=COARSE))
    i, j = up.mesh_topology(bar).edges.T
    length = lambda v: (v[i] - v[j]).norm(dim=1)
    assert float((length(last.mesh.vertices) / length(bar.vertices) - 1).abs().mean()) < 0.02


@BOTH
def test_failures_are_reported(method: Method) -> None:
    ball = up.icosphere(1)
    with pytest.raises(up.DataError, match="3 points are too few"):
        _last(method(ball, ball.vertices[:3]))
    with pytest.raises(up.DataError, match="different units"):
        _last(method(ball, 1000 * ball.vertices))
    with pytest.raises(up.DataError, match="align them first"):
        _last(method(ball, ball.vertices + 50))
    with pytest.raises(up.ArgumentError, match="has no faces"):
        _last(method(up.Mesh(vertices=ball.vertices, faces=ball.faces[:0]), ball.vertices))
    with pytest.raises(up.ArgumentError, match="stiffness and reach must be above 0"):
        _last(method(ball, ball.vertices, options=NonrigidOptions(stiffness=())))
    with pytest.raises(up.ArgumentError, match="NaN or infinite"):
        _last(method(ball, torch.full((9, 3), torch.nan)))
