"""CPU kernels in Numba over NumPy arrays; never torch. One operator a file."""
