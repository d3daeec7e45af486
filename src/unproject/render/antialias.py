"""Analytic antialiasing: a hard raster with outlines blended by area (exact for one straight edge a pixel), and their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError, check_shape
from ..geometry.topology import Topology, make_topology
from ..ops import antialias as ops
from ..reference import antialias as reference
from .project import Projection, project
from .rasterize import Fragments, rasterize_projection


def antialias(
    image: Tensor,
    fragments: Fragments,
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    topology: Topology | None = None,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """Antialias an image along the outlines of its meshes.

    The rasterizer looks at pixel centres only. Here each visible outline edge exchanges colour between the two pixels beside it by the
    area that lies between the edge and their border, so that a pixel has the colours of its parts in the share of their areas, and the
    loss of the image tells where the outlines should go. The shares are exact for a pixel that one straight edge crosses; a pixel with a
    corner in it, or with several edges, keeps an error, of up to half a pixel at its worst. Costs a small part of the rasterization.

    Args:
        image: [..., H, W, C] made from the fragments: colours, or ones where there is a face.
        fragments: what `rasterize` gave for the other arguments.
        vertices, faces, camera, cull_backfaces, vertex_offsets, face_offsets: as they were given to `rasterize`.
        topology: `make_topology(faces, vertex_count)`, to be computed once for a loop.

    Returns:
        [..., H, W, C].

    Raises:
        ArgumentError: as `rasterize`; an image or a topology that does not fit.

    Gradient: image (where its colours go), and vertices and camera through the outlines (an exact integral along the edges, for pixels
    with one straight edge). Outlines where faces pass through each other, or thinner than the pixels, have none.

    Source: after Laine et al. 2020, section 3.5, with areas instead of crossings: every edge counts, however short.
    """
    where = "antialias"
    check_shape(image, [..., camera.height, camera.width, "C"], name="image", where=where)
    if image.shape[:-1] != fragments.face.shape:
        raise ArgumentError(f"{where}: `image` {list(image.shape)} and `fragments` {list(fragments.face.shape)} are of different sizes")
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    if topology is None:
        topology = make_topology(scene.faces, scene.vertex_count, vertex_offsets=vertex_offsets, face_offsets=face_offsets)
    return antialias_projection(image, fragments, scene, camera, topology, cull_backfaces=cull_backfaces, where=where)


def silhouette(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    topology: Topology | None = None,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """How much of each pixel's area the meshes cover, in [0, 1]: a hard raster with antialiased outlines (their accuracy: see `antialias`).

    Arguments as `antialias`.

    Returns:
        [..., H, W].

    Gradient: vertices and camera, from the outlines only: it pulls a mesh that touches the wanted area, but does not see further than a
    pixel; `soft_silhouette` does, at several times the cost.
    """
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where="silhouette")
    if topology is None:
        topology = make_topology(scene.faces, scene.vertex_count, vertex_offsets=vertex_offsets, face_offsets=face_offsets)
    with torch.no_grad():
        fragments = rasterize_projection(scene, camera, cull_backfaces=cull_backfaces)
    mask = fragments.mask.to(vertices.dtype)[..., None]
    return antialias_projection(mask, fragments, scene, camera, topology, cull_backfaces=cull_backfaces, where="silhouette")[..., 0]


def antialias_projection(
    image: Tensor, fragments: Fragments, scene: Projection, camera: Camera, topology: Topology, *, cull_backfaces: bool, where: str
) -> Tensor:
    """`antialias` for a scene that is projected already."""
    if topology.face_count != scene.faces.shape[0] or topology.vertex_count != scene.vertex_count:
        got = f"{topology.face_count} faces and {topology.vertex_count} vertices"
        raise ArgumentError(f"{where}: `topology` is that of another mesh: {got}, not {scene.faces.shape[0]} and {scene.vertex_count}")
    run = ops.antialias if image.device.type == "cpu" else reference.antialias
    size = (-1, camera.height, camera.width)
    edges = (topology.edges, topology.edge_halfedge_offsets, topology.edge_halfedges)
    seen = (fragments.face.reshape(size), fragments.depth.detach().reshape(size))
    look = (float(camera.near), scene.orthographic, cull_backfaces)
    flat = image.reshape(*size, image.shape[-1]).contiguous()
    return run(flat, scene.points, scene.faces, _edge_table(scene, topology), *edges, *seen, *look).view(image.shape)


def _edge_table(scene: Projection, topology: Topology) -> Tensor:
    """[B, 4] what to add to vertex indices, first edge and number of edges of each image, and 0."""
    offsets = topology.edge_offsets.cpu()
    count = scene.images.shape[0]
    mesh = torch.arange(count) % max(1, topology.batch_size)
    first = offsets[mesh]
    return torch.stack([scene.images[:, 2], first, offsets[mesh + 1] - first, torch.zeros(count, dtype=torch.int64)], 1)
