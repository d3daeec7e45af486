"""What a pose says about the pixels of an image: which of them show the object, and how much of those at its outline."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

import unproject as up
from unproject.pose.matte import matted
from unproject.pose.object_model import ObjectModel, make_object_model
from unproject.pose.observation import observe
from unproject.pose.prepare import PoseInput, guess_foreground, outline_by_pose, prepare
from unproject.pose.segment_by_pose import segment_by_pose


def painted_ball(waves: float = 1.0) -> ObjectModel:
    """A ball in colours that change over it."""
    ball = up.icosphere(4)
    heights = torch.sin(waves * ball.vertices @ torch.tensor([[3.0, 1, 2], [2.0, 4, 1], [1.0, 2, 5]]))
    return make_object_model(up.make_mesh(ball.vertices, ball.faces, vertex_colors=0.5 + 0.35 * heights))


def seen(model: ObjectModel, background: Tensor) -> tuple[PoseInput, Tensor, Tensor]:
    """A picture of it, its pose in the working frame, and where it is seen."""
    pose = torch.eye(4)
    pose[:3, :3] = up.so3_exp(torch.tensor([0.5, -0.7, 0.4]))
    pose[:3, 3] = torch.tensor([0.1, -0.05, 2.4])
    camera = up.perspective_camera(pose, image_size=(90, 100), fx=110.0, fy=110.0)
    mesh = up.make_mesh(
        model.mesh.vertices, model.mesh.faces, vertex_colors=model.colors[0][up.nearest(model.mesh.vertices, model.cloud).index]
    )
    picture = up.render_mesh(mesh, camera, options=up.RenderOptions(background=background, supersampling=2))
    flat = up.perspective_camera(image_size=(90, 100), fx=110.0, fy=110.0)
    return PoseInput(camera=flat, color=picture.color.clamp(0, 1), mask=picture.face >= 0), pose.double(), picture.face >= 0


def disc(radius: float, *, size: int = 60, samples: int = 8) -> Tensor:
    """Share of each pixel that a disc covers."""
    x = (torch.arange(size * samples) + 0.5) / samples - size / 2 - 0.3
    inside = (x.square()[None] + x.square()[:, None] < radius**2).float()
    return torch.nn.functional.avg_pool2d(inside[None], samples)[0]


def test_mixed_pixels_are_shared_between_both_sides() -> None:
    covered = disc(17.0)
    sides = torch.tensor([[0.7, 0.5, 0.1], [0.2, 0.3, 0.6]])
    light = covered[..., None] * sides[0] ** 2.2 + (1 - covered[..., None]) * sides[1] ** 2.2
    color, expected = light ** (1 / 2.2), sides[0].expand(60, 60, 3)
    for first in (disc(16.4), disc(17.5)):  # a first guess that is too small or too large
        found = matted(color, (first > 0.5).float(), expected)
        assert abs(float(found.sum() - covered.sum())) < 0.05 * 2 * 3.14 * 17
        assert float((found - covered).abs().max()) < 0.15
    alike = matted(sides[0].expand(60, 60, 3), covered, expected)
    assert torch.equal(alike, covered)  # nothing to tell both sides by


def test_what_hides_the_object_is_told_by_the_pose_alone() -> None:
    model = painted_ball()
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    background = torch.nn.functional.interpolate(0.6 * noise, size=(90, 100), mode="bilinear")[0].permute(1, 2, 0).contiguous()
    given, pose, whole = seen(model, background)
    columns = whole.any(0).nonzero()[:, 0]
    border = int(columns[int(0.65 * len(columns))])
    cover = whole & (torch.arange(100) > border)[None]
    assert given.color is not None and float(cover.sum()) > 0.25 * float(whole.sum())
    color = torch.where(cover[..., None], torch.tensor([0.25, 0.1, 0.9]), given.color)  # a colour that is seen nowhere else
    rows = whole.any(1).nonzero()[:, 0]
    box = (float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1)
    image = guess_foreground(prepare(PoseInput(camera=given.camera, color=color, box=box), model), model)
    assert image.foreground is not None
    assert float((image.foreground > 0.5)[cover].float().mean()) > 0.5  # colours alone take it for the object
    told = segment_by_pose(model, image, pose, image.foreground) > 0.5
    visible = whole & ~cover
    assert float(told[cover].float().mean()) < 0.05
    assert float((told != visible).sum()) < 0.08 * float(visible.sum())


def test_colours_at_the_outline_are_those_farther_inside() -> None:
    model = painted_ball()
    given, _, whole = seen(model, torch.zeros(90, 100, 3))
    red = torch.tensor([0.8, 0.2, 0.1])
    covered = torch.nn.functional.avg_pool2d(whole[None].float(), 3, stride=1, padding=1)[0][..., None]  # blurred by a lens
    image = prepare(PoseInput(camera=given.camera, color=covered * red, mask=whole), model)
    found = observe(image, blur=0.03)
    inside = found.maps[..., 0] > 0.5
    assert float((found.maps[..., 3:6][inside] - red).abs().max()) < 0.03


def test_a_mask_that_is_too_large_or_too_small_ends_where_the_colours_do() -> None:
    model = painted_ball(0.4)
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    background = torch.nn.functional.interpolate(0.6 * noise, size=(90, 100), mode="bilinear")[0].permute(1, 2, 0).contiguous()
    given, pose, whole = seen(model, background)
    image = prepare(PoseInput(camera=given.camera, color=given.color, mask=whole), model)
    assert outline_by_pose(image, model, pose) is image
    grown = lambda sign: sign * torch.nn.functional.max_pool2d(sign * whole[None].float(), 5, stride=1, padding=2)[0]
    shifted = torch.roll(whole.float(), 2, 1)  # too far out on one side, too far in on the other
    for given, farther in ((grown(1), 0.9), (grown(-1), 1.1), (shifted, 1.0)):  # as too large a mask makes an object too near
        wrong = dataclasses.replace(image, foreground=given)
        off = pose.clone()
        off[:3, 3] *= farther
        found = outline_by_pose(wrong, model, off).foreground
        assert found is not None
        assert float((found - whole.float()).abs().sum()) < 0.35 * float((given - whole.float()).abs().sum())
    plain = make_object_model(up.make_mesh(model.mesh.vertices, model.mesh.faces))
    assert outline_by_pose(wrong, plain, off) is wrong  # nothing is known of its colours
