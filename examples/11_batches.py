"""Meshes of different sizes in one ragged batch: operators, padding, and back."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    level = 1 if quick else 4
    batch = up.batch_meshes([up.icosphere(level), up.torus(), up.box(segments=3)])
    print(f"{len(batch)} meshes, {batch.vertex_count} vertices, offsets {batch.vertex_offsets.tolist()}")
    samples = up.sample_surface(batch, 100)
    for i, mesh in enumerate(up.split_meshes(batch)):
        points = samples.positions[samples.offsets[i] : samples.offsets[i + 1]]
        print(f"mesh {i}: {mesh.face_count} faces, samples about {points.mean(0).tolist()}")
    again = up.unpad_meshes(up.pad_meshes(batch))
    assert torch.equal(again.vertices, batch.vertices)


if __name__ == "__main__":
    main()
