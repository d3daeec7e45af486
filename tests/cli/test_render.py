"""`unproject render` end to end: pictures, turntables, what lies beside them, many files, errors."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unproject as up
from unproject.cli import main as cli

SMALL = ["--size", "48x32", "--samples", "1"]


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    up.save(up.icosphere(2), tmp_path / "ball.ply")
    return tmp_path / "ball.ply"


def render(*words: Any) -> int:
    return cli.main(["render", *map(str, words)])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_picture_is_framed(ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ball.with_suffix(".png")
    assert render(ball, "-o", out, *SMALL, "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)["rendered"]
    assert said["faces"] == 320 and said["written"] == [str(out)]
    image = pixels(out)
    drawn = (image < 250).any(-1)
    rows, columns = drawn.any(1).nonzero()[0], drawn.any(0).nonzero()[0]
    assert image.shape == (32, 48, 3) and len(rows) >= 27
    assert abs(rows.mean() - 15.5) < 1 and abs(columns.mean() - 23.5) < 1
    assert image[10, 20].mean() > image[25, 30].mean() + 20  # the light comes from the upper left


def test_what_is_written_beside_it(ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ball.with_suffix(".png")
    words = [
        ball,
        "-o",
        out,
        *SMALL,
        "--depth",
        "--normals",
        "--silhouette",
        "--transparent",
        "--distance",
        "4",
        "--azimuth",
        "0",
        "--elevation",
        "0",
    ]
    assert render(*words, "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)["rendered"]
    depth = pixels(ball.with_name("ball_depth.png")).astype(float) * said["depth_scale"]
    assert depth[16, 24] == pytest.approx(3.0, abs=0.02) and depth[0, 0] == 0
    np.testing.assert_allclose(pixels(ball.with_name("ball_normals.png"))[16, 24] / 255.0, [0.5, 0.5, 1.0], atol=0.05)
    silhouette = pixels(ball.with_name("ball_silhouette.png"))
    image = pixels(out)
    assert image.shape[2] == 4 and np.array_equal(image[..., 3], silhouette) and np.array_equal(silhouette > 0, depth > 0)
    assert render(*words) == cli.NO_ACCESS and "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("lights", ["headlight", "none", "file"])
@pytest.mark.parametrize("shading", ["flat", "gouraud"])
def test_lights_and_shading(ball: Path, lights: str, shading: str) -> None:
    if lights == "file":
        lights = str(ball.with_name("lights.json"))
        Path(lights).write_text('[{"type": "point", "position": [0, 5, 0], "color": [1, 0, 0]}, {"type": "ambient", "color": [0, 0, 0.2]}]')
    out = ball.with_suffix(".png")
    assert (
        render(ball, "-o", out, *SMALL, "--lights", lights, "--shading", shading, "--shadows", "--color", "white", "--background", "black")
        == 0
    )
    image = pixels(out).astype(int)
    assert image[0, 0].sum() == 0
    if lights.endswith("json"):
        assert image[4, 24, 0] > 100 and image[28, 24, 0] == 0 and image[28, 24, 2] > 50 and image[..., 1].max() == 0
    else:
        assert image[16, 24].min() > 150


def test_camera_file_and_size(ball: Path) -> None:
    camera = up.perspective_camera(up.look_at((0.0, 0.0, 3.0), (0.0, 0.0, 0.0)), image_size=(20, 30), fov_y_deg=60.0)
    up.save_camera(camera, ball.with_name("K.json"))
    out = ball.with_suffix(".png")
    assert render(ball, "-o", out, "--camera", ball.with_name("K.json"), "--samples", 1) == 0
    expected = up.silhouette(up.icosphere(2).vertices, up.icosphere(2).faces, camera) > 0.5
    image = pixels(out)
    assert image.shape == (20, 30, 3) and ((image < 250).any(-1) != expected.numpy()).mean() < 0.03
    assert render(ball, "-o", out, "--camera", ball.with_name("K.json"), "--size", "60x40", "--overwrite") == 0
    assert pixels(out).shape == (40, 60, 3)


def test_cameras_with_a_lens_are_ray_traced(ball: Path) -> None:
    """A fisheye's picture: covered where the points of the ball are imaged to. Without a lens, both ways give the same picture."""
    pose = up.look_at((0.5, 1.0, 2.5), (0.3, 0.2, 0.0))
    camera = up.make_camera([20.0, 20, 17, 9], pose, image_size=(20, 30), projection="fisheye", distortion=[0.1, 0.0, 0.0, 0.0])
    up.save_camera(camera, ball.with_name("K.json"))
    out = ball.with_suffix(".png")
    assert render(ball, "-o", out, "--camera", ball.with_name("K.json"), "--samples", 1) == 0
    covered = (pixels(out) < 250).any(-1)
    corner = up.world_to_screen(camera, up.icosphere(4).vertices)[:, :2].floor().long()
    expected = np.zeros((20, 30), bool)
    expected[corner[:, 1].clamp(0, 19), corner[:, 0].clamp(0, 29)] = True
    assert expected.sum() > 100 and (covered != expected).mean() < 0.08  # the outline's pixels
    two = [ball.with_name("a.png"), ball.with_name("b.png")]
    assert render(ball, "-o", two[0], *SMALL) == 0 and render(ball, "-o", two[1], *SMALL, "--raytrace") == 0
    assert (np.abs(pixels(two[0]).astype(int) - pixels(two[1])) > 3).mean() < 0.01


def test_textures_points_and_many_files(tmp_path: Path, ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texture = torch.tensor([1.0, 0.0, 0.0]).expand(4, 4, 3)
    uvs = torch.rand(up.icosphere(1).vertex_count, 2)
    mesh = dataclasses.replace(up.icosphere(1), uvs=uvs, materials=(up.Material(diffuse_texture=texture, shininess=torch.tensor(0.0)),))
    (tmp_path / "more").mkdir()
    up.save(mesh, tmp_path / "more" / "ball.obj")
    up.save(up.PointCloud(positions=up.icosphere(3).vertices), tmp_path / "dots.xyz")
    files = [ball, tmp_path / "more" / "ball.obj", tmp_path / "dots.xyz"]
    out = tmp_path / "pictures"
    assert render(*files, "-o", out, *SMALL, "--point-size", "1.3", "--json") == 0
    said = json.loads(capsys.readouterr().out)["rendered"]
    assert [Path(p).name for d in said for p in d["written"]] == ["ball.png", "ball_2.png", "dots.png"]
    red = pixels(out / "ball_2.png")[16, 24].astype(int)
    assert red[0] > 100 and red[1:].max() < 30
    solid, dots = ((pixels(out / name) < 250).any(-1) for name in ("ball.png", "dots.png"))
    assert (solid & dots).sum() > 0.95 * solid.sum()


def test_turntable_gif(ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ball.with_suffix(".gif")
    assert render(ball, "-o", out, *SMALL, "--turntable", 5, "--lights", "headlight", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rendered"][0]["frames"] == 5
    with Image.open(out) as movie:
        assert movie.n_frames == 5 and movie.size == (48, 32)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
def test_turntable_mp4(ball: Path) -> None:
    out = ball.with_suffix(".mp4")
    assert render(ball, "-o", out, "--size", "47x33", "--samples", 1, "--turntable", 4) == 0
    assert b"ftyp" in out.read_bytes()[:16]


def test_mp4_without_an_encoder_says_what_to_install(
    ball: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("unproject.io.animation._ffmpeg", lambda: None)
    monkeypatch.setattr("unproject.io.animation._module", lambda name: None)
    assert render(ball, "-o", ball.with_suffix(".mp4")) == cli.MISSING_DEPENDENCY
    assert "pip install imageio-ffmpeg" in capsys.readouterr().err and not ball.with_suffix(".mp4").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "out.txt"], cli.BAD_DATA, "must end in .png"),
        (["-o", "out.png", "--size", "0"], cli.BAD_DATA, "--size must be"),
        (["-o", "out.png", "--size", "axb"], cli.BAD_DATA, "--size must be"),
        (["-o", "out.png", "--background", "whitish"], cli.BAD_DATA, "--background must be a colour"),
        (["-o", "out.png", "--lights", "sun"], cli.BAD_DATA, "--lights must be"),
        (["-o", "out.png", "--fov", "180"], cli.BAD_DATA, "`fov_y_deg` must be"),
        (["-o", "out.png", "--distance", "-1"], cli.BAD_DATA, "`distance` must be positive"),
        (["-o", "out.png", "--samples", "0"], cli.BAD_DATA, "`supersampling`"),
        (["-o", "out.png", "--turntable", "8"], cli.BAD_DATA, "must end in .gif or .mp4"),
        (["-o", "out.jpg", "--transparent"], cli.BAD_DATA, "--transparent needs"),
        (["-o", "missing/out.png"], cli.NO_ACCESS, "create the folder"),
        (["-o", "out.png", "--camera", "missing.json"], cli.NO_ACCESS, "missing.json"),
        (["-o", "out.png", "--shading", "smooth"], cli.USAGE, "see unproject render --help"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    ball: Path, words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ball.parent)
    assert render(ball, *words) == code
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert [p.name for p in ball.parent.iterdir()] == ["ball.ply"]


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nan.obj").write_text("v 0 0 0\nv 1 nan 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "empty.obj").write_text("v 0 0 0\nf 1 1 1\n# nothing\n")
    (tmp_path / "bad.json").write_text('[{"type": "sun"}]')
    (tmp_path / "broken.ply").write_text("ply\nformat ascii 1.0\nelement vertex 3\n")
    assert render(tmp_path / "broken.ply", "-o", tmp_path / "a.png") == cli.BAD_FORMAT
    assert render(tmp_path / "missing.ply", "-o", tmp_path / "a.png") == cli.NO_ACCESS
    assert render(tmp_path / "nan.obj", "-o", tmp_path / "a.png") in (cli.BAD_DATA, cli.BAD_FORMAT)
    capsys.readouterr()
    assert render(tmp_path / "empty.obj", "-o", tmp_path / "a.png", "--lights", tmp_path / "bad.json") == cli.BAD_FORMAT
    assert "`[0].type` must be one of ambient" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
