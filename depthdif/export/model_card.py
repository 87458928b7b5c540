"""The model card of an export: what it is, what it was trained on, how good it was found, where it came from, its limits."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from omegaconf import OmegaConf

from depthdif.checkpoints.trained_run import TrainedRun
from depthdif.config_folder import CONF
from depthdif.evaluation.provenance import PACKAGES, sha256
from depthdif.export.evaluation_record import evaluation_section, scores_of_weights
from depthdif.figures.panel import display_units
from depthdif.scores.score_names import SCORES, scores_by_variant, variant_label

TAGS = ["diffusion", "oceanography", "ocean-reconstruction", "argo", "depthdif"]
Rows = Sequence[tuple[str, str]]


def model_card(run: TrainedRun, weights: str, evaluation: Mapping[str, Any] | None = None) -> str:
    """README.md of an export: YAML front matter as the hub of Hugging Face reads it, then the card.

    Args:
        run: that was exported.
        weights: that it holds, such as "ema".
        evaluation: content of the `evaluation.json` of its checkpoint.
    """
    scores = scores_at(run.path.parent.parent / "metrics" / "metrics.csv", step_of(run))
    sections = [
        f"# {run.data.field.variable} from sparse profiles, {variant_label(weights)} weights",
        summary(run, weights),
        "## Load\n\n" + how_to_load(run),
        "## Data\n\n" + table(data_rows(run)),
        "## Model\n\n" + table(model_rows(run, weights)),
        "## Scores\n\n" + score_section(run, scores, evaluation),
        "## Limits\n\n" + limits(run),
        "## Provenance\n\n" + table(provenance(run)),
    ]
    found = scores.get(weights, {})
    if evaluation is not None:
        _, of_weights = scores_of_weights(evaluation, weights)
        found = found | {name: score.value for name, score in of_weights.items()}
    return f"---\n{front_matter(run, found)}\n---\n\n" + "\n\n".join(sections) + "\n"


def front_matter(run: TrainedRun, scores: Mapping[str, float]) -> str:
    """Metadata of the card, with the scores of the exported weights."""
    results = [
        EvalResult(
            task_type="other",
            dataset_type=run.data.field.variable,
            dataset_name=f"{run.data.field.variable}, region held out",
            metric_type=name,
            metric_value=value,
        )
        for name, value in scores.items()
    ]
    data = ModelCardData(
        library_name="diffusers",
        tags=TAGS,
        model_name=f"depthdif {run.data.field.variable}" if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def summary(run: TrainedRun, weights: str) -> str:
    """What the model is, in a few sentences."""
    field = run.data.field
    diffused = (
        "the field itself"
        if run.data.residual_statistics is None
        else "what a first guess leaves of the field"
    )
    surface = f" and surface fields ({', '.join(field.surface_names)})" if field.surface_names else ""
    return (
        f"A conditional diffusion model that reconstructs dense fields of {field.variable} "
        f"({display_units(field.units) or 'units not given'}) on {len(run.data.depths)} depth levels from sparse vertical "
        f"profiles{surface}. It diffuses {diffused}. These are the {variant_label(weights)} weights of the training run."
    )


def how_to_load(run: TrainedRun) -> str:
    """Code that loads the folder, whole and in part."""
    depths, channels = len(run.data.depths), run.data.surface_channels
    surface = (
        f"surface,  # ({channels}, H, W): {', '.join(run.data.field.surface_names)}" if channels else "None,"
    )
    return f"""```python
from depthdif.export.pipeline import OceanPipeline

pipeline = OceanPipeline.from_pretrained("FOLDER")
found = pipeline(
    observations,  # ({depths}, H, W), NaN where not observed
    {surface}
    latitude,  # (H,) degrees north
    longitude,  # (W,) degrees east
    "2018-06-15",
    ocean_mask=ocean_mask,  # ({depths}, H, W) bool
    ensemble_size=8,
)
found.mean, found.std, found.samples
```

The U-Net and the scheduler load with `diffusers` alone: `UNet2DModel.from_pretrained("FOLDER/unet", low_cpu_mem_usage=False)`."""


def data_rows(run: TrainedRun) -> Rows:
    """What the model was trained on and what was held out."""
    depths, cfg = run.data.depths, OmegaConf.to_container(run.cfg.data, resolve=True)
    assert isinstance(cfg, dict)
    latitude, longitude = (
        np.median(np.diff(axis)) for axis in (run.data.field.latitude, run.data.field.longitude)
    )
    return [
        ("source", source(cfg)),
        (
            "variable",
            f"{run.data.field.variable}, {display_units(run.data.field.units) or 'units not given'}",
        ),
        ("depths", f"{len(depths)}, {depths[0]:g} to {depths[-1]:g} m"),
        ("grid", f"{latitude:.4g} x {longitude:.4g} degrees"),
        ("surface fields", ", ".join(run.data.field.surface_names) or "none"),
        ("held out", in_words(cfg["validation"])),
        ("trained on", in_words(cfg["training"]) if cfg["training"] else "all outside the region held out"),
        ("patch", " x ".join(map(str, run.data.patch_size)) + " cells"),
        ("observed columns", in_words(cfg["profiles"])),
    ]


def source(cfg: Mapping[Any, Any]) -> str:
    """Names of the files, without the folders of this machine; or what made the field."""
    path = cfg.get("path")
    if path is None:
        return in_words(cfg.get("field"))
    if isinstance(path, Mapping):
        return "sample of depthdif: World Ocean Atlas, monthly; SST of COADS"
    return ", ".join(Path(str(name)).name for name in ([path] if isinstance(path, str) else path))


def model_rows(run: TrainedRun, weights: str) -> Rows:
    """Size, chain and first guess."""
    cfg = OmegaConf.to_container(run.cfg.model, resolve=True)
    assert isinstance(cfg, dict)
    module = run.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    scheduler = module.sampler.prepared_scheduler(module.noise_schedule, module.device)
    return [
        ("denoiser", f"{type(module.denoiser).__name__}, {parameters / 1e6:.2f} M parameters"),
        ("weights", f"{variant_label(weights)}, after {step_of(run)} optimizer steps"),
        ("predicts", module.noise_schedule.config.prediction_type),
        ("reverse chain", f"{type(scheduler).__name__}, {module.sampler.steps} steps"),
        ("ensemble", f"of {module.sampler.ensemble_size} unless asked otherwise"),
        ("first guess", in_words(cfg["first_guess"]) if run.data.residual_statistics else "none"),
    ]


def score_section(
    run: TrainedRun, scores: Mapping[str, Mapping[str, float]], evaluation: Mapping[str, Any] | None
) -> str:
    """What an evaluation found, and what the run scored when the checkpoint was written."""
    parts = [evaluation_section(evaluation)] if evaluation is not None else []
    parts += [validation_section(run, scores)] if scores else []
    return "\n\n".join(parts) or "No scores were found beside the checkpoint."


def validation_section(run: TrainedRun, scores: Mapping[str, Mapping[str, float]]) -> str:
    """What the run scored when the checkpoint was written."""
    units = display_units(run.data.field.units)
    shown = [score for score in SCORES.values() if any(score.name in found for found in scores.values())]
    names = [score.heading(units) for score in shown]
    lines = ["| weights | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for weights, found in scores.items():
        cells = [score.format(found.get(score.name)) for score in shown]
        lines.append(f"| {variant_label(weights)} | " + " | ".join(cells) + " |")
    members = run.module.sampler.ensemble_size
    return (
        f"First validation mini-batch of the region held out, all ocean cells, mean of {members} "
        f"sample{'s' * (members > 1)}, at step {step_of(run)}:\n\n" + "\n".join(lines)
    )


def limits(run: TrainedRun) -> str:
    """What the model cannot do."""
    variable, depths = run.data.field.variable, run.data.depths
    size = " x ".join(map(str, run.data.patch_size))
    first_guess = (
        "\n- Its first guess was fitted to the training data; profiles with other noise want another fit and another training."
        if run.data.residual_statistics
        else ""
    )
    return f"""- It knows {variable} between {depths[0]:g} and {depths[-1]:g} m, on its own levels and in its own units.
- It was trained on patches of {size} cells of one grid spacing; others are extrapolation.
- The training data are its truth: their biases are its biases, and what they do not resolve it does not know.{first_guess}
- The spread of the ensemble is the model's own opinion of its error; check it against observations before relying on it.
- Cells outside the ocean mask are NaN. Without a mask every cell is taken for ocean."""


def provenance(run: TrainedRun) -> Rows:
    """Where the weights come from."""
    rows = [
        ("checkpoint", run.path.name),
        ("SHA-256 of the checkpoint", sha256(run.path)),
        ("optimizer steps", str(step_of(run))),
        ("seed", str(run.cfg.seed)),
        ("configuration", "`training_config.yaml`"),
        ("exported", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("exported with", ", ".join(f"{package} {version(package)}" for package in PACKAGES)),
    ]
    commit = git_commit(CONF.parent)
    return [*rows, ("code that exported", commit)] if commit else rows


def scores_at(metrics: Path, step: int) -> dict[str, dict[str, float]]:
    """Scores by weights that a run logged to `metrics.csv` at the validation after `step` optimizer steps; else nothing."""
    if not metrics.is_file():
        return {}
    with metrics.open(encoding="utf-8", newline="") as file:
        # Lightning numbers optimizer steps from 0 in what it logs.
        rows = [row for row in csv.DictReader(file) if row.get("step") == str(step - 1)]
    logged = {key: float(value) for row in rows for key, value in row.items() if key and value}
    scored = {key: value for key, value in logged.items() if "/recon_" in key}
    return scores_by_variant(scored) if scored else {}


def step_of(run: TrainedRun) -> int:
    """Optimizer steps of the checkpoint."""
    return int(run.checkpoint["global_step"])


def git_commit(folder: Path) -> str | None:
    """The commit that `folder` stands at, and whether files differ from it; None where it is no repository."""
    if not (folder / ".git").exists():
        return None
    asked = [
        ["git", "-C", str(folder), "rev-parse", "HEAD"],
        ["git", "-C", str(folder), "status", "-s", "-uno"],
    ]
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            for command in asked
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or a repository of another user
        return None
    return f"git commit {commit}" + (", with changes" if changed else "")


def in_words(node: Any) -> str:
    """A node of the config in one line: its class and its settings."""
    if not isinstance(node, Mapping):
        return str(node)
    name = str(node.get("_target_", "")).rpartition(".")[2]
    settings = ", ".join(
        f"{key} {json.dumps(value)}" for key, value in node.items() if not key.startswith("_")
    )
    return f"{name} ({settings})" if name and settings else name or settings


def table(rows: Rows) -> str:
    """A Markdown table of two columns."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])
