"""Depth images into blocks of 8^3 truncated signed distances: what a pixel is worth, which blocks it touches, the weighted mean.

Volumes are float32: they are as large as memory allows, and the measurements carry three digits.
"""

from __future__ import annotations

import numpy as np

from .block_hash import EMPTY, HALF_RANGE, block_key, first_slot
from .jit import kernel
from .lane_gather import gather, packed_byte, pixel_index
from .simd import bits, load, minimum, select, splat, store

TILE = 16  # pixels along the sides of a tile of `tile_depth_range`


# ---- pixels ----------------------------------------------------------------------------------------------------------------------


@kernel
def slope(depth, row, column, row_step, column_step, jump):
    """Depth change per pixel along one axis, from pixels on the same surface; NaN without one.

    Three pixels away on either side, where the surface reaches so far, or else the next ones: noise counts less over a longer way.
    """
    height, width = depth.shape
    center = depth[row, column]
    total, length = np.float32(0), np.float32(0)
    for sign in (-1, 1):
        r, c = row + sign * row_step, column + sign * column_step
        if not (0 <= r < height and 0 <= c < width and depth[r, c] > 0 and abs(depth[r, c] - center) < jump):
            continue
        step, reach = depth[r, c] - center, np.float32(1)
        r, c = row + 3 * sign * row_step, column + 3 * sign * column_step
        if 0 <= r < height and 0 <= c < width and depth[r, c] > 0 and abs(depth[r, c] - center) < jump:
            step, reach = depth[r, c] - center, np.float32(3)
        total += sign * step
        length += reach
    return total / length if length > 0 else np.float32(np.nan)


@kernel
def weigh_range(begin, end, depth, rgb, fx, fy, cx, cy, max_depth, grazing_cosine, full_weight_depth, relative_jump, factor, packed):
    """For rows of a depth image: how a distance along z becomes one along the normal, and a pixel's weight in [0, 1].

    Packed is the weight in 255 steps in the highest byte, then the colour.

    The weight is the cosine of incidence, times (full_weight_depth / depth)^2 beyond that depth. It is 0 where the surface is seen at a
    grazing angle and where a pixel has no neighbour on its surface: flying pixels at silhouettes and speckles.
    """
    width = depth.shape[1]
    for row in range(begin, end):
        y = (np.float32(row) + np.float32(0.5) - cy) / fy
        for column in range(width):
            d = depth[row, column]
            factor[row, column], packed[row, column] = 1, 0
            if not (d > 0 and d <= max_depth):
                continue
            jump = relative_jump * d
            along_u = slope(depth, row, column, 0, 1, jump)
            along_v = slope(depth, row, column, 1, 0, jump)
            if not (abs(along_u) < np.inf and abs(along_v) < np.inf):
                continue
            x = (np.float32(column) + np.float32(0.5) - cx) / fx
            # The normal is the cross product of d(depth * ray) / du and / dv; its length along the ray (x, y, 1) is d / (fx fy) times:
            nx, ny = -along_u * fx, -along_v * fy
            nz = d - x * nx - y * ny
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            ray = np.sqrt(x * x + y * y + np.float32(1))
            along_ray = (x * nx + y * ny + nz) / length
            cosine = along_ray / ray
            if cosine < grazing_cosine:
                continue
            far = min(np.float32(1), full_weight_depth / d)
            factor[row, column] = along_ray
            code = np.uint32(max(np.float32(1), cosine * far * far * np.float32(255) + np.float32(0.5))) << np.uint32(24)
            red, green, blue = np.uint32(rgb[row, column, 0]), np.uint32(rgb[row, column, 1]), np.uint32(rgb[row, column, 2])
            packed[row, column] = np.int32(code | red << np.uint32(16) | green << np.uint32(8) | blue)


@kernel
def tile_depth_range(begin, end, depth, packed, largest):
    """The largest depth with a weight in each tile of TILE^2 pixels, for rows of tiles; 0 without one."""
    height, width = depth.shape
    for tile_row in range(begin, end):
        for tile_column in range(largest.shape[1]):
            top = np.float32(0)
            for row in range(tile_row * TILE, min((tile_row + 1) * TILE, height)):
                for column in range(tile_column * TILE, min((tile_column + 1) * TILE, width)):
                    if packed[row, column] != 0:
                        top = max(top, depth[row, column])
            largest[tile_row, tile_column] = top


# ---- blocks ----------------------------------------------------------------------------------------------------------------------


@kernel
def touch_rows(begin, end, depth, packed, fx, fy, cx, cy, grid_from_camera, truncation, block_length, stride, recent, found):
    """Keys of the blocks within the truncation distance of each stride-th pixel along its ray, with repetitions. Returns their number.

    `recent` remembers keys by hash, so that neighbouring pixels seldom repeat one.
    """
    count = 0
    m = grid_from_camera
    for row in range(begin * stride, min(end * stride, depth.shape[0]), stride):
        y = (row + 0.5 - cy) / fy
        for column in range(0, depth.shape[1], stride):
            if packed[row, column] == 0:
                continue
            d = np.float64(depth[row, column])
            x = (column + 0.5 - cx) / fx
            ray = np.sqrt(x * x + y * y + 1)
            steps = int(np.ceil(4 * truncation / block_length)) + 1  # not further apart than half a block
            for step in range(steps):
                z = d + truncation / ray * (2.0 * step / (steps - 1) - 1)
                i = np.floor((m[0, 0] * x * z + m[0, 1] * y * z + m[0, 2] * z + m[0, 3]) / 8)
                j = np.floor((m[1, 0] * x * z + m[1, 1] * y * z + m[1, 2] * z + m[1, 3]) / 8)
                k = np.floor((m[2, 0] * x * z + m[2, 1] * y * z + m[2, 2] * z + m[2, 3]) / 8)
                if max(abs(i), abs(j), abs(k)) >= HALF_RANGE or z <= 0:
                    continue
                key = block_key(np.int64(i), np.int64(j), np.int64(k))
                slot = first_slot(key, recent.shape[0])
                if recent[slot] != key:
                    recent[slot] = key
                    found[count] = key
                    count += 1
    return count


@kernel
def insert_keys(found, count, block_count, block_limit, keys, slots, coordinates):
    """Add the blocks that the table does not have yet. Returns the new block count and how many of the keys are done.

    Stops early at the limit of blocks or when the table is half full.
    """
    capacity = keys.shape[0]
    for n in range(count):
        key = found[n]
        slot = first_slot(key, capacity)
        while keys[slot] != EMPTY and keys[slot] != key:
            slot = (slot + 1) & (capacity - 1)
        if keys[slot] == key:
            continue
        if block_count >= block_limit or 2 * block_count >= capacity:
            return block_count, n
        keys[slot] = key
        slots[slot] = block_count
        coordinates[block_count, 0] = (key >> 42) - HALF_RANGE
        coordinates[block_count, 1] = (key >> 21 & (2 * HALF_RANGE - 1)) - HALF_RANGE
        coordinates[block_count, 2] = (key & (2 * HALF_RANGE - 1)) - HALF_RANGE
        block_count += 1
    return block_count, count


@kernel
def visible_range(begin, end, coordinates, camera_from_grid, fx, fy, cx, cy, shape, truncation, largest, visible):
    """1 for blocks that some pixel may change: in the frustum, and not wholly further behind what it sees than the truncation."""
    m = camera_from_grid
    height, width = shape
    radius = 0.5 * np.sqrt(3.0) * 8 * np.sqrt(m[0, 0] ** 2 + m[1, 0] ** 2 + m[2, 0] ** 2)
    for n in range(begin, end):
        visible[n] = 0
        gx, gy, gz = 8.0 * coordinates[n, 0] + 3.5, 8.0 * coordinates[n, 1] + 3.5, 8.0 * coordinates[n, 2] + 3.5
        z = m[2, 0] * gx + m[2, 1] * gy + m[2, 2] * gz + m[2, 3]
        if z + radius <= 0:
            continue
        x = m[0, 0] * gx + m[0, 1] * gy + m[0, 2] * gz + m[0, 3]
        y = m[1, 0] * gx + m[1, 1] * gy + m[1, 2] * gz + m[1, 3]
        nearest = z - radius
        left, right, top, bottom = 0.0, float(width), 0.0, float(height)
        if nearest > 0.1 * radius:  # else the camera is in the block or beside it: every pixel may see it
            # A sphere's image lies within that of its bounding box, whose extremes are at its near or far end.
            left = min((x - radius) / nearest, (x - radius) / (z + radius)) * fx + cx
            right = max((x + radius) / nearest, (x + radius) / (z + radius)) * fx + cx
            top = min((y - radius) / nearest, (y - radius) / (z + radius)) * fy + cy
            bottom = max((y + radius) / nearest, (y + radius) / (z + radius)) * fy + cy
            if right < 0 or bottom < 0 or left >= width or top >= height:
                continue
        deepest = np.float32(0)
        for tile_row in range(int(max(top, 0.0)) // TILE, int(min(bottom, height - 1.0)) // TILE + 1):
            for tile_column in range(int(max(left, 0.0)) // TILE, int(min(right, width - 1.0)) // TILE + 1):
                deepest = max(deepest, largest[tile_row, tile_column])
        if deepest > 0 and nearest < deepest + truncation:
            visible[n] = 1


@kernel
def integrate_range(
    begin,
    end,
    rows,
    coordinates,
    camera_from_grid,
    fx,
    fy,
    cx,
    cy,
    width,
    height,
    truncation,
    depth,
    factor,
    packed,
    ramp,
    tsdf,
    weight,
    color,
):
    """Fold a depth image into blocks: the weighted mean of distances along the normal over the truncation, and of colours.

    Args:
        rows: which blocks.
        depth, factor, packed: [pixels], of `weigh_range`.
        ramp: 0 to 7.
        tsdf, weight: flat, 512 a block. color: [3, 512 a block], 0 to 255.
    """
    m = camera_from_grid
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    lane = load(ramp, 0)
    step_x, step_y, step_z = lane * splat(np.float32(m[0, 2])), lane * splat(np.float32(m[1, 2])), lane * splat(np.float32(m[2, 2]))
    focal_x, focal_y, center_x, center_y = splat(fx), splat(fy), splat(cx), splat(cy)
    columns, lines = splat(np.float32(width)), splat(np.float32(height))
    near, inverse, byte = splat(np.float32(1e-6)), splat(np.float32(1 / truncation)), splat(np.float32(1 / 255))
    for n in range(begin, end):
        block = rows[n]
        gx, gy, gz = 8.0 * coordinates[block, 0], 8.0 * coordinates[block, 1], 8.0 * coordinates[block, 2]
        for i in range(8):
            for j in range(8):
                x, y = gx + i, gy + j
                vx = splat(np.float32(m[0, 0] * x + m[0, 1] * y + m[0, 2] * gz + m[0, 3])) + step_x
                vy = splat(np.float32(m[1, 0] * x + m[1, 1] * y + m[1, 2] * gz + m[1, 3])) + step_y
                vz = splat(np.float32(m[2, 0] * x + m[2, 1] * y + m[2, 2] * gz + m[2, 3])) + step_z
                reciprocal = one / vz
                u, v = vx * focal_x * reciprocal + center_x, vy * focal_y * reciprocal + center_y
                mask = (vz > near) & (u >= zero) & (u < columns) & (v >= zero) & (v < lines)
                if bits(mask) == 0:
                    continue
                pixel = pixel_index(u, v, width, mask)
                measured = gather(depth, pixel)
                distance = (measured - vz) * gather(factor, pixel) * inverse
                code = gather(packed, pixel)
                gain = packed_byte(code, 3) * byte
                mask = mask & (gain > zero) & (distance > zero - one)
                if bits(mask) == 0:
                    continue
                distance = minimum(distance, one)
                # Behind the surface less and less is known: what is seen may be thin.
                gain = gain * minimum(one, one + distance)
                place = block * 512 + i * 64 + j * 8
                old_weight = load(weight, place)
                new_weight = old_weight + gain
                rate = select(mask, gain / new_weight, zero)
                old = load(tsdf, place)
                store(tsdf, place, old + (distance - old) * rate)
                store(weight, place, select(mask, new_weight, old_weight))
                red, green, blue = load(color[0], place), load(color[1], place), load(color[2], place)
                store(color[0], place, red + (packed_byte(code, 2) - red) * rate)
                store(color[1], place, green + (packed_byte(code, 1) - green) * rate)
                store(color[2], place, blue + (packed_byte(code, 0) - blue) * rate)
