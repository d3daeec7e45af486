"""How well a fitted mesh agrees with the scan it came from, and what kind of surface it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from ..geometry.intersect import self_intersections
from ..geometry.manifold import classify_surface
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.normals import face_normals
from ..geometry.point_index import build_index
from ..geometry.points import PointCloud
from ..geometry.query import closest_point
from ..geometry.sample import sample_surface
from ..geometry.topology import boundary_edges, mesh_topology
from .frame import scan_frame

_MOST_POINTS = 200_000


@dataclass(frozen=True, kw_only=True)
class FitQuality:
    """A fitted mesh against its scan. Lengths are in scene units. Noise and outliers of the scan count as distance.

    Attributes:
        chamfer: mean of the mean distances of scan points to the surface and of surface samples to scan points.
        f_score: harmonic mean of the shares closer than `threshold`.
        threshold: 1 % of the longest side, or twice the distance between neighbouring points where that is more.
        normal_consistency: mean |cosine| between the scan's normals and the surface's, or None without normals.
        scale: the scan's longest side.
        watertight, boundary_edges, genus, components, self_intersections: of the mesh; genus is None where it has none.
    """

    chamfer: float
    f_score: float
    threshold: float
    normal_consistency: float | None
    scale: float
    watertight: bool
    boundary_edges: int
    genus: int | None
    components: int
    self_intersections: int

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """By name, for JSON."""
        return asdict(self)


def fit_quality(points: PointCloud, mesh: Mesh, *, seed: int = 0) -> FitQuality:
    """Measure a fit. At most 200,000 points of the scan, evenly taken, and as many samples of the surface are used.

    Raises:
        DataError: a scan that spans no surface, or a mesh without area.
    """
    frame = scan_frame(points, where="fit_quality")
    scan = points[:: max(1, -(-points.point_count // _MOST_POINTS))]
    positions = frame.to_local(scan.positions)
    local = Mesh(vertices=frame.to_local(mesh.vertices), faces=mesh.faces)
    with torch.no_grad():
        there = closest_point(positions, local)
        samples = sample_surface(local, positions.shape[0], generator=torch.Generator().manual_seed(seed))
        index = build_index(positions)
        back = nearest(samples.positions, index).squared_distance.sqrt()
        spacing = float(knn(index, index, 1, exclude_self=True).squared_distance.sqrt().median())
        distance = there.squared_distance.sqrt()
        consistency = None
        if scan.normals is not None:
            given = torch.nn.functional.normalize(scan.normals.to(local.vertices), dim=1)
            cosine = (face_normals(local.vertices, local.faces)[there.face] * given).sum(1).abs()
            consistency = float(cosine.mean())
    topology = mesh_topology(mesh)
    kind = classify_surface(topology)
    threshold = max(0.01, 2 * spacing)
    precision, recall = float((back < threshold).double().mean()), float((distance < threshold).double().mean())
    return FitQuality(
        chamfer=0.5 * float(distance.mean() + back.mean()) * float(frame.scale),
        f_score=2 * precision * recall / max(precision + recall, 1e-12),
        normal_consistency=consistency,
        threshold=threshold * float(frame.scale),
        scale=float(frame.scale),
        watertight=kind.watertight,
        boundary_edges=len(boundary_edges(topology)),
        genus=kind.genus,
        components=kind.component_count,
        self_intersections=len(self_intersections(local)),
    )
