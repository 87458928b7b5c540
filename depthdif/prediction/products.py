"""What is made of a finished prediction: scores at withheld profiles, figures and the page, beside the output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console

from depthdif.diffusion.sampler import ReverseSampler
from depthdif.evaluation.table import cell
from depthdif.figures.panel import display_units
from depthdif.files import near
from depthdif.prediction.figures import draw_prediction
from depthdif.prediction.inputs import PredictionInputs
from depthdif.prediction.page import write_page
from depthdif.prediction.plan import PredictionPlan
from depthdif.prediction.section import Section
from depthdif.prediction.stability import inversion_lines
from depthdif.prediction.store import PredictionStore
from depthdif.prediction.withheld import HiddenValues, WithheldScores
from depthdif.prediction.withheld_table import COLUMNS, print_scores
from depthdif.terminal import print_lines


def write_products(
    plan: PredictionPlan,
    store: PredictionStore,
    inputs: PredictionInputs,
    sampler: ReverseSampler,
    console: Console,
) -> None:
    """Give the output its name, score it, and draw figures and page; print what was written and where."""
    stem = plan.output.with_suffix("")
    depths, several = inputs.grid.depths, len(inputs.variables) > 1
    hidden = hidden_of(store, sampler)
    scores: dict[str, WithheldScores] = {}
    for number, variable in enumerate(inputs.variables):
        part = None if hidden is None else hidden.of_variable(number, len(depths))
        if part:
            name = variable.name if several else ""
            scores[variable.name] = WithheldScores.of(part, len(depths), plan.bootstrap_samples, plan.seed)
            of_one = stem.with_name(f"{stem.name}_{name}") if name else stem
            units = display_units(variable.units)
            print_scores(scores[variable.name], part, depths, units, of_one, console, name)
    store.finish()
    draw_products(plan, store, inputs, hidden, scores, console)
    if not plan.withhold:
        print_lines(
            console,
            "does it help? withhold=0.2 output=OTHER hides a fifth of the platforms and scores the prediction there",
        )


def page_of(plan: PredictionPlan) -> Path:
    """Path of the page of a prediction."""
    return plan.output.with_suffix(".html")


def draw_products(
    plan: PredictionPlan,
    store: PredictionStore,
    inputs: PredictionInputs,
    hidden: HiddenValues | None,
    scores: Mapping[str, WithheldScores],
    console: Console,
) -> None:
    """Draw figures and page of a complete output, and print where everything is.

    Figures of several variables lie in a folder of each.
    """
    path, page = plan.output, page_of(plan)
    folder = path.with_name(f"{path.stem}_figures")
    profiles = [inputs.used_at(number).profiles for number in range(len(inputs.times))]
    section = Section.from_setting(plan.section, inputs.grid.longitude)
    names, variants = [variable.name for variable in inputs.variables], store.plan.variants
    several, depths = len(names) > 1, len(inputs.grid.depths)
    engine = "zarr" if path.suffix == ".zarr" else None
    with xr.open_dataset(path, engine=engine, chunks=None, cache=False) as dataset:
        for number, name in enumerate(names):
            part = None if hidden is None else hidden.of_variable(number, depths)
            place = folder / name if several else folder
            draw_prediction(dataset, name, variants, profiles, place, plan.figure_depths, section, part)
        if hidden is not None:
            # The page shows where profiles were withheld, of any variable.
            hidden = dataclasses.replace(hidden, level=hidden.level % depths)
        write_page(dataset, names, variants, profiles, page, section, hidden, page_rows(scores))
        stability = list(inversion_lines(dataset, inputs.variables, variants))
    print_lines(
        console,
        *stability,
        f"output:   {near(path)} ({len(inputs.times)} times, {len(inputs.used)} profiles; docs/prediction.md)",
        f"figures:  {near(folder)}",
        f"page:     {near(page)}",
    )


def hidden_of(store: PredictionStore, sampler: ReverseSampler) -> HiddenValues | None:
    """The values of withheld profiles at all times; None where nothing was withheld or none lies in a cell of the ocean."""
    files = [store.extra(number) for number in range(len(store.plan.times))]
    files = [file for file in files if file.exists()]
    if not files:
        return None
    hidden = HiddenValues.load(files, sampler.antithetic, sampler.inflation)
    return hidden if len(hidden) else None


def page_rows(scores: Mapping[str, WithheldScores]) -> list[dict[str, Any]]:
    """The table of scores over all depths of each variable, for the page."""
    return [
        ({"variable": variable} if len(scores) > 1 else {})
        | {"method": method.label}
        | {heading.replace("\n", " "): cell(each, name, interval) for name, heading, interval in COLUMNS}
        for variable, of_one in scores.items()
        for method, each in of_one.overall.items()
    ]
