"""OBJ text: one pass counts, a second one stores. Other statements than v, vt, vn and f are only found. Places are addresses."""

from __future__ import annotations

import numpy as np

from .bits import load8, store64
from .jit import kernel
from .parse_number import digit_run
from .parse_table import FINE, FLOAT32, NOT_A_NUMBER, TOO_FEW, TOO_MANY, next_line, skip_blank, skip_token, store_number

VERTEX, UV, NORMAL, FACE, EMPTY, OTHER = range(6)
"""Kinds of lines."""

(
    VERTICES, UVS, NORMALS, FACES, CORNERS, UNEVEN, WIDTHS, WITH_UV, WITH_NORMAL, OTHERS, CONTINUED,
) = range(11)  # fmt: skip
"""What counts[] has: numbers of statements and corners; UNEVEN: faces that are no triangles; WIDTHS: a bit for each number of values
that a vertex line has; whether corners have UV and normals; OTHERS: other statements; CONTINUED: lines that end with a backslash."""

BAD_INDEX, UNKNOWN_INDEX = 10, 11
"""What state[0] says besides the reasons of parse_table.py: not an index; an index of something that the file does not have."""


@kernel(fastmath=False)
def line_kind(pos):
    """(kind, place of what follows the keyword) of the line whose first character is at `pos`."""
    c, d = load8(pos), load8(pos + 1)
    if c == 118:  # v
        if d == 32 or d == 9:
            return VERTEX, skip_blank(pos + 1)
        e = load8(pos + 2)
        if e == 32 or e == 9:
            if d == 116:
                return UV, skip_blank(pos + 2)
            if d == 110:
                return NORMAL, skip_blank(pos + 2)
    elif c == 102:  # f, and the obsolete fo
        if d == 32 or d == 9:
            return FACE, skip_blank(pos + 1)
        e = load8(pos + 2)
        if d == 111 and (e == 32 or e == 9):
            return FACE, skip_blank(pos + 2)
    elif c == 35 or c == 10:
        return EMPTY, pos
    return OTHER, pos


@kernel(fastmath=False)
def ends(pos):
    """Whether a line ends at `pos`, or its comment begins. A zero byte, which no text has, ends it too."""
    c = load8(pos)
    return c == 10 or c == 35 or c == 0


@kernel(fastmath=False)
def scan_lines(start, end, counts, others):
    """Count the statements of [start, end), which begins and ends with lines.

    Args:
        others: [room, 3] out: place, vertices before, faces before, of each other statement, while there is room.
    """
    pos = start
    while pos < end:
        pos = skip_blank(pos)
        if pos >= end:
            break
        kind, pos = line_kind(pos)
        if kind == VERTEX:
            width = 0
            while not ends(pos):
                pos = skip_token(pos, False)
                width += 1
            counts[VERTICES] += 1
            counts[WIDTHS] |= 1 << min(width, 60)
        elif kind == FACE:
            size = 0
            while not ends(pos):
                slashes, last = 0, 0
                c = load8(pos)
                while c > 32:
                    if c == 47:
                        slashes += 1
                        last = 0
                    else:
                        last += 1
                        if slashes == 1:
                            counts[WITH_UV] = 1
                        elif slashes == 2:
                            counts[WITH_NORMAL] = 1
                    pos += 1
                    c = load8(pos)
                pos = skip_blank(pos)
                size += 1
            counts[FACES] += 1
            counts[CORNERS] += size
            counts[UNEVEN] += 1 if size != 3 else 0
        elif kind == UV:
            counts[UVS] += 1
        elif kind == NORMAL:
            counts[NORMALS] += 1
        elif kind == OTHER:
            if counts[OTHERS] < others.shape[0]:
                k = counts[OTHERS]
                others[k, 0], others[k, 1], others[k, 2] = pos, counts[VERTICES], counts[FACES]
            counts[OTHERS] += 1
        pos = next_line(pos)
        if load8(pos - 2) == 92 or (load8(pos - 2) == 13 and load8(pos - 3) == 92):
            counts[CONTINUED] += 1


@kernel(fastmath=False)
def parse_floats(pos, kind, size, target, count, hard, state):
    """`count` floats of a line to `size`-byte numbers at `target`; returns the next place, or -1 with the reason in state."""
    for k in range(count):
        after, reason, is_hard = store_number(pos, kind, 0, 0, target + k * size)
        if reason != FINE or load8(after) > 32:
            state[0], state[1] = (TOO_FEW if ends(pos) else NOT_A_NUMBER), pos
            return np.int64(-1)
        if is_hard:
            if state[2] < hard.shape[0]:
                hard[state[2], 0], hard[state[2], 1], hard[state[2], 2] = kind, target + k * size, pos
            state[2] += 1
        pos = skip_blank(after)
    return pos


@kernel(fastmath=False)
def count_tokens(pos):
    count = 0
    while not ends(pos):
        pos = skip_token(pos, False)
        count += 1
    return count


@kernel(fastmath=False)
def parse_vertex(pos, row, position_kind, targets, hard, state):
    """ "x y z", with a weight, RGB or RGBA behind; returns the next place, or -1."""
    size = 4 if position_kind == FLOAT32 else 8
    pos = parse_floats(pos, position_kind, size, targets[0] + row * 3 * size, 3, hard, state)
    if pos < 0 or ends(pos):
        return pos
    count = count_tokens(pos)
    if count == 1:
        return parse_floats(pos, FLOAT32, 4, targets[2] + row * 4, 1, hard, state)
    if count == 3 or count == 4:
        return parse_floats(pos, FLOAT32, 4, targets[1] + row * targets[9], count, hard, state)
    state[0], state[1] = TOO_MANY, pos
    return np.int64(-1)


@kernel(fastmath=False)
def parse_index(pos, before, total):
    """An index of a face corner: (value from 0, next place, code). Negative ones count back from the last of the `before`."""
    negative = load8(pos) == 45
    value, digits, end = digit_run(pos + (1 if negative else 0), np.uint64(0), 0)
    if digits == 0 or digits > 18:
        return np.int64(-1), pos, BAD_INDEX
    index = before - np.int64(value) if negative else np.int64(value) - 1
    if index < 0 or index >= total:
        return np.int64(-1), end, UNKNOWN_INDEX
    return index, end, FINE


@kernel(fastmath=False)
def parse_corner(pos, seen, totals, v_target, t_target, n_target, state):
    """A corner "v", "v/t", "v//n" or "v/t/n" (slashes may also end it); returns the next place, or -1. Where the file has no UV or
    normals at all, their indices are ignored, and state[3] or state[4] says so."""
    index, at, code = parse_index(pos, seen[0], totals[0])
    store64(v_target, np.uint64(index))
    for part in range(1, 3):
        target = t_target if part == 1 else n_target
        index = np.int64(-1)
        if code == FINE and load8(at) == 47:
            at += 1
            c = load8(at)
            if c > 32 and c != 47:
                index, at, code = parse_index(at, seen[part], totals[part])
                if code == UNKNOWN_INDEX and totals[part] == 0:
                    state[2 + part], code = 1, FINE
        if target != 0:
            store64(target, np.uint64(index))
    if code == FINE and load8(at) > 32:
        code = BAD_INDEX
    if code != FINE:
        state[0], state[1] = code, pos
        return np.int64(-1)
    return at


@kernel(fastmath=False)
def parse_lines(start, end, seen, totals, position_kind, targets, hard, state):
    """Store the statements of [start, end).

    Args:
        seen: [5] vertices, UVs, normals, faces, corners before; counted on.
        totals: [3] vertices, UVs and normals of the file.
        position_kind: FLOAT32 or FLOAT64.
        targets: addresses: positions [V, 3], colours [V, 3 or 4] float32, weights [V] float32, UVs [T, 2] float32, normals [N, 3] float32,
            corner vertices, corner UVs, corner normals [C] int64, face ends [P] int64 (0 for what is not wanted); bytes of a colour.
        state: [5] reason and place of an error, how many hard numbers, whether indices of missing UVs and of missing normals occur.
    """
    pos = start
    while pos < end:
        pos = skip_blank(pos)
        if pos >= end:
            break
        kind, pos = line_kind(pos)
        if kind == VERTEX:
            pos = parse_vertex(pos, seen[0], position_kind, targets, hard, state)
            seen[0] += 1
        elif kind == FACE:
            while pos >= 0 and not ends(pos):
                offset = seen[4] * 8
                t_target = targets[6] + offset if targets[6] != 0 else 0
                n_target = targets[7] + offset if targets[7] != 0 else 0
                pos = parse_corner(pos, seen, totals, targets[5] + offset, t_target, n_target, state)
                if pos >= 0:
                    pos = skip_blank(pos)
                seen[4] += 1
            if targets[8] != 0:
                store64(targets[8] + seen[3] * 8, np.uint64(seen[4]))
            seen[3] += 1
        elif kind == UV:
            pos = parse_floats(pos, FLOAT32, 4, targets[3] + seen[1] * 8, min(max(count_tokens(pos), 1), 2), hard, state)
            seen[1] += 1
        elif kind == NORMAL:
            pos = parse_floats(pos, FLOAT32, 4, targets[4] + seen[2] * 12, 3, hard, state)
            seen[2] += 1
        if pos >= 0 and kind < EMPTY and load8(pos) == 0:
            state[0], state[1], pos = NOT_A_NUMBER, pos, -1
        if pos < 0:
            return
        pos = next_line(pos)
