"""FitStep: what every fitting loop yields, once a step, and all that it needs to go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..geometry.mesh import Mesh
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class FitStep(TensorStruct):
    """One step of a fit.

    A loop that takes `resume=step` goes on behind that step and ends with the same result as one that was never stopped; for that
    it needs only `stage`, `index` and `state`, which is what a checkpoint keeps.

    Attributes:
        stage: the part of the method that this step belongs to, for example "orient" or "refine".
        index: number of steps done so far over all stages, from 1; the last step has `index == total`.
        total: number of steps expected over all stages; may change while the data teaches what is needed.
        losses: named values of this step, already weighted, plus whatever is worth a line in a progress bar.
        mesh: the current estimate in the frame of the input, or None before there is one.
        state: tensors by name (no nesting; distinct storages) from which the loop continues.
    """

    stage: str
    index: int
    total: int
    losses: Mapping[str, float] = field(default_factory=dict)
    mesh: Mesh | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)
