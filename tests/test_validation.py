"""Checks of settings name the argument, what was given and what is expected."""

import itertools

import numpy as np
import pytest

from srnc_manifold import validation

GOOD = [
    (validation.require_positive, [1, 0.5, np.float32(2), np.int64(3)]),
    (validation.require_nonnegative, [0, 0.0, 1e300]),
    (validation.require_count, [1, np.int32(7), 10**30]),
]
BAD = [
    (validation.require_positive, 0, ValueError, "expected a positive number"),
    (validation.require_positive, -1.0, ValueError, "expected a positive number"),
    (validation.require_positive, np.inf, ValueError, "expected a positive number"),
    (validation.require_positive, np.nan, ValueError, "expected a positive number"),
    (validation.require_positive, "1", TypeError, "expected a real number"),
    (validation.require_positive, True, TypeError, "expected a real number"),
    (validation.require_positive, 1j, TypeError, "expected a real number"),
    (validation.require_nonnegative, -1e-300, ValueError, "expected a number >= 0"),
    (validation.require_nonnegative, np.nan, ValueError, "expected a number >= 0"),
    (validation.require_nonnegative, None, TypeError, "expected a real number"),
    (validation.require_count, 0, ValueError, "expected at least 1"),
    (validation.require_count, 1.0, TypeError, "expected an integer"),
    (validation.require_count, True, TypeError, "expected an integer"),
]


@pytest.mark.parametrize(("check", "values"), GOOD)
def test_what_is_valid_passes(check, values):
    for value in values:
        check(setting=value)


@pytest.mark.parametrize(("check", "value", "error", "message"), BAD)
def test_what_is_not_names_the_setting(check, value, error, message):
    with pytest.raises(error, match=f"^setting: .* given, {message}"):
        check(fine=1, setting=value)


def test_choices():
    validation.require_choice(("a", "b"), setting="b")
    with pytest.raises(ValueError, match="^setting: 'c' given, expected one of a, b$"):
        validation.require_choice(("a", "b"), setting="c")


def test_generators():
    generator = np.random.default_rng(3)
    assert validation.as_generator(generator) is generator
    assert validation.as_generator(3).random() == np.random.default_rng(3).random()
    assert validation.as_generator(np.int64(3)).random() == np.random.default_rng(3).random()
    validation.require_rng(None)
    for rng, error in ((-1, ValueError), (1.0, TypeError), (True, TypeError), ("0", TypeError), (np.random, TypeError)):
        with pytest.raises(error, match="^rng: .* given, expected an integer"):
            validation.require_rng(rng)


def test_seeds():
    assert validation.require_seeds(range(3)) == validation.require_seeds(np.arange(3)) == [0, 1, 2]
    wrong = [([], ValueError), ([-1], ValueError), ([0.5], ValueError), ([True], ValueError)]
    endless = [(range(10**13), ValueError), (itertools.count(), ValueError)]
    for seeds, error in [(5, TypeError), ("01", TypeError), *wrong, *endless]:
        with pytest.raises(error, match="seeds: "):
            validation.require_seeds(seeds)


def test_jobs():
    for n_jobs, error in ((0, ValueError), (1.0, TypeError), (True, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="n_jobs: "):
            validation.require_jobs(n_jobs=n_jobs)
    validation.require_jobs(n_jobs=-1)
    validation.require_jobs(n_jobs=np.int64(4))
