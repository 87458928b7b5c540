"""Evaluation of a trained run on its validation region, from a checkpoint to table, files and figures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from rich.console import Console

from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.evaluation.evaluator import Evaluator
from depthdif.evaluation.figures import draw_figures
from depthdif.evaluation.plan import EvaluationPlan
from depthdif.evaluation.provenance import provenance, seen_in_training
from depthdif.evaluation.result import Evaluation
from depthdif.evaluation.result_files import write_files
from depthdif.evaluation.table import print_evaluation
from depthdif.figures.panel import display_units, nearest_levels
from depthdif.terminal import print_lines


def evaluate(
    plan: EvaluationPlan, run: TrainedRun, device: torch.device, config: Mapping[str, Any]
) -> list[Evaluation]:
    """Score a trained run beside its baselines on a device, write and draw everything, print a table for each variable.

    The files of the first variable are in the output folder, those of another one in a folder of its name there. `config` is the
    whole config of the evaluation, for the record. A UserError for bad input comes before any work.
    """
    started = time.monotonic()
    console = Console()
    say = partial(print_lines, console)
    seen = seen_in_training(run, config)
    if seen:
        say("caution: the model was trained on a part of this region; these are not scores of unseen data")
    evaluator = Evaluator(plan, run, device, say)
    with evaluator.progress_on(console):
        tallied = evaluator.baselines()
        for variant in evaluator.variants:
            for (tallies, _), of_model in zip(tallied, evaluator.model(variant), strict=True):
                tallies |= of_model
        scored = [method.weights for method in tallied[0][0] if method.weights]
        chosen = "ema" if "ema" in scored else next(reversed(scored), "")
        density = evaluator.density_curve(chosen)
        cases = [
            (evaluator.case(variable, tallies, chosen), evaluator.followed(variable, tallies, chosen))
            for variable, (tallies, _) in zip(evaluator.variables, tallied, strict=True)
        ]
    record = provenance(plan, run, device, config, seconds=time.monotonic() - started, seen=seen)
    evaluations = []
    for number, part in enumerate(evaluator.variables):
        (tallies, truth), (case, followed) = tallied[number], cases[number]
        evaluation = Evaluation(
            tallies=tallies,
            truth=truth,
            counts=evaluator.counts,
            density=density[number],
            chosen=chosen,
            case=case,
            followed=followed,
            depths=run.data.depths,
            panel_levels=nearest_levels(run.data.depths, plan.panel_depths),
            variable=part.variable.name,
            units=display_units(part.variable.units),
            # Of the water, and not of one of its variables: reported once.
            inversions={} if number else evaluator.inversions.of_methods,
            provenance={**record, "variable": part.variable.name, "units": part.variable.units},
        )
        folder = plan.output_dir / part.variable.name if number else plan.output_dir
        write_files(evaluation, folder)
        draw_figures(evaluation, folder / "figures")
        print_evaluation(evaluation, folder, console)
        evaluations.append(evaluation)
    return evaluations
