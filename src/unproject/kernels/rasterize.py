"""Hard rasterization: which face is nearest at every pixel centre, and the way back from barycentrics and depth to vertices.

Coverage is computed in float64 and in exact IEEE order for every input type. A shared edge has one equation, evaluated from its
lexicographically lower end, so that the two faces of an edge get exactly opposite values: no cracks, no pixel twice (the top-left rule).

Vertices come as homogeneous image coordinates (X, Y, z): the pixel is (X / z, Y / z), or (X, Y) of an orthographic camera.
"Nearness" is what is linear on the screen and grows towards the camera: 1 / z, or -z for an orthographic camera.
"""

import math

import numpy as np

from .jit import kernel
from .simd import WIDTH, load, maximum, minimum, select, splat, store

TINY = 1e-300


@kernel(fastmath=False, inline="llvm")
def lesser(a, b):
    """One machine instruction, unlike `min`; `b` where either is NaN."""
    return a if a < b else b


@kernel(fastmath=False, inline="llvm")
def greater(a, b):
    """One machine instruction, unlike `max`; `b` where either is NaN."""
    return a if a > b else b


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
def face_rows(points, flat, i, j, k, height, width, near, farthest, orthographic, cull, radius):
    """First row and one past the last row that a face may cover or lie within `radius` of; equal where there is none."""
    ax, ay, an = flat[i, 0], flat[i, 1], flat[i, 2]
    bx, by, bn = flat[j, 0], flat[j, 1], flat[j, 2]
    cx, cy, cn = flat[k, 0], flat[k, 1], flat[k, 2]
    if math.isnan(an + bn + cn):
        corners = np.empty((4, 3))
        count = clip_face(points, i, j, k, near, orthographic, corners)
        if count == 0 or radius > 0.0:
            return 0, 0
        low_x = low_y = np.inf
        high_x = high_y = -np.inf
        for c in range(count):
            low_x, high_x = min(low_x, corners[c, 0]), max(high_x, corners[c, 0])
            low_y, high_y = min(low_y, corners[c, 1]), max(high_y, corners[c, 1])
        hidden = False
    else:
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        hidden = (greater(an, greater(bn, cn)) < farthest) | (cull & (area > 0.0)) | (not (abs(area) > 0.0 or radius > 0.0))
        low_x, high_x = lesser(ax, lesser(bx, cx)), greater(ax, greater(bx, cx))
        low_y, high_y = lesser(ay, lesser(by, cy)), greater(ay, greater(by, cy))
    x_first, x_last = pixel_range(low_x - radius, high_x + radius, width)
    first, last = pixel_range(low_y - radius, high_y + radius, height)
    nothing = hidden | (x_first >= x_last) | (first >= last)
    return (0, 0) if nothing else (first, last)


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
    height, width = size
    near, farthest = planes
    bands = ((height - 1) >> shift) + 1
    image = image_of(begin, job_offsets)
    for job in range(begin, end):
        while job >= job_offsets[image + 1]:
            image += 1
        f = images[image, 0] + job - job_offsets[image]
        base = images[image, 1]
        i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
        first, last = face_rows(points, flat, i, j, k, height, width, near, farthest, orthographic, cull, radius)
        rows[job, 0] = first
        rows[job, 1] = last
        if first < last:
            for b in range(first >> shift, ((last - 1) >> shift) + 1):
                counts[image * bands + b] += 1


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


@kernel(fastmath=False, inline="llvm")
def edge_equation(ax, ay, bx, by, sign):
    """Edge a to b as (origin x, origin y, run x, run y, threshold): inside where `run_x (y - oy) - run_y (x - ox) >= threshold`."""
    forward = (ax < bx) | ((ax == bx) & (ay < by))
    ox = ax if forward else bx
    oy = ay if forward else by
    threshold = 0.0 if forward == (sign > 0.0) else TINY
    return ox, oy, sign * (bx - ax), sign * (by - ay), threshold


@kernel(fastmath=False, inline="llvm")
def draw(corners, c, f, centers, row_begin, row_end, width, pitch, nearness, face, behind, behind_face, peel):
    """Draw one triangle into a band; the nearest face wins, of equally near ones the lower.

    Args:
        corners: pixel and nearness of a polygon, of which corners 0, c - 1 and c are drawn. f: what to write into `face`.
        nearness, face: [rows * pitch] of the band, float64. behind, behind_face: what it must lie behind of, if `peel`.
    """
    ax, ay, an = corners[0, 0], corners[0, 1], corners[0, 2]
    bx, by, bn = corners[c - 1, 0], corners[c - 1, 1], corners[c - 1, 2]
    cx, cy, cn = corners[c, 0], corners[c, 1], corners[c, 2]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if not abs(area) > 0.0:
        return
    first_row, last_row = pixel_range(lesser(ay, lesser(by, cy)), greater(ay, greater(by, cy)), row_end)
    x_begin, x_end = pixel_range(lesser(ax, lesser(bx, cx)), greater(ax, greater(bx, cx)), width)
    first_row = greater(first_row, row_begin)
    sign = 1.0 if area > 0.0 else -1.0
    ox0, oy0, rx0, ry0, t0 = edge_equation(ax, ay, bx, by, sign)
    ox1, oy1, rx1, ry1, t1 = edge_equation(bx, by, cx, cy, sign)
    ox2, oy2, rx2, ry2, t2 = edge_equation(cx, cy, ax, ay, sign)
    slope_x = ((bn - an) * (cy - ay) - (cn - an) * (by - ay)) / area
    slope_y = ((cn - an) * (bx - ax) - (bn - an) * (cx - ax)) / area
    low, high = splat(lesser(an, lesser(bn, cn))), splat(greater(an, greater(bn, cn)))
    x_origin, x_slope, number = splat(ax), splat(slope_x), splat(np.float64(f))
    lane_ox0, lane_ry0, lane_t0 = splat(ox0), splat(ry0), splat(t0)
    lane_ox1, lane_ry1, lane_t1 = splat(ox1), splat(ry1), splat(t1)
    lane_ox2, lane_ry2, lane_t2 = splat(ox2), splat(ry2), splat(t2)
    zero, outside = splat(0.0), splat(-np.inf)
    for y in range(first_row, last_row):
        py = y + 0.5
        e0, e1, e2 = rx0 * (py - oy0), rx1 * (py - oy1), rx2 * (py - oy2)
        lane_e0, lane_e1, lane_e2 = splat(e0), splat(e1), splat(e2)
        row_nearness = splat(an + slope_y * (py - ay))
        begin, end = x_begin, x_end
        if x_end - x_begin > 32:
            begin, end = narrow(begin, end, e0, ry0, ox0)
            begin, end = narrow(begin, end, e1, ry1, ox1)
            begin, end = narrow(begin, end, e2, ry2, ox2)
        row = (y - row_begin) * pitch
        for x in range(begin, end, WIDTH):
            px = splat(x + 0.0) + centers
            n = minimum(high, maximum(low, row_nearness + x_slope * (px - x_origin)))
            old = load(nearness, row + x)
            inner = minimum(lane_e0 - lane_ry0 * (px - lane_ox0) - lane_t0, lane_e1 - lane_ry1 * (px - lane_ox1) - lane_t1)
            inner = minimum(inner, lane_e2 - lane_ry2 * (px - lane_ox2) - lane_t2)
            n = select(inner >= zero, n, outside)  # masks that are used at once: combining them costs more than the rest
            if peel:
                front = load(behind, row + x)
                n = select((n < front) | ((n == front) & (number > load(behind_face, row + x))), n, outside)
            old_face = load(face, row + x)
            store(nearness, row + x, maximum(n, old))
            store(face, row + x, select(n > old, number, old_face))  # loaded before: else LLVM makes slow masked stores of this


@kernel(fastmath=False, inline="llvm")
def narrow(begin, end, e, run_y, origin):
    """Shrink a pixel span to where one edge can be inside, with a pixel to spare."""
    if run_y == 0.0:
        return begin, (end if e >= 0.0 else begin)
    crossing = origin + e / run_y
    if run_y > 0.0:
        return begin, (np.int64(max(begin, min(end, crossing + 2.0))))
    return np.int64(min(end, max(begin, crossing - 2.0))), end


@kernel(fastmath=False)
def draw_bands(
    begin, end, points, flat, faces, images, job_offsets, offsets, items, size, planes, orthographic, cull, band,
    behind_face, behind_nearness, nearness, face, barycentrics, depth,
):  # fmt: skip
    """Rasterize the bands [begin, end) of all images.

    Args:
        offsets, items: jobs of each band; without bands (offsets empty) an image is one band and draws all of its faces.
        behind_face, behind_nearness: [B, H, W] the layer that this one must lie behind of; empty (size 0) for the first layer.
        nearness: [B, H, W] float64, to be written; or empty.
        face, barycentrics, depth: [B, H, W], [B, H, W, 3], [B, H, W] results; -1, 0, 0 where nothing is.
    """
    height, width = size
    near, farthest = planes
    bands = (height + band - 1) // band
    listed = len(offsets) > 0
    peel = behind_face.size > 0
    keep = nearness.size > 0
    pitch = width + WIDTH  # a vector may begin at any pixel
    near_buffer = np.empty(min(band, height) * pitch)
    face_buffer = np.empty(min(band, height) * pitch)
    old_near = np.empty(len(near_buffer) if peel else 0)
    old_face = np.empty(len(near_buffer) if peel else 0)
    centers = load(np.arange(WIDTH) + 0.5, 0)
    corners = np.empty((4, 3))
    for b in range(begin, end):
        image = b // bands
        row_begin = (b % bands) * band
        row_end = min(height, row_begin + band)
        base = images[image, 1]
        first_face = images[image, 0] - job_offsets[image]
        for p in range(len(near_buffer)):
            near_buffer[p] = farthest
            face_buffer[p] = -1.0
        if peel:
            for y in range(row_begin, row_end):
                row = (y - row_begin) * pitch
                for x in range(width):
                    old_near[row + x] = behind_nearness[image, y, x]
                    old_face[row + x] = behind_face[image, y, x]
        item_begin = offsets[b] if listed else job_offsets[image]
        item_end = offsets[b + 1] if listed else job_offsets[image + 1]
        for item in range(item_begin, item_end):
            f = first_face + (items[item] if listed else item)
            i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
            count = 3
            if math.isnan(flat[i, 2] + flat[j, 2] + flat[k, 2]):
                count = clip_face(points, i, j, k, near, orthographic, corners)
            else:
                corners[0, 0], corners[0, 1], corners[0, 2] = flat[i, 0], flat[i, 1], flat[i, 2]
                corners[1, 0], corners[1, 1], corners[1, 2] = flat[j, 0], flat[j, 1], flat[j, 2]
                corners[2, 0], corners[2, 1], corners[2, 2] = flat[k, 0], flat[k, 1], flat[k, 2]
            if cull and polygon_area(corners, count) > 0.0:
                continue
            for c in range(2, count):
                draw(corners, c, f, centers, row_begin, row_end, width, pitch, near_buffer, face_buffer, old_near, old_face, peel)
        for y in range(row_begin, row_end):
            row = (y - row_begin) * pitch
            for x in range(width):
                face[image, y, x] = np.int64(face_buffer[row + x])
                if keep:
                    nearness[image, y, x] = near_buffer[row + x]
            resolve_row(points, faces, base, y, orthographic, face[image, y], barycentrics[image, y], depth[image, y])


@kernel(fastmath=False)
def polygon_area(corners, count):
    """Twice the signed area."""
    area = 0.0
    for c in range(2, count):
        ux, uy = corners[c - 1, 0] - corners[0, 0], corners[c - 1, 1] - corners[0, 1]
        vx, vy = corners[c, 0] - corners[0, 0], corners[c, 1] - corners[0, 1]
        area += ux * vy - uy * vx
    return area


@kernel(inline="llvm")
def corner_weights(points, i, j, k, px, py, orthographic):
    """The corners relative to the pixel's ray, and barycentrics not yet divided by their sum: each the other two corners' cross product.

    They are perspective-correct, and right also where corners lie behind the camera.
    """
    wi = 1.0 if orthographic else np.float64(points[i, 2])
    wj = 1.0 if orthographic else np.float64(points[j, 2])
    wk = 1.0 if orthographic else np.float64(points[k, 2])
    ax, ay = points[i, 0] - px * wi, points[i, 1] - py * wi
    bx, by = points[j, 0] - px * wj, points[j, 1] - py * wj
    cx, cy = points[k, 0] - px * wk, points[k, 1] - py * wk
    return ax, ay, bx, by, cx, cy, bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


@kernel(inline="llvm")
def clamp_weights(u, v, w):
    """Weights of one sign, at least 0, with their sum and the sign that was taken out."""
    sign = 1.0 if u + v + w >= 0.0 else -1.0
    u, v, w = max(0.0, sign * u), max(0.0, sign * v), max(0.0, sign * w)
    return u, v, w, u + v + w, sign


@kernel
def resolve_row(points, faces, base, y, orthographic, face, barycentrics, depth):
    """Write barycentrics [W, 3] and depth [W] of a row of faces [W], one run of pixels with the same face after the other."""
    begin = 0
    while begin < len(face):
        f = face[begin]
        end = begin + 1
        while end < len(face) and face[end] == f:
            end += 1
        if f < 0:
            for x in range(begin, end):
                barycentrics[x, 0] = barycentrics[x, 1] = barycentrics[x, 2] = depth[x] = 0
        else:
            i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
            zi, zj, zk = points[i, 2], points[j, 2], points[k, 2]
            for x in range(begin, end):
                _, _, _, _, _, _, u, v, w = corner_weights(points, i, j, k, x + 0.5, y + 0.5, orthographic)
                u, v, w, total, _ = clamp_weights(u, v, w)
                scale = 1.0 / total if total > 0.0 else 0.0
                rest = 0.0 if total > 0.0 else 1.0 / 3.0
                u, v, w = u * scale + rest, v * scale + rest, w * scale + rest
                barycentrics[x, 0] = u
                barycentrics[x, 1] = v
                barycentrics[x, 2] = w
                depth[x] = u * zi + v * zj + w * zk
        begin = end


@kernel
def backward_rows(begin, end, points, faces, images, face, orthographic, grad_barycentrics, grad_depth, smallest, gradient):
    """Add the gradient of points from the rows [begin, end) of all images; row r is row r % H of image r // H.

    Args:
        smallest: area of a face relative to its extent below which barycentrics are noise and have no gradient.
        gradient: [N, 3] float64 of this slice.
    """
    height = face.shape[1]
    for r in range(begin, end):
        image, y = r // height, r % height
        base = images[image, 1]
        py = y + 0.5
        for x in range(face.shape[2]):
            f = face[image, y, x]
            if f < 0:
                continue
            g0 = np.float64(grad_barycentrics[image, y, x, 0])
            g1 = np.float64(grad_barycentrics[image, y, x, 1])
            g2 = np.float64(grad_barycentrics[image, y, x, 2])
            gz = np.float64(grad_depth[image, y, x])
            if g0 == 0.0 and g1 == 0.0 and g2 == 0.0 and gz == 0.0:
                continue
            i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
            px = x + 0.5
            ax, ay, bx, by, cx, cy, u0, v0, w0 = corner_weights(points, i, j, k, px, py, orthographic)
            extent = ax * ax + ay * ay + bx * bx + by * by + cx * cx + cy * cy
            u, v, w, total, sign = clamp_weights(u0, v0, w0)
            if not total > smallest * extent:
                continue
            u, v, w = u / total, v / total, w / total
            g0, g1, g2 = g0 + gz * points[i, 2], g1 + gz * points[j, 2], g2 + gz * points[k, 2]
            mean = g0 * u + g1 * v + g2 * w
            scale = sign / total
            du = (g0 - mean) * scale if sign * u0 >= -smallest * extent else 0.0
            dv = (g1 - mean) * scale if sign * v0 >= -smallest * extent else 0.0
            dw = (g2 - mean) * scale if sign * w0 >= -smallest * extent else 0.0
            dax, day = dw * by - dv * cy, dv * cx - dw * bx
            dbx, dby = du * cy - dw * ay, dw * ax - du * cx
            dcx, dcy = dv * ay - du * by, du * bx - dv * ax
            gradient[i, 0] += dax
            gradient[i, 1] += day
            gradient[i, 2] += gz * u
            gradient[j, 0] += dbx
            gradient[j, 1] += dby
            gradient[j, 2] += gz * v
            gradient[k, 0] += dcx
            gradient[k, 1] += dcy
            gradient[k, 2] += gz * w
            if not orthographic:
                gradient[i, 2] -= px * dax + py * day
                gradient[j, 2] -= px * dbx + py * dby
                gradient[k, 2] -= px * dcx + py * dcy
