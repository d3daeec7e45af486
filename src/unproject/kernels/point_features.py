"""Histograms of how the normals around a point turn: what a place on a surface looks like, wherever the shape lies."""

from __future__ import annotations

import numpy as np

from .jit import kernel

BINS = 11  # of each of the three angles


@kernel
def bin_of(value, low, high):
    return min(max(int((value - low) / (high - low) * BINS), 0), BINS - 1)


@kernel
def histogram_range(begin, end, points, normals, query, offsets, index, signed, histograms):
    """Of points query[begin:end] with neighbours index[offsets[i] : offsets[i + 1]]: shares of three angles in 3 x BINS bins.

    Unless `signed`, each neighbour's normal is turned to the side of the point's own.
    """
    for item in range(begin, end):
        i = query[item]
        nx, ny, nz = float(normals[i, 0]), float(normals[i, 1]), float(normals[i, 2])
        for place in range(3 * BINS):
            histograms[item, place] = 0
        count = 0
        for entry in range(offsets[item], offsets[item + 1]):
            j = index[entry]
            dx, dy, dz = float(points[j, 0]) - points[i, 0], float(points[j, 1]) - points[i, 1], float(points[j, 2]) - points[i, 2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            if not length > 0:
                continue
            dx, dy, dz = dx / length, dy / length, dz / length
            mx, my, mz = float(normals[j, 0]), float(normals[j, 1]), float(normals[j, 2])
            if not signed and nx * mx + ny * my + nz * mz < 0:
                mx, my, mz = -mx, -my, -mz
            phi = nx * dx + ny * dy + nz * dz
            vx, vy, vz = ny * dz - nz * dy, nz * dx - nx * dz, nx * dy - ny * dx
            side = np.sqrt(vx * vx + vy * vy + vz * vz)
            if not side > 1e-6:
                continue
            vx, vy, vz = vx / side, vy / side, vz / side
            wx, wy, wz = ny * vz - nz * vy, nz * vx - nx * vz, nx * vy - ny * vx
            alpha = vx * mx + vy * my + vz * mz
            theta = np.arctan2(wx * mx + wy * my + wz * mz, nx * mx + ny * my + nz * mz)
            histograms[item, bin_of(alpha, -1.0, 1.0)] += 1
            histograms[item, BINS + bin_of(phi, -1.0, 1.0)] += 1
            histograms[item, 2 * BINS + bin_of(theta, -np.pi, np.pi)] += 1
            count += 1
        if count > 0:
            for place in range(3 * BINS):
                histograms[item, place] /= count
