"""Rows of numbers in ASCII text: one line a row, or rows with lists. What ASCII PLY, XYZ, PTS, CSV and PCD bodies are.

Numbers are stored by a program, one row of five integers for each number of a text row: the type (below), the address of the
first row's value, the bytes from row to row, and the least and greatest value allowed for integers.
Texts are addresses too, and must be followed by a line break and 16 more bytes.
"""

from __future__ import annotations

import numpy as np

from .bits import load8, store8, store16, store32, store64
from .jit import kernel
from .parse_number import BAD, HARD, OK, parse_float32, parse_float64, parse_integer

INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT32, FLOAT64, EXPECT, SKIP = range(12)
"""Types of a program. EXPECT: the number must be the least value allowed; SKIP: it is read and forgotten."""

LINES, LOOSE, EXTRA = range(3)
FINE, NOT_A_NUMBER, TOO_FEW, TOO_MANY, OUT_OF_RANGE, UNEXPECTED, ENDED = range(7)
"""What state[0] says. state[1]: place, state[2]: row, state[3]: number within the row, state[4]: how many hard numbers."""


@kernel(fastmath=False)
def is_blank(c):
    """Blanks and control characters, but not line breaks, nor the zeros that end every text."""
    return c <= 32 and c != 10 and c != 0


@kernel(fastmath=False)
def skip_blank(pos):
    while is_blank(load8(pos)):
        pos += 1
    return pos


@kernel(fastmath=False)
def is_line_end(pos, comment):
    """Whether a line ends at `pos`, or its comment begins there ("#" or "//", if comments are on)."""
    c = load8(pos)
    return c == 10 or (comment != 0 and (c == comment or (c == 47 and load8(pos + 1) == 47)))


@kernel(fastmath=False)
def next_line(pos):
    """The place behind the next line break."""
    while load8(pos) != 10:
        pos += 1
    return pos + 1


@kernel(fastmath=False)
def count_rows(start, end, comment):
    """Number of lines in [start, end) that hold more than blanks and comments."""
    rows, pos = 0, start
    while pos < end:
        pos = skip_blank(pos)
        if pos >= end:
            break
        if not is_line_end(pos, comment):
            rows += 1
        pos = next_line(pos)
    return rows


@kernel(fastmath=False)
def skip_rows(start, end, comment, rows):
    """The place behind the line of the `rows`-th row from `start`, or `end`."""
    pos = start
    while rows > 0 and pos < end:
        pos = skip_blank(pos)
        if not is_line_end(pos, comment):
            rows -= 1
        pos = next_line(pos)
    return min(pos, end)


@kernel(fastmath=False)
def store_number(pos, kind, low, high, target):
    """Parse the number at `pos` and store it at `target`: (next place, what state[0] shall say, whether it is a hard number)."""
    if kind == FLOAT32:
        single, end, status = parse_float32(pos)
        if status != BAD:
            store32(target, np.float32(single).view(np.uint32))
        return end, (NOT_A_NUMBER if status == BAD else FINE), status == HARD
    if kind == FLOAT64:
        double, end, status = parse_float64(pos)
        if status != BAD:
            store64(target, np.float64(double).view(np.uint64))
        return end, (NOT_A_NUMBER if status == BAD else FINE), status == HARD
    if kind == SKIP:
        double, end, status = parse_float64(pos)
        return end, (NOT_A_NUMBER if status == BAD else FINE), False
    integer, end, status = parse_integer(pos)
    if status != OK:
        return pos, NOT_A_NUMBER, False
    if integer < low or integer > high:
        return pos, (UNEXPECTED if kind == EXPECT else OUT_OF_RANGE), False
    if kind >= INT64:
        if kind != EXPECT:
            store64(target, np.uint64(integer))
    elif kind >= INT32:
        store32(target, np.uint32(integer))
    elif kind >= INT16:
        store16(target, np.uint16(integer))
    else:
        store8(target, np.uint8(integer))
    return end, FINE, False


@kernel(fastmath=False)
def parse_rows(start, end, row, stop, comment, delimiter, program, hard, state):
    """Parse the lines from `start` as rows `row` to `stop`; returns the place behind the last one. Errors are in `state`."""
    pos = start
    count = program.shape[0]
    state[0] = FINE
    while row < stop:
        pos = skip_blank(pos)
        if pos >= end:
            state[0], state[1], state[2], state[3] = ENDED, end, row, 0
            return end
        if is_line_end(pos, comment):
            pos = next_line(pos)
            continue
        for k in range(count):
            target = program[k, 1] + row * program[k, 2]
            after, reason, is_hard = store_number(pos, program[k, 0], program[k, 3], program[k, 4], target)
            c = load8(after)
            if reason != FINE or (c > 32 and (delimiter == 0 or c != delimiter) and not is_line_end(after, comment)):
                state[0] = reason if reason != FINE else NOT_A_NUMBER
                if is_line_end(pos, comment):
                    state[0] = TOO_FEW
                state[1], state[2], state[3] = pos, row, k
                return pos
            if is_hard:
                if state[4] < hard.shape[0]:
                    hard[state[4], 0], hard[state[4], 1], hard[state[4], 2] = program[k, 0], target, pos
                state[4] += 1
            pos = skip_blank(after)
            if delimiter != 0 and load8(pos) == delimiter:
                pos = skip_blank(pos + 1)
        if not is_line_end(pos, comment):
            state[0], state[1], state[2], state[3] = TOO_MANY, pos, row, count
            return pos
        pos = pos + 1 if load8(pos) == 10 else next_line(pos)
        row += 1
    return pos


@kernel(fastmath=False)
def skip_gap(pos, loose):
    """Skip blanks, and line breaks too where `loose`."""
    pos = skip_blank(pos)
    while loose and load8(pos) == 10:
        pos = skip_blank(pos + 1)
    return pos


@kernel(fastmath=False)
def skip_token(pos, loose):
    """The place of the next token: behind this one and the gap after it."""
    while load8(pos) > 32:
        pos += 1
    return skip_gap(pos, loose)


@kernel(fastmath=False)
def scan_list_rows(start, end, rows, lists, mode, starts, counts, state):
    """Find where rows with lists begin and how long their lists are, without reading the values.

    Args:
        lists: for each property of a row, whether it is a list.
        mode: LINES: a row is a line; LOOSE: it may run over several lines and share lines with others; EXTRA: a line may have
            more values than the row.
        starts: [rows + 1] out: place of each row, and the end.
        counts: [rows, number of lists] out.
    """
    pos = skip_gap(start, True)
    state[0] = FINE
    loose = mode == LOOSE
    for row in range(rows):
        starts[row] = pos
        column = 0
        for k in range(lists.shape[0]):
            tokens = np.int64(1)
            if lists[k] and pos < end and load8(pos) != 10:
                tokens, after, status = parse_integer(pos)
                if status == BAD or tokens < 0 or tokens > end - pos or load8(after) > 32:
                    state[0], state[1], state[2], state[3] = NOT_A_NUMBER, pos, row, k
                    return pos
                counts[row, column] = tokens
                column += 1
                tokens += 1
            while tokens > 0:
                if pos >= end or load8(pos) <= 32:
                    state[0], state[1], state[2], state[3] = (ENDED if pos >= end else TOO_FEW), min(pos, end), row, k
                    return pos
                pos = skip_token(pos, loose)
                tokens -= 1
        if not loose:
            if mode == EXTRA:
                pos = next_line(pos) - 1
            if load8(pos) != 10:
                state[0], state[1], state[2], state[3] = TOO_MANY, pos, row, lists.shape[0]
                return pos
            pos = skip_gap(pos, True)
    starts[rows] = pos
    return pos


@kernel(fastmath=False)
def parse_list_rows(begin, stop, starts, lists, loose, program, offsets, hard, state):
    """Parse rows that scan_list_rows found.

    Args:
        program: for a list, the address is that of its first value of all rows, the stride that from value to value.
        offsets: [rows + 1, number of lists], how many values the rows before have.
    """
    state[0] = FINE
    for row in range(begin, stop):
        pos = starts[row]
        column = 0
        for k in range(lists.shape[0]):
            first, tokens = row, 1
            if lists[k]:
                first = offsets[row, column]
                tokens = offsets[row + 1, column] - first
                column += 1
                pos = skip_token(pos, loose)
            for j in range(first, first + tokens):
                target = program[k, 1] + j * program[k, 2]
                after, reason, is_hard = store_number(pos, program[k, 0], program[k, 3], program[k, 4], target)
                if reason != FINE or load8(after) > 32:
                    state[0] = reason if reason != FINE else NOT_A_NUMBER
                    state[1], state[2], state[3] = pos, row, k
                    return
                if is_hard:
                    if state[4] < hard.shape[0]:
                        hard[state[4], 0], hard[state[4], 1], hard[state[4], 2] = program[k, 0], target, pos
                    state[4] += 1
                pos = skip_gap(after, loose)
