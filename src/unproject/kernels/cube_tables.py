"""How a surface crosses one cell, for every sign pattern of its corners: built from one rule instead of copied tables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

# Corner c lies at offset (c & 1, c >> 1 & 1, c >> 2 & 1). Edge 4 axis + k runs along `axis` from corner EDGES[e][0] to EDGES[e][1].
EDGES = tuple(
    (low, low | 1 << axis) for axis in range(3) for k in range(4) for low in [(k & 1) << (axis + 1) % 3 | (k >> 1) << (axis + 2) % 3]
)
_EDGE_OF = {frozenset(ends): e for e, ends in enumerate(EDGES)}


def _face_corners(axis: int, side: int) -> tuple[int, ...]:
    """The corners of one cube face, counter-clockwise seen from outside the cube."""
    u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
    ring = tuple(corner | side << axis for corner in (0, u, u | v, v))
    return ring if side == 1 else ring[::-1]


FACES = tuple(_face_corners(axis, side) for axis in range(3) for side in range(2))


class CubeTables(NamedTuple):
    """Triangles of every cell configuration. Bit c of a case is set where corner c is inside (negative).

    Attributes:
        first_entry: [256] int32, the case's first entry; the entry for face decisions d is `first_entry[case] + d`.
        ambiguous: [256, 6, 4] int8, corners of the case's k-th ambiguous face: two inside, then two outside; -1 ends the list.
            Bit k of d is set where the two inside corners are connected through that face.
        offset: [entries + 1] int32, the rows of `edges` of an entry.
        edges: [triangles, 3] int8, the crossed cell edges of each triangle, counter-clockwise seen from outside (positive).
        edge_corners: [12, 2] int8.
    """

    first_entry: np.ndarray
    ambiguous: np.ndarray
    offset: np.ndarray
    edges: np.ndarray
    edge_corners: np.ndarray


@lru_cache(maxsize=1)
def cube_tables() -> CubeTables:
    """Build the tables: contours on the six faces, chained to loops, each loop triangulated as a disc.

    Both cells of a face see the same contour in it, so that their triangles meet without a crack, whatever lies inside the cells.
    """
    first_entry = np.zeros(256, np.int32)
    ambiguous = np.full((256, 6, 4), -1, np.int8)
    offset, triangles = [0], []
    for case in range(256):
        first_entry[case] = len(offset) - 1
        for k, face in enumerate(_unclear(case)):
            inside = [c for c in face if case >> c & 1]
            ambiguous[case, k] = inside + [c for c in face if not case >> c & 1]
        for loops in _entries(case):
            for loop in loops:
                triangles += _triangulate(loop)
            offset.append(len(triangles))
    return CubeTables(
        first_entry, ambiguous, np.array(offset, np.int32), np.array(triangles, np.int8).reshape(-1, 3), np.array(EDGES, np.int8)
    )


@lru_cache(maxsize=1)
def cube_loops() -> np.ndarray:
    """[entries, 12] int8: which of a cell's contours each of its edges lies on, -1 for an edge that is not crossed."""
    rows = []
    for case in range(256):
        for loops in _entries(case):
            row = np.full(12, -1, np.int8)
            for number, loop in enumerate(loops):
                row[loop] = number
            rows.append(row)
    return np.stack(rows)


def _unclear(case: int) -> list[tuple[int, ...]]:
    """The cube faces whose corners alternate."""
    return [face for face in FACES if _crossings(face, case) == 4]


def _entries(case: int) -> Iterator[list[list[int]]]:
    """The contours of a case for every combination of face decisions."""
    unclear = _unclear(case)
    for decisions in range(1 << len(unclear)):
        yield _loops(case, {face: bool(decisions >> k & 1) for k, face in enumerate(unclear)})


def _crossings(face: tuple[int, ...], case: int) -> int:
    return sum((case >> face[k] ^ case >> face[k - 1]) & 1 for k in range(4))


def _loops(case: int, joined: dict[tuple[int, ...], bool]) -> list[list[int]]:
    """The closed contours on the cell's boundary, as rings of crossed edges."""
    following = {}
    for face in FACES:
        edges = [_EDGE_OF[frozenset((face[k], face[(k + 1) % 4]))] for k in range(4)]
        enters = [k for k in range(4) if (case >> face[k] & 1) < (case >> face[(k + 1) % 4] & 1)]  # from outside to inside
        for k in enters:
            step = -1 if joined.get(face, False) else 1  # cut off the inside corner ahead, or the outside corner behind
            leave = next(m % 4 for m in range(k + step, k + 4 * step, step) if (case >> face[m % 4] & 1) > (case >> face[(m + 1) % 4] & 1))
            following[edges[k]] = edges[leave]
    loops = []
    while following:
        edge = start = min(following)
        loop = []
        while edge in following:
            loop.append(edge)
            edge = following.pop(edge)
        assert edge == start, "contours on a cell's boundary are closed"
        loops.append(loop)
    return loops


def _triangulate(loop: list[int]) -> list[tuple[int, int, int]]:
    """The disc of shortest diagonals over a ring of edge midpoints, as few as possible of them inside a cube face.

    A diagonal in a face that the next cell used too would be an edge of four triangles. So each cell may use other ones: of the four
    in a face with four crossings, the cell below takes the one along the face's first axis, the cell above the others.
    """
    middle = [[sum(c >> axis & 1 for c in EDGES[e]) / 2 for axis in range(3)] for e in loop]
    count = len(loop)

    def length(i: int, j: int) -> float:
        if j - i in (1, count - 1):
            return 0.0
        cost = sum((a - b) ** 2 for a, b in zip(middle[i], middle[j])) ** 0.5
        for axis in range(3):
            if middle[i][axis] == middle[j][axis] != 0.5:
                along_first = middle[i][(axis + 2) % 3] == middle[j][(axis + 2) % 3]
                cost += 10.0 if along_first == (middle[i][axis] == 1) else 1000.0
        return cost

    @cache
    def best(i: int, j: int) -> tuple[float, tuple[tuple[int, int, int], ...]]:
        if j - i < 2:
            return 0.0, ()
        options = []
        for k in range(i + 1, j):
            left, right = best(i, k), best(k, j)
            options.append((left[0] + right[0] + length(i, k) + length(k, j), (*left[1], (loop[i], loop[k], loop[j]), *right[1])))
        return min(options)

    cost, triangles = best(0, count - 1)
    assert cost < 1000.0, "every ring of crossings has an allowed triangulation"
    return list(triangles)
