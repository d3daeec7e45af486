"""Soft shading by fragments: the operator against its twin, and against `soft_rasterize` where both apply."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.ops import fragment_terms as terms_ops
from unproject.ops import pixel_shares as shares_ops
from unproject.ops import soft_blend as blend_ops
from unproject.ops import soft_fragments as ops
from unproject.reference import soft as reference
from unproject.testing import check_against_reference

EYES = torch.tensor([[0.0, 0, 3], [2, 1, 2], [0.2, 0.1, 0.3]])  # the last one lies inside, faces cross its near plane


def cameras(dtype: torch.dtype = torch.float32, near: float = 0.2) -> up.Camera:
    pose = up.look_at(EYES.to(dtype), torch.zeros(3, dtype=dtype))
    return up.perspective_camera(pose, image_size=(20, 24), fov_y_deg=40.0, near=near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("room", [0, 4])
def test_fragments_are_those_of_the_twin(dtype: torch.dtype, orthographic: bool, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_ROOM", room)
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(20, 3, generator=generator, dtype=dtype) * torch.tensor([25.0, 25.0, 0.3], dtype=dtype) + 15
    points[:, 2] -= 13.5
    faces = torch.cat([torch.randint(0, 20, (14, 3), generator=generator), torch.tensor([[3, 3, 4], [5, 5, 5]])])
    images, exponents = torch.tensor([[0, 10, 0], [4, 12, 0]]), torch.tensor([[20.0, 10.0], [4.0, 5.0]], dtype=torch.float64)
    view = (0.1, 50.0, orthographic, orthographic, 2.0, 5.0)
    weight = blend_ops.soft_blend(points, faces, images, points[:, :0], torch.zeros(2, dtype=torch.int64), exponents, 29, 37, *view)[3]
    arguments = (points, faces, images, exponents, weight, *view, 1e-3)
    ours, twin = (
        {(p, f) for p, f in zip(*(t.tolist() for t in run(*arguments)))} for run in (ops.soft_fragments, reference.soft_fragments)
    )
    assert len(twin) > 300 and len({p for p, _ in twin}) < len(twin)
    assert len(ours ^ twin) <= (0 if dtype == torch.float64 else len(twin) // 100)  # float32: some lie on the threshold


@pytest.mark.parametrize("orthographic", [False, True])
def test_terms_and_their_gradients_are_those_of_the_twin(orthographic: bool) -> None:
    """Pairs inside and outside of faces of both windings, in two images that share faces; one face has no area."""
    generator = torch.Generator().manual_seed(5)
    points = torch.rand((12, 3), generator=generator, dtype=torch.float64) * torch.tensor([30.0, 30.0, 2.0]).double() + 1
    faces, images = torch.tensor([[0, 1, 2], [0, 2, 3], [1, 4, 2], [3, 5, 4], [5, 3, 0], [1, 1, 4]]), torch.tensor([[0, 4, 0], [2, 4, 6]])
    exponents = torch.tensor([[20.0, 3.0], [4.0, 2.0]], dtype=torch.float64)
    pixel = torch.randint(0, 2 * 18 * 21, (200,), generator=generator)
    face = torch.where(pixel < 18 * 21, 0, 2) + torch.randint(0, 4, (200,), generator=generator)

    def compute(run, leaf: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return run(leaf, faces, images, pixel[chosen], face[chosen], exponents, 18, 21, orthographic, 6.0)

    results = []
    for run in (terms_ops.fragment_terms, reference.fragment_terms):
        leaf = points.clone().requires_grad_()
        found = compute(run, leaf, face >= 0)
        flows = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype) for x in found]
        results.append((*found, *torch.autograd.grad(found, leaf, flows)))
    for ours, twin in zip(*results):
        torch.testing.assert_close(ours, twin, atol=1e-9, rtol=1e-9)
    smooth = (face < 5) & (results[0][0].min(1).values > 0)
    assert 10 < int(smooth.sum()) < 190
    assert torch.autograd.gradcheck(lambda p: compute(terms_ops.fragment_terms, p, smooth), points.requires_grad_())


@pytest.mark.parametrize("count", [0, 1, 300])
def test_shares_are_those_of_the_twin(count: int) -> None:
    power, pixel = 100 * torch.randn(count, dtype=torch.float64), torch.randint(0, 90, (count,))
    run = lambda share: lambda power, pixel: share(power, pixel, 100)
    check_against_reference(run(shares_ops.pixel_shares), run(reference.pixel_shares), [power, pixel])
    some = torch.randn(min(count, 20), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: shares_ops.pixel_shares(p, pixel[: len(some)] % 7, 7), some)


def test_linear_attributes_blend_as_soft_rasterize() -> None:
    """Three cameras, one of them in the mesh, so that faces are cut by the near plane; values, depth, both alphas and all gradients."""
    mesh, camera = up.icosphere(1), cameras(torch.float64)
    vertices, colors = mesh.vertices.double().requires_grad_(), torch.randn(mesh.vertex_count, 2, dtype=torch.float64, requires_grad=True)
    options = {"sigma": 1e-3, "gamma": 1e-2, "background_nearness": 0.2}
    expected = up.soft_rasterize(vertices, mesh.faces, colors, camera, **options)
    fragments = up.soft_fragments(vertices, mesh.faces, camera, least_share=1e-9, **options)
    found = up.blend_fragments(fragments, up.interpolate_vertices(colors, mesh.faces, fragments.face, fragments.barycentrics))
    fields = ("values", "depth", "alpha", "foreground")
    cotangents = [torch.randn_like(getattr(expected, name)) for name in fields]
    for name in fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-6, rtol=1e-6)
    gradients = [torch.autograd.grad([getattr(x, n) for n in fields], (vertices, colors), cotangents) for x in (found, expected)]
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
    sums = torch.zeros(fragments.alpha.numel(), dtype=torch.float64).index_add(0, fragments.pixel, fragments.share.detach())
    torch.testing.assert_close(sums[sums > 0], torch.ones_like(sums[sums > 0]))
    torch.testing.assert_close(fragments.barycentrics.sum(1), torch.ones_like(fragments.depth))


def test_ragged_batches_are_single_images() -> None:
    small, large = up.icosphere(0), up.icosphere(1)
    batch = up.batch_meshes([small, large])
    camera = cameras()[:2]
    offsets = {"vertex_offsets": batch.vertex_offsets, "face_offsets": batch.face_offsets}
    together = up.soft_fragments(batch.vertices, batch.faces, camera[:, None], **offsets)
    image = up.blend_fragments(together, up.interpolate_vertices(batch.vertices, batch.faces, together.face, together.barycentrics))
    assert image.values.shape == (2, 2, 20, 24, 3)
    for i in range(2):
        for m, mesh in enumerate((small, large)):
            alone = up.soft_rasterize(mesh.vertices, mesh.faces, mesh.vertices, camera[i])
            torch.testing.assert_close(image.values[i, m], alone.values, atol=2e-3, rtol=0)
            torch.testing.assert_close(image.alpha[i, m], alone.alpha, atol=1e-5, rtol=0)


def test_gradients_of_shading() -> None:
    """A colour that is not linear on the face, differentiated by vertices and by the camera."""
    mesh = up.icosphere(0)
    weights = torch.randn(10, 12, 2, dtype=torch.float64)

    def value(vertices: Tensor, pose: Tensor) -> Tensor:
        camera = up.perspective_camera(pose, image_size=(10, 12), fov_y_deg=40.0)
        fragments = up.soft_fragments(vertices, mesh.faces, camera, sigma=1e-2, gamma=0.1, depth_range=(1.0, 5.0), least_share=1e-12)
        at = up.interpolate_vertices(vertices, mesh.faces, fragments.face, fragments.barycentrics)
        image = up.blend_fragments(fragments, torch.stack([(3 * at).sin().sum(1), at.square().sum(1)], 1))
        return (weights * up.over(image.values, image.foreground, 0.3)).sum()

    inputs = [mesh.vertices.double().requires_grad_(), up.look_at(EYES[1].double(), torch.zeros(3).double()).requires_grad_()]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-5)


def test_background_takes_part_in_the_weights() -> None:
    """A square that fills the image at the near end of the depth range, nearness 1, against a background at nearness 0.5."""
    square = torch.tensor([[-9.0, -9, 1], [9, -9, 1], [9, 9, 1], [-9, 9, 1]])
    camera = up.make_camera(torch.tensor([4.0, 4, 4.3, 4]), image_size=(8, 8))
    options = {"gamma": 0.5, "background_nearness": 0.5, "depth_range": (1.0, 2.0)}
    image = up.soft_rasterize(square, torch.tensor([[0, 1, 2]]), torch.ones(4, 1), camera, **options)
    covered = image.alpha[1, 6]
    torch.testing.assert_close(image.foreground[1, 6], covered * torch.e**2 / (covered * torch.e**2 + torch.e))
    assert float(image.foreground[7, 0]) < 1e-6 and float(image.alpha[7, 0]) < 1e-6


def test_nothing_in_view() -> None:
    camera, none = cameras(), torch.zeros((0, 3), dtype=torch.int64)
    for vertices, faces in ((torch.zeros(0, 3), none), (up.icosphere(0).vertices + 100, up.icosphere(0).faces)):
        fragments = up.soft_fragments(vertices.requires_grad_(), faces, camera)
        image = up.blend_fragments(fragments, torch.zeros(0, 3))
        assert fragments.pixel.shape == (0,) and image.values.shape == (3, 20, 24, 3) and not image.alpha.any()
        (image.values.sum() + image.alpha.sum()).backward()
        assert vertices.grad is not None and not vertices.grad.any()


def test_bad_arguments_are_named() -> None:
    triangle = torch.zeros(3, 3), torch.tensor([[0, 1, 2]])
    for option, value in (("least_share", 0.0), ("gamma", 0.0), ("depth_range", (2.0, 1.0)), ("background_nearness", float("nan"))):
        with pytest.raises(up.ArgumentError, match=f"`{option}`"):
            up.soft_fragments(*triangle, cameras(), **{option: value})
    fragments = up.soft_fragments(*triangle, cameras())
    with pytest.raises(up.ArgumentError, match=r"`values` must be \[0, C\]"):
        up.blend_fragments(fragments, torch.zeros(3, 1))
    with pytest.raises(up.UnprojectError, match="rows of images"):
        _ = fragments[0]
    assert isinstance(fragments.to(torch.float64), up.SoftFragments)
