"""Light at single points: vectors of length 1, the light of one source that a surface sends to the eye, and the ways back."""

from __future__ import annotations

import math

from .jit import kernel

LAMBERT, PHONG, BLINN_PHONG = 0, 1, 2
LEAST = 1e-6  # of the base of the highlight's power: keeps gradients finite for exponents below 1
SHORT = 1e-12  # square of a half vector that has no direction


@kernel(inline="llvm")
def row_of(values, p):
    """Three numbers of a point, or those of all points where there is one row."""
    row = p if values.shape[0] > 1 else 0
    return values[row, 0], values[row, 1], values[row, 2]


@kernel(inline="llvm")
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(inline="llvm")
def scaled(s, a):
    return s * a[0], s * a[1], s * a[2]


@kernel(inline="llvm")
def combined(s, a, t, b):
    """s a + t b."""
    return s * a[0] + t * b[0], s * a[1] + t * b[1], s * a[2] + t * b[2]


@kernel(inline="llvm")
def add_row(out, p, values):
    row = p if out.shape[0] > 1 else 0
    out[row, 0] += values[0]
    out[row, 1] += values[1]
    out[row, 2] += values[2]


@kernel
def unit_range(begin, end, vectors, tiny, units, lengths):
    """Vectors [P, 3] of length 1, and their lengths [P]; both are 0 where the square of the length is not above `tiny`."""
    one = vectors.dtype.type(1)
    for p in range(begin, end):
        v = row_of(vectors, p)
        square = dot(v, v)
        length = math.sqrt(square) if square > tiny else one - one
        inverse = one / length if square > tiny else one - one
        lengths[p] = length
        units[p, 0], units[p, 1], units[p, 2] = v[0] * inverse, v[1] * inverse, v[2] * inverse


@kernel
def unit_gradient(begin, end, units, lengths, of_units, of_lengths, out):
    """Gradient [P, 3] of the vectors."""
    one = units.dtype.type(1)
    for p in range(begin, end):
        u, g = (units[p, 0], units[p, 1], units[p, 2]), (of_units[p, 0], of_units[p, 1], of_units[p, 2])
        inverse = one / lengths[p] if lengths[p] > 0 else one - one
        out[p, 0], out[p, 1], out[p, 2] = combined(inverse, g, of_lengths[p] - inverse * dot(u, g), u)


@kernel(inline="llvm")
def closeness_of(normal, eye, toward, cosine, reflection):
    """How close the eye is to the mirrored light, or the normal to the half vector: a cosine. With the half vector and 1 / its length."""
    one = cosine - cosine + 1
    if reflection == PHONG:
        return 2 * cosine * dot(normal, eye) - dot(toward, eye), toward, one
    half = combined(one, toward, one, eye)
    square = dot(half, half)
    inverse = one / math.sqrt(square) if square >= SHORT else one - one
    return inverse * dot(normal, half), half, inverse


@kernel
def reflect_range(begin, end, normal, eye, toward, color, shininess, reflection, diffuse, specular):
    """Diffuse and specular light [P, 3] from one source.

    Args:
        normal, eye, toward: [P or 1, 3] unit vectors. color: [P or 1, 3]. shininess: [P or 1].
        reflection: LAMBERT, PHONG or BLINN_PHONG.
    """
    real = diffuse.dtype.type
    for p in range(begin, end):
        n, e, light, c = row_of(normal, p), row_of(eye, p), row_of(toward, p), row_of(color, p)
        cosine = dot(n, light)
        lit, high = real(0) if cosine < 0 else cosine, real(0)
        if reflection != LAMBERT and cosine > 0:
            closeness, _, _ = closeness_of(n, e, light, cosine, reflection)
            if closeness > 0:
                power = max(shininess[p if shininess.shape[0] > 1 else 0], real(0))
                high = math.exp(power * math.log(max(closeness, real(LEAST))))
        for channel in range(3):
            diffuse[p, channel] = c[channel] * lit
            specular[p, channel] = c[channel] * high


@kernel
def reflect_gradient(
    begin, end, normal, eye, toward, color, shininess, reflection, of_diffuse, of_specular,
    of_normal, of_eye, of_toward, of_color, of_shininess,
):  # fmt: skip
    """Add the gradients of the five inputs: outputs shaped as they are; one of a single row belongs to this range alone."""
    real = of_diffuse.dtype.type
    zero = real(0)
    for p in range(begin, end):
        n, e, light, c = row_of(normal, p), row_of(eye, p), row_of(toward, p), row_of(color, p)
        from_diffuse, from_specular = row_of(of_diffuse, p), row_of(of_specular, p)
        cosine = dot(n, light)
        if cosine < 0:
            continue
        of_cosine, high, flow, closeness = dot(from_diffuse, c), zero, zero, zero
        if reflection != LAMBERT and cosine > 0:
            closeness, half, inverse = closeness_of(n, e, light, cosine, reflection)
            if closeness > 0:
                place = p if shininess.shape[0] > 1 else 0
                power, base = max(shininess[place], zero), max(closeness, real(LEAST))
                logarithm, of_high = math.log(base), dot(from_specular, c)
                high = math.exp(power * logarithm)
                flow = of_high * power * high / base if closeness >= LEAST else zero
                if shininess[place] >= 0:
                    of_shininess[place if of_shininess.shape[0] > 1 else 0] += of_high * high * logarithm
        add_row(of_color, p, combined(cosine, from_diffuse, high, from_specular))
        if flow == 0:
            add_row(of_normal, p, scaled(of_cosine, light))
            add_row(of_toward, p, scaled(of_cosine, n))
        elif reflection == PHONG:
            of_cosine += 2 * flow * dot(n, e)
            add_row(of_normal, p, combined(of_cosine, light, 2 * cosine * flow, e))
            add_row(of_toward, p, combined(of_cosine, n, -flow, e))
            add_row(of_eye, p, combined(2 * cosine * flow, n, -flow, light))
        else:
            along = combined(flow * inverse, n, -flow * closeness * inverse * inverse, half)
            add_row(of_normal, p, combined(of_cosine, light, flow * inverse, half))
            add_row(of_toward, p, (along[0] + of_cosine * n[0], along[1] + of_cosine * n[1], along[2] + of_cosine * n[2]))
            add_row(of_eye, p, along)
