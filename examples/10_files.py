"""Write a mesh in several formats, read it back, and see what each keeps."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import unproject as up


def main(quick: bool = False) -> None:
    mesh = up.torus(segments=(16, 8) if quick else (200, 100))
    mesh = replace(mesh, vertex_colors=mesh.vertices.sigmoid(), vertex_attributes={"height": mesh.vertices[:, 2].contiguous()})
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("ply", "obj", "stl", "off", "xyz", "pcd"):
            path = Path(folder) / f"torus.{ending}"
            up.save(mesh, path)
            back = up.load(path)
            kind = "mesh" if isinstance(back, up.Mesh) else "points"
            print(f"{path.name}: {path.stat().st_size:,} bytes, read as {kind}")


if __name__ == "__main__":
    main()
