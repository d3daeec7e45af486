"""Interpolation of values at the corners of faces by barycentric weights, and its two adjoints."""

from __future__ import annotations

from .jit import kernel


@kernel
def interpolate_range(begin, end, values, corners, face, base, weights, out):
    """out[p] = sum over the corners of face[p] of weights[p] * values; 0 where face[p] is negative."""
    channels = values.shape[1]
    for p in range(begin, end):
        f = face[p]
        if f < 0:
            for c in range(channels):
                out[p, c] = 0
            continue
        shift = base[p] if base.shape[0] > 0 else 0
        i, j, k = corners[f, 0] + shift, corners[f, 1] + shift, corners[f, 2] + shift
        a, b, w = weights[p, 0], weights[p, 1], weights[p, 2]
        for c in range(channels):
            out[p, c] = a * values[i, c] + b * values[j, c] + w * values[k, c]


@kernel
def spread_range(begin, end, corners, face, base, weights, grad, out):
    """Adds weights[p] * grad[p] to the rows of the corners of face[p]: the gradient of the values. `out` belongs to this range alone."""
    channels = grad.shape[1]
    for p in range(begin, end):
        f = face[p]
        if f < 0:
            continue
        shift = base[p] if base.shape[0] > 0 else 0
        for corner in range(3):
            row, w = corners[f, corner] + shift, weights[p, corner]
            for c in range(channels):
                out[row, c] += w * grad[p, c]


@kernel
def weigh_range(begin, end, values, corners, face, base, grad, out):
    """out[p, i] = grad[p] . values of corner i: the gradient of the weights."""
    channels = values.shape[1]
    for p in range(begin, end):
        f = face[p]
        for corner in range(3):
            flow = values.dtype.type(0)
            if f >= 0:
                shift = base[p] if base.shape[0] > 0 else 0
                row = corners[f, corner] + shift
                for c in range(channels):
                    flow += grad[p, c] * values[row, c]
            out[p, corner] = flow
