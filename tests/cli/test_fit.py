"""`unproject fit` end to end on a small procedural scan, in this process and killed in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from unproject.cli import main as cli
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import torus
from unproject.geometry.query import closest_point
from unproject.geometry.scan import scan_mesh
from unproject.io.load import load_mesh, load_points, save

TORUS = torus(segments=(48, 24))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    save(scan_mesh(TORUS, points=4000, views=10, noise=0.003), tmp_path / "scan.ply")
    return tmp_path / "scan.ply"


def test_pixels_without_a_measurement_are_left_out_with_a_warning(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud = load_points(scan)
    positions = cloud.positions.clone()
    positions[::10] = torch.nan
    save(PointCloud(positions=positions), scan.with_name("holes.ply"))
    assert cli.main(["fit", str(scan.with_name("holes.ply")), "-o", str(scan.with_name("out.ply")), "--json"]) == 0
    said = capsys.readouterr()
    assert "400 of 4,000 points" in said.err and json.loads(said.out)["genus"] == 1


def test_fit_writes_mesh_report_and_picture(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report, picture = (scan.with_name(name) for name in ("out.ply", "report.html", "both.png"))
    assert cli.main(["fit", str(scan), "-o", str(out), "--report", str(report), "--picture", str(picture), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["watertight"] is True and said["genus"] == 1 and said["components"] == 1 and said["f_score"] > 0.8
    distance = closest_point(TORUS.vertices, load_mesh(out)).squared_distance.sqrt()
    assert float(distance.mean()) < 0.015
    page = report.read_text()
    assert page.count("<canvas") == 2 and "http" not in page.replace("http-equiv", "") and "<polyline" in page
    pixels = torch.tensor(list(Image.open(picture).convert("L").tobytes()))
    assert float((pixels < 250).float().mean()) > 0.05


def test_existing_output_is_kept_without_overwrite(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scan.with_name("out.ply")
    out.write_text("mine")
    assert cli.main(["fit", str(scan), "-o", str(out)]) == cli.NO_ACCESS
    assert out.read_text() == "mine" and "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("points", [torch.eye(3), torch.ones(20, 3)])
def test_bad_scans_are_data_errors_and_leave_nothing(points: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(PointCloud(positions=points), tmp_path / "scan.ply")
    assert cli.main(["fit", str(tmp_path / "scan.ply"), "-o", str(tmp_path / "out.ply")]) == cli.BAD_DATA
    assert capsys.readouterr().err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["scan.ply"]


def test_missing_and_broken_scans(tmp_path: Path) -> None:
    assert cli.main(["fit", str(tmp_path / "none.ply"), "-o", str(tmp_path / "out.ply")]) == cli.NO_ACCESS
    (tmp_path / "bad.ply").write_text("ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nend_header\n1\n")
    assert cli.main(["fit", str(tmp_path / "bad.ply"), "-o", str(tmp_path / "out.ply")]) == cli.BAD_FORMAT
    assert cli.main(["fit", str(tmp_path / "bad.ply"), "-o", str(tmp_path / "out.ply"), "--resume"]) == cli.BAD_DATA


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.parametrize("method", ["surface", "deform"])
def test_killed_run_resumes_to_the_same_result(scan: Path, method: str) -> None:
    whole, out, checkpoint = (scan.with_name(name) for name in ("whole.ply", "out.ply", "state.safetensors"))
    words = ["fit", str(scan), "--method", method, "--quiet", "-o"]
    assert cli.main([*words, str(whole)]) == 0
    kept = ["--checkpoint", str(checkpoint), "--checkpoint-every", "1"]
    with subprocess.Popen([sys.executable, "-m", "unproject", *words, str(out), *kept]) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGKILL)
    assert checkpoint.exists() and not out.exists()
    assert cli.main([*words, str(out), *kept, "--resume"]) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists() and not [p for p in scan.parent.iterdir() if p.name.endswith(".part")]
