"""`unproject regions`: where to grasp a part, drawn and as JSON."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from PIL import Image

from ..errors import DataError
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..geometry.regions import Region, RegionOptions, find_regions
from ..io.atomic import atomic_write
from ..io.convert import merge_vertices
from ..io.load import load_mesh
from ..render.framing import frame_camera
from ..render.rasterize import rasterize
from .manners import Manners, Terminal, plain

_SIZE, _SCALE = 480, 2  # pixels of one view, and samples a pixel along each side
_VIEWS = ((35.0, 25.0), (215.0, 25.0), (35.0, -25.0), (215.0, -25.0))  # azimuth, elevation


@dataclass(frozen=True, kw_only=True)
class Options:
    mesh: tyro.conf.Positional[Path]
    """The part."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON with the regions."""
    picture: Path | None = None
    """PNG with the regions coloured, from four sides; by default the mesh's name with -regions.png, in the present folder."""
    count: int = 20
    """How many regions at most."""
    angle_deg: float = 15.0
    """How far normals may turn within a region, degrees."""
    flatness: float | None = None
    """How far a region may leave its plane, in units of the mesh; by default 1 % of its diagonal."""
    min_area: float | None = None
    """Least area of a region; by default 0.5 % of the surface."""
    approach: tuple[float, float, float] | None = None
    """Direction in which a tool can move towards the part, such as 0 0 -1; by default any."""
    approach_deg: float = 60.0
    """How far a region may be tilted against the approach, degrees."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Find, draw and list the regions."""
    picture = options.picture or Path(f"{options.mesh.stem}-regions.png")
    terminal.check_output(options.output, picture)
    mesh = merge_vertices(load_mesh(options.mesh))
    if mesh.face_count == 0:
        raise DataError(f"{options.mesh} has no faces")
    wanted = RegionOptions(
        count=options.count, angle_deg=options.angle_deg, flatness=options.flatness, min_area=options.min_area,
        approach=options.approach, approach_deg=options.approach_deg,
    )  # fmt: skip
    regions = find_regions(mesh, wanted)
    if not regions:
        raise DataError("no region is flat, large and open enough; a larger --angle-deg, --flatness or a smaller --min-area finds more")
    records = [_record(region) for region in regions]
    if options.output is not None:
        with atomic_write(options.output) as file:
            file.write(json.dumps({"regions": records}, indent=1, allow_nan=False).encode())
    _draw(picture, mesh, regions)
    header = ("", "area", "extent", "clearance", "curvature", "reachable", "score")
    rows = [
        (i + 1, f"{r.area:.4g}", " x ".join(f"{v:.3g}" for v in r.extent.tolist()), f"{r.clearance:.3g}", f"{r.curvature:.3g}",
         f"{100 * r.reachable:.0f} %", f"{r.score:.3f}")
        for i, r in enumerate(regions)
    ]  # fmt: skip
    terminal.table(f"{picture}", rows, header)
    return {"picture": picture, "regions": records}


def _record(region: Region) -> dict[str, Any]:
    names = ("centre", "normal", "area", "extent", "axes", "clearance", "roughness", "curvature", "reachable", "score", "faces")
    return plain({name: getattr(region, name) for name in names})


def _draw(path: Path, mesh: Mesh, regions: Sequence[Region]) -> None:
    """Four views, two by two; each region has a colour, strong for the best, and a dot at its centre."""
    colors = torch.full((mesh.face_count, 3), 0.82)
    for i, region in enumerate(regions):
        strength = 0.9 - 0.5 * i / max(len(regions), 1)
        colors[region.faces] = torch.tensor(colorsys.hsv_to_rgb((0.33 + 0.618 * i) % 1, strength, 0.95))
    low, high = mesh.vertices.double().amin(0), mesh.vertices.double().amax(0)
    centre, size = (low + high) / 2, float((high - low).norm())
    vertices = ((mesh.vertices.double() - centre) / size).float()
    dots = torch.stack([((r.centre + 0.003 * size * r.normal - centre) / size).float() for r in regions])
    views = [_view(vertices, mesh, colors, dots, azimuth, elevation) for azimuth, elevation in _VIEWS]
    image = torch.cat([torch.cat(views[:2], 1), torch.cat(views[2:], 1)])
    small = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1)[None], _SCALE)[0].permute(1, 2, 0)
    with atomic_write(path) as file:
        Image.fromarray((small.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()).save(file, format="PNG")


def _view(vertices: torch.Tensor, mesh: Mesh, colors: torch.Tensor, dots: torch.Tensor, azimuth: float, elevation: float) -> torch.Tensor:
    side = _SIZE * _SCALE
    camera = frame_camera(vertices, image_size=(side, side), azimuth_deg=azimuth, elevation_deg=elevation)
    fragments = rasterize(vertices, mesh.faces, camera)
    pose = camera.camera_from_world
    normal = face_normals(vertices, mesh.faces) @ pose[:3, :3].T
    light = torch.nn.functional.normalize(torch.tensor([0.25, -0.5, -1.0]), dim=0)
    shade = 0.35 + 0.65 * (normal @ light).abs()
    image = torch.where(fragments.mask[..., None], (colors * shade[:, None])[fragments.face.clamp_min(0)], 1.0)
    place = dots @ pose[:3, :3].T + pose[:3, 3]
    pixel = (place[:, :2] / place[:, 2:] * camera.intrinsics[0, 0] + camera.intrinsics[:2, 2]).long()
    for (column, row), depth in zip(pixel.tolist(), place[:, 2].tolist()):
        if 6 <= row < side - 6 and 6 <= column < side - 6 and depth < float(fragments.depth[row, column]) + 0.01:
            image[row - 5 : row + 6, column - 5 : column + 6] = 0.1
    return image
