"""TSDF fusion in plain torch, with the signatures of the operators."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 4096  # blocks at a time


def _rays(depth: Tensor, k: list[float]) -> tuple[Tensor, Tensor]:
    """x and y of the rays (x, y, 1) through the pixel centres, [1, W] and [H, 1]."""
    fx, fy, cx, cy = k
    columns = torch.arange(depth.shape[1], dtype=depth.dtype, device=depth.device)
    rows = torch.arange(depth.shape[0], dtype=depth.dtype, device=depth.device)
    return ((columns + 0.5 - cx) / fx)[None], ((rows + 0.5 - cy) / fy)[:, None]


def _slope(depth: Tensor, dim: int, jump: Tensor) -> Tensor:
    """Depth change per pixel, from pixels three away on the same surface, or else the next ones; NaN without one."""
    padded = torch.nn.functional.pad(depth, [0, 0, 3, 3] if dim == 0 else [3, 3, 0, 0])
    total, length = torch.zeros_like(depth), torch.zeros_like(depth)
    for sign in (-1, 1):
        near, far = (padded.narrow(dim, 3 + sign * reach, depth.shape[dim]) for reach in (1, 3))
        on_near, on_far = ((there > 0) & ((there - depth).abs() < jump) for there in (near, far))
        reach = torch.where(on_near & on_far, 3.0, 1.0)
        total += torch.where(on_near, sign * (torch.where(on_far, far, near) - depth), 0)
        length += torch.where(on_near, reach, 0)
    return total / torch.where(length > 0, length, torch.nan)


def weigh_depth(
    depth: Tensor, rgb: Tensor, k: list[float], max_depth: float, grazing_cosine: float, full_weight_depth: float, relative_jump: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Factor, packed weight and colour, largest depth of tiles: see the operator."""
    jump = relative_jump * depth
    along_u, along_v = _slope(depth, 1, jump), _slope(depth, 0, jump)
    x, y = _rays(depth, k)
    nx, ny = -along_u * k[0], -along_v * k[1]
    nz = depth - x * nx - y * ny
    along_ray = (x * nx + y * ny + nz) / (nx * nx + ny * ny + nz * nz).sqrt()
    cosine = along_ray / (x * x + y * y + 1).sqrt()
    good = (depth > 0) & (depth <= max_depth) & torch.isfinite(cosine) & (cosine >= grazing_cosine)
    far = (full_weight_depth / depth).clamp_max(1)
    code = torch.where(good, (cosine * far * far * 255 + 0.5).clamp_min(1), 0).long() << 24
    color = rgb.long()
    packed = torch.where(good, code | color[..., 0] << 16 | color[..., 1] << 8 | color[..., 2], 0)
    packed = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
    rows, columns = ((n + 15) // 16 * 16 for n in depth.shape)
    used = torch.nn.functional.pad(torch.where(good, depth, 0), [0, columns - depth.shape[1], 0, rows - depth.shape[0]])
    largest = used.reshape(rows // 16, 16, columns // 16, 16).amax(3).amax(1)
    return torch.where(good, along_ray, 1), packed, largest


def touched_keys(
    depth: Tensor, packed: Tensor, k: list[float], grid_from_camera: Tensor, truncation: float, voxel: float, stride: int
) -> Tensor:
    """Keys of the blocks within the truncation distance along each used pixel's ray; each once."""
    x, y = (t.double() for t in _rays(depth, k))
    d = depth.double()[::stride, ::stride]
    x, y = x[:, ::stride], y[::stride]
    used = (packed[::stride, ::stride] != 0).flatten()
    ray = torch.stack([x.expand_as(d), y.expand_as(d), torch.ones_like(d)], dim=-1).reshape(-1, 3)[used]
    steps = -int(-4 * truncation // (8 * voxel)) + 1
    reach = truncation / ray.norm(dim=1)
    z = d.flatten()[used, None] + reach[:, None] * torch.linspace(-1, 1, steps, dtype=torch.float64, device=d.device)
    matrix = grid_from_camera.to(d.device)
    points = (z[..., None] * ray[:, None])[z > 0] @ matrix[:3, :3].mT + matrix[:3, 3]
    block = (points / 8).floor()
    block = block[(block.abs() < 1 << 20).all(1)].long() + (1 << 20)
    return torch.unique(block[:, 0] << 42 | block[:, 1] << 21 | block[:, 2])


def visible_blocks(
    coordinates: Tensor, camera_from_grid: Tensor, k: list[float], shape: list[int], truncation: float, largest: Tensor
) -> Tensor:
    """Rows of the blocks whose bounding sphere is in the frustum; more than the operator's, which looks at depth as well."""
    matrix = camera_from_grid.to(coordinates.device)
    center = (8 * coordinates + 3.5).double() @ matrix[:3, :3].mT + matrix[:3, 3]
    radius = 0.5 * 3**0.5 * 8 * float(matrix[:3, 0].norm())
    x, y, z = center.unbind(1)
    inside = (z + radius > 0) & (z - radius < float(largest.max()) + truncation)
    for p, f, c, size in ((x, k[0], k[2], shape[1]), (y, k[1], k[3], shape[0])):
        for slope, sign in (((0 - c) / f, 1), ((size - c) / f, -1)):  # the sides of the frustum: planes through the camera
            inside &= sign * (p - slope * z) > -radius * (1 + slope * slope) ** 0.5
    return inside.nonzero()[:, 0]


def integrate_depth(
    rows: Tensor,
    coordinates: Tensor,
    camera_from_grid: Tensor,
    k: list[float],
    truncation: float,
    depth: Tensor,
    factor: Tensor,
    packed: Tensor,
    tsdf: Tensor,
    weight: Tensor,
    color: Tensor,
) -> None:
    """Fold a weighed depth image into blocks, in place: see the operator."""
    local = torch.cartesian_prod(*[torch.arange(8, device=rows.device)] * 3)
    matrix = camera_from_grid.to(rows.device)
    height, width = depth.shape
    tsdf, weight, color = tsdf.view(-1), weight.view(-1), color.view(3, -1)
    for part in rows.split(_CHUNK):
        lattice = (8 * coordinates[part][:, None] + local).reshape(-1, 3).double()
        x, y, z = (lattice @ matrix[:3, :3].mT + matrix[:3, 3]).to(depth.dtype).unbind(1)
        u, v = x * k[0] / z + k[2], y * k[1] / z + k[3]
        mask = (z > 1e-6) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        pixel = torch.where(mask, v.floor() * width + u.floor(), 0).long()
        distance = (depth.flatten()[pixel] - z) * factor.flatten()[pixel] / truncation
        code = packed.flatten()[pixel].long() & 0xFFFFFFFF
        gain = (code >> 24).to(depth.dtype) / 255
        mask &= (gain > 0) & (distance > -1)
        place = (part[:, None] * 512 + torch.arange(512, device=rows.device)).flatten()[mask]
        distance = distance[mask].clamp_max(1)
        gain = gain[mask] * (1 + distance).clamp_max(1)
        total = weight[place] + gain
        rate = gain / total
        tsdf[place] += (distance - tsdf[place]) * rate
        for channel in range(3):
            seen = (code[mask] >> (16 - 8 * channel) & 255).to(depth.dtype)
            color[channel, place] += (seen - color[channel, place]) * rate
        weight[place] = total
