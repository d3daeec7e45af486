"""Pose estimation on rendered pictures: it finds the pose, says how sure it is, and refuses what cannot be right."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.camera.camera import crop_camera
from unproject.errors import ArgumentError, DataError
from unproject.geometry.join import join_meshes
from unproject.pose.appearance import fit_texture, fit_vertex_colors
from unproject.pose.estimate import PoseEstimate, PoseInput, PoseOptions, estimate_pose
from unproject.pose.hidden import without_hidden
from unproject.pose.hypotheses import place_by_mask, place_cut, turned_views
from unproject.pose.mask_edge import settle_outline
from unproject.pose.metrics import rotation_error_deg
from unproject.pose.object_model import make_object_model
from unproject.pose.prepare import prepare
from unproject.pose.segment import segment_box
from unproject.pose.solve import SolverOptions, depth_reversed
from unproject.pose.symmetry import find_symmetries
from unproject.pose.views import template_views

EFFORT = SolverOptions(view_count=100, turn_count=12, kept=(60, 20, 8, 4))
OPTIONS = PoseOptions(solver=EFFORT)
CAMERA = up.perspective_camera(image_size=(120, 160), fx=190.0, fy=190.0, cx=88.0, cy=55.0)


def painted_block() -> up.Mesh:
    """A block with a knob, in colours that differ from side to side."""
    knob = up.icosphere(1, radius=0.2)
    knob = up.make_mesh(knob.vertices + torch.tensor([0.3, 0.1, 0.3]), knob.faces)
    whole = join_meshes([up.box((1.0, 0.7, 0.4), segments=5), knob])
    colors = 0.5 + 0.4 * torch.sin(whole.vertices @ torch.tensor([[4.0, 1, 2], [2.0, 5, 1], [1.0, 2, 6]]))
    return up.make_mesh(whole.vertices, whole.faces, vertex_colors=colors)


def true_pose() -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = up.so3_exp(torch.tensor([0.5, -0.7, 0.4], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([0.25, -0.1, 3.2])
    return pose


def picture(mesh: up.Mesh, pose: Tensor, camera: up.Camera = CAMERA) -> PoseInput:
    placed = dataclasses.replace(mesh, vertices=(mesh.vertices.double() @ pose[:3, :3].T + pose[:3, 3]).float())
    with torch.no_grad():
        shown = up.render_mesh(placed, camera, options=up.RenderOptions(background=(0.1, 0.4, 0.2), supersampling=2))
    return PoseInput(camera=camera, color=shown.color.clamp(0, 1), mask=shown.face >= 0, depth=shown.depth)


@pytest.fixture(scope="module")
def block() -> up.Mesh:
    return painted_block()


@pytest.fixture(scope="module")
def full(block: up.Mesh) -> PoseInput:
    return picture(block, true_pose())


def box_of(mask: Tensor) -> tuple[float, float, float, float]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1


def check(found: PoseEstimate, *, angle: float = 3.0, shift: float = 0.05) -> None:
    assert float(rotation_error_deg(found.camera_from_object, true_pose())) < angle
    assert float((found.camera_from_object[:3, 3] - true_pose()[:3, 3]).norm()) < shift * found.diameter


def test_mask_and_colour(block: up.Mesh, full: PoseInput) -> None:
    found = estimate_pose(block, dataclasses.replace(full, depth=None), options=OPTIONS)
    check(found)
    assert found.best.confidence > 0.5 and found.best.fit <= 1
    covariance = found.best.covariance
    assert torch.linalg.eigvalsh(covariance).min() >= 0 and covariance[2, 2] > covariance[0, 0]  # distance is the least sure


def test_mask_and_depth_find_the_distance(block: up.Mesh, full: PoseInput) -> None:
    found = estimate_pose(block, dataclasses.replace(full, color=None), options=OPTIONS)
    check(found, angle=3.0, shift=0.015)


def test_depth_at_the_edge_of_a_mask_alone_is_left_out(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None and full.depth is not None
    inner = torch.nn.functional.avg_pool2d(full.mask[None, None].float(), 5, stride=1, padding=2)[0, 0] > 0.999
    behind = torch.where(full.mask & ~inner, full.depth + 0.4, torch.zeros_like(full.depth))  # what a camera sees beside the object
    assert 0.05 < float((behind > 0).sum() / full.mask.sum()) < 0.25
    given = dataclasses.replace(full, depth=behind)
    model = make_object_model(block)
    assert prepare(given, model).depth is None and prepare(full, model).depth is not None
    check(estimate_pose(model, given, options=OPTIONS))


def test_box(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None
    found = estimate_pose(block, dataclasses.replace(full, mask=None, depth=None, box=box_of(full.mask)), options=OPTIONS)
    check(found, angle=5.0, shift=0.08)


def test_depth_alone_is_searched(block: up.Mesh) -> None:
    pose = true_pose()
    pose[:3, :3] = up.so3_exp(torch.tensor([2.5, -0.5, 0.4], dtype=torch.float64))  # with the knob in sight
    at = lambda mesh, x, y, z: up.make_mesh(mesh.vertices + torch.tensor([x, y, z]), mesh.faces)
    placed = up.make_mesh((block.vertices.double() @ pose[:3, :3].T + pose[:3, 3]).float(), block.faces)
    table, ball, slab = up.box((9.0, 0.2, 7.0)), up.icosphere(2, radius=0.45), up.box((0.9, 1.1, 0.3))
    scene = join_meshes([placed, at(table, 0.0, 0.7, 4.0), at(ball, -0.8, 0.1, 3.6), at(slab, 1.1, 0.0, 4.0)])
    given = PoseInput(camera=CAMERA, depth=picture(scene, torch.eye(4, dtype=torch.float64)).depth)
    found = estimate_pose(up.make_mesh(block.vertices, block.faces), given, options=OPTIONS)
    assert float(rotation_error_deg(found.camera_from_object, pose)) < 3
    assert float((found.camera_from_object[:3, 3] - pose[:3, 3]).norm()) < 0.03
    assert found.best.confidence > 0.5
    assert estimate_pose(up.torus(0.5, 0.12), given, options=OPTIONS).best.confidence < 0.3  # which is not there


def test_hidden_part_is_unknown(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None and full.color is not None
    unknown = torch.zeros_like(full.mask)
    unknown[:, : int(box_of(full.mask)[0]) + 12] = True
    color = torch.where(unknown[..., None], torch.ones(3), full.color)
    found = estimate_pose(block, PoseInput(camera=CAMERA, color=color, mask=full.mask & ~unknown, unknown=unknown), options=OPTIONS)
    check(found, angle=5.0, shift=0.08)


def test_start_and_position_only(block: up.Mesh) -> None:
    pose = up.orbit(30.0, 20.0, 3.2).double()
    given = picture(block, pose)
    start = up.orbit(18.0, 32.0, 3.8).double()
    options = dataclasses.replace(OPTIONS, position_only=True, start_angle_deg=0.0)
    found = estimate_pose(block, dataclasses.replace(given, depth=None), start=start, options=options).camera_from_object
    assert float(rotation_error_deg(found, pose)) < 2
    up_in_camera = found[:3, :3] @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    assert abs(float(up_in_camera[0])) < 1e-6  # it never rolled


def test_two_cameras_know_the_distance(block: up.Mesh) -> None:
    aside = torch.eye(4)
    aside[:3, :3], aside[:3, 3] = up.so3_exp(torch.tensor([0.0, 0.8, 0.0])), torch.tensor([-2.3, 0.0, 1.0])
    inputs = []
    for camera in (CAMERA, dataclasses.replace(CAMERA, camera_from_world=aside)):
        inputs.append(dataclasses.replace(picture(block, true_pose(), camera), depth=None, color=None))
    found = estimate_pose(block, inputs, options=OPTIONS)
    assert float((found.camera_from_object[:3, 3] - true_pose()[:3, 3]).norm()) < 0.02 * found.diameter


def test_depth_reversed_keeps_the_outline() -> None:
    shape = join_meshes(
        [up.box((1.0, 0.4, 0.6)), up.make_mesh(up.box((0.2, 0.8, 0.6)).vertices + torch.tensor([0.3, 0.3, 0.0]), up.box().faces)]
    )
    model = make_object_model(shape)
    mirrors = find_symmetries(model).mirrors
    assert any(abs(float(m[2])) > 0.99 for m in mirrors)
    pose = true_pose()[None]
    pose[:, :3, 3] = torch.tensor([0.0, 0.0, 60.0])
    camera = up.perspective_camera(image_size=(100, 100), fov_y_deg=1.2)
    masks = []
    for p in (pose[0], depth_reversed(pose, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))[0]):
        placed = (model.mesh.vertices.double() @ p[:3, :3].T + p[:3, 3]).float()
        masks.append(up.rasterize(placed, model.mesh.faces, camera).mask)
    assert torch.linalg.det(depth_reversed(pose, mirrors[0])[0, :3, :3]) > 0.99
    assert float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()) > 0.95


def test_outlines_alone_leave_two_poses() -> None:
    hook = up.make_mesh(up.box((0.3, 0.6, 0.5)).vertices + torch.tensor([0.3, 0.4, 0.0]), up.box().faces)
    wedge = join_meshes([up.box((1.0, 0.3, 0.5)), hook])
    pose, camera = true_pose(), up.perspective_camera(image_size=(160, 160), fov_y_deg=15.0)
    pose[:3, 3] = torch.tensor([0.0, 0.0, 7.0])
    mask = up.rasterize((wedge.vertices.double() @ pose[:3, :3].T + pose[:3, 3]).float(), wedge.faces, camera).mask
    found = estimate_pose(wedge, PoseInput(camera=camera, mask=mask), options=OPTIONS)
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)  # of the plane of the hook
    both = (pose, depth_reversed(pose[None], normal)[0])
    errors = [[float(rotation_error_deg(c.camera_from_object, one)) for c in found.candidates] for one in both]
    assert errors[0][0] < 3 and len(found.candidates) >= 2 and min(errors[1]) < 15


def test_symmetries_are_found(block: up.Mesh) -> None:
    assert len(find_symmetries(make_object_model(block)).motions) == 1
    plain = find_symmetries(make_object_model(up.box((1.0, 0.7, 0.4))))
    assert len(plain.motions) == 4 and len(plain.mirrors) == 3
    assert len(find_symmetries(make_object_model(up.cylinder())).motions) >= 36


def test_colours_come_back_from_images(block: up.Mesh) -> None:
    poses = [up.orbit(a, e, 3.2).double() for a in (0.0, 90.0, 180.0, 270.0) for e in (-35.0, 35.0)]
    unlit = up.Shading(reflection="unlit")
    inputs = []
    for pose in poses:
        placed = dataclasses.replace(block, vertices=(block.vertices.double() @ pose[:3, :3].T + pose[:3, 3]).float())
        shown = up.render_mesh(placed, CAMERA, lights=[], shading=unlit)
        inputs.append(PoseInput(camera=CAMERA, color=shown.color, mask=shown.face >= 0))
    bare = dataclasses.replace(block, vertex_colors=None)
    fitted = fit_vertex_colors(bare, inputs, poses)
    assert fitted.vertex_colors is not None and block.vertex_colors is not None
    assert float((fitted.vertex_colors - block.vertex_colors).abs().median()) < 0.04


def test_a_texture_comes_back_from_images() -> None:
    ball = up.icosphere(3)
    place = ball.vertices
    uvs = torch.stack([0.5 + 0.45 * place[:, 0], 0.5 + 0.45 * place[:, 1]], 1)  # front and back alike
    row, column = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    texture = 0.5 + 0.4 * torch.stack([torch.sin(0.3 * row), torch.cos(0.25 * column), torch.sin(0.2 * (row + column))], -1)
    ball = dataclasses.replace(ball, uvs=uvs)
    painted = dataclasses.replace(ball, materials=(up.Material(diffuse_texture=texture),))
    poses = [up.orbit(a, e, 3.4).double() for a in (0.0, 60.0, -60.0) for e in (-40.0, 40.0)]
    inputs = []
    for pose in poses:
        placed = dataclasses.replace(painted, vertices=(place.double() @ pose[:3, :3].T + pose[:3, 3]).float())
        shown = up.render_mesh(placed, CAMERA, lights=[], shading=up.Shading(reflection="unlit"))
        inputs.append(PoseInput(camera=CAMERA, color=shown.color, mask=shown.face >= 0))
    (material,) = fit_texture(ball, inputs, poses, size=(48, 48)).materials
    radius = ((row - 23.5).square() + (column - 23.5).square()).sqrt()
    assert material.diffuse_texture is not None
    assert float((material.diffuse_texture - texture)[radius < 18].abs().mean()) < 0.02
    with pytest.raises(ArgumentError, match="no UVs"):
        fit_texture(up.icosphere(1), inputs, poses)
    with pytest.raises(ArgumentError, match="1 images and 6 poses"):
        fit_texture(ball, inputs[:1], poses)


def test_what_cannot_be_right_is_refused(block: up.Mesh, full: PoseInput) -> None:
    with pytest.raises(DataError, match="no faces"):
        estimate_pose(up.make_mesh(block.vertices, torch.zeros(0, 3, dtype=torch.int64)), full)
    with pytest.raises(ArgumentError, match=r"`mask` is empty"):
        estimate_pose(block, dataclasses.replace(full, mask=torch.zeros(120, 160)))
    with pytest.raises(ArgumentError, match=r"`mask` has 80x60 pixels, the camera 160x120"):
        estimate_pose(block, dataclasses.replace(full, mask=torch.ones(60, 80)))
    with pytest.raises(ArgumentError, match=r"`color` has 80x60 pixels"):
        estimate_pose(block, dataclasses.replace(full, color=torch.ones(60, 80, 3)))
    behind = true_pose()
    behind[2, 3] = -3
    with pytest.raises(ArgumentError, match="behind the camera"):
        estimate_pose(block, full, start=behind)
    assert full.depth is not None
    with pytest.raises(ArgumentError, match="1000 times"):
        estimate_pose(block, dataclasses.replace(full, depth=full.depth * 1000))
    with pytest.raises(ArgumentError, match="1000 times too large"):
        estimate_pose(block, dataclasses.replace(full, depth=full.depth / 1000))
    with pytest.raises(DataError, match="nothing says where"):
        estimate_pose(block, PoseInput(camera=CAMERA, color=full.color))
    with pytest.raises(ArgumentError, match="outside of the image"):
        estimate_pose(block, PoseInput(camera=CAMERA, color=full.color, box=(500, 500, 600, 600)))


def test_templates_are_kept_on_disk_and_damage_is_harmless(block: up.Mesh, full: PoseInput, tmp_path) -> None:
    options = dataclasses.replace(OPTIONS, solver=dataclasses.replace(EFFORT, cache_folder=tmp_path / "t"))
    given = dataclasses.replace(full, color=None)
    first = estimate_pose(block, given, options=options)
    (file,) = (tmp_path / "t").iterdir()
    torch.testing.assert_close(estimate_pose(block, given, options=options).camera_from_object, first.camera_from_object)
    file.write_bytes(b"damaged")
    torch.testing.assert_close(estimate_pose(block, given, options=options).camera_from_object, first.camera_from_object)


def test_angles_of_starts_are_kept(block: up.Mesh, full: PoseInput) -> None:
    start = true_pose()
    start[:3, :3] = up.so3_exp(torch.tensor([0.4, 0.0, 0.3], dtype=torch.float64)) @ start[:3, :3]
    found = estimate_pose(block, dataclasses.replace(full, depth=None), start=start, options=OPTIONS)
    check(found)
    assert math.degrees(0.5) > float(rotation_error_deg(start, true_pose())) > 20


def test_symmetries_of_a_box_aside_of_its_axes_are_few() -> None:
    brick = up.box((1.0, 0.7, 0.4), segments=5)
    tilted = up.make_mesh(brick.vertices @ up.so3_exp(torch.tensor([0.03, 0.02, -0.04])).T, brick.faces)
    assert len(find_symmetries(make_object_model(tilted)).motions) == 4


def test_mask_that_something_cuts_off(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None
    left, _, right, _ = box_of(full.mask)
    mask = full.mask.clone()
    mask[:, : int(left + 0.25 * (right - left))] = False
    check(estimate_pose(block, PoseInput(camera=CAMERA, color=full.color, mask=mask), options=OPTIONS), angle=3.0, shift=0.04)


def test_hypotheses_for_a_part_hidden_behind_a_slanted_edge(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None
    across = torch.arange(160)[None] * 0.4 + torch.arange(120)[:, None] * 0.9
    seen = full.mask & (across > torch.quantile(across[full.mask], 0.3))
    model = make_object_model(block)
    image, truth = prepare(PoseInput(camera=CAMERA, mask=seen), model), model.to_working(true_pose())
    views = template_views(model, count=100, distance=3.0, folder=None)
    rotations, view = turned_views(views, 24)
    cut, _ = place_cut(image, views, rotations, view, 0.3)
    whole = place_by_mask(image, views, rotations, view)
    assert _least_shift(cut, truth) < 0.06 < 0.2 < _least_shift(whole, truth)


def _least_shift(poses: Tensor, truth: Tensor) -> float:
    """Of poses turned by less than 20 degrees from the truth, the least distance from it."""
    near = (torch.einsum("ij,nij->n", truth[:3, :3], poses[:, :3, :3]) - 1) / 2 > math.cos(math.radians(20))
    return float((poses[near, :3, 3] - truth[:3, 3]).norm(dim=1).min())


def test_box_of_the_part_that_is_seen(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None and full.color is not None
    left, top, right, bottom = box_of(full.mask)
    cut = int(left + 0.25 * (right - left))
    color = full.color.clone()
    color[:, max(cut - 40, 0) : cut] = torch.rand(3, generator=torch.Generator().manual_seed(2))
    found = estimate_pose(block, PoseInput(camera=CAMERA, color=color, box=(cut, top, right, bottom)), options=OPTIONS)
    check(found, angle=5.0, shift=0.08)


@pytest.mark.parametrize("pixels", [-3, 0, 3])
def test_mask_too_large_or_too_small_all_around(block: up.Mesh, full: PoseInput, pixels: int) -> None:
    assert full.mask is not None and full.color is not None
    grow = lambda m: torch.nn.functional.max_pool2d(m[None, None], 2 * abs(pixels) + 1, stride=1, padding=abs(pixels))[0, 0]
    exact = full.mask.float()
    mask = grow(exact) if pixels > 0 else 1 - grow(1 - exact)
    settled = settle_outline(mask, full.color)
    wrong = lambda m: float((m - exact).abs().sum())
    assert wrong(settled) <= 0.5 * wrong(mask)
    assert torch.equal(settle_outline(exact, torch.full_like(full.color, 0.5)), exact)  # nothing to see: as it was


def test_an_image_is_cut_down_to_what_matters(block: up.Mesh, full: PoseInput) -> None:
    assert full.color is not None and full.mask is not None and full.depth is not None
    model, times, border = make_object_model(block), 12, 300
    enlarge = lambda values: torch.nn.functional.pad(
        values.float().repeat_interleave(times, 0).repeat_interleave(times, 1).reshape(120 * times, 160 * times, -1), (0, 0, *[border] * 4)
    )
    color, mask, depth = enlarge(full.color), enlarge(full.mask)[..., 0], enlarge(full.depth)[..., 0]
    beyond = border / times
    camera = crop_camera(CAMERA, (-beyond, -beyond, CAMERA.width + beyond, CAMERA.height + beyond), (mask.shape[0], mask.shape[1]))
    before = prepare(full, model)
    after = prepare(PoseInput(camera=camera, color=color, mask=mask, depth=depth), model)
    assert before.foreground is not None and after.foreground is not None and after.color is not None and after.depth is not None
    assert after.color.shape[:2] == after.foreground.shape == after.depth.shape == after.known.shape == after.camera.image_size
    side = lambda image: max(image.box[2] - image.box[0], image.box[3] - image.box[1])
    assert 300 <= side(after) < 600 and max(after.camera.image_size) <= 3 * side(after) + 4 and bool(after.known.all())
    rays = lambda image: torch.tensor([*image.box[:2], 1.0, *image.box[2:], 1.0]).view(2, 3) @ torch.linalg.inv(image.camera.intrinsics).T
    torch.testing.assert_close(rays(after), rays(before), atol=2e-3, rtol=0)  # the same ones bound the object
    filled = lambda image: float(image.foreground.sum()) / side(image) ** 2
    assert abs(filled(after) - filled(before)) < 0.01


def test_places_that_something_hides_become_unknown(block: up.Mesh, full: PoseInput) -> None:
    assert full.mask is not None
    model = make_object_model(block)
    whole = prepare(full, model)
    assert without_hidden(model, whole, model.to_working(true_pose())) is whole
    mask = full.mask.clone()
    mask[:60] = False
    part = without_hidden(model, prepare(dataclasses.replace(full, mask=mask), model), model.to_working(true_pose()))
    left, top = (int(v) for v in (CAMERA.intrinsics - part.camera.intrinsics)[:2, 2])  # only the box's surroundings are left
    cut = lambda values: values[top : top + part.camera.height, left : left + part.camera.width]
    hidden, mask = cut(full.mask & ~mask), cut(mask)
    assert float(part.known[hidden].float().mean()) < 0.05 and bool(part.known[mask].all()) and bool(part.known[0].all())


def test_colours_of_the_mesh_tell_it_from_what_lies_in_the_box() -> None:
    truth = torch.zeros(60, 60, dtype=torch.bool)
    truth[18:42, 12:24], truth[34:42, 12:48] = True, True  # an L, not in the middle of its box
    palette = torch.tensor([[0.9, 0.26, 0.13]]).expand(50, 3)  # in brighter light
    camera = up.perspective_camera(image_size=(60, 60), fx=60.0)
    overlaps: list[tuple[float, float]] = []
    for seed in range(4):
        noise = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
        picture = torch.nn.functional.interpolate(noise, size=(60, 60), mode="bilinear")[0].permute(1, 2, 0).contiguous()
        picture[truth] = torch.tensor([0.7, 0.2, 0.1])
        guesses = [segment_box(picture, (12, 18, 48, 42), palette=colors, camera=camera) for colors in (palette, None)]
        told, plain = (float((guess * truth).sum() / torch.maximum(guess, truth.float()).sum()) for guess in guesses)
        assert told > plain
        overlaps.append((told, plain))
    told, plain = (sum(values) / len(values) for values in zip(*overlaps))
    assert told > plain + 0.04
