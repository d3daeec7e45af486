"""`unproject convert`: one format into another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from ..geometry.mesh import Mesh
from ..io.convert import points_from_mesh
from ..io.formats import CLOUD_FORMATS, output_format
from ..io.load import load, save
from ..io.options import LoadOptions, SaveOptions
from .manners import Manners, Terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    source: tyro.conf.Positional[Path]
    """File to read."""
    target: tyro.conf.Positional[Path]
    """File to write; its ending names the format. A mesh becomes its vertices where the format is one of point clouds."""
    encoding: Literal["binary", "ascii", "big_endian", "compressed"] | None = None
    """How the format stores numbers: PLY has binary, big_endian and ascii, STL binary and ascii, PCD binary, ascii and compressed."""
    points: bool = False
    """Write the vertices only, also where the format could hold the faces."""
    merge: bool = False
    """Merge vertices of the same position (the triangles of an STL have vertices of their own)."""
    precision: Literal["file", "float32", "float64"] = "file"
    """Type of the positions; "file" keeps what the source has."""
    float_colors: bool = False
    """Write PLY colours as floats instead of 8 bits a channel."""
    no_textures: bool = False
    """Neither read nor write images; materials keep their file names."""
    allow_outside: bool = False
    """Let paths inside the source (materials, textures, buffers) lead out of its folder."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Read, write, and return what was written."""
    kind = output_format(options.target)
    terminal.check_output(options.target)
    dtype = None if options.precision == "file" else getattr(torch, options.precision)
    reading = LoadOptions(
        dtype=dtype, merge_vertices=options.merge, load_textures=not options.no_textures, allow_outside=options.allow_outside
    )
    value = load(options.source, reading)
    if isinstance(value, Mesh) and (options.points or kind in CLOUD_FORMATS):
        value = points_from_mesh(value)
    writing = SaveOptions(encoding=options.encoding, float_colors=options.float_colors or None, write_textures=not options.no_textures)
    save(value, options.target, writing, overwrite=options.manners.overwrite)
    counts = {"vertices": value.vertex_count, "faces": value.face_count} if isinstance(value, Mesh) else {"points": value.point_count}
    result = {"source": options.source, "target": options.target, **counts, "bytes": options.target.stat().st_size}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    terminal.table("", [(f"{options.target}", said, f"{result['bytes'] / 1e6:.3g} MB")])
    return result
