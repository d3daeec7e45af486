"""Fitting by deformation: a template takes the shape of a point cloud, coarse to fine, and keeps its topology.

Every step weighs named terms (points to surface, surface to points, Laplacian, normals, edges) and moves the vertices along their
gradient, solved with a matrix that knows what pulls each vertex (gauss_newton.py). The distance is to the surface, not to its vertices,
and only between parts that look the same way: the far side of a thin part does not pull. The weight of the Laplacian follows the noise
of the scan: it grows until the points lie about as far from the surface as they scatter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..geometry.bvh import build_bvh
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.normals import face_normals, vertex_normals
from ..geometry.pca import adaptive_normals, local_pca
from ..geometry.point_index import PointIndex, build_index
from ..geometry.points import PointCloud
from ..geometry.primitives import icosphere
from ..geometry.query import closest_point
from ..geometry.remesh import remesh_isotropic
from ..geometry.sample import sample_surface
from ..geometry.topology import Topology, make_topology
from ..geometry.untangle import tangled_pairs, untangle
from ..losses.robust import Penalty, geman_mcclure, squared
from ..losses.smoothness import edge_length_loss, laplacian_smoothing_loss, normal_consistency_loss
from ..struct import TensorStruct
from .frame import Frame, scan_frame
from .gauss_newton import SmoothnessMatrices, data_matrix, factorize, smoothness_matrices, smoothness_matrix
from .orient import orient_normals
from .outliers import find_inliers
from .scene import make_scene
from .step import FitStep

_COARSEST_EDGE = 0.16
_SHORTEST = 1e-3  # mean edges: shorter ones weigh no more
_SAG = 0.4  # of chords under arcs, times their squared length: a curvature of about three a longest side
_NOISE_PROBES, _NOISE_NEIGHBORS, _QUADRIC_TERMS = 4000, 32, 6


@dataclass(frozen=True, kw_only=True)
class DeformOptions:
    """How a template is deformed. Lengths are in units of the scan's longest side."""

    levels: int = 5
    """Resolutions from coarse to fine."""
    steps_per_level: int = 14
    """Steps at each resolution but the finest."""
    finest_steps: int = 11
    """Steps at the finest resolution, which begins near its end and is where nearly all of the time goes."""
    samples: int = 12_000
    """Points of the scan, and of the surface, in a step."""
    face_count: int = 40_000
    """Most faces of the result where the mesh is rebuilt along the way."""
    remesh: bool | None = None
    """Rebuild the mesh at each resolution. By default a sphere is rebuilt and a given template keeps its faces."""
    align: Literal["auto", "none", "box"] = "auto"
    """Move and scale the template's box onto the scan's: always, never, or when the boxes lie apart."""
    laplacian: float = 1.0
    """Weight of the Laplacian term, times what the noise asks for."""
    normals: float = 0.01
    """Weight of the normal consistency term."""
    edges: float = 0.02
    """Weight of the edge length term."""
    seed: int = 0
    """Seed of the samples."""


@dataclass(frozen=True)
class _Scan:
    """The scan in the frame of the fit: points, normals all on one side, how far points scatter and are apart."""

    positions: Tensor
    normals: Tensor
    index: PointIndex
    noise: float
    spacing: float


@dataclass(frozen=True)
class _Shape(TensorStruct):
    """What moves: the state of the loop.

    Attributes:
        vertices: [V, 3] now; faces: [F, 3]; rest: [V, 3] at the beginning of the level; weight: float64 [] of the Laplacian term.
    """

    vertices: Tensor
    faces: Tensor
    rest: Tensor
    weight: Tensor


@dataclass(frozen=True)
class _Level:
    """One resolution: what stays the same while its steps are done.

    A template whose details are kept has a rest state: lengths of its edges [E], and its Laplacian [V, 3] with weights [E] that fall with
    the length (short edges must not turn over when the surface around them stretches). `stiffening` makes a mesh that is finer than the
    level as smooth as one with the level's edges.
    """

    edge_length: float
    penalty: Penalty
    topology: Topology
    matrices: SmoothnessMatrices
    stiffening: float
    rest: tuple[Tensor, Tensor, Tensor] | None


def deform_mesh(
    points: PointCloud, template: Mesh | None = None, options: DeformOptions = DeformOptions(), *, resume: FitStep | None = None
) -> Iterator[FitStep]:
    """Deform a template to a scan.

    Args:
        points: the scan, any unit and place.
        template: any triangle mesh, near the scan; None for a sphere about it. The result has its topology, and its faces unless
            `options.remesh` says otherwise.
        resume: the step to go on behind.

    Yields:
        FitStep with the losses by name and the mesh in the frame of the scan.

    Raises:
        ArgumentError: NaN or infinite positions, a template without faces.
        DataError: fewer than 4 points, all in one place or on one line.
    """
    frame = scan_frame(points, where="deform_mesh")
    scan = _prepare(frame.to_local(points.positions))
    rebuilds = template is None if options.remesh is None else options.remesh
    lengths = _edge_lengths(scan, options)
    total = (options.levels - 1) * options.steps_per_level + options.finest_steps + 1
    shape = (
        _start(template, frame, options.align)
        if resume is None
        else _Shape(**{k: resume.state[k] for k in ("vertices", "faces", "rest", "weight")})
    )
    level: _Level | None = None
    for done in range(0 if resume is None else resume.index, total):
        number = min(done // options.steps_per_level, options.levels - 1)
        step = done - number * options.steps_per_level
        if done == total - 1:
            own = None if template is None or rebuilds else tangled_pairs(frame.to_local(template.vertices), shape.faces, unfold=True)
            vertices, tangled = untangle(shape.vertices, shape.faces, ignored=own, unfold=True)
            shape, losses = replace(shape, vertices=vertices), {"self-intersections": float(tangled)}
        else:
            if step == 0:
                shape, level = _refined(shape, lengths[number] if rebuilds else None), None
            if level is None:
                level = _make_level(shape, number, lengths[number], keep_details=not rebuilds)
            shape, losses = _step(shape, level, scan, options, seed=options.seed * 1_000_003 + done)
        stage = "untangle" if done == total - 1 else f"level {number + 1}"
        yield FitStep(
            stage=stage, index=done + 1, total=total, losses=losses,
            mesh=_in_world(shape, frame, points.positions.dtype, None if rebuilds else template),
            state={"vertices": shape.vertices, "faces": shape.faces, "rest": shape.rest.clone(), "weight": shape.weight},
        )  # fmt: skip


def _prepare(positions: Tensor) -> _Scan:
    """The points that belong to a surface, how they scatter about it, and the distance between neighbours."""
    positions = positions[find_inliers(positions)]
    index = build_index(positions)
    probes = positions[:: max(1, positions.shape[0] // 20_000)]
    seventh = min(6, positions.shape[0] - 1)
    reach = knn(probes, index, seventh + 1).squared_distance[:, seventh].clamp_min(0).sqrt()
    noise = _scatter(probes[:: max(1, len(probes) // _NOISE_PROBES)], index)
    spacing = max(float(reach.median()) / math.sqrt(2), 1e-4)
    return _Scan(positions=positions, normals=_directions(positions), index=index, noise=noise, spacing=spacing)


def _directions(positions: Tensor) -> Tensor:
    """Consistently oriented unit normals [N, 3], all out of the surface or all into it."""
    scene = make_scene(positions, resolution=None, where="deform_mesh")
    return orient_normals(positions, adaptive_normals(positions).normals, scene.neighbors, scene.areas)


def _scatter(probes: Tensor, index: PointIndex) -> float:
    """How far points lie off the quadrics that fit their neighbourhoods (trimmed root mean square, free of what the fit takes away).

    Planes would take the curvature for noise and, in small neighbourhoods, noise for slope.
    """
    count = min(_NOISE_NEIGHBORS, index.point_count)
    if count <= 2 * _QUADRIC_TERMS:
        return 0.0
    neighbors = knn(probes, index, count)
    plane = local_pca(index.points, neighbors)
    local = torch.einsum("nkc,nac->ank", (index.points[neighbors.index] - plane.mean[:, None]).double(), plane.axes.double())
    size = neighbors.squared_distance[:, -1:].double().sqrt().clamp_min(1e-12)
    height, x, y = local[0], local[1] / size, local[2] / size
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], 2)
    normal_matrix = terms.mT @ terms + 1e-9 * count * torch.eye(_QUADRIC_TERMS, dtype=torch.float64)
    quadric = torch.linalg.solve(normal_matrix, terms.mT @ height[..., None])
    residual = (height - (terms @ quadric)[..., 0]).flatten().square()
    return math.sqrt(_trimmed_mean(residual) * count / (count - _QUADRIC_TERMS))


def _edge_lengths(scan: _Scan, options: DeformOptions) -> list[float]:
    """Edge lengths of the levels, falling evenly to what the scan resolves and the face count allows."""
    area = min(scan.spacing**2 * scan.positions.shape[0], 6.0)
    finest = max(1.5 * scan.spacing, 1.5 * scan.noise, math.sqrt(area / (0.433 * options.face_count)))
    finest = min(finest, _COARSEST_EDGE / 2)
    ratio = (finest / _COARSEST_EDGE) ** (1 / max(options.levels - 1, 1))
    return [_COARSEST_EDGE * ratio**k for k in range(options.levels)]


def _start(template: Mesh | None, frame: Frame, align: str) -> _Shape:
    """The template in the frame of the fit, moved onto the scan's box if asked for or needed; without one, a sphere."""
    weight = torch.tensor(10.0, dtype=torch.float64)
    if template is None:
        sphere = icosphere(2, radius=0.5)
        return _Shape(vertices=sphere.vertices, faces=sphere.faces, rest=sphere.vertices.clone(), weight=weight)
    if template.face_count == 0:
        raise ArgumentError("deform_mesh: `template` has no faces")
    vertices = frame.to_local(template.vertices)
    used = vertices[template.faces.unique()]
    low, high = used.amin(0), used.amax(0)
    apart = bool((low > 0.5).any() or (high < -0.5).any()) or not 0.5 < float((high - low).max()) < 2
    if align == "box" or (align == "auto" and apart):
        vertices = (vertices - (low + high) / 2) / (high - low).max()
    return _Shape(vertices=vertices, faces=template.faces.clone(), rest=vertices.clone(), weight=weight)


def _refined(shape: _Shape, edge_length: float | None) -> _Shape:
    """The shape at the beginning of a level: rebuilt with edges of the given length, or with its faces; it is its own rest shape."""
    if edge_length is None:
        return replace(shape, rest=shape.vertices.clone())
    vertices, _ = untangle(shape.vertices, shape.faces, unfold=True)
    mesh = remesh_isotropic(Mesh(vertices=vertices, faces=shape.faces), edge_length)
    finer = (_mean_edge(shape.vertices, shape.faces) / _mean_edge(mesh.vertices, mesh.faces)) ** 4  # keeps the thin-plate energy
    return _Shape(vertices=mesh.vertices, faces=mesh.faces, rest=mesh.vertices.clone(), weight=(2 * finer * shape.weight).clamp(1e-2, 1e3))


def _make_level(shape: _Shape, number: int, edge_length: float, *, keep_details: bool) -> _Level:
    topology = make_topology(shape.faces, shape.vertices.shape[0])
    rest, weights = None, None
    if keep_details:
        i, j = topology.edges.T
        lengths = (shape.rest[i] - shape.rest[j]).norm(dim=1)
        weights = 1 / lengths.clamp_min(_SHORTEST * float(lengths.mean()))
        rest = (lengths, weights, _laplacian(shape.rest, topology, weights))
    return _Level(
        edge_length=edge_length,
        penalty=squared if number == 0 else geman_mcclure(3 * edge_length),
        topology=topology,
        matrices=smoothness_matrices(topology, weights),
        stiffening=(edge_length / _mean_edge(shape.rest, shape.faces)) ** 4,
        rest=rest,
    )


def _step(shape: _Shape, level: _Level, scan: _Scan, options: DeformOptions, *, seed: int) -> tuple[_Shape, dict[str, float]]:
    """One preconditioned step on all terms."""
    generator = torch.Generator().manual_seed(seed)
    topology, faces = level.topology, shape.faces
    vertices = shape.vertices.detach().requires_grad_()
    chosen = torch.randint(scan.positions.shape[0], (min(options.samples, scan.positions.shape[0]),), generator=generator)
    targets = scan.positions[chosen]
    there = closest_point(targets, (vertices, faces), bvh=build_bvh(shape.vertices, faces))
    samples = sample_surface(Mesh(vertices=vertices, faces=faces), options.samples, stratified=True, generator=generator)
    back = nearest(samples.positions, scan.index)
    here, seen = _same_side(face_normals(shape.vertices, faces), scan.normals, (there.face, chosen), (samples.faces, back.index))
    stiffness = float(shape.weight) * options.laplacian * level.stiffening
    lengths = _mean_edge(shape.vertices, faces) if level.rest is None else level.rest[0]
    terms = {
        "points to surface": (here * level.penalty(there.squared_distance)).mean(),
        "surface to points": (seen * level.penalty(back.squared_distance)).mean(),
        "Laplacian": stiffness * _bending(vertices, level),
        "normals": options.normals * level.edge_length**2 * normal_consistency_loss(vertices, topology),
        "edges": options.edges * edge_length_loss(vertices, topology, target=lengths),
    }
    (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), vertices)
    count = topology.vertex_count
    near = data_matrix(faces[there.face], there.barycentrics.detach(), here * _slope(level.penalty, there.squared_distance), count)
    far = data_matrix(faces[samples.faces], samples.barycentrics, seen * _slope(level.penalty, back.squared_distance), count)
    bending = torch.full((count,), (stiffness + 0.25 * options.normals) * 2 / count)
    solve = factorize(near + far + smoothness_matrix(level.matrices, bending, 2 * options.edges / max(topology.edge_count, 1)))
    move = -solve(gradient)
    moved = shape.vertices + move * min(1.0, 4 * level.edge_length / max(float(move.norm(dim=1).max()), 1e-30))
    sag = _SAG * max(_mean_edge(shape.vertices, faces), level.edge_length) ** 2
    weight = shape.weight * _correction(there.squared_distance.detach(), max(scan.noise, sag))
    return replace(shape, vertices=moved, weight=weight.clamp(1e-2, 1e4)), {name: float(value.detach()) for name, value in terms.items()}


def _same_side(normals: Tensor, scan_normals: Tensor, *pairs: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Weights of pairs (faces, points of the scan): 0 where the face looks the other way, as the far side of a thin part does.

    Which way the scan's normals point is what most pairs agree on.
    """
    cosines = [(normals[face] * scan_normals[point]).sum(1) for face, point in pairs]
    side = 1.0 if float(sum(cosine.sum() for cosine in cosines)) >= 0 else -1.0
    return [(side * cosine > 0).to(normals.dtype) for cosine in cosines]


def _correction(squared_distance: Tensor, expected: float) -> float:
    """Factor on the smoothness weight, so that the points come to lie as far from the surface as they scatter, or as flat faces allow."""
    return min(max((expected**2 / max(_trimmed_mean(squared_distance), 1e-14)) ** 4, 0.4), 2.5)


def _trimmed_mean(values: Tensor) -> float:
    """Mean without the largest fifth: outliers, corners, and parts that the surface has not reached."""
    kept = values.sort().values[: max(1, int(0.8 * len(values)))]
    return float(kept.double().mean())


def _slope(penalty: Penalty, squared_distance: Tensor) -> Tensor:
    """Weights of iteratively reweighted least squares: the slope of the penalty, times 2 / N of a mean of squares."""
    x = squared_distance.detach().requires_grad_()
    (slope,) = torch.autograd.grad(penalty(x).sum(), x)
    return slope * (2 / max(slope.shape[0], 1))


def _bending(vertices: Tensor, level: _Level) -> Tensor:
    if level.rest is None:
        return laplacian_smoothing_loss(vertices, level.topology, squared=True)
    _, weights, laplacian = level.rest
    return (_laplacian(vertices, level.topology, weights) - laplacian).square().sum(1).mean()


def _laplacian(vertices: Tensor, topology: Topology, weights: Tensor) -> Tensor:
    """[V, 3] each vertex minus the mean of its neighbours, weighted by the edges [E]."""
    i, j = topology.edges.T
    along = weights[:, None] * (vertices[i] - vertices[j])
    total = torch.zeros_like(vertices[:, 0]).index_add(0, i, weights).index_add(0, j, weights)
    return torch.zeros_like(vertices).index_add(0, i, along).index_add(0, j, -along) / total.clamp_min(1e-30)[:, None]


def _mean_edge(vertices: Tensor, faces: Tensor) -> float:
    corners = vertices[faces]
    return float((corners - corners.roll(1, dims=1)).norm(dim=2).mean())


def _in_world(shape: _Shape, frame: Frame, dtype: torch.dtype, template: Mesh | None) -> Mesh:
    """The shape in the frame of the scan, with normals; a template that keeps its faces keeps its other attributes, too."""
    vertices = frame.to_world(shape.vertices, dtype)
    normals = vertex_normals(shape.vertices, shape.faces).to(dtype)
    if template is None:
        return Mesh(vertices=vertices, faces=shape.faces, vertex_normals=normals)
    return replace(template, vertices=vertices, vertex_normals=normals, corner_normals=None)
