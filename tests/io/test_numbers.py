"""Numbers in text: exactly rounded when read, shortest when written."""

from __future__ import annotations

import math
import random
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.io.text_table import Number, TableError, Text, count_rows, nearest_float32, parse_rows
from unproject.io.text_writer import Cell, Literal, row_of, write_rows


def text_of(content: str) -> Text:
    raw = content.encode()
    return Text(np.frombuffer(raw + b"\n" + bytes(23), np.uint8).copy(), len(raw), None)  # type: ignore[arg-type]


def parse(words: list[str], dtype: object) -> np.ndarray:
    """One number a line, as an array."""
    text = text_of("\n".join(words))
    target = np.zeros(len(words), dtype)  # type: ignore[call-overload]
    cuts, rows = count_rows(text, 0, text.end)
    assert rows[-1] == len(words)
    parse_rows(text, [Number(target)], cuts, rows, 0, len(words))
    return target


def hard_words() -> list[str]:
    """Decimals that round badly: many digits, ties between floats, huge and tiny ones."""
    rng = random.Random(3)
    words = [
        "0",
        "-0.0",
        "1e-400",
        "1e400",
        "-1e400",
        "5e-324",
        "2.5e-324",
        "2.4703282292062328e-324",
        "1.7976931348623159e308",
        "1.e5",
        ".5",
    ]
    words += ["9007199254740993", "0.1", "3.4028235677973366e38", "1.1754942106924411e-38", "7.0064923216240854e-46", "+1.5E+07", "1d3"]
    words += ["1" + "0" * 400, "0." + "0" * 400 + "1", "1" + "0" * 400 + "e-400", "1.0000000596046447753906250000000000000000000000001"]
    for _ in range(300):
        words.append(f"{rng.uniform(-10, 10) * 10.0 ** rng.randint(-60, 40):.{rng.randint(0, 25)}e}")
        words.append(repr(struct.unpack("d", struct.pack("Q", rng.getrandbits(62)))[0]))
        low = np.float32(rng.uniform(1e-3, 1e6))
        middle = (Decimal(float(low)) + Decimal(float(np.nextafter(low, np.float32(np.inf))))) / 2
        words += [format(middle, "f"), format(middle, "f") + "0000000000000000001", str(middle.next_minus())]
    return [word for word in words if word not in ("nan", "inf")]


def test_float64_as_python_reads_them() -> None:
    words = hard_words()
    expected = np.array([float(word.replace("d", "e")) for word in words])
    assert np.array_equal(parse(words, np.float64), expected)


def test_float32_rounded_once() -> None:
    words = hard_words()
    expected = np.array([nearest_float32(word.replace("d", "e")) for word in words], np.float32)
    assert np.array_equal(parse(words, np.float32), expected)


def test_nearest_float32_differs_from_rounding_twice() -> None:
    word = "1.00000005960464477539062500000000001"  # a little above the middle of 1 and the next float32
    assert nearest_float32(word) == float(np.nextafter(np.float32(1), np.float32(2)))
    assert np.float32(float(word)) == np.float32(1)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_float32_survives_text(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert np.array_equal(parse(written(tmp_path_factory, array), np.float32), array)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_float64_survives_text_in_its_shortest_form(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    array = np.array(values, np.float64)
    words = written(tmp_path_factory, array)
    assert np.array_equal(parse(words, np.float64), array)
    digits = lambda word: len(word.lower().split("e")[0].replace(".", "").strip("-").strip("0"))
    assert all(digits(word) <= digits(repr(value)) for word, value in zip(words, values) if math.isfinite(value))


def written(factory: pytest.TempPathFactory, array: np.ndarray) -> list[str]:
    path = factory.mktemp("numbers") / "numbers.txt"
    with open(path, "wb", buffering=0) as file:
        write_rows(file, len(array), row_of([array]))
    return path.read_text().split()


def test_special_words() -> None:
    words = ["nan", "-nan", "NaN", "inf", "-Inf", "infinity", "1.#IND", "-1.#IND", "1.#QNAN", "1.#INF", "-1.#INF", "nan(ind)", "-nan(snan)"]
    nan, inf = np.nan, np.inf
    expected = [nan, nan, nan, inf, -inf, inf, nan, nan, nan, inf, -inf, nan, nan]
    for dtype in (np.float32, np.float64):
        assert np.array_equal(parse(words, dtype), np.array(expected, dtype), equal_nan=True)


@pytest.mark.parametrize("word", ["abc", "1.2.3", "1,5", "--1", "+", ".", "e5", "1e", "0x10", "1_000", "12a", "1-2", "nanny"])
def test_what_is_no_number(word: str) -> None:
    with pytest.raises(TableError) as caught:
        parse(["1", word], np.float32)
    assert caught.value.reason == 1 and caught.value.row == 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_integers_and_their_limits(dtype: type) -> None:
    limits = np.iinfo(dtype)
    words = [str(limits.min), str(limits.max), "7", "1e2", "3.0", "+5", "-0"]
    assert parse(words, dtype).tolist() == [limits.min, limits.max, 7, 100, 3, 5, 0]
    for word in (str(int(limits.max) + 1), str(int(limits.min) - 1), "1.5"):
        with pytest.raises(TableError):
            parse([word], dtype)


def test_writes_any_layout(tmp_path: object) -> None:
    path = tmp_path / "rows.txt"  # type: ignore[operator]
    table = np.arange(12, dtype=np.float32).reshape(4, 3) / 4
    numbers = np.array([-5, 2**62, 0, 1], np.int64)
    with open(path, "wb", buffering=0) as file:
        write_rows(
            file, 4, [Literal("f "), Cell(table[:, 2], "/"), Cell(numbers, " ", add=1), Cell(np.array([255, 0, 1, 2], np.uint8), "\n")]
        )
    assert path.read_text() == f"f 0.5/-4 255\nf 1.25/{2**62 + 1} 0\nf 2/1 1\nf 2.75/2 2\n"


def test_many_rows_on_many_threads(tmp_path: object) -> None:
    path = tmp_path / "rows.txt"  # type: ignore[operator]
    table = np.random.default_rng(0).normal(size=(50_000, 3)).astype(np.float32)
    with open(path, "wb", buffering=0) as file:
        write_rows(file, len(table), row_of(list(table.T)))
    text = text_of(path.read_text())
    target = np.zeros_like(table)
    cuts, rows = count_rows(text, 0, text.end)
    parse_rows(text, [Number(target[:, k]) for k in range(3)], cuts, rows, 0, len(table))
    assert np.array_equal(table, target) and len(cuts) > 2
