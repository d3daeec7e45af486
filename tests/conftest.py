"""Shared fixtures: a fixed seed, few threads a worker, and the development data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def data_folder() -> Path:
    """Real data for development: $UNPROJECT_DATA, or a `shared/data` folder beside the checkout. Tests skip without it."""
    folder = Path(os.environ.get("UNPROJECT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("development data is not here (set UNPROJECT_DATA)")
    return folder
