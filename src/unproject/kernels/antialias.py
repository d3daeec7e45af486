"""Analytic antialiasing: where an outline passes between pixels, each gets the share of the other that lies on its area.

An outline edge is one whose faces all lie on the same side of it in the image. It is followed row by row (steep edges) or column by column
(flat ones); "major" is the coordinate that is stepped through, "minor" the other. In each step the exact area between the edge and
the boundary of the two pixels that the rasterizer told apart is exchanged. Its derivative is the integral of the edge's
motion over the part of the edge that lies in the pixel.
"""

import math

import numpy as np

from .jit import kernel


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
    """Positive where the face (i, j, k) turns clockwise in the image (y down); right also where corners lie behind the camera."""
    ax, ay, aw = np.float64(points[i, 0]), np.float64(points[i, 1]), 1.0 if orthographic else np.float64(points[i, 2])
    bx, by, bw = np.float64(points[j, 0]), np.float64(points[j, 1]), 1.0 if orthographic else np.float64(points[j, 2])
    cx, cy, cw = np.float64(points[k, 0]), np.float64(points[k, 1]), 1.0 if orthographic else np.float64(points[k, 2])
    return ax * (by * cw - bw * cy) + ay * (bw * cx - bx * cw) + aw * (bx * cy - by * cx)


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
def find_boundary(face, depth, image, step, crossing, limit, steep, inside_high, edge_depth):
    """The upper one of the two neighbouring pixels of a row between which the edge shows, nearest to `crossing`; -1 if it does not show.

    The outer pixel must lie behind the edge, and the inner one nearer to the edge than to the outer one.
    """
    guess = np.int64(math.floor(min(max(crossing - 0.5, -2.0), limit + 2.0))) + 1
    for shift in (0, -1, 1):
        high = guess + shift
        if high < 1 or high >= limit:
            continue
        inner = depth_at(face, depth, image, step, high if inside_high else high - 1, steep)
        outer = depth_at(face, depth, image, step, high - 1 if inside_high else high, steep)
        if inner < outer and outer > edge_depth and (outer == np.inf or inner - edge_depth < 0.5 * (outer - edge_depth)):
            return high
    return -1


@kernel
def passage(low, high, start, slope, column):
    """Of the heights [low, high], the part that an edge `start + slope h` spends within a column: (from, to); and how long it is above it."""
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
def antialias_range(
    begin, end, points, edges, images, jobs, job_ranges, job_offsets, sides, face, depth, near, orthographic, image, backward, result,
    point_gradient, image_gradient,
):  # fmt: skip
    """Exchange the areas of images [begin, end), or take the gradient of that.

    Args:
        jobs: outline edges of all images, ascending; job_ranges: [B + 1].
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
            majors, minors = (face.shape[1], face.shape[2]) if steep else (face.shape[2], face.shape[1])
            lowest, highest = max(0.0, min(ma, mb)), min(majors + 0.0, max(ma, mb))
            grad_a = grad_b = 0.0  # of the minor coordinates of both ends
            for step in range(np.int64(lowest), np.int64(math.ceil(highest))):
                low, high = max(lowest, step + 0.0), min(highest, step + 1.0)
                t = (0.5 * (low + high) - ma) / (mb - ma)
                edge_depth = (1.0 - t) * az + t * bz if orthographic else 1.0 / ((1.0 - t) / az + t / bz)
                boundary = find_boundary(face, depth, b, step, start + slope * (step + 0.5), minors, steep, inside_high, edge_depth)
                if boundary < 0:
                    continue
                o0, o1 = start + slope * low, start + slope * high
                first = max(0, min(boundary - 1, np.int64(math.floor(min(o0, o1)))))
                last = min(minors - 1, max(boundary, np.int64(math.floor(max(o0, o1)))))
                for column in range(first, last + 1):
                    enter, leave, above = passage(low, high, start, slope, column)
                    middle = 0.5 * (enter + leave)
                    area = above + (leave - enter) * (start + slope * middle - column)
                    sign = 1.0 if column >= boundary else -1.0
                    weight = area if column >= boundary else (high - low) - area
                    other = boundary - 1 if column >= boundary else boundary
                    y, x = (step, column) if steep else (column, step)
                    oy, ox = (step, other) if steep else (other, step)
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
