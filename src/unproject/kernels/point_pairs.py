"""Pairs of oriented points: how they lie to each other as one number, and votes for where a model lies in a scene.

A pair's number comes from the distance of its points and three angles, all of which no motion changes. What is left of the motion, when
the first points and their normals are brought together, is a turn about that normal: an angle for each pair, in the plane across it.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

ANGLES = 15  # bins of 12 degrees
TURNS = 30  # bins of the turn about the normal
EDGE = 0.25  # share of a bin's width, at either end, that also counts to the neighbouring bin


@kernel
def local_frame(normal, frame):
    """A rotation [3, 3] that brings a unit normal to the x axis."""
    x, y, z = float(normal[0]), float(normal[1]), float(normal[2])
    if x > -0.999:
        s = 1 / (1 + x)
        frame[0, 0], frame[0, 1], frame[0, 2] = x, y, z
        frame[1, 0], frame[1, 1], frame[1, 2] = -y, 1 - s * y * y, -s * y * z
        frame[2, 0], frame[2, 1], frame[2, 2] = -z, -s * y * z, 1 - s * z * z
    else:
        s = 1 / (1 - x)
        frame[0, 0], frame[0, 1], frame[0, 2] = x, y, z
        frame[1, 0], frame[1, 1], frame[1, 2] = y, s * y * y - 1, s * y * z
        frame[2, 0], frame[2, 1], frame[2, 2] = z, s * y * z, s * z * z - 1


@kernel
def pair_place(points, normals, i, j, frame, step, place):
    """Distance and angles of a pair in units of bins, and the turn; False for points in one place."""
    dx, dy, dz = float(points[j, 0]) - points[i, 0], float(points[j, 1]) - points[i, 1], float(points[j, 2]) - points[i, 2]
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    if not length > 1e-6 * step:
        return False
    per = ANGLES / np.pi
    nd = (normals[i, 0] * dx + normals[i, 1] * dy + normals[i, 2] * dz) / length
    md = (normals[j, 0] * dx + normals[j, 1] * dy + normals[j, 2] * dz) / length
    nm = float(normals[i, 0]) * normals[j, 0] + float(normals[i, 1]) * normals[j, 1] + float(normals[i, 2]) * normals[j, 2]
    place[0] = length / step
    place[1] = np.arccos(min(max(nd, -1.0), 1.0)) * per
    place[2] = np.arccos(min(max(md, -1.0), 1.0)) * per
    place[3] = np.arccos(min(max(nm, -1.0), 1.0)) * per
    y = frame[1, 0] * dx + frame[1, 1] * dy + frame[1, 2] * dz
    z = frame[2, 0] * dx + frame[2, 1] * dy + frame[2, 2] * dz
    place[4] = np.arctan2(z, y)
    return True


@kernel
def model_pairs_range(begin, end, points, normals, step, lengths, keys, turns):
    """Key (-1 for none) and turn of all pairs whose first point is in [begin, end)."""
    frame, place = np.empty((3, 3)), np.empty(5)
    for i in range(begin, end):
        local_frame(normals[i], frame)
        for j in range(len(points)):
            keys[i, j] = -1
            turns[i, j] = 0
            if i == j or not pair_place(points, normals, i, j, frame, step, place):
                continue
            length = int(place[0])
            if length < lengths:
                a, b, c = min(int(place[1]), ANGLES - 1), min(int(place[2]), ANGLES - 1), min(int(place[3]), ANGLES - 1)
                keys[i, j] = ((length * ANGLES + a) * ANGLES + b) * ANGLES + c
                turns[i, j] = place[4]


@kernel
def bins_near(value, count, bins):
    """The bin of a value, and the neighbour that it is close to; returns how many."""
    first = int(value)
    first = min(max(first, 0), count - 1)
    bins[0] = first
    rest = value - first
    if rest < EDGE and first > 0:
        bins[1] = first - 1
        return 2
    if rest > 1 - EDGE and first < count - 1:
        bins[1] = first + 1
        return 2
    return 1


@kernel
def cast_votes(key, turn, starts, firsts, model_turns, weight, votes):
    """Vote for each model pair of a key, at the turn that brings it to the scene's pair, shared by the two bins around it."""
    for entry in range(starts[key], starts[key + 1]):
        at = (turn - model_turns[entry]) * (TURNS / (2 * np.pi)) + 2 * TURNS
        low = int(at)
        rest = at - low
        votes[firsts[entry], low % TURNS] += weight * (1 - rest)
        votes[firsts[entry], (low + 1) % TURNS] += weight * rest


@kernel
def take_peak(votes, peak):
    """The bin with most votes, with its turn between bins; it and those beside it are emptied."""
    best, row, column = votes[0, 0], 0, 0
    for i in range(votes.shape[0]):
        for j in range(TURNS):
            if votes[i, j] > best:
                best, row, column = votes[i, j], i, j
    before, after = votes[row, (column + TURNS - 1) % TURNS], votes[row, (column + 1) % TURNS]
    total = before + best + after
    peak[0] = row
    peak[1] = (column + (after - before) / max(total, 1e-9)) * (2 * np.pi / TURNS)
    peak[2] = total
    for k in range(-1, 2):
        votes[row, (column + k + TURNS) % TURNS] = 0


@kernel
def vote_range(
    begin, end, points, normals, references, offsets, neighbors, step, lengths, starts, firsts, model_turns, weights, model_count, peaks
):
    """For scene points references[begin:end]: the best peaks [P, 3] of model point, turn and votes, from pairs with their neighbours."""
    frame, place = np.empty((3, 3)), np.empty(5)
    votes = np.empty((model_count, TURNS), np.float32)
    a, b, c, d = np.empty(2, np.int64), np.empty(2, np.int64), np.empty(2, np.int64), np.empty(2, np.int64)
    for item in range(begin, end):
        i = references[item]
        local_frame(normals[i], frame)
        votes[:, :] = 0
        for entry in range(offsets[item], offsets[item + 1]):
            j = neighbors[entry]
            if i == j or not pair_place(points, normals, i, j, frame, step, place) or place[0] >= lengths:
                continue
            na, nb = bins_near(place[0], lengths, a), bins_near(place[1], ANGLES, b)
            nc, nd = bins_near(place[2], ANGLES, c), bins_near(place[3], ANGLES, d)
            for p in range(na):
                for q in range(nb):
                    for r in range(nc):
                        for s in range(nd):
                            key = ((a[p] * ANGLES + b[q]) * ANGLES + c[r]) * ANGLES + d[s]
                            cast_votes(key, place[4], starts, firsts, model_turns, weights[key], votes)
        for k in range(peaks.shape[1]):
            take_peak(votes, peaks[item, k])
