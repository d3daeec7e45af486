"""Shared fixtures: a fixed seed, few threads a worker, and the development data where it is present."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as in a terminal, where the tests run as a background job, which is born ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def data_folder() -> Path:
    """Real data for development: $UNPROJECT_DATA, or a `shared/data` folder beside the checkout. Tests skip without it."""
    folder = Path(os.environ.get("UNPROJECT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("development data is not here (set UNPROJECT_DATA)")
    return folder
