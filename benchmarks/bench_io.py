"""Files: every format, reader and writer, with peak memory, against Open3D, trimesh, meshio, plyfile and plain NumPy of the same bytes.

Every library has a process of its own for each format (a reader must not profit from another's memory); files lie in the page cache.
`--counts 10000000` measures 10 million elements; `--format`, `--jobs` and `--peers` pick a part, to be joined later with `--join`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import Table, join_tables, parse_arguments, write_json, write_results

MESH_FORMATS = ("ply", "ply ascii", "obj", "stl", "stl ascii", "off", "glb")
CLOUD_FORMATS = ("xyz", "csv", "pcd", "pcd ascii", "pcd compressed")
_SMALL = 100  # elements of the file that warms up
PEERS = ("unproject", "numpy", "open3d", "trimesh", "meshio", "plyfile")

WORKER = r"""
import gc, json, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
who, job, name, threads = sys.argv[1:5]
sources = sys.argv[5:]
import numpy as np
if who == "unproject" or job != "read":
    import torch
    torch.set_num_threads(int(threads))
    import unproject as up
    from unproject.io.options import SaveOptions
    from unproject.io.memory import memory_bytes

suffix, _, encoding = name.partition(" ")
cloud = suffix in ("xyz", "csv", "pcd")

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

def reader(source):
    if who == "unproject":
        return lambda: up.load(source)
    if who == "numpy":
        return lambda: np.fromfile(source, np.uint8)
    if who == "open3d":
        import open3d
        open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
        return lambda: open3d.t.io.read_point_cloud(source) if cloud else open3d.io.read_triangle_mesh(source)
    if who == "trimesh":
        import trimesh
        return lambda: trimesh.load(source, process=False, maintain_order=True)
    if who == "meshio":
        import meshio
        return lambda: meshio.read(source)
    if who == "plyfile":
        import plyfile
        def read():
            data = plyfile.PlyData.read(source, known_list_len={"face": {"vertex_indices": 3}}, mmap=False)
            return np.asarray(data["vertex"]["x"]), data["face"].data
        return read

def writer(value, source, target):
    if who == "unproject":
        options = SaveOptions(encoding=encoding or None)
        return lambda: up.save(value, target, options)
    if who == "numpy":
        data = np.fromfile(source, np.uint8)
        return lambda: data.tofile(target)
    if who == "open3d":
        import open3d
        if cloud:
            shape = up.to_open3d(value)
            options = {"write_ascii": encoding == "ascii", "compressed": encoding == "compressed"}
            return lambda: open3d.t.io.write_point_cloud(target, shape, **options)
        shape = up.to_open3d(value).to_legacy()
        shape.compute_triangle_normals()  # without them it writes no STL
        return lambda: open3d.io.write_triangle_mesh(target, shape, write_ascii=encoding == "ascii")
    if who == "trimesh":
        shape = up.to_trimesh(value)
        options = {"encoding": "ascii"} if name == "ply ascii" else {}
        kind = "stl_ascii" if name == "stl ascii" else suffix
        return lambda: shape.export(target, file_type=kind, **options)
    if who == "meshio":
        import meshio
        shape = meshio.Mesh(value.vertices.numpy(), [("triangle", value.faces.numpy())])
        options = {"binary": encoding != "ascii"} if suffix in ("ply", "stl") else {}
        return lambda: shape.write(target, **options)
    if who == "plyfile":
        import plyfile
        vertices = np.ascontiguousarray(value.vertices.numpy()).view([(k, "f4") for k in "xyz"]).reshape(-1)
        faces = np.empty(len(value.faces), [("vertex_indices", "i4", (3,))])
        faces["vertex_indices"] = value.faces.numpy()
        parts = [plyfile.PlyElement.describe(vertices, "vertex"), plyfile.PlyElement.describe(faces, "face")]
        return lambda: plyfile.PlyData(parts, text=encoding == "ascii").write(target)

def timed(run, prepare, first):
    best, began, runs = first, time.perf_counter(), 0
    while runs < 15 and time.perf_counter() - began < 0.8 and first < 4:
        prepare()
        start = time.perf_counter()
        result = run()
        best, runs = min(best, time.perf_counter() - start), runs + 1
        del result
    return best

def measure(run, prepare=lambda: None):
    gc.collect()
    before = resident()
    reset_peak()
    start = time.perf_counter()
    value = run()
    first = time.perf_counter() - start
    used = peak() - before
    arrays = memory_bytes(value) if job == "read" and who == "unproject" else 0
    del value
    return {"seconds": timed(run, prepare, first), "peak": used, "arrays": arrays}

def make(source):
    import math
    rows = int(math.sqrt(int(source.rpartition("_")[2].partition(".")[0])))
    generator = torch.Generator().manual_seed(0)
    if cloud:
        positions, normals = torch.randn(2, rows * rows, 3, generator=generator)
        return up.PointCloud(positions=positions, normals=torch.nn.functional.normalize(normals, dim=1))
    mesh = up.torus(segments=(rows, rows))
    return up.Mesh(vertices=mesh.vertices + 1e-3 * torch.randn(mesh.vertices.shape, generator=generator), faces=mesh.faces)

small, sources = sources[0], sources[1:]
if job == "make":
    for source in [small, *sources]:
        if not os.path.exists(source):
            up.save(make(source), source, SaveOptions(encoding=encoding or None))
else:
    reader(small)()  # what compiles and imports does so here
for source in sources if job != "make" else ():
    if job == "read":
        print(json.dumps(measure(reader(source))), flush=True)
    else:
        value = up.load(source)
        target = source + ".out." + suffix
        writer(up.load(small), small, target)()
        os.remove(target)
        result = measure(writer(value, source, target), lambda: os.path.exists(target) and os.remove(target))
        print(json.dumps(result | {"arrays": memory_bytes(value)}), flush=True)
        os.remove(target)
"""


def applies(who: str, name: str, job: str) -> bool:
    """Which libraries have a reader or writer of a format."""
    suffix, _, encoding = name.partition(" ")
    if who == "plyfile":
        return suffix == "ply"
    if who == "meshio":
        return suffix in ("ply", "obj", "stl", "off")
    if who == "trimesh":
        return suffix in ("ply", "obj", "stl", "off", "glb") or (suffix == "xyz" and job == "read")
    if who == "open3d":
        return suffix in ("ply", "obj", "stl", "off", "glb", "pcd") and not (suffix in ("stl",) and encoding == "ascii" and job == "write")
    return True


def measure(who: str, job: str, name: str, paths: Sequence[Path], threads: int) -> list[dict[str, float]]:
    """Seconds and peak bytes of one job on files from small to large, in a process of its own; less where it fails on one."""
    command = [sys.executable, "-c", WORKER, who, job, name, str(threads), *map(str, paths)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        return _lines(error.stdout)
    if job == "make" and done.returncode != 0:
        raise RuntimeError(done.stderr)
    return _lines(done.stdout)


def _lines(output: str | bytes | None) -> list[dict[str, float]]:
    text = output.decode() if isinstance(output, bytes) else output or ""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def bench(name: str, counts: Sequence[int], threads: int, folder: Path, tables: dict[str, Table], chosen: argparse.Namespace) -> None:
    suffix = name.partition(" ")[0]
    small, *paths = [folder / f"{name.replace(' ', '_')}_{count}.{suffix}" for count in (_SMALL, *sorted(counts))]
    if not all(path.exists() for path in (small, *paths)):
        measure("unproject", "make", name, [small, *paths], threads)
    for job in chosen.jobs:
        found = {who: measure(who, job, name, [small, *paths], threads) for who in chosen.peers if applies(who, name, job)}
        for i, (count, path) in enumerate(zip(sorted(counts), paths)):
            good = {who: values[i] for who, values in found.items() if i < len(values)}
            label = f"{name}, {count:,} {'points' if name in CLOUD_FORMATS else 'vertices'}"
            facts = {"file MB": path.stat().st_size / 1e6}
            if "unproject" in good:
                facts["peak / arrays"] = good["unproject"]["peak"] / max(good["unproject"]["arrays"], 1.0)
            tables[job].add(label, {who: 1e3 * value["seconds"] for who, value in good.items()}, **facts)
            tables[f"{job} memory"].add(label, {who: value["peak"] / 1e6 for who, value in good.items()})


def main() -> None:
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--counts", type=int, nargs="*", default=(10_000, 100_000, 1_000_000), help="elements; 10000000 too for the largest")
    extra.add_argument("--format", nargs="*", choices=(*MESH_FORMATS, *CLOUD_FORMATS), default=(*MESH_FORMATS, *CLOUD_FORMATS))
    extra.add_argument("--jobs", nargs="*", choices=("read", "write"), default=("read", "write"))
    extra.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    extra.add_argument("--folder", type=Path, help="where the files are kept, to be used again; by default a temporary one")
    chosen, sys.argv[1:] = extra.parse_known_args()
    options = parse_arguments(f"{__doc__}\n{extra.format_help()}")
    tables = join_tables(options.join) if options.join else run(options, chosen)
    for table in tables:
        table.rows.sort(key=_place)
    write_json(options.json, tables)
    if options.write:
        write_results("bench_io", tables, notes=NOTES)


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Of a row in its table: by format, then by size."""
    name, count = row["label"].split(", ", 1)
    return (*MESH_FORMATS, *CLOUD_FORMATS).index(name), int(count.split()[0].replace(",", ""))


def run(options: argparse.Namespace, chosen: argparse.Namespace) -> list[Table]:
    counts = [10_000] if options.quick else chosen.counts
    titles = {job: {"read": "reading", "write": "writing"}[job] for job in chosen.jobs}
    tables = {job: Table(title, PEERS) for job, title in titles.items()}
    tables |= {f"{job} memory": Table(f"{title}: memory beyond what the process had", PEERS, unit="MB") for job, title in titles.items()}
    with tempfile.TemporaryDirectory() as temporary:
        for name in chosen.format:
            bench(name, counts, options.threads, chosen.folder or Path(temporary), tables, chosen)
    return list(tables.values())


NOTES = """Meshes are noisy tori with two faces a vertex and no attributes; clouds have normals. `numpy` reads the same bytes with
`fromfile` and writes them with `tofile`: no format is faster than that. Peers read positions and faces (Open3D's legacy mesh reader,
which is its only one for meshes, converts to float64). Files are written under a name that is free: over an existing file, ext4 writes
the new one to disk before it takes the name (25 ms here), which is the price of never losing both. Empty cells: the library has no
reader or writer of the format, failed, or was not measured.

Taken in pieces (`--format`, `--jobs`, `--peers`, `--json`, then `--join`) on a machine without other work, but for XYZ, CSV and OBJ
of 10,000,000 elements, whose ratios are rough. Of the rows of that size most are without peers, whose readers take minutes there."""


if __name__ == "__main__":
    main()
