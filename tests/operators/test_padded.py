"""Layers with any padding, against PyTorch's modules and against matrices: the module applied to the identity."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from tiers import slow, some

import srnc_manifold as srnc
from srnc_manifold.backends import namespace
from srnc_manifold.operators import Circular, Padded, brackets, padded
from srnc_manifold.operators.layers import operator_of
from srnc_manifold.operators.padding import MODES

MODULES = {
    (1, False): torch.nn.Conv1d,
    (2, False): torch.nn.Conv2d,
    (3, False): torch.nn.Conv3d,
    (1, True): torch.nn.ConvTranspose1d,
    (2, True): torch.nn.ConvTranspose2d,
    (3, True): torch.nn.ConvTranspose3d,
}


def module_of(kernel, size, layer):
    """PyTorch's module of a layer, with its kernel."""
    words = dict(layer)
    transposed, groups = words.pop("transposed", False), words.get("groups", 1)
    shape = kernel.shape
    channels = (shape[0], shape[1] * groups) if transposed else (shape[1] * groups, shape[0])
    module = MODULES[len(size), transposed](*channels, shape[2:], bias=False, dtype=torch.float64, **words)
    module.weight.data = torch.tensor(kernel)
    return module


def applied(module, maps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 'same' with an even kernel copies
        return module(maps)


def matrix_of(kernel, size, layer):
    """The matrix of a layer: its module applied to the identity."""
    module = module_of(kernel, size, layer)
    c_in = kernel.shape[0] if layer.get("transposed") else kernel.shape[1] * layer.get("groups", 1)
    n = c_in * int(np.prod(size))
    with torch.no_grad():
        return applied(module, torch.eye(n, dtype=torch.float64).reshape(n, c_in, *size)).reshape(n, -1).numpy().T


def random_layer(rng):
    """The shape of a kernel, an input size and what PyTorch's modules take; some do not fit together."""
    d, transposed = int(rng.integers(1, 4)), rng.random() < 0.35
    most = 4 if d < 3 else 3

    def numbers(low, high):
        return tuple(int(n) for n in rng.integers(low, high + 1, d))

    stride, dilation, groups = numbers(1, 3), numbers(1, 2), int(rng.integers(1, 3))
    layer = {"stride": stride, "dilation": dilation, "groups": groups, "padding": numbers(0, 2)}
    if transposed:
        layer |= {"transposed": True, "padding_mode": "zeros"}
        layer["output_padding"] = tuple(int(rng.integers(0, max(s, k))) for s, k in zip(stride, dilation, strict=True))
    else:
        layer["padding_mode"] = MODES[rng.integers(4)]
        if rng.random() < 0.25:
            layer |= {"padding": "same", "stride": (1,) * d}
    shape = (groups * int(rng.integers(1, 3)), int(rng.integers(1, 3)), *numbers(1, most))
    return shape, numbers(3, 7 if d < 3 else 5), layer


def agrees_with_the_module(rng):
    """Whether a random layer is one of PyTorch; if so its products are the same, and if not it is refused."""
    shape, size, layer = random_layer(rng)
    kernel = rng.standard_normal(shape)
    module = module_of(kernel, size, layer)
    try:
        operator = Padded(shape, size, **layer)
    except ValueError:
        with pytest.raises(RuntimeError):
            applied(module, torch.zeros(1, module.in_channels, *size, dtype=torch.float64))
        return False
    maps = torch.randn(operator.input_shape, dtype=torch.float64, requires_grad=True)
    expected = applied(module, maps[None])[0]
    u, v = rng.standard_normal(expected.shape), maps.detach().numpy()
    expected.backward(torch.tensor(u))
    # Sums of at most a few hundred products of normal numbers.
    np.testing.assert_allclose(operator.apply(kernel, v), expected.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(operator.transpose(kernel, u), maps.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(operator.gradient(u, v), module.weight.grad.numpy(), atol=1e-12)
    return True


def test_some_layers_are_those_of_pytorch():
    rng = np.random.default_rng(0)
    assert sum(agrees_with_the_module(rng) for _ in range(60)) >= 50


@slow
def test_many_layers_are_those_of_pytorch():
    rng = np.random.default_rng(1)
    assert sum(agrees_with_the_module(rng) for _ in range(1200)) >= 1000


LAYERS = [
    ((2, 3, 3), (7,), {"padding": 1, "padding_mode": "zeros"}),
    ((4, 2, 3, 2), (5, 6), {"padding": "same", "padding_mode": "reflect", "groups": 2}),
    ((3, 2, 3, 3), (6, 5), {"padding": (2, 1), "padding_mode": "replicate", "stride": (2, 1)}),
    ((3, 2, 4), (7,), {"padding": 1, "padding_mode": "circular", "stride": 2}),
    (
        (2, 2, 3, 3),
        (4, 3),
        {"padding": 1, "padding_mode": "zeros", "transposed": True, "stride": 2, "output_padding": 1},
    ),
    ((4, 1, 3), (6,), {"padding": 2, "padding_mode": "zeros", "dilation": 2, "groups": 4}),
    ((2, 2, 2, 2, 3), (3, 4, 3), {"padding": 1, "padding_mode": "zeros", "stride": (1, 2, 1)}),
    ((2, 2, 5), (4,), {"padding": 3, "padding_mode": "reflect"}),
    ((3, 3, 3), (8,), {"padding": "valid", "padding_mode": "circular"}),
    (
        (2, 3, 3),
        (3,),
        {"padding": 3, "padding_mode": "zeros", "dilation": 4},
    ),  # the middle tap meets all, others little
]


@pytest.mark.parametrize(("shape", "size", "layer"), LAYERS)
def test_norms_are_those_of_the_matrix(shape, size, layer):
    kernel = np.random.default_rng(2).standard_normal(shape)
    matrix = matrix_of(kernel, size, layer)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert srnc.frobenius_norm(kernel, size, **layer) == pytest.approx(np.linalg.norm(matrix), rel=1e-14)
    assert srnc.spectral_norm(kernel, size, **layer) == pytest.approx(values[0], rel=1e-12)
    assert srnc.stable_rank(kernel, size, **layer) == pytest.approx(
        (np.linalg.norm(matrix) / values[0]) ** 2, rel=1e-12
    )
    found = srnc.singular_values(kernel, size, **layer)
    np.testing.assert_allclose(found[: len(values)], values[: len(found)], atol=1e-12 * values[0])
    assert not np.any(values[len(found) :] > 1e-12 * values[0])
    bracket = srnc.norm_bracket(kernel, size, **layer)
    assert bracket.lower <= values[0] * (1 + 1e-14) <= bracket.upper * (1 + 2e-14)
    assert srnc.spectral_norm(kernel, size, all_sizes=True, **layer) >= values[0]


@pytest.mark.parametrize(("shape", "size", "layer"), LAYERS)
def test_the_operator_interface(shape, size, layer):
    """Blocks, coordinates, atoms and adjoints, all against the matrix."""
    rng = np.random.default_rng(3)
    operator = Padded(shape, size, **layer)
    x, other = rng.standard_normal((2, *shape))
    matrix, y = matrix_of(x, size, layer), operator.coordinates(x)
    assert np.sum(y**2) == pytest.approx(np.sum(matrix**2), rel=1e-12)
    seen = x if operator.unseen(x) is None else x - operator.unseen(x)
    np.testing.assert_allclose(operator.kernel(y), seen, atol=1e-12)
    groups, (rows, columns) = layer.get("groups", 1), operator.block_shape
    expected = matrix.reshape(groups, rows, groups, columns)
    for group, block in enumerate(operator.blocks(y)):
        np.testing.assert_allclose(block, expected[group, :, group], atol=1e-12)
    covector = rng.standard_normal((groups, rows, columns))
    product = np.sum(covector * operator.blocks(operator.coordinates(other)))
    assert np.sum(operator.adjoint(covector) * operator.coordinates(other)) == pytest.approx(product, abs=1e-10)
    atoms = operator.dominant_atoms(y, 3)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose([np.sum(atom.tensor * y) for atom in atoms], values[:3], rtol=1e-12)
    assert np.sum(atoms[0].tensor ** 2) <= 1 / operator.stable_rank_range[0]
    both = np.stack([y.ravel(), operator.coordinates(other).ravel()])
    for library in ("numpy", "torch"):
        xp = namespace(library)
        rows_of = xp.asarray(both)
        gains = xp.to_numpy(operator.row_gains(rows_of, xp))
        assert gains[0] == pytest.approx(values[0] ** 2, rel=1e-12)
    again = operator.coordinate_rows(np.stack([x.ravel(), other.ravel()]), namespace("numpy"))
    np.testing.assert_allclose(again, both, atol=1e-12)


@pytest.mark.parametrize(("shape", "size", "layer"), some(LAYERS, 4))
def test_no_stable_rank_is_outside_of_the_range(shape, size, layer):
    """The bounds on stable ranks hold for random kernels and for those that a local search makes extreme."""
    rng, operator = np.random.default_rng(4), Padded(shape, size, **layer)
    low, high = operator.stable_rank_range
    for _ in range(5):
        y = operator.coordinates(rng.standard_normal(shape))
        for _ in range(30):
            assert low * (1 - 1e-12) <= np.sum(y**2) / operator.gain(y) <= high * (1 + 1e-12)  # rounding
            y = operator.dominant_atom(y)  # the gain of a unit kernel never falls along this


def test_large_layers_are_bracketed(monkeypatch):
    """What the Lanczos method finds of a layer that is too large to decompose, as if this one were."""
    kernel = np.random.default_rng(5).standard_normal((4, 3, 3, 3))
    for layer in (
        {"padding": 1, "padding_mode": "zeros"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "zeros", "stride": 2},
        {"padding": 1, "padding_mode": "zeros", "stride": 2, "transposed": True},
    ):
        norm = np.linalg.norm(matrix_of(kernel, (9, 8), layer), 2)
        with monkeypatch.context() as patch:
            patch.setattr(padded, "_DECOMPOSED", 0)
            patch.setattr(padded, "_PROVED", 0)
            bracket = srnc.norm_bracket(kernel, (9, 8), **layer)
            assert srnc.spectral_norm(kernel, (9, 8), **layer) == pytest.approx(norm, rel=1e-12)
        assert bracket.proof == "symbol"
        assert bracket.lower == pytest.approx(norm, rel=1e-12)
        assert bracket.residual < 1e-6
        assert bracket.lower <= bracket.likely_upper <= bracket.upper
        assert norm <= bracket.likely_upper


@pytest.mark.parametrize("seed", some(range(40), 4))
def test_bounds_from_the_symbol_are_never_below_the_norm(seed):
    rng = np.random.default_rng(seed)
    while True:
        shape, size, layer = random_layer(rng)
        try:
            operator = Padded(shape, size, **layer)
        except ValueError:
            continue
        break
    x = rng.standard_normal(shape)
    norm = np.linalg.norm(matrix_of(x, size, layer), 2)
    assert norm <= operator.symbol_bound(x)
    if layer["padding_mode"] == "zeros":  # no more than the symbol of a large circular layer
        assert operator.symbol_factor == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_the_bound_of_all_sizes_is_one(mode):
    """From an input of two entries on, where an entry is near one border, and of three, where it is near both."""
    rng = np.random.default_rng(11)
    for kernel in (np.array([[[1.0, 0.0, 1.0]]]), *rng.standard_normal((5, 1, 1, 3))):
        for stride in (1, 2):
            layer = {"padding": 1, "padding_mode": mode, "stride": stride}
            bound = srnc.spectral_norm(kernel, 2, all_sizes=True, **layer)
            for n in range(2, 9):
                assert np.linalg.norm(matrix_of(kernel, (n,), layer), 2) <= bound


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_repeated_borders_can_exceed_the_symbol(mode):
    """Why the bound has a factor: a kernel that only moves its input reads an entry next to the border twice."""
    kernel, layer = np.array([[[1.0, 0.0, 0.0]]]), {"padding": 1, "padding_mode": mode}
    assert np.linalg.norm(matrix_of(kernel, (4,), layer), 2) == pytest.approx(np.sqrt(2))
    operator = Padded((1, 1, 3), 4, **layer)
    assert operator.symbol_bound(kernel) / operator.symbol_factor == pytest.approx(1)
    assert operator.symbol_bound(kernel) >= np.sqrt(2)


def test_the_likely_bound_is_one(monkeypatch):
    """For random starts, on an operator with close singular values, with one in a thousand allowed to fail."""
    monkeypatch.setattr(brackets, "FAILURE", 1e-3)
    values = np.linspace(0.5, 1, 400)
    n = len(values)
    for seed in range(20):
        start = brackets.start(n, seed)
        pairs = brackets.largest_pairs(lambda v: values * v, lambda v: values * v, (n, n), 1, start)
        assert pairs.values[0] == pytest.approx(1, rel=1e-12)
    # The width that the estimate gives for so many steps: a percent or two.
    assert 1 < brackets.likely_upper(1.0, n) < 1.02


def test_no_padding_is_the_circular_layer():
    kernel = np.random.default_rng(6).standard_normal((4, 2, 3, 3))
    plain = srnc.singular_values(kernel, (8, 6), stride=2)
    for layer in ({"padding": None}, {"padding": 1}, {"padding": "same", "stride": 1}):
        layer = {"stride": 2, **layer}
        assert isinstance(operator_of(kernel.shape, (8, 6), **layer), Circular)
        if layer["stride"] == 2:
            np.testing.assert_array_equal(srnc.singular_values(kernel, (8, 6), **layer), plain)
    other = {"padding": 1, "padding_mode": "circular", "stride": 2}
    as_padded = srnc.singular_values(kernel, Padded(kernel.shape, (8, 6), **other))
    np.testing.assert_allclose(as_padded[: len(plain)], plain[: len(as_padded)], atol=1e-13 * plain[0])


@pytest.mark.parametrize(
    "layer",
    [{"padding": 0}, {"padding": 2}, {"padding": 1, "stride": 3}, {"padding": 1, "dilation": 2}],
    ids=str,
)
def test_circular_layers_without_a_symbol_are_padded_ones(layer):
    kernel = np.random.default_rng(7).standard_normal((2, 2, 3))
    assert isinstance(operator_of(kernel.shape, 8, **layer), Padded)
    expected = np.linalg.norm(matrix_of(kernel, (8,), {"padding_mode": "circular", **layer}), 2)
    assert srnc.spectral_norm(kernel, 8, **layer) == pytest.approx(expected, rel=1e-12)


def test_a_layer_without_borders_is_circulant():
    """One tap and nothing padded: whatever the padding mode, there is a symbol."""
    assert isinstance(operator_of((3, 2, 1, 1), 4, padding=0, padding_mode="zeros", stride=2), Circular)
    assert isinstance(operator_of((3, 2, 1, 1), 5, padding=0, padding_mode="zeros", stride=2), Padded)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_norm_is_differentiated_in_torch(transposed):
    layer = {"padding": 1, "padding_mode": "zeros", "transposed": transposed}
    kernel = torch.tensor(np.random.default_rng(8).standard_normal((2, 1, 2, 2)), requires_grad=True)
    functions = (srnc.spectral_norm, srnc.stable_rank, srnc.frobenius_norm)
    for function in functions:
        assert torch.autograd.gradcheck(lambda k, f=function: f(k, (3, 4), **layer), kernel)


def test_traced_kernels_are_decomposed():
    import autograd

    layer = {"padding": 1, "padding_mode": "replicate"}
    kernel = np.random.default_rng(9).standard_normal((2, 1, 3))
    slope = autograd.grad(lambda k: srnc.spectral_norm(k, 5, **layer))(kernel)
    tensor = torch.tensor(kernel, requires_grad=True)
    srnc.spectral_norm(tensor, 5, **layer).backward()
    np.testing.assert_allclose(slope, tensor.grad.numpy(), atol=1e-12)


def test_taps_that_meet_nothing_are_free():
    layer = {"padding": 3, "padding_mode": "zeros", "dilation": 4}
    operator, x = Padded((1, 1, 3), 3, **layer), np.array([[[1.0, 2.0, 3.0]]])
    np.testing.assert_array_equal(operator.gram, np.diag([0.0, 1.0, 0.0]))
    np.testing.assert_array_equal(operator.unseen(x), [[[1, 0, 3]]])
    np.testing.assert_array_equal(matrix_of(operator.unseen(x), (3,), layer), 0)
    np.testing.assert_allclose(operator.kernel(operator.coordinates(x)), [[[0, 2, 0]]])
    assert Padded((1, 1, 3), 3, padding=1).unseen(x) is None
    with pytest.raises(ValueError, match="padding: 2 given, with which no tap of a kernel .* meets an input"):
        Padded((1, 1, 2), 2, padding=2, dilation=4)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"padding": "sane"}, ValueError, "padding: 'sane' given, expected amounts, 'same' or 'valid'"),
        ({"padding": 1.5}, TypeError, "padding: 1.5 given, expected an int"),
        ({"padding": True}, TypeError, "padding: True given, expected an int"),
        ({"padding": -1}, ValueError, "padding: -1 given, expected an int >= 0, or 2 of them"),
        ({"padding": (1, 1, 1)}, ValueError, r"padding: \(1, 1, 1\) given, expected an int >= 0, or 2"),
        ({"padding": "same", "stride": 2}, ValueError, "'same' given with the stride"),
        ({"padding": 1, "padding_mode": "mirror"}, ValueError, "padding_mode: 'mirror' given, expected one of zeros"),
        ({"padding_mode": "zeros"}, ValueError, "padding: none given with padding_mode='zeros'"),
        ({"transposed": True}, ValueError, "padding: none given with transposed=True"),
        ({"padding": 1, "transposed": True}, ValueError, "padding_mode: 'circular' given for a transposed convolution"),
        ({"padding": 1, "transposed": 1, "padding_mode": "zeros"}, TypeError, "transposed: 1 given, expected True"),
        (
            {"padding": "same", "transposed": True, "padding_mode": "zeros"},
            ValueError,
            "padding: 'same' given, expected amounts$",
        ),
        ({"padding": 6, "padding_mode": "reflect"}, ValueError, "padding: 6 given along axis 0, .* at most 5"),
        ({"padding": 7}, ValueError, "padding: 7 given along axis 0, where padding_mode 'circular' has at most 6"),
        ({"padding": 0, "dilation": 3}, ValueError, "leaves no output along axis 0 with 3 taps"),
        ({"padding": 1, "output_padding": 1}, ValueError, "expected 0 where the convolution is not transposed"),
        (
            {"padding": 1, "output_padding": 1, "transposed": True, "padding_mode": "zeros"},
            ValueError,
            "output_padding: .* expected less than the stride",
        ),
        ({"padding": 1, "groups": 2}, ValueError, "groups: 2 given, expected a divisor of the 3 output channels"),
    ],
    ids=str,
)
def test_bad_layers_are_refused(words, error, message):
    with pytest.raises(error, match=message):
        srnc.spectral_norm(np.ones((3, 2, 3, 3)), (6, 6), **words)


def test_a_layer_that_is_too_large_to_write_out_says_so():
    kernel = np.random.default_rng(10).standard_normal((16, 16, 3, 3))
    with pytest.raises(ValueError, match="input_size: .* too many to write out; only its norms and its k largest"):
        srnc.singular_values(kernel, 32, padding=1, padding_mode="zeros")
    assert srnc.stable_rank(kernel, 32, padding=1, padding_mode="zeros") > 1


def test_long_signals():
    """Nothing takes the square of the length of the input."""
    kernel = np.random.default_rng(12).standard_normal((1, 1, 5))
    for mode in ("zeros", "reflect"):
        layer = {"padding": 2, "padding_mode": mode}
        large, small = (Padded(kernel.shape, n, **layer) for n in (40_000, 400))
        assert large.stable_rank_range[0] / 100 == pytest.approx(small.stable_rank_range[0], rel=0.5)
        assert large.stable_rank_range[0] <= 40_000 / 5 * (1 + 1e-3)  # that of the circular layer
        rows = large.squared_frobenius_norm(kernel)
        assert rows == pytest.approx(40_000 * np.sum(kernel**2), rel=1e-3)


def test_equal_layers_have_equal_fields():
    words = ({"padding": 1}, {"padding": (1, 1)}, {"padding": "same"}, {"padding": np.array([1, 1])})
    fields = [Padded((1, 1, 3, 3), (4, 4), **word).to_fields() for word in words]
    assert all(field == fields[0] for field in fields)
    again = pickle.loads(pickle.dumps(Padded((1, 1, 3, 2), (4, 4), padding="same", padding_mode="reflect")))
    assert again.to_fields()["padding"] == "same"


def test_an_operator_has_its_own_layout():
    operator = Padded((1, 1, 3), 5, padding=1)
    with pytest.raises(TypeError, match="padding: 1 given, but input_size is an operator"):
        srnc.spectral_norm(np.ones((1, 1, 3)), operator, padding=1)
