"""`unproject info` and `unproject convert`: tables, JSON, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unproject import Mesh, PointCloud, load, save
from unproject.cli.main import main
from unproject.geometry.primitives import icosphere, torus


def run(*arguments: object) -> int:
    """The exit code of the command."""
    try:
        return int(main([str(a) for a in arguments]) or 0)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_info_of_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(torus(), tmp_path / "a.ply")
    assert run("info", tmp_path / "a.ply", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["vertices"] == torus().vertex_count and facts["faces"] == torus().face_count
    assert facts["watertight"] is True and facts["genus"] == 1 and facts["components"] == 1 and facts["degenerate_faces"] == 0
    assert facts["memory_bytes"] > 0 and len(facts["bounds_min"]) == 3
    assert run("info", tmp_path / "a.ply") == 0
    text = capsys.readouterr().out
    assert "watertight" in text and "yes" in text


def test_info_of_soup_and_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ball = icosphere(0)
    faces = torch.cat([torch.arange(60).view(20, 3), torch.tensor([[0, 0, 1]])])
    save(Mesh(vertices=ball.vertices[ball.faces].reshape(-1, 3), faces=faces), tmp_path / "a.ply")
    assert run("info", tmp_path / "a.ply", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["watertight"] is False and facts["equal_vertices"] == 48 and facts["degenerate_faces"] == 1
    save(PointCloud(positions=torch.tensor([[0.0, 0, 0], [1, 2, 3], [float("nan")] * 3])), tmp_path / "b.pcd")
    assert run("info", tmp_path / "b.pcd", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["points"] == 3 and facts["not_finite"] == 1 and facts["bounds_max"] == [1, 2, 3]


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(icosphere(1), tmp_path / "a.ply")
    for name, extra in (
        ("b.obj", []),
        ("c.ply", ["--encoding", "ascii"]),
        ("d.stl", []),
        ("e.pcd", []),
        ("f.ply", ["--precision", "float64"]),
    ):
        assert run("convert", tmp_path / "a.ply", tmp_path / name, *extra) == 0, name
    assert (tmp_path / "c.ply").read_bytes().startswith(b"ply\nformat ascii")
    assert isinstance(load(tmp_path / "e.pcd"), PointCloud)
    double = load(tmp_path / "f.ply")
    assert isinstance(double, Mesh) and double.vertices.dtype == torch.float64
    assert run("convert", tmp_path / "d.stl", tmp_path / "g.ply", "--merge") == 0
    merged = load(tmp_path / "g.ply")
    assert isinstance(merged, Mesh) and merged.vertex_count == 42
    capsys.readouterr()


def test_errors_have_a_code_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(icosphere(0), tmp_path / "a.ply")
    before = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "bad.ply").write_bytes(before[:-5])
    for arguments in (
        ("info", tmp_path / "none.ply"),
        ("info", tmp_path / "bad.ply"),
        ("convert", tmp_path / "a.ply", tmp_path / "a.ply"),
        ("convert", tmp_path / "a.ply", tmp_path / "b.nonsense"),
        ("convert", tmp_path / "bad.ply", tmp_path / "b.obj"),
    ):
        assert run(*arguments) != 0, arguments
        captured = capsys.readouterr()
        assert captured.err.strip() and "Traceback" not in captured.err
    assert (tmp_path / "a.ply").read_bytes() == before and not (tmp_path / "b.obj").exists()
