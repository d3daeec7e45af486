"""The Poisson equation on a periodic grid, by FFT: from oriented points to an indicator-like function. Differentiable throughout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..struct import TensorStruct

_SCREENING = 4.0
_SMOOTH_SIZES = sorted(
    a * b * c for a in (1, 3, 9) for b in (1, 5) for c in (4, 8, 16, 32, 64, 128, 256, 512, 1024) if 16 <= a * b * c <= 1024
)


@dataclass(frozen=True, kw_only=True)
class PoissonGrid(TensorStruct):
    """Where points lie in a periodic grid.

    Attributes:
        low: [3] position of grid point (0, 0, 0).
        spacing: of the grid.
        size: grid points along each axis.
        index: int64 [8, P] flat grid points around each point.
        weight: [8, P] trilinear weights; carry gradients to the points.
        smoothing: standard deviation of the Gaussian that every source is smeared with, in grid spacings.
    """

    low: Tensor
    spacing: float
    size: tuple[int, int, int]
    index: Tensor
    weight: Tensor
    smoothing: float


def make_poisson_grid(points: Float[Tensor, "P 3"], *, resolution: int, padding: float = 0.5, smoothing: float = 1.0) -> PoissonGrid:
    """A grid around points whose longest side has `resolution` cells, padded by `padding` of that side against the periodic copies."""
    low, high = points.detach().amin(0), points.detach().amax(0)
    longest = float((high - low).max())
    spacing = longest / resolution
    wanted = ((high - low + padding * longest) / spacing).ceil().tolist()
    depth, height, width = (next((n for n in _SMOOTH_SIZES if n >= w), int(w)) for w in wanted)
    size = (depth, height, width)
    low = (low + high) / 2 - torch.tensor(size, dtype=points.dtype) * (spacing / 2)
    units = (points - low) / spacing
    base = units.detach().floor()
    part = units - base
    index, weight = [], []
    for e in range(8):
        corner = torch.tensor([e >> 2, (e >> 1) & 1, e & 1], dtype=torch.int64)
        at = (base.to(torch.int64) + corner) % torch.tensor(size)
        index.append((at[:, 0] * size[1] + at[:, 1]) * size[2] + at[:, 2])
        weight.append(torch.where(corner.bool(), part, 1 - part).prod(1))
    return PoissonGrid(low=low, spacing=spacing, size=size, index=torch.stack(index), weight=torch.stack(weight), smoothing=smoothing)


def poisson_indicator(grid: PoissonGrid, moments: Float[Tensor, "P 3"]) -> Float[Tensor, "X Y Z"]:
    """The function whose gradient is closest to the vector field of the moments: rises by about 1 across the surface along its normals.

    Args:
        moments: [P, 3] a normal times the area that the point stands for.

    Gradient: points (through the grid's weights) and moments.
    Source: Kazhdan et al. 2006, by FFT as in Peng et al. 2021 (Shape As Points), without their normalization.
    """
    divergence = sum(1j * k * torch.fft.rfftn(_scatter(grid, moments[:, a])) for a, k in enumerate(_frequencies(grid)))
    return _to_grid(grid, -divergence * _inverse_laplacian(grid))


def screen_indicator(
    grid: PoissonGrid, indicator: Float[Tensor, "X Y Z"], areas: Float[Tensor, "P"], level: float, *, iterations: int = 8
) -> Float[Tensor, "X Y Z"]:
    """Correct an indicator so that it has the value `level` at the points, too, and not only the right gradient on the whole.

    Where normals are missing or uneven, the plain solution drifts, and gaps between near sheets close. The correction minimizes its squared
    gradient plus, over the points, their area times the squared difference from the level, times a weight per cell; a few conjugate
    gradients with the Laplacian for a preconditioner find it.

    Source: Kazhdan and Hoppe 2013 (screened Poisson), here with the energy of the correction; the weight is theirs.
    """
    inverse = _inverse_laplacian(grid, blurred=False)
    pull = lambda values: (_SCREENING / grid.spacing) * _scatter(grid, areas * values)
    residual = pull(level - _gather(grid, indicator))
    correction, direction, laplacian = torch.zeros_like(indicator), torch.zeros_like(indicator), torch.zeros_like(indicator)
    before = torch.inf
    for _ in range(iterations):
        residual -= residual.mean()
        step = _to_grid(grid, torch.fft.rfftn(residual) * inverse)
        square = float((residual * step).sum(dtype=torch.float64))
        if not square > 0:
            break
        direction = step + (square / before) * direction
        laplacian = residual + (square / before) * laplacian  # that of the direction
        product = laplacian + pull(_gather(grid, direction))
        length = square / float((direction * product).sum(dtype=torch.float64))
        correction += length * direction
        residual -= length * product
        before = square
    return indicator + correction


def charge_field(grid: PoissonGrid, charges: Float[Tensor, "P"]) -> Float[Tensor, "P 3"]:
    """The electric field at the points of charges at the points. On a closed, evenly charged surface it points out of it."""
    spectrum = torch.fft.rfftn(_scatter(grid, charges)) * _inverse_laplacian(grid)
    return torch.stack([_gather(grid, _to_grid(grid, -1j * k * spectrum)) for k in _frequencies(grid)], dim=1)


def sample_grid(grid: PoissonGrid, values: Float[Tensor, "X Y Z"]) -> Float[Tensor, "P"]:
    """Trilinear values at the points."""
    return _gather(grid, values)


def _frequencies(grid: PoissonGrid) -> tuple[Tensor, Tensor, Tensor]:
    dtype = grid.low.dtype
    x, y, z = grid.size
    scale = 2 * torch.pi / grid.spacing
    fx, fy, fz = torch.fft.fftfreq(x, dtype=dtype), torch.fft.fftfreq(y, dtype=dtype), torch.fft.rfftfreq(z, dtype=dtype)
    for f, n in ((fx, x), (fy, y), (fz, z)):
        if n % 2 == 0:
            f[n // 2] = 0  # the highest frequency has no odd derivative
    return scale * fx[:, None, None], scale * fy[None, :, None], scale * fz[None, None]


def _inverse_laplacian(grid: PoissonGrid, *, blurred: bool = True) -> Tensor:
    dtype = grid.low.dtype
    x, y, z = (
        torch.fft.fftfreq(grid.size[0], dtype=dtype),
        torch.fft.fftfreq(grid.size[1], dtype=dtype),
        torch.fft.rfftfreq(grid.size[2], dtype=dtype),
    )
    square = (2 * torch.pi / grid.spacing) ** 2 * (x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None] ** 2)
    blur = torch.exp(-0.5 * (grid.smoothing * grid.spacing) ** 2 * square) if blurred else 1
    square[0, 0, 0] = 1
    result = blur / square
    result[0, 0, 0] = 0
    return result


def _to_grid(grid: PoissonGrid, spectrum: Tensor) -> Tensor:
    return torch.fft.irfftn(spectrum, s=grid.size)


def _scatter(grid: PoissonGrid, values: Tensor) -> Tensor:
    flat = values.new_zeros(grid.size[0] * grid.size[1] * grid.size[2])
    flat = flat.index_add(0, grid.index.reshape(-1), (grid.weight * values).reshape(-1))
    return flat.reshape(grid.size) / grid.spacing**3


def _gather(grid: PoissonGrid, values: Tensor) -> Tensor:
    return (values.reshape(-1)[grid.index] * grid.weight).sum(0)
