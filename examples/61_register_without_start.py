"""Align two partial scans wherever they lie, and refuse two that do not belong together."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.scan import scan_mesh
from unproject.lie.se3 import se3_random


def part() -> up.Mesh:
    """An angle bracket with a ball on it: no symmetry."""
    pieces = [(up.box((1.0, 0.6, 0.15), segments=4), (0.0, 0.0, 0.0)), (up.box((0.15, 0.6, 0.7), segments=4), (-0.45, 0.0, 0.35))]
    ball = up.icosphere(2)
    pieces.append((up.Mesh(vertices=0.2 * ball.vertices, faces=ball.faces), (0.3, 0.15, 0.1)))
    starts = [0, *torch.tensor([mesh.vertex_count for mesh, _ in pieces]).cumsum(0).tolist()]
    vertices = torch.cat([mesh.vertices + torch.tensor(shift) for mesh, shift in pieces])
    return up.Mesh(vertices=vertices, faces=torch.cat([mesh.faces + start for (mesh, _), start in zip(pieces, starts)]))


def main(quick: bool = False) -> None:
    scan = scan_mesh(part(), points=5000 if quick else 30_000, noise=0.002).positions
    first, second = scan[scan[:, 0] < 0.3], scan[scan[:, 0] > -0.4]
    motion = se3_random(extent=3.0)
    found = up.register_global(up.PointCloud(positions=up.se3_apply(motion, first)), up.PointCloud(positions=second))
    error = up.se3_log(found.target_from_source @ motion.double())
    print(f"overlap {100 * found.fitness:.0f} %, error {error[:3].norm():.4f} and {torch.rad2deg(error[3:].norm()):.3f} degrees")
    try:
        up.register_global(up.PointCloud(positions=first), up.sample_points(up.torus(0.5, 0.2), 3000))
    except up.DataError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()
