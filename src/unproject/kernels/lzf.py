"""LZF, the compression of PCD files: literal runs and back references. Places are addresses.

Source: the format of M. Lehmann's LibLZF, as PCL stores it.
"""

from __future__ import annotations

import numpy as np

from .bits import load8, store8
from .jit import kernel


@kernel(fastmath=False)
def decompress(source, source_size, target, target_size):
    """Unpack to exactly `target_size` bytes; returns how many came out before an error, so `target_size` if all is well."""
    pos, end = source, source + source_size
    out, limit = target, target + target_size
    while pos < end:
        control = np.int64(load8(pos))
        pos += 1
        if control < 32:
            count = control + 1
            if pos + count > end or out + count > limit:
                return out - target
            for k in range(count):
                store8(out + k, load8(pos + k))
            pos += count
            out += count
            continue
        count = control >> 5
        if count == 7:
            if pos >= end:
                return out - target
            count += np.int64(load8(pos))
            pos += 1
        if pos >= end:
            return out - target
        start = out - ((control & 31) << 8) - np.int64(load8(pos)) - 1
        pos += 1
        count += 2
        if start < target or out + count > limit:
            return out - target
        for k in range(count):
            store8(out + k, load8(start + k))
        out += count
    return out - target


@kernel(fastmath=False)
def compress(source, size, target):
    """Pack `size` bytes; returns how many come out. The target must have room for size + size / 32 + 64 bytes."""
    recent = np.full(1 << 16, -1, np.int64)
    out, literal_at = target + 1, target
    run, pos = 0, 0
    while pos < size:
        reference = np.int64(-1)
        if pos + 2 < size:
            a, b, c = np.int64(load8(source + pos)), np.int64(load8(source + pos + 1)), np.int64(load8(source + pos + 2))
            slot = (((a << 16) | (b << 8) | c) * 2654435761 >> 16) & 0xFFFF
            reference, recent[slot] = recent[slot], pos
            if reference >= 0 and (pos - reference > 8192 or load8(source + reference) != a):
                reference = np.int64(-1)
            if reference >= 0 and (load8(source + reference + 1) != b or load8(source + reference + 2) != c):
                reference = np.int64(-1)
        if reference < 0:
            store8(out, load8(source + pos))
            out += 1
            pos += 1
            run += 1
            if run == 32:
                store8(literal_at, np.uint8(31))
                literal_at, run = out, 0
                out += 1
            continue
        length = 3
        while length < 264 and pos + length < size and load8(source + reference + length) == load8(source + pos + length):
            length += 1
        if run > 0:
            store8(literal_at, np.uint8(run - 1))
        else:
            out -= 1  # the place for a run that stays empty
        distance, count = pos - reference - 1, length - 2
        store8(out, np.uint8((min(count, 7) << 5) | (distance >> 8)))
        out += 1
        if count >= 7:
            store8(out, np.uint8(count - 7))
            out += 1
        store8(out, np.uint8(distance & 255))
        literal_at, run = out + 1, 0
        out += 2
        pos += length
    if run > 0:
        store8(literal_at, np.uint8(run - 1))
    else:
        out -= 1
    return out - target
