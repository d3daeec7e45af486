"""Colours and normals of a mesh of many faces on one of few that stands for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.geometry.query import closest_point
from unproject.pose.bake import bake_paint
from unproject.pose.paint import coat_of, make_paint, rows_at
from unproject.pose.view import render_view


def waves(points: Tensor) -> Tensor:
    """[N, 3] colours that change many times over a surface of size 1."""
    return 0.5 + 0.4 * torch.sin(points @ torch.tensor([[25.0, 8, 0], [0.0, 25, 14], [18.0, 0, 25]]))


@pytest.mark.parametrize(
    ("mesh", "faces"), [(up.icosphere(6, radius=0.5), 2000), (up.box((0.8, 0.6, 0.7), segments=60), 60)], ids=["round", "flat"]
)
def test_a_view_shows_the_same(mesh: up.Mesh, faces: int) -> None:
    painted = up.make_mesh(mesh.vertices, mesh.faces, vertex_colors=waves(mesh.vertices))
    few = up.decimate(mesh, faces)
    assert few.face_count <= faces < mesh.face_count / 20
    paint = make_paint(painted, torch.zeros(3, dtype=torch.float64))
    baked = bake_paint(paint, few)
    pose = torch.eye(4)
    pose[:3, :3], pose[2, 3] = up.so3_exp(torch.tensor([0.5, 0.7, 0.2])), 3.0
    view = render_view(few, up.perspective_camera(image_size=(480, 640), fov_y_deg=25.0), pose)
    assert view is not None
    coat = coat_of(baked, view)
    corners = few.vertices[few.faces][view.face[view.mask]]
    near = closest_point(torch.einsum("nk,nkc->nc", view.fragments.barycentrics[view.mask], corners), (mesh.vertices, mesh.faces))
    wanted = rows_at(paint, near.face, near.barycentrics)
    error = (coat.color - wanted[:, :3]).abs().mean(1)
    assert float(error.mean()) < 2 and float(error.quantile(0.99)) < 12  # of 255; a plain colour would be off by 60
    turned = wanted[:, 3:] @ pose[:3, :3].T
    angle = torch.rad2deg(((coat.normals * turned).sum(1)).clamp(-1, 1).acos())
    assert float(angle.quantile(0.9)) < 4.0
