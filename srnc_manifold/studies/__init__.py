"""Studies: comparisons that answer one question each and write the answer as a document."""

__all__ = ["formulations", "srnc"]
