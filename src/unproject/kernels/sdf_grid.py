"""Distances of lattice points to a mesh from few candidates: what is closest to the corners of a coarse cell is nearly so within it."""

from __future__ import annotations

import numpy as np

from .closest_point import closest_in_block
from .jit import kernel
from .simd import bits, first_bit, least, load, splat

STEP = 4  # lattice points along the edge of a coarse cell


@kernel
def coarse_distance_range(begin, end, candidate, distance, apart, matrix, vertices, faces, squared, least_possible, face):
    """For all lattice points of the coarse cells [begin, end): the closest of the faces that are closest to the cell's eight corners.

    Args:
        candidate, distance: [X', Y', Z'] face closest to each coarse point, which is every STEP-th lattice point, and how far it is.
        apart: [8 STEP^3] distances of a cell's lattice points (z fastest) from its eight corners.
        matrix: [3, 4] world from lattice.
        squared, least_possible, face: [X, Y, Z] results: squared distance, a lower bound of the true distance, face.
    """
    dtype = vertices.dtype
    flat = splat(dtype.type((16 * np.finfo(dtype).eps) ** 2))
    block, corner_distance = np.empty(72, dtype), np.empty(8, dtype)
    size_x, size_y, size_z = squared.shape
    cells_y, cells_z = candidate.shape[1] - 1, candidate.shape[2] - 1
    for cell in range(begin, end):
        ci, cj, ck = cell // (cells_y * cells_z), cell // cells_z % cells_y, cell % cells_z
        for c in range(8):
            triangle = candidate[ci + (c & 1), cj + (c >> 1 & 1), ck + (c >> 2)]
            corner_distance[c] = distance[ci + (c & 1), cj + (c >> 1 & 1), ck + (c >> 2)]
            for corner in range(3):
                for axis in range(3):
                    block[24 * corner + 8 * axis + c] = vertices[faces[triangle, corner], axis]
        for i in range(ci * STEP, min((ci + 1) * STEP, size_x)):
            for j in range(cj * STEP, min((cj + 1) * STEP, size_y)):
                for k in range(ck * STEP, min((ck + 1) * STEP, size_z)):
                    x = dtype.type(matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3])
                    y = dtype.type(matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3])
                    z = dtype.type(matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3])
                    distances, _, _, _ = closest_in_block(block, 0, splat(x), splat(y), splat(z), flat)
                    nearest = least(distances)
                    squared[i, j, k] = nearest
                    place = ((i - ci * STEP) * STEP + j - cj * STEP) * STEP + k - ck * STEP
                    least_possible[i, j, k] = -least(load(apart, 8 * place) - load(corner_distance, 0))
                    which = first_bit(bits(distances == splat(nearest)))
                    face[i, j, k] = candidate[ci + (which & 1), cj + (which >> 1 & 1), ck + (which >> 2)]
