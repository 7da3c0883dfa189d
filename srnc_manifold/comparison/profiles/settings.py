"""What a setting of solvers or costs does: a sweep as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from numbers import Real
from typing import Any

from srnc_manifold.comparison.profiles.scores import HIT, available, scored
from srnc_manifold.naming import SOLVERS


def sensitivity(
    rows: Any,
    references: Mapping[str, float] | None = None,
    *,
    setting: str | None = None,
    tolerance: float = HIT,
) -> Any:
    """How the outcome depends on a setting: one line for all solvers that differ in nothing else.

    Settings come from the canonical names of the solvers in the rows, with those of their costs: ``alpha``,
    ``fidelity_weight``. See :func:`srnc_manifold.sweep`.

    Parameters
    ----------
    rows, references, tolerance
        As of :func:`srnc_manifold.comparison.profiles.performance`.
    setting : str, optional
        By default the number that has most values between solvers that differ in nothing else; of several the last one.

    Returns
    -------
    DataFrame
        For each line and value ``setting`` (its name), ``line`` (the other settings that differ), ``value``, ``runs``;
        ``feasible`` and ``hit``, shares of the runs; ``violation`` (larger relative error of stable rank and norm, as
        found), ``gap`` (infinite for infeasible runs) and ``evaluations``, medians over all problems and seeds.

    Raises
    ------
    TypeError, ValueError
        If no solver has such a setting, or it has one value only.

    Examples
    --------
    >>> import srnc_manifold as srnc
    >>> problem = srnc.SRNProblem([1, 0, 0], 64, stable_rank=32)
    >>> solvers = ["exact", *srnc.sweep("l-bfgs", cost=srnc.sweep(srnc.costs.LogSumExp, fidelity_weight=[0.1, 0.001]))]
    >>> comparison = srnc.compare(problem, solvers, [0], n_jobs=1)
    >>> comparison.profile("sensitivity").columns[:3].tolist()
    ['setting', 'line', 'value']
    """
    kept = available(rows, "settings", "stable_rank_error", "spectral_norm_error", "evaluations")
    runs = scored(kept[kept["settings"].notna()], references, tolerance)
    told = {name: _of(name) for name in dict.fromkeys(runs["settings"])}
    setting = _most_swept(told) if setting is None else setting
    own = {name: settings for name, settings in told.items() if setting in settings}
    swept = _values(own)
    if setting not in swept:
        raise ValueError(
            f"setting: {setting!r} given, expected one that differs: {', '.join(_values(told)) or 'none does'}"
        )
    runs = runs[[setting in told[name] for name in runs["settings"]]]
    violation = runs[["stable_rank_error", "spectral_norm_error"]].max(axis=1)
    runs = runs.assign(
        setting=setting,
        line=[_line(told[name], swept, setting) for name in runs["settings"]],
        value=[told[name][setting] for name in runs["settings"]],
        violation=violation,
    )
    table = runs.groupby(["setting", "line", "value"], sort=False).agg(
        runs=("hit", "size"),
        feasible=("feasible", "mean"),
        hit=("hit", "mean"),
        violation=("violation", "median"),
        gap=("gap", "median"),
        evaluations=("evaluations", "median"),
    )
    return table.reset_index()


def _of(name: str) -> dict[str, Any]:
    """The settings of a canonical name, and the name without them."""
    return {"solver": name.partition("[")[0]} | SOLVERS.settings(name)


def _most_swept(told: Mapping[str, Mapping[str, Any]]) -> str:
    """The number that has most values between solvers that differ in nothing else; of several the last one."""
    most, best = 1, ""
    for setting, values in _values(told).items():
        if all(map(_is_number, values)):
            alike = Counter(repr({**own, setting: None}) for own in told.values() if setting in own)
            if (count := max(alike.values())) >= max(most, 2):
                most, best = count, setting
    if not best:
        raise ValueError(f"setting: none given, and no number is swept by {', '.join(told)}")
    return best


def _values(told: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that differ between solvers, with their values."""
    names = dict.fromkeys(key for settings in told.values() for key in settings)
    values = {key: _distinct([own[key] for own in told.values() if key in own]) for key in names}
    return {key: own for key, own in values.items() if len(own) > 1}


def _distinct(values: list[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _line(settings: Mapping[str, Any], swept: Mapping[str, Any], setting: str) -> str:
    """What else differs, in words."""
    others = [key for key in swept if key not in ("solver", setting) and key in settings]
    words = [f"{key} = {settings[key]:g}" if _is_number(settings[key]) else str(settings[key]) for key in others]
    return ", ".join([settings["solver"], *words] if "solver" in swept else words or [settings["solver"]])
