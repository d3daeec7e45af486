"""Analytic antialiasing: where an outline passes between pixels, each gets the share of the other that lies on its area.

An outline edge is one whose faces all lie on the same side of it in the image. It is followed row by row (steep edges) or column by column
(flat ones); "major" is the coordinate that is stepped through, "minor" the other. In each step the exact area between the edge and
the boundary of the two pixels that the rasterizer told apart is exchanged. Its derivative is the integral of the edge's
motion over the part of the edge that lies in the pixel.
"""

import math

import numpy as np

from .jit import kernel

FLAT = 1e-12  # share of its terms below which a determinant is rounding
STEEPEST = 8.0  # how many times deeper a surface may get from its last pixel to its outline than from one pixel to the next


@kernel
def outline_range(begin, end, points, faces, images, edges, halfedge_offsets, halfedges, job_offsets, orthographic, near, cull, sides):
    """For each edge of each image: +1 or -1, the turn from the edge to its faces if all are on one side of it, else 0."""
    image = 0
    for job in range(begin, end):
        while job >= job_offsets[image + 1]:
            image += 1
        e = images[image, 2] + job - job_offsets[image]
        base = images[image, 1]
        i, j = edges[e, 0] + base, edges[e, 1] + base
        side = 0
        mixed = not (points[i, 2] >= near or points[j, 2] >= near)
        for h in range(halfedge_offsets[e], halfedge_offsets[e + 1]):
            f = halfedges[h] // 3
            k = faces[f, (halfedges[h] + 2) % 3] + base
            area = turn(points, i, j, k, orthographic)
            this = 1 if area > 0.0 else (-1 if area < 0.0 else 0)
            clockwise = this if faces[f, halfedges[h] % 3] + base == i else -this
            if cull and clockwise > 0:
                continue
            if this * side < 0:
                mixed = True
            side = this if this != 0 else side
        sides[job] = 0 if mixed else side


@kernel
def turn(points, i, j, k, orthographic):
    """Positive where the face (i, j, k) turns clockwise in the image (y down), 0 where that is rounding. Corners may lie behind it."""
    ax, ay, aw = np.float64(points[i, 0]), np.float64(points[i, 1]), 1.0 if orthographic else np.float64(points[i, 2])
    bx, by, bw = np.float64(points[j, 0]), np.float64(points[j, 1]), 1.0 if orthographic else np.float64(points[j, 2])
    cx, cy, cw = np.float64(points[k, 0]), np.float64(points[k, 1]), 1.0 if orthographic else np.float64(points[k, 2])
    p, q, r = by * cw, bw * cy, bw * cx
    s, t, u = bx * cw, bx * cy, by * cx
    area = ax * (p - q) + ay * (r - s) + aw * (t - u)
    scale = abs(ax) * (abs(p) + abs(q)) + abs(ay) * (abs(r) + abs(s)) + abs(aw) * (abs(t) + abs(u))
    return area if abs(area) > FLAT * scale else 0.0


@kernel
def clipped_end(points, i, j, near, orthographic):
    """End i of an edge, cut at the near plane: its share of j, and pixel and depth (x, y, z)."""
    xi, yi, zi = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
    s = 0.0
    if zi < near:
        s = (near - zi) / (points[j, 2] - zi)
        xi, yi, zi = xi + s * (points[j, 0] - xi), yi + s * (points[j, 1] - yi), near
    w = 1.0 if orthographic else zi
    return s, xi / w, yi / w, zi


@kernel
def depth_at(face, depth, image, major, minor, steep):
    """Depth at a pixel, infinite where nothing is."""
    y, x = (major, minor) if steep else (minor, major)
    return np.float64(depth[image, y, x]) if face[image, y, x] >= 0 else np.inf


@kernel
def find_boundary(face, depth, image, step, crossing, limit, steep, inside_high, edge_depth, tolerance):
    """The upper one of the two neighbouring pixels of a row between which the edge shows, nearest to `crossing`; -1 if it does not show.

    The outer pixel must lie behind the edge, and the inner one must be of the edge's own surface: nearer to the edge than to the outer
    one, and not nearer to the camera than the surface's slope (told by the next two pixels inwards) or the tolerance allows.
    """
    guess = np.int64(math.floor(min(max(crossing - 0.5, -2.0), limit + 2.0))) + 1
    for shift in (0, -1, 1):
        high = guess + shift
        if high < 1 or high >= limit:
            continue
        at, out, inwards = (high, high - 1, 1) if inside_high else (high - 1, high, -1)
        inner, outer = depth_at(face, depth, image, step, at, steep), depth_at(face, depth, image, step, out, steep)
        if not (inner < outer and outer > edge_depth and is_inside(inner, outer, edge_depth)):
            continue
        slope = 0.0
        for further in (at + inwards, at + 2 * inwards):
            slope = max(slope, abs(depth_at(face, depth, image, step, further, steep) - inner) if 0 <= further < limit else np.inf)
        if edge_depth - inner <= STEEPEST * slope + tolerance:
            return high
    return -1


@kernel
def is_inside(z, outer, edge_depth):
    """Whether a pixel's depth is nearer to the edge's than to that of what lies behind the edge."""
    return z < np.inf and (outer == np.inf or z - edge_depth < 0.5 * (outer - edge_depth))


@kernel
def find_source(face, depth, image, step, crossing, slope, limits, steep, inside_high, edge_depth, tolerance, middle, corner):
    """Where a piece of an edge gets its colours from: row, the upper pixel of the pair there (-1: the edge does not show), and a kind.

    Kind 0: the rasterizer saw the edge in this row, between the pair. Otherwise the row lies beside the tip of a corner, and the pair
    is that of the row before or after it; kind 1: the row is outside near the edge, 2: inside. `middle`: where the piece is. Without
    `corner`, only kind 0 is looked for: the outlines of smooth surfaces have no tips, but end where they are hidden by the surface.
    """
    boundary = find_boundary(face, depth, image, step, crossing, limits[1], steep, inside_high, edge_depth, tolerance)
    if boundary >= 0:
        return step, boundary, 0
    for side in (-1, 1) if corner else (0, 0):
        row = step + side
        if row < 0 or row >= limits[0] or side == 0:
            continue
        boundary = find_boundary(face, depth, image, row, crossing + side * slope, limits[1], steep, inside_high, edge_depth, tolerance)
        if boundary >= 0:
            outer = depth_at(face, depth, image, row, boundary - 1 if inside_high else boundary, steep)
            inner = depth_at(face, depth, image, row, boundary if inside_high else boundary - 1, steep)
            column = np.int64(math.floor(min(max(middle, 0.0), limits[1] - 1.0)))
            z = depth_at(face, depth, image, step, column, steep)
            if edge_depth - z > STEEPEST * abs(edge_depth - inner) + tolerance:
                continue  # hidden by something in front
            return row, boundary, 2 if is_inside(z, outer, edge_depth) else 1
    return step, -1, 0


@kernel
def passage(low, high, start, slope, column):
    """Of the heights [low, high], the part that an edge `start + slope h` spends in a column: (from, to); and how long it is above it."""
    if abs(slope) < 1e-12:
        value = start + slope * 0.5 * (low + high)
        if value >= column + 1.0:
            return low, low, high - low
        return (low, high, 0.0) if value > column else (low, low, 0.0)
    enter, leave = (column - start) / slope, (column + 1.0 - start) / slope
    first, last = max(low, min(enter, leave)), min(high, max(enter, leave))
    if slope > 0.0:
        above = max(0.0, high - max(low, leave))
    else:
        above = max(0.0, min(high, leave) - low)
    return first, max(first, last), above


@kernel
def split_of(boundary, kind, inside_high, step, ma, oa, mb, ob):
    """Where the line goes across a row from which a piece's area counts: the pixels' border if the rasterizer saw the edge there.

    At the tip of a corner both edges must count from one place, so that their areas add up: the edge's end if it lies in the row.
    """
    if kind == 0:
        return boundary + 0.0
    if step <= ma <= step + 1:
        return oa
    if step <= mb <= step + 1:
        return ob
    return boundary + 0.5 if inside_high else boundary - 0.5


@kernel
def antialias_range(
    begin, end, points, edges, images, jobs, job_ranges, job_offsets, sides, face, depth, near, orthographic, tolerance, image, backward,
    result, point_gradient, image_gradient,
):  # fmt: skip
    """Exchange the areas of images [begin, end), or take the gradient of that.

    Args:
        jobs: outline edges of all images, ascending; job_ranges: [B + 1].
        tolerance: of depths, scene units.
        image: [B, H, W, C] point-sampled. result: antialiased, given as a copy of `image`; or its gradient if `backward`.
        point_gradient: [N, 3] float64. image_gradient: [B, H, W, C], given as a copy of the result's gradient.
    """
    for b in range(begin, end):
        for n in range(job_ranges[b], job_ranges[b + 1]):
            e = images[b, 2] + jobs[n] - job_offsets[b]
            i, j = edges[e, 0] + images[b, 1], edges[e, 1] + images[b, 1]
            si, ax, ay, az = clipped_end(points, i, j, near, orthographic)
            sj, bx, by, bz = clipped_end(points, j, i, near, orthographic)
            steep = abs(by - ay) >= abs(bx - ax)
            inside_high = (sides[jobs[n]] * (by - ay) < 0.0) if steep else (sides[jobs[n]] * (bx - ax) > 0.0)
            ma, oa, mb, ob = (ay, ax, by, bx) if steep else (ax, ay, bx, by)
            if not abs(mb - ma) > 1e-9:
                continue
            slope = (ob - oa) / (mb - ma)
            start = oa - slope * ma
            corner = abs(mb - ma) >= 1.0
            majors, minors = (face.shape[1], face.shape[2]) if steep else (face.shape[2], face.shape[1])
            lowest, highest = max(0.0, min(ma, mb)), min(majors + 0.0, max(ma, mb))
            grad_a = grad_b = 0.0  # of the minor coordinates of both ends
            for step in range(np.int64(lowest), np.int64(math.ceil(highest))):
                low, high = max(lowest, step + 0.0), min(highest, step + 1.0)
                t = (0.5 * (low + high) - ma) / (mb - ma)
                edge_depth = (1.0 - t) * az + t * bz if orthographic else 1.0 / ((1.0 - t) / az + t / bz)
                o0, o1 = start + slope * low, start + slope * high
                crossing, look = start + slope * (step + 0.5), (majors, minors)
                row, boundary, kind = find_source(
                    face, depth, b, step, crossing, slope, look, steep, inside_high, edge_depth, tolerance, 0.5 * (o0 + o1), corner
                )
                if boundary < 0:
                    continue
                split = split_of(boundary, kind, inside_high, step, ma, oa, mb, ob)
                first = max(0, np.int64(math.floor(min(split - 0.5, min(o0, o1)))))
                last = min(minors - 1, np.int64(math.floor(max(split, max(o0, o1)))))
                for column in range(first, last + 1):
                    enter, leave, above = passage(low, high, start, slope, column)
                    middle = 0.5 * (enter + leave)
                    area = above + (leave - enter) * (start + slope * middle - column)
                    area -= (high - low) * min(1.0, max(0.0, split - column))
                    upper = column >= boundary if kind == 0 else inside_high == (kind == 2)
                    sign = 1.0 if upper else -1.0
                    weight, other = sign * area, boundary - 1 if upper else boundary
                    y, x = (step, column) if steep else (column, step)
                    oy, ox = (row, other) if steep else (other, row)
                    flow = 0.0
                    for c in range(image.shape[3]):
                        difference = image[b, oy, ox, c] - image[b, y, x, c]
                        if backward:
                            g = result[b, y, x, c]
                            flow += g * difference
                            image_gradient[b, oy, ox, c] += weight * g
                            image_gradient[b, y, x, c] -= weight * g
                        else:
                            result[b, y, x, c] += weight * difference
                    t = (middle - ma) / (mb - ma)
                    grad_a += sign * flow * (leave - enter) * (1.0 - t)
                    grad_b += sign * flow * (leave - enter) * t
            if backward:
                spread(points, i, j, si, ax, ay, az, grad_a, slope, steep, orthographic, point_gradient)
                spread(points, j, i, sj, bx, by, bz, grad_b, slope, steep, orthographic, point_gradient)


@kernel
def spread(points, i, j, s, x, y, z, flow, slope, steep, orthographic, gradient):
    """Hand the gradient of an edge's end, of its motion across the edge, to the point i and, if the end is cut, to j."""
    gx, gy = (flow, -slope * flow) if steep else (-slope * flow, flow)
    w = 1.0 if orthographic else z
    gx, gy = gx / w, gy / w
    gz = 0.0 if orthographic else -(gx * x + gy * y)
    gradient[i, 0] += (1.0 - s) * gx
    gradient[i, 1] += (1.0 - s) * gy
    gradient[i, 2] += (1.0 - s) * gz
    if s > 0.0:
        gradient[j, 0] += s * gx
        gradient[j, 1] += s * gy
        gradient[j, 2] += s * gz
