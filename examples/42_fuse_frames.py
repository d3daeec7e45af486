"""RGB-D frames to a mesh: with the camera's poses, and without, when it is followed through the images."""

from __future__ import annotations

from functools import partial

import unproject as up
from unproject.fusion.fuse import fuse_frames
from unproject.fusion.room import room_frame, sample_room
from unproject.fusion.volume import FusionOptions
from unproject.io.rgbd_write import save_rgbd


def main(quick: bool = False) -> dict[str, float]:
    """Returns the median distance of the fused surface from the true one, metres."""
    count = 4 if quick else 40
    room = sample_room(count, image_size=(120, 160) if quick else (240, 320), noise=0.001)
    load = partial(room_frame, room)  # frame index to depth [H, W] in metres and rgb [H, W, 3] uint8
    errors = {}
    for name, poses in (("with poses", list(room.camera_from_world)), ("without poses", None)):
        last = None
        for last in fuse_frames(load, count, room.camera.intrinsics, poses=poses, options=FusionOptions(voxel=0.02)):
            if last.index % 10 == 0:
                print(f"{name}, {last.stage} {last.index}/{last.total}: {last.status}, {last.volume.block_count} blocks")
        assert last is not None
        mesh = last.volume.mesh()
        world = mesh.vertices
        if poses is None:  # the first camera was the world
            world = up.se3_apply(up.se3_inverse(room.camera_from_world[0]), world.double()).float()
        errors[name] = float(up.closest_point(world, room.mesh).squared_distance.sqrt().median())
        print(f"{name}: {mesh.face_count:,} faces, median error {1e3 * errors[name]:.1f} mm")
        up.save(mesh, f"room {name}.ply")
    folder = save_rgbd("room", map(load, range(count)), room.camera, camera_from_world=room.camera_from_world)
    print(f"the same on the command line: unproject fuse {folder} -o room.ply --voxel 0.02")
    return errors


if __name__ == "__main__":
    main()
