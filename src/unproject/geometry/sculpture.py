"""A sculpted sample: a small creature with thin ears, wings and legs, and a tail that is a handle. One closed surface of genus 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .mesh import Mesh
from .sdf import (
    Sdf,
    mesh_sdf,
    sdf_capsule,
    sdf_ellipsoid,
    sdf_mirrored,
    sdf_moved,
    sdf_smooth_difference,
    sdf_smooth_union,
    sdf_sphere,
    sdf_torus,
)


def sample_sculpture(*, resolution: int = 160, dtype: torch.dtype = torch.float32) -> Mesh:
    """The sculpture as a mesh: about 2 units long, z up, looking along x; `resolution` cells along it (160: 80,000 faces).

    It needs at least 96 cells to have its thin parts whole.
    """
    return mesh_sdf(sculpture_sdf(), (-1.2, -0.8, -0.95), (1.2, 0.8, 1.45), resolution=resolution, dtype=dtype)


def sculpture_sdf() -> Sdf:
    """The sculpture as a signed-distance function, for any other grid."""
    body = sdf_smooth_union(
        sdf_ellipsoid((0.0, 0.0, 0.0), (0.56, 0.42, 0.42)),
        sdf_ellipsoid((0.3, 0.0, 0.08), (0.32, 0.33, 0.34)),
        radius=0.15,
    )
    neck = sdf_smooth_union(
        sdf_capsule((0.34, 0, 0.2), (0.56, 0, 0.55), 0.2, 0.14), sdf_capsule((0.56, 0, 0.55), (0.58, 0, 0.85), 0.14, 0.12), radius=0.1
    )
    skull = sdf_smooth_union(
        sdf_ellipsoid((0.62, 0, 0.95), (0.22, 0.17, 0.17)), sdf_capsule((0.78, 0, 0.93), (1.06, 0, 0.82), 0.09, 0.025), radius=0.09
    )
    head = sdf_smooth_difference(skull, sdf_mirrored(sdf_sphere((0.73, 0.155, 1.0), 0.055), 1), radius=0.03)
    ear = sdf_moved(sdf_ellipsoid((0, 0, 0.16), (0.075, 0.026, 0.21)), _pose((0.54, 0.1, 1.06), pitch=-0.45, roll=-0.4))
    wing = sdf_moved(sdf_ellipsoid((-0.2, 0, 0.1), (0.4, 0.032, 0.17)), _pose((0.05, 0.42, 0.16), pitch=0.35, roll=-0.5))
    fore = sdf_smooth_union(
        sdf_capsule((0.32, 0.2, -0.1), (0.36, 0.24, -0.55), 0.12, 0.06),
        sdf_capsule((0.36, 0.24, -0.55), (0.34, 0.24, -0.82), 0.06, 0.055),
        sdf_ellipsoid((0.39, 0.24, -0.84), (0.13, 0.08, 0.05)),
        radius=0.05,
    )
    hind = sdf_smooth_union(
        sdf_ellipsoid((-0.3, 0.22, -0.2), (0.2, 0.13, 0.25)),
        sdf_capsule((-0.36, 0.25, -0.35), (-0.44, 0.26, -0.6), 0.09, 0.055),
        sdf_capsule((-0.44, 0.26, -0.6), (-0.36, 0.26, -0.82), 0.055, 0.05),
        sdf_ellipsoid((-0.31, 0.26, -0.84), (0.13, 0.08, 0.05)),
        radius=0.06,
    )
    tail = sdf_torus((-0.72, 0.0, 0.24), (0.0, 1.0, 0.0), 0.3, 0.06)
    pairs = sdf_mirrored(sdf_smooth_union(fore, hind, radius=0.05), 1)
    trunk = sdf_smooth_union(_carved(body), neck, head, pairs, tail, radius=0.1)
    return sdf_smooth_union(trunk, sdf_mirrored(ear, 1), sdf_mirrored(wing, 1), radius=0.04)


def _carved(body: Sdf) -> Sdf:
    """The body with shallow rings, finer detail than its shape."""

    def distance(p: Tensor) -> Tensor:
        fade = torch.sigmoid(14 * (p[..., 2] + 0.12))
        return body(p) + 0.012 * fade * torch.sin(26 * p[..., 0] + 4 * p[..., 2] ** 2)

    return distance


def _pose(position: tuple[float, float, float], *, pitch: float, roll: float) -> Tensor:
    """Rigid transform: roll about x, then pitch about y (radians), then a move."""
    cp, sp, cr, sr = math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll)
    about_y = torch.tensor([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = torch.tensor([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pose = torch.eye(4)
    pose[:3, :3] = about_y @ about_x
    pose[:3, 3] = torch.tensor(position)
    return pose
