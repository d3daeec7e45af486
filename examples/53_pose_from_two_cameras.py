"""Two cameras see more than one: of a few coarse pixels, an outline tells the distance badly; a second one beside it tells it better."""

import torch

import unproject as up
from unproject.geometry.join import join_meshes
from unproject.pose.estimate import PoseInput, PoseOptions, estimate_pose
from unproject.pose.solve import SolverOptions


def main(quick: bool = False) -> None:
    mesh = join_meshes(
        [up.box((1.0, 0.3, 0.5)), up.make_mesh(up.box((0.3, 0.7, 0.2)).vertices + torch.tensor([0.3, 0.3, 0.1]), up.box().faces)]
    )
    truth = torch.eye(4, dtype=torch.float64)
    truth[:3, :3] = up.so3_exp(torch.tensor([0.5, -0.4, 0.3], dtype=torch.float64))
    truth[2, 3] = 5.0
    right = torch.eye(4)
    right[:3, :3] = up.so3_exp(torch.tensor([0.0, 0.6, 0.0]))
    right[:3, 3] = torch.tensor([-2.8, 0.0, 0.9])
    effort = SolverOptions(view_count=100, turn_count=12, kept=(60, 20, 8, 4)) if quick else SolverOptions()
    given = []
    for pose in (torch.eye(4), right):
        camera = up.perspective_camera(image_size=(36, 48), fov_y_deg=30.0, camera_from_world=pose)
        placed = (mesh.vertices.double() @ truth[:3, :3].T + truth[:3, 3]).float()
        given.append(PoseInput(camera=camera, mask=up.silhouette(placed, mesh.faces, camera).detach().round()))
    for count in (1, 2):
        found = estimate_pose(mesh, given[:count], options=PoseOptions(solver=effort))
        error = (found.candidates[0].camera_from_object[:3, 3] - truth[:3, 3]).norm()
        print(f"{count} camera(s): position {float(error):.3f} off, confidence {found.best.confidence:.2f}")


if __name__ == "__main__":
    main()
