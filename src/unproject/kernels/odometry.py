"""Dense RGB-D alignment: image pyramids with normals, and the normal equations of one Gauss-Newton step over all pixels."""

from __future__ import annotations

import numpy as np

from .jit import kernel

SUMS = 33  # 21 of J^T J (upper triangle by rows), 6 of J^T r, then: cost, pixels, inliers, |r| of both kinds, pixels of both kinds


@kernel
def halve_range(begin, end, depth, intensity, jump, half_depth, half_intensity):
    """Rows of the next pyramid level: mean intensity of 2 x 2 pixels, mean depth of those on the nearest surface among them."""
    for row in range(begin, end):
        for column in range(half_depth.shape[1]):
            nearest, bright = np.float32(np.inf), np.float32(0)
            for k in range(4):
                r, c = 2 * row + (k >> 1), 2 * column + (k & 1)
                bright += intensity[r, c]
                if depth[r, c] > 0:
                    nearest = min(nearest, depth[r, c])
            total, count = np.float32(0), np.float32(0)
            for k in range(4):
                d = depth[2 * row + (k >> 1), 2 * column + (k & 1)]
                if d > 0 and d <= nearest * (np.float32(1) + jump):
                    total += d
                    count += 1
            half_depth[row, column] = total / count if count > 0 else np.float32(0)
            half_intensity[row, column] = bright * np.float32(0.25)


@kernel
def describe_range(begin, end, depth, intensity, fx, fy, cx, cy, jump, normal, gradient):
    """Normals of rows in camera space (0: none), towards the camera, and intensity gradients per pixel by central differences."""
    height, width = depth.shape
    for row in range(begin, end):
        up, down = max(row - 1, 0), min(row + 1, height - 1)
        y = (np.float32(row) + np.float32(0.5) - cy) / fy
        for column in range(width):
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            gradient[row, column, 0] = (intensity[row, right] - intensity[row, left]) / np.float32(max(right - left, 1))
            gradient[row, column, 1] = (intensity[down, column] - intensity[up, column]) / np.float32(max(down - up, 1))
            normal[row, column, 0], normal[row, column, 1], normal[row, column, 2] = 0, 0, 0
            d = depth[row, column]
            if not d > 0 or left == right or up == down:
                continue
            a, b, e, f = depth[row, left], depth[row, right], depth[up, column], depth[down, column]
            if not (a > 0 and b > 0 and e > 0 and f > 0):
                continue
            if max(abs(a - d), abs(b - d), abs(e - d), abs(f - d)) > jump * d:
                continue
            along_u, along_v = (b - a) / np.float32(right - left), (f - e) / np.float32(down - up)
            x = (np.float32(column) + np.float32(0.5) - cx) / fx
            nx, ny = along_u * fx, along_v * fy
            nz = -d - x * nx - y * ny
            scale = np.float32(1) / np.sqrt(nx * nx + ny * ny + nz * nz)
            normal[row, column, 0], normal[row, column, 1], normal[row, column, 2] = nx * scale, ny * scale, nz * scale


@kernel
def bilinear(image, u, v):
    """Value at pixel coordinates, whose cell of four centres must be inside."""
    x, y = u - np.float32(0.5), v - np.float32(0.5)
    column, row = int(x), int(y)
    s, t = x - np.float32(column), y - np.float32(row)
    above = image[row, column] + s * (image[row, column + 1] - image[row, column])
    below = image[row + 1, column] + s * (image[row + 1, column + 1] - image[row + 1, column])
    return above + t * (below - above)


@kernel
def tukey(residual, scale):
    """Weight of a residual: 1 at 0, falling smoothly to 0 at `scale` times 4.685."""
    share = residual / (np.float32(4.685) * scale)
    rest = np.float32(1) - share * share
    return rest * rest if rest > 0 else np.float32(0)


@kernel
def add_equation(sums, jacobian, residual, weight):
    place = 0
    for i in range(6):
        left = weight * jacobian[i]
        for j in range(i, 6):
            sums[place] += left * jacobian[j]
            place += 1
        sums[21 + i] += left * residual
    sums[27] += weight * residual * residual


@kernel
def align_rows(
    begin,
    end,
    depth,
    intensity,
    target_depth,
    target_intensity,
    normal,
    gradient,
    fx,
    fy,
    cx,
    cy,
    pose,
    gap,
    depth_scale,
    light_scale,
    light_share,
    sums,
):
    """Sums of the normal equations for pixels in rows of the source image, moved into the target's camera by `pose` [3, 4].

    Two residuals a pixel: the distance to the target's tangent plane over `depth_scale` times the depth, and the difference in
    intensity over `light_scale`, times `light_share`. Tangent: (translation, rotation) applied on the left.

    Args:
        gap: pixels whose depth differs by more than this fraction of it see different surfaces.
    """
    width = depth.shape[1]
    target_height, target_width = target_depth.shape
    jacobian = np.empty(6, np.float64)
    for row in range(begin, end):
        y = (np.float32(row) + np.float32(0.5) - cy) / fy
        for column in range(width):
            d = depth[row, column]
            if not d > 0:
                continue
            x = (np.float32(column) + np.float32(0.5) - cx) / fx * d
            px = pose[0, 0] * x + pose[0, 1] * y * d + pose[0, 2] * d + pose[0, 3]
            py = pose[1, 0] * x + pose[1, 1] * y * d + pose[1, 2] * d + pose[1, 3]
            pz = pose[2, 0] * x + pose[2, 1] * y * d + pose[2, 2] * d + pose[2, 3]
            if not pz > np.float32(1e-6):
                continue
            inverse = np.float32(1) / pz
            u, v = fx * px * inverse + cx, fy * py * inverse + cy
            if not (u >= 1 and v >= 1 and u < target_width - 1 and v < target_height - 1):
                continue
            sums[28] += 1
            r, c = int(v), int(u)
            seen = target_depth[r, c]
            if not seen > 0 or abs(seen - pz) > gap * pz:
                continue
            inlier = True
            nx, ny, nz = normal[r, c, 0], normal[r, c, 1], normal[r, c, 2]
            if nz != 0:
                qx, qy = (np.float32(c) + np.float32(0.5) - cx) / fx * seen, (np.float32(r) + np.float32(0.5) - cy) / fy * seen
                scale = depth_scale * pz
                distance = (nx * (px - qx) + ny * (py - qy) + nz * (pz - seen)) / scale
                sums[30] += min(abs(distance), np.float32(3))
                sums[32] += 1
                weight = tukey(distance, np.float32(1))
                inlier = weight > 0
                jacobian[0], jacobian[1], jacobian[2] = nx / scale, ny / scale, nz / scale
                jacobian[3] = (py * nz - pz * ny) / scale
                jacobian[4] = (pz * nx - px * nz) / scale
                jacobian[5] = (px * ny - py * nx) / scale
                if inlier:
                    add_equation(sums, jacobian, distance, weight)
            if inlier:
                sums[29] += 1
                difference = (bilinear(target_intensity, u, v) - intensity[row, column]) / light_scale
                sums[31] += min(abs(difference), np.float32(3))
                gu = bilinear(gradient[:, :, 0], u, v) * fx * inverse / light_scale
                gv = bilinear(gradient[:, :, 1], u, v) * fy * inverse / light_scale
                gz = -(gu * px + gv * py) * inverse
                jacobian[0], jacobian[1], jacobian[2] = gu, gv, gz
                jacobian[3], jacobian[4], jacobian[5] = py * gz - pz * gv, pz * gu - px * gz, px * gv - py * gu
                add_equation(sums, jacobian, difference, light_share * tukey(difference, np.float32(1)))
