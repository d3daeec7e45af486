"""A hash table from block positions to block numbers: open addressing, linear probing, a power of two of slots at most half full."""

from __future__ import annotations

import numpy as np

from .jit import kernel

EMPTY = -1  # no key is negative
HALF_RANGE = 1 << 20  # block positions lie in [-2^20, 2^20)


@kernel
def block_key(i, j, k):
    """A position as one number, 21 bits an axis."""
    return (np.int64(i) + HALF_RANGE) << 42 | (np.int64(j) + HALF_RANGE) << 21 | (np.int64(k) + HALF_RANGE)


@kernel
def first_slot(key, capacity):
    """Where the search for a key begins."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return np.int64((mixed >> np.uint64(30)) & np.uint64(capacity - 1))


@kernel
def find_block(keys, slots, i, j, k):
    """The number of the block at a position, or -1."""
    key = block_key(i, j, k)
    slot = first_slot(key, keys.shape[0])
    while keys[slot] != EMPTY:
        if keys[slot] == key:
            return np.int64(slots[slot])
        slot = (slot + 1) & (keys.shape[0] - 1)
    return np.int64(-1)


@kernel
def insert_blocks(coordinates, first_number, keys, slots):
    """Number blocks by their order, from `first_number`. Returns the row of a block that was there before, or -1."""
    for n in range(coordinates.shape[0]):
        key = block_key(coordinates[n, 0], coordinates[n, 1], coordinates[n, 2])
        slot = first_slot(key, keys.shape[0])
        while keys[slot] != EMPTY:
            if keys[slot] == key:
                return n
            slot = (slot + 1) & (keys.shape[0] - 1)
        keys[slot] = key
        slots[slot] = first_number + n
    return -1


@kernel
def find_blocks_range(begin, end, coordinates, keys, slots, number):
    for n in range(begin, end):
        number[n] = find_block(keys, slots, coordinates[n, 0], coordinates[n, 1], coordinates[n, 2])
