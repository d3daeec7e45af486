"""Checkpoints: the state comes back as it was, other inputs are refused, damage is named, and a failed write keeps the old file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unproject.errors import ArgumentError, FileAccessError, FormatError
from unproject.fit.checkpoint import fingerprint, load_checkpoint, save_checkpoint, with_checkpoints
from unproject.fit.step import FitStep


def make_step(index: int = 3, stage: str = "refine") -> FitStep:
    state = {"vertices": torch.rand(5, 3), "count": torch.tensor(7), "scale": torch.tensor(1.5, dtype=torch.float64)}
    return FitStep(stage=stage, index=index, total=9, losses={"distance": 0.25}, state=state)


def test_round_trip(tmp_path: Path) -> None:
    step = make_step()
    save_checkpoint(tmp_path / "a.safetensors", step, run="x")
    back = load_checkpoint(tmp_path / "a.safetensors", run="x")
    assert (back.stage, back.index, back.total, back.losses) == ("refine", 3, 9, {"distance": 0.25})
    assert back.state.keys() == step.state.keys()
    for name, value in step.state.items():
        assert torch.equal(back.state[name], value) and back.state[name].dtype == value.dtype
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", make_step(), run=fingerprint("options", torch.zeros(3)))
    with pytest.raises(ArgumentError, match="another scan"):
        load_checkpoint(tmp_path / "a", run=fingerprint("options", torch.ones(3)))


def test_fingerprint_tells_inputs_apart() -> None:
    a, b = torch.rand(4, 3), torch.rand(4, 3)
    names = {fingerprint("o", a, None), fingerprint("o", a, b), fingerprint("o", b, None), fingerprint("p", a, None), fingerprint("o", a)}
    assert len(names) == 5 and fingerprint("o", a, b) == fingerprint("o", a.clone(), b.clone())


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none", run="x")
    save_checkpoint(tmp_path / "a", make_step(), run="x")
    whole = (tmp_path / "a").read_bytes()
    for broken in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "b").write_bytes(broken)
        with pytest.raises(FormatError, match="not a checkpoint"):
            load_checkpoint(tmp_path / "b", run="x")


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, make_step(1), run="x")

    def full(_path: object, _target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileAccessError, match="No space left"):
        save_checkpoint(path, make_step(2), run="x")
    monkeypatch.undo()
    assert load_checkpoint(path, run="x").index == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_saves_every_nth_step_and_each_new_stage(tmp_path: Path) -> None:
    path, saved = tmp_path / "a", []
    steps = [make_step(k, "first" if k < 5 else "second") for k in range(1, 9)]
    for step in with_checkpoints(iter(steps), path, every=3, run="x"):
        saved.append(load_checkpoint(path, run="x").index)
        assert step.index >= saved[-1]
    assert saved == [1, 1, 3, 3, 5, 6, 6, 6]
