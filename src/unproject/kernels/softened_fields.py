"""Kernels: the fields of many softened charges and dipoles at their own places, by a tree over equal blocks of points.

Blocks of `size` successive points are the leaves of a complete binary tree, a heap: node 0 is the root, 2 i + 1 and 2 i + 2 are the
children of node i. What acts on the points of a leaf is listed once: nodes far enough to act as one (their index), and the other leaves,
point by point (-1 - their number). 1 / r becomes (r^2 + softening^2)^-1/2, without the factor 1 / (4 pi).
Source: Barnes and Hut 1986.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

DEPTH = 64


@kernel
def block_sources(leaf, leaf_count, centers, radii, opening, sources, at):
    """Write the sources of a leaf from sources[at] on, unless `at` is negative; returns how many there are."""
    stack = np.empty(DEPTH, np.int64)
    stack[0] = 0
    top, count, first_leaf = 1, 0, leaf_count - 1
    own = first_leaf + leaf
    x, y, z = centers[own, 0], centers[own, 1], centers[own, 2]
    while top > 0:
        top -= 1
        node = stack[top]
        dx, dy, dz = centers[node, 0] - x, centers[node, 1] - y, centers[node, 2] - z
        far = (np.sqrt(dx * dx + dy * dy + dz * dz) - radii[own]) * opening > radii[node]
        if far or node >= first_leaf:
            if at >= 0:
                sources[at + count] = node if far else first_leaf - node - 1
            count += 1
        else:
            stack[top], stack[top + 1] = 2 * node + 2, 2 * node + 1
            top += 2
    return count


@kernel
def count_sources(begin, end, leaf_count, centers, radii, opening, counts):
    for leaf in range(begin, end):
        counts[leaf] = block_sources(leaf, leaf_count, centers, radii, opening, counts, -1)


@kernel
def list_sources(begin, end, leaf_count, centers, radii, opening, starts, sources):
    for leaf in range(begin, end):
        block_sources(leaf, leaf_count, centers, radii, opening, sources, starts[leaf])


@kernel
def gather_sources(leaf, size, starts, sources, points, values, centers, sums, places, strengths):
    """Copy places [3, S] and strengths [C, S] of what acts on a leaf side by side; returns S."""
    count = 0
    for e in range(starts[leaf], starts[leaf + 1]):
        node = sources[e]
        if node >= 0:
            for k in range(3):
                places[k, count] = centers[node, k]
            for k in range(values.shape[1]):
                strengths[k, count] = sums[node, k]
            count += 1
            continue
        first = (-1 - node) * size
        for k in range(3):
            for i in range(size):
                places[k, count + i] = points[first + i, k]
        for k in range(values.shape[1]):
            for i in range(size):
                strengths[k, count + i] = values[first + i, k]
        count += size
    return count


@kernel
def dipole_potential_range(begin, end, size, capacity, softening, starts, sources, points, values, centers, sums, potential):
    """potential[p] = sum of m_s . (p_s - p) / r^3, for leaves [begin, end)."""
    places, moments = np.empty((3, capacity), points.dtype), np.empty((3, capacity), points.dtype)
    one, soft = points.dtype.type(1), points.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, points, values, centers, sums, places, moments)
        for p in range(leaf * size, leaf * size + size):
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            total = points.dtype.type(0)
            for s in range(count):
                dx, dy, dz = places[0, s] - x, places[1, s] - y, places[2, s] - z
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                total += q * np.sqrt(q) * (moments[0, s] * dx + moments[1, s] * dy + moments[2, s] * dz)
            potential[p] = total


@kernel
def charge_field_range(begin, end, size, capacity, softening, starts, sources, points, values, centers, sums, field):
    """field[p] = sum of c_s (p - p_s) / r^3, for leaves [begin, end): the transpose of dipole_potential_range."""
    places, charges = np.empty((3, capacity), points.dtype), np.empty((1, capacity), points.dtype)
    one, soft = points.dtype.type(1), points.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, points, values, centers, sums, places, charges)
        for p in range(leaf * size, leaf * size + size):
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            u = v = w = points.dtype.type(0)
            for s in range(count):
                dx, dy, dz = x - places[0, s], y - places[1, s], z - places[2, s]
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                strength = q * np.sqrt(q) * charges[0, s]
                u += strength * dx
                v += strength * dy
                w += strength * dz
            field[p, 0], field[p, 1], field[p, 2] = u, v, w


@kernel
def dipole_field_range(begin, end, size, capacity, softening, starts, sources, points, values, centers, sums, field):
    """field[p] = the negative gradient of the dipoles' potential, for leaves [begin, end)."""
    places, moments = np.empty((3, capacity), points.dtype), np.empty((3, capacity), points.dtype)
    one, three, soft = points.dtype.type(1), points.dtype.type(3), points.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, points, values, centers, sums, places, moments)
        for p in range(leaf * size, leaf * size + size):
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            u = v = w = points.dtype.type(0)
            for s in range(count):
                dx, dy, dz = places[0, s] - x, places[1, s] - y, places[2, s] - z
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                strength = q * np.sqrt(q)
                along = three * q * (moments[0, s] * dx + moments[1, s] * dy + moments[2, s] * dz)
                u += strength * (moments[0, s] - along * dx)
                v += strength * (moments[1, s] - along * dy)
                w += strength * (moments[2, s] - along * dz)
            field[p, 0], field[p, 1], field[p, 2] = u, v, w
