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
) -> Evaluation:
    """Score a trained run beside its baselines on a device, write and draw everything, print the table.

    `config` is the whole config of the evaluation, for the record. A UserError for bad input comes before any work.
    """
    started = time.monotonic()
    console = Console()
    say = partial(print_lines, console)
    seen = seen_in_training(run, config)
    if seen:
        say("caution: the model was trained on a part of this region; these are not scores of unseen data")
    evaluator = Evaluator(plan, run, device, say)
    with evaluator.progress_on(console):
        tallies, truth = evaluator.baselines()
        for variant in evaluator.variants:
            tallies |= evaluator.model(variant)
        scored = [method.weights for method in tallies if method.weights]
        chosen = "ema" if "ema" in scored else next(reversed(scored), "")
        density = evaluator.density_curve(chosen)
        case = evaluator.case(tallies, chosen)
        followed = evaluator.followed(tallies, chosen)
    evaluation = Evaluation(
        tallies=tallies,
        truth=truth,
        counts=evaluator.counts,
        density=density,
        chosen=chosen,
        case=case,
        followed=followed,
        depths=run.data.depths,
        panel_levels=nearest_levels(run.data.depths, plan.panel_depths),
        units=display_units(run.data.field.units),
        provenance=provenance(plan, run, device, config, seconds=time.monotonic() - started, seen=seen),
    )
    write_files(evaluation, plan.output_dir)
    draw_figures(evaluation, plan.output_dir / "figures")
    print_evaluation(evaluation, plan.output_dir, console)
    return evaluation
