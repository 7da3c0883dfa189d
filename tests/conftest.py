"""Ground truth and problems shared by the tests."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Two test processes share two cores, so threads of linear algebra would only wait for each other: that takes up to
# twenty times the processor time. Read when the libraries are loaded. Tests about threads ask for more of them.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

import srnc_manifold as srnc

# Shells take Ctrl-C from what they run in the background, and processes that it starts take that over.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: two test processes share two cores. Derandomized: a failure seen once is seen again.
settings.register_profile("some", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("all", deadline=None, derandomize=True, max_examples=60)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "some"))


def dense_operator(
    kernel: np.ndarray, size: tuple[int, ...], groups: int = 1, stride: object = 1, dilation: object = 1
) -> np.ndarray:
    """The matrix of the circular convolution by a kernel: the convolution applied to the columns of the identity."""
    d = len(size)
    steps, spacing = (np.broadcast_to(np.array(value, int), (d,)) for value in (stride, dilation))
    channels = kernel.shape[:2] if kernel.ndim == d + 2 else (1, 1)
    taps = kernel.shape[kernel.ndim - d :]
    blocks = kernel.reshape(*channels, *taps)
    c_out, c_in = channels[0], channels[1] * groups
    keep = (slice(None), *(slice(None, None, s) for s in steps))
    n_out = int(np.prod([n // s for n, s in zip(size, steps, strict=True)]))
    n_in = c_in * int(np.prod(size))
    images = np.eye(n_in).reshape(groups, channels[1], *size, n_in)  # one column of the identity each
    out = np.zeros((groups, c_out // groups, *size, n_in))
    for tap in np.ndindex(*taps):
        shifted = np.roll(images, tuple(np.array(tap, int) * spacing), axis=tuple(range(2, d + 2)))
        for group in range(groups):
            rows = blocks[(slice(group * c_out // groups, (group + 1) * c_out // groups), slice(None), *tap)]
            out[group] += np.tensordot(rows, shifted[group], axes=1)
    return out.reshape(c_out, *size, n_in)[keep].reshape(c_out * n_out, n_in)


@pytest.fixture(scope="module")
def two_threads():
    """Two threads of linear algebra, as where nothing limits them."""

    def in_another_thread(function, *arguments):
        """As long as the thread that sets a limit lives, it is the only one that can."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *arguments).result()

    limits = in_another_thread(threadpool_limits, 2)
    yield
    in_another_thread(limits.restore_original_limits)


@pytest.fixture
def dense():
    return dense_operator


def module_matrix(module: Any, size: tuple[int, ...]) -> np.ndarray:
    """The matrix of a layer of PyTorch on inputs of a size, in double precision: the module applied to the identity."""
    import torch

    alone = copy.deepcopy(module).double().eval()
    channels = getattr(alone, "in_channels", None) or alone.in_features
    n = channels * int(np.prod(size))
    maps = torch.eye(n, dtype=torch.float64).reshape(n, channels, *size)
    with torch.no_grad():
        return (alone(maps) - alone(torch.zeros_like(maps))).reshape(n, -1).numpy().T


@pytest.fixture
def matrix_of():
    return module_matrix


@pytest.fixture
def norm_and_rank():
    """Spectral norm and stable rank of a layer of PyTorch, from its dense matrix."""

    def measured(module: Any, size: tuple[int, ...]) -> tuple[float, float]:
        from scipy.sparse.linalg import svds

        matrix = module_matrix(module, size)
        large = min(matrix.shape) > 1024  # of these, all singular values take minutes
        start = np.random.default_rng(0).standard_normal(min(matrix.shape))
        norm = svds(matrix, 1, v0=start, return_singular_vectors=False)[0] if large else np.linalg.norm(matrix, 2)
        return float(norm), float(np.sum(matrix**2) / norm**2)

    return measured


@pytest.fixture
def opened():
    """Opens a page in a browser: the page, what it asked for, and what it complained of."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])

        def made(width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
            asked: list[str] = []
            complaints: list[str] = []
            page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text))
            return page, asked, complaints

        yield made
        chromium.close()


@pytest.fixture
def paper():
    """The paper's instance for a target stable rank."""
    return lambda stable_rank: srnc.SRNProblem([1, 0, 0], 64, stable_rank=stable_rank)


@pytest.fixture
def random_problem():
    """A seeded problem whose target lies a fraction of the way from the least feasible to the kernel's own."""

    def make(shape, size, fraction=0.5, seed=0):
        return srnc.partway(np.random.default_rng(seed).standard_normal(shape), size, fraction)

    return make
