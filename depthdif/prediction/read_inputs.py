"""Opens what a prediction is made from, and checks it before anything is computed."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedModel
from depthdif.data.statistics import TrainingStatistics
from depthdif.data.surface_dropout import dropout_of
from depthdif.first_guess.climatology import spacing
from depthdif.observations.profiles import ProfileTable
from depthdif.observations.read import Window, read_profiles
from depthdif.prediction.grid import Grid, field_of_grid
from depthdif.prediction.inputs import LevelProfiles, PredictionInputs, nearest
from depthdif.prediction.plan import PredictionPlan
from depthdif.prediction.surface import SurfaceFields
from depthdif.prediction.withheld import split_by_platform
from depthdif.terminal import print_lines, print_table


def open_inputs(plan: PredictionPlan, model: TrainedModel, console: Console) -> PredictionInputs:
    """The inputs of a plan for a model, read and checked; what was refused is printed as a table.

    Raises:
        FileNotFoundError, UserError: files that are missing or do not fit to the model, a region or a time without profiles.
    """
    state = model.state
    field = field_of_grid(plan.grid, model.cfg.data)
    grid = Grid.of_region(field, plan.region)
    knows_positions = bool(model.cfg.model.conditions.position_and_season)
    grid.check_trained(state, knows_positions or state["climatology"] is not None)
    say = functools.partial(print_lines, console)
    surface = SurfaceFields(plan.surface, plan.surface_variables, state, grid, plan.regrid, say)
    surface.check_times(plan.dates)
    if surface.missing:
        say(without_surface(surface.missing, model.cfg.data))
    standard_name = plan.standard_name or field.target.attrs.get("standard_name", "")
    if not standard_name:
        raise UserError(
            f"standard_name=null, and the file with the grid does not say what {state['variables'][0]['name']} is; set "
            "standard_name, such as standard_name=sea_water_temperature or sea_water_potential_temperature"
        )
    table = read_table(plan, standard_name, state["variables"][0]["units"], grid, console)
    hidden = table.take(np.zeros(len(table), bool))
    if plan.withhold:
        table, hidden = split_by_platform(table, plan.withhold, plan.seed)
        say(
            f"withheld: {len(hidden)} profiles of {len(np.unique(hidden.platform))} platforms; predicted from {len(table)}"
        )
    used, hidden_levels = (
        LevelProfiles.from_table(part, grid.depths, plan.level_tolerance) for part in (table, hidden)
    )
    if lost := len(table) - len(used):
        say(
            f"{lost} of {len(table)} profiles reach no depth of the model; set level_tolerance=2 for profiles on standard levels"
        )
    inputs = PredictionInputs(
        grid=grid,
        times=plan.dates,
        used=used,
        hidden=hidden_levels,
        half_window=plan.half_window,
        surface=surface,
        conditioner=TrainingStatistics.from_state_dict(state).conditioner(),
        standard_name=standard_name,
    )
    if on_land := inputs.check_times():
        say(f"left out: {on_land} values, over all times, in cells that are no ocean at their depth")
    return inputs


def without_surface(missing: Sequence[str], data: DictConfig) -> str:
    """A line on the surface variables that a prediction lacks, and whether the model was trained for it."""
    names = [data.surface] if isinstance(data.get("surface"), str) else list(data.get("surface") or ["sst"])
    dropout = dropout_of(names, data.get("surface_dropout", 0.0))
    untrained = [name for name in missing if not dropout.get(name)]
    caution = (
        f"; the model was never trained without {', '.join(untrained)}: data.surface_dropout=0.3 trains for that"
        if untrained
        else ""
    )
    return f"surface: predicted without {', '.join(missing)}{caution}"


def read_table(
    plan: PredictionPlan, standard_name: str, units: str, grid: Grid, console: Console
) -> ProfileTable:
    """The profiles of the region and of the windows of all times.

    Raises:
        UserError: none; the message names the nearest one.
    """
    half_cell = [spacing(axis) / 2 if len(axis) > 1 else 0.5 for axis in (grid.latitude, grid.longitude)]
    window = Window(
        west=grid.longitude[0] - half_cell[1],
        east=grid.longitude[-1] + half_cell[1],
        south=grid.latitude[0] - half_cell[0],
        north=grid.latitude[-1] + half_cell[0],
        start=plan.dates[0] - plan.half_window,
        end=plan.dates[-1] + plan.half_window,
    )
    read = functools.partial(
        read_profiles, plan.observations, standard_name, units, quality=plan.quality, columns=plan.columns
    )
    table, refusals = read(window=window, console=console)
    print_table(console, refusals.table())
    print_lines(console, *refusals.lines())
    if not len(table):
        anywhere, _ = read(window=Window.everything(), console=console)
        raise UserError(
            f"no profile of observations={plan.observations} in the region from {window.start} to {window.end}; "
            f"{nearest(anywhere, grid, plan.dates[0])}; set times, window or region to where profiles are"
        )
    return table
