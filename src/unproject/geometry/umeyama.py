"""Motions in closed form: from matched points (Umeyama), and one step from matched points with normals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape
from ..lie.rotations import nearest_rotation
from ..lie.se3 import affine_matrix, se3_exp


def umeyama(
    source: Float[Tensor, "... N 3"],
    target: Float[Tensor, "... N 3"],
    weights: Float[Tensor, "... N"] | None = None,
    *,
    with_scale: bool = False,
) -> Float[Tensor, "... 4 4"]:
    """target_from_source: the motion, or similarity, that moves matched points onto each other with the least weighted squared error.

    Args:
        source, target: [..., N, 3], row i of one belongs to row i of the other; leading dimensions broadcast.
        weights: [..., N], not negative; equal by default.
        with_scale: whether sizes may differ: the result is scale times rotation, and a translation.

    Returns:
        [..., 4, 4]. Where the points do not determine the rotation (fewer than three, or in a line), one of the best.

    Raises:
        ArgumentError: shapes, or weights that are negative.
        DataError: no points, weights that add up to zero, or with_scale and source points all in one place.

    Gradient: source, target and weights, to second order, also where singular values are equal; zero for a rotation that is not determined.
    Source: Umeyama 1991.
    """
    where = "umeyama"
    check_shape(source, [..., "N", 3], name="source", where=where)
    check_shape(target, [..., source.shape[-2], 3], name="target", where=where)
    if source.shape[-2] == 0:
        raise DataError(f"{where}: at least one pair of points is needed, three that are not in a line determine a motion")
    share = _shares(weights, source, where)
    source_mean, target_mean = (share * source).sum(-2), (share * target).sum(-2)
    x, y = source - source_mean[..., None, :], target - target_mean[..., None, :]
    correlation = (share * y).mT @ x
    rotation = nearest_rotation(correlation)
    linear = rotation
    if with_scale:
        spread = (share * x.square()).sum((-2, -1))
        if not bool((spread > 0).all()):
            raise DataError(f"{where}: the source points all lie in one place, which leaves no scale")
        scale = (rotation * correlation).sum((-2, -1)) / spread
        linear = scale[..., None, None] * rotation
    return affine_matrix(linear, target_mean - (linear @ source_mean[..., None])[..., 0])


def plane_step(
    source: Float[Tensor, "... N 3"],
    target: Float[Tensor, "... N 3"],
    normals: Float[Tensor, "... N 3"],
    weights: Float[Tensor, "... N"] | None = None,
) -> Float[Tensor, "... 4 4"]:
    """One Gauss-Newton step of point-to-plane alignment: the small motion that brings source points to the planes of their targets.

    Args:
        source, target, normals: [..., N, 3] matched rows; unit normals of the targets.
        weights: [..., N], not negative; equal by default.

    Returns:
        [..., 4, 4] rigid, to be applied on the left of the present pose: `pose = plane_step(pose p, q, n) @ pose`.

    Raises:
        ArgumentError: shapes, or weights that are negative.
        DataError: weights that add up to zero, or normals that leave a direction undetermined (all of them parallel, for one).

    Gradient: source, target, normals and weights. Source: Chen and Medioni 1992; Low 2004 for the linear system.
    """
    where = "plane_step"
    check_shape(source, [..., "N", 3], name="source", where=where)
    for name, value in (("target", target), ("normals", normals)):
        check_shape(value, [..., source.shape[-2], 3], name=name, where=where)
    share = _shares(weights, source, where)
    centre = (share * source).sum(-2)
    arm = source - centre[..., None, :]
    row = torch.cat([normals, torch.linalg.cross(arm, normals)], -1)
    distance = (normals * (source - target)).sum(-1, keepdim=True)
    matrix, vector = (share * row).mT @ row, (share * row).mT @ distance
    scale = matrix.detach().diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(matrix.dtype).tiny).rsqrt()
    condition = torch.linalg.eigvalsh(scale[..., None] * matrix.detach() * scale[..., None, :])
    if not bool((condition[..., 0] > 1e3 * torch.finfo(matrix.dtype).eps).all()):
        raise DataError(f"{where}: the normals leave a motion undetermined (a plane slides in itself, a sphere turns)")
    step = -torch.linalg.solve(matrix, vector)[..., 0]
    turn = se3_exp(step)
    shift = turn[..., :3, 3] + centre - (turn[..., :3, :3] @ centre[..., None])[..., 0]
    return affine_matrix(turn[..., :3, :3], shift)


def _shares(weights: Tensor | None, source: Tensor, where: str) -> Tensor:
    """Weights [..., N, 1] that add up to 1."""
    if weights is None:
        return source.new_full((source.shape[-2], 1), 1.0 / max(source.shape[-2], 1))
    check_shape(weights, [..., source.shape[-2]], name="weights", where=where)
    if bool((weights < 0).any()):
        raise ArgumentError(f"{where}: `weights` must not be negative")
    total = weights.sum(-1, keepdim=True)
    if not bool((total > 0).all()):
        raise DataError(f"{where}: the weights add up to zero")
    return (weights / total)[..., None]
