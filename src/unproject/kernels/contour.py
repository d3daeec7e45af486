"""Kernel: points on the outline of what a small image of faces shows, with normals, and how far one may look across it."""

import math

from .jit import kernel
from .track_terms import fill_point

REACH = 24  # pixels that are looked at across the outline
FAR = 1000.0  # the reach where nothing was found within REACH

# Binomial window over 5 pixels and its derivative; the window's blur makes a straight edge look like a logistic of this width.
SMOOTH = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SLOPE = (-1 / 8, -2 / 8, 0.0, 2 / 8, 1 / 8)
BLUR = 0.634


@kernel
def is_rim(face, i, j):
    """Whether a pixel shows the object and one of its four neighbours does not."""
    return face[i, j] >= 0 and (face[i - 1, j] < 0 or face[i + 1, j] < 0 or face[i, j - 1] < 0 or face[i, j + 1] < 0)


@kernel
def edge_at(face, i, j):
    """Unit normal (outward), and distance along it from the centre of a pixel to the outline, in [0, 1]."""
    height, width = face.shape
    cover, along_x, along_y = 0.0, 0.0, 0.0
    for a in range(5):
        y = min(max(i + a - 2, 0), height - 1)
        for b in range(5):
            if face[y, min(max(j + b - 2, 0), width - 1)] >= 0:
                cover += SMOOTH[a] * SMOOTH[b]
                along_x += SMOOTH[a] * SLOPE[b]
                along_y += SLOPE[a] * SMOOTH[b]
    size = max(math.sqrt(along_x * along_x + along_y * along_y), 1e-6)
    cover = min(max(cover, 0.01), 0.99)
    return -along_x / size, -along_y / size, min(max(BLUR * math.log(cover / (1 - cover)), 0.0), 1.0)


@kernel
def free_way(face, x, y, dx, dy, expected):
    """Pixels from (x, y) along (dx, dy) that show the object (`expected`) or do not; the first one counts in any case."""
    height, width = face.shape
    for t in range(1, REACH):
        u, v = math.floor(x + (t + 0.5) * dx), math.floor(y + (t + 0.5) * dy)
        if not (0 <= u < width and 0 <= v < height) or (face[v, u] >= 0) != expected:
            return float(t)
    return FAR


@kernel
def contour_once(begin, end, face, depth, inverse, pose, rows, number):
    """Rows [C, 7]: point of the object, normal (x, y), reach inward and outward; at most C of all, evenly in reading order.

    face, depth: [h, w] image; inverse: [3, 3] of its intrinsics; pose: [4, 4] camera_from_object; number: [1] gets how many rows there are.
    """
    height, width = face.shape
    total = 0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            total += is_rim(face, i, j)
    count = min(total, len(rows))
    number[0] = count
    if count == 0:
        return
    seen, n = 0, 0
    wanted = total // (2 * count)
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            if not is_rim(face, i, j):
                continue
            if seen == wanted:
                nx, ny, away = edge_at(face, i, j)
                x, y, z = j + 0.5 + away * nx, i + 0.5 + away * ny, depth[i, j]
                fill_point(rows[n], inverse, pose, x, y, z)
                rows[n, 3], rows[n, 4] = nx, ny
                rows[n, 5], rows[n, 6] = free_way(face, x, y, -nx, -ny, True), free_way(face, x, y, nx, ny, False)
                n += 1
                if n == count:
                    return
                wanted = (2 * n + 1) * total // (2 * count)
            seen += 1
