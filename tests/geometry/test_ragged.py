"""Offsets, padding and packing of ragged batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.errors import ArgumentError
from unproject.geometry.ragged import (
    check_offsets,
    offsets_of,
    pack_padded,
    pad_packed,
    padded_mask,
    ragged_mean,
    ragged_sum,
    set_of_item,
    split_packed,
)

counts_of_sets = st.lists(st.integers(0, 5), max_size=6)


@settings(max_examples=60, deadline=None)
@given(counts_of_sets)
def test_round_trips(counts: list[int]) -> None:
    offsets = offsets_of(counts)
    values = torch.arange(2.0 * sum(counts)).view(-1, 2)
    assert offsets.diff().tolist() == counts and offsets[0] == 0
    padded = pad_packed(values, offsets, fill=-1)
    assert padded.shape == (len(counts), max(counts, default=0), 2)
    assert torch.equal(pack_padded(padded, offsets.diff()), values)
    assert bool((padded[~padded_mask(offsets.diff(), padded.shape[1])] == -1).all())
    parts = split_packed(values, offsets)
    assert [len(part) for part in parts] == counts
    for b, part in enumerate(parts):
        assert torch.equal(part, padded[b, : counts[b]]) and bool((set_of_item(offsets)[offsets[b] : offsets[b + 1]] == b).all())
        assert torch.equal(ragged_sum(values, offsets)[b], part.sum(0))
        torch.testing.assert_close(ragged_mean(values, offsets)[b], part.mean(0) if len(part) else torch.zeros(2))


def test_gradients() -> None:
    values, offsets = torch.randn(7, 2, dtype=torch.float64, requires_grad=True), offsets_of([3, 0, 4])
    for function in (ragged_sum, ragged_mean, pad_packed):
        torch.autograd.gradcheck(lambda v, f=function: f(v, offsets), (values,))
    padded = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda p: pack_padded(p, torch.tensor([1, 3])), (padded,))


def test_size_and_messages() -> None:
    assert pad_packed(torch.ones(3), offsets_of([1, 2]), size=5).sum(1).tolist() == [1, 2]
    with pytest.raises(ArgumentError, match="`size` 1 is less than the largest set, 2"):
        pad_packed(torch.ones(3), offsets_of([1, 2]), size=1)
    with pytest.raises(ArgumentError, match=r"`counts` must lie in 0 to 3, got 1 to 4"):
        pack_padded(torch.ones(2, 3), torch.tensor([1, 4]))
    for bad in ([0, 2], [1, 3], [0, 2, 1, 3], []):
        with pytest.raises(ArgumentError, match="must rise from 0 to 3"):
            check_offsets(torch.tensor(bad, dtype=torch.int64), 3, name="offsets", where="here")
