"""Soft silhouettes and soft blending: kernels against their torch twins, gradients, limits."""

from __future__ import annotations

import pytest
import torch

import unproject as up
from unproject.geometry.primitives import icosphere
from unproject.ops import soft as ops
from unproject.ops import soft_blend as blend_ops
from unproject.reference import soft as reference

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def random_scene(seed: int, dtype: torch.dtype, *, orthographic: bool, cull: bool = False) -> tuple:
    """Arguments of the operator: overlapping triangles in and around two images, some degenerate."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64) * torch.tensor([25.0, 25.0, 0.3], dtype=torch.float64)
    points += torch.tensor([15.0, 15.0, 1.5], dtype=torch.float64)
    faces = torch.cat([torch.randint(0, 20, (14, 3), generator=generator), torch.tensor([[3, 3, 4], [5, 5, 5]])])
    images = torch.tensor([[0, 10, 0], [4, 12, 0]])
    return points.to(dtype), faces, images, 29, 37, 0.1, 50.0, orthographic, cull


def front_camera(size: tuple[int, int] = (32, 40), distance: float = 3.0) -> up.Camera:
    return up.perspective_camera(up.look_at((0.0, 0.0, distance), (0.0, 0.0, 0.0)), image_size=size, fov_y_deg=45.0)


@DTYPES
@pytest.mark.parametrize("orthographic", [False, True])
def test_silhouette_kernel_is_its_twin(dtype: torch.dtype, orthographic: bool) -> None:
    for seed in range(3):
        scene = (*random_scene(seed, dtype, orthographic=orthographic, cull=seed == 1), 2.0, 5.0)
        points = scene[0].requires_grad_()
        ours, twin = ops.soft_silhouette(*scene), reference.soft_silhouette(*scene)
        assert 0.03 < float(ours.detach().mean()) < 0.97
        tolerance = 2e-4 if dtype == torch.float32 else 1e-11
        torch.testing.assert_close(ours, twin, atol=tolerance, rtol=0)
        cotangent = torch.randn_like(ours)
        a, b = (torch.autograd.grad(result, points, cotangent)[0] for result in (ours, twin))
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize("op", [ops.soft_silhouette, blend_ops.soft_blend], ids=["silhouette", "blend"])
def test_opcheck(op: object) -> None:
    for other, make in up.ops.examples.all_examples():
        if other is op:
            torch.library.opcheck(op.overload, make(torch.float64))


def test_silhouette_gradients_of_vertices_and_camera() -> None:
    mesh = icosphere(0)
    camera = front_camera((12, 14))
    weights = torch.randn(12, 14, dtype=torch.float64)

    def value(vertices: torch.Tensor, pose: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
        moved = up.Camera(camera_from_world=pose, intrinsics=intrinsics, image_size=camera.image_size)
        return (weights * up.soft_silhouette(vertices, mesh.faces, moved, sigma=1e-2)).sum()

    inputs = [t.double().requires_grad_() for t in (mesh.vertices, camera.camera_from_world, camera.intrinsics)]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-5)


def test_silhouette_tends_to_the_hard_mask() -> None:
    mesh, camera = icosphere(2), front_camera((64, 64))
    mask = up.rasterize(mesh.vertices, mesh.faces, camera).mask
    soft = up.soft_silhouette(mesh.vertices, mesh.faces, camera, sigma=1e-9)
    assert ((soft > 0.5) == mask).float().mean() > 0.999
    assert (soft - mask.float()).abs().mean() < 0.01


def test_silhouette_cut_by_the_near_plane() -> None:
    """A floor that passes below the camera: covered up to the horizon, with a finite gradient that pulls at it."""
    floor = torch.tensor([[-50.0, 1, -20], [50, 1, -20], [50, 1, 80], [-50, 1, 80]], requires_grad=True)
    camera = up.make_camera(torch.tensor([20.0, 20, 16, 12]), image_size=(24, 32), near=0.5)
    soft = up.soft_silhouette(floor, torch.tensor([[0, 2, 1], [0, 3, 2]]), camera, sigma=1e-3)
    assert (soft[14:] > 0.9).all() and (soft[:11] < 0.1).all()
    (gradient,) = torch.autograd.grad(soft.sum(), floor)
    assert gradient.isfinite().all() and (gradient[:, 1] < 0).any()


def test_silhouette_batches_are_single_images() -> None:
    mesh = icosphere(1)
    eyes = torch.tensor([[0.0, 0, 3], [2, 1, 2], [1, 3, 1]])
    cameras = up.perspective_camera(up.look_at(eyes, torch.zeros(3)), image_size=(20, 24), fov_y_deg=40.0)
    vertices = mesh.vertices.requires_grad_()
    batch = up.soft_silhouette(vertices, mesh.faces, cameras)
    single = torch.stack([up.soft_silhouette(vertices, mesh.faces, cameras[i]) for i in range(3)])
    torch.testing.assert_close(batch, single)
    cotangent = torch.randn_like(batch)
    torch.testing.assert_close(*(torch.autograd.grad(x, vertices, cotangent)[0] for x in (batch, single)), rtol=1e-4, atol=1e-4)


def test_many_images_share_nothing() -> None:
    """More images than slices: each slice draws whole images into one gradient."""
    mesh = icosphere(0)
    offsets = torch.linspace(-0.5, 0.5, 24)[:, None, None] * torch.tensor([1.0, 0.3, 0.0])
    vertices = (mesh.vertices + offsets).requires_grad_()
    batch = up.soft_silhouette(vertices, mesh.faces, front_camera((40, 40)))
    (together,) = torch.autograd.grad(batch[5].sum() + batch[17].square().sum(), vertices)
    alone = [up.soft_silhouette(vertices[i], mesh.faces, front_camera((40, 40))) for i in (5, 17)]
    (expected,) = torch.autograd.grad(alone[0].sum() + alone[1].square().sum(), vertices)
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("option", "value"), [("sigma", 0.0), ("sigma", float("nan")), ("gamma", -1.0)])
def test_bad_options_are_named(option: str, value: float) -> None:
    with pytest.raises(up.ArgumentError, match=f"`{option}`"):
        up.soft_rasterize(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), torch.zeros(3, 1), front_camera(), **{option: value})


@DTYPES
@pytest.mark.parametrize("orthographic", [False, True])
def test_blend_kernel_is_its_twin(dtype: torch.dtype, orthographic: bool) -> None:
    for seed in range(3):
        points, faces, images, *view = random_scene(seed, dtype, orthographic=orthographic, cull=seed == 1)
        points, attributes = points.requires_grad_(), torch.randn(40, 3, dtype=dtype, requires_grad=True)
        exponents = torch.tensor([[20.0, 10.0], [4.0, 30.0]], dtype=torch.float64)
        arguments = (points, faces, images, attributes, torch.tensor([0, 20]), exponents, *view, 2.0, 5.0)
        ours, twin = blend_ops.soft_blend(*arguments), reference.soft_blend(*arguments)
        tolerance = 2e-4 if dtype == torch.float32 else 1e-10
        for a, b in zip(ours, twin):
            torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
        cotangents = [torch.randn_like(t) for t in ours]
        cotangents[3] = torch.where(twin[3] > -1e20, cotangents[3], 0)
        gradients = [torch.autograd.grad(result, (points, attributes), cotangents) for result in (ours, twin)]
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_blend_gradients_of_vertices_attributes_and_camera() -> None:
    mesh, camera = icosphere(0), front_camera((10, 12))
    weights = torch.randn(10, 12, 4, dtype=torch.float64)

    def value(vertices: torch.Tensor, attributes: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        moved = up.Camera(camera_from_world=pose, intrinsics=camera.intrinsics.double(), image_size=camera.image_size)
        image = up.soft_rasterize(vertices, mesh.faces, attributes, moved, sigma=1e-2, gamma=0.1, depth_range=(1.0, 5.0))
        return (weights * torch.cat([up.over(image.values, image.alpha, 0.3), image.depth[..., None]], -1)).sum()

    inputs = [mesh.vertices.double(), torch.randn(12, 3, dtype=torch.float64), camera.camera_from_world.double()]
    assert torch.autograd.gradcheck(value, [t.requires_grad_() for t in inputs], eps=1e-7, atol=1e-5)


def test_blend_tends_to_the_nearest_face() -> None:
    mesh, camera = icosphere(2), front_camera((48, 48))
    image = up.soft_rasterize(mesh.vertices, mesh.faces, mesh.vertices, camera, sigma=1e-8, gamma=1e-5)
    fragments = up.rasterize(mesh.vertices, mesh.faces, camera)
    hard = (fragments.barycentrics[..., None] * mesh.vertices[mesh.faces[fragments.face.clamp_min(0)]]).sum(-2)
    seen = fragments.mask
    torch.testing.assert_close(image.values[seen], hard[seen], atol=1e-2, rtol=0)
    torch.testing.assert_close(image.depth[seen], fragments.depth[seen], atol=1e-2, rtol=0)


def test_blend_is_between_two_squares_of_equal_weight() -> None:
    """Two squares that fill the image, at nearness 1 and 0: weights e^(1 / gamma) to 1."""
    square = torch.tensor([[-9.0, -9, 1], [9, -9, 1], [9, 9, 1], [-9, 9, 1]])
    vertices = torch.cat([square, 3 * square])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = torch.tensor([1.0, 0.0]).repeat_interleave(4)[:, None]
    camera = up.make_camera(torch.tensor([4.0, 4, 4.3, 4]), image_size=(8, 8))
    image = up.soft_rasterize(vertices, faces, colors, camera, gamma=0.5)
    torch.testing.assert_close(image.values, torch.full((8, 8, 1), 1 / (1 + torch.e**-2)), atol=1e-5, rtol=0)
    torch.testing.assert_close(image.alpha, torch.ones(8, 8))


def test_blend_batches_attributes_and_clipping() -> None:
    mesh = icosphere(1)
    eyes = torch.tensor([[0.0, 0, 3], [2, 1, 2], [0.2, 0.1, 0.3]])  # the last one lies inside, faces cross its near plane
    cameras = up.perspective_camera(up.look_at(eyes, torch.zeros(3)), image_size=(20, 24), fov_y_deg=40.0, near=0.2)
    vertices = mesh.vertices.requires_grad_()
    for attributes in (torch.randn(mesh.vertex_count, 2), torch.randn(3, mesh.vertex_count, 2)):
        batch = up.soft_rasterize(vertices, mesh.faces, attributes, cameras, gamma=1e-2)
        pick = lambda i, a=attributes: a if a.dim() == 2 else a[i]
        singles = [up.soft_rasterize(vertices, mesh.faces, pick(i), cameras[i], gamma=1e-2) for i in range(3)]
        torch.testing.assert_close(batch.values, torch.stack([s.values for s in singles]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batch.depth, torch.stack([s.depth for s in singles]), atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(batch.values.sum() + batch.alpha.sum(), vertices)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
