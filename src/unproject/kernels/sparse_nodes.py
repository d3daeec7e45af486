"""Kernels: a set of lattice nodes as a bitmap with ranks. Words of 64 nodes run along z; a node's index is how many come before it."""

import numpy as np

from .jit import kernel


@kernel
def popcount(x):
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def mark_cells(begin, end, cells, words):
    """Set the bits of the 8 corners of each cell. One call only: cells share words."""
    for n in range(begin, end):
        i, j, k = cells[n, 0], cells[n, 1], cells[n, 2]
        for z in range(k, k + 2):
            bit = np.uint64(1) << np.uint64(z & 63)
            w = z >> 6
            words[i, j, w] |= bit
            words[i + 1, j, w] |= bit
            words[i, j + 1, w] |= bit
            words[i + 1, j + 1, w] |= bit


@kernel
def dilate_rows(begin, end, source, size_z, result):
    """result: the nodes of `source` [X, Y, W] and all their 26 neighbours inside of the lattice, for the planes x in [begin, end)."""
    size_x, size_y, word_count = source.shape
    one, top = np.uint64(1), np.uint64(63)
    last = np.uint64(0xFFFFFFFFFFFFFFFF)
    if size_z & 63:
        last = (one << np.uint64(size_z & 63)) - one
    for i in range(begin, end):
        for j in range(size_y):
            for w in range(word_count):
                bits = np.uint64(0)
                for a in range(max(i - 1, 0), min(i + 2, size_x)):
                    for b in range(max(j - 1, 0), min(j + 2, size_y)):
                        x = source[a, b, w]
                        bits |= x | (x << one) | (x >> one)
                        if w > 0:
                            bits |= source[a, b, w - 1] >> top
                        if w + 1 < word_count:
                            bits |= source[a, b, w + 1] << top
                result[i, j, w] = bits if w + 1 < word_count else bits & last


@kernel
def count_rows(begin, end, words, count):
    """Number of nodes in each word."""
    for n in range(begin, end):
        count[n] = popcount(words[n])


@kernel
def list_rows(begin, end, words, rank, nodes):
    """Coordinates of the nodes in order of their index, for the planes x in [begin, end)."""
    _, size_y, word_count = words.shape
    one = np.uint64(1)
    for i in range(begin, end):
        for j in range(size_y):
            for w in range(word_count):
                x = words[i, j, w]
                n = rank[i, j, w]
                b = 0
                while x != 0:
                    if x & one:
                        nodes[n, 0] = i
                        nodes[n, 1] = j
                        nodes[n, 2] = w * 64 + b
                        n += 1
                    x >>= one
                    b += 1


@kernel
def node_before(words, rank, i, j, k):
    """How many nodes come before (i, j, k), and whether that is a node itself; i and j must lie inside."""
    w = k >> 6
    x = words[i, j, w]
    b = np.uint64(k & 63)
    return rank[i, j, w] + popcount(x & ((np.uint64(1) << b) - np.uint64(1))), (x >> b) & np.uint64(1) != 0


@kernel
def neighbor_rows(begin, end, nodes, words, rank, size_z, columns, present):
    """columns [N, 9]: the index of node (x + dx, y + dy, z), or of the first one above it; present [N]: bit 9 dx' + 3 dy' + dz' (each
    d' = d + 1) is set where that neighbour exists. A node above or below an existing one in a column has the index after or before."""
    size_x, size_y = words.shape[0], words.shape[1]
    for n in range(begin, end):
        i, j, k = nodes[n, 0], nodes[n, 1], nodes[n, 2]
        bits = np.int32(0)
        for c in range(9):
            a, b = i + c // 3 - 1, j + c % 3 - 1
            columns[n, c] = 0
            if a < 0 or b < 0 or a >= size_x or b >= size_y:
                continue
            first, here = node_before(words, rank, a, b, k)
            columns[n, c] = first
            if here:
                bits |= np.int32(2) << np.int32(3 * c)
            if k > 0 and node_before(words, rank, a, b, k - 1)[1]:
                bits |= np.int32(1) << np.int32(3 * c)
            if k + 1 < size_z and node_before(words, rank, a, b, k + 1)[1]:
                bits |= np.int32(4) << np.int32(3 * c)
        present[n] = bits


@kernel
def exists(present, n, c, d):
    """Whether node n has the neighbour in column c at z + d - 1."""
    return (present[n] >> np.int32(3 * c + d)) & np.int32(1) != 0


@kernel
def neighbor(columns, present, n, c, d):
    """Index of the existing neighbour of node n in column c at z + d - 1."""
    first = columns[n, c]
    if d == 0:
        return first - np.int32(1)
    if d == 2 and exists(present, n, c, 1):
        return first + np.int32(1)
    return first


@kernel
def find_rows(begin, end, coordinates, words, rank, size_z, index):
    """Index of the node at each coordinate, -1 where there is none."""
    for n in range(begin, end):
        i, j, k = coordinates[n, 0], coordinates[n, 1], coordinates[n, 2]
        index[n] = -1
        if i >= 0 and j >= 0 and k >= 0 and i < words.shape[0] and j < words.shape[1] and k < size_z:
            before, here = node_before(words, rank, i, j, k)
            if here:
                index[n] = before


@kernel
def interpolate_rows(begin, end, points, words, rank, size_z, values, value, gradient):
    """Trilinear value and gradient at points (in node units); NaN where a corner of the cell is missing."""
    unit = values.dtype.type(1)
    nothing = values.dtype.type(np.nan)
    size_x, size_y = words.shape[0], words.shape[1]
    for n in range(begin, end):
        value[n] = nothing
        gradient[n, 0] = nothing
        gradient[n, 1] = nothing
        gradient[n, 2] = nothing
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (x >= 0 and y >= 0 and z >= 0 and x < size_x - 1 and y < size_y - 1 and z < size_z - 1):
            continue
        i, j, k = np.int64(x), np.int64(y), np.int64(z)
        x -= values.dtype.type(i)
        y -= values.dtype.type(j)
        z -= values.dtype.type(k)
        v = values.dtype.type(0)
        a, b, c = v, v, v
        whole = True
        for e in range(8):
            dx, dy, dz = e >> 2, (e >> 1) & 1, e & 1
            m, here = node_before(words, rank, i + dx, j + dy, k + dz)
            if not here:
                whole = False
                break
            wx = x if dx else unit - x
            wy = y if dy else unit - y
            wz = z if dz else unit - z
            f = values[m]
            v += wx * wy * wz * f
            a += wy * wz * f if dx else -wy * wz * f
            b += wx * wz * f if dy else -wx * wz * f
            c += wx * wy * f if dz else -wx * wy * f
        if whole:
            value[n] = v
            gradient[n, 0] = a
            gradient[n, 1] = b
            gradient[n, 2] = c
