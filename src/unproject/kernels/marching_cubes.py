"""Marching cubes: one cell stage under dense grids, lists of cells and blocks of 8^3. Which grid edges are crossed, how they join."""

from __future__ import annotations

import numpy as np

from .jit import kernel

BAD = 16  # marks a corner without a finite value, above the four sign bits of a column


@kernel(fastmath=False)
def cell_entry(case, corner, iso, first_entry, ambiguous):
    """The table entry of a cell. Faces with alternating signs are decided by the saddle of the bilinear interpolant (asymptotic decider).

    IEEE order and double precision, so that both cells of a face decide the same.
    """
    decisions = 0
    for k in range(6):
        if ambiguous[case, k, 0] < 0:
            break
        inside = (np.float64(corner[ambiguous[case, k, 0]]) - iso) * (np.float64(corner[ambiguous[case, k, 1]]) - iso)
        outside = (np.float64(corner[ambiguous[case, k, 2]]) - iso) * (np.float64(corner[ambiguous[case, k, 3]]) - iso)
        if inside > outside:
            decisions |= 1 << k
    return first_entry[case] + decisions


# ---- dense grids -----------------------------------------------------------------------------------------------------------------


@kernel
def classify_plane(plane, iso, sign):
    """1 inside, 0 outside, BAD not finite."""
    for i in range(plane.shape[0]):
        value = plane[i]
        inside = np.uint8(1) if value < iso else np.uint8(0)
        sign[i] = inside if abs(value) < np.inf else np.uint8(BAD)


@kernel
def row_columns(lower, upper, y, row_count, depth, column):
    """The four corners of each column of a cell row, one bit each (BAD four bits higher). Returns whether a surface may pass."""
    y1 = min(y + 1, row_count - 1)
    a, b = y * depth, y1 * depth
    every, some = np.uint8(255), np.uint8(0)
    for z in range(depth):
        c = lower[a + z] | (upper[a + z] << 1) | (lower[b + z] << 2) | (upper[b + z] << 3)
        column[z] = c
        every &= c
        some |= c
    return (some & 15) != 0 and (every & 15) != 15


@kernel
def owned_edges(first, second):
    """Which of the edges from a cell's corner 0 along x, y, z are crossed and finite, as bits. Arguments: this column and the next in z."""
    own, own_bad = first & 1, (first >> 4) & 1
    bits = 0
    if not own_bad:
        if ((first >> 1) & 1) != own and not (first >> 5) & 1:
            bits |= 1
        if ((first >> 2) & 1) != own and not (first >> 6) & 1:
            bits |= 2
        if (second & 1) != own and not (second >> 4) & 1:
            bits |= 4
    return bits


@kernel
def load_corners(values, x, y, z, corner):
    for c in range(8):
        corner[c] = values[x + (c & 1), y + (c >> 1 & 1), z + (c >> 2 & 1)]


@kernel
def dense_count_range(begin, end, values, iso, first_entry, ambiguous, offset, vertex_count, face_count):
    """Vertices that the grid points of each layer own, and faces of each layer of cells."""
    size_x, size_y, size_z = values.shape
    corner = np.empty(8, values.dtype)
    column = np.empty(size_z, np.uint8)
    lower, upper = np.empty(size_y * size_z, np.uint8), np.empty(size_y * size_z, np.uint8)
    classify_plane(values[begin].reshape(-1), iso, upper)
    for x in range(begin, end):
        lower, upper = upper, lower
        classify_plane(values[min(x + 1, size_x - 1)].reshape(-1), iso, upper)
        vertices = faces = 0
        for y in range(size_y):
            if not row_columns(lower, upper, y, size_y, size_z, column):
                continue
            whole = x + 1 < size_x and y + 1 < size_y
            for z in range(size_z):
                first = column[z]
                second = column[min(z + 1, size_z - 1)]
                if first == second and (first == 0 or first == 15):
                    continue
                bits = owned_edges(first, second)
                vertices += (bits & 1) + (bits >> 1 & 1) + (bits >> 2)
                if whole and z + 1 < size_z and (first | second) < BAD:
                    case = np.int64(first) | np.int64(second) << 4
                    if ambiguous[case, 0, 0] >= 0:
                        load_corners(values, x, y, z, corner)
                    entry = cell_entry(case, corner, iso, first_entry, ambiguous)
                    faces += offset[entry + 1] - offset[entry]
        vertex_count[x] = vertices
        face_count[x] = faces


@kernel
def number_plane(lower, upper, column, x, shape, start, ids, edges, write):
    """Number the crossed edges that the points of one plane own, from `start`; write their end points where asked."""
    _, size_y, size_z = shape
    number = start
    for y in range(size_y):
        if not row_columns(lower, upper, y, size_y, size_z, column):
            continue
        for z in range(size_z):
            first = column[z]
            second = column[min(z + 1, size_z - 1)]
            if first == second and (first == 0 or first == 15):
                continue
            bits = owned_edges(first, second)
            if bits == 0:
                continue
            point = (x * size_y + y) * size_z + z
            for axis in range(3):
                if bits >> axis & 1:
                    ids[(y * size_z + z) * 3 + axis] = number
                    if write:
                        edges[number, 0] = point
                        edges[number, 1] = point + (size_y * size_z if axis == 0 else size_z if axis == 1 else 1)
                    number += 1


@kernel
def dense_emit_range(begin, end, values, iso, first_entry, ambiguous, offset, tables, corners, vertex_start, face_start, edges, faces):
    """Write the crossed edges of the points in layers [begin, end) and the faces of the cells in them."""
    shape = values.shape
    size_x, size_y, size_z = shape
    plane = size_y * size_z
    corner = np.empty(8, values.dtype)
    column = np.empty(size_z, np.uint8)
    sign = np.empty((3, plane), np.uint8)
    ids = np.empty((2, plane * 3), np.int64)
    classify_plane(values[begin].reshape(-1), iso, sign[begin % 3])
    classify_plane(values[min(begin + 1, size_x - 1)].reshape(-1), iso, sign[(begin + 1) % 3])
    number_plane(sign[begin % 3], sign[(begin + 1) % 3], column, begin, shape, vertex_start[begin], ids[begin % 2], edges, True)
    for x in range(begin, min(end, size_x - 1)):
        lower, upper = sign[x % 3], sign[(x + 1) % 3]
        classify_plane(values[min(x + 2, size_x - 1)].reshape(-1), iso, sign[(x + 2) % 3])
        number_plane(upper, sign[(x + 2) % 3], column, x + 1, shape, vertex_start[x + 1], ids[(x + 1) % 2], edges, x + 1 < end)
        face = face_start[x]
        for y in range(size_y - 1):
            if not row_columns(lower, upper, y, size_y, size_z, column):
                continue
            for z in range(size_z - 1):
                first, second = column[z], column[z + 1]
                if (first == second and (first == 0 or first == 15)) or (first | second) >= BAD:
                    continue
                case = np.int64(first) | np.int64(second) << 4
                if ambiguous[case, 0, 0] >= 0:
                    load_corners(values, x, y, z, corner)
                entry = cell_entry(case, corner, iso, first_entry, ambiguous)
                for triangle in range(offset[entry], offset[entry + 1]):
                    for k in range(3):
                        edge = tables[triangle, k]
                        low = corners[edge, 0]
                        point = (y + (low >> 1 & 1)) * size_z + z + (low >> 2 & 1)
                        faces[face, k] = ids[(x + (low & 1)) % 2, point * 3 + (edge >> 2)]
                    face += 1


@kernel
def dense_cells_range(begin, end, values, iso, first_entry, ambiguous, start, points, entries, write):
    """The cells of each layer that the surface passes through: first how many (in `start`), then their low points and table entries."""
    size_x, size_y, size_z = values.shape
    corner = np.empty(8, values.dtype)
    column = np.empty(size_z, np.uint8)
    lower, upper = np.empty(size_y * size_z, np.uint8), np.empty(size_y * size_z, np.uint8)
    for x in range(begin, min(end, size_x - 1)):
        classify_plane(values[x].reshape(-1), iso, lower)
        classify_plane(values[x + 1].reshape(-1), iso, upper)
        number = start[x] if write else 0
        for y in range(size_y - 1):
            if not row_columns(lower, upper, y, size_y, size_z, column):
                continue
            for z in range(size_z - 1):
                first, second = column[z], column[z + 1]
                if (first == second and (first == 0 or first == 15)) or (first | second) >= BAD:
                    continue
                if write:
                    case = np.int64(first) | np.int64(second) << 4
                    if ambiguous[case, 0, 0] >= 0:
                        load_corners(values, x, y, z, corner)
                    points[number] = (x * size_y + y) * size_z + z
                    entries[number] = cell_entry(case, corner, iso, first_entry, ambiguous)
                number += 1
        if not write:
            start[x] = number


# ---- lists of cells --------------------------------------------------------------------------------------------------------------


@kernel
def corner_case(corner, iso):
    """The sign pattern of eight corner values; -1 where one is not finite."""
    case = 0
    for c in range(8):
        if not np.isfinite(corner[c]):
            return -1
        if corner[c] < iso:
            case |= 1 << c
    return case


@kernel
def cells_mark_range(begin, end, values, cells, iso, first_entry, ambiguous, offset, tables, corners, entries, mark):
    """The table entry of each cell (-1 without a surface), and a mark on each crossed edge: three bytes a point, one an axis."""
    corner = np.empty(8, values.dtype)
    for cell in range(begin, end):
        for c in range(8):
            corner[c] = values[cells[cell, c]]
        case = corner_case(corner, iso)
        if case <= 0 or case == 255:
            entries[cell] = -1
            continue
        entry = cell_entry(case, corner, iso, first_entry, ambiguous)
        entries[cell] = entry
        for edge in range(12):
            low = corners[edge, 0]
            if (case >> low ^ case >> corners[edge, 1]) & 1:
                mark[cells[cell, low] * 3 + (edge >> 2)] = 1


@kernel
def group_count_range(begin, end, mark, count):
    """How many of each eight marks are set."""
    for group in range(begin, end):
        total = 0
        for m in range(group * 8, min(group * 8 + 8, mark.shape[0])):
            total += mark[m]
        count[group] = total


@kernel
def mark_number(m, mark, group_start):
    """The number of a set mark among all set ones."""
    number = group_start[m >> 3]
    for before in range(m & ~7, m):
        number += mark[before]
    return number


@kernel
def cells_emit_range(begin, end, cells, entries, offset, tables, corners, mark, group_start, face_start, edges, faces):
    """Write the crossed edges and the faces of cells. Cells that share an edge write the same end points."""
    for cell in range(begin, end):
        entry = entries[cell]
        if entry < 0:
            continue
        face = face_start[cell]
        for triangle in range(offset[entry], offset[entry + 1]):
            for k in range(3):
                edge = tables[triangle, k]
                low = cells[cell, corners[edge, 0]]
                number = mark_number(low * 3 + (edge >> 2), mark, group_start)
                edges[number, 0] = low
                edges[number, 1] = cells[cell, corners[edge, 1]]
                faces[face, k] = number
            face += 1


# ---- blocks of 8^3 ---------------------------------------------------------------------------------------------------------------


@kernel
def block_point(block, neighbors, i, j, k):
    """Index of a lattice point of a block, whose coordinates may be 8 (then it is in the next block); -1 where there is none."""
    owner = neighbors[block, (i >> 3) | (j >> 3) << 1 | (k >> 3) << 2]
    return np.int64(-1) if owner < 0 else np.int64(owner) * 512 + (i & 7) * 64 + (j & 7) * 8 + (k & 7)


@kernel
def gather_block(block, values, neighbors, padded):
    """The 9^3 values at the corners of a block's cells, NaN where there is no block. Returns whether the surface may pass."""
    for i in range(9):
        for j in range(9):
            for k in range(9):
                if i < 8 and j < 8 and k < 8:
                    padded[i, j, k] = values[block * 512 + i * 64 + j * 8 + k]
                else:
                    point = block_point(block, neighbors, i, j, k)
                    padded[i, j, k] = values[point] if point >= 0 else np.nan


@kernel
def blocks_mark_range(begin, end, values, neighbors, iso, first_entry, ambiguous, offset, tables, corners, face_count, mark):
    """Faces of each block, and marks on crossed edges as in `cells_mark_range`."""
    padded = np.empty((9, 9, 9), values.dtype)
    corner = np.empty(8, values.dtype)
    for block in range(begin, end):
        gather_block(block, values, neighbors, padded)
        faces = 0
        for i in range(8):
            for j in range(8):
                for k in range(8):
                    load_corners(padded, i, j, k, corner)
                    case = corner_case(corner, iso)
                    if case <= 0 or case == 255:
                        continue
                    entry = cell_entry(case, corner, iso, first_entry, ambiguous)
                    faces += offset[entry + 1] - offset[entry]
                    for edge in range(12):
                        low = corners[edge, 0]
                        if (case >> low ^ case >> corners[edge, 1]) & 1:
                            point = block_point(block, neighbors, i + (low & 1), j + (low >> 1 & 1), k + (low >> 2 & 1))
                            mark[point * 3 + (edge >> 2)] = 1
        face_count[block] = faces


@kernel
def blocks_emit_range(
    begin, end, values, neighbors, iso, first_entry, ambiguous, offset, tables, corners, mark, group_start, face_start, edges, faces
):
    """Write the crossed edges and the faces of blocks."""
    padded = np.empty((9, 9, 9), values.dtype)
    corner = np.empty(8, values.dtype)
    for block in range(begin, end):
        face = face_start[block]
        if face == face_start[block + 1]:
            continue
        gather_block(block, values, neighbors, padded)
        for i in range(8):
            for j in range(8):
                for k in range(8):
                    load_corners(padded, i, j, k, corner)
                    case = corner_case(corner, iso)
                    if case <= 0 or case == 255:
                        continue
                    entry = cell_entry(case, corner, iso, first_entry, ambiguous)
                    for triangle in range(offset[entry], offset[entry + 1]):
                        for corner_of_face in range(3):
                            edge = tables[triangle, corner_of_face]
                            low, high = corners[edge, 0], corners[edge, 1]
                            point = block_point(block, neighbors, i + (low & 1), j + (low >> 1 & 1), k + (low >> 2 & 1))
                            number = mark_number(point * 3 + (edge >> 2), mark, group_start)
                            edges[number, 0] = point
                            edges[number, 1] = block_point(block, neighbors, i + (high & 1), j + (high >> 1 & 1), k + (high >> 2 & 1))
                            faces[face, corner_of_face] = number
                        face += 1
