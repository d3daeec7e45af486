"""Unit vectors and the light of one source in plain torch, with the signatures of the operators. Differentiable any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

REFLECTIONS = ("lambert", "phong", "blinn_phong")
_LEAST, _SHORT = 1e-6, 1e-12


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Arguments and results as ops.shade.unit_vectors."""
    square = _dot(vectors, vectors)
    short = square <= torch.finfo(vectors.dtype).tiny
    length = torch.sqrt(torch.where(short, 1, square))
    return vectors * torch.where(short, 0, 1 / length), torch.where(short, 0, length)[:, 0]


def reflect_light(
    normal: Tensor, toward_eye: Tensor, toward: Tensor, color: Tensor, shininess: Tensor, reflection: str
) -> tuple[Tensor, Tensor]:
    """Arguments and results as ops.shade.reflect_light."""
    cosine = _dot(normal, toward)
    diffuse = color * cosine.clamp_min(0)
    if reflection == "lambert":
        return diffuse, torch.zeros_like(diffuse)
    if reflection == "phong":
        closeness = 2 * cosine * _dot(normal, toward_eye) - _dot(toward, toward_eye)
    else:
        half = toward + toward_eye
        square = _dot(half, half)
        short = square < _SHORT
        closeness = torch.where(short, 0, _dot(normal, half) / torch.where(short, 1, square).sqrt())
    powered = closeness.clamp_min(_LEAST) ** shininess[:, None].clamp_min(0)  # the floor keeps gradients finite for exponents below 1
    return diffuse, color * torch.where((cosine > 0) & (closeness > 0), powered, 0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
