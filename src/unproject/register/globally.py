"""Registration without a start: features, what most of their matches agree on, and a check that the result is no chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .consensus import consensus_motions, distinct, motions_in_rounds
from .features import flip_features, match_features, point_features
from .icp import IcpOptions, Method, align_shapes, nearest_points
from .result import Registration, frame_change, inner_motion
from .shape import Shape, make_shape, thin, voxel_for, with_normals
from .units import check_units

_AS_MUCH = 0.9  # of the best motion's share of matched points, and as near: an alternative


@dataclass(frozen=True, kw_only=True)
class GlobalOptions:
    """How shapes are registered without a start.

    Attributes:
        voxel: cube side to which both are thinned for the search, scene units; by default what leaves about 3,000 points.
        overlap: least share of the points, of the shape that overlaps more, that must lie on the other (normals count evenly).
        significance: how many times the agreement of shuffled matches the agreement of the matches must be.
        method, max_distance: of the refinement after the search, see `IcpOptions`.
    """

    voxel: float | None = None
    overlap: float = 0.1
    significance: float = 3.5
    method: Method = "plane"
    max_distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A motion that the search proposes, between shapes minus their origins.

    Attributes:
        motion: [4, 4] float64 target_from_source.
        agreement: matches that agree with it, over the most that agree on a motion when the matches are shuffled.
        overlap: share of the points of the shape that overlaps more, by which the other shape's surface goes on.
    """

    motion: Tensor
    agreement: float
    overlap: float


def register_global(source: PointCloud | Mesh, target: PointCloud | Mesh, options: GlobalOptions | None = None) -> Registration:
    """Align two overlapping shapes wherever they lie.

    Args:
        source: what is moved.
        target: where to. Normals of both are estimated if one has none; then their signs do not matter.

    Returns:
        The best motion, with `alternatives` where others fit as well.

    Raises:
        DataError: too few points; sizes that differ as units do (1000 times); or no motion that the shapes agree on, with what the
            best one had: they do not overlap enough, or are too smooth or too symmetric to tell.

    Source: Rusu et al. 2009 (features); Chen et al. 2022 (consensus); a shuffled null as in a-contrario methods (Desolneux et al. 2000).
    """
    options = options or GlobalOptions()
    shapes = make_shape(source, name="source", where="register_global"), make_shape(target, name="target", where="register_global")
    check_units(shapes[0].diameter, shapes[1].diameter, where="register_global")
    voxel = options.voxel or search_voxel(*shapes)
    small = thin(shapes[0], voxel), thin(shapes[1], voxel)
    candidates = propose(*small, voxel)
    best = candidates[0] if candidates else None
    if best is None or best.agreement < options.significance or best.overlap < options.overlap:
        found = "no motion at all" if best is None else (
            f"an agreement of {best.agreement:.2f} times chance ({options.significance} is asked for) and an overlap of "
            f"{100 * best.overlap:.0f} % ({100 * options.overlap:.0f} % is asked for)"
        )  # fmt: skip
        raise DataError(
            f"register_global: the shapes do not fit onto each other; the best try had {found}. They may not overlap enough, or be too "
            f"smooth to tell at voxels of {voxel:.4g}; a start for `icp`, or another `voxel`, may help"
        )
    refine = IcpOptions(method=options.method, max_distance=options.max_distance, voxels=(voxel, voxel / 2, 0.0))
    result = _finished(*shapes, best.motion, refine)
    return replace(result, alternatives=_alternatives(*shapes, result, candidates[1:], refine, voxel))


def _finished(source: Shape, target: Shape, motion: Tensor, refine: IcpOptions) -> Registration:
    """The registration that a motion of the search becomes at full resolution."""
    result = None
    for step in align_shapes(source, target, frame_change(motion, source.origin, target.origin), refine):
        result = step.registration or result
    assert result is not None
    return result


def _alternatives(
    source: Shape, target: Shape, best: Registration, others: list[Candidate], refine: IcpOptions, voxel: float
) -> tuple[Tensor, ...]:
    """Motions that fit as well as the best one and move the source elsewhere."""
    found: list[Registration] = [best]
    for candidate in others:
        try:
            one = _finished(source, target, candidate.motion, refine)
        except DataError:
            continue
        if one.fitness >= _AS_MUCH * best.fitness and one.rmse <= best.rmse / _AS_MUCH:
            found.append(one)
    inner = torch.stack([inner_motion(one.target_from_source, source.origin, target.origin) for one in found]).float()
    scores = torch.tensor([float(one is best) for one in found])
    return tuple(found[i].target_from_source for i in distinct(inner, scores, source.points, 2 * voxel).tolist()[1:])


def search_voxel(source: Shape, target: Shape) -> float:
    """A cube side that leaves about 3,000 points of the larger shape, but not less than 600 of the smaller one."""
    sides = [voxel_for(shape, 3000) for shape in (source, target)]
    smaller = source if sides[0] <= sides[1] else target
    return min(max(sides), voxel_for(smaller, 600))


def propose(source: Shape, target: Shape, voxel: float, *, refined: int = 8) -> list[Candidate]:
    """Motions of thinned shapes onto each other, best first."""
    oriented = source.oriented and target.oriented
    source, target = with_normals(source, k=14), with_normals(target, k=14)
    pairs = similar_points(source, target, 5 * voxel, oriented)
    before, after = source.points[pairs[:, 0]], target.points[pairs[:, 1]]
    motions, counts = motions_in_rounds(before, after, tolerance=1.5 * voxel)
    if len(motions) == 0:
        return []
    shuffled = torch.randperm(len(after), generator=torch.Generator().manual_seed(0))
    _, chance = consensus_motions(before, after[shuffled], tolerance=1.5 * voxel, seeds=60)
    null = max(float(chance[0]) if len(chance) else 0.0, 4.0)
    overlaps = torch.tensor([overlap(source, target, motion.double(), voxel) for motion in motions])
    order = (overlaps * counts.sqrt()).argsort(descending=True)[:refined]
    found = []
    options = IcpOptions(voxels=(0.0,), max_distance=2 * voxel, iterations=15)
    for i in order.tolist():
        motion = _refined(source, target, motions[i].double(), options)
        found.append(Candidate(motion=motion, agreement=float(counts[i]) / null, overlap=overlap(source, target, motion, voxel)))
    scores = torch.tensor([c.overlap * min(c.agreement, 4.0) ** 0.5 for c in found])
    kept = distinct(torch.stack([c.motion for c in found]).float(), scores, source.points, 2 * voxel)
    return [found[i] for i in kept.tolist()]


def similar_points(source: Shape, target: Shape, radius: float, oriented: bool) -> Tensor:
    """[C, 2] indices of points of thinned shapes around which the surfaces look alike."""
    assert source.normals is not None and target.normals is not None
    a = point_features(source.index, source.normals, radius, oriented=oriented)
    b = point_features(target.index, target.normals, radius, oriented=oriented)
    if not oriented:
        b = torch.cat([b, flip_features(b)])
    pairs, _ = match_features(a, b, k=2)
    pairs = torch.stack([pairs[:, 0], pairs[:, 1] % target.point_count], 1)
    return torch.unique(pairs, dim=0)


def overlap(source: Shape, target: Shape, motion: Tensor, voxel: float) -> float:
    """Share of the points, of the shape that overlaps more, on which the other shape lies with its normal along; normals count evenly.

    Evenly: a floor of many points must not outweigh the walls, which are what a wrong motion along the floor misses.
    """
    shares = []
    for first, second, pose in ((source, target, motion), (target, source, torch.linalg.inv(motion))):
        assert first.normals is not None and second.normals is not None
        squared, index = nearest_points(first.index, second.index, pose)
        turned = first.normals @ pose[:3, :3].float().T
        along = (turned * second.normals[index]).sum(1).abs() > 0.8
        weight = normal_weights(first.normals)
        hit = along & (squared <= (1.5 * voxel) ** 2)
        shares.append(float((weight * hit).sum() / weight.sum()))
    return max(shares)


def normal_weights(normals: Tensor) -> Tensor:
    """Weight of each normal: the inverse root of how many lie in its direction, sign aside."""
    main = normals.abs().argmax(1)
    turned = normals * normals.gather(1, main[:, None]).sign()
    cell = ((turned + 1) * 2.5).long().clamp(0, 4)
    code = (main * 5 + cell[:, 0]) * 25 + cell[:, 1] * 5 + cell[:, 2]
    return torch.bincount(code, minlength=375)[code].float().rsqrt()


def _refined(source: Shape, target: Shape, motion: Tensor, options: IcpOptions) -> Tensor:
    """A motion between thinned shapes after a few steps; as it was where nothing is near."""
    zero = torch.zeros(3, dtype=torch.float64)
    try:
        for step in align_shapes(replace(source, origin=zero), replace(target, origin=zero), motion, options):
            motion = step.target_from_source
    except DataError:
        pass
    return motion
