"""Antialiased outlines: areas and gradients against supersampled images, the kernel against its twin, limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.ops import antialias as ops
from unproject.ops import rasterize as raster_ops
from unproject.reference import antialias as reference

COLORS = torch.tensor([[1.0, 0.2], [0.3, 0.9]], dtype=torch.float64)
FINE = 64  # samples a pixel along each axis


def camera(size: tuple[int, int], scale: int = 1, *, orthographic: bool = False, pose: Tensor | None = None) -> up.Camera:
    if pose is None:
        pose = up.look_at(torch.tensor([0.3, 0.2, 3.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    image_size = (size[0] * scale, size[1] * scale)
    if orthographic:
        return up.orthographic_camera(pose, image_size=image_size, view_height=2.4)
    return up.perspective_camera(pose, image_size=image_size, fov_y_deg=45.0)


def two_spheres() -> tuple[Tensor, Tensor, Tensor]:
    """A coarse sphere before a finer one: outlines against the background and against each other. Vertices, faces, object of each face."""
    far, near = up.icosphere(1), up.icosphere(0)
    shift = torch.tensor([[0.3, 0.1, 0.0], [-0.2, -0.15, 1.0]], dtype=torch.float64)
    vertices = torch.cat([far.vertices.double() * 0.7 + shift[0], near.vertices.double() * 0.4 + shift[1]])
    which = torch.cat([torch.zeros(far.face_count), torch.ones(near.face_count)]).to(torch.int64)
    return vertices, torch.cat([far.faces, near.faces + far.vertex_count]), which


def open_surface() -> tuple[Tensor, Tensor, Tensor]:
    """Three triangles with sharp corners and a notch."""
    points = [[-0.7, -0.6, 0], [0.8, -0.5, 0.3], [0.6, 0.7, -0.2], [-0.75, 0.5, 0.1], [0.1, 0.0, 0.6]]
    return torch.tensor(points, dtype=torch.float64), torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4]]), torch.zeros(3, dtype=torch.int64)


SCENES = {"two spheres": two_spheres, "open surface": open_surface}


def sharp(vertices: Tensor, faces: Tensor, which: Tensor, view: up.Camera) -> tuple[up.Fragments, Tensor]:
    fragments = up.rasterize(vertices, faces, view)
    return fragments, torch.where(fragments.mask[..., None], COLORS[which[fragments.face.clamp_min(0)]], 0)


def supersampled(vertices: Tensor, faces: Tensor, which: Tensor, size: tuple[int, int], **options: bool) -> Tensor:
    _, image = sharp(vertices, faces, which, camera(size, FINE, **options))
    return image.view(size[0], FINE, size[1], FINE, 2).mean((1, 3))


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("name", SCENES)
def test_pixels_have_the_areas_of_a_supersampled_image(name: str, orthographic: bool) -> None:
    scene, size = SCENES[name](), (16, 18)
    view = camera(size, orthographic=orthographic)
    fragments, image = sharp(*scene, view)
    smooth = up.antialias(image, fragments, *scene[:2], view)
    fine = supersampled(*scene, size, orthographic=orthographic)
    assert (smooth - fine).abs().mean() < 0.25 * (image - fine).abs().mean()  # what is left are pixels with corners or several edges


@pytest.mark.parametrize("name", SCENES)
def test_gradients_are_differences_of_a_supersampled_image(name: str) -> None:
    """The loss is a random smooth image; every coordinate across the view of some vertices."""
    vertices, faces, which = SCENES[name]()
    size, step = (20, 20), 6e-3
    generator = torch.Generator().manual_seed(5)
    weights = torch.nn.functional.interpolate(torch.randn(1, 2, 5, 5, generator=generator).double(), size=size, mode="bicubic")[0].permute(
        1, 2, 0
    )
    leaf = vertices.clone().requires_grad_()
    fragments, image = sharp(leaf, faces, which, camera(size))
    (gradient,) = torch.autograd.grad((weights * up.antialias(image, fragments, leaf, faces, camera(size))).sum(), leaf)
    moved = gradient.norm(dim=1).argsort(descending=True)[:: 1 if len(vertices) < 10 else 3][:10].tolist()
    pairs = []
    for i in moved:
        for k in range(2):
            values = []
            for sign in (1, -1):
                other = vertices.clone()
                other[i, k] += sign * step
                values.append((weights * supersampled(other, faces, which, size)).sum())
            pairs.append(torch.stack([gradient[i, k], (values[0] - values[1]) / (2 * step)]))
    ours, expected = torch.stack(pairs).T
    assert torch.nn.functional.cosine_similarity(ours, expected, dim=0) > 0.99
    assert 0.95 < ours.norm() / expected.norm() < 1.05


def test_gradient_of_a_pose() -> None:
    """A dense mesh of which each edge is a part of a pixel: the six numbers of its pose."""
    mesh, size = up.torus(), (16, 16)
    vertices = mesh.vertices.double() / mesh.vertices.abs().max() * 0.8
    start = camera(size).camera_from_world @ up.se3_exp(torch.tensor([0, 0, 0, 0.9, 0.4, 0.2], dtype=torch.float64))
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    weights = torch.sin(0.5 * x + 0.3 * y) + 0.1 * x

    def area(xi: Tensor, scale: int) -> Tensor:
        view = camera(size, scale, pose=start @ up.se3_exp(xi))
        if scale == 1:
            return up.silhouette(vertices, mesh.faces, view)
        with torch.no_grad():
            return up.rasterize(vertices, mesh.faces, view).mask.double().view(16, scale, 16, scale).mean((1, 3))

    xi = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((weights * area(xi, 1)).sum(), xi)
    steps = 0.02 * torch.eye(6, dtype=torch.float64)
    expected = torch.stack([(weights * (area(s, FINE) - area(-s, FINE))).sum() / 0.04 for s in steps])
    assert torch.nn.functional.cosine_similarity(gradient, expected, dim=0) > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("orthographic", [False, True])
def test_kernel_is_its_twin(dtype: torch.dtype, orthographic: bool) -> None:
    """Two images of random triangles, some cut by the near plane."""
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(24, 3, generator=generator, dtype=torch.float64) * torch.tensor([25.0, 25.0, 0.8], dtype=torch.float64)
        points = (points + torch.tensor([15.0, 15.0, 1.5], dtype=torch.float64)).to(dtype)
        faces = torch.randint(0, 12, (10, 3), generator=generator)
        topology = up.make_topology(faces, 12)
        images, near = torch.tensor([[0, 10, 0], [0, 10, 12]]), (-1.0 if orthographic else 0.3)
        _, depth, face = raster_ops.rasterize(points, faces, images, 29, 37, near, 50.0, orthographic, seed == 1)
        table = torch.tensor([[0, 0, topology.edge_count, 0], [12, 0, topology.edge_count, 0]])
        image = torch.rand(2, 29, 37, 2, generator=generator, dtype=torch.float64).to(dtype)
        edges = (topology.edges, topology.edge_halfedge_offsets, topology.edge_halfedges)
        inputs = [image.requires_grad_(), points.requires_grad_()]
        results = [
            run(*inputs, faces, table, *edges, face, depth, near, orthographic, seed == 1) for run in (ops.antialias, reference.antialias)
        ]
        tolerance = 1e-4 if dtype == torch.float32 else 1e-10
        assert (results[0] - image).abs().max() > 0.1
        torch.testing.assert_close(*results, atol=tolerance, rtol=tolerance)
        cotangent = torch.randn(image.shape, generator=generator).to(dtype)
        for a, b in zip(*(torch.autograd.grad(r, inputs, cotangent) for r in results)):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_gradcheck_of_the_image() -> None:
    """The result is linear in the image, exactly; positions have the gradient of the area, which gradcheck sees on one straight edge."""
    triangle = torch.tensor([[-3.0, -0.6, 0], [3.0, 0.31, 0], [0.0, 9.0, 0]], dtype=torch.float64)
    faces, view = torch.tensor([[0, 1, 2]]), camera((6, 7), orthographic=True)
    fragments = up.rasterize(triangle, faces, view)
    image = torch.rand(6, 7, 2, dtype=torch.float64)

    def value(image: Tensor, vertices: Tensor) -> Tensor:
        return up.antialias(image, fragments, vertices, faces, view)

    assert torch.autograd.gradcheck(value, (image.requires_grad_(), triangle.requires_grad_()), eps=1e-6, atol=1e-6)


def test_batches_are_single_images() -> None:
    small, large = up.icosphere(0), up.icosphere(1)
    batch = up.batch_meshes([small, large])
    pose = up.look_at(torch.tensor([[0.3, 0.2, 3.0], [2.0, 1.0, 2.0]], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    cameras = up.perspective_camera(pose, image_size=(20, 24), fov_y_deg=40.0)
    offsets = {"vertex_offsets": batch.vertex_offsets, "face_offsets": batch.face_offsets}
    together = up.silhouette(batch.vertices.double(), batch.faces, cameras[:, None], **offsets)
    for i in range(2):
        for m, mesh in enumerate((small, large)):
            torch.testing.assert_close(together[i, m], up.silhouette(mesh.vertices.double(), mesh.faces, cameras[i]))


def test_near_plane_and_empty_scenes() -> None:
    floor = torch.tensor([[-50.0, 1, -20], [50, 1, -20], [50, 1, 80], [-50, 1, 80]], requires_grad=True)
    view = up.make_camera(torch.tensor([20.0, 20, 16, 12]), image_size=(24, 32), near=0.5)
    image = up.silhouette(floor, torch.tensor([[0, 2, 1], [0, 3, 2]]), view)
    (gradient,) = torch.autograd.grad(image.sum(), floor)
    assert gradient.isfinite().all() and (gradient[2:, 1] < 0).all()  # y down: lifting the far edge lifts the horizon
    nothing = up.silhouette(torch.zeros(0, 3), torch.zeros((0, 3), dtype=torch.int64), view)
    assert nothing.shape == (24, 32) and not nothing.any()


def test_bad_arguments_are_named() -> None:
    mesh, view = up.icosphere(0), camera((8, 8)).to(torch.float32)
    fragments = up.rasterize(mesh.vertices, mesh.faces, view)
    with pytest.raises(up.ArgumentError, match="`image` must be"):
        up.antialias(torch.zeros(8, 9, 3), fragments, mesh.vertices, mesh.faces, view)
    with pytest.raises(up.ArgumentError, match="different sizes"):
        up.antialias(torch.zeros(2, 8, 8, 3), fragments, mesh.vertices, mesh.faces, view)
    with pytest.raises(up.ArgumentError, match="`topology` is that of another mesh"):
        up.silhouette(mesh.vertices, mesh.faces, view, topology=up.mesh_topology(up.icosphere(1)))
