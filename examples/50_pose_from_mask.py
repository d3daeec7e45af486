"""The pose of a known object from one picture with a mask: no start is needed."""

import torch

import unproject as up
from unproject.geometry.join import join_meshes
from unproject.lie.so3 import so3_random
from unproject.pose.estimate import PoseInput, PoseOptions, estimate_pose
from unproject.pose.solve import SolverOptions


def painted_block() -> up.Mesh:
    """A block with a knob, in colours that differ from side to side."""
    parts = [up.box((1.0, 0.7, 0.4), segments=6), up.icosphere(2, radius=0.2)]
    knob = up.make_mesh(parts[1].vertices + torch.tensor([0.3, 0.1, 0.3]), parts[1].faces)
    whole = join_meshes([parts[0], knob])
    colors = 0.5 + 0.4 * torch.sin(whole.vertices @ torch.tensor([[4.0, 1, 2], [2.0, 5, 1], [1.0, 2, 6]]))
    return up.make_mesh(whole.vertices, whole.faces, vertex_colors=colors)


def main(quick: bool = False) -> None:
    mesh = painted_block()
    camera = up.perspective_camera(image_size=(180, 240), fov_y_deg=40.0)
    truth = torch.eye(4, dtype=torch.float64)
    truth[:3, :3] = so3_random((), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth[:3, 3] = torch.tensor([0.2, -0.1, 3.5])
    placed = up.make_mesh((mesh.vertices.double() @ truth[:3, :3].T + truth[:3, 3]).float(), mesh.faces, vertex_colors=mesh.vertex_colors)
    with torch.no_grad():
        picture = up.render_mesh(placed, camera)
    effort = SolverOptions(view_count=100, turn_count=12, kept=(60, 20, 8, 4)) if quick else SolverOptions()
    given = PoseInput(camera=camera, color=picture.color.clamp(0, 1), mask=picture.face >= 0)
    found = estimate_pose(mesh, given, options=PoseOptions(solver=effort))
    print("confidence", round(found.best.confidence, 2))
    print("true position", truth[:3, 3].tolist(), "found", found.camera_from_object[:3, 3].tolist())
    print("rotation error (matrix)", float((found.camera_from_object[:3, :3] - truth[:3, :3]).abs().max()))


if __name__ == "__main__":
    main()
