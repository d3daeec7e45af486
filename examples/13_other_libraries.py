"""A mesh to trimesh, NumPy and SciPy, and back."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    mesh = up.icosphere(1 if quick else 4)
    shown = up.to_trimesh(mesh)
    print(f"trimesh: volume {shown.volume:.4f}")
    back = up.from_trimesh(shown)
    assert isinstance(back, up.Mesh) and torch.equal(back.vertices, mesh.vertices)
    print("NumPy:", {name: array.shape for name, array in up.to_numpy(mesh).items()})
    matrix = up.to_scipy(up.cotangent_laplacian(mesh.vertices, up.mesh_topology(mesh)))
    print(f"SciPy: {matrix.shape[0]} rows, {matrix.nnz} entries")


if __name__ == "__main__":
    main()
