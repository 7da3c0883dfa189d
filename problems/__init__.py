"""Families of problems; each module has a function ``problems()`` that yields them, named."""
