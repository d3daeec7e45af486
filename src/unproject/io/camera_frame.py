"""A camera with a name, and what the readers of camera files share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..camera.camera import Camera
from ..errors import ArgumentError
from .json_node import JsonNode

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """A camera with a name: one image of a set.

    Attributes:
        name: what the file calls it, such as the image's file name.
        camera: one camera without a batch dimension.
        image_path: the image, if the file names one that exists, else None.
        metadata: what the file says besides.
    """

    name: str
    camera: Camera
    image_path: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_image_size(node: JsonNode, width: str = "width", height: str = "height") -> tuple[int, int]:
    """(height, width) from two members of an object."""
    for name in (height, width):
        if node[name].integer() < 1:
            raise node[name].fail(f"must be at least 1, got {node[name].value}")
    return node[height].integer(), node[width].integer()


def checked(build: Callable[[], T], node: JsonNode) -> T:
    """What `build` makes, with its argument errors told as errors of the file."""
    try:
        return build()
    except ArgumentError as error:
        raise node.fail(str(error).partition(": ")[2] or str(error)) from None


def same_intrinsics(cameras: Sequence[Camera]) -> bool:
    """Whether all cameras share image size, projection, K and distortion."""
    first = cameras[0]
    equal = lambda a, b: a is b if a is None or b is None else torch.equal(a, b)
    return all(
        c.image_size == first.image_size
        and c.projection == first.projection
        and equal(c.intrinsics, first.intrinsics)
        and equal(c.distortion, first.distortion)
        for c in cameras
    )
