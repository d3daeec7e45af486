"""Fit a face model to a scan of its front: pose, identity and expression, then what no model holds by non-rigid registration."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.scan import scan_mesh


def front_scan(model: up.LinearModel, points: int) -> tuple[up.Mesh, up.PointCloud]:
    """Somebody's head, turned and smiling, with a bump that the model knows nothing of; and a noisy scan of the front of it."""
    generator = torch.Generator().manual_seed(7)
    identity = torch.randn(model.identity_count, generator=generator)
    smile = torch.tensor([1.5, 0.0, 0.5, 0.0])
    shape = up.pose_model(model, identity, smile)
    place = model.mean.new_tensor([0.3, -0.1, 0.75])
    bump = torch.exp(-(model.mean - place).square().sum(1) / (2 * 0.12**2))
    shape = shape + bump[:, None] * model.mean.new_tensor([0.03, 0.0, 0.06])
    turn = up.so3_exp(torch.tensor([0.2, 0.6, -0.1]))
    head = up.Mesh(vertices=shape @ turn.T + torch.tensor([3.0, 1.0, -2.0]), faces=model.faces)
    scan = scan_mesh(head, points=points, views=12, noise=0.001)
    seen = (scan.positions - head.vertices.mean(0)) @ turn[:, 2] > -0.1
    return head, up.PointCloud(positions=scan.positions[seen])


def main(quick: bool = False) -> None:
    model = up.sample_face_model(level=2 if quick else 4)
    head, scan = front_scan(model, 3000 if quick else 20_000)
    index = torch.tensor([model.landmarks[name] for name in ("nose", "chin", "left eye", "right eye")])
    marks = up.Landmarks(vertices=index, positions=head.vertices[index], deviation=0.02)
    step = None
    for step in up.fit_model(scan, model, marks):
        if step.index % 8 == 0:
            print(f"{step.stage:7s} {step.index:3d}/{step.total}  points scatter {step.scatter:.4f}")
    assert step is not None
    print("identity", [round(x, 2) for x in step.identity.tolist()])
    print("known to", [round(x, 2) for x in step.covariance.diagonal()[6 : 6 + model.identity_count].sqrt().tolist()])
    fitted = step.mesh.to(torch.float32)
    finer = fitted
    options = up.NonrigidOptions(steps=2 if quick else 5)
    for bent in up.register_graph(fitted, scan, options=options):
        finer = bent.mesh
    for name, mesh in (("model", fitted), ("model, then graph", finer)):
        distance = up.closest_point(scan.positions, mesh).squared_distance.mean().sqrt()
        print(f"{name:18s} points lie {float(distance):.4f} from it")
    up.save(finer, "head.ply", overwrite=True)


if __name__ == "__main__":
    main()
