"""Regions to grasp: sides of a box with known sizes, blocked ones, curvature of a cylinder, refusals, the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import unproject as up
from unproject.cli.main import main
from unproject.geometry.regions import RegionOptions, find_regions


def test_the_sides_of_a_box() -> None:
    mesh = up.box((3.0, 2.0, 1.0), segments=6)
    found = find_regions(mesh)
    assert [round(r.area, 6) for r in found] == [6, 6, 3, 3, 2, 2]
    best = found[0]
    assert abs(float(best.normal[2])) == pytest.approx(1) and best.reachable == 1
    torch.testing.assert_close(best.extent, torch.tensor([3.0, 2.0], dtype=torch.float64), rtol=0, atol=1e-6)
    assert abs(float(best.axes[0, 0])) == pytest.approx(1) and best.clearance == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(best.centre.abs(), torch.tensor([0.0, 0, 0.5], dtype=torch.float64), rtol=0, atol=1e-6)
    assert best.curvature == pytest.approx(0, abs=1e-6) and best.roughness == pytest.approx(0, abs=1e-6)
    assert sum(len(r.faces) for r in found) == mesh.face_count == len(torch.cat([r.faces for r in found]).unique())
    assert best.score == pytest.approx(6 / 22, rel=1e-6)


def test_what_is_covered_cannot_be_reached() -> None:
    lower, upper = up.box((2.0, 2.0, 0.5), segments=4), up.box((2.0, 2.0, 0.5), segments=4)
    vertices = torch.cat([lower.vertices, upper.vertices + torch.tensor([0.0, 0.0, 1.0])])
    mesh = up.Mesh(vertices=vertices, faces=torch.cat([lower.faces, upper.faces + lower.vertex_count]))
    found = find_regions(mesh)
    between = [r for r in found if 0.2 < float(r.centre[2]) < 0.8 and abs(float(r.normal[2])) > 0.9]
    assert len(between) == 2 and all(r.reachable == 0 for r in between) and found[0].reachable == 1
    from_above = find_regions(mesh, RegionOptions(approach=(0.0, 0.0, -1.0), approach_deg=30))
    assert {round(float(r.normal[2])) for r in from_above} == {1}


def test_curvature_of_a_cylinder() -> None:
    found = find_regions(up.cylinder(0.5, 4.0, segments=(96, 8)), RegionOptions(angle_deg=25, flatness=0.1))
    side = max((r for r in found if abs(float(r.normal[2])) < 0.5), key=lambda r: r.area)
    assert side.curvature == pytest.approx(1 / (2 * 0.5), rel=0.15)
    assert side.roughness > 1e-3


def test_refusals() -> None:
    with pytest.raises(up.DataError, match="no area"):
        find_regions(up.Mesh(vertices=torch.zeros(3, 3), faces=torch.tensor([[0, 1, 2]])))
    with pytest.raises(up.ArgumentError, match="angle_deg"):
        find_regions(up.box(), RegionOptions(angle_deg=120))
    assert find_regions(up.icosphere(3), RegionOptions(angle_deg=5, min_area=1.0)) == ()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    up.save(up.box((3.0, 2.0, 1.0), segments=3), tmp_path / "part.stl")
    assert main(["regions", "part.stl", "-o", "regions.json", "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)["regions"]
    assert len(said) == 6 and said == json.loads((tmp_path / "regions.json").read_text())["regions"]
    assert math.isclose(said[0]["area"], 6, rel_tol=1e-5) and (tmp_path / "part-regions.png").stat().st_size > 3000
    assert main(["regions", "part.stl"]) == 5
    assert main(["regions", "part.stl", "--overwrite", "--min-area", "100"]) == 3
