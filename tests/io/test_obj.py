"""OBJ and MTL: indices of all kinds, polygons, materials, colours, groups, other statements, round trips, damaged files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unproject import Mesh, PointCloud, load, load_mesh, save
from unproject.errors import ArgumentError, FormatError
from unproject.geometry.material import Material
from unproject.geometry.primitives import icosphere, plane
from unproject.io.images import encode_png
from unproject.io.options import LoadOptions, SaveOptions
from unproject.io.polygons import Polygons
from unproject.io.source import FileWarning

from .samples import MTL_BOX, OBJ_BOX

Read = Callable[..., Mesh | PointCloud]
SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def mesh_of(value: Mesh | PointCloud) -> Mesh:
    assert isinstance(value, Mesh)
    return value


@pytest.fixture
def box_file(tmp_path: Path) -> Path:
    (tmp_path / "box.obj").write_bytes(OBJ_BOX)
    (tmp_path / "box.mtl").write_bytes(MTL_BOX)
    (tmp_path / "wood.png").write_bytes(encode_png(torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])))
    return tmp_path / "box.obj"


def test_box_with_materials(box_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = load_mesh(box_file, LoadOptions(keep_polygons=True))
    assert mesh.vertex_count == 8 and mesh.face_count == 6
    assert mesh.faces[0].tolist() in ([3, 2, 1], [3, 2, 0]) and mesh.uvs is not None and mesh.uvs.shape == (4, 2)
    assert (
        mesh.corner_normals is not None
        and mesh.corner_normals[0, 0].tolist() == [0, 0, -1]
        and mesh.corner_normals[5, 2].tolist() == [1, 0, 0]
    )
    assert mesh.face_materials is not None and mesh.face_materials.tolist() == [0, 0, 1, 1, 1, 1]
    red, blue = mesh.materials
    assert red.name == "red" and red.diffuse.tolist() == [1, 0, 0] and red.specular.tolist() == [0.5, 0.5, 0.5]
    assert float(red.shininess) == 20 and float(red.opacity) == 0.5 and ("illum", "2") in red.parameters
    assert blue.diffuse_texture is not None and blue.diffuse_texture.tolist() == [[[1, 0, 0], [0, 1, 0]]]
    polygons = mesh.metadata["polygons"]
    assert isinstance(polygons, Polygons) and polygons.offsets.tolist() == [0, 4, 8, 12] and polygons.vertices[:4].tolist() == [3, 2, 1, 0]
    names = [key for key in mesh.face_attributes if key not in ("polygon",)]
    assert {"group"} <= set(names) | set(mesh.metadata), (names, dict(mesh.metadata))


def test_uv_indices_of_their_own(box_file: Path) -> None:
    mesh = load_mesh(box_file)
    assert mesh.face_uvs is not None and mesh.uvs is not None
    corner = (mesh.faces == 6).nonzero()[0]  # vertex 7 has UV 3 in the face that has it
    assert mesh.uvs[mesh.face_uvs[corner[0], corner[1]]].tolist() == [1, 1]


def test_missing_mtl_and_image_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "box.obj").write_bytes(OBJ_BOX)
    with pytest.warns(FileWarning, match=r"box\.mtl"):
        mesh = load_mesh(tmp_path / "box.obj")
    assert mesh.face_count == 6 and [m.name for m in mesh.materials] == ["red", "blue"]
    (tmp_path / "box.mtl").write_bytes(MTL_BOX)
    with pytest.warns(FileWarning, match=r"wood\.png"):
        mesh = load_mesh(tmp_path / "box.obj")
    assert mesh.materials[1].diffuse_texture is None and mesh.materials[1].diffuse.tolist() == [0, 0, 1]
    (tmp_path / "wood.png").write_bytes(b"no image")
    with pytest.warns(FileWarning, match=r"wood\.png"):
        load_mesh(tmp_path / "box.obj")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_mesh(tmp_path / "box.obj", LoadOptions(load_textures=False))


def test_negative_indices(read: Read) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 0\nv 6 0 0\nv 5 1 0\nf -3 -2 -1\nf 1 -1 2\n"
    assert mesh_of(read("a.obj", text)).faces.tolist() == [[0, 1, 2], [3, 4, 5], [0, 5, 1]]
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvn 0 0 1\nf -3/-2/-1 -2/-1/-1 -1/-2/-1\n"
    mesh = mesh_of(read("b.obj", text))
    assert mesh.face_uvs is not None and mesh.face_uvs.tolist() == [[0, 1, 0]]


def test_vertex_colors_and_weights(read: Read) -> None:
    mesh = mesh_of(read("a.obj", "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0.5 1\nf 1 2 3\n"))
    assert mesh.vertex_colors is not None and mesh.vertex_colors.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0.5, 1]]
    mesh = mesh_of(read("b.obj", "v 0 0 0 1\nv 1 0 0 1\nv 0 1 0 1\nf 1 2 3\n"))
    assert mesh.vertex_colors is None and mesh.vertices[1].tolist() == [1, 0, 0]


def test_concave_polygon(read: Read) -> None:
    text = "v 0 0 0\nv 4 0 0\nv 4 4 0\nv 2 1 0\nv 0 4 0\nf 1 2 3 4 5\n"
    mesh = mesh_of(read("a.obj", text))
    corners = mesh.vertices[mesh.faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] / 2
    assert bool((areas > 0).all()) and float(areas.sum()) == pytest.approx(10.0)


def test_line_continuation_tabs_and_endings(read: Read) -> None:
    want = mesh_of(read("a.obj", SQUARE + "f 1 2 3\nf 1 3 4\n"))
    text = SQUARE.replace(" ", "\t") + "f 1 2 \\\n 3\n  f   1 3   4  # a comment\n"
    for variant in (text, text.replace("\n", "\r\n"), text.rstrip("\n"), "\ufeff" + text, text.replace("v\t1", "v \\\n1")):
        mesh = mesh_of(read("b.obj", variant))
        assert torch.equal(mesh.vertices, want.vertices) and torch.equal(mesh.faces, want.faces)


def test_points_and_lines_elements(read: Read, tmp_path: Path) -> None:
    value = read("a.obj", SQUARE + "p 1 2\nl 1 2 3\nl -1 -2\nf 1 2 3\n")
    mesh = mesh_of(value)
    assert mesh.face_count == 1 and {"lines", "points"} <= set(mesh.metadata)
    save(mesh, tmp_path / "b.obj")
    again = mesh_of(load(tmp_path / "b.obj"))
    text = (tmp_path / "b.obj").read_text()
    assert "l 1 2 3\n" in text and "l 4 3\n" in text and "lines" in again.metadata
    cloud = read("c.obj", SQUARE)
    assert isinstance(cloud, PointCloud) and cloud.point_count == 4


def test_groups_and_objects_survive(tmp_path: Path, read: Read) -> None:
    text = SQUARE + "o first\ng left\nf 1 2 3\no second\ng right top\nf 1 3 4\n"
    mesh = mesh_of(read("a.obj", text))
    save(mesh, tmp_path / "b.obj")
    written = (tmp_path / "b.obj").read_text().splitlines()
    for line in ("o first", "g left", "o second", "g right top"):
        assert line in written
    assert written.index("o second") < [i for i, line in enumerate(written) if line.startswith("f ")][1]


def test_round_trip_of_everything(tmp_path: Path) -> None:
    base = icosphere(1, dtype=torch.float64)
    f = base.face_count
    texture = torch.randint(0, 256, (3, 5, 3)).float() / 255
    one = Material(name="one", diffuse=torch.tensor([0.25, 0.5, 1]), specular=torch.tensor([0.5, 0, 0]), shininess=torch.tensor(33.0))
    two = Material(name="two", opacity=torch.tensor(0.5), diffuse_texture=texture, parameters=(("illum", "2"),))
    mesh = replace(
        base,
        vertices=base.vertices + 1e6,  # needs float64
        vertex_colors=torch.rand(base.vertex_count, 3),
        uvs=torch.rand(11, 2),
        face_uvs=torch.randint(0, 11, (f, 3)),
        corner_normals=torch.nn.functional.normalize(torch.randn(f, 3, 3), dim=2),
        materials=(one, two),
        face_materials=(torch.arange(f) % 2),
    )
    save(mesh, tmp_path / "a.obj")
    back = load_mesh(tmp_path / "a.obj")
    assert torch.equal(back.vertices, mesh.vertices) and torch.equal(back.faces, mesh.faces)
    assert back.face_materials is not None and back.uvs is not None and mesh.uvs is not None and back.corner_normals is not None
    names = lambda m: [m.materials[i].name for i in m.face_materials.tolist()]
    assert names(back) == names(mesh)
    assert torch.equal(back.uvs[back.face_uvs], mesh.uvs[mesh.face_uvs])
    assert torch.equal(back.corner_normals.float(), mesh.corner_normals)  # type: ignore[union-attr]
    torch.testing.assert_close(back.vertex_colors, mesh.vertex_colors, atol=1e-6, rtol=0)
    found = {m.name: m for m in back.materials}
    assert float(found["one"].shininess) == 33 and found["one"].diffuse.tolist() == [0.25, 0.5, 1]
    assert float(found["two"].opacity) == 0.5 and torch.equal(found["two"].diffuse_texture, texture)  # type: ignore[arg-type]
    assert ("illum", "2") in found["two"].parameters


def test_uv_per_vertex_and_unnamed_material(tmp_path: Path) -> None:
    mesh = replace(plane(segments=(2, 2)), materials=(Material(diffuse_texture=torch.ones(2, 2, 3)),))
    save(mesh, tmp_path / "a.obj")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".mtl", ".obj", ".png"]
    back = load_mesh(tmp_path / "a.obj")
    assert back.uvs is not None and mesh.uvs is not None
    index = back.faces if back.face_uvs is None else back.face_uvs
    assert torch.equal(back.uvs[index], mesh.uvs[mesh.faces]) and back.materials[0].diffuse_texture is not None


def test_agrees_with_trimesh(tmp_path: Path) -> None:
    import trimesh

    mesh = icosphere(2)
    save(mesh, tmp_path / "a.obj")
    theirs = trimesh.load(tmp_path / "a.obj", process=False, maintain_order=True)
    np.testing.assert_array_equal(np.asarray(theirs.vertices, np.float32), mesh.vertices.numpy())  # type: ignore[union-attr]
    np.testing.assert_array_equal(theirs.faces, mesh.faces.numpy())  # type: ignore[union-attr]


def test_several_libraries_names_with_blanks_and_texture_options(tmp_path: Path) -> None:
    (tmp_path / "my one.mtl").write_text("newmtl deep  red\nKd 1 0 0\nTr 0.25\n")
    (tmp_path / "two.mtl").write_text("newmtl t\nmap_Kd -s 2 2 1 -o 0 0 -clamp on a picture.png\n")
    (tmp_path / "a picture.png").write_bytes(encode_png(torch.ones(2, 2, 3)))
    text = "mtllib my one.mtl\nmtllib two.mtl\n" + SQUARE + "usemtl deep  red\nf 1 2 3\nusemtl t\nf 1 3 4\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = load_mesh(tmp_path / "a.obj")
    assert [m.name.split() for m in mesh.materials] == [["deep", "red"], ["t"]]
    assert float(mesh.materials[0].opacity) == 0.75 and mesh.materials[1].diffuse_texture is not None


DAMAGED = {
    "index": (SQUARE + "f 1 2 5\n", 5, "does not have"),
    "zero": (SQUARE + "f 0 1 2\n", 5, "does not have"),
    "negative": (SQUARE + "f -5 1 2\n", 5, "does not have"),
    "uv": (SQUARE + "vt 0 0\nf 1/1 2/2 3/1\n", 6, "does not have"),
    "normal": (SQUARE + "vn 0 0 1\nf 1//1 2//1 3//2\n", 6, "does not have"),
    "word": ("v 0 0 0\nv 1 x 0\n", 2, "'x' is not a number"),
    "few": ("v 0 0 0\nv 1 0\n", 2, "too few"),
    "corner": (SQUARE + "f 1/2/3/4 2 3\n", 5, ""),
    "letter": (SQUARE + "f a b c\n", 5, "face corner"),
    "huge index": (SQUARE + "f 1 2 99999999999999999999\n", 5, ""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(read: Read, name: str) -> None:
    text, line, reason = DAMAGED[name]
    with pytest.raises(FormatError) as error:
        read("bad.obj", text)
    assert error.value.line == line and reason in str(error.value) and "bad.obj" in str(error.value)


def test_normals_left_out_of_the_file_are_a_warning(tmp_path: Path) -> None:
    """Programs write such files: the indices of normals stayed, the normals did not."""
    (tmp_path / "a.obj").write_text(SQUARE + "f 1//1 2//1 3//1\n")
    with pytest.warns(FileWarning, match="normal"):
        mesh = load_mesh(tmp_path / "a.obj")
    assert mesh.faces.tolist() == [[0, 1, 2]] and mesh.corner_normals is None and mesh.vertex_normals is None


def test_encodings_that_obj_lacks(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="ascii"):
        save(icosphere(0), tmp_path / "a.obj", SaveOptions(encoding="binary"))
    assert not list(tmp_path.iterdir())
