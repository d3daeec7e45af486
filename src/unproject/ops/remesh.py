"""Operators of remeshing: split, collapse and flip edges of a half-edge surface, move vertices so that no face turns over, fans.

A surface is seven tensors: corners and twins, int64 [3 F]; marks, uint8 [3 F]; kinds, uint8 [V]; names, int64 [V]; positions, float64
[V, 3]; sizes, float64 [V]. What they mean is said in kernels/halfedge.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator

_CHUNK = 100_000  # half-edges a kernel call: short enough for Ctrl-C
_SWEEPS = 60  # of splitting in one round, at most: what is left to split waits for the next round


@operator("unproject::label_fans")
def label_fans(corners: Tensor, twins: Tensor) -> Tensor:
    """[3 F] number of the fan of each corner: corners of a vertex that are joined across twins."""
    from ..kernels.halfedge import label_fans as run

    labels = torch.empty_like(corners)
    run(corners.numpy(), twins.numpy(), labels.numpy())
    return labels


@operator("unproject::refine_edges")
def refine_edges(
    corners: Tensor, twins: Tensor, marks: Tensor, kinds: Tensor, names: Tensor, positions: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Split edges that are too long, and flip, until none is; returns the new surface."""
    from ..kernels import remesh

    surface = open_arrays(corners, twins, marks, kinds, names, positions, sizes)
    for _ in range(_SWEEPS):
        before = int(surface.counts[1])
        surface = _split(surface)
        if surface.counts[1] == before:
            break
        _chunked(remesh.flip_edges, surface)
    edges, vertices = close_arrays(surface)
    return (*edges, *vertices)


@operator("unproject::coarsen_edges")
def coarsen_edges(
    corners: Tensor, twins: Tensor, marks: Tensor, kinds: Tensor, names: Tensor, positions: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Collapse edges that are too short; returns the new surface."""
    from ..kernels import halfedge, remesh

    surface = open_arrays(corners, twins, marks, kinds, names, positions, sizes)
    _chunked(remesh.collapse_short, surface)
    halfedge.compact(surface, np.empty(surface.counts[0], np.int64), np.empty(3 * surface.counts[1], np.int64))
    edges, vertices = close_arrays(surface)
    return (*edges, *vertices)


@operator("unproject::even_edges")
def even_edges(
    corners: Tensor, twins: Tensor, marks: Tensor, kinds: Tensor, names: Tensor, positions: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Flip edges where that evens out the valences; returns new corners, twins and marks, where each vertex should go, and its normal."""
    from ..kernels import remesh

    surface = open_arrays(corners, twins, marks, kinds, names, positions, sizes)
    _chunked(remesh.flip_edges, surface)
    wanted, normals = np.empty(tuple(positions.shape)), np.empty(tuple(positions.shape))
    parallel_for(remesh.smooth_range, positions.shape[0], surface, wanted, normals)
    return (*close_arrays(surface)[0], torch.from_numpy(wanted), torch.from_numpy(normals))


@operator("unproject::move_upright")
def move_upright(corners: Tensor, twins: Tensor, kinds: Tensor, positions: Tensor, wanted: Tensor) -> Tensor:
    """Positions moved to where they are wanted, as far as no face turns over. FIXED vertices stay."""
    from ..kernels import remesh

    marks, names = torch.zeros_like(corners, dtype=torch.uint8), torch.zeros_like(kinds, dtype=torch.int64)
    surface = open_arrays(corners, twins, marks, kinds, names, positions, torch.ones_like(positions[:, 0]))
    targets, count = wanted.contiguous().numpy(), positions.shape[0]
    for begin in range(0, count, _CHUNK):
        remesh.move_vertices(surface, begin, min(begin + _CHUNK, count), targets)
    return torch.from_numpy(surface.positions)


def open_arrays(corners: Tensor, twins: Tensor, marks: Tensor, kinds: Tensor, names: Tensor, positions: Tensor, sizes: Tensor) -> Any:
    """The kernel's surface, of its own memory."""
    from ..kernels import halfedge

    vertices, faces = positions.shape[0], corners.shape[0] // 3
    own = lambda tensor: tensor.contiguous().numpy().copy()
    surface = halfedge.Surface(
        corners=own(corners),
        twins=own(twins),
        marks=own(marks),
        outgoing=np.full(vertices, -1, np.int64),
        valences=np.zeros(vertices, np.int64),
        kinds=own(kinds),
        names=own(names),
        positions=own(positions),
        sizes=own(sizes),
        counts=np.array([vertices, faces, faces]),
    )
    halfedge.connect(surface)
    return surface


def close_arrays(surface: Any) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """What a half-edge and what a vertex has, in the order of the operators' arguments."""
    vertices, halfedges = int(surface.counts[0]), 3 * int(surface.counts[1])
    trim = lambda array, count: torch.from_numpy(array[:count].copy())
    edges = trim(surface.corners, halfedges), trim(surface.twins, halfedges), trim(surface.marks, halfedges)
    kinds, names = trim(surface.kinds, vertices), trim(surface.names, vertices)
    return edges, (kinds, names, trim(surface.positions, vertices), trim(surface.sizes, vertices))


def _split(surface: Any) -> Any:
    """One sweep over the edges there are now; the surface is moved to larger arrays where it outgrows its own."""
    from ..kernels import remesh

    position, end = 0, 3 * int(surface.counts[1])
    while position < end:
        stop = min(position + _CHUNK, end)
        position = remesh.split_long(surface, position, stop)
        if position < stop:
            surface = _grown(surface)
    return surface


def _grown(surface: Any) -> Any:
    fields = {}
    for name in surface._fields:
        array = getattr(surface, name)
        extra = 0 if name == "counts" else array.shape[0] + 64 * (3 if name in ("corners", "twins", "marks") else 1)
        fields[name] = np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])
    return surface._replace(**fields)


def _chunked(kernel: Any, surface: Any) -> None:
    end = 3 * int(surface.counts[1])
    for begin in range(0, end, _CHUNK):
        kernel(surface, begin, min(begin + _CHUNK, end))


@label_fans.register_fake
def _(corners: Tensor, twins: Tensor) -> Tensor:
    return torch.empty_like(corners)


@refine_edges.register_fake
def _(corners, twins, marks, kinds, names, positions, sizes):  # type: ignore[no-untyped-def]
    return fake_surface(corners, twins, marks, kinds, names, positions, sizes)


@coarsen_edges.register_fake
def _(corners, twins, marks, kinds, names, positions, sizes):  # type: ignore[no-untyped-def]
    return fake_surface(corners, twins, marks, kinds, names, positions, sizes)


@even_edges.register_fake
def _(corners, twins, marks, kinds, names, positions, sizes):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(tensor) for tensor in (corners, twins, marks, positions, positions))


def fake_surface(corners: Tensor, twins: Tensor, marks: Tensor, *of_vertices: Tensor) -> tuple[Tensor, ...]:
    """A surface of some other size, for tracing."""
    context = torch.library.get_ctx()
    vertices, halfedges = context.new_dynamic_size(), 3 * context.new_dynamic_size()
    edges = [tensor.new_empty(halfedges) for tensor in (corners, twins, marks)]
    return (*edges, *[tensor.new_empty(vertices, *tensor.shape[1:]) for tensor in of_vertices])


@move_upright.register_fake
def _(corners: Tensor, twins: Tensor, kinds: Tensor, positions: Tensor, wanted: Tensor) -> Tensor:
    return torch.empty_like(positions)


def _tetrahedron() -> tuple[Tensor, ...]:
    """An open tetrahedron as a surface: three faces around vertex 0, and a boundary of three edges."""
    corners = torch.tensor([0, 1, 2, 0, 2, 3, 0, 3, 1])
    twins = torch.tensor([8, -1, 3, 2, -1, 6, 5, -1, 0])
    marks, kinds, names = torch.zeros(9, dtype=torch.uint8), torch.tensor([0, 1, 1, 1], dtype=torch.uint8), torch.arange(4)
    positions = torch.tensor([[0, 0, 0.2], [1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]], dtype=torch.float64)
    return corners, twins, marks, kinds, names, positions, torch.full((4,), 0.5, dtype=torch.float64)


@example(label_fans)
def _label_fans_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _tetrahedron()[:2]


@example(refine_edges)
@example(coarsen_edges)
@example(even_edges)
def _surface_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _tetrahedron()


@example(move_upright)
def _move_upright_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    corners, twins, _, kinds, _, positions, _ = _tetrahedron()
    return corners, twins, kinds, positions, positions + 0.01
