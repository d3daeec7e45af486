"""An outline alone may fit two poses: the estimator lists both, and says so in its confidence."""

import torch

import unproject as up
from unproject.geometry.join import join_meshes
from unproject.pose.estimate import PoseInput, PoseOptions, estimate_pose
from unproject.pose.solve import SolverOptions


def main(quick: bool = False) -> None:
    wedge = join_meshes(
        [up.box((1.0, 0.3, 0.5)), up.make_mesh(up.box((0.3, 0.6, 0.5)).vertices + torch.tensor([0.3, 0.4, 0.0]), up.box().faces)]
    )
    camera = up.perspective_camera(image_size=(160, 160), fov_y_deg=15.0)
    truth = torch.eye(4, dtype=torch.float64)
    truth[:3, :3] = up.so3_exp(torch.tensor([0.4, 0.7, 0.2], dtype=torch.float64))
    truth[2, 3] = 7.0
    placed = (wedge.vertices.double() @ truth[:3, :3].T + truth[:3, 3]).float()
    outline = up.silhouette(placed, wedge.faces, camera)
    effort = SolverOptions(view_count=100, turn_count=12, kept=(60, 20, 8, 4)) if quick else SolverOptions()
    found = estimate_pose(wedge, PoseInput(camera=camera, mask=outline.detach()), options=PoseOptions(solver=effort))
    for candidate in found.candidates:
        angle = torch.rad2deg(up.so3_log(candidate.camera_from_object[:3, :3].T @ truth[:3, :3]).norm())
        print(f"confidence {candidate.confidence:.2f}, cost {candidate.cost:.3f}, {float(angle):.1f} degrees from the truth")


if __name__ == "__main__":
    main()
