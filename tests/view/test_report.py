"""The report of a fit."""

from __future__ import annotations

import torch

import unproject as up
from unproject.view.report import fit_report


def test_curves_are_of_what_several_steps_tell() -> None:
    cloud = up.PointCloud(positions=torch.rand(5, 3))
    losses = [{"points": 4e5}, {"chamfer": 2.0}, {"chamfer": 0.5}]
    page = fit_report("a & b", cloud, up.icosphere(0), rows=[("time", "1 s")], losses=losses)
    assert "a &amp; b" in page
    assert "chamfer</span>" in page and "points</span>" not in page
    assert "1e1<" in page and "1e5<" not in page
