"""Classical filters. Symmetric and antisymmetric kernels are hard cases for the explicit solution."""

from collections.abc import Iterator

import numpy as np

from srnc_manifold import NamedProblem, partway

_BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
_ROOT3 = np.sqrt(3.0)

FILTERS = {
    "difference (−1, 0, 1)": (np.array([-1.0, 0.0, 1.0]), (64,), "any reduction jumps to another frequency"),
    "binomial": (_BINOMIAL, (64,), "a low-pass filter: DC is its largest singular value"),
    "Daubechies-4 low-pass": (
        np.array([1 + _ROOT3, 3 + _ROOT3, 3 - _ROOT3, 1 - _ROOT3]) / (4 * np.sqrt(2.0)),
        (64,),
        "a 1-D wavelet filter",
    ),
    "Sobel": (np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]), (16, 16), "antisymmetric: minimizers in pairs"),
    "Laplacian": (np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]), (16, 16), "symmetric, largest at Nyquist"),
    "Gaussian blur": (np.outer(_BINOMIAL, _BINOMIAL), (16, 16), "separable; the solution need not be"),
    "sharpen": (np.array([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]), (16, 16), "symmetric"),
}


def problems() -> Iterator[NamedProblem]:
    for name, (kernel, size, note) in FILTERS.items():
        yield NamedProblem(name, partway(kernel, size, 0.5), note=note)
