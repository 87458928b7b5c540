"""A W&B workspace of a project: reconstructions of standard and EMA weights side by side, scores, distances, training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from depthdif import UserError
from depthdif.files import write_text
from depthdif.scores.score_names import SCORES, STANDARD, ScoreName, variant_label
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

    `cfg` is `conf/wandb_workspace.yaml`. One line says where the workspace is, or that nobody is logged in.

    Raises:
        UserError: `weights` is empty, or `wandb-workspaces` is not installed.
        ConnectionError: logged in, but W&B does not answer or does not accept the workspace.
    """
    check(cfg)
    import wandb

    workspace = build_workspace(cfg.entity or "", cfg.project, cfg.name, list(cfg.weights))
    path = Path(cfg.output_dir) / "workspace.json"
    write_text(path, as_json(workspace))
    if not has_api_key(wandb.Settings().base_url):
        log.warning("W&B: not logged in, so the workspace is in %s alone; run: wandb login", path)
        return path
    wandb.setup(settings=wandb.Settings(silent=True))
    try:
        # Requested even where the entity is known: here a server that does not answer fails within seconds.
        default_entity = wandb.Api(timeout=TIMEOUT_SECONDS).default_entity
        workspace.entity = str(cfg.entity or default_entity)
        workspace.save()
    except (wandb.errors.Error, ValueError) as error:
        raise ConnectionError(
            f"W&B: the workspace cannot be saved ({in_one_line(error)}); it is in {path}"
        ) from error
    log.info("W&B: workspace saved, %s", workspace.url)
    return path


def check(cfg: DictConfig) -> None:
    """Raise UserError where the workspace cannot be built."""
    if not cfg.weights:
        raise UserError("weights=[]; expected the variants to show: set weights=[standard,ema]")
    try:
        import wandb_workspaces  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            'wandb-workspaces is not installed; run: pip install "depthdif[workspace]"'
        ) from error


def build_workspace(entity: str, project: str, name: str, variants: Sequence[str]) -> Workspace:
    """Build the workspace, without a network.

    Args:
        entity: user or team that owns the project; empty for a workspace that is not saved.
        project: W&B project.
        name: of the view.
        variants: to show beside each other: "standard", "ema", "ema_0.99".
    """
    from wandb_workspaces import expr
    from wandb_workspaces.workspaces import RunsetSettings, Workspace, WorkspaceSettings

    averages = [name for name in variants if name != STANDARD]
    best = f"val_{averages[0] if averages else STANDARD}/{SCORES['mse'].key}.min"
    return Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            reconstructions(variants),
            skill(variants),
            *([distances(averages)] if averages else []),
            training(),
        ],
        settings=WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=RunsetSettings(
            groupby=[expr.Config(key) for key in GROUPS],
            order=[expr.Ordering(expr.Summary(best), ascending=True)],
            pinned_columns=["run:displayName", f"summary:{best}"],
        ),
    )


def reconstructions(variants: Sequence[str]) -> Section:
    """The panels of each variant side by side."""
    from wandb_workspaces.reports.v2 import MediaBrowser

    panels = [
        MediaBrowser(
            title=f"{variant_label(name)} weights",
            media_keys=[f"val_imgs/x_y_full_reconstruction_{name}"],
            num_columns=1,
        )
        for name in variants
    ]
    return section("Reconstructions", panels, columns=len(variants))


def skill(variants: Sequence[str]) -> Section:
    """One chart for each score, a line for each variant, and the validation loss."""
    charts = [
        line_plot(chart_title(score), [f"val_{name}/{score.key}" for name in variants])
        for score in SCORES.values()
    ]
    return section("Skill", [*charts, line_plot("validation loss", ["val/loss"])], columns=2)


def chart_title(score: ScoreName) -> str:
    """Such as "PSNR dB"; without units where they are those of the field, which differ from run to run."""
    return score.label if "{}" in score.units else score.heading("")


def distances(averages: Sequence[str]) -> Section:
    """Distance of each average from the standard weights, and its decay."""
    charts = [
        line_plot(title, [f"{name}/{distance}" for name in averages], log_y=True)
        for distance, title in DISTANCES.items()
    ]
    return section(
        "EMA distances",
        [*charts, line_plot("effective decay", [f"{name}/effective_decay" for name in averages])],
    )


def training() -> Section:
    """Loss and learning rate, whatever the optimiser is called."""
    loss = line_plot("training loss", ["train/loss"], log_y=True)
    return section("Training", [loss, line_plot("learning rate", [], metric_regex="^lr-")], columns=2)


def section(name: str, panels: list[Any], columns: int = 3) -> Section:
    """An open section with its panels in rows."""
    from wandb_workspaces.workspaces import Section, SectionLayoutSettings

    rows = -(-len(panels) // columns)
    layout = SectionLayoutSettings(columns=columns, rows=rows)
    return Section(name=name, panels=panels, is_open=True, layout_settings=layout)


def line_plot(title: str, keys: list[Any], **options: Any) -> Any:
    """Logged values over optimizer steps."""
    from wandb_workspaces.reports.v2 import LinePlot

    return LinePlot(title=title, x=STEP, y=keys, title_x="optimizer steps", **options)


def as_json(workspace: Workspace) -> str:
    """The view as it is sent to W&B."""
    return workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
