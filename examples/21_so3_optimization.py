"""Find a rotation by gradient steps on SO(3): a step is a vector, the retraction is the exponential map."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    truth = up.so3_exp(torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64))
    target = points @ truth.mT
    rotation = torch.eye(3, dtype=torch.float64)
    for step in range(5 if quick else 101):
        omega = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        loss = (points @ (rotation @ up.so3_exp(omega)).mT - target).square().mean()
        (gradient,) = torch.autograd.grad(loss, omega)
        rotation = (rotation @ up.so3_exp(-0.3 * gradient)).detach()
        if step % 20 == 0:
            angle = up.so3_log(rotation.mT @ truth).norm().rad2deg()
            print(f"step {step:3d}  loss {float(loss.detach()):.2e}  {float(angle):.6f} degrees off")


if __name__ == "__main__":
    main()
