"""Operators: torch.library over the kernels. Shapes, dispatch, fake and autograd; no policy. Internal: the public functions lie above."""
