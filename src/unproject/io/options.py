"""Options of reading and writing files."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a file is read.

    Attributes:
        dtype: floating-point type of positions. None keeps what the file has: the type that PLY and PCD declare; float32 for formats
            without types, but float64 where coordinates lie so far from the origin that float32 would move points by more than 1e-5 of
            the model's size.
        keep_polygons: put the faces as they are in the file into metadata["polygons"] (a Polygons), before they become triangles, and
            the polygon of each triangle into face_attributes["polygon"].
        merge_vertices: merge vertices of the same position (and normal and colour); otherwise nothing is merged or reordered.
        load_textures: read the images that materials name.
        allow_outside: let paths inside the file (MTL, textures, buffers) lead out of the file's folder.
        maximum_unpacked: most bytes that a compressed file may unpack to; None: 100 times its size, at least 64 MiB, at most 4 GiB.
    """

    dtype: torch.dtype | None = None
    keep_polygons: bool = False
    merge_vertices: bool = False
    load_textures: bool = True
    allow_outside: bool = False
    maximum_unpacked: int | None = None


@dataclass(frozen=True, kw_only=True)
class SaveOptions:
    """How a file is written.

    Attributes:
        encoding: "binary" (little endian), "big_endian" (PLY), "compressed" (PCD) or "ascii"; None: binary where the format has it.
        float_colors: write colours as floats where the format can (PLY); otherwise 8 bits a channel, which every program reads. None: as
            the file that the value was loaded from had them.
        write_textures: write the images of materials beside the file (OBJ, PLY); otherwise only the paths that materials name.
        durable: wait until the disk has the bytes (fsync) before the file takes its name: it survives a power failure too.
    """

    encoding: str | None = None
    float_colors: bool | None = None
    write_textures: bool = True
    durable: bool = False
