"""The tree: every face in one leaf, every box around what lies below it, bounded depth for any input; refit as good as new."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError, ArgumentTypeError
from unproject.geometry.bvh import Bvh, build_bvh, check_offsets, refit
from unproject.geometry.primitives import icosphere

DTYPES = [torch.float32, torch.float64]


def check_tree(tree: Bvh, vertices: Tensor) -> None:
    """Walk all trees; raise AssertionError where one is wrong."""
    seen: list[int] = []
    for mesh, root in enumerate(tree.roots.tolist()):
        first, last = tree.face_offsets[mesh : mesh + 2].tolist()
        assert (root < 0) == (first == last)
        stack = [(root, 1)] if root >= 0 else []
        while stack:
            node, depth = stack.pop()
            assert depth <= tree.depth
            for k, child in enumerate(tree.children[node].tolist()):
                low, high = tree.boxes[node, :3, k], tree.boxes[node, 3:, k]
                if child == -1:
                    assert bool((low > high).all())
                elif child >= 0:
                    assert child > node
                    stack.append((child, depth + 1))
                    assert torch.equal(tree.boxes[child, :3].amin(1), low)
                    assert torch.equal(tree.boxes[child, 3:].amax(1), high)
                else:
                    items = tree.block_items[-2 - child].long()
                    faces = items[items >= 0]
                    assert bool(((faces >= first) & (faces < last)).all())
                    corners = vertices[tree.faces[faces]].flatten(0, 1)
                    assert torch.equal(corners.amin(0), low)
                    assert torch.equal(corners.amax(0), high)
                    block = tree.blocks[-2 - child].T.reshape(8, 3, 3)
                    assert torch.equal(block[items >= 0], vertices[tree.faces[faces]])
                    assert bool(block[items < 0].isinf().all())
                    seen += faces.tolist()
    assert sorted(seen) == list(range(tree.face_count))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 8, 9, 500])
def test_random_soup(dtype: torch.dtype, count: int) -> None:
    vertices = torch.randn(100, 3, dtype=dtype)
    check_tree(build_bvh(vertices, torch.randint(0, 100, (count, 3))), vertices)


def test_large_mesh_is_split_among_threads() -> None:
    mesh = icosphere(5)
    tree = build_bvh(mesh.vertices, mesh.faces)
    check_tree(tree, mesh.vertices)
    again = build_bvh(mesh.vertices, mesh.faces)
    assert torch.equal(tree.block_items, again.block_items)
    assert tree.blocks.shape[0] < mesh.face_count / 5  # leaves are well filled


@pytest.mark.parametrize("kind", ["equal", "line", "clusters", "huge", "tiny"])
def test_depth_is_bounded(kind: str) -> None:
    count = 3000
    vertices = torch.zeros(count + 2, 3)
    if kind == "line":
        vertices[:, 0] = torch.arange(count + 2)
    elif kind == "clusters":  # each scale half of the one before: the worst for splits of space
        vertices[:, 0] = 2.0 ** -(torch.arange(count + 2) % 100)
    elif kind == "huge":
        vertices = torch.randn(count + 2, 3) * 1e37
    elif kind == "tiny":
        vertices = torch.randn(count + 2, 3) * 1e-44
    start = torch.arange(count)
    tree = build_bvh(vertices, torch.stack([start, start + 1, start + 2], 1))
    check_tree(tree, vertices)
    assert tree.depth < 60


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch(dtype: torch.dtype) -> None:
    vertices, faces = torch.randn(60, 3, dtype=dtype), torch.randint(0, 60, (200, 3))
    tree = build_bvh(vertices, faces, face_offsets=torch.tensor([0, 0, 40, 41, 41, 200, 200]))
    check_tree(tree, vertices)
    assert tree.roots.tolist().count(-1) == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_refit(dtype: torch.dtype) -> None:
    vertices, faces = torch.randn(300, 3, dtype=dtype), torch.randint(0, 300, (400, 3))
    tree = build_bvh(vertices, faces, face_offsets=torch.tensor([0, 150, 150, 400]))
    moved = torch.randn(300, 3, dtype=dtype)
    check_tree(refit(tree, moved), moved)
    check_tree(tree, vertices)  # the old tree is a value: it stays


def test_errors() -> None:
    vertices, faces = torch.randn(4, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ArgumentError, match=r"build_bvh: `faces` must lie in 0 to 3, found 7"):
        build_bvh(vertices, torch.tensor([[0, 1, 7]]))
    with pytest.raises(ArgumentError, match="NaN or infinite"):
        build_bvh(vertices / 0, faces)
    with pytest.raises(ArgumentError, match=r"`faces` must be \[F, 3\] integers, got float32"):
        build_bvh(vertices, vertices)
    with pytest.raises(ArgumentError, match="`face_offsets` must ascend from 0 to 1"):
        build_bvh(vertices, faces, face_offsets=torch.tensor([0, 2]))
    with pytest.raises(ArgumentError, match=r"refit: `vertices` must be \[4, 3\]"):
        refit(build_bvh(vertices, faces), vertices[:3])
    with pytest.raises(ArgumentTypeError, match="no rows"):
        build_bvh(vertices, faces)[0]


def test_check_offsets() -> None:
    device = torch.device("cpu")
    assert check_offsets(None, 3, name="o", where="f", device=device).tolist() == [0, 3]
    with pytest.raises(ArgumentError, match="f: `o` must ascend from 0 to 3"):
        check_offsets(torch.tensor([0, 2, 1, 3]), 3, name="o", where="f", device=device)
