"""Tracking on rendered sequences whose poses are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from unproject.camera.camera import Camera, perspective_camera
from unproject.errors import ArgumentError, DataError
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import vertex_normals
from unproject.geometry.primitives import box, icosphere
from unproject.io.video import VideoFrame
from unproject.lie.so3 import so3_exp
from unproject.pose.covered import at_pixels, is_covered
from unproject.pose.judge import explained
from unproject.pose.metrics import rotation_error_deg
from unproject.pose.track import TrackOptions, TrackTarget, make_track_model, start, track_object, track_objects
from unproject.pose.track_fit import fit_frame, with_looks
from unproject.pose.track_search import again_at, best_twin
from unproject.render.interpolate import interpolate
from unproject.render.rasterize import rasterize

SIZE = (180, 240)


def painted_shape(*, painted: bool = True) -> Mesh:
    """A lumpy body without symmetry, 100 units across, with coloured spots."""
    ball = icosphere(4)
    v = ball.vertices
    lumps = 1 + 0.25 * torch.sin(3 * v[:, :1] + 1) * torch.cos(2 * v[:, 1:2]) + 0.2 * v[:, 2:] ** 3 + 0.15 * torch.sin(4 * v[:, 1:2])
    vertices = 50 * v * lumps * torch.tensor([1.0, 0.7, 0.85])
    spots = (torch.sin(9 * v[:, 0]) * torch.sin(8 * v[:, 1] + 1) * torch.cos(7 * v[:, 2])) > 0.1
    colors = torch.where(spots[:, None], torch.tensor([0.95, 0.85, 0.2]), torch.tensor([0.75, 0.1, 0.1]))
    return Mesh(vertices=vertices, faces=ball.faces, vertex_colors=colors if painted else None)


def camera_() -> Camera:
    return replace(perspective_camera(fov_y_deg=40.0, image_size=SIZE), near=1.0, camera_from_world=torch.eye(4))


def picture(mesh: Mesh, camera: Camera, pose: torch.Tensor, *, depth: bool = False) -> VideoFrame:
    """The painted mesh over blue and green noise."""
    background = torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.3, 0.8, 0.9])[None, :, None, None]
    image = torch.nn.functional.interpolate(background, size=SIZE, mode="bilinear")[0].permute(1, 2, 0)
    colors = mesh.vertex_colors if mesh.vertex_colors is not None else painted_shape().vertex_colors
    assert colors is not None
    fragments = rasterize(mesh.vertices, mesh.faces, replace(camera, camera_from_world=pose.float()))
    image = torch.where(fragments.mask[..., None], interpolate(colors, mesh.faces, fragments), image)
    return VideoFrame(name="f", color=(255 * image).round().to(torch.uint8), depth=fragments.depth if depth else None)


def motion(count: int, *, degrees: float = 3.0) -> list[torch.Tensor]:
    """Turns about a slowly changing axis, and swings from side to side."""
    poses = []
    rotation = so3_exp(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    for k in range(count):
        axis = torch.tensor([math.cos(0.2 * k), 1.0, math.sin(0.2 * k)], dtype=torch.float64)
        rotation = so3_exp(math.radians(degrees) * axis / axis.norm()) @ rotation
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = rotation
        pose[:3, 3] = torch.tensor([15 * math.sin(0.15 * k), 8 * math.cos(0.2 * k), 300 + 15 * math.sin(0.1 * k)])
        poses.append(pose)
    return poses


def errors(steps: list, poses: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([rotation_error_deg(s.camera_from_object, p) for s, p in zip(steps, poses)])


@pytest.mark.parametrize("kind", ["painted", "texture of the first frame", "outline and depth"])
def test_a_turning_object_is_followed(kind: str) -> None:
    mesh, camera, poses = painted_shape(), camera_(), motion(16)
    frames = [picture(mesh, camera, pose, depth=kind == "outline and depth") for pose in poses]
    known = painted_shape(painted=kind == "painted")
    options = TrackOptions(texture=kind != "outline and depth")
    steps = list(track_object(frames, known, camera, poses[0], options=options))
    wrong = errors(steps, poses)
    assert len(steps) == len(poses) and not any(step.lost for step in steps)
    assert float(wrong.median()) < 2 and float(wrong.max()) < 4
    apart = torch.stack([(s.camera_from_object[:3, 3] - p[:3, 3]).norm() for s, p in zip(steps, poses)])
    assert float(apart.median()) < 0.03 * 100
    assert all(step.confidence > 0.5 for step in steps)
    assert torch.linalg.eigvalsh(steps[-1].covariance).min() > 0


def test_an_object_that_leaves_and_returns_is_found_again() -> None:
    mesh, camera, poses = painted_shape(), camera_(), motion(10, degrees=1.0)
    away = poses[5].clone()
    away[0, 3] = 1000.0
    shown = [*poses[:5], *[away] * 12, *poses[5:]]
    steps = list(track_object([picture(mesh, camera, pose) for pose in shown], mesh, camera, poses[0]))
    assert any(step.lost for step in steps[5:17])
    assert not steps[-1].lost
    assert float(rotation_error_deg(steps[-1].camera_from_object, poses[-1])) < 4


def like_the_object(camera: Camera, poses: list[torch.Tensor]) -> list[VideoFrame]:
    """The painted mesh over patches of its own two colours."""
    mesh = painted_shape()
    assert mesh.vertex_colors is not None
    cells = torch.rand(23, 30, 1, generator=torch.Generator().manual_seed(5)) > 0.5
    colors = torch.where(cells, torch.tensor([0.95, 0.85, 0.2]), torch.tensor([0.75, 0.1, 0.1]))
    background = colors.repeat_interleave(8, 0).repeat_interleave(8, 1)[: SIZE[0], : SIZE[1]]
    frames = []
    for pose in poses:
        fragments = rasterize(mesh.vertices, mesh.faces, replace(camera, camera_from_world=pose.float()))
        image = torch.where(fragments.mask[..., None], interpolate(mesh.vertex_colors, mesh.faces, fragments), background)
        frames.append(VideoFrame(name="f", color=(255 * image).round().to(torch.uint8)))
    return frames


def test_an_object_of_the_colours_of_its_surroundings_is_lost_when_it_leaves_and_found_by_its_pattern() -> None:
    camera, poses = camera_(), motion(12, degrees=1.0)
    away = poses[5].clone()
    away[0, 3] = 1000.0
    back = [turned(pose, (0.0, 0.0, 0.6), (20, 0, 0)) for pose in poses[5:]]
    shown = [*poses[:5], *[away] * 8, *back, *[back[-1]] * 12]
    steps = list(track_object(like_the_object(camera, shown), painted_shape(), camera, poses[0]))
    assert float(errors(steps[:5], shown[:5]).max()) < 4
    assert any(step.lost for step in steps[5:13])
    assert not steps[-1].lost
    assert float(rotation_error_deg(steps[-1].camera_from_object, shown[-1])) < 4


def painted_cube() -> Mesh:
    """A cube, 60 units across, whose sides have different patterns of nearly the same colours."""
    mesh = box((60.0, 60.0, 60.0), segments=8)
    x, y, z = (mesh.vertices / 30).unbind(1)
    tone = 0.5 + 0.15 * torch.sin(6 * x + 2 * y) * torch.cos(3 * z + y)
    return replace(mesh, vertex_colors=torch.stack([tone + 0.15, tone + 0.03 * x, tone - 0.15], 1))


def test_the_pattern_tells_in_which_of_its_rotations_a_symmetric_object_is() -> None:
    mesh, camera, options, (pose,) = painted_cube(), camera_(), TrackOptions(), motion(1)
    model, frame = make_track_model(mesh, options), picture(mesh, camera, pose)
    assert len(model.twins) == 24
    assert len(make_track_model(replace(mesh, vertex_colors=None), options).twins) == 1
    state, _ = start(TrackTarget(mesh=mesh, camera_from_object=pose), frame, model, camera, options)
    for twin in model.twins[::5]:
        fit = fit_frame(pose @ twin, frame, model, camera, state.remembered, options)
        fit = best_twin(with_looks(fit, frame, model, state.remembered.looks), frame, model, camera, state.remembered, options)
        assert float(rotation_error_deg(fit.pose, pose)) < 2


def test_what_is_found_is_judged_in_the_light_that_it_has_now() -> None:
    mesh, camera, options, (pose,) = painted_shape(), camera_(), TrackOptions(), motion(1)
    model, frames = make_track_model(mesh, options), []
    fragments = rasterize(mesh.vertices, mesh.faces, replace(camera, camera_from_world=pose.float()))
    normals = interpolate(vertex_normals(mesh.vertices, mesh.faces) @ pose[:3, :3].float().T, mesh.faces, fragments)
    for side in (-1.0, 1.0):  # lit from either side
        shade = torch.where(fragments.mask, (0.6 + 0.5 * side * normals[..., 0]).clamp(0.1, 1), 1.0)
        frame = picture(mesh, camera, pose)
        frames.append(replace(frame, color=(frame.color * shade[..., None]).round().to(torch.uint8)))
    state, _ = start(TrackTarget(mesh=mesh, camera_from_object=pose), frames[0], model, camera, options)
    before = with_looks(fit_frame(pose, frames[1], model, camera, state.remembered, options), frames[1], model, state.remembered.looks)
    after = again_at(before, frames[1], model, camera, state.remembered, options)
    assert after.alike > 1.1 * before.alike and after.quality > 1.2 * before.quality
    assert float(rotation_error_deg(after.pose, pose)) < 2


def test_a_sudden_turn_is_noticed_and_followed() -> None:
    """Where the outline still covers the object but says little, poses far from the last one are tried too."""
    mesh, camera, poses = painted_shape(), camera_(), motion(4, degrees=1.0)
    sudden = turned(poses[-1], (0.0, 0.0, 1.5), (0, 0, 0))
    steps = list(track_object([picture(mesh, camera, pose) for pose in [*poses, *[sudden] * 32]], mesh, camera, poses[0]))
    assert float(rotation_error_deg(steps[3].camera_from_object, poses[3])) < 4
    assert float(rotation_error_deg(steps[-1].camera_from_object, sudden)) < 4


def test_what_passes_in_front_is_survived() -> None:
    mesh, camera, poses = painted_shape(), camera_(), motion(24, degrees=2.0)
    frames = []
    for k, pose in enumerate(poses):
        frame = picture(mesh, camera, pose)
        left = 20 + 9 * k
        frame.color[:, left : left + 14] = torch.tensor([40, 200, 60], dtype=torch.uint8)
        frames.append(frame)
    wrong = errors(list(track_object(frames, mesh, camera, poses[0])), poses)
    assert float(wrong.median()) < 2 and float(wrong[-1]) < 3


def turned(pose: torch.Tensor, turn: tuple[float, float, float], shift: tuple[float, float, float]) -> torch.Tensor:
    result = pose.clone()
    result[:3, :3] = so3_exp(torch.tensor(turn, dtype=torch.float64)) @ pose[:3, :3]
    result[:3, 3] += torch.tensor(shift, dtype=torch.float64)
    return result


def test_the_true_pose_explains_most_even_behind_a_bar() -> None:
    """With half of the object behind something, and cells that are known to be covered, the true pose is still the best of many."""
    camera, mesh, pose = camera_(), painted_shape(), motion(1)[0]
    camera = replace(camera, far=1e5)
    model, frame = make_track_model(mesh, TrackOptions()), picture(mesh, camera, pose)
    target = TrackTarget(mesh=mesh, camera_from_object=pose)
    state, fit = start(target, frame, model, camera, TrackOptions())
    centered = pose.clone()
    centered[:3, 3] += pose[:3, :3] @ model.center
    assert fit.view is not None and fit.covered is not None
    frame.color[:, 105:135] = torch.tensor([40, 200, 60], dtype=torch.uint8)
    covered = torch.zeros_like(fit.covered)
    others = [
        turned(centered, turn, shift)
        for turn in ((0, 0, 0), (0.2, 0, 0), (-0.2, 0, 0), (0, 0.2, 0), (0, -0.2, 0), (0, 0, 0.2), (0, 0, -0.2))
        for shift in ((0, 0, 0), (6, 0, 0), (-6, 0, 0), (0, 6, 0), (0, 0, 30), (0, 0, -30))
    ]
    k = state.knowledge
    for looks in (None, k.looks):
        scores = explained(
            torch.stack(others), frame.color, k.colors, model.mesh, camera, covered=covered, view=fit.view, paint=model.paint,
            looks=looks,
        )  # fmt: skip
        assert int(scores.argmax()) == 0
        assert float(scores[0]) > float(scores[1:].max()) + 0.005


def test_cells_of_a_view_at_pixels_of_the_image() -> None:
    """Looking up covered cells by pixels says the same as by points of the object."""
    mesh, camera, pose = painted_shape(), camera_(), motion(1)[0]
    model = make_track_model(mesh, TrackOptions())
    _, fit = start(TrackTarget(mesh=mesh, camera_from_object=pose), picture(mesh, camera, pose), model, camera, TrackOptions())
    assert fit.view is not None and fit.covered is not None
    covered = torch.zeros_like(fit.covered)
    covered[10:30, 5:25] = True
    view = fit.view
    of_pixels = at_pixels(covered, view, torch.arange(180), torch.arange(240))
    points = model.mesh.vertices
    seen = (points @ view.camera_from_object[:3, :3].T + view.camera_from_object[:3, 3]) @ camera.intrinsics.T
    column, row = (seen[:, :2] / seen[:, 2:]).long().unbind(1)
    agree = of_pixels[row, column] == is_covered(points, covered, view)
    assert float(agree.float().mean()) > 0.97  # pixels at the border of cells
    assert 0.05 < float(of_pixels[row, column].float().mean()) < 0.95


def test_two_objects_and_a_lens() -> None:
    mesh, camera, poses = painted_shape(), camera_(), motion(4)
    frames = [picture(mesh, camera, pose) for pose in poses]
    lens = replace(camera, distortion=torch.zeros(5))
    targets = [TrackTarget(mesh=mesh, camera_from_object=poses[0], name=name) for name in ("a", "b")]
    for k, steps in enumerate(track_objects(frames, targets, lens)):
        assert [step.target for step in steps] == ["a", "b"]
        torch.testing.assert_close(steps[0].camera_from_object, steps[1].camera_from_object)
        assert float(rotation_error_deg(steps[0].camera_from_object, poses[k])) < 3


def test_a_frame_is_taken_in_at_a_time() -> None:
    """Steps come as frames do, so that a live camera works."""
    taken = []

    def frames() -> Iterator[VideoFrame]:
        for k in range(3):
            taken.append(k)
            yield picture(painted_shape(), camera_(), motion(1)[0])

    steps = track_object(frames(), painted_shape(), camera_(), motion(1)[0])
    next(steps)
    assert taken == [0]
    next(steps)
    assert taken == [0, 1]


def test_bad_input_is_named() -> None:
    mesh, camera, pose = painted_shape(), camera_(), motion(1)[0]
    frame = picture(mesh, camera, pose)
    behind = pose.clone()
    behind[2, 3] = -300
    with pytest.raises(DataError, match="behind the camera or outside"):
        next(track_object([frame], mesh, camera, behind))
    for factor in (1000, 0.001):
        with pytest.raises(DataError, match="factor of 1000"):
            next(track_object([frame], replace(mesh, vertices=factor * mesh.vertices), camera, pose))
    with pytest.raises(ArgumentError, match="no faces"):
        next(track_object([frame], replace(mesh, faces=mesh.faces[:0]), camera, pose))
    with pytest.raises(ArgumentError, match="not rigid"):
        next(track_object([frame], mesh, camera, pose @ torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))))
    small = replace(frame, color=frame.color[:50])
    with pytest.raises(ArgumentError, match=r"frame 'f' must be uint8 \[180, 240, 3\]"):
        next(track_object([small], mesh, camera, pose))
