import pickle

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


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kernel": 1}', "null"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="not the JSON of a Result"):
        srnc.Result.from_json(text)


def test_only_convergence_is_success():
    assert [s for s in srnc.Status if s.is_success] == [srnc.Status.CONVERGED]


def test_feasible_is_both_errors_under_1e_6():
    scores = {"objective": 1.0, "stable_rank": 1.0, "spectral_norm": 1.0, "relative_distance": 1.0}
    assert srnc.Evaluation(**scores, stable_rank_error=9e-7, spectral_norm_error=9e-7).feasible
    assert not srnc.Evaluation(**scores, stable_rank_error=2e-6, spectral_norm_error=0.0).feasible
    assert not srnc.Evaluation(**scores, stable_rank_error=0.0, spectral_norm_error=2e-6).feasible
