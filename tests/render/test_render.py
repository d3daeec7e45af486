"""render_mesh: hand-computed pixels, batches, materials, normal maps, shadows, transparency, gradients, errors."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

import unproject as up
from unproject.testing import check_gradients

LINEAR = up.Shading(color_space="linear", reflection="lambert")
WHITE = [up.AmbientLight()]


def square(half: float = 1.0, dtype: torch.dtype = torch.float32, **fields: Any) -> up.Mesh:
    """In the plane z = 0, seen from +z, with one UV a vertex: u along x, v along y."""
    vertices = half * torch.tensor([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=dtype)
    uvs = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=dtype)
    return up.Mesh(vertices=vertices, faces=torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs=uvs, **fields)


def from_above(size: tuple[int, int] = (16, 16), height: float = 2.0, dtype: torch.dtype = torch.float32) -> up.Camera:
    return up.orthographic_camera(up.look_at(torch.tensor([0.0, 0.0, 5.0], dtype=dtype)), image_size=size, view_height=height)


def test_a_texture_is_its_own_image() -> None:
    """A square that fills the image, unlit: the picture is the texture, upright, texel by texel."""
    texture = torch.rand(16, 16, 3)
    mesh = square(materials=(up.Material(diffuse_texture=texture),))
    for space in ("srgb", "linear"):
        image = up.render_mesh(mesh, from_above(), shading=up.Shading(reflection="unlit", color_space=space))
        torch.testing.assert_close(image.color, texture, atol=2e-5, rtol=0)
        assert bool((image.silhouette == 1).all()) and image.rgba.shape == (16, 16, 4)


def test_pixels_of_the_course_equation() -> None:
    """A point light and a perspective eye over a plane: every pixel against the equation written out for its own position."""
    c_r, c_a, c_l, c_p, p = torch.tensor([0.9, 0.5, 0.2]), 0.1, torch.tensor([0.6, 0.7, 0.8]), 0.5, 20.0
    material = up.Material(ambient=c_r, diffuse=c_r, specular=c_p * c_r, shininess=torch.tensor(p))
    light = torch.tensor([0.8, 0.4, 1.5])
    eye = torch.tensor([-0.4, 0.2, 3.0])
    camera = up.perspective_camera(up.look_at(eye, (0.0, 0.0, 0.0)), image_size=(20, 30), fov_y_deg=30.0)
    lights = [up.AmbientLight(color=(c_a, c_a, c_a)), up.PointLight(position=light, color=c_l)]
    image = up.render_mesh(square(5.0, materials=(material,)), camera, lights=lights, shading=up.Shading(color_space="linear"))
    for row, column in ((0, 0), (10, 15), (19, 3), (7, 28)):
        origin, direction = (t[row, column] for t in up.pixel_rays(camera))
        x = origin - direction * origin[2] / direction[2]
        to_light, to_eye = (light - x) / (light - x).norm(), (eye - x) / (eye - x).norm()
        n = torch.tensor([0.0, 0.0, 1.0])
        cos_theta, cos_sigma = float(n @ to_light), float((2 * (n @ to_light) * n - to_light) @ to_eye)
        expected = c_r * (c_a + c_l * cos_theta + c_l * c_p * max(0.0, cos_sigma) ** p)
        torch.testing.assert_close(image.color[row, column], expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(image.position[row, column], x, atol=1e-5, rtol=0)


def test_srgb_image_is_the_encoded_linear_one() -> None:
    mesh = up.icosphere(2)
    camera = up.frame_camera(mesh.vertices, image_size=(24, 32))
    linear = up.render_mesh(mesh, camera, shading=up.Shading(color_space="linear"))
    encoded = up.render_mesh(mesh, camera)
    mask = linear.silhouette > 0
    torch.testing.assert_close(encoded.color[mask], up.srgb_from_linear(linear.color[mask]))
    assert bool((encoded.color[~mask] == 1).all()) and bool((encoded.rgba[~mask] == 0).all())


def test_flat_gouraud_and_phong_agree_where_they_must() -> None:
    """On a plane under parallel light all three are the same; on a sphere a flat face has one colour and Gouraud is linear."""
    lights = [up.DirectionalLight(direction=(0.3, -0.4, -1.0))]
    shadings = [dataclasses.replace(LINEAR, interpolation=name) for name in ("phong", "gouraud", "flat")]
    plane = [up.render_mesh(square(), from_above(), lights=lights, shading=s).color for s in shadings]
    torch.testing.assert_close(plane[0], plane[1])
    torch.testing.assert_close(plane[0], plane[2])
    sphere, camera = up.icosphere(1), from_above((40, 40), 2.2)
    phong, gouraud, flat = (up.render_mesh(sphere, camera, lights=lights, shading=s) for s in shadings)
    for face in flat.face.unique().tolist()[1:]:
        assert float(flat.color[flat.face == face].var(0, correction=0).max()) < 1e-10
    light = -torch.tensor([0.3, -0.4, -1.0]) / math.sqrt(1.25)
    corners = (up.vertex_normals(sphere.vertices, sphere.faces) @ light).clamp_min(0)[:, None]
    expected = up.interpolate(corners, sphere.faces, up.rasterize(sphere.vertices, sphere.faces, camera))
    mask = gouraud.face >= 0
    torch.testing.assert_close(gouraud.color[mask], expected.expand(-1, -1, 3)[mask], atol=1e-5, rtol=1e-4)
    assert float((phong.color - gouraud.color).abs().max()) > 0.01


def test_geometric_images() -> None:
    mesh = up.icosphere(3)
    camera = up.perspective_camera(up.orbit(30.0, 20.0, 3.0), image_size=(40, 50), fov_y_deg=45.0)
    image, fragments = up.render_mesh(mesh, camera), up.rasterize(mesh.vertices, mesh.faces, camera)
    assert torch.equal(image.face, fragments.face) and torch.equal(image.depth, fragments.depth) and image.uv is None
    mask = fragments.mask
    torch.testing.assert_close(image.normals[mask], torch.nn.functional.normalize(image.position[mask], dim=-1), atol=5e-3, rtol=0)
    flat = up.render_mesh(mesh, camera, shading=up.Shading(interpolation="flat")).normals[mask]
    torch.testing.assert_close(flat, up.face_normals(mesh.vertices, mesh.faces)[fragments.face[mask]], atol=1e-5, rtol=0)


def test_many_materials_in_one_mesh() -> None:
    red, blue = torch.tensor([1.0, 0, 0]).expand(2, 2, 3), torch.tensor([0, 0, 1.0])
    mesh = square(
        materials=(up.Material(diffuse_texture=red), up.Material(ambient=blue, diffuse=blue)), face_materials=torch.tensor([0, 1])
    )
    image = up.render_mesh(mesh, from_above(), lights=WHITE, shading=LINEAR)
    for face, color in ((0, [1.0, 0, 0]), (1, [0, 0, 1.0])):
        torch.testing.assert_close(image.color[image.face == face], torch.tensor(color).expand(int((image.face == face).sum()), 3))
    bare = up.render_mesh(dataclasses.replace(mesh, face_materials=torch.tensor([0, -1])), from_above(), lights=WHITE, shading=LINEAR)
    assert bool((bare.color[bare.face == 1] == 1).all())


def test_vertex_and_face_colors_multiply() -> None:
    mesh = square(vertex_colors=torch.full((4, 3), 0.5), face_attributes={"colors": torch.tensor([[1.0, 0.5, 0, 1], [0.5, 1, 1, 1]])})
    image = up.render_mesh(mesh, from_above(), lights=WHITE, shading=LINEAR)
    torch.testing.assert_close(image.color[image.face == 0][0], torch.tensor([0.5, 0.25, 0.0]))


@pytest.mark.parametrize("mirrored", [False, True])
def test_normal_map_bends_along_u_and_v(mirrored: bool) -> None:
    """A texture normal leant by 0.6 along u (or v) leans along the direction in which u (or v) grows, also on a mirrored texture."""
    for axis in (0, 1):
        bent = torch.tensor([0.0, 0.0, 0.8])
        bent[axis] = 0.6
        mesh = square(materials=(up.Material(normal_texture=(0.5 * bent + 0.5).expand(4, 4, 3)),))
        if mirrored:
            mesh = dataclasses.replace(mesh, uvs=mesh.uvs * torch.tensor([-1.0, 1.0]))
        expected = bent * torch.tensor([-1.0, 1, 1]) if mirrored else bent
        image = up.render_mesh(mesh, from_above())
        torch.testing.assert_close(image.normals, expected.expand(16, 16, 3), atol=1e-5, rtol=0)
        plain = up.render_mesh(mesh, from_above(), shading=up.Shading(normal_maps=False))
        torch.testing.assert_close(plain.normals, torch.tensor([0.0, 0, 1]).expand(16, 16, 3), atol=1e-5, rtol=0)


def test_insides_are_lit_only_two_sided() -> None:
    mesh = square()
    mesh = dataclasses.replace(mesh, faces=mesh.faces.flip(1))
    lights = [up.DirectionalLight(direction=(0.0, 0.0, -1.0))]
    both = up.render_mesh(mesh, from_above(), lights=lights, shading=LINEAR)
    assert float(both.color.min()) == pytest.approx(1.0)
    one = up.render_mesh(mesh, from_above(), lights=lights, shading=dataclasses.replace(LINEAR, two_sided=False))
    assert float(one.color.max()) == 0.0
    gone = up.render_mesh(mesh, from_above(), options=up.RenderOptions(cull_backfaces=True))
    assert float(gone.silhouette.max()) == 0.0


def test_lights_in_the_cameras_frame_move_with_it() -> None:
    mesh = up.icosphere(3)
    cameras = up.perspective_camera(up.orbit(torch.tensor([0.0, 130.0]), 0.0, 3.0), image_size=(24, 24), fov_y_deg=45.0)
    lights = [
        up.DirectionalLight(direction=(0.2, 0.1, 1.0), frame="camera"),
        up.SpotLight(position=(0.0, 0.0, 0.0), direction=(0.1, 0.0, 1.0), frame="camera"),
    ]
    image = up.render_mesh(mesh, cameras, lights=lights, shading=LINEAR)
    torch.testing.assert_close(image.color[0].mean(), image.color[1].mean(), atol=2e-3, rtol=0)
    still = up.render_mesh(
        mesh, cameras, lights=[up.DirectionalLight(direction=(0.0, 0.0, -1.0))], shading=LINEAR, options=up.RenderOptions(background=0)
    )
    assert float(still.color[1].mean()) < 0.5 * float(still.color[0].mean())


def test_shadow_of_a_square_lies_where_it_must() -> None:
    """A small square at z = 1 under light that leans by 45 degrees along x shades the floor one unit further on."""
    floor, roof = square(4.0), square(0.5)
    vertices = torch.cat([floor.vertices, roof.vertices + torch.tensor([0.0, 0.0, 1.0])])
    mesh = up.Mesh(vertices=vertices, faces=torch.cat([floor.faces, roof.faces + 4]))
    lights = [up.AmbientLight(color=(0.1,) * 3), up.DirectionalLight(direction=(1.0, 0.0, -1.0))]
    image = up.render_mesh(mesh, from_above((40, 40), 4.0), lights=lights, shading=LINEAR, options=up.RenderOptions(shadows=True))
    x, y = image.position[..., 0], image.position[..., 1]
    on_floor = image.position[..., 2] < 0.5
    dark = on_floor & (image.color[..., 0] < 0.2)
    expected = on_floor & ((x - 1).abs() < 0.5) & (y.abs() < 0.5)
    assert int(expected.sum()) > 50 and torch.equal(dark, expected)


def test_what_lies_behind_shows_through() -> None:
    front, back = square(), square()
    vertices = torch.cat([front.vertices, back.vertices - torch.tensor([0.0, 0.0, 1.0])])
    glass, wall = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    materials = (up.Material(ambient=glass, opacity=torch.tensor(0.25)), up.Material(ambient=wall))
    mesh = up.Mesh(
        vertices=vertices, faces=torch.cat([front.faces, back.faces + 4]), materials=materials, face_materials=torch.tensor([0, 0, 1, 1])
    )
    for samples in (1, 2):
        image = up.render_mesh(mesh, from_above(), lights=WHITE, shading=LINEAR, options=up.RenderOptions(supersampling=samples))
        torch.testing.assert_close(image.color, torch.tensor([0.25, 0.75, 0.0]).expand(16, 16, 3))
    one = up.render_mesh(mesh, from_above(), lights=WHITE, shading=LINEAR, options=up.RenderOptions(layers=1, background=(0.0, 0.0, 1.0)))
    torch.testing.assert_close(one.color, torch.tensor([0.25, 0.0, 0.75]).expand(16, 16, 3))
    torch.testing.assert_close(one.silhouette, torch.full((16, 16), 0.25))


def test_supersampling_and_antialiasing_approach_the_area() -> None:
    mesh = square(0.7)
    camera = up.orthographic_camera(up.look_at((0.0, 0.0, 5.0), up=(0.3, 1.0, 0.0)), image_size=(32, 32), view_height=2.0)
    area = (2 * 0.7) ** 2 / 4
    errors = {}
    for name, options in {
        "plain": up.RenderOptions(), "samples": up.RenderOptions(supersampling=4), "edges": up.RenderOptions(antialias=True),
    }.items():  # fmt: skip
        errors[name] = abs(float(up.render_mesh(mesh, camera, options=options).silhouette.mean()) - area)
    assert errors["samples"] < 2e-3 and errors["edges"] < 2e-4
    assert up.render_mesh(mesh, camera, options=up.RenderOptions(supersampling=3)).color.shape == (32, 32, 3)


def test_batches_of_meshes_and_cameras_are_their_single_images() -> None:
    red = up.Material(diffuse=torch.tensor([0.8, 0.2, 0.2]), specular=torch.full((3,), 0.3))
    meshes = [
        up.icosphere(1),
        square(materials=(red,)),
        dataclasses.replace(up.torus(), vertex_colors=torch.rand(up.torus().vertex_count, 3)),
    ]
    cameras = up.perspective_camera(up.orbit(torch.tensor([[10.0], [120.0]]), 20.0, 4.0), image_size=(20, 24), fov_y_deg=40.0)
    for name in ("phong", "gouraud", "flat"):
        shading, options = up.Shading(interpolation=name), up.RenderOptions(shadows=True)
        batch = up.render_mesh(meshes, cameras, shading=shading, options=options)
        assert batch.color.shape == (2, 3, 20, 24, 3)
        for c in range(2):
            for m in range(3):
                single = up.render_mesh(meshes[m], cameras[c, 0], shading=shading, options=options)
                torch.testing.assert_close(batch.color[c, m], single.color, atol=1e-5, rtol=1e-4)
    own = dataclasses.replace(meshes[0], vertices=torch.stack([meshes[0].vertices, 0.5 * meshes[0].vertices]))
    image = up.render_mesh(own, cameras[0, 0])
    torch.testing.assert_close(image.color[1], up.render_mesh(dataclasses.replace(own, vertices=own.vertices[1]), cameras[0, 0]).color)
    lights = [up.AmbientLight(color=torch.tensor([[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]]))]
    lit = up.render_mesh(meshes[1], cameras[:, 0], lights=lights, shading=LINEAR, options=up.RenderOptions(background=0)).color
    torch.testing.assert_close(lit[1].amax(), 3 * lit[0].amax())


def test_gradients_of_materials_lights_texels_uvs_vertices_and_camera() -> None:
    def image(vertices, normals, uvs, texels, bumps, factor, shininess, place, color, pose, background) -> torch.Tensor:
        material = up.Material(
            diffuse=factor, specular=factor, shininess=shininess, diffuse_texture=texels, normal_texture=bumps, ambient=factor
        )
        mesh = up.Mesh(
            vertices=vertices, faces=torch.tensor([[0, 1, 2], [0, 2, 3]]), vertex_normals=normals, uvs=uvs, materials=(material,)
        )
        camera = up.Camera(camera_from_world=pose, intrinsics=view.intrinsics, image_size=view.image_size)
        lights = [up.PointLight(position=place, color=color, attenuation=(1.0, 0.1, 0.1)), up.AmbientLight(color=color)]
        result = up.render_mesh(mesh, camera, lights=lights, options=up.RenderOptions(background=background))
        return (result.rgba[..., :3] * weights).sum() + (result.color * weights).sum()

    view = up.perspective_camera(up.look_at(torch.tensor([0.3, -0.4, 3.0]).double()), image_size=(6, 7), fov_y_deg=60.0)
    weights = torch.randn(6, 7, 3, dtype=torch.float64)
    mesh = square(dtype=torch.float64)
    inputs = (
        mesh.vertices + 0.05 * torch.randn(4, 3), torch.tensor([0.0, 0, 1]) + 0.2 * torch.randn(4, 3), 0.8 * mesh.uvs + 0.1,
        torch.rand(5, 4, 3), 0.5 + 0.3 * torch.rand(4, 5, 3), 0.2 + 0.6 * torch.rand(3), torch.tensor(4.0), torch.tensor([0.5, 0.7, 1.5]),
        torch.rand(3), view.camera_from_world, torch.rand(3),
    )  # fmt: skip
    check_gradients(image, inputs)


@pytest.mark.parametrize("name", ["gouraud", "flat"])
def test_gouraud_and_flat_have_gradients_too(name: str) -> None:
    sphere, camera = up.icosphere(0), from_above((6, 6), 2.2, torch.float64)
    weights = torch.randn(6, 6, 3, dtype=torch.float64)
    shading = up.Shading(interpolation=name)

    def value(vertices: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        mesh, lights = dataclasses.replace(sphere, vertices=vertices), [up.PointLight(position=place)]
        return (up.render_mesh(mesh, camera, lights=lights, shading=shading).color * weights).sum()

    check_gradients(value, (sphere.vertices.double(), torch.tensor([0.5, 1.0, 3.0])))


def test_no_graph_is_recorded_without_gradients() -> None:
    mesh = dataclasses.replace(up.icosphere(1), vertices=up.icosphere(1).vertices.requires_grad_())
    camera = from_above()
    assert up.render_mesh(mesh, camera).color.requires_grad
    with torch.no_grad():
        result = up.render_mesh(mesh, camera)
    assert not any(value.requires_grad for value in (result.color, result.rgba, result.normals, result.depth, result.position))


def test_a_prepared_appearance_gives_the_same_image() -> None:
    shading = up.Shading(texture_filter="mipmap")
    mesh = square(materials=(up.Material(diffuse_texture=torch.rand(33, 20, 3)),))
    look = up.make_appearance(mesh.materials, shading)
    first, second = (
        up.render_mesh(mesh, from_above(), shading=shading),
        up.render_mesh(mesh, from_above(), shading=shading, appearance=look),
    )
    assert torch.equal(first.color, second.color)
    tiny = up.render_mesh(mesh, from_above((1, 1)), shading=up.Shading(texture_filter="mipmap", reflection="unlit", color_space="linear"))
    torch.testing.assert_close(tiny.color[0, 0], mesh.materials[0].diffuse_texture.mean((0, 1)), atol=1e-4, rtol=1e-3)


def test_glb_material_reflects_as_rough_or_metal() -> None:
    lights = [up.DirectionalLight(direction=(0.0, 0.0, -1.0)), up.AmbientLight(color=(0.5,) * 3)]
    base = torch.tensor([0.8, 0.4, 0.1])
    make = lambda rough, metal: up.Material(diffuse=base, roughness=torch.tensor(rough), metallic=torch.tensor(metal))
    draw = lambda m: up.render_mesh(square(materials=(m,)), from_above(), lights=lights, shading=up.Shading(color_space="linear")).color[
        8, 8
    ]
    torch.testing.assert_close(draw(make(1.0, 0.0)), 1.5 * base + 0.04 * 3 / 8, atol=1e-4, rtol=0)
    metal = draw(make(1.0, 1.0))
    torch.testing.assert_close(metal, 0.5 * base + base * 3 / 8, atol=1e-4, rtol=0)
    assert float(draw(make(0.4, 0.0)).sum()) > float(draw(make(1.0, 0.0)).sum())


@pytest.mark.parametrize(
    "mesh", [up.Mesh(vertices=torch.zeros(0, 3), faces=torch.zeros(0, 3, dtype=torch.int64)), square(0.0), up.icosphere(1)]
)
def test_empty_and_degenerate_scenes_have_finite_images_and_gradients(mesh: up.Mesh) -> None:
    vertices = mesh.vertices.clone().requires_grad_()
    camera = up.perspective_camera(up.look_at((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), image_size=(8, 8), fov_y_deg=90.0)
    for name in ("phong", "gouraud", "flat"):
        image = up.render_mesh(
            dataclasses.replace(mesh, vertices=vertices),
            camera,
            shading=up.Shading(interpolation=name),
            options=up.RenderOptions(antialias=True),
        )
        assert bool(torch.isfinite(image.color).all())
        if image.color.requires_grad:
            (gradient,) = torch.autograd.grad(image.color.sum() + image.normals.sum(), vertices, allow_unused=True, materialize_grads=True)
            assert bool(torch.isfinite(gradient).all())


def test_errors_name_the_argument() -> None:
    mesh, camera = square(), from_above()
    change = lambda **fields: dataclasses.replace(mesh, **fields)
    nan = mesh.vertices.clone()
    nan[2, 1] = float("nan")
    cases: list[tuple[Any, str]] = [
        (change(vertices=nan), "`vertices` has a NaN"),
        (change(faces=mesh.faces + 2), "`faces` must lie in 0 to 3"),
        (change(vertices=mesh.vertices[:, :2]), r"`vertices` must be \[..., V, 3\]"),
        (change(uvs=mesh.uvs[:3]), r"`mesh.uvs` must be \[4, 2\]"),
        (change(face_uvs=mesh.faces + 1), "`mesh.face_uvs` must lie in 0 to 3"),
        (change(vertex_colors=torch.zeros(4, 5)), "`mesh.vertex_colors` must be"),
        (change(vertex_normals=torch.zeros(3, 3)), "`mesh.vertex_normals` must be"),
        (change(face_materials=torch.tensor([0, 1])), "`mesh.face_materials` must lie in"),
        (change(materials=(up.Material(diffuse_texture=torch.rand(4, 4)),)), "`diffuse_texture` of material"),
    ]
    for bad, message in cases:
        with pytest.raises(up.ArgumentError, match=message):
            up.render_mesh(bad, camera)
    with pytest.raises(TypeError, match="`mesh` must be a Mesh"):
        up.render_mesh("cow.obj", camera)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`shading` must be a Shading"):
        up.render_mesh(mesh, camera, shading="flat")  # type: ignore[arg-type]
    with pytest.raises(up.ArgumentError, match=r"`options\.background`"):
        up.render_mesh(mesh, camera, options=up.RenderOptions(background=torch.zeros(4)))
    with pytest.raises(up.ArgumentError, match="`supersampling` must be a whole number"):
        up.RenderOptions(supersampling=0)
    with pytest.raises(up.ArgumentError, match="`image_size` must be"):
        up.perspective_camera(image_size=(0, 8), fov_y_deg=40.0)
    with pytest.raises(up.ArgumentError, match="`near` must be smaller than `far`"):
        up.perspective_camera(image_size=(8, 8), fov_y_deg=40.0, near=2.0, far=1.0)
    with pytest.raises(up.ArgumentError, match="singular"):
        up.render_mesh(mesh, dataclasses.replace(camera, intrinsics=torch.zeros(3, 3)))


def test_framing_fills_the_image() -> None:
    for mesh in (up.icosphere(2), up.box(), up.torus()):
        points = mesh.vertices * torch.tensor([3.0, 0.5, 1.0]) + 7.0
        for orthographic in (False, True):
            camera = up.frame_camera(points, image_size=(40, 60), azimuth_deg=40.0, orthographic=orthographic, margin=0.05)
            screen = up.world_to_screen(camera, points)
            share = (screen[:, :2] / torch.tensor([60.0, 40.0]) - 0.5).abs().amax()
            assert float(share) == pytest.approx(0.45, abs=2e-3)
            assert camera.near < float(screen[:, 2].min()) and float(screen[:, 2].max()) < camera.far
    with pytest.raises(up.ArgumentError, match="no finite point"):
        up.frame_camera(torch.full((2, 3), float("nan")), image_size=(8, 8))


def test_points_become_discs() -> None:
    sphere = up.icosphere(3)
    cloud = up.PointCloud(positions=sphere.vertices, colors=torch.rand(sphere.vertex_count, 3))
    mesh = up.discs_from_points(cloud)
    assert mesh.face_count == 4 * cloud.point_count and mesh.vertex_colors is not None
    camera = up.frame_camera(sphere.vertices, image_size=(64, 64))
    covered, whole = (up.render_mesh(m, camera).silhouette for m in (mesh, sphere))
    assert float((covered * whole).sum() / whole.sum()) > 0.97
    assert float((mesh.vertex_normals * mesh.vertices).sum(-1).abs().min()) > 0.9
