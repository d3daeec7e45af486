"""Choice of format, other formats, promises about memory, compressed files, paths that lead outside, outputs that appear whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unproject import Mesh, PointCloud, load, load_mesh, load_points, save
from unproject.errors import ArgumentError, ArgumentTypeError, FileAccessError, FormatError, MissingDependencyError
from unproject.geometry.material import Material
from unproject.geometry.primitives import icosphere, plane
from unproject.io.images import encode_png
from unproject.io.options import LoadOptions, SaveOptions
from unproject.io.source import FileWarning

from .samples import MTL_BOX, OBJ_BOX, PCD_ASCII, PLY_QUADS, SAMPLES, XYZ

Read = Callable[..., Mesh | PointCloud]


@pytest.mark.parametrize("name", [n for n in SAMPLES if n.rpartition(".")[2] in ("ply", "pcd", "off", "obj", "stl", "xyz")])
@pytest.mark.parametrize("wrong", ["dat", ""])
def test_content_decides_before_the_name(read: Read, name: str, wrong: str) -> None:
    right, other = read(name, SAMPLES[name]), read(f"file.{wrong}".rstrip("."), SAMPLES[name])
    assert type(right) is type(other)
    count = lambda v: v.vertex_count if isinstance(v, Mesh) else v.point_count
    assert count(right) == count(other)


def test_magic_wins_over_a_wrong_ending(read: Read) -> None:
    mesh = read("a.obj", PLY_QUADS)
    assert isinstance(mesh, Mesh) and mesh.vertex_count == 6
    assert isinstance(read("a.ply", PCD_ASCII), PointCloud)


def test_clouds_by_columns(read: Read) -> None:
    cloud = read("a.csv", SAMPLES["cloud.csv"])
    assert isinstance(cloud, PointCloud) and cloud.colors is not None
    torch.testing.assert_close(cloud.colors[1], torch.tensor([0.0, 0.2, 0.0]))
    assert cloud.attributes["time"].tolist() == [0.5, 1.5]
    pts = read("a.pts", SAMPLES["cloud.pts"])
    assert isinstance(pts, PointCloud) and pts.attributes["intensity"].tolist() == [-5, 7] and pts.colors is not None
    pcd = read("a.pcd", PCD_ASCII)
    assert isinstance(pcd, PointCloud) and pcd.attributes["intensity"].tolist() == [1, 2, 3]
    assert bool(pcd.positions[2].isnan().all())
    xyz = read("a.xyz", XYZ)
    assert isinstance(xyz, PointCloud) and xyz.normals is None
    torch.testing.assert_close(xyz.positions[2], torch.tensor([0, 1, -0.2]))


@pytest.mark.parametrize("encoding", ["binary", "ascii", "compressed"])
def test_pcd_round_trip(tmp_path: Path, encoding: str) -> None:
    attributes = {"label": torch.arange(300, dtype=torch.int32), "heat": torch.randn(300, dtype=torch.float64)}
    colors = torch.randint(0, 256, (300, 3)).float() / 255
    cloud = PointCloud(positions=torch.randn(300, 3), normals=torch.randn(300, 3), colors=colors, attributes=attributes)
    save(cloud, tmp_path / "a.pcd", SaveOptions(encoding=encoding))
    back = load_points(tmp_path / "a.pcd")
    assert torch.equal(back.positions, cloud.positions) and torch.equal(back.normals, cloud.normals)  # type: ignore[arg-type]
    assert torch.equal(back.colors, colors)  # type: ignore[arg-type]
    assert all(torch.equal(back.attributes[name], value) for name, value in attributes.items())


@pytest.mark.parametrize("ending", ["xyz", "pts", "csv", "txt"])
def test_text_clouds_round_trip(tmp_path: Path, ending: str) -> None:
    cloud = PointCloud(positions=torch.randn(50, 3), colors=torch.randint(0, 256, (50, 3)).float() / 255)
    save(cloud, tmp_path / f"a.{ending}")
    back = load_points(tmp_path / f"a.{ending}")
    assert torch.equal(back.positions, cloud.positions)


@pytest.mark.parametrize(("ending", "encoding"), [("stl", "binary"), ("stl", "ascii"), ("off", None), ("glb", None), ("gltf", None)])
def test_other_mesh_formats(tmp_path: Path, ending: str, encoding: str | None) -> None:
    mesh = icosphere(1)
    save(mesh, tmp_path / f"a.{ending}", SaveOptions(encoding=encoding))
    back = load_mesh(tmp_path / f"a.{ending}")
    assert torch.equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    if ending != "stl":
        assert torch.equal(back.vertices, mesh.vertices) and torch.equal(back.faces, mesh.faces)
    else:
        assert load_mesh(tmp_path / "a.stl", LoadOptions(merge_vertices=True)).vertex_count == mesh.vertex_count


def test_off_far_from_the_origin_needs_float64(tmp_path: Path) -> None:
    mesh = replace(icosphere(1, dtype=torch.float64), vertices=icosphere(1, dtype=torch.float64).vertices + 1e7)
    save(mesh, tmp_path / "a.off")
    back = load_mesh(tmp_path / "a.off")
    assert back.vertices.dtype == torch.float64 and torch.equal(back.vertices, mesh.vertices)


def test_glb_keeps_texture_and_uvs(tmp_path: Path) -> None:
    texture = torch.randint(0, 256, (4, 4, 3)).float() / 255
    mesh = replace(plane(segments=(2, 2)), materials=(Material(name="m", diffuse_texture=texture),))
    save(mesh, tmp_path / "a.glb")
    back = load_mesh(tmp_path / "a.glb")
    assert back.uvs is not None and torch.equal(back.materials[0].diffuse_texture[..., :3], texture)  # type: ignore[index]
    torch.testing.assert_close(back.uvs, mesh.uvs)


def test_glb_keeps_normals_of_corners(tmp_path: Path) -> None:
    """A vertex with two normals becomes two vertices, and each keeps its own."""
    mesh = icosphere(1)
    flat = torch.nn.functional.normalize(mesh.vertices[mesh.faces].mean(dim=1), dim=1)
    mesh = replace(mesh, corner_normals=flat[:, None].expand(-1, 3, -1).contiguous())
    save(mesh, tmp_path / "a.glb")
    back = load_mesh(tmp_path / "a.glb")
    assert back.vertex_normals is not None
    assert torch.equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    torch.testing.assert_close(back.vertex_normals[back.faces], mesh.corner_normals)


def test_glb_says_what_it_cannot_hold(tmp_path: Path) -> None:
    mesh = replace(icosphere(0), vertex_attributes={"label": torch.arange(12)}, face_attributes={"area": torch.rand(20)})
    with pytest.warns(FileWarning, match="'label', 'area'"):
        save(mesh, tmp_path / "a.glb")


def test_glb_keeps_colours_beside_a_material_and_scalars(tmp_path: Path) -> None:
    flat = plane(segments=(2, 2))
    colors, quality = torch.randint(0, 256, flat.vertices.shape).float() / 255, torch.rand(flat.vertex_count)
    painted = replace(flat, vertex_colors=colors, vertex_attributes={"quality": quality}, materials=(Material(name="m"),))
    for name, mesh in (("a", painted), ("b", replace(painted, materials=()))):
        save(mesh, tmp_path / f"{name}.glb")
        back = load_mesh(tmp_path / f"{name}.glb")
        assert back.vertex_colors is not None and back.uvs is not None
        torch.testing.assert_close(back.vertex_colors[:, :3], colors)
        torch.testing.assert_close(back.uvs, mesh.uvs)
        assert torch.equal(back.vertex_attributes["quality"], quality)


HUGE = {
    "a.ply": PLY_QUADS.replace(b"vertex 6", b"vertex 1000000000000"),
    "b.ply": SAMPLES["little.ply"].replace(b"vertex 5", b"vertex 1000000000000"),
    "c.ply": SAMPLES["big.ply"].replace(b"face 3", b"face 1000000000000"),
    "a.off": SAMPLES["square.off"].replace(b"5 2 0", b"1000000000000 2 0"),
    "a.pcd": PCD_ASCII.replace(b"POINTS 3", b"POINTS 1000000000000").replace(b"WIDTH 3", b"WIDTH 1000000000000"),
    "b.pcd": PCD_ASCII.replace(b"POINTS 3", b"POINTS 1000000000000")
    .replace(b"WIDTH 3", b"WIDTH 1000000000000")
    .replace(b"ascii", b"binary"),
    "a.stl": SAMPLES["binary.stl"][:80] + b"\xff\xff\xff\xff" + SAMPLES["binary.stl"][84:],
}


@pytest.mark.parametrize("name", HUGE)
def test_promises_are_refused_at_once(read: Read, name: str) -> None:
    read("warm.ply", PLY_QUADS)
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(FormatError, match=name.replace(".", r"\.")):
        read(name, HUGE[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20 and time.perf_counter() - begin < 30


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed(read: Read, ending: str, pack: Callable[[bytes], bytes]) -> None:
    mesh = read(f"a.ply.{ending}", pack(PLY_QUADS))
    assert isinstance(mesh, Mesh) and mesh.vertex_count == 6
    with pytest.raises(FormatError, match="unpacks to more than 100 bytes"):
        read(f"a.ply.{ending}", pack(PLY_QUADS), maximum_unpacked=100)
    with pytest.raises(FormatError):
        read(f"a.ply.{ending}", pack(PLY_QUADS)[:-12])


def test_bomb_is_refused_by_default(read: Read) -> None:
    with pytest.raises(FormatError, match="unpacks to more than"):
        read("a.xyz.gz", gzip.compress(b"0 0 0\n" * (12 << 20), 9))


def test_zip_with_materials(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("m/box.obj", OBJ_BOX)
        archive.writestr("m/box.mtl", MTL_BOX)
        archive.writestr("m/wood.png", encode_png(torch.ones(2, 2, 3)))
    assert load_mesh(tmp_path / "a.zip").materials[1].diffuse_texture is not None
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.obj", OBJ_BOX)
        archive.writestr("b.obj", OBJ_BOX)
    with pytest.raises(FormatError, match="2 model files"):
        load(tmp_path / "two.zip")


@pytest.mark.parametrize("how", ["relative", "absolute", "link"])
def test_paths_may_not_leave_the_folder(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret.mtl"
    secret.write_bytes(MTL_BOX.replace(b"map_Kd wood.png\n", b""))
    name = {"relative": "../secret.mtl", "absolute": str(secret), "link": "link.mtl"}[how]
    if how == "link":
        (folder / "link.mtl").symlink_to(secret)
    (folder / "a.obj").write_bytes(OBJ_BOX.replace(b"box.mtl", name.encode()))
    with pytest.warns(FileWarning, match="outside"):
        mesh = load_mesh(folder / "a.obj")
    assert mesh.materials[0].diffuse.tolist() == [1, 1, 1]
    opened = load_mesh(folder / "a.obj", LoadOptions(allow_outside=True))
    assert opened.materials[0].diffuse.tolist() == [1, 0, 0]


def test_gltf_buffer_may_not_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save(icosphere(0), folder / "a.gltf")
    buffer = next(p for p in folder.iterdir() if p.suffix == ".bin")
    text = (folder / "a.gltf").read_text()
    buffer.rename(tmp_path / "outside.bin")
    (folder / "a.gltf").write_text(text.replace(buffer.name, "../outside.bin"))
    with pytest.raises(FormatError), pytest.warns(FileWarning, match="outside|missing"):
        load(folder / "a.gltf")


def test_what_cannot_be_read(tmp_path: Path, read: Read) -> None:
    for path, reason in ((tmp_path / "none.ply", "No such file"), (tmp_path, "a folder")):
        with pytest.raises(FileAccessError, match=reason):
            load(path)
    with pytest.raises(FormatError, match="empty"):
        read("a.ply", b"")
    with pytest.raises(FormatError, match="unknown format"):
        read("a.nonsense", bytes(range(256)))
    with pytest.raises(FormatError, match="point cloud"):
        (tmp_path / "a.xyz").write_bytes(XYZ)
        load_mesh(tmp_path / "a.xyz")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    mesh = icosphere(0)
    for value, name, reason in (
        (mesh, "a.nonsense", "no ending that can be written"),
        (replace(mesh, faces=mesh.faces + 1), "a.ply", "must lie in"),
        (replace(mesh, faces=mesh.faces - 1), "a.ply", "must lie in"),
        (replace(mesh, faces=mesh.faces + 1, face_attributes={"part": mesh.faces[:, 0]}), "a.ply", "must lie in"),
        (replace(mesh, faces=mesh.faces + 1), "a.obj", "must lie in"),
        (replace(mesh, vertex_colors=torch.zeros(3, 3)), "a.ply", "12 rows"),
        (PointCloud(positions=torch.zeros(3, 3)), "a.stl", "without faces"),
    ):
        with pytest.raises(ArgumentError, match=reason):
            save(value, tmp_path / name)
    with pytest.raises(ArgumentTypeError, match="Mesh or a PointCloud"):
        save(3, tmp_path / "a.ply")  # type: ignore[arg-type]
    save(mesh, tmp_path / "a.ply")
    before = (tmp_path / "a.ply").read_bytes()
    with pytest.raises(FileAccessError, match="exists"):
        save(icosphere(1), tmp_path / "a.ply", overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"] and (tmp_path / "a.ply").read_bytes() == before


def test_order_is_kept_and_merging_is_asked_for(tmp_path: Path) -> None:
    base = icosphere(0)
    mesh = Mesh(vertices=base.vertices[base.faces].reshape(-1, 3), faces=torch.arange(60).view(20, 3))
    save(mesh, tmp_path / "a.ply")
    assert torch.equal(load_mesh(tmp_path / "a.ply").vertices, mesh.vertices)
    merged = load_mesh(tmp_path / "a.ply", LoadOptions(merge_vertices=True))
    assert merged.vertex_count == 12 and torch.equal(merged.vertices[merged.faces], mesh.vertices[mesh.faces])


def test_missing_package_says_what_to_install(tmp_path: Path) -> None:
    try:
        save(icosphere(0), tmp_path / "a.dae")
    except MissingDependencyError as error:
        assert "pip install pycollada" in str(error)
    else:
        assert load_mesh(tmp_path / "a.dae").face_count == 20
