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

from depthdif import UserError
from depthdif.build import resolved
from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.config_folder import CONF
from depthdif.evaluation.provenance import PACKAGES
from depthdif.evaluation.table import COLUMNS, cell
from depthdif.figures.panel import display_units
from depthdif.scores.score import Score
from depthdif.scores.score_names import (
    FIRST_GUESS,
    SCORES,
    first_guess_scores,
    of_variable,
    scores_by_variant,
    variant_label,
)
from depthdif.terminal import command

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
FILE = "evaluation.json"
# Keys of the provenance by which records of evaluations are identified and chosen.
REQUIRED = {"checkpoint_sha256", "patches", "created", "seen_in_training"}
SAMPLES = {
    "woa": "World Ocean Atlas, monthly; SST of COADS",
    "woa_annual": "World Ocean Atlas, annual",
    "eddies": "simulated eddying ocean, every 5 days",
}
TAGS = ["diffusion", "oceanography", "ocean-reconstruction", "argo", "depthdif"]

# Headings, and cells by the label of the row.
ScoreTable = tuple[list[str], dict[str, list[str]]]


def model_card(
    run: TrainedRun, variant: str, digest: str, evaluations: Mapping[str, Mapping[str, Any]] | None = None
) -> ModelCard:
    """The README.md of an export, with the metadata that the hub of Hugging Face reads.

    Args:
        run: that is exported.
        variant: of its weights, such as "ema".
        digest: SHA-256 of its checkpoint.
        evaluations: content of the `evaluation.json` of its checkpoint, by variable.
    """
    field, module, step = run.data.field, run.module, int(run.checkpoint["global_step"])
    evaluations = evaluations or {}
    evaluation = evaluations.get(field.variable)
    metrics = run.path.parent.parent / "metrics" / "metrics.csv"
    logged = scores_at(metrics, step)
    variables = " and ".join(variable.name for variable in field.variables)
    scores = logged.get(variant, {}) | (evaluated_scores(evaluation, variant) if evaluation else {})
    dataset: dict[str, Any] = {
        "dataset_type": variables,
        "dataset_name": f"{variables}, validation region",
    }
    results = [
        EvalResult(task_type="other", metric_type=name, metric_value=value, **dataset)
        for name, value in scores.items()
    ]
    card_name = f"depthdif {variables}" if results else None
    units = "" if field.further else display_units(field.units)
    config = resolved(run.cfg)
    return ModelCard.from_template(
        ModelCardData(
            library_name="diffusers", tags=TAGS, model_name=card_name, eval_results=results or None
        ),
        template_path=str(TEMPLATE),
        run=run,
        config=config,
        text=config_text,
        variant=variant_label(variant),
        variables=variables,
        with_units=", ".join(
            f"{each.name} ({display_units(each.units) or 'no units'})" for each in field.variables
        ),
        step=step,
        source=source(config["data"]),
        grid=" x ".join(f"{np.median(np.diff(axis)):.4g}" for axis in (field.latitude, field.longitude)),
        denoiser=type(module.denoiser).__name__,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        scheduler=type(module.sampler.prepared_scheduler(module.noise_schedule, module.device)).__name__,
        evaluation=evaluation,
        evaluation_tables={name: (record, evaluation_table(record)) for name, record in evaluations.items()},
        logged=logged,
        logged_tables={
            "": logged_table(logged, units),
            **{
                each.name: logged_table(scores_at(metrics, step, each.name), display_units(each.units))
                for each in (field.variables if field.further else ())
            },
        },
        digest=digest,
        exported=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=", ".join(f"{package} {version(package)}" for package in PACKAGES),
        commit=git_commit(CONF.parent),
    )


def source(cfg: Mapping[str, Any]) -> str:
    """Names of the data files without their folders, or the function that made the field."""
    path = cfg.get("path")
    if path is None:
        return config_text(cfg.get("field"))
    if isinstance(path, Mapping):
        return f"sample of depthdif: {SAMPLES[path.get('name', 'woa')]}"
    return ", ".join(Path(str(name)).name for name in ([path] if isinstance(path, str) else path))


def logged_table(logged: Mapping[str, Mapping[str, float]], units: str) -> ScoreTable:
    """The logged scores by the label of the variant."""
    columns = [score for score in SCORES.values() if any(score.name in scores for scores in logged.values())]
    return [score.heading(units) for score in columns], {
        variant_label(variant): [score.format(scores.get(score.name)) for score in columns]
        for variant, scores in logged.items()
    }


def evaluation_records(run: TrainedRun, digest: str, path: str | None = None) -> dict[str, dict[str, Any]]:
    """The `evaluation_record` of each variable of a run that has one."""
    first, *further = (variable.name for variable in run.data.variables)
    records = {first: evaluation_record(run.path, digest, path, first)}
    for name in further:
        # Beside that of the first variable.
        file = (
            None if path is None else (Path(path) if Path(path).is_dir() else Path(path).parent) / name / FILE
        )
        if file is None or file.is_file():
            records[name] = evaluation_record(run.path, digest, str(file) if file else None, name)
    return {name: record for name, record in records.items() if record is not None}


def evaluation_record(
    checkpoint: Path, digest: str, path: str | None = None, variable: str | None = None
) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint: of several the one with most patches, then the newest.

    The folder of the run and the folders beside it are searched, where scripts/evaluate.py writes; an evaluation in a region
    that the model was trained on is left out. None where there is no record.

    Args:
        checkpoint: RUN_FOLDER/checkpoints/NAME.
        digest: its SHA-256.
        path: the file to take instead, or its folder.
        variable: name of the variable; None takes any.

    Raises:
        FileNotFoundError: there is no file at `path`.
        UserError: the file at `path` is not a record of this checkpoint.
    """
    if path is not None:
        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"evaluation={path}: no such file; set evaluation=runs/DATE_TIME/{FILE}")
        record = read(file, digest)
        if record is None:
            advice = f"run {command('evaluate')} checkpoint={checkpoint}"
            raise UserError(f"evaluation={path}: is not of this checkpoint; {advice}")
        return record
    run = checkpoint.parent.parent
    beside = (*run.parent.glob(f"*/{FILE}"), *(run.parent.glob(f"*/{variable}/{FILE}") if variable else ()))
    records = (read(file, digest) for file in (*run.glob(f"**/{FILE}"), *beside))
    usable = {
        (record["provenance"]["patches"], record["provenance"]["created"]): record
        for record in records
        if record is not None
        and not record["provenance"]["seen_in_training"]
        and variable in (None, record["provenance"].get("variable", variable))
    }
    return usable[max(usable)] if usable else None


def read(path: Path, digest: str) -> dict[str, Any] | None:
    """The content of the `evaluation.json` of a checkpoint; None for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    provenance = content.get("provenance", {}) if isinstance(content, dict) else {}
    of_checkpoint = provenance.keys() >= REQUIRED and provenance["checkpoint_sha256"] == digest
    return content if of_checkpoint else None


def evaluated_scores(record: Mapping[str, Any], variant: str) -> dict[str, float]:
    """Scores of the largest ensemble of a variant, which is its last row; empty where there is no such row."""
    label = f"{variant_label(variant)}, "
    rows = [scores for method, scores in record["overall"].items() if method.startswith(label)]
    return {name: score["value"] for name, score in rows[-1].items()} if rows else {}


def evaluation_table(record: Mapping[str, Any]) -> ScoreTable:
    """The defined scores of a record with their intervals, by method."""
    columns = [column for column in COLUMNS if any(column[0] in row for row in record["overall"].values())]
    rows = {}
    for method, row in record["overall"].items():
        scores = {name: Score(**score) for name, score in row.items()}
        rows[method] = [cell(scores, name, interval) for name, _, interval in columns]
    return [heading for _, heading, _ in columns], rows


def scores_at(metrics: Path, step: int, variable: str = "") -> dict[str, dict[str, float]]:
    """Scores of the first guess and of each variant in `metrics.csv` at the validation after `step` optimizer steps, if any.

    They are those of one `variable` of several, or with "" of all.
    """
    if not metrics.is_file():
        return {}
    with metrics.open(encoding="utf-8", newline="") as file:
        # Lightning numbers optimizer steps from 0 in what it logs.
        rows = [row for row in csv.DictReader(file) if row.get("step") == str(step - 1)]
    logged = {key: float(value) for row in rows for key, value in row.items() if key and value}
    logged = of_variable(logged, variable) if variable else logged
    by_name = {FIRST_GUESS: first_guess_scores(logged), **scores_by_variant(logged)}
    return {name: scores for name, scores in by_name.items() if scores}


def git_commit(folder: Path) -> str | None:
    """The commit of `folder`, with "-dirty" where files differ from it; None where it is no repository."""
    if not (folder / ".git").exists():
        return None
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a repository of another user
        return None


def config_text(node: Any) -> str:
    """A node of the config in one line: its class and its settings."""
    if not isinstance(node, Mapping):
        return str(node)
    name = str(node.get("_target_", "")).rpartition(".")[2]
    settings = ", ".join(
        f"{key} {json.dumps(value)}" for key, value in node.items() if not key.startswith("_")
    )
    return f"{name} ({settings})" if name and settings else name or settings
