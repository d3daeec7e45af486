"""Look through a lens: measure its distortion from a depth image by ray tracing; and look through an object, layer by layer."""

from __future__ import annotations

from itertools import islice

import torch

import unproject as up


def main(quick: bool = False) -> None:
    mesh = up.torus(1.0, 0.4)
    pose = up.look_at(torch.tensor([0.5, 1.5, 2.0]), torch.zeros(3))

    # Rays bend where the lens bends them, and gradients reach its coefficient.
    def depth(k1: torch.Tensor) -> torch.Tensor:
        lens = torch.cat([k1, torch.zeros(4)])
        camera = up.make_camera([60.0, 60.0, 32.0, 24.0], pose, image_size=(48, 64), distortion=lens)
        return up.raytrace(mesh.vertices, mesh.faces, camera).depth

    target = depth(torch.tensor([-0.25]))
    k1 = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([k1], lr=0.01)
    for step in range(5 if quick else 101):
        optimizer.zero_grad()
        seen = depth(k1)
        both = (seen > 0) & (target > 0)  # which pixels show the mesh is held fixed
        loss = (seen - target)[both].abs().mean()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:3d}  depth off by {float(loss.detach()):.4f}  k1 {float(k1.detach()):+.3f} (-0.250)")

    # How much of the ring lies behind each pixel: every second layer leaves it again.
    camera = up.perspective_camera(pose, image_size=(48, 64), fov_y_deg=45.0)
    thickness = torch.zeros(48, 64)
    for number, layer in enumerate(islice(up.peel(mesh.vertices, mesh.faces, camera), 8)):
        thickness += layer.depth if number % 2 else -layer.depth
    print(f"thickest place along the view: {float(thickness.max()):.2f} scene units of depth")


if __name__ == "__main__":
    main()
