"""Lights in a JSON file: an array of objects with "type" (ambient, directional, point, spot, spherical_harmonics) and a light's fields."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError
from ..io.json_node import JsonNode, read_json
from ..render.light import AmbientLight, DirectionalLight, Light, PointLight, SphericalHarmonicsLight, SpotLight, check_lights

TYPES: dict[str, type] = {
    "ambient": AmbientLight,
    "directional": DirectionalLight,
    "point": PointLight,
    "spot": SpotLight,
    "spherical_harmonics": SphericalHarmonicsLight,
}


def load_lights(path: str | os.PathLike[str]) -> tuple[Light, ...]:
    """Read lights, such as [{"type": "point", "position": [0, 2, 1], "color": [1, 1, 1]}, {"type": "ambient", "color": [0.2, 0.2, 0.2]}].

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: not such a file; the message names the key.
    """
    return tuple(_light(node) for node in read_json(path).elements())


def _light(node: JsonNode) -> Light:
    kind = node["type"].text()
    if kind not in TYPES:
        raise node["type"].fail(f"must be one of {', '.join(TYPES)}, got {kind!r}")
    known = {field.name: field for field in dataclasses.fields(TYPES[kind])}
    values: dict[str, Any] = {}
    for name, value in node.members():
        if name == "type":
            continue
        if name not in known:
            raise value.fail(f"is not a field of a {kind} light; it has {', '.join(known)}")
        if name == "frame":
            values[name] = value.text()
        elif name.endswith("_deg"):
            values[name] = value.number()
        else:
            values[name] = value.array(-1, 3) if name == "coefficients" else value.array(3)
    for name, field in known.items():
        if field.default is dataclasses.MISSING:
            node[name]
    try:
        fields = {name: torch.from_numpy(v).float() if isinstance(v, np.ndarray) else v for name, v in values.items()}
        light = TYPES[kind](**fields)
        return check_lights((light,), "lights")[0]
    except ArgumentError as error:
        raise node.fail(f"is not a whole light: {str(error).partition(': ')[2]}") from None
