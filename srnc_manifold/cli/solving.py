"""Commands that work on one kernel of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import srnc_manifold as srnc
from srnc_manifold.cli.arguments import (
    ClipOption,
    DilationOption,
    EvaluationsOption,
    FractionOption,
    GradientNormGoal,
    GroupsOption,
    InputSizeOption,
    KernelFile,
    NameOption,
    OutputPaddingOption,
    PaddingModeOption,
    PaddingOption,
    RelativeOption,
    StableRankOption,
    StrideOption,
    TransposedOption,
    ViolationGoal,
    layer_of,
    one_array,
    problem_of,
)
from srnc_manifold.printing import printable
from srnc_manifold.registry import solver_from_name
from srnc_manifold.writing import replacing, require_writable


def solve(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    name: NameOption = None,
    stable_rank: StableRankOption = None,
    relative_stable_rank: RelativeOption = None,
    stable_rank_fraction: FractionOption = None,
    clip: ClipOption = False,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    padding: PaddingOption = None,
    padding_mode: PaddingModeOption = "circular",
    transposed: TransposedOption = False,
    output_padding: OutputPaddingOption = "0",
    solver: Annotated[str, typer.Option(help="See 'srnc solvers'.")] = "exact",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    max_time: Annotated[float | None, typer.Option(min=0.001, help="Time limit of the run in seconds.")] = None,
    max_evaluations: EvaluationsOption = None,
    goal_violation: ViolationGoal = None,
    goal_gradient_norm: GradientNormGoal = None,
    goal_gap: Annotated[
        float | None,
        typer.Option(help="End a run when a feasible iterate is this near to a bound, as a part of ‖C(a)‖²."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the kernel (.npy) or the whole result (.json) here.")
    ] = None,
) -> None:
    """Normalize the stable rank of one kernel.

    Example: srnc solve kernel.npy -n 32x32 --stable-rank-fraction 0.5 --output normalized.npy
    """
    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"output: {str(output)!r} given, expected a name ending in .npy or .json")
    if output is not None:
        require_writable(output, "output")
    method = solver_from_name(solver)
    problem = problem_of(
        one_array(kernel_file, name),
        input_size,
        (stable_rank, relative_stable_rank, stable_rank_fraction),
        clip,
        layer_of(groups, stride, dilation, padding, padding_mode, transposed, output_padding),
    )
    from rich.console import Console
    from rich.text import Text

    budget = srnc.Budget(
        max_evaluations,
        max_time,
        goal_gradient_norm,
        goal_violation,
        goal_gap,
        None if goal_gap is None else srnc.bound(problem),
    )
    with Console(stderr=True).status(Text(printable(f"{method.name} …"))):
        result = srnc.solve(problem, method, rng=seed, budget=budget)
    try:
        if output is not None and output.suffix == ".npy":
            with replacing(output) as file:
                np.save(file, result.kernel)
        elif output is not None:
            result.save(output)
    finally:  # if writing fails, the result is still printed
        for label, text in _summary(problem, result).items():
            typer.echo(f"{label:14} {printable(text)}")
    if output is not None:
        typer.echo(f"{'written':14} {printable(output)}")
    if result.details.get("interrupted"):
        raise typer.Exit(130)
    if result.status is srnc.Status.FAILED:
        raise typer.Exit(1)


def _summary(problem: srnc.SRNProblem, result: srnc.Result) -> dict[str, str]:
    found = result.evaluation
    assert found is not None
    return {
        "status": f"{result.status.value}: {result.message}",
        "stable rank": f"{problem.kernel_stable_rank:.6g} -> {found.stable_rank:.6g}, target {problem.stable_rank:.6g}"
        + (" (clipped)" if problem.clipped else ""),
        "spectral norm": f"{found.spectral_norm:.6g}, target {problem.spectral_norm:.6g}",
        "objective": f"{found.objective:.10g}; the kernel moved by {found.relative_distance:.2%} of its norm",
        "bound": _bound_text(result),
        "feasible": "yes" if found.feasible else "no",
        "evaluations": f"{result.n_evaluations} in {result.runtime:.3g} s",
    }


def bound(
    kernel_file: KernelFile,
    input_size: InputSizeOption,
    name: NameOption = None,
    stable_rank: StableRankOption = None,
    relative_stable_rank: RelativeOption = None,
    stable_rank_fraction: FractionOption = None,
    clip: ClipOption = False,
    groups: GroupsOption = 1,
    stride: StrideOption = "1",
    dilation: DilationOption = "1",
    padding: PaddingOption = None,
    padding_mode: PaddingModeOption = "circular",
    transposed: TransposedOption = False,
    output_padding: OutputPaddingOption = "0",
    method: Annotated[
        str | None, typer.Option(help=f"{' or '.join(srnc.bounds.METHODS)}. Default: the first that applies.")
    ] = None,
) -> None:
    """A proved lower bound on the objective of any feasible kernel, without solving the problem.

    Example: srnc bound kernel.npy -n 32x32 --stable-rank-fraction 0.5 --method sdp
    """
    problem = problem_of(
        one_array(kernel_file, name),
        input_size,
        (stable_rank, relative_stable_rank, stable_rank_fraction),
        clip,
        layer_of(groups, stride, dilation, padding, padding_mode, transposed, output_padding),
    )
    found = srnc.bound(problem, method)
    lines = {
        "stable rank": f"{problem.kernel_stable_rank:.6g}, target {problem.stable_rank:.6g}: {problem.regime}",
        "bound": f"{found.objective:.10g}, by {found.method}",
        "relative": f"{found.objective / problem.squared_norm:.6g} of ‖C(a)‖²",
        "verified": f"{found.verify(problem):.10g}, recomputed from its certificate",
    }
    for label, text in lines.items():
        typer.echo(f"{label:14} {printable(text)}")


def _bound_text(result: srnc.Result) -> str:
    if result.bound is None or result.gap is None:
        return "none from this solver; see 'srnc bound'"
    return f"{result.bound.objective:.10g}; the gap is {result.gap:.2g} of ‖C(a)‖²"
