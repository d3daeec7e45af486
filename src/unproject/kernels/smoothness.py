"""Edge length, Laplacian and normal consistency of a mesh: each loss and its gradient in passes over vertices or faces.

Every pass gathers from neighbours and writes its own row, so slices never meet and results do not depend on the order of threads.
Each slice adds its part of the loss into its own slot, in float64.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

MAX_PAIR_RANK = 64  # of geometry/topology.py: an edge of very many faces pairs each with this many earlier ones


@kernel
def _mesh_of(item, offsets, guess):
    """The mesh whose range of a packed batch has this item, searched upward from a guess."""
    mesh = guess
    while item >= offsets[mesh + 1]:
        mesh += 1
    return mesh


@kernel
def edge_length_range(slot, begin, end, vertices, offsets, neighbors, neighbor_edges, targets, vertex_offsets, weights, losses, gradient):
    """weight (length - target)^2 over edges, seen from both ends. `targets`: [E], or [1] for all."""
    real = vertices.dtype.type
    loss, mesh = 0.0, 0
    for i in range(begin, end):
        mesh = _mesh_of(i, vertex_offsets, mesh)
        weight = weights[mesh]
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        gx, gy, gz = real(0), real(0), real(0)
        part = real(0)
        for k in range(offsets[i], offsets[i + 1]):
            j = neighbors[k]
            dx, dy, dz = x - vertices[j, 0], y - vertices[j, 1], z - vertices[j, 2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            target = targets[0] if targets.shape[0] == 1 else targets[neighbor_edges[k]]
            excess = length - target
            part += excess * excess
            if length > 0:
                scale = excess / length
                gx += scale * dx
                gy += scale * dy
                gz += scale * dz
        loss += 0.5 * weight * part
        slope = real(2 * weight)
        gradient[i, 0], gradient[i, 1], gradient[i, 2] = slope * gx, slope * gy, slope * gz
    losses[slot] = loss


@kernel
def cotangent_weights_range(begin, end, vertices, faces, halfedge_offsets, halfedges, smallest_sine, weights):
    """Half the sum of the cotangents opposite to each edge, bounded as in geometry/laplacian.py."""
    real = vertices.dtype.type
    for e in range(begin, end):
        total = real(0)
        for k in range(halfedge_offsets[e], halfedge_offsets[e + 1]):
            f, corner = halfedges[k] // 3, halfedges[k] % 3
            a, b, c = faces[f, corner], faces[f, (corner + 1) % 3], faces[f, (corner + 2) % 3]
            ux, uy, uz = vertices[a, 0] - vertices[c, 0], vertices[a, 1] - vertices[c, 1], vertices[a, 2] - vertices[c, 2]
            vx, vy, vz = vertices[b, 0] - vertices[c, 0], vertices[b, 1] - vertices[c, 1], vertices[b, 2] - vertices[c, 2]
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            dot = ux * vx + uy * vy + uz * vz
            uu, vv = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz
            floor = real(smallest_sine) * (real(2) * (uu + vv) - real(2) * dot)
            down = max(np.sqrt(nx * nx + ny * ny + nz * nz), floor)
            if down > 0:
                total += dot / down
        weights[e] = real(0.5) * total


@kernel
def cotangent_scales_range(begin, end, offsets, neighbor_edges, weights, scales):
    """One over the sum of a vertex's weights; where negative ones almost cancel it, over a twentieth of the sum of magnitudes."""
    real = weights.dtype.type
    for i in range(begin, end):
        total, magnitude = real(0), real(0)
        for k in range(offsets[i], offsets[i + 1]):
            w = weights[neighbor_edges[k]]
            total += w
            magnitude += abs(w)
        down = max(total, real(0.05) * magnitude)
        scales[i] = real(1) / down if down > 0 else real(0)


@kernel
def vertex_areas_range(begin, end, vertices, faces, corner_offsets, corners, areas):
    """Sum of the areas of the faces around each vertex."""
    real = vertices.dtype.type
    for i in range(begin, end):
        total = real(0)
        for k in range(corner_offsets[i], corner_offsets[i + 1]):
            f = corners[k] // 3
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
            vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            total += real(0.5) * np.sqrt(nx * nx + ny * ny + nz * nz)
        areas[i] = total


@kernel
def laplacian_range(
    slot, begin, end, vertices, offsets, neighbors, neighbor_edges, edge_weights, scales, vertex_offsets, weights, squared, losses, pulls
):
    """Length (or its square) of d_i = scale_i * sum of w_ij (v_j - v_i); `pulls` gets the derivative by the sum."""
    real = vertices.dtype.type
    uniform = edge_weights.shape[0] == 0
    loss, mesh = 0.0, 0
    for i in range(begin, end):
        mesh = _mesh_of(i, vertex_offsets, mesh)
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        dx, dy, dz = real(0), real(0), real(0)
        for k in range(offsets[i], offsets[i + 1]):
            j = neighbors[k]
            w = real(1) if uniform else edge_weights[neighbor_edges[k]]
            dx += w * (vertices[j, 0] - x)
            dy += w * (vertices[j, 1] - y)
            dz += w * (vertices[j, 2] - z)
        scale = real(0)
        if not uniform:
            scale = scales[i]
        elif offsets[i + 1] > offsets[i]:
            scale = real(1) / real(np.int32(offsets[i + 1] - offsets[i]))
        dx, dy, dz = scale * dx, scale * dy, scale * dz
        square = dx * dx + dy * dy + dz * dz
        length = np.sqrt(square)
        loss += weights[mesh] * (square if squared else length)
        slope = real(0)
        if squared:
            slope = real(2 * weights[mesh]) * scale
        elif length > 0:
            slope = real(weights[mesh]) * scale / length
        pulls[i, 0], pulls[i, 1], pulls[i, 2] = slope * dx, slope * dy, slope * dz
    losses[slot] = loss


@kernel
def laplacian_gradient_range(begin, end, offsets, neighbors, neighbor_edges, edge_weights, pulls, gradient):
    """The transpose of the sums in `laplacian_range`, applied to `pulls`."""
    real = pulls.dtype.type
    uniform = edge_weights.shape[0] == 0
    for i in range(begin, end):
        x, y, z = pulls[i, 0], pulls[i, 1], pulls[i, 2]
        gx, gy, gz = real(0), real(0), real(0)
        for k in range(offsets[i], offsets[i + 1]):
            j = neighbors[k]
            w = real(1) if uniform else edge_weights[neighbor_edges[k]]
            gx += w * (pulls[j, 0] - x)
            gy += w * (pulls[j, 1] - y)
            gz += w * (pulls[j, 2] - z)
        gradient[i, 0], gradient[i, 1], gradient[i, 2] = gx, gy, gz


@kernel
def face_normals_range(begin, end, vertices, faces, smallest_sine, normals, inverse_lengths):
    """Unit normals and one over the length of the cross product; both zero where that is rounding error."""
    real = vertices.dtype.type
    for f in range(begin, end):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        floor = real(smallest_sine) * (ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz)
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        inverse = real(1) / length if length > floor else real(0)
        inverse_lengths[f] = inverse
        normals[f, 0], normals[f, 1], normals[f, 2] = inverse * nx, inverse * ny, inverse * nz


@kernel
def normal_consistency_range(
    slot, begin, end, faces, face_edges, halfedge_offsets, halfedges, normals, inverse_lengths, face_offsets, weights, losses, pulls
):
    """1 - cosine between the faces of each pair, seen from both; `pulls` gets the derivative by each face's cross product."""
    real = normals.dtype.type
    loss, mesh = 0.0, 0
    for f in range(begin, end):
        mesh = _mesh_of(f, face_offsets, mesh)
        x, y, z = normals[f, 0], normals[f, 1], normals[f, 2]
        gx, gy, gz = real(0), real(0), real(0)
        part = real(0)
        for i in range(3):
            e = face_edges[f, i]
            if e < 0:
                continue
            first, last = halfedge_offsets[e], halfedge_offsets[e + 1]
            own = first
            while halfedges[own] != 3 * f + i:
                own += 1
            for k in range(max(first, own - MAX_PAIR_RANK), min(last, own + MAX_PAIR_RANK + 1)):
                if k == own:
                    continue
                g = halfedges[k] // 3
                alike = faces[g, halfedges[k] % 3] != faces[f, i]
                sign = real(1) if alike else real(-1)
                ox, oy, oz = sign * normals[g, 0], sign * normals[g, 1], sign * normals[g, 2]
                if inverse_lengths[f] > 0 and inverse_lengths[g] > 0:
                    dx, dy, dz = x - ox, y - oy, z - oz
                    part += real(0.5) * (dx * dx + dy * dy + dz * dz)  # 1 - cosine, without cancellation
                else:
                    part += real(1)
                cosine = x * ox + y * oy + z * oz
                gx -= ox - cosine * x
                gy -= oy - cosine * y
                gz -= oz - cosine * z
        loss += 0.5 * weights[mesh] * part
        slope = real(weights[mesh]) * inverse_lengths[f]
        pulls[f, 0], pulls[f, 1], pulls[f, 2] = slope * gx, slope * gy, slope * gz
    losses[slot] = loss


@kernel
def cross_gradient_range(begin, end, vertices, faces, corner_offsets, corners, pulls, gradient):
    """Derivative by the vertices from the derivative by each face's cross product (b - a) x (c - a)."""
    real = vertices.dtype.type
    for i in range(begin, end):
        gx, gy, gz = real(0), real(0), real(0)
        for k in range(corner_offsets[i], corner_offsets[i + 1]):
            f, corner = corners[k] // 3, corners[k] % 3
            b, c = faces[f, (corner + 1) % 3], faces[f, (corner + 2) % 3]
            dx, dy, dz = vertices[b, 0] - vertices[c, 0], vertices[b, 1] - vertices[c, 1], vertices[b, 2] - vertices[c, 2]
            px, py, pz = pulls[f, 0], pulls[f, 1], pulls[f, 2]
            gx += dy * pz - dz * py
            gy += dz * px - dx * pz
            gz += dx * py - dy * px
        gradient[i, 0], gradient[i, 1], gradient[i, 2] = gx, gy, gz
