"""Python files of a user's own: modules that no other process can import, and classes in them."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

#: The modules of the files, which no other process can import.
FILE_MODULES: dict[str, ModuleType] = {}

# Those of which a name was asked for, by the file and when it was changed: several names are of one module.
_READ: dict[tuple[str, float], ModuleType] = {}


def import_file(path: Path, argument: str) -> ModuleType:
    """The module of a Python file, which is executed.

    Raises
    ------
    ValueError
        If there is no such file, or it raises an exception. The message begins with the name of the argument.
    """
    if not path.is_file():
        raise ValueError(f"{argument}: {str(path)!r} {'is a folder' if path.is_dir() else 'does not exist'}")
    spec = importlib.util.spec_from_file_location(f"srnc_{argument}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{argument}: {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the module in which they are defined
    FILE_MODULES[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name], FILE_MODULES[spec.name]
        raise ValueError(f"{argument}: {str(path)!r} raised {type(error).__name__}: {error}") from error
    return module


def names_a_file(name: str) -> bool:
    """Whether a name is that of something in a Python file: ``mine.py:RandomSearch``."""
    return ".py:" in name


def from_file(name: str, argument: str) -> Any:
    """What a Python file has under a name: ``mine.py:RandomSearch``.

    Raises
    ------
    ValueError
        If it cannot be called, or as :func:`import_file`.
    """
    file, _, attribute = name.rpartition(":")
    key = os.path.abspath(file), os.path.isfile(file) and os.stat(file).st_mtime_ns
    if key not in _READ:
        _READ[key] = import_file(Path(file), argument)
    found = getattr(_READ[key], attribute, None)
    if not callable(found):
        raise ValueError(f"{argument}: {name!r} given, but {file!r} has no class or function {attribute!r}")
    return found
