"""The light learnt from a known surface, and what is in front of an object."""

from __future__ import annotations

from dataclasses import replace

import torch

from unproject.camera.camera import perspective_camera
from unproject.geometry.primitives import icosphere
from unproject.pose.color_model import color_index, learn_colors
from unproject.pose.covered import covered_pixels, covered_view, is_covered
from unproject.pose.light import learn_light, shading
from unproject.pose.looks import learn_looks, painted_view, unknown_looks
from unproject.pose.paint import Paint, coat_of, make_paint
from unproject.pose.view import View, render_view
from unproject.render.interpolate import interpolate


def sunny(count: int = 2000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Albedo, normals that face the camera, and grey values under a sun and an even sky."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    normals[:, 2] = -normals[:, 2].abs()
    albedo = 50 + 200 * torch.rand(count, generator=generator)
    sun = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, -0.8]), dim=0)
    return albedo, normals, albedo * (0.3 + 0.6 * (normals @ sun).clamp(min=0))


def test_light_explains_what_a_sun_makes_of_a_surface() -> None:
    albedo, normals, seen = sunny()
    light = learn_light(None, albedo, normals, seen)
    assert light is not None
    away = (albedo * shading(normals, light)[:, 0] - seen).abs()
    assert float(away.median()) < 0.1 * float(seen.median())


def test_what_is_in_front_hardly_changes_a_light_that_is_known() -> None:
    albedo, normals, seen = sunny()
    light = learn_light(None, albedo, normals, seen)
    covered = seen.clone()
    covered[normals[:, 0] > 0.5] = 255
    again = learn_light(light, albedo, normals, covered)
    assert light is not None and again is not None
    free = normals[:, 0] <= 0.5
    away = (albedo * (shading(normals, again) - shading(normals, light))[:, 0]).abs()[free]
    assert float(away.median()) < 0.05 * float(seen.median())


def test_too_few_pixels_leave_the_light_as_it_was() -> None:
    albedo, normals, seen = sunny(20)
    known = torch.arange(9.0)
    assert learn_light(known, albedo, normals, seen) is known
    assert learn_light(None, albedo, normals, seen) is None


def test_a_bar_across_an_object_is_found_and_a_sliver_at_its_rim_is_not() -> None:
    ball, camera = icosphere(3), perspective_camera(fov_y_deg=40.0, image_size=(120, 160))
    pose = torch.eye(4)
    pose[2, 3] = 4.0
    view = render_view(ball, camera, pose)
    assert view is not None
    left, top = view.corner.long().tolist()
    image = torch.zeros(120, 160, 3, dtype=torch.uint8)
    image[..., 2] = 200
    height, width = view.mask.shape
    image[top : top + height, left : left + width][view.mask] = torch.tensor([200, 40, 40], dtype=torch.uint8)
    counts = torch.zeros(2, 32768)
    counts[0, color_index(torch.tensor([200, 40, 40], dtype=torch.uint8))] = 1
    counts[1, color_index(torch.tensor([0, 0, 200], dtype=torch.uint8))] = 1
    colors = learn_colors(None, counts, rate=1.0)
    assert not bool(covered_pixels(image, view, colors, None).any())
    middle = left + width // 2
    sliver = image.clone()
    sliver[:, : left + 8] = torch.tensor([0, 0, 200], dtype=torch.uint8)
    assert not bool(covered_pixels(sliver, view, colors, None).any())
    image[:, middle - 12 : middle + 12] = torch.tensor([0, 0, 200], dtype=torch.uint8)
    covered = covered_pixels(image, view, colors, None)
    assert covered_view(covered, view).shape == view.mask.shape
    points = torch.tensor([[0.0, 0.0, -1.0], [-0.75, 0.0, -0.66], [0.75, 0.0, -0.66], [0.0, 0.6, -0.8]])
    assert is_covered(points, covered, view).tolist() == [True, False, False, True]


def ball_in(colors: torch.Tensor) -> tuple[torch.Tensor, View, Paint]:
    """An image of a ball with colours [V, 3] in even light, with its view and paint."""
    ball, camera = icosphere(4), perspective_camera(fov_y_deg=40.0, image_size=(120, 160))
    pose = torch.eye(4)
    pose[2, 3] = 4.0
    view = render_view(ball, camera, pose)
    assert view is not None
    mesh = replace(ball, vertex_colors=colors)
    image = torch.full((120, 160, 3), 90, dtype=torch.uint8)
    left, top = view.corner.long().tolist()
    height, width = view.mask.shape
    image[top : top + height, left : left + width][view.mask] = (255 * interpolate(colors, ball.faces, view.fragments))[view.mask].byte()
    return image, view, make_paint(mesh, torch.zeros(3, dtype=torch.float64))


def spotted() -> torch.Tensor:
    """Colours of the ball's vertices: bands of three hues that are equally bright."""
    number = (6 * icosphere(4).vertices[:, 0]).floor().long() % 3
    return torch.tensor([[0.7, 0.2, 0.3], [0.2, 0.6, 0.4], [0.3, 0.4, 0.5]])[number]


def test_looks_tell_a_pattern_from_another_that_is_as_bright_and_learn_a_tint() -> None:
    image, view, paint = ball_in(spotted())
    known = unknown_looks()
    for _ in range(40):
        known, alike = learn_looks(known, image, paint, view)
    assert alike > 0.9 and known.hue_noise < 8
    other, _, _ = ball_in(spotted().roll(1, dims=1))
    assert learn_looks(known, other, paint, view)[1] < 0.3
    warm = (image.float() * torch.tensor([1.2, 1.0, 0.8])).clamp(max=255).byte()
    for _ in range(10):
        known, alike = learn_looks(known, warm, paint, view)
    assert alike > 0.9
    assert torch.allclose(known.tint, torch.tensor([1.2, 1.0, 0.8]), atol=0.03)


def test_a_bar_of_the_objects_own_colours_is_found_where_they_do_not_belong() -> None:
    image, view, paint = ball_in(spotted())
    even = torch.full((2, 32768), 1 / 32768)
    colors, known = learn_colors(None, even, rate=1.0), unknown_looks()  # colours alone tell nothing
    for _ in range(40):
        known, _ = learn_looks(known, image, paint, view)
    expected = painted_view(coat_of(paint, view), known)
    middle = int(view.corner[0]) + view.mask.shape[1] // 2
    assert not bool(covered_pixels(image, view, colors, expected, hue_noise=known.hue_noise).any())
    image[:, middle - 10 : middle + 10] = torch.tensor([250, 20, 250], dtype=torch.uint8)
    covered = covered_pixels(image, view, colors, expected, hue_noise=known.hue_noise)
    points = torch.tensor([[0.0, 0.0, -1.0], [-0.8, 0.0, -0.6], [0.8, 0.0, -0.6]])
    assert is_covered(points, covered, view).tolist() == [True, False, False]


def test_a_channel_that_the_object_hardly_has_keeps_its_tint() -> None:
    image, view, paint = ball_in(torch.tensor([[0.63, 0.51, 0.003]]).repeat(icosphere(4).vertex_count, 1))
    generator, known = torch.Generator().manual_seed(0), unknown_looks()
    for step in range(30):
        noisy = (image.int() + torch.randint(-3, 4, image.shape, generator=generator)).clamp(0, 255).byte()
        known, alike = learn_looks(known, noisy, paint, view)
        assert alike > 0.95, step
    assert float(known.tint.max() / known.tint.min()) < 1.1
