"""A W&B workspace of a project: reconstructions of standard and EMA weights side by side, scores, distances, training."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from depthdif import UserError
from depthdif.files import write_text
from depthdif.scores.score_names import SCORES, STANDARD, variant_label
from depthdif.terminal import in_one_line
from depthdif.weights_and_biases import STEP
from depthdif.weights_and_biases.login import has_api_key

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
DISTANCES = {
    "weight_relative_rms_delta": "RMS distance / RMS of the weights",
    "weight_rms_delta": "RMS distance",
    "weight_mean_abs_delta": "mean absolute distance",
    "weight_max_abs_delta": "largest distance",
}
# The first key separates runs without EMA, which have a decay in their config as well.
GROUPS = ("model.ema.enabled", "model.ema.decay")


def save_workspace(cfg: DictConfig) -> Path:
    """Build the workspace, write it as `workspace.json`, and save it to W&B when logged in; returns the file.

    `cfg` is `conf/wandb_workspace.yaml`. The log has its address, or a hint to log in.

    Raises:
        UserError: `weights` is empty, or `wandb-workspaces` is not installed.
        ConnectionError: logged in, but W&B does not answer or does not accept the workspace.
    """
    import wandb

    if not cfg.weights:
        raise UserError("weights=[]: expected the variants to show; set weights=[standard,ema]")
    if find_spec("wandb_workspaces") is None:
        raise UserError('wandb-workspaces is not installed; run: pip install "depthdif[workspace]"')
    workspace = build_workspace(cfg)
    path = Path(cfg.output_dir) / "workspace.json"
    view = workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)
    write_text(path, view + "\n")
    if not has_api_key(wandb.Settings().base_url):
        log.warning("W&B: not logged in, so the workspace is in %s alone; run: wandb login", path)
        return path
    wandb.setup(settings=wandb.Settings(silent=True))
    try:
        # Requested even if the entity is known: a server that does not answer fails here within seconds.
        default_entity = wandb.Api(timeout=TIMEOUT_SECONDS).default_entity
        workspace.entity = str(cfg.entity or default_entity)
        workspace.save()
    except (wandb.errors.Error, ValueError) as error:
        raise ConnectionError(
            f"W&B: the workspace cannot be saved ({in_one_line(error)}); it is in {path}"
        ) from error
    log.info("W&B: workspace saved, %s", workspace.url)
    return path


def build_workspace(cfg: DictConfig) -> Workspace:
    """Build the workspace, without a network; without an entity it cannot be saved."""
    from wandb_workspaces import expr
    from wandb_workspaces.workspaces import RunsetSettings, Workspace, WorkspaceSettings

    main = next((name for name in cfg.weights if name != STANDARD), STANDARD)
    best = f"val_{main}/{SCORES['mse'].key}.min"
    return Workspace(
        entity=cfg.entity or "",
        project=cfg.project,
        name=cfg.name,
        sections=sections(list(cfg.weights)),
        settings=WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=RunsetSettings(
            groupby=[expr.Config(key) for key in GROUPS],
            order=[expr.Ordering(expr.Summary(best), ascending=True)],
            pinned_columns=["run:displayName", f"summary:{best}"],
        ),
    )


def sections(variants: Sequence[str]) -> list[Section]:
    """Panels and scores of each variant, distances of each average from the standard weights, and the training."""
    from wandb_workspaces.reports.v2 import MediaBrowser

    averages = [name for name in variants if name != STANDARD]
    panels = [
        MediaBrowser(
            title=f"{variant_label(name)} weights",
            media_keys=[f"val_imgs/x_y_full_reconstruction_{name}"],
            num_columns=1,
        )
        for name in variants
    ]
    # Without units where they are those of the field, which differ from run to run.
    skill = [
        line_plot(
            score.label if "{}" in score.units else score.heading(""),
            [f"val_{name}/{score.key}" for name in variants],
        )
        for score in SCORES.values()
    ]
    distances = [
        line_plot(title, [f"{name}/{distance}" for name in averages], log_y=True)
        for distance, title in DISTANCES.items()
    ]
    decay = line_plot("effective decay", [f"{name}/effective_decay" for name in averages])
    loss = line_plot("training loss", ["train/loss"], log_y=True)
    # The key contains the name of the optimiser.
    rate = line_plot("learning rate", [], metric_regex="^lr-")
    return [
        section("Reconstructions", panels, columns=len(variants)),
        section("Skill", [*skill, line_plot("validation loss", ["val/loss"])], columns=2),
        *([section("EMA distances", [*distances, decay], columns=3)] if averages else []),
        section("Training", [loss, rate], columns=2),
    ]


def section(name: str, panels: list[Any], columns: int) -> Section:
    """An open section with its panels in rows."""
    from wandb_workspaces.workspaces import Section, SectionLayoutSettings

    layout = SectionLayoutSettings(columns=columns, rows=math.ceil(len(panels) / columns))
    return Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def line_plot(title: str, keys: list[Any], **options: Any) -> Any:
    """Logged values over optimizer steps."""
    from wandb_workspaces.reports.v2 import LinePlot

    return LinePlot(title=title, x=STEP, y=keys, title_x="optimizer steps", **options)
