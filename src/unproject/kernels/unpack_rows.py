"""Binary rows with lists, as in binary PLY: where they begin, how long their lists are, and their values. Places are addresses."""

from __future__ import annotations

import numpy as np
from numba import types

from .bits import load8, load16, load32, load64, store8, store16, store32, store64
from .jit import kernel

MOVE, SWAP, EXPECT, INDEX, BIG = 0, 16, 32, 64, 128
"""Kinds of a program of unpack_rows; the bytes of the value, and BIG for big-endian integers, are added."""

pread = types.ExternalFunction("pread", types.int64(types.int32, types.int64, types.uint64, types.int64))
"""The C library's; where there is none (Windows), nothing may call it."""


@kernel(fastmath=False)
def load_count(pos, size, signed, big_endian):
    """An integer of 1, 2, 4 or 8 bytes as int64."""
    value = np.uint64(0)
    for k in range(size):
        byte = np.uint64(load8(pos + k))
        shift = np.uint64(8 * (size - 1 - k) if big_endian else 8 * k)
        value |= byte << shift
    if signed and size < 8 and (value >> np.uint64(8 * size - 1)) != 0:
        return np.int64(value) - (np.int64(1) << np.int64(8 * size))
    return np.int64(value)


@kernel(fastmath=False)
def scan_rows(start, end, rows, layout, big_endian, starts, counts, state):
    """Find rows and list lengths. Returns the place behind the last row.

    Args:
        layout: [properties, 3]: bytes of a value, bytes of a list's length (0: not a list), whether that is signed.
        starts: [rows + 1] out, counts: [rows, lists] out.
        state: [2] out: 0 fine, 1 the data ends, 2 a negative length; and the row.
    """
    pos = start
    state[0] = 0
    for row in range(rows):
        starts[row] = pos
        column = 0
        for k in range(layout.shape[0]):
            size, count_size = layout[k, 0], layout[k, 1]
            count = np.int64(1)
            if count_size != 0:
                if pos + count_size > end:
                    state[0], state[1] = 1, row
                    return pos
                count = load_count(pos, count_size, layout[k, 2] != 0, big_endian)
                if count < 0:
                    state[0], state[1] = 2, row
                    return pos
                counts[row, column] = count
                column += 1
                pos += count_size
            if count > (end - pos) // size:
                state[0], state[1] = 1, row
                return pos
            pos += count * size
    starts[rows] = pos
    return pos


@kernel(fastmath=False)
def copy_values(begin, stop, starts, layout, offsets, targets):
    """Copy the values of rows, byte for byte, to one place per property, the values of a list one after the other.

    Args:
        offsets: [rows + 1, lists] values of each list in the rows before.
        targets: [properties] addresses.
    """
    for row in range(begin, stop):
        pos = starts[row]
        column = 0
        for k in range(layout.shape[0]):
            size = layout[k, 0]
            first, count = row, np.int64(1)
            if layout[k, 1] != 0:
                first = offsets[row, column]
                count = offsets[row + 1, column] - first
                column += 1
                pos += layout[k, 1]
            target = targets[k] + first * size
            for _ in range(count):
                if size == 4:
                    store32(target, load32(pos))
                elif size == 1:
                    store8(target, load8(pos))
                elif size == 8:
                    store64(target, load64(pos))
                else:
                    store16(target, load16(pos))
                pos += size
                target += size


@kernel(fastmath=False)
def unpack_triangles(begin, stop, source, vertex_count, faces):
    """Rows of a byte that is 3 and three 32-bit indices, from address `source` of row `begin`, into faces [F, 3] int64.

    Returns the first row that is something else or has an index out of range, else `stop`.
    """
    limit = np.uint32(min(vertex_count, 1 << 31))
    pos = source
    for row in range(begin, stop):
        a, b, c = load32(pos + 1), load32(pos + 5), load32(pos + 9)
        if load8(pos) != 3 or a >= limit or b >= limit or c >= limit:
            return row
        faces[row, 0], faces[row, 1], faces[row, 2] = np.int64(a), np.int64(b), np.int64(c)
        pos += 13
    return stop


@kernel(fastmath=False)
def unpack_rows(begin, stop, source, row_bytes, program):
    """Rows of fixed size, from address `source` of row `begin`, by a program.

    Each row of the program is five integers: a kind (MOVE, SWAP: reverse the bytes, EXPECT: an integer that is the last number, INDEX:
    an integer below the last number, stored as int64) plus the bytes of the value; its offset in a row; the address of the first row's
    target; the bytes from target to target; the last number. Returns the first row with something unexpected, else `stop`.
    """
    for row in range(begin, stop):
        for k in range(program.shape[0]):
            kind, pos, target = program[k, 0], source + program[k, 1], program[k, 2] + row * program[k, 3]
            if kind == MOVE + 4:
                store32(target, load32(pos))
            elif kind == MOVE + 1:
                store8(target, load8(pos))
            elif kind == MOVE + 8:
                store64(target, load64(pos))
            elif kind == MOVE + 2:
                store16(target, load16(pos))
            elif kind < EXPECT:
                size = kind - SWAP
                for j in range(size):
                    store8(target + j, load8(pos + size - 1 - j))
            else:
                value = load_count(pos, kind & 15, False, (kind & BIG) != 0)
                if (kind & EXPECT) != 0:
                    if value != program[k, 4]:
                        return row
                else:
                    if value < 0 or value >= program[k, 4]:
                        return row
                    store64(target, np.uint64(value))
        source += row_bytes
    return stop


@kernel(fastmath=False)
def read_chunk(fd, buffer, count, position):
    """Read `count` bytes of a file at a position to an address; returns how many there were."""
    done = np.int64(0)
    while done < count:
        got = pread(np.int32(fd), buffer + done, np.uint64(count - done), position + done)
        if got <= 0:
            break
        done += got
    return done


@kernel(fastmath=False)
def read_triangles(begin, stop, fd, position, vertex_count, faces):
    """unpack_triangles on rows that are read from a file, in pieces that stay in the cache. Row 0 is at byte `position`."""
    step = np.int64(20000)
    buffer = np.empty(step * 13 + 16, np.uint8)
    for first in range(begin, stop, step):
        last = min(first + step, stop)
        if read_chunk(fd, buffer.ctypes.data, (last - first) * 13, position + first * 13) < (last - first) * 13:
            return first
        row = unpack_triangles(first, last, buffer.ctypes.data, vertex_count, faces)
        if row < last:
            return row
    return stop


@kernel(fastmath=False)
def read_rows(begin, stop, fd, position, row_bytes, program):
    """unpack_rows on rows that are read from a file. Row 0 is at byte `position`."""
    step = max(np.int64(1), np.int64(262144) // row_bytes)
    buffer = np.empty(step * row_bytes + 16, np.uint8)
    for first in range(begin, stop, step):
        last = min(first + step, stop)
        size = (last - first) * row_bytes
        if read_chunk(fd, buffer.ctypes.data, size, position + first * row_bytes) < size:
            return first
        row = unpack_rows(first, last, buffer.ctypes.data, row_bytes, program)
        if row < last:
            return row
    return stop


@kernel(fastmath=False)
def pack_triangles(begin, stop, faces, limit, target):
    """The reverse of unpack_triangles: rows begin to stop of faces, to address `target` of row `begin`.

    Returns whether all indices lie in [0, limit): checked here, as reading them once more would take as long as all the rest.
    """
    pos = target
    largest = np.uint64(0)
    for row in range(begin, stop):
        a, b, c = np.uint64(faces[row, 0]), np.uint64(faces[row, 1]), np.uint64(faces[row, 2])  # negative ones become large
        largest = max(max(largest, a), max(b, c))
        store8(pos, np.uint8(3))
        store32(pos + 1, np.uint32(a))
        store32(pos + 5, np.uint32(b))
        store32(pos + 9, np.uint32(c))
        pos += 13
    return largest < np.uint64(limit)
