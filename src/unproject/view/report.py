"""A self-contained HTML page of a fit: both shapes to turn in WebGL, the result table, and the loss curves. No network, no library."""

from __future__ import annotations

import base64
import html
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template

import torch
from torch import Tensor

from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud

_COLORS = ("#4363d8", "#e6194b", "#3cb44b", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
_POINT_LIMIT = 200_000


def fit_report(
    title: str, before: PointCloud, after: Mesh, *, rows: Sequence[tuple[str, str]], losses: Sequence[Mapping[str, float]]
) -> str:
    """The HTML text of a report.

    Args:
        before: the scan; at most 200,000 of its points, evenly taken, are drawn.
        after: the fitted mesh, in the same frame.
        rows: the result table, (name, value).
        losses: the named losses of each step.
    """
    points = after.vertices if after.vertex_count else before.positions
    low, high = points.min(0).values.double(), points.max(0).values.double()
    centre, scale = (low + high) / 2, 1.0 / max(float((high - low).norm()) / 2, 1e-30)
    shown = before if before.point_count <= _POINT_LIMIT else before[:: math.ceil(before.point_count / _POINT_LIMIT)]
    place = lambda p: ((p.double() - centre) * scale).float()
    data = {
        "before": {
            "count": shown.point_count,
            "positions": _encode(place(shown.positions)),
            "normals": _encode_normals(shown.normals),
            "colors": _encode_colors(shown.colors),
        },
        "after": {
            "faceCount": after.face_count,
            "positions": _encode(place(after.vertices)),
            "normals": _encode_normals(after.vertex_normals),
            "colors": _encode_colors(after.vertex_colors),
            "faces": _encode(after.faces.to(torch.int32)),
        },
    }
    template = Template(resources.files("unproject.view").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        before_caption=f"{before.point_count:,} points",
        after_caption=f"{after.vertex_count:,} vertices, {after.face_count:,} faces",
        rows="".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows),
        curves=_curves(losses),
        data=json.dumps(data),
    )


def _encode(values: Tensor) -> str:
    return base64.b64encode(values.detach().cpu().contiguous().numpy().tobytes()).decode("ascii")


def _encode_normals(normals: Tensor | None) -> str | None:
    return None if normals is None else _encode((normals.clamp(-1, 1) * 127).round().to(torch.int8))


def _encode_colors(colors: Tensor | None) -> str | None:
    return None if colors is None else _encode((colors[:, :3].clamp(0, 1) * 255).round().to(torch.uint8))


def _curves(losses: Sequence[Mapping[str, float]], width: int = 1000, height: int = 280) -> str:
    """Loss curves over steps as SVG, logarithmic in the value. What one step alone tells, such as a number of points, is no curve."""
    steps = Counter(name for step in losses for name in step)
    names = [name for name, count in steps.items() if count > 1 or len(losses) == 1]
    values = [step[name] for step in losses for name in names if math.isfinite(step.get(name, 0)) and step.get(name, 0) > 0]
    if not values:
        return "<p>No losses were recorded.</p>"
    low, high = math.floor(math.log10(max(min(values), max(values) * 1e-9))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    x = lambda step: 50 + (width - 60) * step / max(len(losses) - 1, 1)
    y = lambda value: 10 + (height - 40) * (high - min(max(math.log10(value), low), high)) / (high - low)
    parts = []
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(
            f'<line x1="50" x2="{width - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#8884"/><text x="4" y="{at + 4:.1f}">1e{power}</text>'
        )
    parts.append(f'<text x="50" y="{height - 8}">step 1</text><text x="{width - 70}" y="{height - 8}">step {len(losses)}</text>')
    for k, name in enumerate(names):
        line = " ".join(f"{x(i):.1f},{y(s[name]):.1f}" for i, s in enumerate(losses) if s.get(name, 0) > 0 and math.isfinite(s[name]))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLORS[k % len(_COLORS)]}" stroke-width="1.5"/>')
    key = "".join(f'<span><i style="background:{_COLORS[k % len(_COLORS)]}"></i>{html.escape(n)}</span>' for k, n in enumerate(names))
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss curves">{"".join(parts)}</svg><div class="key">{key}</div>'
