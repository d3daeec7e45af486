"""What is drawn where: vertices on the screen, faces cut at the near plane, and the faces of every band of rows.

Vertices come as homogeneous image coordinates (X, Y, z): the pixel is (X / z, Y / z), or (X, Y) of an orthographic camera.
"Nearness" is what is linear on the screen and grows towards the camera: 1 / z, or -z for an orthographic camera.
"""

import math

import numpy as np

from .jit import kernel
from .lane_math import round_down, round_up
from .simd import WIDTH, element, load, maximum, minimum, prefetch, select, set_element, splat, store

RUN = 32  # faces or pixels that go through the steps of a kernel together, eight at once: a column each of tables that stay in the cache
AHEAD = 8  # faces whose vertices are fetched early: in many meshes they lie anywhere


@kernel(fastmath=False, inline="llvm")
def lesser(a, b):
    """One machine instruction, unlike `min`; `b` where either is NaN."""
    return a if a < b else b


@kernel(fastmath=False, inline="llvm")
def greater(a, b):
    """One machine instruction, unlike `max`; `b` where either is NaN."""
    return a if a > b else b


@kernel(fastmath=False, inline="llvm")
def row_of_three(values, row):
    """Three numbers of a contiguous array [N, 3], without the tests and the stride that Numba's indexing has."""
    at = 3 * row
    return element(values, at), element(values, at + 1), element(values, at + 2)


@kernel(fastmath=False, inline="llvm")
def fetch_vertices(flat, faces, f, base):
    """Ask for the vertices of a face early."""
    i, j, k = row_of_three(faces, f)
    prefetch(flat, i + base)
    prefetch(flat, j + base)
    prefetch(flat, k + base)


@kernel(fastmath=False)
def flatten_range(begin, end, points, near, orthographic, flat):
    """Pixel and nearness [N, 3] of vertices; the nearness of what is not in front of the near plane is NaN (its faces get clipped)."""
    for v in range(begin, end):
        z = np.float64(points[v, 2])
        inverse = 1.0 if orthographic else 1.0 / z
        flat[v, 0] = points[v, 0] * inverse
        flat[v, 1] = points[v, 1] * inverse
        nearness = -z if orthographic else inverse
        flat[v, 2] = nearness if z >= near else np.nan


@kernel(fastmath=False)
def between(px, py, pz, qx, qy, qz, near, orthographic):
    """Pixel where the edge from p (in front) to q (not in front) meets the near plane."""
    s = (near - pz) / (qz - pz)
    inverse = 1.0 if orthographic else 1.0 / near
    return (px + s * (qx - px)) * inverse, (py + s * (qy - py)) * inverse


@kernel(fastmath=False)
def clip_face(points, i, j, k, near, orthographic, corners):
    """Write the part of a face in front of the near plane, pixels with nearness [4, 3] in the face's order; how many, 0, 3 or 4."""
    count = 0
    order = (i, j, k)
    nearest = -near if orthographic else 1.0 / near
    for e in range(3):
        p = order[e]
        q = order[(e + 1) % 3]
        px, py, pz = np.float64(points[p, 0]), np.float64(points[p, 1]), np.float64(points[p, 2])
        qx, qy, qz = np.float64(points[q, 0]), np.float64(points[q, 1]), np.float64(points[q, 2])
        if pz >= near:
            inverse = 1.0 if orthographic else 1.0 / pz
            corners[count, 0] = px * inverse
            corners[count, 1] = py * inverse
            corners[count, 2] = -pz if orthographic else inverse
            count += 1
        if pz >= near and qz < near:
            corners[count, 0], corners[count, 1] = between(px, py, pz, qx, qy, qz, near, orthographic)
            corners[count, 2] = nearest
            count += 1
        elif pz < near and qz >= near:
            corners[count, 0], corners[count, 1] = between(qx, qy, qz, px, py, pz, near, orthographic)
            corners[count, 2] = nearest
            count += 1
    return count if count >= 3 else 0


@kernel(fastmath=False, inline="llvm")
def pixel_range(low, high, size):
    """Pixels whose centres lie in [low, high]: the first, and one past the last, within [0, size]."""
    first = np.ceil(lesser(greater(low - 0.5, 0.0), size + 0.0))
    last = np.floor(lesser(greater(high - 0.5, -1.0), size - 1.0))
    return np.int64(first), np.int64(last) + 1


@kernel(fastmath=False, inline="llvm")
def pixel_lanes(low, high, size):
    """`pixel_range` for lanes, which stay float."""
    half, zero, one = splat(0.5), splat(0.0), splat(1.0)
    first = round_up(minimum(maximum(low - half, zero), size))
    return first, round_down(minimum(maximum(high - half, zero - one), size - one)) + one


@kernel(inline="llvm")
def put_vertex(values, row, column, table):
    """Write three numbers of a contiguous array [N, 3] below each other, into a column of a flat table of rows of RUN."""
    x, y, z = row_of_three(values, row)
    set_element(table, column, x)
    set_element(table, column + RUN, y)
    set_element(table, column + 2 * RUN, z)


@kernel(fastmath=False)
def find_rows(corners, count, size, farthest, cull, radius, bounds):
    """First row, and one past the last row, that faces may cover or lie within `radius` of; both 0 where there is none.

    Args:
        corners: nine rows of RUN, flat: pixel and nearness of three corners. bounds: two rows of RUN, flat, to be written.
    """
    height, width = splat(size[0] + 0.0), splat(size[1] + 0.0)
    zero, reach, deepest = splat(0.0), splat(radius), splat(farthest)
    for n in range(0, count, WIDTH):
        ax, ay, an = load(corners, n), load(corners, n + RUN), load(corners, n + 2 * RUN)
        bx, by, bn = load(corners, n + 3 * RUN), load(corners, n + 4 * RUN), load(corners, n + 5 * RUN)
        cx, cy, cn = load(corners, n + 6 * RUN), load(corners, n + 7 * RUN), load(corners, n + 8 * RUN)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        x_first, x_last = pixel_lanes(minimum(ax, minimum(bx, cx)) - reach, maximum(ax, maximum(bx, cx)) + reach, width)
        first, last = pixel_lanes(minimum(ay, minimum(by, cy)) - reach, maximum(ay, maximum(by, cy)) + reach, height)
        shown = (x_first < x_last) & (first < last) & ~(maximum(an, maximum(bn, cn)) < deepest)
        if cull:
            shown = shown & ~(area > zero)
        if radius <= 0.0:
            shown = shown & ((area > zero) | (area < zero))
        store(bounds, n, select(shown, first, zero))
        store(bounds, n + RUN, select(shown, last, zero))


@kernel(fastmath=False)
def clipped_rows(points, i, j, k, size, near, orthographic):
    """The same for one face that meets the near plane, with a radius of 0."""
    polygon = np.empty((4, 3))
    count = clip_face(points, i, j, k, near, orthographic, polygon)
    if count == 0:
        return 0, 0
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    for c in range(count):
        low_x, high_x = lesser(low_x, polygon[c, 0]), greater(high_x, polygon[c, 0])
        low_y, high_y = lesser(low_y, polygon[c, 1]), greater(high_y, polygon[c, 1])
    x_first, x_last = pixel_range(low_x, high_x, size[1])
    first, last = pixel_range(low_y, high_y, size[0])
    return (0, 0) if (x_first >= x_last) | (first >= last) else (first, last)


@kernel
def image_of(job, job_offsets):
    """Image of a job; jobs are the faces of all images in order."""
    low = 0
    high = len(job_offsets) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if job_offsets[middle] <= job:
            low = middle
        else:
            high = middle
    return low


@kernel
def count_rows(begin, end, points, flat, faces, images, job_offsets, size, planes, orthographic, cull, radius, shift, rows, counts):
    """Row range [J, 2] of every job, and how many jobs each band of each image gets from this slice.

    Args:
        radius: pixels around a face that it is drawn into. If positive, faces must be clipped already.
        images: [B, 2] first face and first vertex of each image.
        size: (height, width).
        planes: (near, nearness of the far plane).
        shift: a band has 2^shift rows; counts: [B * bands].
    """
    near, farthest = planes
    bands = ((size[0] - 1) >> shift) + 1
    corners, bounds, image_at = np.empty(9 * RUN), np.empty(2 * RUN), np.empty(RUN, np.int64)
    image = image_of(begin, job_offsets)
    for start in range(begin, end, RUN):
        count = lesser(RUN, end - start)
        for n in range(count):
            while start + n >= job_offsets[image + 1]:
                image += 1
            set_element(image_at, n, image)
            f, base = images[image, 0] + start + n - job_offsets[image], images[image, 1]
            fetch_vertices(flat, faces, lesser(f + AHEAD, len(faces) - 1), base)
            i, j, k = row_of_three(faces, f)
            put_vertex(flat, i + base, n, corners)
            put_vertex(flat, j + base, n + 3 * RUN, corners)
            put_vertex(flat, k + base, n + 6 * RUN, corners)
        find_rows(corners, count, size, farthest, cull, radius, bounds)
        for n in range(count):
            first, last, at = np.int64(element(bounds, n)), np.int64(element(bounds, n + RUN)), element(image_at, n)
            if math.isnan(element(corners, n + 2 * RUN) + element(corners, n + 5 * RUN) + element(corners, n + 8 * RUN)):
                i, j, k = row_of_three(faces, images[at, 0] + start + n - job_offsets[at])
                base = images[at, 1]
                first, last = (0, 0) if radius > 0.0 else clipped_rows(points, i + base, j + base, k + base, size, near, orthographic)
            set_element(rows, 2 * (start + n), first)
            set_element(rows, 2 * (start + n) + 1, last)
            if first < last:
                for b in range(first >> shift, ((last - 1) >> shift) + 1):
                    counts[at * bands + b] += 1


@kernel
def fill_bands(begin, end, rows, job_offsets, shift, bands, cursor, items):
    """List the jobs of every band in ascending order; `cursor` [B * bands] is where this slice's lists begin."""
    image = image_of(begin, job_offsets)
    for job in range(begin, end):
        while job >= job_offsets[image + 1]:
            image += 1
        first, last = rows[job, 0], rows[job, 1]
        if first < last:
            for b in range(first >> shift, ((last - 1) >> shift) + 1):
                slot = cursor[image * bands + b]
                items[slot] = job
                cursor[image * bands + b] = slot + 1


@kernel(inline="llvm")
def open_band(b, band, height, images, job_offsets, offsets):
    """Band b of all images: its image, its rows (first, one past the last), its jobs in the list of all bands (first, one past the last),
    and what to add to a job for its face and to a vertex index for its point. Without lists, an image is one band of all its jobs."""
    bands = (height + band - 1) // band
    image, row_begin = b // bands, b % bands * band
    first = offsets[b] if len(offsets) > 0 else job_offsets[image]
    last = offsets[b + 1] if len(offsets) > 0 else job_offsets[image + 1]
    return image, (row_begin, lesser(height, row_begin + band)), (first, last), images[image, 0] - job_offsets[image], images[image, 1]
