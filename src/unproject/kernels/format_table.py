"""Rows of numbers as ASCII text, by a program: what the writers of ASCII PLY, OBJ, XYZ and PCD are made of.

Each row of a program is five integers: a type (as in parse_table.py) or LITERAL; the address of the first row's value; the bytes
from row to row; what is added to an integer; and the character that follows (0: none). A LITERAL has up to 8 characters, packed
into the second number, their count in the third.
"""

from __future__ import annotations

import numpy as np

from .bits import load8, load16, load32, load64, store8, store64
from .format_number import write_float, write_integer
from .jit import kernel
from .parse_table import FLOAT32, FLOAT64, INT8, INT16, INT32, UINT8, UINT16, UINT32

LITERAL = 10


@kernel(fastmath=False)
def load_integer(kind, place):
    """An integer of any type as int64."""
    if kind == INT8:
        return np.int64(np.int8(load8(place)))
    if kind == UINT8:
        return np.int64(load8(place))
    if kind == INT16:
        return np.int64(np.int16(load16(place)))
    if kind == UINT16:
        return np.int64(load16(place))
    if kind == INT32:
        return np.int64(np.int32(load32(place)))
    if kind == UINT32:
        return np.int64(load32(place))
    return np.int64(load64(place))


@kernel(fastmath=False)
def format_rows(begin, stop, program, target):
    """Write rows to `target`; returns the place behind them. There must be room for 32 bytes for each number of each row."""
    pos = target
    for row in range(begin, stop):
        for k in range(program.shape[0]):
            kind, follower = program[k, 0], program[k, 4]
            place = program[k, 1] + row * program[k, 2]
            if kind == LITERAL:
                store64(pos, np.uint64(program[k, 1]))
                pos += program[k, 2]
            elif kind == FLOAT32:
                pos = write_float(pos, np.uint64(load32(place)), True)
            elif kind == FLOAT64:
                pos = write_float(pos, load64(place), False)
            else:
                pos = write_integer(pos, load_integer(kind, place) + program[k, 3])
            if follower != 0:
                store8(pos, np.uint8(follower))
                pos += 1
    return pos
