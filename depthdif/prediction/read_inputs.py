"""Opens what a prediction is made from, and checks it before anything is computed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedModel
from depthdif.data.field import OceanField
from depthdif.data.statistics import TrainingStatistics
from depthdif.data.surface_dropout import dropout_of
from depthdif.data.variables import Variable
from depthdif.first_guess.climatology import spacing
from depthdif.observations.profiles import ProfileTable
from depthdif.observations.read import Window, read_variables
from depthdif.prediction.grid import Grid, field_of_grid
from depthdif.prediction.inputs import LevelProfiles, PredictionInputs, nearest
from depthdif.prediction.plan import PredictionPlan
from depthdif.prediction.surface import SurfaceFields
from depthdif.prediction.withheld import hidden_by_platform
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
    surface = SurfaceFields(plan.surface, plan.surface_variables or {}, state, grid, plan.regrid, say)
    surface.check_times(plan.dates)
    if surface.missing:
        say(without_surface(surface.missing, model.cfg.data))
    variables = named_variables(plan.standard_name, [Variable(**each) for each in state["variables"]], field)
    tables = read_tables(plan, variables, grid, console)
    every = LevelProfiles.from_tables(tables, grid.depths, plan.level_tolerance)
    is_hidden = np.zeros(len(every), bool)
    if plan.withhold:
        is_hidden = hidden_by_platform(every.profiles.platform, plan.withhold, plan.seed)
    shown, hidden = every.take(~is_hidden), every.take(is_hidden)
    if plan.withhold:
        platforms = len(np.unique(hidden.profiles.platform))
        say(f"withheld: {len(hidden)} profiles of {platforms} platforms; predicted from {len(shown)}")
    used = shown.usable()
    if lost := len(shown) - len(used):
        say(
            f"{lost} of {len(shown)} profiles reach no depth of the model; set level_tolerance=2 for profiles on standard levels"
        )
    inputs = PredictionInputs(
        grid=grid,
        times=plan.dates,
        used=used,
        hidden=hidden.usable(),
        half_window=plan.half_window,
        surface=surface,
        conditioner=TrainingStatistics.from_state_dict(state).conditioner(),
        variables=variables,
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


def named_variables(
    given: str | Sequence[str] | Mapping[str, str] | None, trained: Sequence[Variable], field: OceanField
) -> tuple[Variable, ...]:
    """The variables of a model, with the `given` CF names, else those of its training, else those of the field of the grid.

    Raises:
        UserError: names of other variables, or a variable without a CF name.
    """
    names = [variable.name for variable in trained]
    if given is None or isinstance(given, Mapping):
        if unknown := [name for name in given or {} if name not in names]:
            raise UserError(
                f"standard_name has the key {unknown[0]!r}; expected variables of the checkpoint: {', '.join(names)}"
            )
        chosen = dict(given or {})
    else:
        every = [given] if isinstance(given, str) else list(given)
        if len(every) != len(names):
            raise UserError(
                f"standard_name=[{','.join(every)}] for {len(names)} variables; expected one for each of {', '.join(names)}"
            )
        chosen = dict(zip(names, every, strict=True))
    fields = [str(array.attrs.get("standard_name", "")) for array in field.targets]
    named = tuple(
        dataclasses.replace(
            variable, standard_name=chosen.get(variable.name) or variable.standard_name or of_field
        )
        for variable, of_field in zip(trained, fields, strict=True)
    )
    for variable in named:
        if not variable.standard_name:
            example = "sea_water_temperature"
            if len(named) > 1:
                example = f"{{{variable.name}: {example}}}"
            raise UserError(
                f"standard_name=null, and the file with the grid does not say what {variable.name} is; set "
                f"standard_name, such as standard_name={example}"
            )
    return named


def read_tables(
    plan: PredictionPlan, variables: Sequence[Variable], grid: Grid, console: Console
) -> list[ProfileTable]:
    """The profiles of each variable in the region and the windows of all times.

    Raises:
        UserError: none of any variable; the message names the nearest one.
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
    several = len(variables) > 1
    wanted = {each.name if several else "": (each.standard_name, each.units) for each in variables}
    read = functools.partial(
        read_variables, plan.observations, wanted, quality=plan.quality, columns=plan.columns
    )
    found = read(window=window, console=console)
    for table, refusals in found:
        print_table(console, refusals.table())
        print_lines(console, *refusals.lines())
        if several and not len(table):
            reason = "all lie outside" if refusals.outside else refusals.main_reasons()
            print_lines(console, f"{refusals.variable}: no profile ({reason}); it is estimated without")
    tables = [table for table, _ in found]
    if not any(map(len, tables)):
        anywhere = ProfileTable.join(
            [table for table, _ in read(window=Window.everything(), console=console)]
        )
        raise UserError(
            f"no profile of observations={plan.observations} in the region from {window.start} to {window.end}; "
            f"{nearest(anywhere, grid, plan.dates[0])}; set times, window or region to where profiles are"
        )
    return tables
