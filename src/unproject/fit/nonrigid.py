"""Non-rigid registration: a template takes the shape of a scan and keeps its topology, with a stiffness that falls step by step.

Two ways that share matches and steps: `register_graph` moves the nodes of an embedded deformation (Sumner et al. 2007), which turns parts
well and keeps fine detail; `nonrigid_icp` has an affine motion a vertex (Amberg et al. 2007), which follows every detail of the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import block_diag, coo_matrix, csr_matrix, diags_array, hstack, identity, kron, vstack
from scipy.sparse.linalg import splu
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.normals import vertex_normals
from ..geometry.point_index import PointIndex, build_index
from ..geometry.points import PointCloud
from ..geometry.query import closest_point
from ..geometry.topology import mesh_topology
from ..struct import TensorStruct
from .deformation_graph import build_graph, deform_with_graph, edge_matrix, graph_matrix
from .landmarks import Landmarks, prepare_landmarks

_LARGEST_RATIO = 20.0  # of the sizes of scan and template before another unit is suspected
_PROBES = 2000  # points that tell the spacing
_VERTEX_STIFFNESS = 3.0  # of edges of the mesh beside edges of the graph: with less, noise folds faces
_POINT_DEVIATION = 0.01  # of the template's size: landmarks as exact as that weigh as much as all points
_SLIDE = 0.1  # how much a shift along the surface counts beside one across it
_ROTATION_WEIGHT = 0.1  # of the nodes' orthogonality beside the smoothness along their edges; 1 : 10 as in the paper


@dataclass(frozen=True, kw_only=True)
class NonrigidOptions:
    """How a template is registered."""

    stiffness: tuple[float, ...] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
    """Weights of the smoothness, from stiff to soft, beside the mean of the squared distances."""
    steps: int = 5
    """Steps at each stiffness."""
    samples: int = 4000
    """Most points of the scan in a step."""
    nodes: int = 150
    """Nodes of the deformation graph (`register_graph`)."""
    reach: float = 0.15
    """Distance beyond which matches hardly count, in sizes of the template, at the first stiffness; a fifth of it at the last."""
    two_sided: bool = True
    """Whether vertices of the template also look for the scan. It draws in what the scan does not have; vertices across a gap do not."""
    seed: int = 0
    """Seed of the choice of points."""


@dataclass(frozen=True, kw_only=True)
class NonrigidStep(TensorStruct):
    """One step: index from 1 to total, the stiffness, the mesh, and the root mean square distance of the scan's points before it."""

    index: int
    total: int
    stiffness: float
    rmse: float
    mesh: Mesh


@dataclass(frozen=True)
class _Scan:
    """Points in random order, float64 about the template's middle; their index; normals; landmarks (vertices, positions, deviation).

    size: the template's diagonal; spacing: the usual distance of neighbouring points.
    """

    points: Tensor
    normals: Tensor | None
    index: PointIndex
    size: float
    spacing: float
    landmarks: tuple[Tensor, Tensor, float] | None


@dataclass(frozen=True)
class _Rows:
    """Residuals: mixture [M, V] of the vertices less targets [M, 3]; weights [M] and directions [M, 3] (zero: all of them count alike)."""

    mixture: csr_matrix
    targets: np.ndarray
    weights: np.ndarray
    normals: np.ndarray
    rmse: float


def register_graph(
    template: Mesh, scan: PointCloud | Tensor, landmarks: Landmarks | None = None, *, options: NonrigidOptions = NonrigidOptions()
) -> Iterator[NonrigidStep]:
    """Deform a template to a scan by an embedded deformation graph, Gauss-Newton with a sparse solve.

    Args:
        template: near the scan (see `icp`, `register_global`), with faces.
        scan: the points; they may be noisy and partial. Normals, if it has them, reject matches with surfaces that face elsewhere.
        landmarks: vertices whose place is known.

    Yields:
        NonrigidStep; the last one has the result.

    Raises:
        ArgumentError: shapes, values that are not finite, options out of range.
        DataError: too few points, another unit, or no overlap.

    Source: Sumner, Schmid and Pauly 2007; Li, Sumner and Pauly 2008 for the scan in place of handles.
    """
    data, rest, middle = _prepare(template, scan, landmarks, options, "register_graph")
    graph = build_graph(replace(template, vertices=rest), options.nodes)
    spread, edges = graph_matrix(graph, rest), edge_matrix(graph)
    count = graph.node_count
    matrices = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    places = graph.nodes.clone()
    shift = 1 / max(len(graph.edges), 1)
    smooth = kron(identity(3), (edges.T @ edges) * shift, format="csr")
    vertices = rest
    for index, stiffness, reach in _schedule(options, data.size):
        rows = _matches(vertices, template.faces, data, reach, options)
        unknown = torch.cat([matrices, places[:, :, None]], 2).permute(1, 0, 2).reshape(-1).numpy()  # x, y, z of (a_1, a_2, a_3, g + t)
        matrix, vector = _normal_equations(rows, spread, unknown)
        off, slope = _orthogonality(matrices)
        turn = stiffness * _ROTATION_WEIGHT * data.size**2 / count
        matrix = matrix + stiffness * smooth + turn * (slope.T @ slope)
        vector = vector + stiffness * (smooth @ unknown) + turn * (slope.T @ off)
        moved = torch.from_numpy(unknown - _solve(matrix, vector)).view(3, count, 4).permute(1, 0, 2)
        matrices, places = moved[:, :, :3].contiguous(), moved[:, :, 3].contiguous()
        vertices = deform_with_graph(graph, rest, matrices, places - graph.nodes)
        yield _step(template, vertices + middle, index, options, stiffness, rows.rmse)


def nonrigid_icp(
    template: Mesh, scan: PointCloud | Tensor, landmarks: Landmarks | None = None, *, options: NonrigidOptions = NonrigidOptions()
) -> Iterator[NonrigidStep]:
    """Deform a template to a scan with an affine motion for each vertex, neighbours alike: every step is optimal for its matches.

    Arguments, results and errors as in `register_graph`. A step solves for 4 V unknowns, so it is for some thousand vertices.
    It pulls points to points: parts that turn far (more than about 30 degrees) or slide are better moved by `register_graph` first.

    Source: Amberg, Romdhani and Vetter 2007, "Optimal step nonrigid ICP algorithms for surface registration".
    """
    data, rest, middle = _prepare(template, scan, landmarks, options, "nonrigid_icp")
    topology = mesh_topology(template)
    count = len(rest)
    i, j = topology.edges.numpy().T
    ends = np.arange(len(i))
    difference = coo_matrix((np.r_[np.ones(len(i)), -np.ones(len(i))], (np.r_[ends, ends], np.r_[i, j])), shape=(len(i), count)).tocsr()
    # A motion is about the vertex itself: its linear part counts by the size of the shape, so that both are lengths.
    lengths = diags_array(np.array([data.size, data.size, data.size, 1.0]))
    smooth = kron(difference.T @ difference, lengths @ lengths, format="csr") / max(len(i), 1)
    arms = torch.cat([rest, torch.ones(count, 1, dtype=torch.float64)], 1).numpy()
    columns = 4 * np.arange(count)[:, None] + np.arange(4)
    spread = coo_matrix((arms.ravel(), (np.repeat(np.arange(count), 4), columns.ravel())), shape=(count, 4 * count)).tocsr()
    vertices = rest
    for index, stiffness, reach in _schedule(options, data.size):
        rows = _matches(vertices, template.faces, data, reach, options)
        mixed = rows.mixture @ spread
        matrix = mixed.T @ diags_array(rows.weights) @ mixed + _VERTEX_STIFFNESS * stiffness * smooth
        motion = _solve(matrix, mixed.T @ (rows.weights[:, None] * rows.targets))
        vertices = torch.from_numpy(spread @ motion)
        yield _step(template, vertices + middle, index, options, stiffness, rows.rmse)


def _schedule(options: NonrigidOptions, size: float) -> Iterator[tuple[int, float, float]]:
    """Index, stiffness and reach of every step."""
    levels = len(options.stiffness)
    for level, stiffness in enumerate(options.stiffness):
        reach = options.reach * size * 0.2 ** (level / max(levels - 1, 1))
        for step in range(options.steps):
            yield level * options.steps + step + 1, stiffness, reach


def _prepare(
    template: Mesh, scan: PointCloud | Tensor, landmarks: Landmarks | None, options: NonrigidOptions, where: str
) -> tuple[_Scan, Tensor, Tensor]:
    """The scan and the template's vertices about its middle in float64, and the middle."""
    check_shape(template.vertices, ["V", 3], name="template.vertices", where=where, finite=True)
    if template.face_count == 0:
        raise ArgumentError(f"{where}: `template` has no faces")
    if not options.stiffness or min(options.stiffness) <= 0 or options.steps < 1 or options.samples < 1 or not options.reach > 0:
        raise ArgumentError(f"{where}: stiffness and reach must be above 0, steps and samples at least 1, got {options}")
    cloud = scan if isinstance(scan, PointCloud) else PointCloud(positions=scan)
    points = check_shape(cloud.positions, ["N", 3], name="scan", where=where, finite=True).double()
    if len(points) < 4:
        raise DataError(f"{where}: {len(points)} points are too few, at least 4 are needed")
    middle = (template.vertices.amin(0) + template.vertices.amax(0)).double() / 2
    rest = template.vertices.detach().double() - middle
    size, extent = (float((p.amax(0) - p.amin(0)).norm()) for p in (rest, points))
    if not size / _LARGEST_RATIO < extent < size * _LARGEST_RATIO:
        raise DataError(f"{where}: the scan is {extent:.3g} across, the template {size:.3g}; are they in different units (mm and m)?")
    marks = prepare_landmarks(landmarks, vertex_count=len(rest), middle=middle, size=size, where=where)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(options.seed))
    points = (points - middle)[order]
    normals = None if cloud.normals is None else cloud.normals.double()[order]
    index = build_index(points.float())
    spacing = float(knn(points[:_PROBES].float(), index, 2).squared_distance[:, 1].median().sqrt())
    data = _Scan(points, normals, index, size, spacing, marks)
    first = closest_point(points[: options.samples].float(), (rest.float(), template.faces)).squared_distance
    if marks is None and not bool((first < (options.reach * size) ** 2).any()):
        raise DataError(f"{where}: no point of the scan lies within `reach` of the template; align them first (`icp`, `register_global`)")
    return data, rest, middle


def _matches(vertices: Tensor, faces: Tensor, scan: _Scan, reach: float, options: NonrigidOptions) -> _Rows:
    """Closest places of the surface to the scan's points and, if asked for, of the scan to the vertices; and the landmarks."""
    count = len(vertices)
    points = scan.points[: options.samples]
    hit = closest_point(points.float(), (vertices.float(), faces))
    normals = vertex_normals(vertices, faces)
    there = faces[hit.face]
    facing = torch.nn.functional.normalize((normals[there] * hit.barycentrics.double()[..., None]).sum(1), dim=1)
    squared = hit.squared_distance.double()
    weight = (1 + squared / reach**2) ** -2
    if scan.normals is not None:
        weight = weight * ((scan.normals[: options.samples] * facing).sum(1).abs() > 0.3)
    rows, columns = np.repeat(np.arange(len(points)), 3), there.numpy().ravel()
    parts = [csr_matrix((hit.barycentrics.double().numpy().ravel(), (rows, columns)), shape=(len(points), count))]
    targets, weights, directions = [points], [weight / len(points)], [facing]
    if options.two_sided:
        back = nearest(vertices.float(), scan.index)
        near = (1 + back.squared_distance.double() / reach**2) ** -2 * _mutual(vertices, faces, scan.points[back.index], scan.spacing)
        if scan.normals is not None:
            near = near * ((scan.normals[back.index] * normals).sum(1).abs() > 0.3)
        parts.append(csr_matrix(identity(count)))
        targets, weights, directions = [*targets, scan.points[back.index]], [*weights, near / count], [*directions, normals]
    if scan.landmarks is not None:
        index, positions, deviation = scan.landmarks
        number = len(index)
        parts.append(csr_matrix((np.ones(number), (np.arange(number), index.numpy())), shape=(number, count)))
        certainty = (_POINT_DEVIATION * scan.size / deviation) ** 2
        weights = [*weights, torch.full((number,), certainty / number, dtype=torch.float64)]
        targets, directions = [*targets, positions], [*directions, torch.zeros(number, 3, dtype=torch.float64)]
    joined = [torch.cat(values).numpy() for values in (targets, weights, directions)]
    return _Rows(csr_matrix(vstack(parts)), joined[0], joined[1], joined[2], float(squared.mean().sqrt()))


def _mutual(vertices: Tensor, faces: Tensor, found: Tensor, spacing: float) -> Tensor:
    """Which vertices [V] are about where the points that they found are closest to the surface. Others look across a gap of the scan."""
    place = closest_point(found.float(), (vertices.float(), faces)).point.double()
    return (place - vertices).norm(dim=1) < 0.5 * (found - vertices).norm(dim=1) + spacing


def _normal_equations(rows: _Rows, spread: csr_matrix, unknown: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """J^T W J and J^T W r of the matches for unknowns [3 * 4 N], coordinate by coordinate: planes, and a little of the points."""
    mixed = rows.mixture @ spread
    off = mixed @ unknown.reshape(3, -1).T - rows.targets
    plain = np.where((rows.normals**2).sum(1) > 0, _SLIDE, 1.0) * rows.weights
    across = hstack([diags_array(rows.normals[:, axis]) @ mixed for axis in range(3)], format="csr")
    height = (rows.normals * off).sum(1) * (1 - _SLIDE) * rows.weights
    pull = mixed.T @ (plain[:, None] * off)
    matrix = across.T @ diags_array((1 - _SLIDE) * rows.weights) @ across + block_diag([mixed.T @ diags_array(plain) @ mixed] * 3)
    return csr_matrix(matrix), across.T @ height + pull.T.ravel()


def _orthogonality(matrices: Tensor) -> tuple[np.ndarray, csr_matrix]:
    """How far the nodes' matrices are from rotations, six numbers each (eq. 4 of the paper), and the derivatives [6 N, 3 * 4 N]."""
    count = len(matrices)
    columns = matrices.unbind(2)
    values, rows, places, entries = [], [], [], []
    node = torch.arange(count)
    for number, (a, b) in enumerate(((0, 1), (0, 2), (1, 2), (0, 0), (1, 1), (2, 2))):
        values.append((columns[a] * columns[b]).sum(1) - float(a == b))
        for axis in range(3):
            for by, other in ((a, b), (b, a)):
                rows.append(6 * node + number)
                places.append(4 * count * axis + 4 * node + by)
                entries.append(columns[other][:, axis])
    index = (torch.cat(rows).numpy(), torch.cat(places).numpy())
    slope = csr_matrix((torch.cat(entries).numpy(), index), shape=(6 * count, 12 * count))
    return torch.stack(values, 1).flatten().numpy(), slope


def _solve(matrix: csr_matrix, vector: np.ndarray) -> np.ndarray:
    """The solution of a symmetric positive system; what nothing holds moves little."""
    damping = 1e-9 * max(float(matrix.diagonal().mean()), 1e-30)
    system = (matrix + damping * identity(len(vector), format="csr")).tocsc()
    return splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}).solve(vector)


def _step(template: Mesh, vertices: Tensor, index: int, options: NonrigidOptions, stiffness: float, rmse: float) -> NonrigidStep:
    mesh = replace(template, vertices=vertices.to(template.vertices), vertex_normals=None, corner_normals=None)
    return NonrigidStep(index=index, total=len(options.stiffness) * options.steps, stiffness=stiffness, rmse=rmse, mesh=mesh)
