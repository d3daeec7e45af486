"""Derivatives of gradients: where no kernel computes them, the torch twin is differentiated once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiate_twice(
    twin: Callable[..., Tensor | Sequence[Tensor]], inputs: Sequence[Tensor], flows: Sequence[Tensor], cotangents: Sequence[Tensor | None]
) -> list[Tensor]:
    """Backward of a backward operator, which itself can be differentiated again.

    Args:
        twin: function of `inputs` whose gradient the backward operator computes.
        flows: gradients of the twin's results, which the backward operator took.
        cotangents: gradients of what the backward operator returned, one for each input; None for inputs that it gives no gradient of.

    Returns:
        Gradients of inputs and flows.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [t if again and t.requires_grad else t.detach().requires_grad_() for t in (*inputs, *flows)]
        results = twin(*leaves[: len(inputs)])
        results = (results,) if isinstance(results, Tensor) else results
        wanted = [(leaf, cotangent) for leaf, cotangent in zip(leaves, cotangents) if cotangent is not None]
        first = _gradients(results, [leaf for leaf, _ in wanted], leaves[len(inputs) :], create_graph=True)
        return list(_gradients(first, leaves, [cotangent for _, cotangent in wanted], create_graph=again))


def _gradients(results: Sequence[Tensor], leaves: Sequence[Tensor], flows: Sequence[Tensor], *, create_graph: bool) -> Sequence[Tensor]:
    """torch.autograd.grad of the results that depend on anything; zeros for what nothing depends on."""
    pairs = [(result, flow) for result, flow in zip(results, flows) if result.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in leaves]
    results, flows = zip(*pairs)
    return torch.autograd.grad(results, leaves, flows, create_graph=create_graph, allow_unused=True, materialize_grads=True)
