"""Kernels: patches of consistently oriented normals (a spanning forest with parities) and the field energy between patches."""

import numpy as np

from .jit import kernel


@kernel
def _root(parent, parity, x):
    """Root of x and the parity between both; shortens the path."""
    sign, top = 1, x
    while parent[top] != top:
        sign *= parity[top]
        top = parent[top]
    rest, at = sign, x
    while parent[at] != top and at != top:
        after, own = parent[at], parity[at]
        parent[at] = top
        parity[at] = rest
        rest *= own
        at = after
    return top, sign


@kernel
def join_patches(begin, end, first, second, order, normals, limit, parent, parity, size):
    """Join both ends of the edges order[begin:end] (best first) unless the patch would exceed `limit` points. One call at a time."""
    for t in range(begin, end):
        a, b = first[order[t]], second[order[t]]
        x, sign_a = _root(parent, parity, a)
        y, sign_b = _root(parent, parity, b)
        if x == y or size[x] + size[y] > limit:
            continue
        dot = normals[a, 0] * normals[b, 0] + normals[a, 1] * normals[b, 1] + normals[a, 2] * normals[b, 2]
        sign = sign_a * sign_b * (1 if dot >= 0 else -1)
        if size[x] < size[y]:
            x, y = y, x
        parent[y] = x
        parity[y] = sign
        size[x] += size[y]


@kernel
def patch_roots(begin, end, parent, parity, root, sign):
    """Root of each point's patch and the sign of its normal in it."""
    for n in range(begin, end):
        s, x = 1, n
        while parent[x] != x:
            s *= parity[x]
            x = parent[x]
        root[n] = x
        sign[n] = s


@kernel
def dipole_energy_rows(begin, end, starts, points, moments, softening, energy):
    """energy [P, P]: for patches a in [begin, end) and all b other than a, the sum over their points i, j of m_i . grad chi_j(p_i).

    chi_j is the potential of a dipole m_j at p_j, softened. points, moments: [3, N]; patch a has points starts[a] to starts[a + 1].
    """
    patch_count = len(starts) - 1
    unit, three, zero = points.dtype.type(1), points.dtype.type(3), points.dtype.type(0)
    soft = points.dtype.type(softening * softening)
    for a in range(begin, end):
        for b in range(patch_count):
            total = 0.0
            if a != b:
                for i in range(starts[a], starts[a + 1]):
                    x, y, z = points[0, i], points[1, i], points[2, i]
                    u, v, w = moments[0, i], moments[1, i], moments[2, i]
                    s = zero
                    for j in range(starts[b], starts[b + 1]):
                        dx, dy, dz = x - points[0, j], y - points[1, j], z - points[2, j]
                        q = unit / (dx * dx + dy * dy + dz * dz + soft)
                        mx, my, mz = moments[0, j], moments[1, j], moments[2, j]
                        along = (u * dx + v * dy + w * dz) * (mx * dx + my * dy + mz * dz)
                        s += q * np.sqrt(q) * (u * mx + v * my + w * mz - three * q * along)
                    total += np.float64(s)
            energy[a, b] = total
