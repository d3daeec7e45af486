"""TsdfVolume: depth images fused into blocks of truncated signed distances that exist only near surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape, describe
from ..geometry.isosurface import Isosurface, block_keys, block_surface_positions, find_isosurface_of_blocks
from ..geometry.mesh import Mesh
from ..geometry.normals import vertex_normals
from ..geometry.points import PointCloud
from ..geometry.sparse_voxels import SparseGrid, make_sparse_grid
from ..ops.tsdf import insert_keys, integrate_depth, touched_keys, visible_blocks, weigh_depth

BLOCK_BYTES = 512 * 4 * 5 + 24


@dataclass(frozen=True, kw_only=True)
class FusionOptions:
    """How depth images are fused.

    Attributes:
        voxel: edge length of a voxel, scene units.
        truncation_voxels: how far from a surface distances are kept, in voxels. More bridges noise, less keeps thin things apart.
        max_depth: measurements beyond are not used, scene units.
        grazing_deg: surfaces seen at an angle of incidence above this are not used.
        full_weight_depth: beyond this depth the weight falls with its square, as the noise of depth cameras grows.
        relative_jump: neighbouring pixels whose depths differ by more than this fraction lie on different surfaces.
        memory_limit_gb: fusing stops with an error instead of taking more.
    """

    voxel: float = 0.01
    truncation_voxels: float = 5.0
    max_depth: float = 8.0
    grazing_deg: float = 80.0
    full_weight_depth: float = 2.0
    relative_jump: float = 0.05
    memory_limit_gb: float = 16.0

    def __post_init__(self) -> None:
        for name in ("voxel", "max_depth", "full_weight_depth", "relative_jump", "memory_limit_gb"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ArgumentError(f"FusionOptions: `{name}` must be positive, got {getattr(self, name)}")
        if not self.truncation_voxels >= 2:
            raise ArgumentError(f"FusionOptions: `truncation_voxels` must be at least 2, got {self.truncation_voxels}")
        if not 0 < self.grazing_deg <= 90:
            raise ArgumentError(f"FusionOptions: `grazing_deg` must lie in (0, 90], got {self.grazing_deg}")

    @property
    def truncation(self) -> float:
        """Scene units."""
        return self.voxel * self.truncation_voxels


class TsdfVolume:
    """The state of a fusion: grows with every `integrate`. The one mutable value of this package, for it fills most of the memory.

    The world's lattice has its origin at the world's, and voxels as edges. Values of what is fused come out by the methods below it.
    """

    def __init__(self, options: FusionOptions | None = None, *, device: torch.device | str = "cpu"):
        self.options = options or FusionOptions()
        self.device = torch.device(device)
        self.frame_count = 0
        self.block_count = 0
        self._allocate_table(1 << 12)
        self._coordinates, self._tsdf, self._weight, self._color = self._blocks(0)

    @property
    def memory(self) -> int:
        """Bytes of the blocks in use."""
        return self.block_count * BLOCK_BYTES

    # ---- storage ----

    def _blocks(self, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Room for blocks: zeros that take no memory before they are written, on the CPU."""
        if self.device.type != "cpu":
            make = lambda *shape: torch.zeros(shape, device=self.device)
        else:
            make = lambda *shape: torch.from_numpy(np.zeros(shape, np.float32))
        coordinates = torch.zeros((count, 3), dtype=torch.int64)
        return coordinates, make(count, 8, 8, 8), make(count, 8, 8, 8), make(3, count, 8, 8, 8)

    def _allocate_table(self, capacity: int) -> None:
        self._keys, self._slots = torch.full((capacity,), -1, dtype=torch.int64), torch.full((capacity,), -1, dtype=torch.int32)

    def _grow(self) -> None:
        """Half as much room again for blocks, and a table that stays at most half full."""
        count = self.block_count
        room = max(1024, count * 3 // 2)
        if room * BLOCK_BYTES > self.options.memory_limit_gb * 1e9:
            room = int(self.options.memory_limit_gb * 1e9 / BLOCK_BYTES)
            if room <= count:
                raise DataError(
                    f"fuse: {count} blocks take {count * BLOCK_BYTES / 1e9:.1f} GB, the limit: use larger voxels than "
                    f"{self.options.voxel:g}, a smaller max_depth, or a higher memory_limit_gb; depth in a wrong unit does this, too"
                )
        new = self._blocks(room)
        new[0][:count], new[1][:count], new[2][:count] = self._coordinates[:count], self._tsdf[:count], self._weight[:count]
        new[3][:, :count] = self._color[:, :count]
        if self._keys.shape[0] < 2 * room:
            self._allocate_table(1 << (2 * room).bit_length())
            keys = block_keys(self._coordinates[:count])
            insert_keys(keys, 0, self._keys, self._slots, new[0])
        self._coordinates, self._tsdf, self._weight, self._color = new

    def _add_blocks(self, keys: Tensor) -> None:
        while True:
            count, done = insert_keys(keys, self.block_count, self._keys, self._slots, self._coordinates).tolist()
            self.block_count, keys = count, keys[done:].contiguous()
            if keys.shape[0] == 0:
                return
            self._grow()

    # ---- fusing ----

    def integrate(self, depth: Float[Tensor, "H W"], camera_from_world: Tensor, intrinsics: Tensor, rgb: Tensor | None = None) -> int:
        """Fold one depth image in.

        Args:
            depth: along the camera's z axis, scene units; 0, negative or not finite: no measurement.
            camera_from_world: [4, 4] rigid.
            intrinsics: [3, 3] without skew; pixel coordinates from the image's corner (centres at 0.5).
            rgb: [H, W, 3] uint8, or None for grey.

        Returns:
            How many blocks the image touched or may have changed; 0 when it has no usable measurement.

        Raises:
            ArgumentError: shapes. DataError: the memory limit is reached; what was fused before stays whole.
        """
        options = self.options
        image, k = _checked_frame(depth, camera_from_world, intrinsics, rgb)
        if rgb is None:
            rgb = torch.full((*image.shape, 3), 128, dtype=torch.uint8, device=image.device)
        limits = (options.max_depth, math.cos(math.radians(options.grazing_deg)), options.full_weight_depth, options.relative_jump)
        factor, packed, largest = weigh_depth(image, rgb.contiguous(), k, *limits)
        deepest = float(largest.max()) if largest.numel() else 0.0
        if deepest == 0:
            return 0
        pose = camera_from_world.detach().to("cpu", torch.float64)
        camera_from_grid = pose @ torch.diag(torch.tensor([options.voxel] * 3 + [1.0], dtype=torch.float64))
        grid_from_camera = torch.linalg.inv(camera_from_grid).contiguous()
        stride = max(1, min(4, int(4 * options.voxel * min(k[0], k[1]) / deepest)))  # half a block apart at most
        self._add_blocks(touched_keys(image, packed, k, grid_from_camera, options.truncation, options.voxel, stride).cpu())
        coordinates = self._coordinates[: self.block_count].to(self.device)
        rows = visible_blocks(coordinates, camera_from_grid, k, list(image.shape), options.truncation, largest)
        volume = (self._tsdf, self._weight, self._color)
        integrate_depth(rows, coordinates, camera_from_grid, k, options.truncation, image, factor, packed, *volume)
        self.frame_count += 1
        return rows.shape[0]

    # ---- what is fused ----

    def surface(self, *, min_weight: float | None = None) -> Isosurface:
        """Where the surface crosses edges between samples of at least a weight; flat sample indices."""
        return find_isosurface_of_blocks(self._known(min_weight), self._coordinates[: self.block_count].to(self.device))

    def _known(self, min_weight: float | None) -> Tensor:
        count = self.block_count
        if min_weight is None:
            min_weight = min(1.0, self.frame_count / 20)
        min_weight = max(min_weight, 1e-6)
        return torch.where(self._weight[:count] >= min_weight, self._tsdf[:count], torch.nan)

    def mesh(self, *, min_weight: float | None = None) -> Mesh:
        """The surface as a mesh with vertex colours, by marching cubes.

        Args:
            min_weight: samples that were seen less have no surface. A frame that looks straight at a near surface weighs 1. By default 1,
                or a twentieth of the frames where there are fewer than 20.
        """
        surface = self.surface(min_weight=min_weight)
        lattice = block_surface_positions(surface, self._coordinates[: self.block_count].to(self.device), dtype=torch.float64)
        positions = (lattice * self.options.voxel).to(torch.float32)
        colors = torch.stack([surface.interpolate(channel.reshape(-1)) for channel in self._color[:, : self.block_count]], dim=1)
        return Mesh(vertices=positions, faces=surface.faces, vertex_colors=(colors / 255).clamp(0, 1))

    def points(self, *, min_weight: float | None = None) -> PointCloud:
        """The surface as coloured points with normals: one for each edge between samples that it crosses."""

        mesh = self.mesh(min_weight=min_weight)
        return PointCloud(positions=mesh.vertices, normals=vertex_normals(mesh.vertices, mesh.faces), colors=mesh.vertex_colors)

    def grid(self, *, min_weight: float | None = None) -> SparseGrid:
        """The TSDF in [-1, 1] as a value; NaN where it was seen less than the weight."""
        transform = torch.diag(torch.tensor([self.options.voxel] * 3 + [1.0]))
        return make_sparse_grid(self._known(min_weight), self._coordinates[: self.block_count].clone(), world_from_grid=transform)

    # ---- to and from files ----

    def state(self) -> dict[str, Tensor]:
        """All that was fused, as tensors; `restore` is the inverse."""
        count = self.block_count
        return {
            "coordinates": self._coordinates[:count],
            "tsdf": self._tsdf[:count],
            "weight": self._weight[:count],
            "color": self._color[:, :count],
            "frame_count": torch.tensor(self.frame_count),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the state of another volume with the same voxel size.

        Raises:
            ArgumentError: tensors are missing or do not fit together.
        """
        missing = {"coordinates", "tsdf", "weight", "color", "frame_count"} - set(state)
        if missing:
            raise ArgumentError(f"TsdfVolume.restore: the state has no {', '.join(sorted(missing))}")
        count = state["coordinates"].shape[0]
        if not (state["tsdf"].shape == state["weight"].shape == state["color"].shape[1:] == (count, 8, 8, 8)):
            raise ArgumentError("TsdfVolume.restore: the state's tensors have different block counts")
        self._allocate_table(1 << max(12, (2 * count).bit_length()))
        self._coordinates, self._tsdf, self._weight, self._color = self._blocks(count)
        self.block_count, self.frame_count = 0, int(state["frame_count"])
        self._add_blocks(block_keys(state["coordinates"]))
        self._tsdf[:count], self._weight[:count], self._color[:, :count] = state["tsdf"], state["weight"], state["color"]


def _checked_frame(depth: Tensor, camera_from_world: Tensor, intrinsics: Tensor, rgb: Tensor | None) -> tuple[Tensor, list[float]]:
    where = "TsdfVolume.integrate"
    check_shape(depth, ["H", "W"], name="depth", where=where)
    check_shape(camera_from_world, [4, 4], name="camera_from_world", where=where, finite=True)
    check_shape(intrinsics, [3, 3], name="intrinsics", where=where, finite=True)
    if rgb is not None and (rgb.dtype != torch.uint8 or rgb.shape != (*depth.shape, 3)):
        raise ArgumentError(f"{where}: `rgb` must be uint8 {[*depth.shape, 3]}, got {describe(rgb)}")
    k = [float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))]
    if not (k[0] > 0 and k[1] > 0):
        raise ArgumentError(f"{where}: `intrinsics` must have positive focal lengths, got {k[0]:g} and {k[1]:g}")
    return depth.detach().to(torch.float32).contiguous(), k
