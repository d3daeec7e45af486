"""Questions to points and meshes: neighbours, radius, farthest points; closest points, rays, inside or outside. Trees are built once."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    count = 500 if quick else 100_000
    mesh = up.torus(1.0, 0.4, segments=(64, 32))
    points = up.sample_surface(mesh, count).positions

    index = up.build_index(points)
    neighbors = up.knn(index, index, 8, exclude_self=True)
    print(f"distance to the 8th neighbour: {float(neighbors.squared_distance[:, -1].sqrt().median()):.4f}")
    within = up.radius_search(points[:100], index, 0.1)  # ragged: as many as there are
    print(f"points within 0.1: {int(within.offsets.diff().min())} to {int(within.offsets.diff().max())}")
    ball = up.ball_query(points[:100], index, 0.1, k=16)  # a fixed number, [100, 16]
    print(f"ball query {list(ball.index.shape)}, farthest points {up.farthest_points(points, 50)[:5].tolist()} ...")

    tree = up.build_bvh(mesh.vertices, mesh.faces)
    queries = (2 * torch.rand(count, 3) - 1).requires_grad_()
    closest = up.closest_point(queries, mesh, bvh=tree)
    closest.squared_distance.sum().backward()  # also with respect to the mesh's vertices
    print(f"closest: face {int(closest.face[0])}, barycentrics {[round(v, 3) for v in closest.barycentrics[0].tolist()]}")
    distance = up.signed_distance(queries.detach(), mesh, bvh=tree)
    print(f"inside the torus: {float((distance < 0).float().mean()):.1%} of a cube")

    origins, directions = torch.tensor([[0.0, 0.0, 3.0]]).expand(count, 3), torch.randn(count, 3) - torch.tensor([0.0, 0.0, 3.0])
    hits = up.ray_cast(origins, directions, mesh, bvh=tree)
    print(f"rays that hit: {float((hits.face >= 0).float().mean()):.1%}")

    moved = mesh.vertices * torch.tensor([1.0, 1.0, 1.2])
    refitted = up.refit(tree, moved)  # the same tree over moved vertices: cheaper than a new one
    distance = up.signed_distance(queries.detach(), (moved, mesh.faces), bvh=refitted)
    print(f"inside the stretched torus: {float((distance < 0).float().mean()):.1%}")


if __name__ == "__main__":
    main()
