"""How well poses explain an image, and the normal equations of a better pose: a few hundred points of the object a pose, no rendering.

Each pose has a view: points of the surface that are seen, with normals and colours, and points of the outline (the rim). They are projected
into the image's maps. Every residual r enters as u^2 / (1 + u^2) with u = r / sigma (Geman-McClure), so what does not fit (an occluder, a
wrong mask) counts once and pulls no more. Everything is float32 in, float64 inside.

Channels of the maps: foreground share, known (1 or 0), signed distance to the mask's outline (px, positive outside), red, green, blue,
depth (0 unknown), distance to the nearest image edge (px).
"""

import math

import numpy as np

from .jit import kernel

REGION, OUTLINE, COVER, COLOR, DEPTH, EDGE = 0, 1, 2, 3, 4, 5
_BEYOND = 0.5  # weight of what a pose shows beyond the mask, which something in front may hide, against what it fails to show
_LIGHT = 5  # albedo times (1, nx, ny, nz), and an offset


@kernel(inline="llvm")
def robust(u):
    """Value and weight of Geman-McClure: u^2 / (1 + u^2) and 1 / (1 + u^2)^2."""
    s = 1.0 / (1.0 + u * u)
    return 1.0 - s, s * s


@kernel(inline="llvm")
def bilinear(maps, channel, x, y):
    """Value and derivatives along x and y of a channel; x and y in pixels with centres at halves, at least half a pixel inside."""
    fx, fy = x - 0.5, y - 0.5
    c = min(max(math.floor(fx), 0), maps.shape[1] - 2)
    r = min(max(math.floor(fy), 0), maps.shape[0] - 2)
    s, t = fx - c, fy - r
    a, b = maps[r, c, channel], maps[r, c + 1, channel]
    d, e = maps[r + 1, c, channel], maps[r + 1, c + 1, channel]
    top, bottom = a + s * (b - a), d + s * (e - d)
    return top + t * (bottom - top), (b - a) * (1 - t) + (e - d) * t, bottom - top


@kernel
def place(points, view, pose, lens, maps, near_gap, scratch):
    """Project the surface points of a view, and read the maps there.

    Rows of scratch: camera xyz, normal, pixel xy, whether it is in the picture, albedo, known, foreground, four free.
    Returns how many points face the camera, how many of them are known, and the sum of their foreground shares.
    """
    height, width = maps.shape[0], maps.shape[1]
    facing, known, inside = 0, 0.0, 0.0
    for i in range(points.shape[1]):
        scratch[i, 8] = 0.0
        x, y, z = points[view, i, 0], points[view, i, 1], points[view, i, 2]
        for a in range(3):
            scratch[i, a] = pose[a, 0] * x + pose[a, 1] * y + pose[a, 2] * z + pose[a, 3]
        nx, ny, nz = points[view, i, 3], points[view, i, 4], points[view, i, 5]
        for a in range(3):
            scratch[i, 3 + a] = pose[a, 0] * nx + pose[a, 1] * ny + pose[a, 2] * nz
        cx, cy, cz = scratch[i, 0], scratch[i, 1], scratch[i, 2]
        toward = scratch[i, 3] * cx + scratch[i, 4] * cy + scratch[i, 5] * cz
        if cz < 1e-2 or toward >= 0.0:
            continue
        facing += 1
        u, v = lens[0] * cx / cz + lens[2], lens[1] * cy / cz + lens[3]
        if not (u >= 0.5 and v >= 0.5 and u <= width - 0.5 and v <= height - 0.5):
            continue
        row, column = int(v), int(u)
        foreground, sure, depth = maps[row, column, 0], maps[row, column, 1], maps[row, column, 6]
        if depth > 0.0 and depth < cz - near_gap and foreground < 0.5:
            sure = 0.0  # something lies in front of it
        scratch[i, 6], scratch[i, 7] = u, v
        scratch[i, 8] = 1.0
        for c in range(3):
            scratch[i, 9 + c] = points[view, i, 6 + c]
        scratch[i, 12], scratch[i, 13] = sure, foreground
        known += sure
        inside += sure * foreground
    return facing, known, inside


@kernel
def push(matrix, vector, px, py, pz, center, gx, gy, gz, residual, weight):
    """Add one residual with gradient g at the camera point p; a shift, and a turn about `center`.

    `matrix` is symmetric: only its lower half is filled. Its row 6 is scratch.
    """
    x, y, z = px - center[0], py - center[1], pz - center[2]
    row = matrix[6]
    row[0], row[1], row[2] = gx, gy, gz
    row[3], row[4], row[5] = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
    for a in range(6):
        scaled = weight * row[a]
        vector[a] += scaled * residual
        for b in range(a + 1):
            matrix[a, b] += scaled * row[b]


@kernel(inline="llvm")
def image_gradient(lens, x, y, z, du, dv):
    """Gradient at the camera point of a function of the pixel with derivatives du, dv."""
    gx, gy = du * lens[0] / z, dv * lens[1] / z
    return gx, gy, -(gx * x + gy * y) / z


@kernel
def solve_light(normal, right, out):
    """Solve a 5 x 5 positive definite system by Cholesky, in place."""
    for i in range(_LIGHT):
        for j in range(i + 1):
            s = normal[i, j]
            for k in range(j):
                s -= normal[i, k] * normal[j, k]
            normal[i, j] = math.sqrt(max(s, 1e-12)) if i == j else s / normal[j, j]
    for i in range(_LIGHT):
        s = right[i]
        for k in range(i):
            s -= normal[i, k] * out[k]
        out[i] = s / normal[i, i]
    for i in range(_LIGHT - 1, -1, -1):
        s = out[i]
        for k in range(i + 1, _LIGHT):
            s -= normal[k, i] * out[k]
        out[i] = s / normal[i, i]


@kernel(inline="llvm")
def light_basis(scratch, i, c, basis):
    albedo = scratch[i, 9 + c]
    basis[0] = albedo
    basis[1], basis[2], basis[3] = albedo * scratch[i, 3], albedo * scratch[i, 4], albedo * scratch[i, 5]
    basis[4] = 1.0


@kernel
def fit_light(scratch, count, sigma, light):
    """Gain, first-order light and offset of each channel [3, 5], reweighted once. A weak prior keeps shading and offset small."""
    normal, right, basis = np.empty((_LIGHT, _LIGHT)), np.empty(_LIGHT), np.empty(_LIGHT)
    for c in range(3):
        for turn in range(2):
            normal[:] = 0.0
            right[:] = 0.0
            power, total = 0.0, 0.0
            for i in range(count):
                if scratch[i, 14] == 0.0:
                    continue
                light_basis(scratch, i, c, basis)
                value = scratch[i, 15 + c]
                weight = 1.0
                if turn == 1:
                    predicted = 0.0
                    for a in range(_LIGHT):
                        predicted += light[c, a] * basis[a]
                    weight = robust((value - predicted) / (2.0 * sigma))[1]
                total += weight
                power += weight * basis[0] * basis[0]
                for a in range(_LIGHT):
                    right[a] += weight * basis[a] * value
                    for b in range(a + 1):
                        normal[a, b] += weight * basis[a] * basis[b]
            normal[0, 0] += 1e-3 * power + 1e-6
            for a in range(1, 4):
                normal[a, a] += 0.05 * power + 1e-6
            normal[4, 4] += 0.2 * total + 1e-6
            solve_light(normal, right, light[c])


@kernel
def color_term(maps, lens, center, count, sigma, border, scratch, derive, matrix, vector):
    """Mean robust colour residual of the points on the foreground, `border` inside of its outline, and their share of all.

    The light is estimated.
    """
    seen = 0
    for i in range(count):
        scratch[i, 14] = 0.0
        within = scratch[i, 8] > 0.0 and scratch[i, 12] > 0.5 and scratch[i, 13] > 0.3
        if within and maps[int(scratch[i, 7]), int(scratch[i, 6]), 2] < -border:
            scratch[i, 14] = 1.0
            seen += 1
            for c in range(3):
                scratch[i, 15 + c] = bilinear(maps, 3 + c, scratch[i, 6], scratch[i, 7])[0]
    if seen < 12:
        return 1.0, 0.0
    light, basis = np.zeros((3, _LIGHT)), np.empty(_LIGHT)
    fit_light(scratch, count, sigma, light)
    total = 0.0
    scale = 1.0 / (3 * seen)
    for i in range(count):
        if scratch[i, 14] == 0.0:
            continue
        for c in range(3):
            light_basis(scratch, i, c, basis)
            predicted = 0.0
            for a in range(_LIGHT):
                predicted += light[c, a] * basis[a]
            u = (scratch[i, 15 + c] - predicted) / sigma
            cost, weight = robust(u)
            total += cost
            if derive:
                _, du, dv = bilinear(maps, 3 + c, scratch[i, 6], scratch[i, 7])
                gx, gy, gz = image_gradient(lens, scratch[i, 0], scratch[i, 1], scratch[i, 2], du / sigma, dv / sigma)
                push(matrix, vector, scratch[i, 0], scratch[i, 1], scratch[i, 2], center, gx, gy, gz, u, weight * scale)
    return total * scale, seen / count


@kernel
def depth_term(maps, center, count, sigma, near_gap, scratch, derive, matrix, vector):
    """Mean robust distance from measured points to the tangent planes, and the share of the points with a measurement."""
    total, used, hidden, facing = 0.0, 0, 0, 0
    for i in range(count):
        scratch[i, 14] = 0.0
        if scratch[i, 8] == 0.0:
            continue
        facing += 1
        depth = maps[int(scratch[i, 7]), int(scratch[i, 6]), 6]
        if depth <= 0.0:
            continue
        if depth < scratch[i, 2] - near_gap and scratch[i, 13] < 0.5:
            hidden += 1
            continue
        scratch[i, 14] = depth
        used += 1
    if used < 8:
        return 1.0, 0.0
    scale = 1.0 / used
    for i in range(count):
        depth = scratch[i, 14]
        if depth == 0.0:
            continue
        x, y, z = scratch[i, 0], scratch[i, 1], scratch[i, 2]
        nx, ny, nz = scratch[i, 3], scratch[i, 4], scratch[i, 5]
        along = (nx * x + ny * y + nz * z) * (depth / z - 1.0)
        far = max(abs(depth - z) - 8.0 * sigma, 0.0)  # a tangent plane seen edge-on would forgive any depth
        u = along / sigma
        cost, weight = robust(u)
        gap_cost, _ = robust(far / (8.0 * sigma))
        total += max(cost, gap_cost)
        if derive:
            push(matrix, vector, x, y, z, center, -nx / sigma, -ny / sigma, -nz / sigma, u, weight * (1.0 - gap_cost) * scale)
    return (total + 0.4 * hidden) / (used + hidden), used / max(facing, 1)


@kernel
def place_rim(rim, view, pose, lens, maps, near_gap, edge):
    """Project the rim of a view: columns of camera xyz, pixel xy, and whether the mask is known there."""
    height, width = maps.shape[0], maps.shape[1]
    for i in range(rim.shape[1]):
        x, y, z = rim[view, i, 0], rim[view, i, 1], rim[view, i, 2]
        for a in range(3):
            edge[a, i] = pose[a, 0] * x + pose[a, 1] * y + pose[a, 2] * z + pose[a, 3]
        cz = edge[2, i]
        edge[5, i] = 0.0
        if cz < 1e-2:
            edge[3, i], edge[4, i] = -1e9, -1e9
            continue
        u, v = lens[0] * edge[0, i] / cz + lens[2], lens[1] * edge[1, i] / cz + lens[3]
        edge[3, i], edge[4, i] = u, v
        if u >= 0.5 and v >= 0.5 and u <= width - 0.5 and v <= height - 0.5:
            row, column = int(v), int(u)
            depth = maps[row, column, 6]
            hidden = depth > 0.0 and depth < cz - near_gap and maps[row, column, 0] < 0.5
            edge[5, i] = 0.0 if hidden or maps[row, column, 1] < 0.5 else 1.0


@kernel
def rim_term(maps, channel, lens, center, sigma, edge, derive, matrix, vector):
    """Mean robust distance (a channel of the maps) of the rim, and the share of the rim that is known."""
    total, used = 0.0, 0
    for i in range(edge.shape[1]):
        used += int(edge[5, i])
    if used < 6:
        return 1.0, 0.0
    scale = 1.0 / used
    for i in range(edge.shape[1]):
        if edge[5, i] == 0.0:
            continue
        value, du, dv = bilinear(maps, channel, edge[3, i], edge[4, i])
        u = value / sigma
        cost, weight = robust(u)
        total += cost
        if derive:
            gx, gy, gz = image_gradient(lens, edge[0, i], edge[1, i], edge[2, i], du / sigma, dv / sigma)
            push(matrix, vector, edge[0, i], edge[1, i], edge[2, i], center, gx, gy, gz, u, weight * scale)
    return total * scale, used / edge.shape[1]


@kernel
def find_nearest(outline, edge, us, vs, least, number):
    """For each point of the mask's outline: x, y, squared distance to the nearest point of the rim, and the number of that.

    The inner loop runs over the outline, whose points have a minimum each: so it is done for several at once.
    """
    for m in range(len(us)):
        us[m], vs[m], least[m], number[m] = outline[m, 0], outline[m, 1], np.inf, 0.0
    for i in range(edge.shape[1]):
        u, v, this = edge[3, i], edge[4, i], float(i)
        for m in range(len(us)):
            du, dv = u - us[m], v - vs[m]
            away = du * du + dv * dv
            nearer = away < least[m]
            least[m] = away if nearer else least[m]
            number[m] = this if nearer else number[m]


@kernel
def cover_term(outline, lens, center, sigma, edge, found, derive, matrix, vector):
    """Mean robust distance from the mask's outline [M, 5] (x, y, outward normal, weight) to the nearest point of the rim."""
    total, used = 0.0, 0.0
    for m in range(outline.shape[0]):
        used += outline[m, 4]
    if used < 1.0:
        return 1.0, 0.0
    find_nearest(outline, edge, found[0], found[1], found[2], found[3])
    for m in range(outline.shape[0]):
        best, nearest = found[2, m], int(found[3, m])
        share = outline[m, 4] / used
        cost, weight = robust(math.sqrt(best) / sigma)
        total += cost * share
        if derive and edge[2, nearest] > 1e-2:
            nx, ny = outline[m, 2], outline[m, 3]
            gap = nx * (edge[3, nearest] - outline[m, 0]) + ny * (edge[4, nearest] - outline[m, 1])
            x, y, z = edge[0, nearest], edge[1, nearest], edge[2, nearest]
            gx, gy, gz = image_gradient(lens, x, y, z, nx / sigma, ny / sigma)
            push(matrix, vector, x, y, z, center, gx, gy, gz, gap / sigma, weight * share)
    return total, used / outline.shape[0]


@kernel
def add_term(weight, matrix, vector, whole, slope):
    """Add a term's normal equations to the sum, and empty them."""
    for a in range(6):
        slope[a] += weight * vector[a]
        vector[a] = 0.0
        for b in range(a):
            whole[a, b] += weight * matrix[a, b]
            whole[b, a] += weight * matrix[a, b]
            matrix[a, b] = 0.0
        whole[a, a] += weight * matrix[a, a]
        matrix[a, a] = 0.0


@kernel
def pose_terms_range(
    begin, end, points, rim, areas, views, poses, maps, outline, lens, sigmas, weights, shared, derive, costs, matrices, slopes
):  # fmt: skip
    """Costs [B, 12] (six terms, then the share of the points that each is from), matrices [B, 6, 6] and slopes [B, 6] of [begin, end).

    Args:
        points: [V, P, 9] xyz, normal, colour of the surface points of each view. rim: [V, C, 3]. areas: [V] of the silhouettes.
        views: [B]. poses: [B, 3 or 4, 4] camera_from_object; the object's frame has its origin in its middle.
        maps: [H, W, 8]. outline: [M, 5]. lens: fx, fy, cx, cy. sigmas: of outline, cover, colour, depth, edge; and how far
            inside of the outline colours begin to count, px. weights: of the six terms.
        shared: area of the mask (px), and how much nearer than the object a surface is that hides it.
    """
    count = points.shape[1]
    scratch, edge = np.empty((count, 18)), np.empty((6, rim.shape[1]))
    found = np.empty((4, outline.shape[0]))
    matrix, vector, center = np.zeros((7, 6)), np.zeros(6), np.empty(3)
    for b in range(begin, end):
        pose, view = poses[b], views[b]
        for a in range(3):
            center[a] = pose[a, 3]
        whole, slope, cost = matrices[b], slopes[b], costs[b]
        whole[:] = 0.0
        slope[:] = 0.0
        cost[:] = 0.0
        facing, known, inside = place(points, view, pose, lens, maps, shared[1], scratch)
        if weights[REGION] > 0.0:
            pixels = areas[view] * lens[0] * lens[1] / max(center[2] * center[2], 1e-4) / max(facing, 1)
            common = pixels * inside
            union = shared[0] + _BEYOND * (pixels * known - common)
            overlap = common / union if union > 0.0 else 0.0
            cost[REGION], cost[6 + REGION] = 1.0 - min(overlap, 1.0), known / count
        if weights[COLOR] > 0.0:
            cost[COLOR], cost[6 + COLOR] = color_term(maps, lens, center, count, sigmas[2], sigmas[5], scratch, derive, matrix, vector)
            add_term(weights[COLOR], matrix, vector, whole, slope)
        if weights[DEPTH] > 0.0:
            cost[DEPTH], cost[6 + DEPTH] = depth_term(maps, center, count, sigmas[3], shared[1], scratch, derive, matrix, vector)
            add_term(weights[DEPTH], matrix, vector, whole, slope)
        if weights[OUTLINE] + weights[COVER] + weights[EDGE] == 0.0:
            continue
        place_rim(rim, view, pose, lens, maps, shared[1], edge)
        if weights[COVER] > 0.0:
            cost[COVER], cost[6 + COVER] = cover_term(outline, lens, center, sigmas[1], edge, found, derive, matrix, vector)
            add_term(weights[COVER], matrix, vector, whole, slope)
        for k in range(2):  # the outline, then the edges
            term = OUTLINE + k * (EDGE - OUTLINE)
            if weights[term] > 0.0:
                cost[term], cost[6 + term] = rim_term(maps, 2 + 5 * k, lens, center, sigmas[4 * k], edge, derive, matrix, vector)
                add_term(weights[term], matrix, vector, whole, slope)
