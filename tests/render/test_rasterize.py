"""The hard rasterizer: against its torch twin, watertight, complete, with exact gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.geometry.primitives import icosphere
from unproject.ops import rasterize as ops
from unproject.reference import rasterize as reference

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def random_scene(seed: int, dtype: torch.dtype, *, orthographic: bool, rounded: bool = False, cull: bool = False) -> tuple:
    """Arguments of the operator: triangles in and around two images, many cut by the near plane, some degenerate."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(30, 3, generator=generator, dtype=torch.float64) * torch.tensor([30.0, 30.0, 1.5], dtype=torch.float64)
    points = points.round() if rounded else points
    points[:, 2] += 0.0 if orthographic else 0.8
    faces = torch.randint(0, 30, (40, 3), generator=generator)
    images = torch.tensor([[0, 25, 0], [10, 30, 0]])
    return points.to(dtype), faces, images, 37, 45, -1.0 if orthographic else 0.1, 50.0, orthographic, cull


def front_camera(size: tuple[int, int] = (32, 40), distance: float = 3.0) -> up.Camera:
    return up.perspective_camera(up.look_at((0.0, 0.0, distance), (0.0, 0.0, 0.0)), image_size=size, fov_y_deg=45.0)


@DTYPES
@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
def test_kernel_is_its_twin(dtype: torch.dtype, orthographic: bool, rounded: bool) -> None:
    for seed in range(3):
        scene = random_scene(seed, dtype, orthographic=orthographic, rounded=rounded, cull=seed == 1)
        points = scene[0].requires_grad_()
        ours, twin = ops.rasterize(*scene), reference.rasterize(*scene)
        assert torch.equal(ours[2], twin[2])
        assert (ours[2] >= 0).any()
        tolerance = 2e-5 if dtype == torch.float32 else 1e-11
        for a, b in zip(ours[:2], twin[:2]):
            torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
        cotangents = [torch.randn_like(t) for t in ours[:2]]
        gradients = [torch.autograd.grad(result[:2], points, cotangents)[0] for result in (ours, twin)]
        torch.testing.assert_close(*gradients, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-3 * float(gradients[1].abs().max()))


@pytest.mark.parametrize("orthographic", [False, True])
def test_layers_are_their_twin(orthographic: bool) -> None:
    scene = random_scene(7, torch.float64, orthographic=orthographic, rounded=True)
    state = [(torch.empty((0, 0, 0), dtype=torch.int64), torch.empty((0, 0, 0), dtype=torch.float64))] * 2
    for _ in range(5):
        ours, twin = ops.rasterize_behind(*scene, *state[0]), reference.rasterize_behind(*scene, *state[1])
        assert torch.equal(ours[2], twin[2])
        state = [ours[2:], twin[2:]]


@pytest.mark.parametrize("name", ["rasterize", "rasterize_backward"])
def test_opcheck(name: str) -> None:
    for op, make in up.ops.examples.all_examples():
        if op is getattr(ops, name):
            torch.library.opcheck(op.overload, make(torch.float64))


def test_gradients_of_vertices_and_camera() -> None:
    mesh = icosphere(0)
    camera = front_camera((12, 14))
    weights = torch.randn(12, 14, 4, dtype=torch.float64)

    def value(vertices: Tensor, pose: Tensor, intrinsics: Tensor) -> Tensor:
        moved = up.Camera(camera_from_world=pose, intrinsics=intrinsics, image_size=camera.image_size)
        fragments = up.rasterize(vertices, mesh.faces, moved)
        return (weights * torch.cat([fragments.barycentrics, fragments.depth[..., None]], -1)).sum()

    inputs = [t.double().requires_grad_() for t in (mesh.vertices, camera.camera_from_world, camera.intrinsics)]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-5)
    assert torch.autograd.gradgradcheck(value, inputs, eps=1e-7, atol=1e-4)


def test_depth_and_barycentrics_are_those_of_the_ray() -> None:
    mesh, camera = icosphere(2), front_camera()
    fragments = up.rasterize(mesh.vertices, mesh.faces, camera)
    origins, directions = up.pixel_rays(camera)
    hit = up.ray_cast(origins, directions, mesh)
    agree = fragments.face == hit.face
    assert agree.float().mean() > 0.99  # edges apart
    seen = agree & fragments.mask
    torch.testing.assert_close(fragments.barycentrics[seen], hit.barycentrics[seen], atol=2e-4, rtol=0)
    point = (fragments.barycentrics[..., None] * mesh.vertices[mesh.faces[fragments.face.clamp_min(0)]]).sum(-2)
    torch.testing.assert_close(up.world_to_camera(camera, point[seen])[:, 2], fragments.depth[seen], atol=1e-5, rtol=0)


def test_every_pixel_of_a_tessellated_square_is_covered_once() -> None:
    generator = torch.Generator().manual_seed(3)
    n = 12
    grid = torch.cartesian_prod(torch.arange(n + 1.0), torch.arange(n + 1.0)).double()
    inner = ((grid > 0) & (grid < n)).all(-1, keepdim=True)
    grid = (grid + inner * (torch.rand(grid.shape, generator=generator) - 0.5) * 0.6).mul(3).round().div(3)  # corners on pixel centres too
    a = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).flatten()
    faces = torch.cat([torch.stack([a, a + 1, a + n + 2], 1), torch.stack([a, a + n + 2, a + n + 1], 1)])
    points = torch.cat([grid * 4, torch.ones(len(grid), 1)], 1)
    camera = up.make_camera(torch.eye(3, dtype=torch.float64), image_size=(4 * n, 4 * n), near=0.5)
    layers = list(itertools.islice(up.peel(points, faces, camera), 3))
    assert len(layers) == 1
    assert layers[0].mask.all()


def test_peeling_finds_every_layer_and_the_lower_face_first() -> None:
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0]])
    depths = torch.tensor([2.0, 1.0, 2.0, 3.0, 1.5, 2.0])
    vertices = (square + depths[:, None, None] * torch.tensor([0.0, 0, 1])).reshape(-1, 3)
    camera = up.make_camera(torch.tensor([8.0, 8, 8, 8]), image_size=(16, 16))
    layers = list(up.peel(vertices, torch.arange(18).reshape(6, 3), camera))
    assert [int(layer.face[7, 8]) for layer in layers] == [1, 4, 0, 2, 5, 3]
    torch.testing.assert_close(torch.stack([layer.depth[7, 8] for layer in layers]), torch.tensor([1.0, 1.5, 2, 2, 2, 3]))
    assert not list(up.peel(vertices[:0], torch.zeros((0, 3), dtype=torch.int64), camera))


def test_near_plane_cuts_and_gradients_stay_finite() -> None:
    """A floor that runs from behind the camera to the horizon: seen from the near plane on, its depth that of the plane."""
    floor = torch.tensor([[-50.0, 1, -20], [50, 1, -20], [50, 1, 80], [-50, 1, 80]], dtype=torch.float64, requires_grad=True)
    camera = up.make_camera(torch.tensor([20.0, 20, 16, 12], dtype=torch.float64), image_size=(24, 32), near=0.5)
    fragments = up.rasterize(floor, torch.tensor([[0, 2, 1], [0, 3, 2]]), camera)
    rows = torch.arange(24) + 0.5
    expected = 20 / (rows - 12)  # y = 1 = z (v - cy) / fy
    assert fragments.mask[13:].all() and not fragments.mask[:12].any()
    torch.testing.assert_close(fragments.depth[13:], expected[13:, None].expand(-1, 32).double())
    (gradient,) = torch.autograd.grad(fragments.depth.sum(), floor)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    behind = up.rasterize(floor, torch.tensor([[0, 1, 1]]), camera)
    assert not behind.mask.any()


def test_culling_keeps_faces_that_turn_counter_clockwise_towards_the_camera() -> None:
    mesh, camera = icosphere(1), front_camera()
    both, front = (up.rasterize(mesh.vertices, mesh.faces, camera, cull_backfaces=cull) for cull in (False, True))
    assert torch.equal(both.face, front.face)
    inside_out = up.rasterize(mesh.vertices, mesh.faces.flip(1), camera, cull_backfaces=True)
    assert torch.equal(inside_out.mask, both.mask)
    assert (inside_out.depth > both.depth)[both.mask].all() and inside_out.depth[16, 20] > 3.8


def test_batches_are_single_images() -> None:
    small, large = icosphere(0), icosphere(2)
    eyes = torch.tensor([[0.0, 0, 3], [2, 1, 2]])
    cameras = up.perspective_camera(up.look_at(eyes, torch.zeros(3)), image_size=(20, 24), fov_y_deg=40.0)
    singles = [[up.rasterize(m.vertices, m.faces, cameras[i]) for m in (small, large)] for i in range(2)]
    shared = up.rasterize(large.vertices, large.faces, cameras)
    assert torch.equal(shared.face, torch.stack([row[1].face for row in singles]))
    own = up.rasterize(torch.stack([large.vertices, 1.1 * large.vertices]), large.faces, cameras[0])
    assert torch.equal(own.face[0], singles[0][1].face) and own.mask[1].sum() > own.mask[0].sum()

    vertices, offsets = (
        torch.cat([small.vertices, large.vertices]),
        torch.tensor([0, small.vertex_count, small.vertex_count + large.vertex_count]),
    )
    faces = torch.cat([small.faces, large.faces + small.vertex_count])
    face_offsets = torch.tensor([0, small.face_count, small.face_count + large.face_count])
    packed = up.rasterize(vertices, faces, cameras[:, None], vertex_offsets=offsets, face_offsets=face_offsets)
    assert packed.face.shape == (2, 2, 20, 24)
    for i, m in itertools.product(range(2), range(2)):
        single = singles[i][m]
        assert torch.equal(packed.face[i, m], torch.where(single.mask, single.face + face_offsets[m], -1))
        torch.testing.assert_close(packed.depth[i, m], single.depth)


def test_threads_do_not_change_a_bit() -> None:
    mesh, camera = icosphere(4), front_camera((200, 300))
    vertices = mesh.vertices.requires_grad_()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            fragments = up.rasterize(vertices, mesh.faces, camera)
            results.append((fragments.face, fragments.barycentrics, *torch.autograd.grad(fragments.depth.sum(), vertices)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_empty_scenes() -> None:
    nothing = torch.zeros((0, 3)), torch.zeros((0, 3), dtype=torch.int64)
    fragments = up.rasterize(*nothing, front_camera())
    assert fragments.face.shape == (32, 40) and not fragments.mask.any()
    cameras = up.perspective_camera(torch.eye(4).expand(0, 4, 4), image_size=(4, 5), fov_y_deg=40.0)
    assert up.rasterize(*nothing, cameras).depth.shape == (0, 4, 5)


def test_degenerate_faces_have_finite_gradients() -> None:
    camera = up.make_camera(torch.tensor([8.0, 8, 8, 8]), image_size=(16, 16))
    vertices = torch.tensor([[-1.0, -1, 2], [1, 1, 2], [-1, -1 + 1e-6, 2], [0, 0, 0], [0, 0, 2], [0, 0, 4]], requires_grad=True)
    fragments = up.rasterize(vertices, torch.tensor([[0, 1, 2], [3, 4, 5], [1, 1, 1], [0, 3, 1]]), camera)
    (gradient,) = torch.autograd.grad(fragments.depth.sum() + fragments.barycentrics.square().sum(), vertices)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(4, 2)}, r"`vertices` must be \[\.\.\., V, 3\]"),
        ({"vertices": torch.full((4, 3), torch.nan)}, "`vertices` has a NaN"),
        ({"faces": torch.zeros(7, 4)}, r"`faces` must be \[F, 3\] integers, got float32 \[7, 4\]"),
        ({"faces": torch.tensor([[0, 1, 4]])}, "`faces` must lie in 0 to 3, found 4"),
        ({"vertex_offsets": torch.tensor([0, 4])}, "needs `face_offsets`"),
        ({"vertex_offsets": torch.tensor([0, 3]), "face_offsets": torch.tensor([0, 1])}, "`vertex_offsets` must rise from 0 to 4"),
        ({"vertices": torch.zeros(3, 4, 3)}, "do not broadcast"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    arguments = {"vertices": torch.zeros(4, 3), "faces": torch.tensor([[0, 1, 2]])} | change
    with pytest.raises(up.ArgumentError, match=message):
        up.rasterize(**arguments, camera=up.perspective_camera(torch.eye(4).expand(2, 4, 4), image_size=(4, 4), fov_y_deg=40.0))


def test_bad_cameras_are_named() -> None:
    triangle = torch.eye(3), torch.tensor([[0, 1, 2]])
    good = front_camera()
    singular = up.Camera(camera_from_world=torch.eye(4), intrinsics=torch.zeros(3, 3), image_size=(4, 4))
    with pytest.raises(up.ArgumentError, match="intrinsics` is singular"):
        up.rasterize(*triangle, singular)
    bent = up.make_camera(good.intrinsics, image_size=(4, 4), distortion=[0.1, 0, 0, 0, 0])
    with pytest.raises(up.ArgumentError, match="without lens distortion"):
        up.rasterize(*triangle, bent)
    with pytest.raises(up.ArgumentError, match="camera_from_world"):
        up.rasterize(*triangle, up.Camera(camera_from_world=torch.full((4, 4), torch.nan), intrinsics=good.intrinsics, image_size=(4, 4)))
