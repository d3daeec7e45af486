"""Tracking of a known object through sequences that this file makes: error, frames off, speed, and whether it is found again.

Each frame turns the object by up to 5 degrees and shifts it by up to 2 % of its diameter, with motion blur, changing light, and a bar that
hides 34 % of its width every 100 frames. `--mesh FILE ...` takes other objects than the coloured pot; `--sequences`, `--frames`: how many
(10 of 300 unless told, the last of which leaves the image and returns). A sequence is followed if its median error is below 2 degrees and
no frame is off.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from harness import Table, parse_arguments, write_json, write_results
from pose_scenes import make_pot
from track_scenes import Motion, random_poses, sequence_camera, sequence_frames

import unproject as up
from unproject.pose.metrics import rotation_error_deg
from unproject.pose.track import track_object

_FOLLOWED_DEG = 2.0
_OFF_DEG, _OFF = 20.0, 0.3  # degrees and diameters: farther off counts as lost, whatever the tracker says


def run_sequence(mesh: up.Mesh, seed: int, count: int, motion: Motion) -> dict[str, float]:
    """Figures of one sequence from its true first pose."""
    generator = torch.Generator().manual_seed(seed)
    diameter = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())
    poses = random_poses(diameter, count, motion, generator)
    turns, shifts, seconds, lost = [], [], [], []
    for step in track_object(sequence_frames(mesh, poses, motion, generator), mesh, sequence_camera(), poses[0]):
        turns.append(float(rotation_error_deg(step.camera_from_object, poses[step.index])))
        shifts.append(float((step.camera_from_object[:3, 3] - poses[step.index, :3, 3]).norm()) / diameter)
        seconds.append(step.seconds)
        lost.append(step.lost)
    first, last = motion.away or (2 * count, 2 * count)
    shown = [k for k in range(count) if not first - 12 <= k <= last + 24]
    median, off = statistics.median(turns[k] for k in shown), sum(turns[k] > _OFF_DEG or shifts[k] > _OFF for k in shown)
    usual = sorted(seconds[min(3, count - 1) :])  # the first frames compile
    return {
        "followed": float(median < _FOLLOWED_DEG and off == 0),
        "median deg": median,
        "median shift": statistics.median(shifts[k] for k in shown),
        "off %": 100 * off / len(shown),
        "lost %": 100 * sum(lost[k] for k in shown) / len(shown),
        "last deg": turns[-1],
        "ms": 1e3 * statistics.median(usual),
        "slowest ms": 1e3 * usual[-1],
    }


def main() -> None:
    """Run all, print, and write where asked."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--mesh", type=Path, nargs="+", help="objects, in turn for the sequences")
    own.add_argument("--sequences", type=int, default=10)
    own.add_argument("--frames", type=int, default=300)
    mine, rest = own.parse_known_args()
    sys.argv[1:] = rest
    options = parse_arguments(__doc__)
    sequences, frames = (1, 30) if options.quick else (mine.sequences, mine.frames)
    meshes = {"pot": make_pot()} if mine.mesh is None else {path.stem: up.load_mesh(path) for path in mine.mesh}
    meshes = {
        name: dataclasses.replace(m, vertices=m.vertices - (m.vertices.amin(0) + m.vertices.amax(0)) / 2) for name, m in meshes.items()
    }
    columns = ["followed", "median deg", "median shift", "off %", "lost %", "last deg", "ms", "slowest ms"]
    table = Table(f"Sequences of {frames} frames, 640 x 480", columns, ours="none", unit="degrees, diameters, or as it says")
    followed = 0.0
    for k in range(sequences):
        name = list(meshes)[k % len(meshes)]
        motion = Motion(away=(frames // 3, frames // 2)) if k == sequences - 1 and sequences > 1 else Motion()
        label = f"{k}: {name}" + (", leaves and returns" if motion.away else "")
        figures = run_sequence(meshes[name], k, frames, motion)
        followed += figures["followed"]
        table.add(label, figures, faces=meshes[name].face_count)
    print(f"{followed:.0f} of {sequences} sequences followed")
    write_json(options.json, [table])
    if options.write:
        notes = (
            "Off: more than 20 degrees or 0.3 diameters. `lost`: so it says itself. `ms`: of a frame's tracking, without making the image."
        )
        write_results("bench_track", [table], notes=notes)


if __name__ == "__main__":
    main()
