"""The model card of an export: what the model is, its training data, its scores, its origin, its limits."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from omegaconf import OmegaConf

from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.config_folder import CONF
from depthdif.evaluation.provenance import PACKAGES, sha256
from depthdif.export.evaluation_record import evaluation_section, markdown_table, variant_scores
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


def model_card(run: TrainedRun, variant: str, evaluation: Mapping[str, Any] | None = None) -> ModelCard:
    """The README.md of an export, with the metadata that the hub of Hugging Face reads.

    Args:
        run: that is exported.
        variant: of its weights, such as "ema".
        evaluation: content of the `evaluation.json` of its checkpoint.
    """
    logged = scores_at(run.path.parent.parent / "metrics" / "metrics.csv", step_of(run))
    scores = logged.get(variant, {})
    if evaluation is not None:
        evaluated = variant_scores(evaluation, variant)[1]
        scores = scores | {name: score.value for name, score in evaluated.items()}
    field = run.data.field
    return ModelCard.from_template(
        metadata(field.variable, scores),
        template_path=str(TEMPLATE),
        variable=field.variable,
        variant=variant_label(variant),
        units=units_of(run),
        depths=[float(depth) for depth in run.data.depths],
        surface=list(field.surface_names),
        first_guess=run.data.residual_statistics is not None,
        patch=patch_size(run),
        data=data_rows(run),
        model=model_rows(run, variant),
        scores=list(score_sections(run, logged, evaluation)),
        provenance=provenance(run),
    )


def metadata(variable: str, scores: Mapping[str, float]) -> ModelCardData:
    """The YAML header, with the scores of the exported weights."""
    results = [
        EvalResult(
            task_type="other",
            dataset_type=variable,
            dataset_name=f"{variable}, region held out",
            metric_type=name,
            metric_value=value,
        )
        for name, value in scores.items()
    ]
    name = f"depthdif {variable}" if results else None
    return ModelCardData(library_name="diffusers", tags=TAGS, model_name=name, eval_results=results or None)


def data_rows(run: TrainedRun) -> dict[str, str]:
    """What the model was trained on and what was held out."""
    field, depths = run.data.field, run.data.depths
    cfg = OmegaConf.to_container(run.cfg.data, resolve=True)
    assert isinstance(cfg, dict)
    spacing = " x ".join(f"{np.median(np.diff(axis)):.4g}" for axis in (field.latitude, field.longitude))
    return {
        "source": source(cfg),
        "variable": f"{field.variable}, {units_of(run)}",
        "depths": f"{len(depths)}, {depths[0]:g} to {depths[-1]:g} m",
        "grid": f"{spacing} degrees",
        "surface fields": ", ".join(field.surface_names) or "none",
        "held out": config_text(cfg["validation"]),
        "trained on": config_text(cfg["training"]) if cfg["training"] else "all outside the region held out",
        "patch": f"{patch_size(run)} cells",
        "observed columns": config_text(cfg["profiles"]),
    }


def units_of(run: TrainedRun) -> str:
    """Units of the variable, or that there are none."""
    return display_units(run.data.field.units) or "units not given"


def patch_size(run: TrainedRun) -> str:
    """Such as "32 x 32"."""
    return " x ".join(map(str, run.data.patch_size))


def source(cfg: Mapping[Any, Any]) -> str:
    """Names of the files, without the folders of this machine; or the function that made the field."""
    path = cfg.get("path")
    if path is None:
        return config_text(cfg.get("field"))
    if isinstance(path, Mapping):
        return "sample of depthdif: World Ocean Atlas, monthly; SST of COADS"
    return ", ".join(Path(str(name)).name for name in ([path] if isinstance(path, str) else path))


def model_rows(run: TrainedRun, variant: str) -> dict[str, str]:
    """Size, chain and first guess."""
    cfg = OmegaConf.to_container(run.cfg.model, resolve=True)
    assert isinstance(cfg, dict)
    module = run.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    scheduler = module.sampler.prepared_scheduler(module.noise_schedule, module.device)
    return {
        "denoiser": f"{type(module.denoiser).__name__}, {parameters / 1e6:.2f} M parameters",
        "weights": f"{variant_label(variant)}, after {step_of(run)} optimizer steps",
        "predicts": module.noise_schedule.config.prediction_type,
        "precision": run.precision,
        "reverse chain": f"{type(scheduler).__name__}, {module.sampler.steps} steps",
        "ensemble": f"{module.sampler.ensemble_size} members unless `ensemble_size` is given",
        "first guess": config_text(cfg["first_guess"]) if run.data.residual_statistics else "none",
    }


def score_sections(
    run: TrainedRun, logged: Mapping[str, Mapping[str, float]], evaluation: Mapping[str, Any] | None
) -> Iterator[str]:
    """The table of the evaluation, and of what the run logged when the checkpoint was written."""
    if evaluation is not None:
        yield evaluation_section(evaluation)
    if not logged:
        return
    columns = [score for score in SCORES.values() if any(score.name in scores for scores in logged.values())]
    headings = [score.heading(display_units(run.data.field.units)) for score in columns]
    rows = {
        variant_label(variant): [score.format(scores.get(score.name)) for score in columns]
        for variant, scores in logged.items()
    }
    members = run.module.sampler.ensemble_size
    yield (
        f"First validation mini-batch of the region held out, all ocean cells, mean of {members} "
        f"sample{'s' * (members > 1)}, at step {step_of(run)}:\n\n"
        + markdown_table("weights", headings, rows)
    )


def provenance(run: TrainedRun) -> dict[str, str]:
    """Where the weights come from."""
    rows = {
        "checkpoint": run.path.name,
        "SHA-256 of the checkpoint": sha256(run.path),
        "optimizer steps": str(step_of(run)),
        "seed": str(run.cfg.seed),
        "configuration": "`training_config.yaml`",
        "exported": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "exported with": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }
    commit = git_commit(CONF.parent)
    return {**rows, "code that exported": commit} if commit else rows


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


def step_of(run: TrainedRun) -> int:
    """Optimizer steps of the checkpoint."""
    return int(run.checkpoint["global_step"])


def git_commit(folder: Path) -> str | None:
    """The commit that `folder` stands at, and whether files differ from it; None where it is no repository."""
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
