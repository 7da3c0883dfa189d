"""The door for arrays: what can be read gives the same answer in every function, what cannot is refused in one line."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from autograd import numpy as anp

import srnc_manifold as srnc
from srnc_manifold.arrays import as_kernel, real

torch = pytest.importorskip("torch")

KERNEL = np.random.default_rng(0).standard_normal((2, 2, 3))
PROBLEM = srnc.SRNProblem(KERNEL, 8, stable_rank_fraction=0.9)
SENSITIVITY = srnc.sensitivity(PROBLEM, srnc.solve(PROBLEM))
FUNCTIONS = {
    "singular_values": lambda x: srnc.singular_values(x, 8),
    "spectral_norm": lambda x: srnc.spectral_norm(x, 8),
    "frobenius_norm": lambda x: srnc.frobenius_norm(x, 8),
    "stable_rank": lambda x: srnc.stable_rank(x, 8),
    "SRNProblem": lambda x: srnc.SRNProblem(x, 8, stable_rank_fraction=0.9),
    "SeparableProblem": lambda x: srnc.SeparableProblem(x[0], 8, stable_rank_fraction=0.9),
    "solve_batch": lambda x: srnc.solve_batch(x[None], 8, stable_rank_fraction=0.9),
    "evaluate": lambda x: srnc.SRNProblem(KERNEL, 8, stable_rank_fraction=0.9).evaluate(x),
    "start": lambda x: srnc.solve(srnc.SRNProblem(KERNEL, 8, stable_rank_fraction=0.9), "gradient-descent", start=x,
                                  budget=srnc.Budget(max_evaluations=2)),
    "Dense": lambda x: srnc.Dense(x),
    "spectral_norms": lambda x: srnc.spectral_norms(x[None], 8),
    "stable_ranks": lambda x: srnc.stable_ranks(x[None], 8),
    "evaluate_batch": lambda x: PROBLEM.evaluate_batch(x[None]),
    "BatchFunction": lambda x: srnc.costs.BatchFunction(PROBLEM, srnc.costs.LogSumExp()).gradient(x[None]),
    "stack": lambda x: srnc.StackProblem([PROBLEM]).stack([x]),
    "kernels in a list": lambda x: srnc.solve_batch([x], 8, stable_rank_fraction=0.9),
    "plots.spectrum": lambda x: srnc.plots.spectrum(PROBLEM, x),
    "along": lambda x: SENSITIVITY.along(x),
}  # fmt: skip


def quiet(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces prototypes and deprecations of what is made here
        return make()


def tensor(**settings):
    return torch.tensor(KERNEL, **settings)


READABLE = {
    "float16": (lambda: KERNEL.astype(np.float16), "single"),
    "float32": (lambda: KERNEL.astype(np.float32), "single"),
    "big-endian float32": (lambda: KERNEL.astype(">f4"), "single"),
    "big-endian float64": (lambda: KERNEL.astype(">f8"), "double"),
    "long double": (lambda: KERNEL.astype(np.longdouble), "double"),
    "int8": (lambda: np.round(3 * KERNEL).astype(np.int8), "double"),
    "big-endian uint16": (lambda: np.abs(np.round(3 * KERNEL)).astype(">u2"), "double"),
    "not contiguous": (lambda: np.repeat(KERNEL, 2, axis=1)[:, ::2], "double"),
    "read-only": (lambda: np.frombuffer(KERNEL.tobytes()).reshape(KERNEL.shape), "double"),
    "torch float8": (lambda: tensor().to(torch.float8_e4m3fn), "single"),
    "torch float8 of powers": (lambda: tensor().abs().to(torch.float8_e8m0fnu), "single"),
    "torch float16": (lambda: tensor(dtype=torch.float16), "single"),
    "torch bfloat16": (lambda: tensor(dtype=torch.bfloat16), "single"),
    "torch float32": (lambda: tensor(dtype=torch.float32), "single"),
    "torch int32": (lambda: (3 * tensor()).round().int(), "double"),
    "torch uint16": (lambda: (3 * tensor()).round().abs().to(torch.uint16), "double"),
    "torch negated": (lambda: torch.complex(tensor(), tensor()).conj().imag, "double"),
    "torch real part of a conjugate": (lambda: torch.complex(tensor(), tensor()).conj().real, "double"),
    "torch parameter": (lambda: torch.nn.Parameter(tensor()), "double"),
    "torch inference": (lambda: _inference(), "double"),
    "torch expanded": (lambda: tensor()[:1].expand(2, 2, 3), "double"),
}


def _inference():
    with torch.inference_mode():
        return tensor() + 0


@pytest.mark.parametrize("name", READABLE)
def test_what_can_be_read_is_worth_its_values_everywhere(name):
    make, precision = READABLE[name]
    given = quiet(make)
    doubles = given.detach().double().resolve_neg().numpy() if isinstance(given, torch.Tensor) else given.astype(float)
    np.testing.assert_array_equal(as_kernel(given), doubles)
    dtype = np.dtype("f" if precision == "single" else "d")
    assert real(given, "x").dtype == dtype
    problem = FUNCTIONS["SRNProblem"](given)
    assert problem.dtype == FUNCTIONS["SeparableProblem"](given).dtype == dtype
    batch = FUNCTIONS["solve_batch"](given)
    assert str(batch.kernels.dtype).removeprefix("torch.") == dtype.name
    solved = batch.kernels.detach() if isinstance(batch.kernels, torch.Tensor) else batch.kernels
    np.testing.assert_allclose(solved[0], srnc.solve(problem).kernel, rtol=1e-5)
    # Differentiable functions compute in the precision of their argument, at least in single.
    for function in ("singular_values", "spectral_norm", "frobenius_norm", "stable_rank"):
        np.testing.assert_allclose(
            FUNCTIONS[function](given).tolist(), FUNCTIONS[function](doubles), rtol=1e-5, atol=1e-6
        )
    assert FUNCTIONS["evaluate"](given) == FUNCTIONS["evaluate"](doubles)
    for function in ("spectral_norms", "stable_ranks", "BatchFunction", "stack", "along"):
        np.testing.assert_allclose(
            FUNCTIONS[function](given).tolist(), FUNCTIONS[function](doubles).tolist(), rtol=1e-9
        )
    (own,), (same,) = (FUNCTIONS["evaluate_batch"](x).objective.tolist() for x in (given, doubles))
    assert own == pytest.approx(same, rel=1e-12)
    if name in ("big-endian float32", "torch bfloat16", "torch negated", "torch parameter"):  # figures take their time
        lines, others = (FUNCTIONS["plots.spectrum"](x).axes[0].get_lines() for x in (given, doubles))
        np.testing.assert_array_equal(lines[1].get_ydata(), others[1].get_ydata())
    if not (isinstance(given, torch.Tensor) and given.requires_grad):
        listed = FUNCTIONS["kernels in a list"](given)
        assert listed.kernels.dtype == dtype
        np.testing.assert_allclose(listed.kernels, solved, rtol=1e-5)


def _fake():
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return torch.ones(2, 2, 3)


REFUSED = {
    "complex": lambda: KERNEL + 0j,
    "text": lambda: KERNEL.astype(str),
    "boolean": lambda: KERNEL > 0,
    "objects": lambda: KERNEL.astype(object),
    "masked": lambda: np.ma.masked_array(KERNEL, KERNEL > 0),
    "masked, nothing hidden": lambda: np.ma.masked_array(KERNEL),
    "dates": lambda: np.abs(KERNEL).astype("datetime64[s]"),
    "structured": lambda: np.zeros((2, 2, 3), dtype=[("a", float)]),
    "torch complex": lambda: torch.complex(tensor(), tensor()).conj(),
    "torch boolean": lambda: tensor() > 0,
    "torch meta": lambda: tensor().to("meta"),
    "torch fake": _fake,
    "torch masked": lambda: torch.masked.masked_tensor(tensor(), tensor() > 0),
    "torch quantized": lambda: torch.quantize_per_tensor(tensor().float(), 0.1, 0, torch.qint8),
}
INDEXING = "SeparableProblem", "solve_batch", "spectral_norms", "stable_ranks", "evaluate_batch", "BatchFunction"
UNINDEXED = {  # what cannot be indexed as the kernels of a batch are
    "torch sparse": lambda: tensor().to_sparse(),
    "torch lazy": lambda: torch.nn.UninitializedParameter(),
    "torch nested": lambda: torch.nested.nested_tensor([tensor()[0], tensor()[1]]),
    "torch mkldnn": lambda: tensor().float().to_mkldnn(),
    "ragged": lambda: [[[1.0], [2.0, 3.0]]],
    "no array": lambda: {"a": 1},
    "None": lambda: None,
    "autograd": lambda: _traced(),
}


def _traced():
    import autograd

    found = []

    def keep(x):
        found.append(x)
        return anp.sum(x)

    autograd.grad(keep)(KERNEL)
    return found[0]


@pytest.mark.parametrize("name", [*REFUSED, *UNINDEXED])
def test_what_cannot_be_read_is_refused_in_one_line_everywhere(name):
    given = quiet((REFUSED | UNINDEXED)[name])
    for function, call in FUNCTIONS.items():
        if name in UNINDEXED and function in INDEXING:
            continue
        if name == "autograd" and function in ("singular_values", "spectral_norm", "frobenius_norm", "stable_rank"):
            continue  # these are what autograd differentiates
        if name == "None" and function == "start":
            continue  # a random start
        if name == "no array" and function == "plots.spectrum":
            continue  # kernels by label
        with pytest.raises(TypeError) as caught:
            quiet(lambda call=call: call(given))
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        named = message.split(":")[0]
        assert named in ("kernel", "kernels", "kernels[0]", "x", "start", "matrices", "points", "change"), function


def test_sequences_of_arrays_are_read_as_each_of_them_is():
    """NumPy would use what a mask hides, and reads few tensors in a list."""
    hidden = np.ma.masked_array(KERNEL[0], KERNEL[0] > 0)
    for call in (
        lambda: srnc.SRNProblem(list(hidden), 8, stable_rank_fraction=0.9),
        lambda: srnc.SRNProblem((tuple(hidden),), 8, stable_rank_fraction=0.9),
        lambda: srnc.solve_batch([KERNEL[0], hidden], 8, stable_rank_fraction=0.9),
        lambda: srnc.solve_batch(KERNEL, 8, stable_rank_fraction=[0.9, np.ma.masked]),
    ):
        with pytest.raises(TypeError, match="masked"):
            call()
    tensors = [torch.tensor(part, dtype=torch.bfloat16) for part in KERNEL]
    np.testing.assert_array_equal(as_kernel(tensors), torch.stack(tensors).double().numpy())
    assert real(tensors, "x").dtype == np.float32
    assert real([tensors[0], KERNEL[1]], "x").dtype == np.float64
    with pytest.raises(TypeError, match=r"kernels: a tensor that requires gradients given in a sequence, .*stack"):
        srnc.spectral_norms([torch.nn.Parameter(part) for part in tensor()], 8)
    nested: list[object] = []
    nested.append(nested)
    with pytest.raises(TypeError, match="kernel: not an array of numbers"):
        as_kernel(nested)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ([1, np.nan], "kernel: some entries are NaN or infinite"),
        ([np.inf, -np.inf], "kernel: some entries are NaN or infinite"),
        ([0, 0], "kernel: all entries are zero"),
        ([], "kernel: empty"),
    ],
)
def test_kernels_are_finite_and_not_zero(kernel, message):
    for library in (np.array, torch.tensor):
        with pytest.raises(ValueError, match=message):
            as_kernel(library(kernel))


@pytest.mark.parametrize("entry", [1e-160, 1e160])
def test_one_kernel_and_many_have_the_same_limits(entry):
    kernel = np.array([entry, 0.5 * entry])
    with pytest.raises(ValueError, match="kernel: its largest entry is about"):
        srnc.SRNProblem(kernel, 8, stable_rank_fraction=0.9)
    with pytest.raises(ValueError, match=r"kernels\[1\]: its largest entry is about"):
        srnc.solve_batch(np.stack([kernel / entry, kernel]), 8, stable_rank_fraction=0.9)


def test_integers_are_converted_and_input_is_not_changed():
    given = np.array([1, 2, 3])
    kernel = as_kernel(given)
    assert kernel.dtype == np.float64
    kernel[0] = 9
    assert given[0] == 1
    doubles = torch.ones(3, dtype=torch.float64)
    as_kernel(doubles)[0] = 9
    assert doubles[0] == 1


TARGETS = [
    0.9,
    np.float32(0.9),
    np.array(0.9),
    torch.tensor(0.9),
    torch.tensor(0.9, dtype=torch.bfloat16),
    Fraction(9, 10),
]


@pytest.mark.parametrize("value", TARGETS, ids=[type(value).__name__ + str(k) for k, value in enumerate(TARGETS)])
def test_targets_may_be_any_number(value):
    problem = srnc.SRNProblem(KERNEL, 8, stable_rank_fraction=value)
    assert problem.stable_rank == pytest.approx(float(value) * problem.kernel_stable_rank, rel=1e-12)
    batch = srnc.solve_batch(KERNEL[None], 8, stable_rank_fraction=value)
    assert batch.stable_ranks[0] == pytest.approx(problem.stable_rank, rel=1e-12)


@pytest.mark.parametrize(
    "value",
    [True, "0.9", 0.9 + 0j, None, [[0.9]], torch.tensor(0.9).to("meta"), {}, np.ma.masked_array([[0.9], [0.8]])],
)
def test_targets_are_numbers(value):
    with pytest.raises((TypeError, ValueError), match=r"stable_rank_fraction|target: expected exactly one"):
        srnc.SRNProblem(KERNEL, 8, stable_rank_fraction=value)
    with pytest.raises((TypeError, ValueError), match=r"stable_rank_fraction|target: expected exactly one") as caught:
        srnc.solve_batch(KERNEL[None], 8, stable_rank_fraction=value)
    assert len(str(caught.value).splitlines()) == 1


def test_torch_s_transforms_differentiate_and_batch():
    for function in (srnc.spectral_norm, srnc.frobenius_norm, srnc.stable_rank):
        x = tensor().requires_grad_()
        (expected,) = torch.autograd.grad(function(x, 8), x)
        found = torch.func.grad(lambda x, function=function: function(x, 8))(tensor())
        torch.testing.assert_close(found, expected)
        many = torch.func.vmap(lambda x, function=function: function(x, 8))(torch.stack([tensor(), 2 * tensor()]))
        torch.testing.assert_close(many, torch.stack([function(tensor(), 8), function(2 * tensor(), 8)]))
