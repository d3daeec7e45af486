"""SO(3), SE(3) and cameras: cost of a call and of its gradient, beside SciPy's Rotation and torch's matrix exponential.

    python benchmarks/bench_lie.py [--quick] [--write] [--json FILE]

SciPy has no gradients; the torch twin is unproject's own formula in plain torch operators, what other devices get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from scipy.spatial.transform import RigidTransform, Rotation
from torch import Tensor

import unproject as up
from unproject.lie.rotations import euler_from_matrix, matrix_from_euler
from unproject.lie.se3 import se3_left_jacobian, se3_mean
from unproject.lie.so3 import so3_interpolate, so3_mean
from unproject.reference import lie as twin

COLUMNS = ["unproject", "scipy", "torch twin", "matrix_exp"]


def milliseconds(functions: dict[str, Callable[[], Any]], quick: bool) -> dict[str, float]:
    return time_all(functions, seconds=0.1 if quick else 0.15, repeat=200)


def with_gradient(function: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], Any]:
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    cotangent = torch.ones_like(function(*leaves).detach())
    return lambda: torch.autograd.grad(function(*leaves), leaves, cotangent)


def generator(xi: Tensor) -> Tensor:
    matrix = torch.cat([up.lie.so3.hat(xi[..., 3:]), xi[..., :3, None]], -1)
    return torch.cat([matrix, torch.zeros_like(matrix[..., :1, :])], -2)


def groups(count: int, quick: bool) -> Table:
    table = Table(f"{count} elements, float64", COLUMNS)
    omega, xi = torch.randn(count, 3, dtype=torch.float64), torch.randn(count, 6, dtype=torch.float64)
    rotation, motion = up.so3_exp(omega), up.se3_exp(xi)
    r, m = Rotation.from_rotvec(omega.numpy()), RigidTransform.from_matrix(motion.numpy())
    near, near_motion = up.so3_exp(0.3 * omega), up.se3_exp(0.3 * xi)
    swapped = torch.cat([xi[:, 3:], xi[:, :3]], -1).numpy()
    rows: dict[str, dict[str, Callable[[], Any]]] = {
        "so3_exp": {
            "unproject": lambda: up.so3_exp(omega),
            "scipy": lambda: Rotation.from_rotvec(omega.numpy()).as_matrix(),
            "torch twin": lambda: twin.so3_exp(omega),
            "matrix_exp": lambda: torch.linalg.matrix_exp(up.lie.so3.hat(omega)),
        },
        "so3_exp + gradient": {
            "unproject": with_gradient(up.so3_exp, omega),
            "torch twin": with_gradient(twin.so3_exp, omega),
            "matrix_exp": with_gradient(lambda w: torch.linalg.matrix_exp(up.lie.so3.hat(w)), omega),
        },
        "so3_log": {
            "unproject": lambda: up.so3_log(rotation),
            "scipy": lambda: Rotation.from_matrix(rotation.numpy()).as_rotvec(),
            "torch twin": lambda: twin.so3_log(rotation),
        },
        "so3_log + gradient": {"unproject": with_gradient(up.so3_log, rotation), "torch twin": with_gradient(twin.so3_log, rotation)},
        "se3_exp": {
            "unproject": lambda: up.se3_exp(xi),
            "scipy": lambda: RigidTransform.from_exp_coords(swapped).as_matrix(),
            "torch twin": lambda: twin.se3_exp(xi),
            "matrix_exp": lambda: torch.linalg.matrix_exp(generator(xi)),
        },
        "se3_exp + gradient": {
            "unproject": with_gradient(up.se3_exp, xi),
            "torch twin": with_gradient(twin.se3_exp, xi),
            "matrix_exp": with_gradient(lambda x: torch.linalg.matrix_exp(generator(x)), xi),
        },
        "se3_log": {"unproject": lambda: up.se3_log(motion), "scipy": m.as_exp_coords, "torch twin": lambda: twin.se3_log(motion)},
        "se3_log + gradient": {"unproject": with_gradient(up.se3_log, motion), "torch twin": with_gradient(twin.se3_log, motion)},
        "se3_left_jacobian": {"unproject": lambda: se3_left_jacobian(xi)},
        "quaternion from matrix": {
            "unproject": lambda: up.quaternion_from_matrix(rotation),
            "scipy": lambda: Rotation.from_matrix(rotation.numpy()).as_quat(),
        },
        "Euler from matrix": {"unproject": lambda: euler_from_matrix(rotation, "ZYX"), "scipy": lambda: r.as_euler("ZYX")},
        "matrix from Euler": {
            "unproject": lambda: matrix_from_euler(omega, "ZYX"),
            "scipy": lambda: Rotation.from_euler("ZYX", omega.numpy()).as_matrix(),
        },
        "interpolate": {"unproject": lambda: so3_interpolate(rotation, rotation.roll(1, 0), 0.3)},
        "mean (scipy: chordal)": {"unproject": lambda: so3_mean(near), "scipy": Rotation.from_matrix(near.numpy()).mean},
        "mean of motions": {"unproject": lambda: se3_mean(near_motion)},
    }
    for label, functions in rows.items():
        table.add(label, milliseconds(functions, quick))
    return table


def cameras(count: int, quick: bool) -> Table:
    table = Table(f"cameras, {count} points, float32", ["unproject", "+ gradient"])
    pose = up.look_at([1.0, 2, 3])
    points = torch.randn(count, 3)
    lens = [-0.2, 0.05, 1e-3, -2e-3, 0.01]
    kinds = {
        "perspective": {},
        "with 5 distortion coefficients": {"distortion": lens},
        "fisheye": {"distortion": lens[:4], "projection": "fisheye"},
    }
    for label, fields in kinds.items():
        camera = up.make_camera([500.0, 500, 320, 240], pose, image_size=(480, 640), **fields)
        screen = up.world_to_screen(camera, points)
        forward = lambda p, camera=camera: up.world_to_screen(camera, p)
        backward = lambda p, camera=camera: up.screen_to_world(camera, p)
        functions = {"unproject": lambda forward=forward: forward(points), "+ gradient": with_gradient(forward, points)}
        table.add(f"world_to_screen, {label}"[:34], milliseconds(functions, quick))
        functions = {"unproject": lambda f=backward, s=screen: f(s), "+ gradient": with_gradient(backward, screen)}
        table.add(f"screen_to_world, {label}"[:34], milliseconds(functions, quick))
    return table


def main() -> None:
    options = parse_arguments(__doc__)
    tables = [groups(count, options.quick) for count in ((1, 1000) if options.quick else (1, 1000, 100_000))]
    tables.append(cameras(1000 if options.quick else 100_000, options.quick))
    write_json(options.json, tables)
    if options.write:
        write_results("bench_lie", tables)


if __name__ == "__main__":
    main()
