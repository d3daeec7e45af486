"""Fit a surface to a noisy scan: the loop yields steps, whoever runs it prints, draws or stops."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    truth = up.icosphere(3) if quick else up.sample_sculpture()
    scan = up.scan_mesh(truth, points=2_000 if quick else 50_000, views=12, noise=0.005, outliers=0.01)

    step = None
    for step in up.fit_mesh(scan):
        losses = "  ".join(f"{name} {value:.3g}" for name, value in step.losses.items())
        print(f"{step.index:3d}/{step.total}  {step.stage:12s} {losses}")
    assert step is not None and step.mesh is not None
    up.save(step.mesh, "surface.ply")

    quality = up.surface_metrics(step.mesh, truth, samples=20_000)
    side = float((truth.vertices.amax(0) - truth.vertices.amin(0)).max())
    print(f"Chamfer {100 * quality.chamfer / side:.3f} % of the longest side, F-score {quality.f_score:.4f}")
    print(f"normal consistency {quality.normal_consistency:.4f}, watertight: {up.is_watertight(up.mesh_topology(step.mesh))}")
    print(f"{step.mesh.vertex_count:,} vertices in surface.ply, largest coordinate {float(step.mesh.vertices.abs().max()):.3f}")
    assert bool(torch.isfinite(step.mesh.vertices).all())


if __name__ == "__main__":
    main()
