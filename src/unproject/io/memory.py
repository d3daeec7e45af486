"""How much memory a value takes."""

from __future__ import annotations

from torch import Tensor

from ..struct import TensorStruct


def memory_bytes(value: TensorStruct) -> int:
    """Bytes of all tensors of a mesh, cloud or other struct, textures and metadata included; shared memory counts once."""
    seen: dict[int, int] = {}

    def visit(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    value.map(visit)
    return sum(seen.values())
