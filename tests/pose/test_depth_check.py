"""Measured depth against what poses show."""

from __future__ import annotations

import torch

import unproject as up
from unproject.pose.depth_check import contradiction
from unproject.pose.object_model import make_object_model
from unproject.pose.prepare import PoseInput, prepare
from unproject.pose.refine import TermWeights
from unproject.pose.solve import sight_of


def test_depth_contradicts_poses_that_are_too_far_or_elsewhere_and_no_others() -> None:
    model = make_object_model(up.icosphere(3))
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 4.0
    camera = up.perspective_camera(image_size=(80, 100), fx=150.0, fy=150.0)
    placed = model.mesh.vertices + pose[:3, 3].float()
    picture = up.rasterize(placed, model.mesh.faces, camera)
    depth = picture.depth * model.diameter
    weights = TermWeights()
    seen = lambda z: (lambda image: sight_of(image, image, weights, model, resolution=60, blur=0.0))(
        prepare(PoseInput(camera=camera, mask=picture.mask, depth=z), model)
    )
    shifted = pose.repeat(4, 1, 1)
    shifted[1, 2, 3] += 0.01  # about as good
    shifted[2, 2, 3] += 0.3  # too far away
    shifted[3, 0, 3] += 5.0  # beside the picture
    right, near, far, beside = contradiction(model, seen(depth), shifted).tolist()
    assert right < 0.02
    assert near < 0.2
    assert far > 0.9
    assert beside == 1.0
    sight = seen(depth)
    maps = sight.observation.maps.clone()
    maps[..., 6] = 0
    maps[30, 30:40, 6] = 4.0
    few = sight.map(lambda t: maps if t is sight.observation.maps else t)
    assert contradiction(model, few, shifted).tolist() == [0.0] * 4
