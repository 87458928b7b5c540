"""From profiles to an ocean: reads everything, predicts each time, writes output, scores, figures and page."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from depthdif.build import resolved
from depthdif.callbacks.processes import Processes
from depthdif.checkpoints.trained_run import TrainedModel, open_model
from depthdif.data.patches import as_patch_size
from depthdif.diffusion.ensemble import independent_members
from depthdif.diffusion.module import DiffusionModule
from depthdif.diffusion.tiles import TiledRegion, Tiles
from depthdif.evaluation.result import IDW, OI, Method
from depthdif.files import near, sha256
from depthdif.first_guess.domain import domain_first_guess
from depthdif.first_guess.inverse_distance import InverseDistance
from depthdif.first_guess.protocol import FirstGuess
from depthdif.prediction.cf_metadata import provenance
from depthdif.prediction.grid import Grid
from depthdif.prediction.inputs import PredictionInputs
from depthdif.prediction.output_plan import OutputPlan
from depthdif.prediction.plan import PredictionPlan
from depthdif.prediction.predictor import Predictor
from depthdif.prediction.products import draw_products, page_of, write_products
from depthdif.prediction.read_inputs import open_inputs
from depthdif.prediction.section import Section
from depthdif.prediction.store import PredictionStore
from depthdif.terminal import print_lines, progress_bar

# Values of the state of the reverse chain that are computed together, at most: 256 MiB. More members follow one another.
VALUES_AT_ONCE = 2**26

# Keys of the config that do not change the numbers of the output.
PRESENTATION = (
    "output",
    "overwrite",
    "trainer",
    "figure_depths",
    "section",
    "bootstrap_samples",
    "patches_at_once",
)


def predict(cfg: DictConfig) -> Path:
    """Predict the region and times of `conf/predict.yaml` and return the path of the output.

    Bad input is a UserError before anything is written. A run that was cut goes on with the times that are not finished.
    """
    plan = PredictionPlan.from_config(cfg)
    first = getattr(rank_zero_only, "rank", 0) == 0
    console = Console(quiet=not first)
    say = functools.partial(print_lines, console)
    model = open_model(cfg)
    inputs = open_inputs(plan, model, console)
    Section.from_setting(plan.section, inputs.grid.longitude).on(inputs.grid.latitude, inputs.grid.longitude)
    models = models_of(model, plan, inputs.grid.ocean_mask.size)
    output = output_plan(cfg, plan, model, tuple(models), inputs)
    store = PredictionStore.open(output, plan.overwrite) if first else None
    if store and store.complete:
        say(f"{near(plan.output)} is complete: nothing is left to predict; remove it to start anew")
        if not page_of(plan).exists():
            draw_products(plan, store, inputs, None, {}, console)
        return plan.output
    left = len(plan.dates) - (int(store.finished.sum()) if store else 0)
    if left < len(plan.dates):
        say(f"{len(plan.dates) - left} of {len(plan.dates)} times are finished already")
    bar = progress_bar(console)
    task = bar.add_task(f"predicting {left} times")
    region = tiled_region(plan, model, inputs.grid, functools.partial(bar.advance, task))
    opened = functools.partial(PredictionStore.open, output, create=False)
    own, others = first_guesses(model, plan, inputs)
    predictor = Predictor(models, own, others, inputs, opened, region, model.precision)
    trainer: Trainer = instantiate(
        cfg.trainer,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    bar.update(task, total=evaluations(models, -(-left // trainer.world_size)))
    with bar, Processes().started(trainer):
        trainer.predict(predictor, return_predictions=False)
    if trainer.is_global_zero:
        write_products(plan, predictor.store, inputs, next(iter(models.values())).sampler, console)
    return plan.output


def models_of(model: TrainedModel, plan: PredictionPlan, cells: int) -> dict[str, DiffusionModule]:
    """A module with the weights of each variant, by its name, with the seed and the ensemble of the plan."""
    models = {}
    for variant in plan.variants:
        name = model.load(variant)
        models[name] = copy.deepcopy(model.module)
        sampler = models[name].sampler
        sampler.seed, sampler.ensemble_size = plan.seed, plan.ensemble_size
        sampler.members_at_once = max(1, VALUES_AT_ONCE // cells)
        # Refuses samplers whose noise at every step is not that of the cells.
        sampler.prepared_scheduler(model.module.noise_schedule, torch.device("cpu"), noise_is_given=True)
    return models


def tiled_region(plan: PredictionPlan, model: TrainedModel, grid: Grid, advance: Any) -> TiledRegion:
    """How the region is sampled."""
    _, height, width = grid.shape
    size = as_patch_size(model.state["patch_size"] if plan.tile is None else plan.tile, "tile")
    tiles = Tiles(height, width, size, plan.overlap, grid.wraps, grid.period)
    return TiledRegion(tiles, plan.patches_at_once, grid.rows, grid.columns, advance)


def first_guesses(
    model: TrainedModel, plan: PredictionPlan, inputs: PredictionInputs
) -> tuple[tuple[Method, FirstGuess] | None, dict[Method, FirstGuess]]:
    """The first guess of the model for the whole region, if any, and the others that are scored at hidden profiles."""
    period = inputs.grid.period if inputs.grid.wraps else None

    def of_region(first_guess: FirstGuess) -> FirstGuess:
        of_domain = functools.partial(
            domain_first_guess, first_guess, neighbours=plan.neighbours, period=period
        )
        return cast(FirstGuess, of_domain)

    own: FirstGuess | None = instantiate(model.cfg.model.first_guess)
    is_idw = isinstance(own, InverseDistance)
    others = {} if is_idw else {IDW: of_region(instantiate(plan.baselines["idw"]))}
    return None if own is None else (IDW if is_idw else OI, of_region(own)), others


def evaluations(models: Mapping[str, DiffusionModule], times: int) -> int:
    """Evaluations of the networks for the whole region and so many times."""
    total = 0
    for model in models.values():
        sampler = model.sampler
        chains = -(-sampler.ensemble_size // (sampler.members_at_once or sampler.ensemble_size))
        total += chains * len(sampler.prepared_scheduler(model.noise_schedule, torch.device("cpu")).timesteps)
    return total * times


def output_plan(
    cfg: DictConfig,
    plan: PredictionPlan,
    model: TrainedModel,
    variants: tuple[str, ...],
    inputs: PredictionInputs,
) -> OutputPlan:
    """The layout of the output and its record."""
    settings = {key: value for key, value in resolved(cfg).items() if key not in PRESENTATION}
    identity = {
        **settings,
        "checkpoint": sha256(model.path),
        "weights": list(variants),
        "profiles": [len(inputs.used), len(inputs.hidden)],
    }
    sampler = model.module.sampler
    return OutputPlan(
        path=plan.output,
        variables=inputs.variables,
        grid=inputs.grid,
        times=plan.dates,
        variants=variants,
        ensemble_size=plan.ensemble_size,
        spread=independent_members(plan.ensemble_size, sampler.antithetic) > 1,
        quantiles=tuple(plan.quantiles),
        members=plan.members,
        first_guess=model.state["residual"] is not None,
        attributes=provenance(
            model.path, variants, plan.seed, plan.ensemble_size, plan.window, plan.observations
        ),
        identity=identity,
    )
