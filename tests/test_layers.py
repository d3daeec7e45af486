"""The architecture, checked on the syntax trees: who imports whom, and the doors of optional or heavy packages."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "unproject"
LAYERS = [
    {"errors", "struct"},
    {"kernels"},
    {"ops", "reference"},
    {"lie", "camera", "geometry"},
    {"io"},
    {"render", "losses"},
    {"fit", "register", "fusion", "pose"},
    {"view"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
DOORS = {"numba": {"kernels"}, "viser": {"view"}, "matplotlib": {"view"}, "tyro": {"cli"}}
FILES = sorted(ROOT.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Absolute dotted names that a module imports anywhere in it, also inside functions."""
    package = ["unproject", *path.relative_to(ROOT).parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join(base + ([node.module] if node.module else []))
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_downward(path: Path) -> None:
    own = layer_of(path)
    if own in ("__init__", "__main__", "testing"):
        return
    assert own in LEVEL, f"{own} has no layer"
    for name in imports(path):
        if name.startswith("unproject."):
            other = name.split(".")[1]
            assert LEVEL.get(other, -1) <= LEVEL[own], f"{path.relative_to(ROOT)} ({own}) imports {name}, which lies above it"


def test_no_circles() -> None:
    modules = {".".join(("unproject", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES if path.stem != "__init__"}
    used = lambda path: {owner for name in imports(path) for owner in (name, name.rpartition(".")[0])}
    graph = {name: used(path) & modules.keys() for name, path in modules.items()}
    assert len(graph) > 100 and graph["unproject.io.load"], "the graph is empty: names are resolved wrongly"
    TopologicalSorter(graph).prepare()  # a CycleError names the modules


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_doors(path: Path) -> None:
    own = layer_of(path)
    for name in imports(path):
        owners = DOORS.get(name.split(".")[0])
        assert owners is None or own in owners, f"{path.relative_to(ROOT)} imports {name}; only {owners} may"
    if own == "kernels":
        assert not any(name.split(".")[0] == "torch" for name in imports(path)), "kernels never import torch"
