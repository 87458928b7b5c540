"""One run as its folder tells it: settings, scores, distances, panels, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from depthdif.comparison.scalars import METRICS_FILE, Series, read_scalars
from depthdif.ema.decay import half_life
from depthdif.sweep.record import FAILED, FINISHED, JobRecord, read_record

SCORES = ("mse", "psnr", "ssim")
DISTANCES = ("relative_rms", "rms", "mean_abs", "max_abs")
STANDARD = "standard"
PANEL = re.compile(r"x_y_full_reconstruction(?:_(?P<variant>.+?))?_step=(?P<step>\d+)\.png")
# Decays are logged as float32.
FLOAT32 = 2e-7


@dataclass(frozen=True)
class WeightState:
    """The standard weights of a run, or one of its averages.

    Attributes:
        name: "standard", "ema", or such as "ema_0.99".
        scores: by "mse" (squared units of the field), "psnr" (dB) and "ssim", after each validation.
        distances: from the standard weights, by "relative_rms", "rms", "mean_abs" and "max_abs".
        decay: that was asked for; None when unknown, and for laws that are no constant.
        effective_decay: of the last update, where warm-up may still hold it down; None when unknown.
        half_life: optimizer steps after which a weight counts half, by the effective decay; 0 for the standard weights.
    """

    name: str
    scores: Mapping[str, Series]
    distances: Mapping[str, Series] = field(default_factory=dict)
    decay: float | None = None
    effective_decay: float | None = None
    half_life: float | None = None

    @property
    def label(self) -> str:
        """Such as `EMA 0.99`."""
        if self.name == STANDARD:
            return STANDARD
        law = self.name.removeprefix("ema").strip("_").replace("_", " ")
        decay = self.effective_decay if self.decay is None else self.decay
        return f"EMA {law or ('' if decay is None else f'{decay:.10g}')}".strip()


@dataclass(frozen=True)
class Run:
    """A run folder that was read.

    Attributes:
        folder: of the run.
        name: short, unlike those of the other runs.
        config: resolved; None when config.yaml cannot be read.
        overrides: what was typed.
        scalars: every column of the metrics.
        standard: the standard weights.
        averages: the EMA of the weights, by ascending half-life; empty without EMA.
        panels: files by weight state and step.
        is_finished: whether the run reached its end.
        failure: why it did not, as its sweep recorded it; "" when nothing is known of a failure.
        remarks: what is missing or broken, in words.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] | None
    overrides: Sequence[str]
    scalars: Mapping[str, Series]
    standard: WeightState
    averages: Sequence[WeightState]
    panels: Mapping[str, Mapping[int, Path]]
    is_finished: bool
    failure: str
    remarks: Sequence[str]

    @property
    def states(self) -> list[WeightState]:
        """The standard weights and the averages."""
        return [self.standard, *self.averages]

    @property
    def last_step(self) -> int:
        """Optimizer steps that were logged or drawn; 0 for none."""
        logged = (max(series) for series in self.scalars.values() if series)
        drawn = (max(by_step) for by_step in self.panels.values() if by_step)
        return max([0, *logged, *drawn])

    def setting(self, *path: str) -> Any:
        """A value of the config, None where there is none."""
        node: Any = self.config
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    @property
    def planned_steps(self) -> int:
        """Optimizer steps that the run was to make; those made when the config does not say."""
        planned = self.setting("trainer", "max_steps")
        return planned if isinstance(planned, int) and planned > 0 else self.last_step

    @property
    def progress(self) -> str:
        """How far it got, in words."""
        if self.is_finished:
            return f"finished at step {self.last_step}"
        if self.failure:
            return f"failed after step {self.last_step} of {self.planned_steps}"
        return f"unfinished (running or stopped), step {self.last_step} of {self.planned_steps}"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read each folder; names are those of the folders, with those of their parents where needed to tell them apart."""
    return [read_run(folder, name) for folder, name in zip(folders, short_names(folders), strict=True)]


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder; nothing in it has to be there, or whole."""
    config, remarks = read_config(folder)
    scalars, of_scalars = read_scalars(folder / METRICS_FILE)
    panels = find_panels(folder / "panels")
    if not panels:
        remarks.append("no panels")
    averages = read_averages(scalars, config or {})
    remarks += of_scalars
    if not averages and scalars:
        remarks.append("trained without EMA: standard weights only")
    record = read_job(folder)
    failure = (record.reason or "reason unknown") if record is not None and record.status == FAILED else ""
    if failure:
        remarks.append(f"failed: {failure}")
    has_variants = any(name.startswith("val_standard/") for name in scalars)
    standard = scores_of(scalars, "val_standard" if has_variants or averages else "val")
    return Run(
        folder=folder,
        name=name,
        config=config,
        overrides=read_overrides(folder),
        scalars=scalars,
        standard=WeightState(STANDARD, standard, half_life=0.0),
        averages=averages,
        panels=panels,
        is_finished=(folder / "closing_table.txt").is_file()
        or (record is not None and record.status == FINISHED),
        failure=failure,
        remarks=remarks,
    )


def read_config(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The resolved config, and what to say when it cannot be read."""
    path = folder / "config.yaml"
    if not path.is_file():
        return None, ["config.yaml is missing: its settings are unknown"]
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"config.yaml cannot be read ({' '.join(str(error).split())})"]
    if not isinstance(config, dict):
        return None, ["config.yaml holds no settings"]
    return config, []


def read_job(folder: Path) -> JobRecord | None:
    """What the sweep recorded of a run; None outside of one, or when it cannot be read."""
    try:
        return read_record(folder)
    except (OSError, ValueError, TypeError):
        return None


def read_overrides(folder: Path) -> list[str]:
    """What was typed, as Hydra keeps it; nothing where it cannot be read."""
    path = folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return []
    return [str(override) for override in overrides] if isinstance(overrides, list) else []


def find_panels(folder: Path) -> dict[str, dict[int, Path]]:
    """Pictures by weight state and step; without EMA the one state is the standard one."""
    panels: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*.png")):
        if match := PANEL.fullmatch(path.name):
            panels.setdefault(match["variant"] or STANDARD, {})[int(match["step"])] = path
    return panels


def read_averages(scalars: Mapping[str, Series], config: Mapping[str, Any]) -> list[WeightState]:
    """Every average that left scores or distances, by ascending half-life."""
    prefixes = {name.partition("/")[0].removeprefix("val_") for name in scalars}
    names = [prefix for prefix in prefixes if prefix == "ema" or prefix.startswith("ema_")]
    model = config.get("model")
    ema = model.get("ema") if isinstance(model, Mapping) else None
    settings = ema if isinstance(ema, Mapping) else {}
    averages = [read_average(name, scalars, settings) for name in names]
    return sorted(averages, key=lambda average: (average.half_life is None, average.half_life, average.name))


def read_average(name: str, scalars: Mapping[str, Series], settings: Mapping[str, Any]) -> WeightState:
    """One average: what it scored, how far it was, and how long it remembers."""
    distances = {which: scalars.get(f"{name}/weight_{which}_delta", {}) for which in DISTANCES}
    # Runs from before the two had keys of their own logged the effective decay as the decay.
    series = scalars.get(f"{name}/effective_decay") or scalars.get(f"{name}/decay", {})
    logged = list(series.values())
    asked = settings.get("decay") if name == "ema" else number_named(name)
    decay = float(asked) if isinstance(asked, int | float) and not isinstance(asked, bool) else None
    if logged and (decay is None or abs(logged[-1] - decay) > FLOAT32):
        effective: float | None = round(logged[-1], 7)
    else:
        effective = decay
    every = settings.get("apply_every_n_steps")
    steps = every if isinstance(every, int) and every > 0 else 1
    return WeightState(
        name=name,
        scores=scores_of(scalars, f"val_{name}"),
        distances={which: series for which, series in distances.items() if series},
        decay=decay,
        effective_decay=effective,
        half_life=None if effective is None else half_life(effective) * steps,
    )


def number_named(name: str) -> float | None:
    """0.99 for "ema_0.99"; None for a law that is no constant decay."""
    try:
        return float(name.removeprefix("ema_"))
    except ValueError:
        return None


def scores_of(scalars: Mapping[str, Series], prefix: str) -> dict[str, Series]:
    """The scores that were logged under a prefix such as `val_ema`."""
    keys = {score: f"{prefix}/recon_{score}_full_recon" for score in SCORES}
    return {score: scalars[key] for score, key in keys.items() if scalars.get(key)}


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell all folders apart."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("folders are distinct")
