"""ASCII STL: facets of three vertices. Places are addresses."""

from __future__ import annotations

import numpy as np

from .bits import load8
from .jit import kernel
from .parse_table import ENDED, FINE, FLOAT32, NOT_A_NUMBER, next_line, skip_blank, store_number

SOLID, FACET, OUTER, VERTEX, ENDLOOP, ENDFACET, ENDSOLID, NOTHING = range(8)

UNKNOWN, MISPLACED = 20, 21
"""What state[0] says besides the reasons of parse_table.py: an unknown word; a facet that does not have three vertices."""


@kernel(fastmath=False)
def keyword(pos):
    """Which keyword stands at `pos`, by the letters that tell it apart."""
    a = load8(pos) | 32
    if a == 118:
        return VERTEX
    if a == 102:
        return FACET
    if a == 111:
        return OUTER
    if a == 115:
        return SOLID
    if a == 101:
        b = load8(pos + 3) | 32
        if b == 108:
            return ENDLOOP
        if b == 102:
            return ENDFACET
        if b == 115:
            return ENDSOLID
    return NOTHING


@kernel(fastmath=False)
def parse_stl(start, end, store, vertices, solids, hard, state):
    """Read facets, line by line; returns how many, and how many solids.

    Args:
        store: False: only count. vertices: address of [3 F, 3] float32. solids: [room, 2] out: place of the name, facets before.
        state: [3] reason, place, how many hard numbers.
    """
    facets, names, corner = np.int64(0), np.int64(0), -1
    pos = start
    while pos < end:
        pos = skip_blank(pos)
        if load8(pos) == 10:
            pos += 1
            continue
        if pos >= end:
            break
        word, at = keyword(pos), pos
        while load8(at) > 32:
            at += 1
        at = skip_blank(at)
        if word == VERTEX:
            if corner < 0 or corner > 2:
                state[0], state[1] = MISPLACED, pos
                return facets, names
            for k in range(3):
                target = vertices + ((facets * 3 + corner) * 3 + k) * 4
                if store:
                    after, reason, is_hard = store_number(at, FLOAT32, 0, 0, target)
                    if reason != FINE or load8(after) > 32:
                        state[0], state[1] = NOT_A_NUMBER, at
                        return facets, names
                    if is_hard:
                        if state[2] < hard.shape[0]:
                            hard[state[2], 0], hard[state[2], 1], hard[state[2], 2] = FLOAT32, target, at
                        state[2] += 1
                    at = skip_blank(after)
            corner += 1
        elif word == FACET:
            if corner >= 0:
                state[0], state[1] = MISPLACED, pos
                return facets, names
            corner = 0
        elif word == ENDFACET:
            if corner != 3:
                state[0], state[1] = MISPLACED, pos
                return facets, names
            facets += 1
            corner = -1
        elif word == SOLID:
            if names < solids.shape[0]:
                solids[names, 0], solids[names, 1] = at, facets
            names += 1
        elif word == NOTHING:
            state[0], state[1] = UNKNOWN, pos
            return facets, names
        pos = next_line(at)
    if corner >= 0:
        state[0], state[1] = ENDED, end
    return facets, names
