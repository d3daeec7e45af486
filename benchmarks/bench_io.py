"""Files: every format, reader and writer, with peak memory, against Open3D, trimesh, meshio, plyfile and plain NumPy of the same bytes.

Every measurement is a process of its own (a reader must not profit from another's memory), files lie in the page cache.
`--counts 10000000` measures 10 million elements; `--format` picks formats.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Table, parse_arguments, write_json, write_results

MESH_FORMATS = ("ply", "ply ascii", "obj", "stl", "stl ascii", "off", "glb")
CLOUD_FORMATS = ("xyz", "csv", "pcd", "pcd ascii", "pcd compressed")
PEERS = ("unproject", "numpy", "open3d", "trimesh", "meshio", "plyfile")

WORKER = r"""
import gc, json, os, sys, threading, time, warnings
warnings.simplefilter("ignore")
who, job, name, source, threads, count = sys.argv[1:7]
import numpy as np
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

def reader():
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

def writer(value, target):
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

def timed(run, prepare=lambda: None):
    best, began, runs = float("inf"), time.perf_counter(), 0
    while runs < 2 or (runs < 15 and time.perf_counter() - began < 2.0):
        prepare()
        start = time.perf_counter()
        result = run()
        best, runs = min(best, time.perf_counter() - start), runs + 1
        del result
        if time.perf_counter() - began > 20:
            break
    return best

if job == "make":
    import math
    rows = int(math.sqrt(int(count)))
    if cloud:
        generator = torch.Generator().manual_seed(0)
        positions, normals = torch.randn(2, rows * rows, 3, generator=generator)
        points = up.PointCloud(positions=positions, normals=torch.nn.functional.normalize(normals, dim=1))
        up.save(points, source, SaveOptions(encoding=encoding or None))
    else:
        mesh = up.torus(segments=(rows, rows))
        generator = torch.Generator().manual_seed(0)
        mesh = up.Mesh(vertices=mesh.vertices + 1e-3 * torch.randn(mesh.vertices.shape, generator=generator), faces=mesh.faces)
        up.save(mesh, source, SaveOptions(encoding=encoding or None))
elif job == "read":
    small = up.PointCloud(positions=torch.rand(9, 3), normals=torch.rand(9, 3)) if cloud else up.icosphere(1)
    warm = source + ".small." + suffix
    up.save(small, warm, SaveOptions(encoding=encoding or None))
    if who == "unproject":
        up.load(warm)
    os.remove(warm)
    run = reader()
    if run is None:
        sys.exit(3)
    gc.collect()
    before = resident()
    reset_peak()
    value = run()
    used = peak() - before
    arrays = memory_bytes(value) if who == "unproject" else 0
    del value
    print(json.dumps({"seconds": timed(run), "peak": used, "arrays": arrays}))
else:
    value = up.load(source)
    target = source + ".out." + suffix
    run = writer(value, target)
    if run is None:
        sys.exit(3)
    gc.collect()
    before = resident()
    reset_peak()
    run()
    used = peak() - before
    new_name = lambda: os.path.exists(target) and os.remove(target)
    print(json.dumps({"seconds": timed(run, new_name), "peak": used, "arrays": memory_bytes(value)}))
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


def measure(who: str, job: str, name: str, path: Path, threads: int, count: int) -> dict[str, float] | None:
    """Seconds and peak bytes of one job in a process of its own; None where it fails."""
    command = [sys.executable, "-c", WORKER, who, job, name, str(path), str(threads), str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0 or job == "make":
        if job == "make" and done.returncode != 0:
            raise RuntimeError(done.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def bench(name: str, counts: Sequence[int], threads: int, folder: Path, tables: dict[str, Table], chosen: argparse.Namespace) -> None:
    suffix = name.partition(" ")[0]
    for count in counts:
        path = folder / f"{name.replace(' ', '_')}_{count}.{suffix}"
        measure("unproject", "make", name, path, threads, count)
        for job in chosen.jobs:
            found = {who: measure(who, job, name, path, threads, count) for who in chosen.peers if applies(who, name, job)}
            good = {who: value for who, value in found.items() if value is not None}
            label = f"{name}, {count:,} {'points' if name in CLOUD_FORMATS else 'vertices'}"
            ours = good.get("unproject", {"peak": float("nan"), "arrays": 1.0})
            facts = {"file MB": path.stat().st_size / 1e6, "peak / arrays": ours["peak"] / max(ours["arrays"], 1.0)}
            tables[job].add(label, {who: 1e3 * value["seconds"] for who, value in good.items()}, **facts)
            tables[f"{job} memory"].add(label, {who: value["peak"] / 1e6 for who, value in good.items()})
        path.unlink()


def main() -> None:
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--counts", type=int, nargs="*", default=(10_000, 100_000, 1_000_000), help="elements; 10000000 too for the largest")
    extra.add_argument("--format", nargs="*", choices=(*MESH_FORMATS, *CLOUD_FORMATS), default=(*MESH_FORMATS, *CLOUD_FORMATS))
    extra.add_argument("--jobs", nargs="*", choices=("read", "write"), default=("read", "write"))
    extra.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    chosen, sys.argv[1:] = extra.parse_known_args()
    options = parse_arguments(f"{__doc__}\n{extra.format_help()}")
    counts = [10_000] if options.quick else chosen.counts
    titles = {job: {"read": "reading", "write": "writing"}[job] for job in chosen.jobs}
    tables = {job: Table(title, PEERS) for job, title in titles.items()}
    tables |= {f"{job} memory": Table(f"{title}: memory beyond what the process had", PEERS, unit="MB") for job, title in titles.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.format:
            bench(name, counts, options.threads, Path(folder), tables, chosen)
    write_json(options.json, list(tables.values()))
    if options.write:
        write_results("bench_io", list(tables.values()), notes=NOTES)


NOTES = """Meshes are noisy tori with two faces a vertex and no attributes; clouds have normals. `numpy` reads the same bytes with
`fromfile` and writes them with `tofile`: no format is faster than that. Peers read positions and faces (Open3D's legacy mesh reader,
which is its only one for meshes, converts to float64). Files are written under a name that is free: over an existing file, ext4 writes
the new one to disk before it takes the name (25 ms here), which is the price of never losing both. Empty cells: the library has no
reader or writer of the format, or failed."""


if __name__ == "__main__":
    main()
