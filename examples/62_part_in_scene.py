"""Find a part in what a depth camera sees of it, among other things."""

from __future__ import annotations

import torch

import unproject as up


def part() -> up.Mesh:
    """A block with a ball on one corner."""
    block, ball = up.box((1.0, 0.6, 0.35), segments=3), up.icosphere(3)
    vertices = torch.cat([block.vertices, 0.22 * ball.vertices + torch.tensor([0.3, 0.15, 0.25])])
    return up.Mesh(vertices=vertices, faces=torch.cat([block.faces, ball.faces + block.vertex_count]))


def main(quick: bool = False) -> None:
    turn = torch.tensor([2.6, 0.4, 0.5], dtype=torch.float64)  # the ball is on the side that the camera sees
    truth = torch.eye(4, dtype=torch.float64)
    truth[:3, :3], truth[:3, 3] = up.so3_exp(turn), torch.tensor([0.1, -0.1, 4.0])
    model, wall = part(), up.box((4.0, 3.0, 0.1))
    there = up.se3_apply(truth.float(), model.vertices)
    vertices = torch.cat([wall.vertices + torch.tensor([0.0, 0.0, 5.0]), there])
    faces = torch.cat([wall.faces, model.faces + wall.vertex_count])
    camera = up.perspective_camera(image_size=(180, 240) if quick else (360, 480), fov_y_deg=45.0)
    depth = up.rasterize(vertices, faces, camera).depth
    scene = up.PointCloud(positions=up.unproject_depth(camera, depth)[depth > 0])
    for found in up.locate(model, scene, up.LocateOptions(min_score=0.4)):
        error = up.se3_log(found.scene_from_model @ torch.linalg.inv(truth))
        print(f"score {found.score:.2f}, error {error[:3].norm():.4f}, {len(found.alternatives)} alternatives, {found.depth}")


if __name__ == "__main__":
    main()
