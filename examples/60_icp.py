"""Align two scans of a part from a rough start: four kinds of ICP, and how sure each is."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.scan import scan_mesh


def part() -> up.Mesh:
    """A block with a ball on it."""
    block, ball = up.box((1.0, 0.7, 0.4), segments=3), up.icosphere(3)
    vertices = torch.cat([block.vertices, 0.25 * ball.vertices + torch.tensor([0.2, 0.1, 0.25])])
    return up.Mesh(vertices=vertices, faces=torch.cat([block.faces, ball.faces + block.vertex_count]))


def main(quick: bool = False) -> None:
    points = 2000 if quick else 20_000
    truth = up.se3_exp(torch.tensor([0.05, -0.03, 0.04, 0.1, -0.05, 0.08], dtype=torch.float64))
    source = scan_mesh(part(), points=points, noise=0.003, seed=0)
    target = scan_mesh(part(), points=points, noise=0.003, seed=1)
    target = up.PointCloud(positions=up.se3_apply(truth.float(), target.positions))
    for method in ("point", "plane", "generalized"):
        found = up.icp(source, target, options=up.IcpOptions(method=method, max_distance=0.1))
        error = up.se3_log(found.target_from_source @ torch.linalg.inv(truth))
        deviation = found.covariance.diagonal().sqrt()
        print(f"{method:12s} rmse {found.rmse:.4f}  error {error[:3].norm():.5f}  expected {deviation[:3].norm():.5f}")


if __name__ == "__main__":
    main()
