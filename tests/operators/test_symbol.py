import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import srnc_manifold as srnc
from srnc_manifold.backends import namespace, namespace_of
from srnc_manifold.operators import measures, norms, symbol
from srnc_manifold.operators.geometry import Geometry

CASES = [
    ((), ()),
    ((3, 4), ()),
    ((4, 1), ()),
    ((3,), (7,)),
    ((4,), (4,)),
    ((2,), (64,)),
    ((60,), (61,)),
    ((130,), (131,)),  # from here on, where there are that many taps, by FFT
    ((130,), (140,)),
    ((12, 11), (12, 13)),
    ((12, 11), (13, 12)),
    ((2, 2, 40), (45,)),
    ((2, 3, 5), (9,)),
    ((3, 3), (5, 6)),
    ((8, 7), (8, 9)),
    ((8, 7), (9, 8)),
    ((2, 3, 3, 2), (4, 5)),
    ((2, 2, 8, 7), (9, 8)),
    ((5, 1, 3, 3), (4, 4)),
    ((1, 5, 3), (8,)),
    ((3, 4, 5), (4, 5, 5)),
    ((2, 2, 2, 3, 2), (3, 4, 5)),
]
LAYOUTS = [
    ((4, 1, 3), (8,), {"groups": 4}),  # depthwise
    ((8, 1, 3, 3), (5, 6), {"groups": 4}),  # depthwise with a multiplier
    ((4, 2, 3, 3), (5, 6), {"groups": 2}),
    ((6, 3), (), {"groups": 2}),
    ((3,), (8,), {"stride": 2}),
    ((5,), (9,), {"stride": 3}),
    ((1,), (6,), {"stride": 2}),
    ((2,), (12,), {"stride": 4}),  # half of the phases meet no tap
    ((2, 3, 3), (8,), {"stride": 2}),
    ((3, 3), (8, 6), {"stride": (2, 3)}),
    ((2, 2, 3, 3), (6, 6), {"stride": 2}),
    ((2, 3, 2, 2), (4, 4), {"stride": 2}),
    ((3,), (8,), {"dilation": 3}),
    ((3,), (9,), {"dilation": 2}),
    ((2, 2, 3, 3), (7, 8), {"dilation": 2}),
    ((3,), (4,), {"dilation": 5}),  # wraps around, but no two taps coincide
    ((4, 2, 3, 3), (8, 8), {"groups": 2, "stride": 2, "dilation": (2, 1)}),
    ((3,), (12,), {"stride": 2, "dilation": 3}),
    ((130,), (140,), {"stride": 2}),  # by FFT
    ((4, 2, 40), (44,), {"groups": 2, "stride": 2, "dilation": 3}),
]
TOLERANCE = 1e-12  # relative to the largest: rounding of sums of at most a few hundred products


def random_kernel(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_singular_values_are_those_of_the_dense_operator(shape, size, dense):
    kernel = random_kernel(shape)
    matrix = dense(kernel, size)
    expected = np.linalg.svd(matrix, compute_uv=False)
    found = srnc.singular_values(kernel, size)
    assert found.shape == expected.shape
    scale = expected[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)
    assert srnc.spectral_norm(kernel, size) == pytest.approx(scale, rel=TOLERANCE)
    assert srnc.frobenius_norm(kernel, size) == pytest.approx(np.linalg.norm(matrix), rel=TOLERANCE)
    assert srnc.stable_rank(kernel, size) == pytest.approx(np.linalg.norm(matrix) ** 2 / scale**2, rel=TOLERANCE)


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS)
def test_groups_stride_and_dilation_against_the_dense_operator(shape, size, layout, dense):
    kernel = random_kernel(shape)
    matrix = dense(kernel, size, **layout)
    expected = np.linalg.svd(matrix, compute_uv=False)
    found = srnc.singular_values(kernel, size, **layout)
    # Phases of the stride that meet no tap are columns of zeros.
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=TOLERANCE * expected[0])
    assert np.all(expected[len(found) :] < TOLERANCE * expected[0])
    assert srnc.spectral_norm(kernel, size, **layout) == pytest.approx(expected[0], rel=TOLERANCE)
    assert srnc.frobenius_norm(kernel, size, **layout) == pytest.approx(np.linalg.norm(matrix), rel=TOLERANCE)
    expected_rank = np.sum(expected**2) / expected[0] ** 2
    assert srnc.stable_rank(kernel, size, **layout) == pytest.approx(expected_rank, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("shape", "size", "layout"), [case for case in LAYOUTS if len(case[1]) in (1, 2) and len(case[0]) > 2]
)
def test_groups_stride_and_dilation_mean_what_they_mean_in_pytorch(shape, size, layout):
    kernel = torch.tensor(random_kernel(shape))
    d, c_in = len(size), shape[1] * layout.get("groups", 1)
    per_axis = {name: np.broadcast_to(layout.get(name, 1), (d,)).tolist() for name in ("stride", "dilation")}
    extra = [(k - 1) * step for k, step in zip(shape[2:], per_axis["dilation"], strict=True)]
    images = torch.eye(c_in * int(np.prod(size)), dtype=torch.float64).reshape(-1, c_in, *size)
    # Circular padding of the whole extent on one side: the operator up to a shift of its input.
    padding = [n for width in reversed(extra) for n in (0, width)]
    if any(width > n for width, n in zip(extra, size, strict=True)):
        return  # PyTorch pads no further than once around
    padded = torch.nn.functional.pad(images, padding, mode="circular")
    convolve = torch.nn.functional.conv1d if d == 1 else torch.nn.functional.conv2d
    out = convolve(padded, kernel, groups=layout.get("groups", 1), **per_axis)
    expected = np.linalg.svd(out.reshape(len(images), -1).numpy(), compute_uv=False)
    found = srnc.singular_values(kernel, size, **layout).numpy()
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=TOLERANCE * expected[0])


@pytest.mark.parametrize(("shape", "size", "layout"), LAYOUTS)
def test_layouts_are_the_same_in_every_library_and_by_either_way(shape, size, layout, monkeypatch):
    kernel, geometry = random_kernel(shape), Geometry.of(shape, size, **layout)
    symbols = []
    for by_product in (True, False):
        if not by_product and not size:
            continue  # a dense matrix has no axis to transform
        monkeypatch.setattr(symbol, "_by_product", lambda _, by_product=by_product: by_product)
        symbols.append(symbol.of(kernel, geometry))
        for name, array in (("autograd", kernel), ("torch", torch.tensor(kernel))):
            np.testing.assert_allclose(np.asarray(symbol.of(array, geometry, namespace(name))), symbols[0], atol=1e-12)
        # ⟨symbol(x), Y⟩ = ⟨x, adjoint(Y)⟩
        rng = np.random.default_rng(1)
        matrices = rng.standard_normal(symbols[0].shape) + 1j * rng.standard_normal(symbols[0].shape)
        inner = np.sum(symbols[0].real * matrices.real + symbols[0].imag * matrices.imag)
        assert inner == pytest.approx(np.sum(kernel * symbol.adjoint(matrices, geometry)), rel=1e-10)
    np.testing.assert_allclose(symbols[-1], symbols[0], atol=1e-12)


@pytest.mark.parametrize("shape", [(20, 20), (30, 17), (17, 30)])
def test_the_norm_without_all_decompositions(shape):
    rng = np.random.default_rng(0)
    for spread in (0.0, 1e-13, 1e-3, 3.0):  # from all equal to one far ahead
        one = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        matrices = np.stack([one * (1 + spread * rng.random()) for _ in range(40)])
        matrices[3] = 0
        values = np.linalg.norm(matrices, 2, axis=(1, 2)) ** 2
        block, largest = norms.dominant_block(matrices)
        assert largest == pytest.approx(np.max(values), rel=1e-14)
        assert values[block] == pytest.approx(largest, rel=1e-14)
        tests = norms.NormTests(matrices)
        index = np.arange(40)
        assert np.all(tests.estimates <= values * (1 + 1e-12))
        assert np.all(tests.below(index, np.maximum(values, 1e-3) * (1 + 1e-9)))
        assert not np.any(tests.below(index[values > 0], values[values > 0] * (1 - 1e-9)))


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((3,), (8,), {}),
        ((3,), (3,), {}),
        ((5,), (8,), {}),
        ((4,), (5,), {}),
        ((3, 3), (6, 8), {}),
        ((2, 3, 3), (8,), {}),
        ((3,), (8,), {"dilation": 2}),
        ((5,), (16,), {"stride": 2}),
        ((4, 2, 3), (8,), {"groups": 2}),
    ],
)
def test_the_norm_at_every_larger_size_is_bounded(shape, size, layout):
    for seed in range(20):
        kernel = random_kernel(shape, seed)
        bound = srnc.spectral_norm(kernel, size, all_sizes=True, **layout)
        stride = layout.get("stride", 1)
        for more in (1, 2, 3, 7, 50):
            larger = tuple(n + stride * more for n in size)
            assert srnc.spectral_norm(kernel, larger, **layout) <= bound * (1 + 1e-12)
    # At worst by 8 %, the sharp factor for three taps on eight points (theory, section 6).
    assert measures.size_factor(Geometry.of((3,), 8)) == pytest.approx(1.0824, abs=1e-4)


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_symbol_is_the_fourier_transform_of_the_dense_operator(shape, size, dense):
    kernel = random_kernel(shape)
    geometry = Geometry.of(shape, size)
    c_out, c_in = geometry.channels
    columns = dense(kernel, size).reshape(c_out, *size, c_in, geometry.n_points)[..., 0]  # response to an impulse at 0
    full = np.fft.fftn(columns, axes=tuple(range(1, len(size) + 1))) if size else columns
    expected = np.stack([full[(slice(None), *f)] for f in geometry.frequencies])
    np.testing.assert_allclose(symbol.of(kernel, geometry), expected, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_numpy_autograd_and_torch_agree(shape, size):
    kernel = random_kernel(shape)
    expected = srnc.singular_values(kernel, size)
    tensor = srnc.singular_values(torch.tensor(kernel), size)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=0, atol=TOLERANCE * expected[0])

    def cubes(x):
        return anp.sum(srnc.singular_values(x, size) ** 3)

    value, gradient = autograd.value_and_grad(cubes)(kernel)
    assert value == pytest.approx(np.sum(expected**3), rel=TOLERANCE)
    leaf = torch.tensor(kernel, requires_grad=True)
    geometry = Geometry.of(shape, size)
    xp = namespace("torch")
    squares = symbol.squared_singular_values(leaf, geometry, xp)
    weights = xp.constant(geometry.multiplicities, leaf)[:, None]
    (weights * squares**1.5).sum().backward()
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, atol=1e-11 * np.abs(gradient).max())


@pytest.mark.parametrize(("shape", "size"), CASES)
def test_adjoint(shape, size):
    rng = np.random.default_rng(1)
    geometry = Geometry.of(shape, size)
    kernel = rng.standard_normal(shape)
    image = symbol.of(kernel, geometry)
    other = rng.standard_normal(image.shape) + 1j * rng.standard_normal(image.shape)
    left = np.sum((image.conj() * other).real)
    right = np.sum(kernel * symbol.adjoint(other, geometry))
    assert left == pytest.approx(right, abs=TOLERANCE * np.linalg.norm(image) * np.linalg.norm(other))


@pytest.mark.parametrize("n_taps", [1, 32, 33, 65])
def test_product_and_fft_agree(n_taps, monkeypatch):
    geometry = Geometry.of((2, 3, n_taps), (65,))
    kernel = random_kernel((2, 3, n_taps))
    shape = (geometry.n_blocks, 2, 3)
    matrices = random_kernel(shape) + 1j * random_kernel(shape, 1)
    results = []
    for by_product in (True, False):
        monkeypatch.setattr(symbol, "_by_product", lambda _, choice=by_product: choice)
        results.append((symbol.of(kernel, geometry), symbol.adjoint(matrices, geometry)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-12)


def test_a_column_kernel_is_the_one_dimensional_one():
    kernel = random_kernel(5)
    assert np.array_equal(srnc.singular_values(kernel, (9,)), srnc.singular_values(kernel[:, None], (9, 1)))


def with_zeros(rng):
    """Kernels whose operators have singular values that are zero, and some of which are equal."""
    dead = rng.standard_normal((3, 2, 3))
    dead[1] = 0.0
    twins = rng.standard_normal((3, 2, 3))
    twins[1] = twins[0]
    return [
        (np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]), 8, {}),
        (np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]), (6, 8), {}),
        (np.array([1.0, -1.0]), 8, {}),
        (dead, 8, {}),
        (twins, 8, {"stride": 2}),
        (np.outer([1.0, 2], [1, 0, 1]), (), {}),
        (np.concatenate([np.zeros((1, 1, 3)), np.ones((1, 1, 3))]), 9, {"groups": 2}),
    ]


@pytest.mark.parametrize("case", range(7))
def test_gradients_of_singular_values_that_are_zero_are_finite_subgradients(case):
    rng = np.random.default_rng(case)
    kernel, size, layout = with_zeros(rng)[case]

    def total(x):
        return srnc.singular_values(x, size, **layout).sum()

    tensor = torch.tensor(kernel, requires_grad=True)
    (gradient,) = torch.autograd.grad(total(tensor), tensor)
    of_autograd = autograd.grad(lambda x: anp.sum(srnc.singular_values(x, size, **layout)))(kernel)
    assert np.isfinite(gradient.numpy()).all()
    assert np.isfinite(of_autograd).all()
    # The sum of singular values is convex: a subgradient lies below it everywhere, up to the rounding of the sums.
    for found in (gradient.numpy(), of_autograd):
        for scale in (1e-3, 1.0):
            change = scale * rng.standard_normal(kernel.shape)
            rise = total(kernel + change) - total(kernel)
            assert rise >= np.sum(found * change) - 1e-12 * total(kernel)
    for function in (srnc.spectral_norm, srnc.stable_rank, srnc.frobenius_norm):
        (gradient,) = torch.autograd.grad(function(tensor, size, **layout), tensor)
        assert torch.isfinite(gradient).all()


def test_batches_are_leading_axes():
    geometry = Geometry.of((2, 3, 3, 3), (5, 4))
    kernels = random_kernel((4, 2, 3, 3, 3))
    together = symbol.squared_singular_values(kernels, geometry)
    for one, values in zip(kernels, together, strict=True):
        np.testing.assert_allclose(symbol.squared_singular_values(one, geometry), values, atol=1e-12)


@given(st.integers(-300, 300))
def test_scale_neither_overflows_nor_vanishes(exponent):
    kernel = random_kernel((2, 2, 3))
    scaled = kernel * 2.0**exponent * 2.0 ** (exponent // 3)
    factor = 2.0**exponent * 2.0 ** (exponent // 3)
    assert srnc.stable_rank(scaled, 8) == pytest.approx(srnc.stable_rank(kernel, 8), rel=1e-14)
    assert srnc.spectral_norm(scaled, 8) == pytest.approx(factor * srnc.spectral_norm(kernel, 8), rel=1e-14)


def test_singular_vectors_rebuild_the_matrices():
    for shape in ((7, 3, 4), (7, 1, 4), (7, 4, 1), (7, 1, 1)):
        matrices = random_kernel(shape) + 1j * random_kernel(shape, 1)
        matrices[0] = 0
        u, s, vh = symbol.singular_vectors(matrices)
        np.testing.assert_allclose((u * s[:, None, :]) @ vh, matrices, atol=1e-13)
        eye = np.eye(min(shape[1:]))
        np.testing.assert_allclose(vh @ vh.conj().swapaxes(-1, -2), np.broadcast_to(eye, (7, *eye.shape)), atol=1e-13)


def test_namespaces():
    assert namespace_of(torch.ones(2)).name == "torch"
    assert namespace_of([1.0]).name == "numpy"
    with pytest.raises(ValueError, match="backend: 'jax'"):
        namespace("jax")
    with pytest.raises(NotImplementedError, match="does not differentiate"):
        namespace("numpy").value_and_gradient(lambda z: z, np.ones(2))


@pytest.mark.parametrize("n_taps", [3, 130])
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (torch.int64, torch.float64),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_precision_of_tensors(given, found, n_taps):
    kernel = torch.arange(1, n_taps + 1).to(given)
    values = srnc.singular_values(kernel, n_taps + 1)
    assert values.dtype == found
    expected = srnc.singular_values(kernel.double().numpy(), n_taps + 1)
    np.testing.assert_allclose(values.double().numpy(), expected, atol=1e-5 * expected[0])  # single precision


class ManifoldParameter(torch.nn.Parameter):
    """As other libraries define."""


class OwnTensor(torch.Tensor):
    """A subclass that stays one in all functions."""


class OwnArray(np.ndarray):
    """The same for NumPy."""


def test_subclasses_belong_to_the_library_of_their_base():
    kernel = torch.tensor(np.random.default_rng(0).standard_normal((2, 2, 3)))
    for tensor in (ManifoldParameter(kernel), kernel.as_subclass(OwnTensor).requires_grad_()):
        assert namespace_of(tensor).name == "torch"
        for function in (srnc.singular_values, srnc.spectral_norm, srnc.frobenius_norm, srnc.stable_rank):
            found = function(tensor, 8)
            (gradient,) = torch.autograd.grad(found.sum(), tensor)
            assert torch.isfinite(gradient).all()
            np.testing.assert_allclose(found.detach().numpy(), function(kernel.numpy(), 8), rtol=1e-12)
        found = srnc.solve_batch(tensor[None], 8, stable_rank_fraction=0.8)
        assert isinstance(found.kernels, torch.Tensor)
        assert isinstance(srnc.SRNProblem(tensor, 8, stable_rank_fraction=0.8).kernel, np.ndarray)
    assert namespace_of(np.ones(3).view(OwnArray)).name == "numpy"
    assert isinstance(srnc.solve_batch(np.ones((1, 3)).view(OwnArray), 8, stable_rank_fraction=1).kernels, np.ndarray)
