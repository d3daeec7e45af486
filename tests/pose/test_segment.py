"""What of a box shows the object: by the share of it that the object can fill, and by depth."""

from __future__ import annotations

import torch
from torch import Tensor

import unproject as up
from unproject.camera.viewpoints import fibonacci_viewpoints
from unproject.pose.object_model import make_object_model
from unproject.pose.planes import rising_odds
from unproject.pose.prepare import PoseInput, guess_foreground, prepare
from unproject.pose.segment import segment_box
from unproject.pose.views import box_fill, render_views

SIZE = (60, 80)


def stick() -> up.Mesh:
    """A stick fifteen times as long as thick."""
    return up.box((15.0, 1.0, 1.0))


def camera() -> up.Camera:
    return up.perspective_camera(image_size=SIZE, fx=80.0, fy=80.0)


def table_and_block(*, height: float, noise: float = 0.002) -> tuple[Tensor, Tensor]:
    """Depth [H, W] of a tilted table with a block on it, and the pixels of the block."""
    y, x = torch.meshgrid((torch.arange(SIZE[0]) + 0.5 - 30) / 80, (torch.arange(SIZE[1]) + 0.5 - 40) / 80, indexing="ij")
    normal = torch.nn.functional.normalize(torch.tensor([0.1, -0.6, -0.8]), dim=0)
    facing = normal[0] * x + normal[1] * y + normal[2]
    block = (x.abs() < 0.12) & (y.abs() < 0.1)
    distance = torch.where(block, -2.0 + height, -2.0)
    depth = distance / facing + noise * torch.randn(SIZE, generator=torch.Generator().manual_seed(0))
    return depth, block


def test_what_rises_from_a_plane_is_the_object() -> None:
    around = torch.zeros(SIZE, dtype=torch.bool)
    around[18:42, 26:54] = True
    depth, block = table_and_block(height=0.15)
    depth[20:24, 30:34] = 0
    odds = rising_odds(depth, around, camera(), (0, 0), thinnest=0.3)
    measured = depth > 0
    assert float(odds[block & measured].min()) > 1 and float(odds[~block & measured].max()) < -0.3
    assert float(odds[~block].mean()) < -2 and bool((odds[~measured] == 0).all())
    flat = rising_odds(table_and_block(height=0.01)[0], around, camera(), (0, 0), thinnest=0.01)
    assert float(flat[block].mean()) > 0.5  # thin, but higher than the table is rough
    unsure = rising_odds(table_and_block(height=0.01, noise=0.02)[0], around, camera(), (0, 0), thinnest=0.01)
    assert float(unsure[block].mean()) > -0.8  # where the table is as rough as the object is thin, nothing is told
    wild = 1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    assert bool((rising_odds(wild, around, camera(), (0, 0), thinnest=0.3) == 0).all())


def test_thin_objects_fill_little_of_their_box() -> None:
    views = [render_views(make_object_model(mesh), fibonacci_viewpoints(40, 3.0, dtype=torch.float64), size=64)
             for mesh in (stick(), up.icosphere(3))]  # fmt: skip
    assert 0.1 < box_fill(views[0], 1.0) < 0.3 < 0.4 < box_fill(views[0], 10.0)
    assert 0.75 < box_fill(views[1], 1.0) < 0.88  # a disc in a square, pi / 4, and some more: its rim lies nearer than its middle


def test_a_stick_across_its_box_is_told_from_what_lies_beside_it() -> None:
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    truth = ((rows - 30 - 0.6 * (columns - 40)).abs() < 2) & ((columns - 40).abs() < 25)
    noise = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    picture = 0.15 * torch.nn.functional.interpolate(noise, size=SIZE, mode="bilinear")[0].permute(1, 2, 0).contiguous() + 0.5
    picture[truth] = torch.tensor([0.8, 0.25, 0.2])
    box = (15.0, 13.0, 65.0, 47.0)
    model = make_object_model(stick())
    guess = guess_foreground(prepare(PoseInput(camera=camera(), color=picture, box=box), model), model).foreground
    assert guess is not None
    overlap = lambda share: float(((share > 0.5) & truth).sum() / ((share > 0.5) | truth).sum())
    assert overlap(guess) > 0.9 > 0.5 > overlap(segment_box(picture, box, camera=camera()))
