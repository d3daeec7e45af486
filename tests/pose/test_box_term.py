"""The term of a box: its slopes are those of its cost, and it knows which sides may be cut off or hidden."""

from __future__ import annotations

import torch
from torch import Tensor

import unproject as up
from unproject.pose.box_term import BoxSides, box_sides, box_term
from unproject.pose.refine import moved

LENS = torch.tensor([150.0, 160.0, 60.0, 50.0], dtype=torch.float64)


def some() -> tuple[Tensor, Tensor]:
    """Rims [3, 50, 3] and poses [3, 4, 4]."""
    generator = torch.Generator().manual_seed(0)
    poses = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    poses[:, :3, :3] = up.so3_exp(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    poses[:, :3, 3] = torch.tensor([0.2, 0.0, 3.0])
    return 0.3 * torch.randn(3, 50, 3, generator=generator), poses


def sides_at(*places: float, cut: tuple[int, ...] = ()) -> BoxSides:
    return BoxSides(places=torch.tensor(places, dtype=torch.float64), cut=torch.tensor([k in cut for k in range(4)]))


def test_slopes_are_those_of_the_cost() -> None:
    rim, poses = some()
    sides = sides_at(20, 30, 90, 88, cut=(1,))
    cost = lambda at: box_term(rim, at, sides, LENS, 70.0, 5.0)[0]
    slope = box_term(rim, poses, sides, LENS, 70.0, 5.0)[2]
    for axis in range(6):
        step = torch.zeros(3, 6, dtype=torch.float64)
        step[:, axis] = 1e-6
        numeric = (cost(moved(poses, step)) - cost(moved(poses, -step))) / 4e-6  # of half the cost
        torch.testing.assert_close(slope[:, axis], numeric, rtol=1e-4, atol=1e-7)


def test_ends_beyond_a_side_count_less_and_nothing_where_the_image_ends() -> None:
    rim, poses = some()
    pixel = rim.double() @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    pixel = pixel[..., :2] / pixel[..., 2:] * LENS[:2] + LENS[2:]
    low, high = pixel[0].amin(0), pixel[0].amax(0)
    at = lambda left, **cut: float(box_term(rim[:1], poses[:1], sides_at(left, float(low[1]), *high.tolist(), **cut), LENS, 70.0, 5.0)[0])
    exact, beyond, before = (at(float(low[0]) + shift) for shift in (0.0, 8.0, -8.0))
    assert exact == 0 and 0 < beyond < 0.5 * before
    assert at(float(low[0]) + 8.0, cut=(0,)) == 0 and at(float(low[0]) - 8.0, cut=(0,)) == before


def test_sides_of_a_crop() -> None:
    camera = up.perspective_camera(image_size=(100, 200), fx=100.0, fy=100.0, cx=100.0, cy=50.0)
    crop = up.perspective_camera(image_size=(40, 40), fx=200.0, fy=200.0, cx=10.0, cy=20.0)
    sides = box_sides((0.0, 20.0, 110.0, 100.0), camera, crop)
    torch.testing.assert_close(sides.places, torch.tensor([-190.0, -40.0, 30.0, 120.0], dtype=torch.float64))
    assert sides.cut.tolist() == [True, False, False, True]
