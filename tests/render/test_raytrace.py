"""Ray tracing: the rasterizer's fragments but for edges, through any lens, with exact gradients."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.camera.transform import pixel_centers
from unproject.geometry.join import join_meshes
from unproject.render.raytrace import raytrace_layers

LENSES: dict[str, dict[str, Any]] = {
    "perspective": {},
    "mirrored": {},
    "orthographic": {"projection": "orthographic", "near": -4.0},
    "rational": {"distortion": torch.tensor([0.1, -0.05, 0.01, -0.02, 0.01, 0.05, 0.01, 0.002])},
    "fisheye": {"projection": "fisheye", "distortion": torch.tensor([0.05, -0.01, 0.002, 0.0])},
}


def camera_of(kind: str, *, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (47, 60)) -> up.Camera:
    """Unequal sides, unequal focal lengths, an off-centre principal point."""
    scale = size[0] / 47
    k = torch.tensor([55.0, 60, 33, 21], dtype=torch.float64) * scale
    if kind == "orthographic":
        k[:2] = torch.tensor([16.0, 18.0]) * scale
    if kind == "mirrored":
        k[0] = -k[0]
    pose = up.look_at(torch.tensor([1.0, 2.0, 2.5], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    return up.make_camera(k, pose, image_size=size, **LENSES[kind]).to(dtype)


def differ(a: up.Fragments, b: up.Fragments) -> float:
    """Share of pixels that show another face."""
    return float((a.face != b.face).double().mean())


@pytest.mark.parametrize("kind", ["perspective", "mirrored", "orthographic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fragments_are_those_of_the_rasterizer(kind: str, dtype: torch.dtype) -> None:
    mesh, camera = up.torus(1.0, 0.4), camera_of(kind, dtype=dtype)
    vertices = mesh.vertices.to(dtype)
    for faces, cull in itertools.product((mesh.faces, mesh.faces.flip(1)), (False, True)):
        ours, raster = (f(vertices, faces, camera, cull_backfaces=cull) for f in (up.raytrace, up.rasterize))
        assert differ(ours, raster) < 2e-3
        both = raster.mask & (ours.face == raster.face)
        assert both.double().mean() > 0.1
        tolerance = 1e-4 if dtype == torch.float32 else 1e-10
        torch.testing.assert_close(ours.depth[both], raster.depth[both], atol=tolerance, rtol=0)
        torch.testing.assert_close(ours.barycentrics[both], raster.barycentrics[both], atol=20 * tolerance, rtol=0)
        assert not ours.depth[~ours.mask].any() and not ours.barycentrics[~ours.mask].any()


@pytest.mark.parametrize("kind", LENSES)
def test_seen_points_are_imaged_to_their_pixels(kind: str) -> None:
    mesh, camera = up.torus(1.0, 0.4), camera_of(kind)
    vertices = mesh.vertices.double()
    fragments = up.raytrace(vertices, mesh.faces, camera)
    point = up.interpolate(vertices, mesh.faces, fragments)
    screen = up.world_to_screen(camera, point.flatten(0, 1)).view(point.shape)
    expected = torch.cat([pixel_centers(camera), fragments.depth[..., None]], -1)
    assert fragments.mask.double().mean() > 0.1
    torch.testing.assert_close(screen[fragments.mask], expected[fragments.mask], atol=1e-6, rtol=0)


def test_nothing_is_seen_where_a_lens_folds_back() -> None:
    """Barrel distortion whose model images nothing beyond a radius of 0.385: a wall in front of the camera ends there."""
    camera = up.make_camera([40.0, 40, 30, 20], image_size=(40, 60), distortion=[-1.0, 0, 0, 0, 0])
    wall = torch.tensor([[-90.0, -90, 1], [90, -90, 1], [90, 90, 1], [-90, 90, 1]])
    fragments = up.raytrace(wall, torch.tensor([[0, 1, 2], [0, 2, 3]]), camera)
    radius = (pixel_centers(camera) - torch.tensor([30.0, 20])).norm(dim=-1) / 40
    assert fragments.mask[radius < 0.38].all() and not fragments.mask[radius > 0.39].any()


def test_near_and_far_are_depths() -> None:
    floor = torch.tensor([[-50.0, 1, -20], [50, 1, -20], [50, 1, 80], [-50, 1, 80]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    for kind in ("perspective", "fisheye"):
        camera = up.make_camera([20.0, 20, 16, 12], image_size=(24, 32), near=2.0, far=10.0, projection=kind)
        depth = up.raytrace(floor, faces, camera).depth
        assert float(depth.max()) <= 10 and float(depth[depth > 0].min()) >= 2
        assert float(depth.max()) > 6
    raster = up.rasterize(floor, faces, up.make_camera([20.0, 20, 16, 12], image_size=(24, 32), near=2.0, far=10.0))
    traced = up.raytrace(floor, faces, up.make_camera([20.0, 20, 16, 12], image_size=(24, 32), near=2.0, far=10.0))
    assert torch.equal(raster.mask, traced.mask)


@pytest.mark.parametrize("kind", LENSES)
def test_gradients_of_vertices_and_camera(kind: str) -> None:
    mesh, camera = up.icosphere(0), camera_of(kind, size=(9, 11))
    weights = torch.randn(9, 11, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value(vertices: Tensor, pose: Tensor, focal_and_center: Tensor, *distortion: Tensor) -> Tensor:
        intrinsics = torch.cat([focal_and_center, camera.intrinsics[2:]])
        options: dict[str, Any] = {"near": camera.near, "projection": camera.projection}
        moved = up.Camera(
            camera_from_world=up.se3_exp(pose) @ camera.camera_from_world, intrinsics=intrinsics, image_size=(9, 11),
            distortion=distortion[0] if distortion else None, **options,
        )  # fmt: skip
        fragments = up.raytrace(vertices, mesh.faces, moved)
        return (weights * torch.cat([fragments.barycentrics, fragments.depth[..., None]], -1)).sum()

    inputs = [mesh.vertices.double(), torch.full((6,), 1e-3, dtype=torch.float64), camera.intrinsics[:2]]
    inputs += [] if camera.distortion is None else [camera.distortion]
    assert torch.autograd.gradcheck(value, [t.requires_grad_() for t in inputs], eps=1e-7, atol=1e-5)


def test_gradients_are_those_of_the_rasterizer() -> None:
    mesh, camera = up.icosphere(2), camera_of("perspective")
    vertices, pose = mesh.vertices.double().requires_grad_(), camera.camera_from_world.clone().requires_grad_()
    moved = up.Camera(camera_from_world=pose, intrinsics=camera.intrinsics, image_size=camera.image_size)
    results = [f(vertices, mesh.faces, moved) for f in (up.raytrace, up.rasterize)]
    assert torch.equal(results[0].face, results[1].face)
    cotangents = [torch.randn_like(results[0].barycentrics), torch.randn_like(results[0].depth)]
    gradients = [torch.autograd.grad((r.barycentrics, r.depth), vertices, cotangents)[0] for r in results]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_batches_are_single_images() -> None:
    small, large = up.icosphere(0), up.icosphere(2)
    eyes = torch.tensor([[0.0, 0, 3], [2, 1, 2]])
    cameras = up.perspective_camera(up.look_at(eyes, torch.zeros(3)), image_size=(20, 24), fov_y_deg=40.0)
    for cull in (False, True):
        trace = partial(up.raytrace, cull_backfaces=cull)
        singles = [[trace(m.vertices, m.faces, cameras[i]) for m in (small, large)] for i in range(2)]
        shared = trace(large.vertices, large.faces, cameras)
        assert torch.equal(shared.face, torch.stack([row[1].face for row in singles]))
        vertices = torch.stack([large.vertices, 1.2 * large.vertices])
        own = trace(vertices, large.faces, cameras[:, None])  # 2 cameras x 2 meshes: images of a mesh are not neighbours
        assert own.face.shape == (2, 2, 20, 24)
        for i in range(2):
            assert torch.equal(own.face[i, 0], singles[i][1].face)
            torch.testing.assert_close(own.depth[i, 1], trace(vertices[1], large.faces, cameras[i]).depth)
        packed = up.batch_meshes([small, large])
        offsets: dict[str, Any] = {"vertex_offsets": packed.vertex_offsets, "face_offsets": packed.face_offsets}
        ragged = up.raytrace(packed.vertices, packed.faces, cameras[:, None], cull_backfaces=cull, **offsets)
        for i, m in itertools.product(range(2), range(2)):
            single = singles[i][m]
            assert torch.equal(ragged.face[i, m], torch.where(single.mask, single.face + packed.face_offsets[m], -1))
            torch.testing.assert_close(ragged.barycentrics[i, m], single.barycentrics)


def test_layers_are_those_of_depth_peeling() -> None:
    mesh = up.torus(1.0, 0.4)
    vertices, camera = mesh.vertices.double()[:, [2, 0, 1]], camera_of("perspective")  # seen from the side
    peeled, traced = list(up.peel(vertices, mesh.faces, camera)), list(raytrace_layers(vertices, mesh.faces, camera))
    assert not traced[-1].mask.any() and len(traced) - 1 == len(peeled) == 4
    assert all(differ(a, b) < 2e-3 for a, b in zip(peeled, traced))


def test_a_tree_is_reused() -> None:
    mesh, camera = up.icosphere(1), camera_of("perspective", dtype=torch.float32)
    tree = up.build_bvh(mesh.vertices, mesh.faces)
    assert torch.equal(up.raytrace(mesh.vertices, mesh.faces, camera, bvh=tree).face, up.raytrace(mesh.vertices, mesh.faces, camera).face)
    with pytest.raises(up.ArgumentError, match="raytrace: `bvh` is of no use with `cull_backfaces`"):
        up.raytrace(mesh.vertices, mesh.faces, camera, bvh=tree, cull_backfaces=True)
    with pytest.raises(up.ArgumentError, match="`bvh` was built for 80 faces"):
        up.raytrace(mesh.vertices, mesh.faces[1:], camera, bvh=tree)


@pytest.mark.parametrize("kind", LENSES)
def test_empty_scenes(kind: str) -> None:
    camera = camera_of(kind, dtype=torch.float32)
    vertices = torch.zeros((0, 3), requires_grad=True)
    fragments = up.raytrace(vertices, torch.zeros((0, 3), dtype=torch.int64), camera)
    assert fragments.face.shape == (47, 60) and not fragments.mask.any()
    fragments.depth.sum().backward()
    none = up.perspective_camera(torch.eye(4).expand(0, 4, 4), image_size=(4, 5), fov_y_deg=40.0)
    mesh = up.icosphere(0)
    assert up.raytrace(mesh.vertices, mesh.faces, none).depth.shape == (0, 4, 5)
    assert up.raytrace(torch.zeros(0, 4, 3), torch.tensor([[0, 1, 2]]), camera).depth.shape == (0, 47, 60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(4, 2)}, r"`vertices` must be \[\.\.\., V, 3\]"),
        ({"vertices": torch.full((4, 3), torch.nan)}, "`vertices` has a NaN"),
        ({"faces": torch.zeros(7, 4)}, r"`faces` must be \[F, 3\] integers"),
        ({"faces": torch.tensor([[0, 1, 4]])}, "`faces` must lie in 0 to 3, found 4"),
        ({"vertices": torch.zeros(3, 4, 3)}, "do not broadcast"),
        ({"camera": "front"}, "`camera` must be a Camera"),
        ({"camera": up.Camera(camera_from_world=torch.eye(4), intrinsics=torch.zeros(3, 3), image_size=(4, 4))}, "`intrinsics`"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    camera = up.perspective_camera(torch.eye(4).expand(2, 4, 4), image_size=(4, 4), fov_y_deg=40.0)
    arguments = {"vertices": torch.zeros(4, 3), "faces": torch.tensor([[0, 1, 2]]), "camera": camera} | change
    with pytest.raises(up.UnprojectError, match=f"raytrace: .*{message}"):
        up.raytrace(**arguments)


def test_render_mesh_by_rays() -> None:
    """The same picture, transparent layers, shadows and mipmaps included; and a lens, which the rasterizer refuses."""
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(64, 64, 3, generator=generator)
    floor = torch.tensor([[-2.0, -1, -2], [-2, -1, 2], [2, -1, 2], [2, -1, -2]])
    plain = up.Mesh(
        vertices=floor, faces=torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs=torch.tensor([[0.0, 0], [0, 1], [1, 1], [1, 0]]),
        materials=(up.Material(diffuse_texture=texture),), face_materials=torch.zeros(2, dtype=torch.int64),
    )  # fmt: skip
    glass = up.icosphere(2)
    green = up.Material(diffuse=torch.tensor([0.2, 0.9, 0.3]), opacity=torch.tensor(0.4))
    glass = up.Mesh(
        vertices=0.7 * glass.vertices, faces=glass.faces, materials=(green,),
        face_materials=torch.zeros(glass.face_count, dtype=torch.int64),
    )  # fmt: skip
    mesh = join_meshes([plain, glass])
    camera = camera_of("perspective", dtype=torch.float32)
    look: dict[str, Any] = {"lights": [up.PointLight(position=(1.0, 3.0, 1.0)), up.AmbientLight(color=(0.3, 0.3, 0.3))]}
    look["shading"] = up.Shading(texture_filter="mipmap")
    images = [up.render_mesh(mesh, camera, **look, options=up.RenderOptions(shadows=True, raytrace=rays)) for rays in (False, True)]
    difference = (images[0].color - images[1].color).abs().amax(-1)
    assert (difference > 2e-3).double().mean() < 5e-3
    bent = camera_of("rational", dtype=torch.float32)
    with pytest.raises(up.ArgumentError, match="ray trace this camera"):
        up.render_mesh(mesh, bent, **look)
    seen = up.render_mesh(mesh, bent, **look, options=up.RenderOptions(raytrace=True, supersampling=2))
    assert seen.color.isfinite().all() and float((seen.color - images[0].color).abs().mean()) > 1e-3
    with pytest.raises(up.ArgumentError, match="`antialias`"):
        up.RenderOptions(raytrace=True, antialias=True)
