"""Reading kernels from files, and writing files of weights anew with some of them changed."""

from srnc_manifold.files.reading import SUFFIXES, Contents, read_arrays, read_file
from srnc_manifold.files.weights import WeightsFile

__all__ = ["SUFFIXES", "Contents", "WeightsFile", "read_arrays", "read_file"]
