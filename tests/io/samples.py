"""Small files of every format, made by hand, for the tests of readers."""

from __future__ import annotations

import struct

PLY_QUADS = b"""ply
format ascii 1.0
comment a roof of two squares
obj_info made by hand
element vertex 6
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
property uchar flags
end_header
0 0 0 255 0 0
1 0 0 0 255 0
1 1 1 0 0 255
0 1 1 255 255 255
1 2 0 0 0 0
0 2 0 51 102 153
4 0 1 2 3 7
4 3 2 4 5 9
"""

PLY_MIXED = b"""ply
format ascii 1.0
element face 3
property list uchar uint vertex_index
property float quality
element vertex 5
property double x
property double y
property double z
end_header
3 0 1 2 0.5
4 0 2 3 4 1.5
5 0 1 2 3 4 -1
0 0 0
2 0 0
2 2 0
1 3 0
0 2 0
"""

OBJ_BOX = b"""# a box without lid
mtllib box.mtl
o box
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vn 0 0 -1
vn 0 -1 0
vn 1 0 0
g bottom
usemtl red
s off
f 4/4/1 3/3/1 2/2/1 1/1/1
g sides front
usemtl blue
s 1
f 1/1/2 2/2/2 6/3/2 5/4/2
f 2/1/3 3/2/3 7/3/3 6/4/3
"""

MTL_BOX = b"""newmtl red
Ka 0.1 0 0
Kd 1 0 0
Ks 0.5 0.5 0.5
Ns 20
d 0.5
illum 2

newmtl blue
Kd 0 0 1
map_Kd wood.png
"""

STL_ASCII = b"""solid two facets
facet normal 0 0 1
 outer loop
  vertex 0 0 0
  vertex 1 0 0
  vertex 0 1 0
 endloop
endfacet
facet normal 0 0 1
 outer loop
  vertex 1 0 0
  vertex 1 1 0
  vertex 0 1 0
 endloop
endfacet
endsolid two facets
"""

OFF_SQUARE = b"""OFF
# a square and a triangle
5 2 0
0 0 0
1 0 0
1 1 0
0 1 0
0.5 2 0
4 0 1 2 3 255 0 0
3 3 2 4 0 255 0
"""

PCD_ASCII = b"""# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z intensity
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH 3
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 3
DATA ascii
0 0 0 1
1 0.5 0 2
nan nan nan 3
"""

XYZ = b"0 0 0\n1.5 0 0\n0 1 -2e-1\n"


def ply_binary(order: str = "<", count_kind: str = "B", index_kind: str = "i") -> bytes:
    """Two triangles and a square with vertex normals, in a binary encoding; `order` and the kinds are those of `struct`."""
    types = {"b": "char", "B": "uchar", "h": "short", "H": "ushort", "i": "int", "I": "uint"}
    encoding = "binary_little_endian" if order == "<" else "binary_big_endian"
    header = f"""ply
format {encoding} 1.0
element vertex 5
property float x
property float y
property float z
property float nx
property float ny
property float nz
property short label
element face 3
property list {types[count_kind]} {types[index_kind]} vertex_indices
end_header
"""
    vertices = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 2, 0)]
    data = b"".join(struct.pack(f"{order}6fh", *v, 0, 0, 1, 100 * k - 200) for k, v in enumerate(vertices))
    for face in ((0, 1, 2), (0, 1, 2, 3), (3, 2, 4)):
        data += struct.pack(f"{order}{count_kind}{len(face)}{index_kind}", len(face), *face)
    return header.encode() + data


def stl_binary() -> bytes:
    """One facet; the header begins with "solid", as many do."""
    facet = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
    return b"solid but binary".ljust(80) + struct.pack("<I", 1) + facet


SAMPLES = {
    "quads.ply": PLY_QUADS,
    "mixed.ply": PLY_MIXED,
    "little.ply": ply_binary("<"),
    "big.ply": ply_binary(">"),
    "box.obj": OBJ_BOX,
    "ascii.stl": STL_ASCII,
    "binary.stl": stl_binary(),
    "square.off": OFF_SQUARE,
    "cloud.pcd": PCD_ASCII,
    "cloud.xyz": XYZ,
    "cloud.csv": b"x,y,z,red,green,blue,time\n1,2,3,255,0,0,0.5\n4,5,6,0,51,0,1.5\n",
    "cloud.pts": b"2\n1 2 3 -5 255 0 0\n4 5 6 7 0 51 0\n",
}
