"""What tracking reads from images: outlines, grey pyramids with textured points, colours. Kernels against twins and known answers."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.ops import color_counts as colors
from unproject.ops import contour as contours
from unproject.ops import grey_pyramid as pyramids
from unproject.reference import color_counts as colors_twin
from unproject.reference import contour as contours_twin
from unproject.reference import grey_pyramid as pyramids_twin


def disk(height: int, width: int, center: tuple[float, float], radius: float) -> torch.Tensor:
    """Faces of an image that shows a disk."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.where((x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2, 3, -1)


def blobs(generator: torch.Generator, height: int, width: int) -> torch.Tensor:
    noise = torch.rand(1, 1, height, width, generator=generator)
    return torch.where(torch.nn.functional.avg_pool2d(noise, 7, stride=1, padding=3)[0, 0] > 0.45, 1, -1)


def image_of(generator: torch.Generator, height: int, width: int) -> torch.Tensor:
    noise = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    return (255 * torch.nn.functional.interpolate(noise, size=(height, width), mode="bilinear")[0].permute(1, 2, 0)).to(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 40, 5000])
def test_contour_kernel_matches_twin(dtype: torch.dtype, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inverse = torch.tensor([[0.01, 0.0, -0.3], [0.0, 0.012, -0.2], [0, 0, 1]], dtype=dtype)
    pose = torch.eye(4, dtype=dtype)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=dtype)).Q
    pose[:3, 3] = torch.tensor([0.1, 0.2, 3.0])
    for face in (blobs(generator, 50, 60), torch.full((6, 7), -1), torch.zeros(6, 7, dtype=torch.int64)):
        depth = 3 + torch.rand(face.shape, generator=generator, dtype=dtype)
        arguments = (face, depth, inverse, pose, count)
        (ours, number), (twin, expected) = contours.contour(*arguments), contours_twin.contour(*arguments)
        assert int(number) == int(expected)
        torch.testing.assert_close(ours[:, :5], twin[:, :5], rtol=1e-4, atol=1e-4)
        assert float((ours[:, 5:] != twin[:, 5:]).float().mean()) < 0.01  # a pixel more or less where a line meets a pixel's corner


@pytest.mark.parametrize("radius", [6.0, 17.3, 40.0])
def test_the_contour_of_a_disk_is_its_circle(radius: float) -> None:
    """To a fraction of a pixel, and without a bias that would grow or shrink what is tracked."""
    off = []
    for shift in (0.0, 0.3, 0.5, 0.8):
        center = (50 + shift, 50 + 0.7 * shift)
        rows, number = contours.contour(disk(100, 100, center, radius), torch.ones(100, 100), torch.eye(3), torch.eye(4), 2000)
        away = rows[: int(number), :2] - torch.tensor(center)
        off.append(away.norm(dim=1) - radius)
        normals = rows[: int(number), 3:5]
        assert float((normals * away / away.norm(dim=1, keepdim=True)).sum(1).min()) > math.cos(math.radians(20))
    error = torch.cat(off)
    assert abs(float(error.mean())) < 0.03 + 0.7 / radius and float(error.std()) < 0.25  # the window rounds what is curved


@pytest.mark.parametrize("scale", [1.0, 0.73, 0.25])
@pytest.mark.parametrize("painted", [False, True])
def test_pyramid_kernel_matches_twin(scale: float, painted: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    image = image_of(generator, 60, 80)
    paint = 200 * torch.rand(21, 30, generator=generator) - 50 if painted else torch.empty(0, 0)
    arguments = (image, torch.tensor([5.0, 3.0]), scale, disk(21, 30, (14, 9), 8), paint, 4)
    for ours, twin in zip(pyramids.grey_pyramid(*arguments), pyramids_twin.grey_pyramid(*arguments)):
        torch.testing.assert_close(ours, twin, rtol=1e-4, atol=2e-3)


def test_a_pyramid_of_one_brightness_is_flat() -> None:
    image = torch.full((40, 40, 3), 77, dtype=torch.uint8)
    for level in pyramids.grey_pyramid(image, torch.zeros(2), 0.5, disk(17, 19, (9, 9), 5), torch.empty(0, 0), 3):
        assert float(level.abs().max()) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_texture_points_match_twin(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    levels = pyramids.grey_pyramid(image_of(generator, 60, 80), torch.zeros(2), 1.0, disk(60, 80, (40, 30), 25), torch.empty(0, 0), 6)
    inverse = torch.tensor([[0.01, 0.0, -0.3], [0.0, 0.012, -0.2], [0, 0, 1]], dtype=dtype)
    for face in (disk(60, 80, (40, 30), 25), torch.full((60, 80), -1)):
        depth = 3 + torch.rand(60, 80, generator=generator, dtype=dtype)
        a, b, c = (t.to(dtype) for t in levels)
        arguments = (a, b, c, face, depth, inverse, torch.eye(4, dtype=dtype), 7, 3, 1.0)
        (ours, number), (twin, expected) = pyramids.texture_points(*arguments), pyramids_twin.texture_points(*arguments)
        assert int(number) == int(expected) and (int(number) > 20) == bool((face >= 0).any())
        torch.testing.assert_close(ours, twin, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("step", [1, 3])
def test_color_kernel_matches_twin(scale: float, step: int) -> None:
    generator = torch.Generator().manual_seed(3)
    image = image_of(generator, 60, 80)
    for face in (disk(30, 30, (14, 15), 9), blobs(generator, 30, 30), torch.full((30, 30), -1)):
        arguments = (image, face, torch.tensor([20.0, 10.0]), scale, torch.tensor([3, 1, 78, 57]), step, 4)
        torch.testing.assert_close(colors.color_counts(*arguments), colors_twin.color_counts(*arguments), rtol=1e-4, atol=1e-6)


def test_colors_of_a_red_disk_on_blue() -> None:
    face = disk(40, 40, (20, 20), 10)
    image = torch.zeros(40, 40, 3, dtype=torch.uint8)
    image[..., 2] = 255
    image[face >= 0] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    inside, outside = colors.color_counts(image, face, torch.zeros(2), 1.0, torch.tensor([0, 0, 40, 40]), 1, 3)
    assert float(inside[7 * 64]) > 0.05 and float(outside[7]) > 0.05
    torch.testing.assert_close(torch.stack([inside.sum(), outside.sum()]), torch.ones(2))
    assert float(inside[7]) == 0 and float(outside[7 * 64]) == 0
