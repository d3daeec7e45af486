"""PLY: every encoding, type and order; what a mesh carries comes back; damaged files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unproject import Mesh, PointCloud, load, load_mesh, load_points, save
from unproject.errors import ArgumentError, FormatError
from unproject.geometry.material import Material
from unproject.geometry.primitives import icosphere
from unproject.io.options import LoadOptions, SaveOptions
from unproject.io.polygons import Polygons

from .samples import PLY_MIXED, PLY_QUADS, ply_binary

Read = Callable[..., Mesh | PointCloud]


def mesh_of(value: Mesh | PointCloud) -> Mesh:
    assert isinstance(value, Mesh)
    return value


def test_ascii_with_quads(read: Read) -> None:
    mesh = mesh_of(read("a.ply", PLY_QUADS, keep_polygons=True))
    assert mesh.vertices.dtype == torch.float32 and mesh.vertices[4].tolist() == [1, 2, 0]
    assert mesh.face_count == 4 and mesh.faces.dtype == torch.int64
    assert mesh.face_attributes["flags"].tolist() == [7, 7, 9, 9] and mesh.face_attributes["polygon"].tolist() == [0, 0, 1, 1]
    assert mesh.vertex_colors is not None
    torch.testing.assert_close(mesh.vertex_colors[5], torch.tensor([0.2, 0.4, 0.6]))
    assert mesh.metadata["comments"] == ("a roof of two squares",) and mesh.metadata["obj_info"] == ("made by hand",)
    polygons = mesh.metadata["polygons"]
    assert (
        isinstance(polygons, Polygons) and polygons.offsets.tolist() == [0, 4, 8] and polygons.vertices.tolist() == [0, 1, 2, 3, 3, 2, 4, 5]
    )


def test_faces_before_vertices_and_mixed_polygons(read: Read) -> None:
    mesh = mesh_of(read("a.ply", PLY_MIXED))
    assert mesh.vertices.dtype == torch.float64 and mesh.face_count == 6
    assert mesh.face_attributes["quality"].tolist() == [0.5, 1.5, 1.5, -1, -1, -1]
    corners = mesh.vertices[mesh.faces[3:]]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum() / 2
    assert float(area) == pytest.approx(5.0)  # the pentagon, cut without overlap


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count_kind", ["b", "B", "h", "H", "i", "I"])
@pytest.mark.parametrize("index_kind", ["b", "B", "h", "H", "i", "I"])
def test_binary_of_every_list_type(read: Read, order: str, count_kind: str, index_kind: str) -> None:
    mesh = mesh_of(read("a.ply", ply_binary(order, count_kind, index_kind)))
    assert mesh.faces[0].tolist() == [0, 1, 2] and mesh.faces[-1].tolist() == [3, 2, 4] and mesh.face_count == 4
    assert mesh.vertex_attributes["label"].tolist() == [-200, -100, 0, 100, 200]
    assert mesh.vertex_normals is not None and mesh.vertex_normals[4].tolist() == [0, 0, 1]
    assert mesh.vertices[4].tolist() == [0.5, 2, 0]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("data", [PLY_QUADS, PLY_MIXED], ids=["quads", "mixed"])
def test_line_breaks(read: Read, data: bytes, line_break: str) -> None:
    plain, other = mesh_of(read("a.ply", data)), mesh_of(read("b.ply", data.replace(b"\n", line_break.encode())))
    assert torch.equal(plain.vertices, other.vertices) and torch.equal(plain.faces, other.faces)


def test_every_scalar_type_in_every_order(read: Read, tmp_path: Path) -> None:
    """Columns of all types, positions last and apart, in the three encodings."""
    kinds = {"char": "i1", "uint8": "u1", "short": "i2", "uint16": "u2", "int32": "i4", "uint": "u4", "float32": "f4", "double": "f8"}
    rng = np.random.default_rng(0)
    values = {k: (rng.random(4) * 200 - (0 if k[0] == "u" else 100)).astype(v) for k, v in kinds.items()}
    names = [*(f"property {k} a_{k}" for k in kinds), "property float z", "property double x", "property short y"]
    for encoding, order in (("ascii", ""), ("binary_little_endian", "<"), ("binary_big_endian", ">")):
        header = "\n".join(["ply", f"format {encoding} 1.0", "element vertex 4", *names, "end_header", ""]).encode()
        z, x, y = np.arange(4, dtype="f4"), np.arange(4) / 3, np.arange(4, dtype="i2") - 2
        columns = [*values.values(), z, x, y]
        if order:
            table = np.empty(4, [(str(i), order + c.dtype.str[1:]) for i, c in enumerate(columns)])
            for i, column in enumerate(columns):
                table[str(i)] = column
            data = table.tobytes()
        else:
            data = "\n".join(" ".join(repr(c[i].item()) for c in columns) for i in range(4)).encode()
        cloud = read("a.ply", header + data)
        assert isinstance(cloud, PointCloud)
        np.testing.assert_array_equal(cloud.positions.numpy(), np.stack([x, y, z], axis=1))
        for kind, column in values.items():
            got = cloud.attributes[f"a_{kind}"]
            np.testing.assert_array_equal(got.numpy().astype(column.dtype), column, err_msg=f"{encoding} {kind}")


def test_tristrips(read: Read) -> None:
    header = b"ply\nformat ascii 1.0\nelement vertex 6\nproperty float x\nproperty float y\nproperty float z\n"
    header += b"element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    vertices = b"0 0 0\n1 0 0\n0 1 0\n1 1 0\n0 2 0\n1 2 0\n"
    mesh = mesh_of(read("a.ply", header + vertices + b"9 0 1 2 3 -1 2 3 4 5\n"))
    assert mesh.faces.tolist() == [[0, 1, 2], [2, 1, 3], [2, 3, 4], [4, 3, 5]]


def test_float_colors_and_uvs_per_vertex_and_corner(read: Read) -> None:
    header = b"ply\nformat ascii 1.0\nelement vertex 3\n" + b"".join(
        b"property float %s\n" % n for n in b"x y z red green blue s t".split()
    )
    header += b"element face 1\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
    body = b"0 0 0 0.5 0.25 1 0 0\n1 0 0 0 0 0 1 0\n0 1 0 1 1 1 0 1\n3 0 1 2 6 0.5 0 1 0.5 0.25 1\n"
    mesh = mesh_of(read("a.ply", header + body))
    assert mesh.vertex_colors is not None and mesh.vertex_colors[0].tolist() == [0.5, 0.25, 1]
    assert mesh.uvs is not None and mesh.face_uvs is not None  # those of corners win
    assert mesh.uvs[mesh.face_uvs].tolist() == [[[0.5, 0], [1, 0.5], [0.25, 1]]]
    per_vertex = mesh_of(
        read("b.ply", (header.replace(b"property list uchar float texcoord\n", b"") + body).replace(b" 6 0.5 0 1 0.5 0.25 1", b""))
    )
    assert per_vertex.uvs is not None and per_vertex.face_uvs is None and per_vertex.uvs.tolist() == [[0, 0], [1, 0], [0, 1]]


def rich_mesh() -> Mesh:
    mesh = icosphere(1)
    v, f = mesh.vertex_count, mesh.face_count
    return replace(
        mesh,
        vertex_normals=torch.randn(v, 3),
        vertex_colors=torch.randint(0, 256, (v, 4)).float() / 255,
        uvs=torch.rand(9, 2),
        face_uvs=torch.randint(0, 9, (f, 3)),
        face_materials=torch.arange(f) % 2,
        materials=(Material(name="one", diffuse_texture=torch.zeros(2, 2, 3)), Material(name="two", diffuse_texture=torch.ones(2, 2, 3))),
        vertex_attributes={"heat": torch.randn(v, dtype=torch.float64), "id": torch.arange(v, dtype=torch.int32)},
        face_attributes={"part": torch.arange(f, dtype=torch.uint8)},
        metadata={"comments": ("first", "second")},
    )


@pytest.mark.parametrize("encoding", ["binary", "big_endian", "ascii"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_of_everything(tmp_path: Path, encoding: str, dtype: torch.dtype) -> None:
    """Numbers come back bit by bit, also through text."""
    mesh = replace(rich_mesh(), vertices=torch.randn(42, 3, dtype=dtype) * 10.0 ** torch.randint(-30, 30, (42, 1)).to(dtype))
    save(mesh, tmp_path / "a.ply", SaveOptions(encoding=encoding))
    back = load_mesh(tmp_path / "a.ply")
    assert back.vertices.dtype == dtype
    for name in ("vertices", "faces", "vertex_normals", "vertex_colors", "face_materials"):
        assert torch.equal(getattr(back, name), getattr(mesh, name)), name
    assert back.uvs is not None and mesh.uvs is not None
    assert torch.equal(back.uvs[back.face_uvs], mesh.uvs[mesh.face_uvs])
    for ours, theirs in ((mesh.vertex_attributes, back.vertex_attributes), (mesh.face_attributes, back.face_attributes)):
        assert all(torch.equal(theirs[name], value) and theirs[name].dtype == value.dtype for name, value in ours.items())
    assert back.metadata["comments"][:2] == ("first", "second")
    assert [m.diffuse_texture.mean().item() for m in back.materials if m.diffuse_texture is not None] == [0, 1]


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_unknown_elements_and_lists_are_written_back(read: Read, tmp_path: Path, encoding: str) -> None:
    data = PLY_QUADS.replace(b"end_header", b"element camera 2\nproperty float fov\nproperty list uchar short marks\nend_header")
    data += b"0.5 2 7 8\n0.25 0\n"
    first = read("a.ply", data)
    save(first, tmp_path / "b.ply", SaveOptions(encoding=encoding))
    again = load(tmp_path / "b.ply")
    elements = [value.metadata["ply_elements"]["camera"] for value in (first, again)]
    for element in elements:
        columns = element["columns"]
        assert columns["fov"].tolist() == [0.5, 0.25]
        offsets, values = columns["marks"]
        assert offsets.tolist() == [0, 2, 2] and values.tolist() == [7, 8]


def test_uint_columns_keep_their_type(read: Read, tmp_path: Path) -> None:
    data = PLY_QUADS.replace(b"property uchar flags", b"property uint flags").replace(b" 7\n", b" 4294967295\n")
    mesh = mesh_of(read("a.ply", data))
    assert mesh.face_attributes["flags"].tolist() == [4294967295] * 2 + [9] * 2
    save(mesh, tmp_path / "b.ply")
    assert b"property uint flags" in (tmp_path / "b.ply").read_bytes()


def test_empty_meshes_and_clouds(tmp_path: Path) -> None:
    for value in (Mesh(vertices=torch.zeros(0, 3), faces=torch.zeros((0, 3), dtype=torch.int64)), PointCloud(positions=torch.zeros(0, 3))):
        for encoding in ("binary", "ascii"):
            save(value, tmp_path / "a.ply", SaveOptions(encoding=encoding))
            back = load_points(tmp_path / "a.ply")
            assert back.positions.shape == (0, 3)


def test_points_with_attributes(tmp_path: Path) -> None:
    cloud = PointCloud(positions=torch.rand(5, 3), normals=torch.rand(5, 3), colors=torch.rand(5, 3), attributes={"time": torch.arange(5)})
    save(cloud, tmp_path / "a.ply", SaveOptions(float_colors=True))
    back = load(tmp_path / "a.ply")
    assert isinstance(back, PointCloud) and back.normals is not None and back.colors is not None
    assert torch.equal(back.positions, cloud.positions) and torch.equal(back.colors, cloud.colors)  # type: ignore[arg-type]
    assert back.attributes["time"].tolist() == [0, 1, 2, 3, 4]


def test_agrees_with_plyfile(tmp_path: Path) -> None:
    """Another reader sees what we wrote, and we what another writer wrote."""
    plyfile = pytest.importorskip("plyfile")
    mesh = rich_mesh()
    for encoding in ("binary", "big_endian", "ascii"):
        save(mesh, tmp_path / "a.ply", SaveOptions(encoding=encoding))
        theirs = plyfile.PlyData.read(str(tmp_path / "a.ply"))
        np.testing.assert_array_equal(np.stack([theirs["vertex"][k] for k in "xyz"], 1), mesh.vertices.numpy())
        np.testing.assert_array_equal(np.stack(theirs["face"]["vertex_indices"]), mesh.faces.numpy())
        np.testing.assert_array_equal(theirs["vertex"]["heat"], mesh.vertex_attributes["heat"].numpy())
        for text, order in ((True, "="), (False, "<"), (False, ">")):
            theirs.text, theirs.byte_order = text, order
            theirs.write(str(tmp_path / "b.ply"))
            back = load_mesh(tmp_path / "b.ply")
            assert torch.equal(back.vertices, mesh.vertices) and torch.equal(back.faces, mesh.faces)


HEADER = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
FACES = b"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
CORNERS = b"0 0 0\n1 0 0\n0 1 0\n"
DAMAGED = {
    "short vertex row": (HEADER + FACES + b"0 0 0\n1 0\n0 1 0\n3 0 1 2\n", 11, "few"),
    "word": (HEADER + FACES + b"0 0 0\n1 zero 0\n0 1 0\n3 0 1 2\n", 11, "'zero' is not a number"),
    "missing rows": (HEADER + FACES + b"0 0 0\n", None, ""),
    "index": (HEADER + FACES + CORNERS + b"3 0 1 3\n", 13, "'3' is out of range"),
    "negative index": (HEADER + FACES + CORNERS + b"3 0 1 -1\n", 13, "'-1' is out of range"),
    "short list": (HEADER + FACES + CORNERS + b"4 0 1 2\n", 13, "few"),
    "no magic": (b"plx\n" + HEADER[4:] + b"end_header\n" + CORNERS, None, ""),
    "no format": (HEADER.replace(b"format ascii 1.0\n", b"") + b"end_header\n" + CORNERS, None, "no format line"),
    "unknown format": (HEADER.replace(b"ascii", b"utf8") + b"end_header\n" + CORNERS, 2, "unknown format"),
    "unknown type": (HEADER.replace(b"float y", b"quad y") + b"end_header\n" + CORNERS, 5, "unknown type 'quad'"),
    "no header end": (HEADER, None, "end_header"),
    "no z": (HEADER.replace(b"property float z\n", b"") + b"end_header\n0 0\n0 0\n0 0\n", None, "'z'"),
    "twice": (HEADER + b"element vertex 3\n" + b"end_header\n" + CORNERS, 7, "two elements"),
    "negative count": (HEADER.replace(b"vertex 3", b"vertex -3") + b"end_header\n", 3, "not a possible number"),
    "garbage line": (HEADER + b"elephant\nend_header\n" + CORNERS, 7, "unknown header line"),
    "byte range": (HEADER + b"property uchar a\nend_header\n0 0 0 256\n0 0 0 0\n0 0 0 0\n", 9, "'256' is out of range"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(read: Read, name: str) -> None:
    data, line, reason = DAMAGED[name]
    with pytest.raises(FormatError) as error:
        read("bad.ply", data)
    assert "bad.ply" in str(error.value) and reason in str(error.value)
    assert line is None or error.value.line == line


@pytest.mark.parametrize("order", ["<", ">"])
def test_cut_binary_names_a_byte(read: Read, order: str) -> None:
    whole = ply_binary(order)
    body = whole.index(b"end_header\n") + len(b"end_header\n")
    for size in range(body, len(whole)):
        with pytest.raises(FormatError) as error:
            read("bad.ply", whole[:size])
        assert error.value.byte is not None


def test_encodings_that_ply_lacks(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="compressed"):
        save(icosphere(0), tmp_path / "a.ply", SaveOptions(encoding="compressed"))
    assert not list(tmp_path.iterdir())


def test_dtype_option(read: Read) -> None:
    assert mesh_of(read("a.ply", PLY_MIXED, dtype=torch.float32)).vertices.dtype == torch.float32
    assert LoadOptions().dtype is None
