"""The model card of an export: what the model is, its training data, its scores, its origin, its limits."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from depthdif.build import resolved
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.config_folder import CONF
from depthdif.evaluation.provenance import PACKAGES
from depthdif.export.evaluation_record import evaluation_table, variant_scores
from depthdif.figures.panel import display_units
from depthdif.scores.score_names import (
    FIRST_GUESS,
    SCORES,
    first_guess_scores,
    scores_by_variant,
    variant_label,
)

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
TAGS = ["diffusion", "oceanography", "ocean-reconstruction", "argo", "depthdif"]


def model_card(
    run: TrainedRun, variant: str, digest: str, evaluation: Mapping[str, Any] | None = None
) -> ModelCard:
    """The README.md of an export, with the metadata that the hub of Hugging Face reads.

    Args:
        run: that is exported.
        variant: of its weights, such as "ema".
        digest: SHA-256 of its checkpoint.
        evaluation: content of the `evaluation.json` of its checkpoint.
    """
    field, module, step = run.data.field, run.module, int(run.checkpoint["global_step"])
    logged = scores_at(run.path.parent.parent / "metrics" / "metrics.csv", step)
    evaluated = variant_scores(evaluation, variant) if evaluation else {}
    scores = logged.get(variant, {}) | {name: score.value for name, score in evaluated.items()}
    units, config = display_units(field.units), resolved(run.cfg)
    return ModelCard.from_template(
        metadata(field.variable, scores),
        template_path=str(TEMPLATE),
        run=run,
        config=config,
        text=config_text,
        variant=variant_label(variant),
        units=units,
        step=step,
        source=source(config["data"]),
        grid=" x ".join(f"{np.median(np.diff(axis)):.4g}" for axis in (field.latitude, field.longitude)),
        denoiser=type(module.denoiser).__name__,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        scheduler=type(module.sampler.prepared_scheduler(module.noise_schedule, module.device)).__name__,
        evaluation=evaluation,
        evaluation_table=evaluation_table(evaluation) if evaluation else None,
        logged=logged,
        logged_table=logged_table(logged, units),
        digest=digest,
        exported=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=", ".join(f"{package} {version(package)}" for package in PACKAGES),
        commit=git_commit(CONF.parent),
    )


def metadata(variable: str, scores: Mapping[str, float]) -> ModelCardData:
    """The YAML header, with the scores of the exported weights."""
    dataset: dict[str, Any] = {"dataset_type": variable, "dataset_name": f"{variable}, validation region"}
    results = [
        EvalResult(task_type="other", metric_type=name, metric_value=value, **dataset)
        for name, value in scores.items()
    ]
    name = f"depthdif {variable}" if results else None
    return ModelCardData(library_name="diffusers", tags=TAGS, model_name=name, eval_results=results or None)


def source(cfg: Mapping[str, Any]) -> str:
    """Names of the data files without their folders, or the function that made the field."""
    path = cfg.get("path")
    if path is None:
        return config_text(cfg.get("field"))
    if isinstance(path, Mapping):
        return "sample of depthdif: World Ocean Atlas, monthly; SST of COADS"
    return ", ".join(Path(str(name)).name for name in ([path] if isinstance(path, str) else path))


def logged_table(
    logged: Mapping[str, Mapping[str, float]], units: str
) -> tuple[list[str], dict[str, list[str]]]:
    """Headings of the logged scores, and their values by the label of the variant."""
    columns = [score for score in SCORES.values() if any(score.name in scores for scores in logged.values())]
    return [score.heading(units) for score in columns], {
        variant_label(variant): [score.format(scores.get(score.name)) for score in columns]
        for variant, scores in logged.items()
    }


def scores_at(metrics: Path, step: int) -> dict[str, dict[str, float]]:
    """Scores of the first guess and of each variant in `metrics.csv` at the validation after `step` optimizer steps, if any."""
    if not metrics.is_file():
        return {}
    with metrics.open(encoding="utf-8", newline="") as file:
        # Lightning numbers optimizer steps from 0 in what it logs.
        rows = [row for row in csv.DictReader(file) if row.get("step") == str(step - 1)]
    logged = {key: float(value) for row in rows for key, value in row.items() if key and value}
    by_name = {FIRST_GUESS: first_guess_scores(logged), **scores_by_variant(logged)}
    return {name: scores for name, scores in by_name.items() if scores}


def git_commit(folder: Path) -> str | None:
    """The commit of `folder`, and whether files differ from it; None where it is no repository."""
    if not (folder / ".git").exists():
        return None
    git = ["git", "-C", str(folder)]
    try:
        commit, changes = (
            subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "-s", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or a repository of another user
        return None
    return f"git commit {commit}" + (", with changes" if changes else "")


def config_text(node: Any) -> str:
    """A node of the config in one line: its class and its settings."""
    if not isinstance(node, Mapping):
        return str(node)
    name = str(node.get("_target_", "")).rpartition(".")[2]
    settings = ", ".join(
        f"{key} {json.dumps(value)}" for key, value in node.items() if not key.startswith("_")
    )
    return f"{name} ({settings})" if name and settings else name or settings
