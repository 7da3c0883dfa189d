"""Compare three formulations of the constrained problem, and plot their profiles.

    python examples/compare_formulations.py --output formulations.png

Log-sum-exp with parameters that change during the run (continuation), an exact penalty, and an augmented Lagrangian, on
kernels in 1-D and 2-D, from random starts. The optima that the profiles need are those of the exact solution. Takes
less than a minute on two cores. With --store the runs are kept, and none is made twice.
"""

from __future__ import annotations

import argparse

from matplotlib.figure import Figure

import srnc_manifold as srnc

FORMULATIONS = {
    "log-sum-exp, continued": srnc.solvers.Continuation(),
    "exact penalty": srnc.solvers.ExactPenalty(),
    "augmented Lagrangian": srnc.solvers.AugmentedLagrangian(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", default="random_kernels", help="family, or .py file (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="random starts (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: all cores)")
    parser.add_argument("--store", help="file for the runs, such as study.db")
    parser.add_argument("--output", default="formulations.png", help="the figure (default: %(default)s)")
    given = parser.parse_args()

    comparison = srnc.compare(
        given.problems,
        {"exact": "exact", **FORMULATIONS},
        range(given.seeds),
        budget=srnc.Budget(max_evaluations=1000),
        store=given.store,
        n_jobs=given.jobs,
    )
    iterative = "solver != 'exact'"  # its optima are what gaps are measured by; it has no starts to compare
    hits = comparison.profile("hits", where=iterative).groupby("solver", sort=False)[["hits", "runs"]].sum()
    print(hits.assign(rate=hits["hits"] / hits["runs"]).to_string(float_format="{:.2f}".format))

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    comparison.plot(kind="performance", where=iterative, ax=left)
    comparison.plot(kind="ecdf", where=iterative, ax=right)
    figure.savefig(given.output)
    print(f"written {given.output}")


if __name__ == "__main__":
    main()
