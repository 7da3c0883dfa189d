"""Where runs were made: machine, versions and commit. Times can be compared only if these are the same."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from srnc_manifold.exchange import to_json

#: What runs are made with: their versions are part of each environment.
PACKAGES = ("srnc-manifold", "numpy", "scipy", "pymanopt", "autograd", "cvxpy", "torch")


@functools.cache
def header() -> dict[str, str]:
    """What there is to know of this process's environment, in words, by name."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "machine": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "threads": "1 per run",
        "device": _device(),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        "commit": _commit(),
    }


def name_of(header: dict[str, str]) -> str:
    """A short name of an environment, which is the same for equal headers."""
    return _name_of(tuple(sorted(header.items())))


@functools.cache
def _name_of(items: tuple[tuple[str, str], ...]) -> str:
    return hashlib.sha256(to_json(dict(items)).encode()).hexdigest()[:12]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, model = line.partition(":")
        if name.strip() == "model name":
            return model.strip()
    return platform.processor() or "unknown"


def _device() -> str:
    """The graphics cards that the driver lists, without starting it."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line.partition(":") for card in cards for line in _lines(card)]
    return ", ".join(value.strip() for name, _, value in lines if name.strip() == "Model") or "none"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _commit() -> str:
    """The commit of a checkout that the package lies in, with ``-dirty`` if files are changed; or ``"none"``."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "none"
    try:
        command = ["git", "-C", os.fspath(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip()
