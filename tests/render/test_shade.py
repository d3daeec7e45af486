"""Shading: hand-computed pixels of the course's equation, every light, gradients, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import unproject as up
from unproject.testing import check_gradients

UP = torch.tensor([[0.0, 0.0, 1.0]])
HERE = torch.zeros(1, 3)


def shade(
    lights: Any, *, eye: tuple[float, float, float] = (0.0, 0.0, 1.0), normal: torch.Tensor = UP, reflection: str = "phong", **surface: Any
):
    toward = torch.nn.functional.normalize(torch.tensor([eye]), dim=-1)
    return up.shade_points(HERE, UP, toward, up.make_reflectance(**surface), lights, reflection=reflection)[0]


def course(c_r: torch.Tensor, c_a: torch.Tensor, c_l: torch.Tensor, c_p: float, theta: float, sigma: float, p: float) -> torch.Tensor:
    return c_r * (c_a + c_l * math.cos(theta) + c_l * c_p * math.cos(sigma) ** p)


def test_the_course_equation() -> None:
    """Light 30 degrees to one side, eye 50 to the other: theta = 30, sigma = 20 for the mirrored ray, (50 - 30) / 2 for the half."""
    c_r, c_a, c_l = torch.tensor([0.8, 0.4, 0.1]), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.7, 0.6, 0.5])
    from_left = (math.sin(math.radians(30)), 0.0, -math.cos(math.radians(30)))
    eye = (math.sin(math.radians(50)), 0.0, math.cos(math.radians(50)))
    lights = [up.AmbientLight(color=c_a), up.DirectionalLight(direction=from_left, color=c_l)]
    surface = {"ambient": c_r, "diffuse": c_r, "specular": 0.6 * c_r, "shininess": 12.0}
    for reflection, sigma in (("phong", 20.0), ("blinn_phong", 10.0)):
        expected = course(c_r, c_a, c_l, 0.6, math.radians(30), math.radians(sigma), 12.0)
        torch.testing.assert_close(shade(lights, eye=eye, reflection=reflection, **surface), expected)
    torch.testing.assert_close(shade(lights, eye=eye, reflection="lambert", **surface), c_r * (c_a + c_l * math.cos(math.radians(30))))


def test_light_from_behind_gives_only_the_ambient_part() -> None:
    lights = [up.AmbientLight(color=(0.2, 0.2, 0.2)), up.DirectionalLight(direction=(0.0, 0.1, 1.0))]
    torch.testing.assert_close(shade(lights, ambient=0.5, specular=1.0, shininess=0.0), torch.full((3,), 0.1))


def test_coefficients_are_by_channel_and_lights_add_up() -> None:
    surface = {
        "ambient": torch.tensor([0.1, 0.2, 0.3]),
        "diffuse": torch.tensor([0.9, 0.0, 0.5]),
        "emissive": torch.tensor([0.0, 0.05, 0.0]),
    }
    one, two = up.DirectionalLight(direction=(0, 0, -1.0), color=(1.0, 1.0, 0.5)), up.DirectionalLight(direction=(0, 3.0, -3.0))
    torch.testing.assert_close(shade([one], **surface), torch.tensor([0.9, 0.05, 0.25]))
    both = torch.tensor([0.9, 0.05, 0.25]) + math.sqrt(0.5) * torch.tensor([0.9, 0.0, 0.5])
    torch.testing.assert_close(shade([one, two], **surface), both)
    torch.testing.assert_close(shade([], **surface), surface["emissive"])


def test_point_light_with_attenuation() -> None:
    light = up.PointLight(position=(0.0, 3.0, 4.0), color=(2.0, 2.0, 2.0), attenuation=(1.0, 0.2, 0.04))
    torch.testing.assert_close(shade([light], ambient=0.0), torch.full((3,), 2 * 0.8 / 3.0))


def test_spot_light_is_smooth_between_its_angles() -> None:
    def at(deg: float) -> float:
        a = math.radians(deg)
        light = up.SpotLight(position=(0.0, 0.0, 2.0), direction=(math.sin(a), 0.0, -math.cos(a)), inner_deg=20.0, outer_deg=40.0)
        return float(shade([light])[0])

    t = (math.cos(math.radians(30)) - math.cos(math.radians(40))) / (math.cos(math.radians(20)) - math.cos(math.radians(40)))
    assert at(10) == pytest.approx(1.0) and at(45) == 0.0
    assert at(30) == pytest.approx(t * t * (3 - 2 * t), abs=1e-5)


def test_harmonics_are_the_cosine_integral_of_their_light() -> None:
    """Against numerical integration of the radiance over directions: 1/pi of the sum of L(w) max(0, n . w)."""
    coefficients = torch.randn(9, 3, dtype=torch.float64) * 0.1
    coefficients[0] += 2.0
    normals = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    w = up.camera.viewpoints.fibonacci_directions(200_000, dtype=torch.float64)
    x, y, z = w.unbind(-1)
    s = lambda v: math.sqrt(v / math.pi)
    harmonics = torch.stack(
        [0.5 * s(1) * torch.ones_like(x), *(0.5 * s(3) * v for v in (y, z, x)), 0.5 * s(15) * x * y, 0.5 * s(15) * y * z,
         0.25 * s(5) * (3 * z * z - 1), 0.5 * s(15) * x * z, 0.25 * s(15) * (x * x - y * y)], -1
    )  # fmt: skip
    expected = (normals @ w.T).clamp_min(0) @ (harmonics @ coefficients) * (4 * math.pi / len(w)) / math.pi
    surface = up.make_reflectance(ambient=0.0, dtype=torch.float64)
    found = up.shade_points(torch.zeros_like(normals), normals, normals, surface, up.SphericalHarmonicsLight(coefficients=coefficients))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    white = up.SphericalHarmonicsLight(coefficients=torch.full((1, 3), math.sqrt(4 * math.pi)))
    torch.testing.assert_close(shade([white]), torch.ones(3))


@pytest.mark.parametrize("reflection", ["phong", "blinn_phong", "lambert"])
def test_gradients_of_everything(reflection: str) -> None:
    def color(position, normal, eye, kd, ks, p, place, light_color, attenuation, axis, inner, sh) -> torch.Tensor:
        unit = lambda v: torch.nn.functional.normalize(v, dim=-1)
        surface = up.make_reflectance(diffuse=kd, specular=ks, shininess=p, dtype=torch.float64)
        lights = [
            up.SpotLight(position=place, direction=axis, inner_deg=inner, outer_deg=50.0, color=light_color, attenuation=attenuation),
            up.DirectionalLight(direction=axis, color=light_color), up.SphericalHarmonicsLight(coefficients=sh),
        ]  # fmt: skip
        return up.shade_points(position, unit(normal), unit(eye), surface, lights, reflection=reflection)

    inputs = (
        0.1 * torch.randn(3, 3), UP + 0.2 * torch.randn(3, 3), UP + 0.3 * torch.randn(3, 3), torch.rand(3), torch.rand(3),
        torch.tensor(5.0), torch.tensor([0.4, 0.3, 2.0]),
        torch.rand(3), torch.rand(3), torch.tensor([-0.1, 0.3, -1.0]), torch.tensor(5.0), torch.rand(9, 3),
    )  # fmt: skip
    check_gradients(color, inputs)


def test_gradients_are_finite_at_the_light_and_for_black_highlights() -> None:
    place = torch.zeros(1, 3, requires_grad=True)
    surface = up.make_reflectance(specular=1.0, shininess=torch.tensor(0.3, requires_grad=True))
    lights = [up.PointLight(position=(0.0, 0.0, 0.0), attenuation=(0.0, 0.0, 1.0)), up.PointLight(position=(0.0, 1.0, 0.0))]
    for reflection in ("phong", "blinn_phong"):
        color = up.shade_points(place, UP, torch.tensor([[0.0, -1.0, 0.0]]), surface, lights, reflection=reflection)
        gradients = torch.autograd.grad(color.sum(), (place, surface.shininess))
        assert bool(torch.isfinite(color).all()) and all(bool(torch.isfinite(g).all()) for g in gradients)


def test_errors_name_light_and_field() -> None:
    surface = up.make_reflectance()
    call = lambda lights: up.shade_points(HERE, UP, UP, surface, lights)
    with pytest.raises(TypeError, match=r"shade_points: `lights\[1\]` must be a light"):
        call([up.AmbientLight(), "sun"])
    with pytest.raises(up.ArgumentError, match=r"`lights\[0\].color` must be \[..., 3\], got float32 \[2\]"):
        call([up.AmbientLight(color=torch.ones(2))])
    with pytest.raises(up.ArgumentError, match=r"`lights\[0\].position` has a NaN"):
        call([up.PointLight(position=(0.0, float("nan"), 0.0))])
    with pytest.raises(up.ArgumentError, match="direction` must not be zero"):
        call([up.DirectionalLight(direction=(0.0, 0.0, 0.0))])
    with pytest.raises(up.ArgumentError, match="inner_deg < outer_deg"):
        call([up.SpotLight(position=(0, 0, 1.0), direction=(0, 0, -1.0), inner_deg=30.0, outer_deg=20.0)])
    with pytest.raises(up.ArgumentError, match="coefficients` must be"):
        call([up.SphericalHarmonicsLight(coefficients=torch.zeros(5, 3))])
    with pytest.raises(up.ArgumentError, match="`reflection` must be one of"):
        up.shade_points(HERE, UP, UP, surface, [], reflection="mirror")
    with pytest.raises(up.ArgumentError, match="Shading: `interpolation` must be one of phong, gouraud, flat"):
        up.Shading(interpolation="smooth")
