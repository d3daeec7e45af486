"""The classic first loop: a sphere takes the shape of a mesh under Chamfer, edge, normal and Laplacian losses, with plain SGD."""

from __future__ import annotations

import time

import torch

import unproject as up


def main(quick: bool = False) -> None:
    target = up.torus(1.0, 0.45, segments=(64, 32))
    sphere = up.icosphere(2 if quick else 4)
    samples, steps = (500, 5) if quick else (5_000, 1_000)

    topology = up.mesh_topology(sphere)  # once: the losses would only find out the same again
    offsets = torch.zeros_like(sphere.vertices, requires_grad=True)
    optimizer = torch.optim.SGD([offsets], lr=1.0, momentum=0.9)
    target_points = up.sample_surface(target, samples).positions
    target_index = up.build_index(target_points)  # a search tree, reused while the target stays

    begin = time.perf_counter()
    for step in range(steps):
        optimizer.zero_grad()
        vertices = sphere.vertices + offsets
        found = up.sample_surface(up.Mesh(vertices=vertices, faces=sphere.faces), samples).positions
        losses = {
            "chamfer": 1.0 * up.chamfer_distance(found, target_index),
            "edge": 1.0 * up.edge_length_loss(vertices, topology),
            "normal": 0.01 * up.normal_consistency_loss(vertices, topology),
            "laplacian": 0.1 * up.laplacian_smoothing_loss(vertices, topology),
        }
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        if step % max(steps // 10, 1) == 0:
            print(f"{step:4d}  " + "  ".join(f"{name} {value.item():.5f}" for name, value in losses.items()))
    print(f"{1e3 * (time.perf_counter() - begin) / steps:.1f} ms a step")
    up.save(up.Mesh(vertices=(sphere.vertices + offsets).detach(), faces=sphere.faces), "fitted.obj")


if __name__ == "__main__":
    main()
