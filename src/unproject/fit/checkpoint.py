"""Checkpoints of a fit: the state of one step in a safetensors file that is always whole, whatever happens to the process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open
from safetensors.torch import save as dump
from torch import Tensor

from ..errors import ArgumentError, FileAccessError, FormatError
from ..io.atomic import atomic_write
from .step import FitStep

_FORMAT = "unproject-fit-1"


def fingerprint(*parts: Tensor | str | None) -> str:
    """A short hash of the inputs of a run: a checkpoint continues only what it was made from."""
    digest = hashlib.sha256()
    for part in parts:
        data = repr(part).encode() if part is None or isinstance(part, str) else part.detach().cpu().contiguous().numpy().tobytes()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def save_checkpoint(path: Path, step: FitStep, *, run: str) -> None:
    """Write the state of a step, under a temporary name first, so that a kill leaves the previous checkpoint.

    Args:
        path: the file, replaced if it exists.
        run: fingerprint of the inputs.

    Raises:
        FileAccessError: the folder cannot be written.
    """
    note = {
        "format": _FORMAT,
        "run": run,
        "stage": step.stage,
        "index": str(step.index),
        "total": str(step.total),
        "losses": json.dumps(dict(step.losses)),
    }
    with atomic_write(path, durable=True) as file:
        file.write(dump({name: value.detach().contiguous().clone() for name, value in step.state.items()}, metadata=note))


def load_checkpoint(path: Path, *, run: str) -> FitStep:
    """Read the step that a run stopped at.

    Raises:
        FileAccessError: no such file.
        FormatError: not a checkpoint.
        ArgumentError: a checkpoint of other inputs or options.
    """
    if not path.is_file():
        raise FileAccessError(f"{path}: no such checkpoint; run without --resume first")
    try:
        with safe_open(path, framework="pt") as file:
            note = file.metadata() or {}
        state = load_file(path)
    except SafetensorError as error:
        raise FormatError(f"not a checkpoint: {error}", path=path) from error
    if note.get("format") != _FORMAT:
        raise FormatError("not a checkpoint of a fit", path=path)
    if note["run"] != run:
        raise ArgumentError(f"{path}: made from another scan, template or options; give the same ones, or start without --resume")
    return FitStep(stage=note["stage"], index=int(note["index"]), total=int(note["total"]), losses=json.loads(note["losses"]), state=state)


def with_checkpoints(steps: Iterable[FitStep], path: Path, *, every: int, run: str) -> Iterator[FitStep]:
    """Pass steps through and save every `every`-th and each first of a stage. The caller deletes the file when its results are written."""
    stage = None
    for step in steps:
        if step.state and (step.index % every == 0 or step.stage != stage):
            save_checkpoint(path, step, run=run)
        stage = step.stage
        yield step
