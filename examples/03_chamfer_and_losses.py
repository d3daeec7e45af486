"""Losses between points, meshes and themselves: what each option of them is for, and that all have gradients."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.normals import face_normals


def main(quick: bool = False) -> None:
    count = 300 if quick else 20_000
    mesh, other = up.icosphere(3), up.torus(0.8, 0.3)
    moving = mesh.vertices.clone().requires_grad_()
    own = up.sample_surface(up.Mesh(vertices=moving, faces=mesh.faces), count)
    x, y = own.positions, up.sample_surface(other, count)
    index = up.build_index(y.positions)  # the target stays: its tree is built once
    topology = up.mesh_topology(mesh)
    normals = face_normals(moving, mesh.faces)[own.faces], face_normals(other.vertices, other.faces)[y.faces]
    both = up.chamfer_terms(x, index, *normals)  # one search for two terms

    losses = {
        "Chamfer, squared": up.chamfer_distance(x, index),
        "Chamfer, distances": up.chamfer_distance(x, index, penalty=up.unsquared),
        "Chamfer, L1 norm": up.chamfer_distance(x, index, norm=1, penalty=up.unsquared),
        "Chamfer, robust to outliers": up.chamfer_distance(x, index, penalty=up.geman_mcclure(0.1)),
        "Chamfer, Huber": up.chamfer_distance(x, index, penalty=up.huber(0.05)),
        "Chamfer, weighted": up.chamfer_distance(x, index, x_weights=torch.rand(count)),
        "one-sided, for partial data": up.one_sided_chamfer_distance(index, x),
        "normals of neighbours": both.normals,
        "points to surface": up.point_to_mesh_distance(y.positions, (moving, mesh.faces)),
        "surface to points": up.mesh_to_point_distance((moving, mesh.faces), index),
        "edges": up.edge_length_loss(moving, topology),
        "edges near 0.1": up.edge_length_loss(moving, topology, target=0.1),
        "normal consistency": up.normal_consistency_loss(moving, topology),
        "Laplacian, uniform": up.laplacian_smoothing_loss(moving, topology),
        "Laplacian, cotangent": up.laplacian_smoothing_loss(moving, topology, weighting="cotangent"),
        "Laplacian, curvature": up.laplacian_smoothing_loss(moving, topology, weighting="curvature"),
    }
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, moving, retain_graph=True)
        print(f"{name:30s} {loss.item():10.5f}   largest gradient {float(gradient.norm(dim=1).max()):.2e}")

    metrics = up.surface_metrics(mesh, other, samples=count)
    print(f"metrics: Chamfer {metrics.chamfer:.4f}, F-score {metrics.f_score:.3f}, normals {metrics.normal_consistency:.3f}")
    print(f"Hausdorff {metrics.hausdorff:.3f}, without the farthest 0.1 %: {metrics.hausdorff_percentile:.3f}")


if __name__ == "__main__":
    main()
