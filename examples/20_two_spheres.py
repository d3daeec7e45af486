"""Recover the centres of two spheres from one image, though one hides part of the other."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    pose = up.look_at(torch.tensor([0.0, 0, 3]), torch.zeros(3))
    camera = up.perspective_camera(pose, image_size=(48, 48), fov_y_deg=45.0)
    colors = torch.tensor([[1.0, 0.2, 0.2], [0.2, 0.3, 1.0]])

    def render(centers: torch.Tensor) -> torch.Tensor:
        image = up.splat(centers, 0.45, colors, camera, spheres=True, edge_px=6.0, gamma=3e-2, depth_range=(1.0, 5.0))
        return up.over(image.values, image.alpha, 0.0)

    truth = torch.tensor([[0.15, 0.1, 0.6], [-0.2, -0.1, -0.3]])
    target = render(truth)
    centers = (truth + torch.tensor([[0.2, -0.25, -0.15], [-0.25, 0.2, 0.2]])).requires_grad_()
    optimizer = torch.optim.Adam([centers], lr=0.02)
    for step in range(5 if quick else 401):
        optimizer.zero_grad()
        loss = (render(centers) - target).square().mean()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3d}  loss {float(loss.detach()):.2e}  largest error {float((centers.detach() - truth).abs().max()):.4f}")


if __name__ == "__main__":
    main()
