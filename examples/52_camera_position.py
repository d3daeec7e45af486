"""The position of a camera that looks at an object, from its outline and a rough start (as in tutorials of differentiable rendering)."""

import unproject as up
from unproject.geometry.join import join_meshes
from unproject.pose.estimate import PoseInput, PoseOptions, estimate_pose
from unproject.pose.refine import STARTING_WEIGHTS
from unproject.pose.solve import SolverOptions


def main(quick: bool = False) -> None:
    mesh = join_meshes([up.icosphere(3, radius=0.6), up.box((1.6, 0.2, 0.3)), up.box((0.2, 1.2, 0.2))])
    truth, start = (
        up.orbit(azimuth, elevation, distance).double() for azimuth, elevation, distance in ((35.0, 20.0, 4.0), (10.0, 35.0, 4.8))
    )
    camera = up.perspective_camera(image_size=(128, 128), fov_y_deg=35.0)
    placed = (mesh.vertices.double() @ truth[:3, :3].T + truth[:3, 3]).float()
    outline = up.silhouette(placed, mesh.faces, camera).detach()
    effort = SolverOptions(view_count=100 if quick else 400)
    options = PoseOptions(position_only=True, start_angle_deg=0.0, weights=STARTING_WEIGHTS, solver=effort)
    found = estimate_pose(mesh, PoseInput(camera=camera, mask=outline), start=start, options=options).camera_from_object
    place = lambda pose: (-pose[:3, :3].T @ pose[:3, 3]).tolist()
    print(
        "camera at",
        [round(v, 2) for v in place(found)],
        "truth",
        [round(v, 2) for v in place(truth)],
        "start",
        [round(v, 2) for v in place(start)],
    )


if __name__ == "__main__":
    main()
