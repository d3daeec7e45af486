"""Kernels: the fields of many softened charges and dipoles at their own places, by a tree over equal blocks of points.

Blocks of `size` successive points are the leaves of a complete binary tree, a heap: node 0 is the root, 2 i + 1 and 2 i + 2 are the
children of node i. What acts on the points of a leaf is listed once: nodes far enough to act as one (their index), and the other leaves,
point by point (-1 - their number). The nodes' rows come first in `places` and `strengths`, then those of the points. 1 / r becomes
(r^2 + softening^2)^-1/2, without the factor 1 / (4 pi).
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
def gather_sources(leaf, size, starts, sources, places, strengths, near, acting):
    """Copy places [3, S] and strengths [C, S] of what acts on a leaf to `near` and `acting`, side by side; returns S."""
    count, first_point = 0, 2 * len(starts) - 3
    for e in range(starts[leaf], starts[leaf + 1]):
        node = sources[e]
        row, rows = (node, 1) if node >= 0 else (first_point + (-1 - node) * size, size)
        for k in range(3):
            for i in range(rows):
                near[k, count + i] = places[row + i, k]
        for k in range(strengths.shape[1]):
            for i in range(rows):
                acting[k, count + i] = strengths[row + i, k]
        count += rows
    return count


@kernel
def dipole_potential_range(begin, end, size, capacity, softening, starts, sources, places, strengths, potential):
    """potential[p] = sum of m_s . (p_s - p) / r^3, for leaves [begin, end)."""
    near, moments = np.empty((3, capacity), places.dtype), np.empty((3, capacity), places.dtype)
    one, soft = places.dtype.type(1), places.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, places, strengths, near, moments)
        for p in range(leaf * size, leaf * size + size):
            row = 2 * len(starts) - 3 + p
            x, y, z = places[row, 0], places[row, 1], places[row, 2]
            total = places.dtype.type(0)
            for s in range(count):
                dx, dy, dz = near[0, s] - x, near[1, s] - y, near[2, s] - z
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                total += q * np.sqrt(q) * (moments[0, s] * dx + moments[1, s] * dy + moments[2, s] * dz)
            potential[p] = total


@kernel
def charge_field_range(begin, end, size, capacity, softening, starts, sources, places, strengths, field):
    """field[p] = sum of c_s (p - p_s) / r^3, for leaves [begin, end): the transpose of dipole_potential_range."""
    near, charges = np.empty((3, capacity), places.dtype), np.empty((1, capacity), places.dtype)
    one, soft = places.dtype.type(1), places.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, places, strengths, near, charges)
        for p in range(leaf * size, leaf * size + size):
            row = 2 * len(starts) - 3 + p
            x, y, z = places[row, 0], places[row, 1], places[row, 2]
            u = v = w = places.dtype.type(0)
            for s in range(count):
                dx, dy, dz = x - near[0, s], y - near[1, s], z - near[2, s]
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                strength = q * np.sqrt(q) * charges[0, s]
                u += strength * dx
                v += strength * dy
                w += strength * dz
            field[p, 0], field[p, 1], field[p, 2] = u, v, w


@kernel
def dipole_field_range(begin, end, size, capacity, softening, starts, sources, places, strengths, field):
    """field[p] = the negative gradient of the dipoles' potential, for leaves [begin, end)."""
    near, moments = np.empty((3, capacity), places.dtype), np.empty((3, capacity), places.dtype)
    one, three, soft = places.dtype.type(1), places.dtype.type(3), places.dtype.type(softening * softening)
    for leaf in range(begin, end):
        count = gather_sources(leaf, size, starts, sources, places, strengths, near, moments)
        for p in range(leaf * size, leaf * size + size):
            row = 2 * len(starts) - 3 + p
            x, y, z = places[row, 0], places[row, 1], places[row, 2]
            u = v = w = places.dtype.type(0)
            for s in range(count):
                dx, dy, dz = near[0, s] - x, near[1, s] - y, near[2, s] - z
                q = one / (dx * dx + dy * dy + dz * dz + soft)
                strength = q * np.sqrt(q)
                along = three * q * (moments[0, s] * dx + moments[1, s] * dy + moments[2, s] * dz)
                u += strength * (moments[0, s] - along * dx)
                v += strength * (moments[1, s] - along * dy)
                w += strength * (moments[2, s] - along * dz)
            field[p, 0], field[p, 1], field[p, 2] = u, v, w
