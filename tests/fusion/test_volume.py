"""TSDF fusion: kernels against the reference, a sphere and a plane recovered, growth, limits, state."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError, DataError
from unproject.fusion.volume import FusionOptions, TsdfVolume
from unproject.geometry.sparse_voxels import sample_sparse
from unproject.ops import tsdf as ops
from unproject.ops.examples import all_examples
from unproject.reference import tsdf as reference

K = torch.tensor([[60.0, 0.0, 40.0], [0.0, 60.0, 30.0], [0.0, 0.0, 1.0]])
SHAPE = (60, 80)


def looking(angle: float, distance: float = 2.0) -> torch.Tensor:
    """camera_from_world of a camera on a circle around the origin, looking at it."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0.0, -s, 0.0], [0.0, 1.0, 0.0, 0.0], [s, 0.0, c, distance], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)


def sphere_depth(camera_from_world: torch.Tensor, radius: float = 0.6) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(SHAPE[0]) + 0.5, torch.arange(SHAPE[1]) + 0.5, indexing="ij")
    ray = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], dim=-1).double()
    center = camera_from_world[:3, 3]
    a, b, c = ray.square().sum(-1), (ray * center).sum(-1), center.square().sum() - radius**2
    root = b * b - a * c
    return torch.where(root > 0, (b - root.clamp_min(0).sqrt()) / a, 0).float()


def fuse_sphere(voxel: float = 0.05, views: int = 12, **options: float) -> TsdfVolume:
    volume = TsdfVolume(FusionOptions(voxel=voxel, **options))
    for n in range(views):
        pose = looking(2 * math.pi * n / views)
        rgb = torch.zeros(*SHAPE, 3, dtype=torch.uint8)
        rgb[..., 0] = 200
        volume.integrate(sphere_depth(pose), pose, K, rgb)
    return volume


def test_sphere_is_recovered_with_its_colour() -> None:
    volume = fuse_sphere(grazing_deg=60)
    mesh = volume.mesh()
    error = mesh.vertices.norm(dim=1) - 0.6
    assert float(error.abs().mean()) < 0.004
    assert float(error.abs().max()) < 0.03
    assert torch.allclose(mesh.vertex_colors, torch.tensor([200 / 255, 0.0, 0.0]), atol=1e-3)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    assert float((torch.linalg.cross(b - a, c - a) * a).sum(1).min()) > -1e-6
    cloud = volume.points()
    assert float((cloud.normals * cloud.positions).sum(1).div(0.6).mean()) > 0.99
    inside = sample_sparse(volume.grid(), cloud.positions - 0.05 * cloud.normals)
    assert float(inside[inside.isfinite()].mean()) == pytest.approx(-0.05 / volume.options.truncation, abs=0.03)


def test_kernels_equal_reference() -> None:
    pose = looking(0.4)
    depth = sphere_depth(pose) + 0.002 * torch.randn(SHAPE)
    depth[10:12] = torch.nan
    depth[20, 30:40] = 0
    rgb = torch.randint(0, 256, (*SHAPE, 3), dtype=torch.uint8)
    k = [60.0, 60.0, 40.0, 30.0]
    limits = (5.0, 0.2, 1.5, 0.05)
    ours, theirs = ops.weigh_depth(depth, rgb, k, *limits), reference.weigh_depth(depth, rgb, k, *limits)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert int(((ours[1] >> 24) - (theirs[1] >> 24)).abs().max()) <= 1
    assert torch.equal(ours[1] & 0xFFFFFF, theirs[1] & 0xFFFFFF)
    assert torch.equal(ours[2], theirs[2])
    factor, packed, largest = ours
    camera_from_grid = pose @ torch.diag(torch.tensor([0.05, 0.05, 0.05, 1.0], dtype=torch.float64))
    inverse = torch.linalg.inv(camera_from_grid).contiguous()
    keys = ops.touched_keys(depth, packed, k, inverse, 0.25, 0.05, 2)
    assert torch.equal(torch.unique(keys), reference.touched_keys(depth, packed, k, inverse, 0.25, 0.05, 2))
    coordinates = torch.stack([(keys >> 42), (keys >> 21) & (2**21 - 1), keys & (2**21 - 1)], 1).unique(dim=0) - 2**20
    coordinates = torch.cat([coordinates, coordinates + 5, coordinates - 7]).unique(dim=0)  # also some beside, before and behind
    rows = [f(coordinates, camera_from_grid, k, list(SHAPE), 0.25, largest) for f in (ops.visible_blocks, reference.visible_blocks)]
    assert set(rows[0].tolist()) <= set(rows[1].tolist())
    volumes = []
    everything = torch.arange(len(coordinates))
    for integrate, blocks in ((ops.integrate_depth, rows[0]), (reference.integrate_depth, rows[1]), (ops.integrate_depth, everything)):
        generator = torch.Generator().manual_seed(1)
        volume = [torch.rand(n, len(coordinates), 8, 8, 8, generator=generator) for n in (1, 1, 3)]
        state = (volume[0][0], volume[1][0], volume[2])
        integrate(blocks, coordinates, camera_from_grid, k, 0.25, depth, factor, packed, *state)
        volumes.append(state)
    assert all(torch.equal(a, b) for a, b in zip(volumes[0], volumes[2])), "a block that changes was not visible"
    near = [((a - b).abs() > 1e-3 * b.abs().max()).double().mean() for a, b in zip(volumes[0], volumes[1])]
    assert max(near) < 1e-3, "pixels on the border between two may fall to either side"


def test_weights_of_noise_angle_and_distance() -> None:
    depth = torch.full(SHAPE, 1.0)
    depth[30, 40] = 3.0  # a speckle
    rgb = torch.zeros(*SHAPE, 3, dtype=torch.uint8)
    weigh = lambda image: (ops.weigh_depth(image, rgb, [60.0, 60.0, 40.0, 30.0], 8.0, 0.17, 2.0, 0.05)[1] >> 24) & 255
    weight = weigh(depth)
    assert weight[30, 40] == 0
    assert weight[29, 39] > 250
    assert weigh(torch.full(SHAPE, 4.0))[30, 40] == 64  # (2 / 4)^2
    slanted = 1 / (1 - 0.012 * (torch.arange(80.0) - 40)).expand(SHAPE).contiguous()  # a plane: 1 / z is linear in the image
    cosine = 1 / math.hypot(1, 0.012 * 60)
    assert int(weigh(slanted)[30, 40]) == pytest.approx(255 * cosine, abs=3)


def test_memory_grows_with_surface_and_has_a_limit() -> None:
    coarse, fine = fuse_sphere(0.05, 2), fuse_sphere(0.025, 2)
    assert 2.5 < fine.block_count / coarse.block_count < 6
    with pytest.raises(DataError, match="larger voxels than"):
        fuse_sphere(0.01, 2, memory_limit_gb=0.005)


def test_free_space_removes_what_is_no_longer_there() -> None:
    volume = TsdfVolume(FusionOptions(voxel=0.05))
    pose = looking(0.0)
    volume.integrate(torch.full(SHAPE, 1.2), pose, K)
    for _ in range(4):
        volume.integrate(torch.full(SHAPE, 2.5), pose, K)
    z = volume.mesh(min_weight=0.5).vertices[:, 2]
    assert float(z.min()) > 0.3


def test_state_round_trip_continues_alike() -> None:
    volume = fuse_sphere(views=3)
    copy = TsdfVolume(volume.options)
    copy.restore({name: tensor.clone() for name, tensor in volume.state().items()})
    pose = looking(2.0)
    for each in (volume, copy):
        each.integrate(sphere_depth(pose), pose, K)
    ours, theirs = volume.mesh(), copy.mesh()
    assert torch.equal(ours.vertices, theirs.vertices) and torch.equal(ours.faces, theirs.faces)
    assert copy.frame_count == 4


def test_nothing_usable_is_zero_blocks() -> None:
    volume = TsdfVolume(FusionOptions(voxel=0.05))
    for depth in (torch.zeros(SHAPE), torch.full(SHAPE, torch.nan), torch.full(SHAPE, 50.0), torch.zeros(0, 0)):
        assert volume.integrate(depth, looking(0.0), K) == 0
    assert volume.frame_count == 0
    assert volume.mesh().face_count == 0
    assert volume.points().point_count == 0


def test_errors() -> None:
    volume = TsdfVolume()
    with pytest.raises(ArgumentError, match=r"`depth` must be \[H, W\] floats, got int64 \[4, 4\]"):
        volume.integrate(torch.zeros(4, 4, dtype=torch.int64), looking(0.0), K)
    with pytest.raises(ArgumentError, match=r"`rgb` must be uint8 \[60, 80, 3\]"):
        volume.integrate(torch.ones(SHAPE), looking(0.0), K, torch.zeros(4, 4, 3, dtype=torch.uint8))
    with pytest.raises(ArgumentError, match="`voxel` must be positive"):
        FusionOptions(voxel=0.0)
    with pytest.raises(ArgumentError, match="no color, tsdf"):
        volume.restore({"coordinates": torch.zeros(0, 3), "weight": torch.zeros(0), "frame_count": torch.tensor(0)})


OPERATORS = [ops.weigh_depth, ops.touched_keys, ops.insert_keys, ops.visible_blocks, ops.integrate_depth]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.name)
def test_opcheck(operator: object) -> None:
    for candidate, make in all_examples():
        if candidate is operator:
            torch.library.opcheck(operator.overload, make(torch.float32))
