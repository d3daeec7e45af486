"""Hard rasterization: which face is nearest at every pixel centre, and the way back from barycentrics and depth to vertices.

Coverage is computed in float64 and in exact IEEE order for every input type. A shared edge has one equation, evaluated from its
lexicographically lower end, so that the two faces of an edge get exactly opposite values: no cracks, no pixel twice (the top-left rule).
"""

import math

import numpy as np

from .bands import AHEAD, RUN, clip_face, fetch_vertices, greater, lesser, open_band, pixel_lanes, put_vertex, row_of_three
from .jit import kernel
from .lane_store import store_as, store_threes
from .simd import (
    WIDTH,
    bits,
    element,
    lane,
    load,
    maximum,
    minimum,
    multiply_add,
    multiply_subtract,
    prefetch,
    ramp,
    select,
    set_element,
    splat,
    store,
)  # fmt: skip

TINY = 1e-300
PREPARED = 24  # rows of what `prepare` computes: five for each edge, two slopes, two bounds of nearness, four of pixels, the face's number
_SLOPES, _BOUNDS, _PIXELS, _NUMBER = 15, 17, 19, 23


@kernel(fastmath=False, inline="llvm")
def take_triangles(first, last, scene, near, orthographic, polygon, corners, prepared):
    """Write the corners of triangles of the faces [first, last), as many as there is room for, and their numbers.

    Args:
        scene: (points, flat, faces, first face, what to add to its vertices, items). First and last are a range of `items`, which say
            what to add to the first face; or of what to add, if there are no items.
        polygon: [4, 3] scratch. corners: nine rows of RUN, flat: pixel and nearness of three corners.

    Returns:
        First face that is left, and how many triangles.
    """
    points, flat, faces, first_face, base, items = scene
    listed, count = len(items) > 0, 0
    while first < last and count < RUN - 1:
        later, soon = lesser(first + 2 * AHEAD, last - 1), lesser(first + AHEAD, last - 1)
        prefetch(faces, first_face + (items[later] if listed else later))
        fetch_vertices(flat, faces, first_face + (items[soon] if listed else soon), base)
        f = first_face + (items[first] if listed else first)
        first += 1
        i, j, k = row_of_three(faces, f)
        i, j, k = i + base, j + base, k + base
        if not math.isnan(element(flat, 3 * i + 2) + element(flat, 3 * j + 2) + element(flat, 3 * k + 2)):
            put_vertex(flat, i, count, corners)
            put_vertex(flat, j, count + 3 * RUN, corners)
            put_vertex(flat, k, count + 6 * RUN, corners)
            set_element(prepared, count + _NUMBER * RUN, f)
            count += 1
            continue
        size = clip_face(points, i, j, k, near, orthographic, polygon)
        for c in range(2, size):
            put_vertex(polygon, 0, count, corners)
            put_vertex(polygon, c - 1, count + 3 * RUN, corners)
            put_vertex(polygon, c, count + 6 * RUN, corners)
            set_element(prepared, count + _NUMBER * RUN, f)
            count += 1
    return first, count


@kernel(fastmath=False, inline="llvm")
def prepare_edge(ax, ay, bx, by, clockwise, sign, prepared, place):
    """Edge a to b as origin x, origin y, run x, run y, threshold: inside where `run_x (y - oy) - run_y (x - ox) >= threshold`."""
    zero, tiny = splat(0.0), splat(TINY)
    forward = (ax < bx) | ((ax == bx) & (ay < by))
    store(prepared, place, select(forward, ax, bx))
    store(prepared, place + RUN, select(forward, ay, by))
    store(prepared, place + 2 * RUN, sign * (bx - ax))
    store(prepared, place + 3 * RUN, sign * (by - ay))
    store(prepared, place + 4 * RUN, select(forward, select(clockwise, zero, tiny), select(clockwise, tiny, zero)))


@kernel(fastmath=False)
def prepare(corners, count, width, row_end, cull, prepared):
    """Compute what `draw` needs, of eight triangles at once."""
    one, zero, across, down = splat(1.0), splat(0.0), splat(width + 0.0), splat(row_end + 0.0)
    for n in range(0, count, WIDTH):
        ax, ay, an = load(corners, n), load(corners, n + RUN), load(corners, n + 2 * RUN)
        bx, by, bn = load(corners, n + 3 * RUN), load(corners, n + 4 * RUN), load(corners, n + 5 * RUN)
        cx, cy, cn = load(corners, n + 6 * RUN), load(corners, n + 7 * RUN), load(corners, n + 8 * RUN)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        clockwise = area > zero
        sign = select(clockwise, one, zero - one)
        prepare_edge(ax, ay, bx, by, clockwise, sign, prepared, n)
        prepare_edge(bx, by, cx, cy, clockwise, sign, prepared, n + 5 * RUN)
        prepare_edge(cx, cy, ax, ay, clockwise, sign, prepared, n + 10 * RUN)
        store(prepared, n + _SLOPES * RUN, ((bn - an) * (cy - ay) - (cn - an) * (by - ay)) / area)
        store(prepared, n + (_SLOPES + 1) * RUN, ((cn - an) * (bx - ax) - (bn - an) * (cx - ax)) / area)
        store(prepared, n + _BOUNDS * RUN, minimum(an, minimum(bn, cn)))
        store(prepared, n + (_BOUNDS + 1) * RUN, maximum(an, maximum(bn, cn)))
        left, right = pixel_lanes(minimum(ax, minimum(bx, cx)), maximum(ax, maximum(bx, cx)), across)
        top, bottom = pixel_lanes(minimum(ay, minimum(by, cy)), maximum(ay, maximum(by, cy)), down)
        drawn = (area < zero) if cull else ((area < zero) | clockwise)
        store(prepared, n + _PIXELS * RUN, left)
        store(prepared, n + (_PIXELS + 1) * RUN, right)
        store(prepared, n + (_PIXELS + 2) * RUN, top)
        store(prepared, n + (_PIXELS + 3) * RUN, select(drawn, bottom, zero))


@kernel(fastmath=False, inline="llvm")
def draw(n, corners, prepared, row_begin, target):
    """Draw one triangle into a band; the nearest face wins, of equally near ones the lower.

    Args:
        corners, prepared: triangle n is their column n.
        target: lanes of pixel centres; pitch; nearness and face of the band, float64 [rows * pitch]; the same of what the triangle must lie
            behind of, and whether there is such.
    """
    centers, pitch, nearness, face, behind, behind_face, peel = target
    x_begin, x_end = np.int64(element(prepared, n + _PIXELS * RUN)), np.int64(element(prepared, n + (_PIXELS + 1) * RUN))
    first_row = greater(np.int64(element(prepared, n + (_PIXELS + 2) * RUN)), row_begin)
    last_row = np.int64(element(prepared, n + (_PIXELS + 3) * RUN))
    oy0, oy1, oy2 = element(prepared, n + RUN), element(prepared, n + 6 * RUN), element(prepared, n + 11 * RUN)
    rx0, rx1, rx2 = element(prepared, n + 2 * RUN), element(prepared, n + 7 * RUN), element(prepared, n + 12 * RUN)
    t0, t1, t2 = splat(element(prepared, n + 4 * RUN)), splat(element(prepared, n + 9 * RUN)), splat(element(prepared, n + 14 * RUN))
    ay, an, slope_y = element(corners, n + RUN), element(corners, n + 2 * RUN), element(prepared, n + (_SLOPES + 1) * RUN)
    low, high = splat(element(prepared, n + _BOUNDS * RUN)), splat(element(prepared, n + (_BOUNDS + 1) * RUN))
    number, zero, outside = splat(element(prepared, n + _NUMBER * RUN)), splat(0.0), splat(-np.inf)
    for left in range(x_begin, x_end, WIDTH):  # columns of lanes: mostly one, and along it little changes from row to row
        px = splat(left + 0.0) + centers
        drop0 = splat(element(prepared, n + 3 * RUN)) * (px - splat(element(prepared, n)))
        drop1 = splat(element(prepared, n + 8 * RUN)) * (px - splat(element(prepared, n + 5 * RUN)))
        drop2 = splat(element(prepared, n + 13 * RUN)) * (px - splat(element(prepared, n + 10 * RUN)))
        rise = splat(element(prepared, n + _SLOPES * RUN)) * (px - splat(element(corners, n)))
        p = (first_row - row_begin) * pitch + left
        for y in range(first_row, last_row):
            py = y + 0.5
            near = minimum(high, maximum(low, splat(an + slope_y * (py - ay)) + rise))
            old = load(nearness, p)
            inner = minimum(splat(rx0 * (py - oy0)) - drop0 - t0, splat(rx1 * (py - oy1)) - drop1 - t1)
            inner = minimum(inner, splat(rx2 * (py - oy2)) - drop2 - t2)
            near = select(inner >= zero, near, outside)  # masks that are used at once: combining them costs more than the rest
            if peel:
                front = load(behind, p)
                near = select((near < front) | ((near == front) & (number > load(behind_face, p))), near, outside)
            old_face = load(face, p)
            store(nearness, p, maximum(near, old))
            store(face, p, select(near > old, number, old_face))  # loaded before: else LLVM makes slow masked stores of this
            p += pitch


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
    peel = behind_face.size > 0
    keep = nearness.size > 0
    pitch = width + WIDTH  # lanes may begin at any pixel
    near_buffer = np.empty(lesser(band, height) * pitch)
    face_buffer = np.empty(lesser(band, height) * pitch)
    old_near = np.empty(len(near_buffer) if peel else 0)
    old_face = np.empty(len(near_buffer) if peel else 0)
    centers = ramp(0.5)
    polygon, corners, prepared = np.empty((4, 3)), np.zeros(9 * RUN), np.zeros(PREPARED * RUN)
    target = (centers, pitch, near_buffer, face_buffer, old_near, old_face, peel)
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        for p in range(len(near_buffer)):
            near_buffer[p] = farthest
            face_buffer[p] = -1.0
        if peel:
            for y in range(row_begin, row_end):
                row = (y - row_begin) * pitch
                for x in range(width):
                    old_near[row + x] = behind_nearness[image, y, x]
                    old_face[row + x] = behind_face[image, y, x]
        scene = (points, flat, faces, first_face, base, items)
        while first < last:
            first, count = take_triangles(first, last, scene, near, orthographic, polygon, corners, prepared)
            prepare(corners, count, width, row_end, cull, prepared)
            for n in range(count):
                draw(n, corners, prepared, row_begin, target)
        for y in range(row_begin, row_end):
            row, into = (y - row_begin) * pitch, (face[image, y], barycentrics[image, y], depth[image, y])
            resolve_row(points, faces, base, y, orthographic, face_buffer, row, centers, corners, *into)
            if keep:
                for x in range(width):
                    nearness[image, y, x] = near_buffer[row + x]


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
def resolve_row(points, faces, base, y, orthographic, found, at, centers, corners, face, barycentrics, depth):
    """Write face [W], barycentrics [W, 3] and depth [W] of a row, where the faces are found[at] ... found[at + W - 1].

    Args:
        centers: lanes of pixel centres. corners: nine rows of RUN, flat; scratch.
    """
    nothing = splat(-1.0)
    for begin in range(0, len(face), RUN):
        count = lesser(RUN, len(face) - begin)
        for x in range(count):
            f = np.int64(element(found, at + begin + x))
            if f >= 0:
                i, j, k = row_of_three(faces, f)
                put_vertex(points, i + base, x, corners)
                put_vertex(points, j + base, x + 3 * RUN, corners)
                put_vertex(points, k + base, x + 6 * RUN, corners)
        for x in range(0, count, WIDTH):
            first, numbers = begin + x, load(found, at + begin + x)
            u = v = w = z = splat(0.0)
            hit = numbers > nothing
            if bits(hit) != 0:
                u, v, w, z = resolve_lanes(splat(first + 0.0) + centers, splat(y + 0.5), hit, orthographic, corners, x)
            if count - x >= WIDTH:
                store_as(face, first, numbers)
                store_threes(barycentrics, first, u, v, w)
                store_as(depth, first, z)
            else:
                for n in range(count - x):
                    face[first + n], depth[first + n] = lane(numbers, n), lane(z, n)
                    barycentrics[first + n, 0], barycentrics[first + n, 1], barycentrics[first + n, 2] = lane(u, n), lane(v, n), lane(w, n)


@kernel(inline="llvm")
def resolve_lanes(px, py, hit, orthographic, corners, x):
    """Barycentrics and depth of pixels whose faces have their corners in the columns x ... x + 7; 0 where not `hit`."""
    zero, one = splat(0.0), splat(1.0)
    zi, zj, zk = load(corners, x + 2 * RUN), load(corners, x + 5 * RUN), load(corners, x + 8 * RUN)
    wi, wj, wk = (one, one, one) if orthographic else (zi, zj, zk)
    ax, ay = multiply_subtract(px, wi, load(corners, x)), multiply_subtract(py, wi, load(corners, x + RUN))
    bx, by = multiply_subtract(px, wj, load(corners, x + 3 * RUN)), multiply_subtract(py, wj, load(corners, x + 4 * RUN))
    cx, cy = multiply_subtract(px, wk, load(corners, x + 6 * RUN)), multiply_subtract(py, wk, load(corners, x + 7 * RUN))
    u, v, w = multiply_subtract(bx, cy, by * cx), multiply_subtract(cx, ay, cy * ax), multiply_subtract(ax, by, ay * bx)
    sign = select(u + v + w >= zero, one, zero - one)
    u, v, w = maximum(sign * u, zero), maximum(sign * v, zero), maximum(sign * w, zero)
    total = u + v + w
    scale, rest = select(total > zero, one / total, zero), select(total > zero, zero, splat(1.0 / 3.0))
    u, v, w = multiply_add(u, scale, rest), multiply_add(v, scale, rest), multiply_add(w, scale, rest)
    z = multiply_add(u, zi, multiply_add(v, zj, w * zk))
    return select(hit, u, zero), select(hit, v, zero), select(hit, w, zero), select(hit, z, zero)


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
