"""Digests of values with all that is in them, and of the code that they need.

Code of this package is known by its name, code of installed packages by their versions and lists of files. Of any other
code, such as a cost in a script, what counts is what can be reached from the class: its methods as they are compiled,
and the functions, classes and values that these name, through all modules. So an edit of ``value`` gives another
digest, and an edit of a comment, or of another class in the same file, does not.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

import numpy as np

from srnc_manifold.comparison.environment import PACKAGES

#: Of a digest: as safe as all 64 of SHA-256 against chance, in half the room.
DIGITS = 32

OWN = __name__.partition(".")[0]


class UnknownSourceError(ValueError):
    """Raised for something whose code or settings cannot be read."""


def fingerprint(*values: Any) -> str:
    """Digest of values with all that is in them, and of the code that they need; equal in every process.

    Raises
    ------
    UnknownSourceError
        If something cannot be read, with its name.
    """
    walk = _Walk()
    for value in values:
        walk.add(value)
    return walk.digest()


class _Walk:
    """Goes through a value and what it refers to, and takes down what it is made of."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        # Where each object was met first; they are kept, so that no other one gets its number.
        self._met: dict[int, tuple[int, Any]] = {}

    def digest(self) -> str:
        return self._total.hexdigest()[:DIGITS]

    def _note(self, *texts: object) -> None:
        for text in texts:
            content = str(text).encode("utf-8", "surrogatepass")
            self._total.update(f"{len(content)}:".encode() + content)

    def add(self, value: Any) -> None:
        if value is None or type(value) in (bool, int, float, complex, str, bytes, type(Ellipsis)):
            self._note(type(value).__name__, repr(value))
        elif isinstance(value, tuple | frozenset):  # equal ones may be one object or several
            self._add_new(value)
        elif id(value) in self._met:
            self._note("as before", self._met[id(value)][0])
        else:
            self._met[id(value)] = len(self._met), value
            self._add_new(value)

    def _add_new(self, value: Any) -> None:
        if hasattr(value, "detach"):  # a tensor
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            self._note("array", value.dtype.str, value.shape)
            self._total.update(np.ascontiguousarray(value).tobytes())
        elif type(value) in (list, tuple):
            self._sequence(type(value).__name__, value)
        elif type(value) in (set, frozenset):
            self._sequence(type(value).__name__, sorted(fingerprint(part) for part in value))
        elif type(value) is dict:
            self._pairs(value.items())
        elif isinstance(value, ModuleType):
            self._note("module", value.__name__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, Enum):
            self.add(type(value))
            self._note(value.name)
        elif inspect.isbuiltin(value) and isinstance(value.__self__, ModuleType | None):
            self._named(value)
        elif isinstance(value, np.ufunc):
            self._note("ufunc", value.__name__)
        elif isinstance(value, classmethod | staticmethod):
            self._sequence(type(value).__name__, [value.__func__])
        elif isinstance(value, property):
            self._sequence("property", [value.fget, value.fset, value.fdel])
        elif isinstance(value, functools.cached_property):
            self._sequence("cached", [value.func])
        elif isinstance(value, MemberDescriptorType):
            self._note("slot", value.__name__)
        else:
            self._instance(value)

    def _sequence(self, kind: str, parts: Iterable[Any]) -> None:
        parts = list(parts)
        self._note(kind, len(parts))
        for part in parts:
            self.add(part)

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Of a dictionary, whatever the order in which it was filled."""
        self._note("dict")
        for _, key, value in sorted(((fingerprint(k), k, v) for k, v in pairs), key=lambda triple: triple[0]):
            self.add(key)
            self.add(value)

    def _instance(self, value: Any) -> None:
        """An object as it would be pickled: its class, and its state without what it has computed and keeps."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            if not hasattr(value, "__dict__"):
                raise UnknownSourceError(f"a {type(value).__qualname__}, whose state cannot be read") from None
            reduced = (type(value), (), dict(vars(value)))
        if isinstance(reduced, str):
            self._named(value)
            return
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        if isinstance(state, dict):
            state = {k: v for k, v in state.items() if not _is_cache(type(value), k)}
        self._note("instance")
        self.add(type(value))
        self._sequence("made of", [make, *arguments, state])
        self._sequence("items", items or ())
        self._pairs(pairs or ())

    # -- code -----------------------------------------------------------------------------------------------

    def _named(self, thing: Any) -> str:
        """Take down the name of a class or function, and return who wrote it."""
        module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", repr(thing))
        origin = origin_of(module)
        self._note("code", "" if origin == "user" else module, name)  # a script has another name when it is imported
        if origin == "installed":
            self._note(_distribution(module.partition(".")[0]))
            with contextlib.suppress(UnknownSourceError):  # of an edit in place
                self._note(_file_digest(module, name))
        elif origin == "user" and not isinstance(thing, type | FunctionType):
            self._note(_file_digest(module, name))
        return origin

    def _class(self, kind: type) -> None:
        if self._named(kind) != "user":
            return
        for base in kind.__bases__:
            self.add(base)
        members = {k: v for k, v in vars(kind).items() if not _is_made(k, v)}
        if not members and not getattr(kind, "__module__", None):
            raise UnknownSourceError(f"the class {kind.__qualname__}, whose code cannot be read")
        self._note("class", len(members))
        for name, member in sorted(members.items()):
            self._note(name)
            self.add(member)

    def _function(self, function: FunctionType) -> None:
        if self._named(function) != "user":
            return
        self._sequence("function", [function.__defaults__, function.__kwdefaults__, dict(vars(function))])
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not filled yet
                self._note("empty")
        self._code(function.__code__)
        names = dict.fromkeys(_names(function.__code__))
        imported = _imported(function.__code__, function.__globals__.get("__package__") or "")
        known = {name: function.__globals__[name] for name in names if name in function.__globals__}
        for name, value in (known | imported).items():
            self._note("global", name)
            self._global(value, names)

    def _global(self, value: Any, names: Iterable[str]) -> None:
        """What a function refers to; of a module that is not installed, those of its names that the function has."""
        if isinstance(value, ModuleType):
            self.add(value)
            self._version(value.__name__)
            if origin_of(value.__name__) == "user":
                for name in names:
                    if name in vars(value):
                        self._note("global", name)
                        self._global(vars(value)[name], names)
        elif isinstance(value, type | FunctionType) or callable(value):
            module = getattr(value, "__module__", None) or ""
            if origin_of(module) in ("installed", "standard", "own"):  # a tool
                self._note("code", module, getattr(value, "__qualname__", ""))
                self._version(module)
            else:
                self.add(value)
        else:
            self.add(value)

    def _version(self, module: str) -> None:
        """Of an installed package, unless it is one whose version is told of each run, as of those of this package."""
        top = module.partition(".")[0]
        if origin_of(module) == "installed" and top not in PACKAGES:
            self._note(_distribution(top))

    def _code(self, code: CodeType) -> None:
        self._note("compiled", code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_names, code.co_freevars)
        self._note(code.co_code.hex(), getattr(code, "co_exceptiontable", b"").hex())
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant)
            else:
                self.add(constant)


def _names(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in a function and in those defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _imported(code: CodeType, package: str) -> dict[str, Any]:
    """The modules that a function imports when it is called, by name, if they are not installed.

    They are imported now, as the run will do. One that cannot be imported is None.
    """
    found: dict[str, Any] = {}
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for level, parts, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            name = "." * level.argval + step.argval
            for each in (name, *(f"{name}{'' if name.endswith('.') else '.'}{part}" for part in parts.argval or ())):
                if level.argval or origin_of(each) == "user":
                    found[each] = _module(each, package)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _imported(constant, package)
    return found


def _module(name: str, package: str) -> ModuleType | None:
    try:
        return importlib.import_module(name, package)
    except Exception:  # not there, no module but a function in one, or one that fails
        return None


def _is_made(name: str, member: Any) -> bool:
    """Whether an entry of a class is made by Python, not written by its author."""
    dunder = name.startswith("__") and name.endswith("__")
    written = isinstance(member, FunctionType | classmethod | staticmethod | property)
    return (dunder and not written) or name == "_abc_impl"


def _is_cache(kind: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(kind, name, None), functools.cached_property)


@functools.cache
def origin_of(module: str) -> str:
    """Who wrote a module: ``"own"`` (this package), ``"standard"``, ``"installed"`` or ``"user"``."""
    top = module.partition(".")[0]
    if top == OWN:
        return "own"
    if top in ("", "__main__"):  # whatever has started Python
        return "user"
    if top in sys.stdlib_module_names:
        return "standard"
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and top != module and top in sys.modules:
        return origin_of(top)
    if file is None:
        return "user" if top in sys.modules or top not in _installed() else "installed"
    return "installed" if any(Path(file).is_relative_to(place) for place in _site_folders()) else "user"


@functools.cache
def _site_folders() -> list[Path]:
    paths = sysconfig.get_paths()
    named = [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    return [Path(name) for name in dict.fromkeys(named)]


@functools.cache
def _installed() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


@functools.cache
def _distribution(top: str) -> str:
    """Names and versions of the distributions that have a top-level module, and a digest of their lists of files."""
    texts = []
    for name in sorted(set(_installed().get(top, ()))):
        found = importlib.metadata.distribution(name)
        record = hashlib.sha256((found.read_text("RECORD") or "").encode()).hexdigest()
        texts.append(f"{found.name} {found.version} {record}")
    return "; ".join(texts) or _file_digest(top, top)


@functools.cache
def _file_digest(module: str, name: str) -> str:
    """Digest of the file of a module: for compiled code, which has no other trace."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise UnknownSourceError(f"{name}, of whose code no file is known")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
