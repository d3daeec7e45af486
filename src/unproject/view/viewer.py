"""Meshes and point clouds in a browser, through viser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ArgumentError, MissingDependencyError
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn
from ..geometry.point_index import build_index
from ..geometry.points import PointCloud
from ..io.interop import to_trimesh

try:
    import viser
except ImportError as error:  # the extra is not installed
    raise MissingDependencyError("the viewer needs viser: pip install 'unproject[view]'") from error


def serve(shapes: Mapping[str, Mesh | PointCloud], *, host: str = "127.0.0.1", port: int = 8080) -> viser.ViserServer:
    """Show shapes in a browser page and return the running server; `server.stop()` ends it.

    All shapes are moved by one offset, so that they keep their places to each other and none is lost far from the origin.

    Args:
        shapes: by the name that the page's list shows.
        host: address to listen on; the default is this machine only.
        port: the first free one from here on is taken.

    Raises:
        ArgumentError: no shape, or only empty ones.
    """
    positions = [_positions(shape) for shape in shapes.values()]
    if not any(len(p) for p in positions):
        raise ArgumentError("serve: there is nothing to show")
    every = torch.cat([p.double() for p in positions])
    low, high = every.amin(0), every.amax(0)
    centre, size = (low + high) / 2, float((high - low).max()) or 1.0
    server = viser.ViserServer(host=host, port=port, verbose=False)
    server.scene.set_up_direction("+y")
    for name, shape in shapes.items():
        place = ((_positions(shape).double() - centre) / size).float()
        if isinstance(shape, Mesh) and shape.face_count:
            _add_mesh(server, name, shape, place)
        else:
            _add_points(server, name, shape, place)
    return server


def _positions(shape: Mesh | PointCloud) -> torch.Tensor:
    return (shape.vertices if isinstance(shape, Mesh) else shape.positions).detach().cpu()


def _add_mesh(server: viser.ViserServer, name: str, mesh: Mesh, place: torch.Tensor) -> None:
    textured = mesh.uvs is not None and any(m.diffuse_texture is not None for m in mesh.materials)
    if textured or mesh.vertex_colors is not None:
        shown: Any = to_trimesh(mesh)
        if len(shown.vertices) == len(place):
            shown.vertices = place.numpy()
            server.scene.add_mesh_trimesh(name, shown)
            return
    server.scene.add_mesh_simple(name, place.numpy(), mesh.faces.cpu().numpy(), color=(190, 200, 215), side="double")


def _add_points(server: viser.ViserServer, name: str, shape: Mesh | PointCloud, place: torch.Tensor) -> None:
    colors = shape.vertex_colors if isinstance(shape, Mesh) else shape.colors
    rgb: Any = (64, 110, 220) if colors is None else (colors[:, :3].detach().clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
    probes = place[:: max(1, len(place) // 2000)]
    spacing = float(knn(probes, build_index(place), min(4, len(place))).squared_distance[:, -1].median().sqrt())
    server.scene.add_point_cloud(name, place.numpy(), rgb, point_size=max(spacing, 1e-4))
