"""RGB-D fusion beside Open3D's VoxelBlockGrid: time a frame, memory, extraction, and the surface's error, on a simulated room.

With $UNPROJECT_DATA set to a folder that has scans/open3d_livingroom1_clean_micro, also the errors on that sequence.
"""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# (the peers' stubs do not know NumPy arrays)
from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from torch import Tensor

import unproject as up
from unproject.fusion.fuse import fuse_frames
from unproject.fusion.room import room_frame, sample_room
from unproject.fusion.trajectory import align_trajectories
from unproject.fusion.volume import FusionOptions, TsdfVolume
from unproject.io.rgbd import find_rgbd, load_poses, load_rgbd, rgbd_camera

TRUNCATION = 5.0  # voxels, for both


@dataclass(frozen=True)
class Frames:
    depth: list[Tensor]
    rgb: list[Tensor]
    poses: Tensor  # camera_from_world
    camera: up.Camera


def ours(frames: Frames, voxel: float) -> TsdfVolume:
    volume = TsdfVolume(FusionOptions(voxel=voxel, truncation_voxels=TRUNCATION))
    for depth, rgb, pose in zip(frames.depth, frames.rgb, frames.poses):
        volume.integrate(depth, pose, frames.camera.intrinsics, rgb)
    return volume


def open3d_inputs(frames: Frames):
    import open3d as o3d
    import open3d.core as o3c

    k = frames.camera.intrinsics.double().numpy().copy()
    k[:2, 2] -= 0.5  # its pixel centres are whole numbers
    image = lambda array: o3d.t.geometry.Image(o3c.Tensor(np.ascontiguousarray(array)))
    depth = [image((d * 1000).round().numpy().astype(np.uint16)) for d in frames.depth]
    return depth, [image(c.numpy()) for c in frames.rgb], [o3c.Tensor(p.numpy()) for p in frames.poses], o3c.Tensor(k)


def open3d(inputs, voxel: float, resolution: int):
    import open3d as o3d
    import open3d.core as o3c

    depth, rgb, poses, k = inputs
    kinds = (o3c.float32, o3c.uint16, o3c.uint16)
    names = ("tsdf", "weight", "color")
    grid = o3d.t.geometry.VoxelBlockGrid(names, kinds, ((1), (1), (3)), voxel, resolution, 10_000, o3c.Device("CPU:0"))
    for d, c, pose in zip(depth, rgb, poses):
        blocks = grid.compute_unique_block_coordinates(d, k, pose, 1000.0, 8.0, TRUNCATION)
        grid.integrate(blocks, d, c, k, k, pose, 1000.0, 8.0, TRUNCATION)
    return grid


def open3d_mesh(grid, weight: float) -> up.Mesh:
    mesh = grid.extract_triangle_mesh(weight)
    faces = torch.from_numpy(mesh.triangle.indices.numpy().astype(np.int64))
    return up.make_mesh(torch.from_numpy(mesh.vertex.positions.numpy()), faces)


def room(count: int) -> tuple[Frames, up.Mesh]:
    scene = sample_room(count, image_size=(480, 640), step=0.05, noise=0.002)
    pairs = [room_frame(scene, i) for i in range(count)]
    return Frames([d for d, _ in pairs], [c for _, c in pairs], scene.camera_from_world, scene.camera), scene.mesh


def living_room(every: int) -> Frames | None:
    root = os.environ.get("UNPROJECT_DATA")
    folder = Path(root or "none") / "scans" / "open3d_livingroom1_clean_micro"
    if not folder.is_dir():
        return None
    camera = folder.parent / "open3d_testdata" / "camera_primesense.json"
    found = find_rgbd(folder, camera=camera)
    poses = load_poses(found, folder / "test_scene" / "trajectory.log")
    rows = range(0, len(found), every)
    pairs = [load_rgbd(found, i) for i in rows]
    known = torch.stack([pose for i in rows if (pose := poses[i]) is not None])
    return Frames([d for d, _ in pairs], [c for _, c in pairs], known, rgbd_camera(found))


def speed(frames: Frames, voxels: list[float], seconds: float) -> Table:
    title = f"{len(frames.depth)} frames of 640 x 480 into new blocks, milliseconds a frame"
    table = Table(title, ["unproject", "Open3D, blocks of 8^3", "Open3D, blocks of 16^3"])
    inputs = open3d_inputs(frames)
    for voxel in voxels:
        functions: dict[str, Callable[[], object]] = {
            "unproject": partial(ours, frames, voxel),
            "Open3D, blocks of 8^3": partial(open3d, inputs, voxel, 8),
            "Open3D, blocks of 16^3": partial(open3d, inputs, voxel, 16),
        }
        times = {name: ms / len(frames.depth) for name, ms in time_all(functions, seconds=seconds, repeat=5).items()}
        table.add(f"voxels of {voxel * 1e3:g} mm", times)
    return table


def extraction(frames: Frames, voxels: list[float]) -> Table:
    table = Table("Mesh with colours of the volume", ["unproject", "Open3D"])
    inputs = open3d_inputs(frames)
    for voxel in voxels:
        volume, grid = ours(frames, voxel), open3d(inputs, voxel, 16)
        times = time_all({"unproject": volume.mesh, "Open3D": partial(grid.extract_triangle_mesh, 3.0)}, repeat=5)
        table.add(f"voxels of {voxel * 1e3:g} mm", times, faces=volume.mesh().face_count)
    return table


def memory(frames: Frames, voxels: list[float]) -> Table:
    table = Table("Memory of the blocks, beside a dense grid of their box", ["unproject", "dense"], unit="MB")
    for voxel in voxels:
        volume = ours(frames, voxel)
        coordinates = volume.grid().coordinates
        dense = float((coordinates.amax(0) - coordinates.amin(0) + 1).prod()) * 512 * 20 / 1e6
        table.add(f"voxels of {voxel * 1e3:g} mm", {"unproject": volume.memory / 1e6, "dense": dense}, blocks=volume.block_count)
    return table


def cloud_of(frames: Frames, count: int) -> Tensor:
    """Points of every frame in the world."""
    generator, clouds = torch.Generator().manual_seed(0), []
    for depth, pose in zip(frames.depth, frames.poses):
        camera = up.make_camera(frames.camera.intrinsics, pose, image_size=(frames.camera.height, frames.camera.width))
        points = up.unproject_depth(camera, depth.double())[depth > 0]
        clouds.append(points[torch.randperm(len(points), generator=generator)[:count]])
    return torch.cat(clouds).float()


def errors(name: str, frames: Frames, voxels: list[float], truth: up.Mesh | None) -> Table:
    """Without a truth: from the input clouds to the surface. With it: from the surface to the truth."""
    what = "input points to the surface" if truth is None else "surface to the truth"
    table = Table(f"{name}: mean distance, {what}", ["unproject", "Open3D"], unit="mm")
    cloud, inputs = cloud_of(frames, 3000), open3d_inputs(frames)
    far = lambda points, mesh: 1e3 * float(up.closest_point(points, mesh).squared_distance.sqrt().mean())
    for voxel in voxels:
        volume, grid = ours(frames, voxel), open3d(inputs, voxel, 16)
        for label, weight, other in (("default weights", None, 3.0), ("all that was seen", 0.0, 1.0)):
            meshes = {"unproject": volume.mesh(min_weight=weight), "Open3D": open3d_mesh(grid, other)}
            row = {k: far(cloud, m) if truth is None else far(m.vertices[::7].float(), truth) for k, m in meshes.items()}
            table.add(f"voxels of {voxel * 1e3:g} mm, {label}", row)
    return table


def odometry(name: str, frames: Frames) -> Table:
    table = Table(f"{name}: camera followed without poses, error over the length of the way", ["unproject"], unit="%")
    begin = time.perf_counter()
    for last in fuse_frames(lambda i: (frames.depth[i], frames.rgb[i]), len(frames.depth), frames.camera.intrinsics):  # noqa: B007
        pass
    seconds = time.perf_counter() - begin
    truth, estimate = up.se3_inverse(frames.poses), up.se3_inverse(last.camera_from_world)
    _, error = align_trajectories(estimate, truth)
    length = float((truth[1:, :3, 3] - truth[:-1, :3, 3]).norm(dim=1).sum())
    share = 100 * float(error.square().mean().sqrt()) / length
    table.add(f"{len(truth)} frames, {length:.2f} m", {"unproject": share}, seconds_with_fusing=seconds)
    return table


def main() -> None:
    options = parse_arguments(__doc__)
    torch.manual_seed(0)
    frames, truth = room(4 if options.quick else 12)
    voxels = [0.02] if options.quick else [0.01, 0.005]
    tables = [
        speed(frames, voxels, 0.1 if options.quick else 3.0),
        extraction(frames, voxels),
        memory(frames, [*(2 * v for v in voxels[:1]), *voxels]),
        errors("Simulated room, 2 mm of noise at 1 m", frames, voxels[:1], truth),
        odometry("Simulated room", frames),
    ]
    if not options.quick and (real := living_room(12)) is not None:
        tables += [errors("Living room, given poses", real, voxels, None)]
        dense = living_room(3)
        assert dense is not None
        tables += [odometry("Living room, every third frame", dense)]
    write_json(options.json, tables)
    if options.write:
        write_results("bench_fusion", tables, notes="Both truncate at five voxels. Errors below Open3D's are ratios above 1.")


if __name__ == "__main__":
    main()
