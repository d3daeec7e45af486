"""Even samples, Poisson-disk samples, subdivision, decimation and remeshing of one surface."""

from __future__ import annotations

import unproject as up


def smallest_gap(points: up.SurfaceSamples) -> float:
    index = up.build_index(points.positions)
    return float(up.knn(index, index, 2).squared_distance[:, 1].min().sqrt())


def main(quick: bool = False) -> None:
    mesh, count = up.torus(), 200 if quick else 5000
    print(f"smallest gap, uniform {smallest_gap(up.sample_surface(mesh, count)):.4f}")
    print(f"smallest gap, Poisson disk {smallest_gap(up.sample_poisson_disk(mesh, count)):.4f}")
    print(f"Loop subdivision: {up.subdivide_loop(mesh).face_count} faces")
    print(f"decimated: {up.decimate(mesh, mesh.face_count // 4).face_count} faces")
    print(f"remeshed: {up.remesh_isotropic(mesh, 0.1).face_count} faces")


if __name__ == "__main__":
    main()
