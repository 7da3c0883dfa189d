"""Methods of the literature, as published and with repairs, one per module."""

__all__ = ["matrix", "matrix_srn", "reshape_then_srn", "spectral_normalization", "srnc"]
