"""Results: files, texts, equality."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

import srnc_manifold as srnc


@pytest.fixture(params=["exact", "gradient descent", "multi-start", "dense"])
def result(request, paper, random_problem):
    if request.param == "exact":
        return srnc.solve(paper(32))
    if request.param == "gradient descent":
        return srnc.solve(paper(32), srnc.solvers.GradientDescent(max_iterations=5), rng=0)
    if request.param == "dense":
        return srnc.solve(random_problem((2, 3), ()), srnc.solvers.Riemannian(max_iterations=5), rng=0)
    return srnc.solve(paper(32), srnc.solvers.MultiStart(n_starts=2), rng=0)


def assert_same(one, other):
    assert np.array_equal(one.kernel, other.kernel)
    assert one.kernel.shape == other.kernel.shape
    assert one.evaluation == other.evaluation
    assert one.restored == other.restored
    assert np.array_equal(one.restored_kernel, other.restored_kernel)
    assert one.status is other.status
    for name in ("message", "solver", "n_evaluations", "n_gradients", "n_hessians", "runtime", "details"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal([one.cost, one.gradient_norm], [other.cost, other.gradient_norm])
    assert one.history.columns.keys() == other.history.columns.keys()
    for name in one.history.columns:
        np.testing.assert_array_equal(one.history[name], other.history[name])
    np.testing.assert_array_equal(one.history.points, other.history.points)
    np.testing.assert_array_equal(one.alternatives, other.alternatives)


def test_certificates_keep_the_signs_of_their_zeros(paper):
    certificate = {"values": np.array([complex(1.0, -0.0), complex(-0.0, 2.0)])}
    found = srnc.Result(paper(32).kernel, srnc.Status.LIMIT, "", "", bound=srnc.Bound(0.0, "", "caps", certificate))
    text = found.to_json()
    assert srnc.Result.from_json(text).to_json() == text


def test_results_survive_pickle_and_json_bit_for_bit(result, tmp_path):
    assert_same(result, pickle.loads(pickle.dumps(result)))
    assert_same(result, srnc.Result.from_json(result.to_json()))
    result.save(tmp_path / "result.json")
    assert_same(result, srnc.Result.load(tmp_path / "result.json"))


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def test_results_are_json_for_every_tool(result):
    extreme = replace(
        result, cost=np.nan, gradient_norm=-np.inf, details={"a": [np.inf, np.nan, None], "nonfinite": "x"}
    )
    extreme.history.columns["penalty"] = [np.nan] * len(extreme.history)
    text = extreme.to_json()
    json.loads(text, parse_constant=refuse)
    assert srnc.Result.from_json(text) == extreme


def changed(**fields):
    data = json.loads(srnc.solve(srnc.SRNProblem([1.0, 2.0, 3.0], 16, stable_rank_fraction=0.9)).to_json())
    data.update(fields)
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"kernel": 1}',
        "null",
        "[" * 100_000,
        changed(dtype="object"),
        changed(dtype="U8"),
        changed(kernel={"a": 1}),
        changed(kernel=["a"]),
        changed(kernel=[[1.0], [1.0, 2.0]]),
        changed(alternatives=5),
        changed(status="great"),
        changed(history=[]),
        changed(history={"columns": {"a": [1.0], "b": []}, "points": []}),
        changed(history={"columns": {"a": ["x"]}, "points": []}),
        changed(bound={"objective": "low"}),
        changed(bound={"objective": 1, "method": "", "kind": "caps", "certificate": {"a": {"shape": [10**20]}}}),
        changed(evaluation={"objective": 1.0}),
        changed(evaluation=[1.0]),
        changed(n_evaluations=1.5),
        changed(cost=None),
        changed(message=5),
        changed(details=3),
        changed(more=1),
    ],
    ids=lambda text: text[:11],  # the rest is computed, and may differ from process to process
)
def test_other_text_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match="not the JSON of a Result") as caught:
        srnc.Result.from_json(text)
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match="not a saved Result"):
        srnc.Result.load(tmp_path / "bad.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a saved Result"):
        srnc.Result.load(tmp_path / "bad.json")


def test_results_are_shown_in_a_few_lines():
    problem = srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)
    result = srnc.solve(problem, srnc.solvers.GradientDescent(max_iterations=3000), rng=0)
    batch = srnc.solve_batch(np.random.default_rng(0).standard_normal((100, 3, 3)), 8, stable_rank_fraction=0.99)
    comparison = srnc.compare(problem, ["exact"], [0])
    exact = comparison.results["problem 1", "exact", 0]
    for value in (result, result.history, batch, comparison, exact, exact.bound):
        assert len(repr(value)) < 600
        assert "\n" not in repr(value)
        assert value._repr_html_().startswith(f"<b>{type(value).__name__}</b><table>")
    for words in ("gradient-descent", "limit", "3000 iterations", "violation", "stable rank"):
        assert words in repr(result)
    assert "optimum" not in repr(result)
    assert "gap" in repr(exact)
    strange = replace(exact, message="<b>&\x1b[31m\nsecond line" + "x" * 1000)
    assert "\x1b" not in repr(strange)
    assert "<b>&" not in strange._repr_html_().replace("<b>Result", "")
    assert "\x1b" not in strange._repr_html_()
    assert len(repr(strange)) < 600


def test_whatever_holds_arrays_is_short_and_can_be_compared(tmp_path):
    kernels = np.random.default_rng(0).standard_normal((200, 3, 3))
    np.savez(tmp_path / "many.npz", *kernels)
    problem = srnc.SRNProblem(kernels[0], 8, stable_rank_fraction=0.9)
    result = srnc.solve(problem)
    makers = [
        lambda: problem.evaluate_batch(kernels),
        lambda: problem.restore(kernels[1]),
        lambda: srnc.solve_batch(kernels, 8, stable_rank_fraction=0.99).certificate,
        lambda: srnc.files.read_file(tmp_path / "many.npz"),
        lambda: srnc.sensitivity(problem, result),
        lambda: srnc.solve_path(problem, np.linspace(0.5, 1.0, 100)),
    ]
    for make in makers:
        one, other = make(), make()
        assert len(repr(one)) < 400, repr(one)
        assert "\n" not in repr(one)
        assert "<table>" in one._repr_html_()
        assert one == one
        assert (one == other) in (True, False)
        assert one != "something else"
    assert len(repr(srnc.StackProblem([problem] * 200))) < 600


def test_results_are_equal_to_themselves_only():
    problem = srnc.SRNProblem([1.0, 0, 0], 64, stable_rank=32)
    one = srnc.solve(problem, srnc.solvers.Riemannian(max_iterations=4), rng=0)  # with NaN in its fields
    assert one == one
    assert one == pickle.loads(pickle.dumps(one))
    assert one != replace(one, kernel=np.nextafter(one.kernel, 1))
    assert one != replace(one, kernel=one.kernel.astype("f"))
    assert one != replace(one, message="other")
    assert one != "a result"
    batch = srnc.solve_batch(np.eye(3)[None] + np.eye(3)[::-1], 8, stable_rank_fraction=1.0)
    assert batch == batch
    assert (batch == replace(batch, gaps=batch.gaps + 1)) is False
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_only_convergence_is_success():
    assert [s for s in srnc.Status if s.is_success] == [srnc.Status.CONVERGED]


def test_feasible_is_both_errors_under_1e_6():
    scores = {"objective": 1.0, "stable_rank": 1.0, "spectral_norm": 1.0, "relative_distance": 1.0}
    assert srnc.Evaluation(**scores, stable_rank_error=9e-7, spectral_norm_error=9e-7).feasible
    assert not srnc.Evaluation(**scores, stable_rank_error=2e-6, spectral_norm_error=0.0).feasible
    assert not srnc.Evaluation(**scores, stable_rank_error=0.0, spectral_norm_error=2e-6).feasible


def test_a_certificate_that_only_a_newer_release_knows_is_said_to_be_one():
    problem = srnc.partway(np.random.default_rng(0).standard_normal((4, 3, 3, 3)), (8, 8), 0.4, stride=2)
    result = srnc.solve(problem)
    again = srnc.Result.from_json(result.to_json())
    assert again.bound.version == result.bound.version == 2
    data = json.loads(result.to_json())
    for changes, message in (
        ({"version": 3}, "'caps', version 3, given; this release of srnc_manifold knows versions up to 2"),
        ({"kind": "prophecy"}, "'prophecy', version 2, given; this release of srnc_manifold knows no such kind"),
    ):
        newer = srnc.Result.from_json(json.dumps(data | {"bound": data["bound"] | changes}))
        assert np.array_equal(newer.kernel, result.kernel)  # all else can be read
        with pytest.raises(ValueError, match=message):
            newer.bound.verify(problem)
    older = {name: value for name, value in data["bound"].items() if name != "version"}
    assert srnc.Result.from_json(json.dumps(data | {"bound": older})).bound.verify(problem) == result.bound.objective
