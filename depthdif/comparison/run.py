"""The runs in folders, each read from its own: settings, scores, distances, panels, and remarks on what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from depthdif import UserError
from depthdif.comparison.scalars import Series, as_number, read_scalars
from depthdif.ema.decay import half_life
from depthdif.loggers.metrics_file import METRICS
from depthdif.scores.score_names import FIRST_GUESS, SCORES, STANDARD, of_variable
from depthdif.sweep.job import FAILED, FINISHED, RECORD, JobRecord, read_record

DISTANCES = {
    "relative_rms": "RMS distance / RMS of the standard weights",
    "rms": "RMS distance",
    "mean_abs": "mean absolute distance",
    "max_abs": "largest distance",
}
"""Label of each distance from the standard weights, by the name in its log key."""
PANEL = re.compile(r"x_y_full_reconstruction(?:_(?P<variant>.+?))?_step=(?P<step>\d+)\.png")
# Log key of a score of one variable of several.
OF_VARIABLE = re.compile(r"^val[^/]*/recon_[a-z]+_full_recon/(.+)$")
ADVICE = "set runs=[runs/DATE_TIME,runs/DATE_TIME], or the folder of a sweep: runs=[multirun/DATE_TIME]"
# Decays are logged as float32.
FLOAT32 = 2e-7


@dataclass(frozen=True)
class Variant:
    """The standard weights of a run, or one of its averages.

    Attributes:
        name: "standard", "ema", or such as "ema_0.99".
        scores: by the names in `SCORES`, after each validation.
        distances: from the standard weights, by the names in `DISTANCES`.
        decay: as configured; None when unknown, and for averages without a constant one.
        effective_decay: of the last update, which warm-up may have lowered; None when unknown.
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
        own = self.name.removeprefix("ema").strip("_").replace("_", " ")
        decay = self.effective_decay if self.decay is None else self.decay
        return f"EMA {own or ('' if decay is None else f'{decay:.10g}')}".strip()


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    Attributes:
        name: short, and unique among the runs that are compared.
        config: resolved; None when config.yaml cannot be read.
        overrides: of the command line.
        scalars: every column of the metrics.
        standard: the standard weights.
        averages: the EMA of the weights, by ascending half-life; empty without EMA.
        first_guess: scores of the first guess, which needs no training; empty without one.
        panels: files by variant and step.
        is_finished: whether the run reached its end.
        failure: why it did not, as its sweep recorded it; "" when no failure is known.
        remarks: what is missing or broken.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] | None
    overrides: Sequence[str]
    scalars: Mapping[str, Series]
    standard: Variant
    averages: Sequence[Variant]
    first_guess: Mapping[str, Series]
    panels: Mapping[str, Mapping[int, Path]]
    is_finished: bool
    failure: str
    remarks: Sequence[str]

    @property
    def variants(self) -> list[Variant]:
        """The standard weights and the averages."""
        return [self.standard, *self.averages]

    @property
    def last_step(self) -> int:
        """The last optimizer step with a scalar or a panel; 0 for none."""
        return max(
            [0, *(step for by_step in [*self.scalars.values(), *self.panels.values()] for step in by_step)]
        )

    def setting(self, *path: str) -> Any:
        """A value of the config, None where there is none."""
        node: Any = self.config
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    @property
    def planned_steps(self) -> int:
        """Optimizer steps of the whole run; those made so far when the config has no number."""
        planned = self.setting("trainer", "max_steps")
        return planned if isinstance(planned, int) and planned > 0 else self.last_step

    @property
    def progress(self) -> str:
        """Whether it is finished, and its last step."""
        if self.is_finished:
            return f"finished at step {self.last_step}"
        if self.failure:
            return f"failed after step {self.last_step} of {self.planned_steps}"
        return f"unfinished (running or stopped), step {self.last_step} of {self.planned_steps}"


def find_run_folders(folders: Sequence[str | Path]) -> list[Path]:
    """The run folders among `folders`, and those inside of the others; each once, a sweep in the order of its jobs.

    Raises:
        UserError: no folder, one that does not exist, or one that neither is a run nor contains any.
    """
    if not folders:
        raise UserError(f"runs=[]: expected run folders to compare; {ADVICE}")
    unique: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"runs=[{folder}]: no such folder; {ADVICE}")
        runs = list(runs_in(folder))
        if not runs:
            raise UserError(
                f"runs=[{folder}]: expected config.yaml, {METRICS.as_posix()} or panels/ in it, or in a "
                f"folder below it; {ADVICE}"
            )
        for run in runs:
            unique.setdefault(run.resolve(), run)
    return list(unique.values())


def runs_in(folder: Path, levels: int = 3) -> Iterator[Path]:
    """The folder itself if it is a run, else the runs below it (names of jobs may contain slashes), 10 after 9."""
    if is_run(folder):
        yield folder
    elif levels:
        children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
        for child in sorted(children, key=lambda path: re.sub(r"\d+", lambda n: n[0].zfill(20), path.name)):
            yield from runs_in(child, levels - 1)


def is_run(folder: Path) -> bool:
    """Whether a folder belongs to a training run, however incomplete."""
    if any((folder / name).is_file() for name in ("config.yaml", METRICS, RECORD)):
        return True
    # A job that failed before it wrote anything leaves the files of Hydra; those of other scripts have no trainer.
    config = folder / ".hydra" / "config.yaml"
    return (folder / "panels").is_dir() or (
        config.is_file()
        and re.search("^trainer:", config.read_text(errors="replace"), re.MULTILINE) is not None
    )


def read_runs(folders: Sequence[Path], variable: str | None = None) -> list[Run]:
    """Read each folder; names are those of the folders, with those of their parents where needed to distinguish them.

    Of runs with several variables the scores and panels are those of a `variable`, or with None those of all together.
    """
    return [
        read_run(folder, name, variable) for folder, name in zip(folders, short_names(folders), strict=True)
    ]


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish all folders."""
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("folders are distinct")


def read_run(folder: Path, name: str, variable: str | None = None) -> Run:
    """Read a run folder, of which any part may be missing or broken."""
    config, remarks = read_config(folder / "config.yaml")
    overrides: Any = None
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        overrides = read_yaml(folder / ".hydra" / "overrides.yaml")
    scalars, scalar_remarks = read_scalars(folder / METRICS)
    several = {match[1] for key in scalars if (match := OF_VARIABLE.search(key))}
    if variable in several:
        scalars = {**scalars, **of_variable(scalars, str(variable))}
    elif several:
        remarks.append(
            f"scores of {', '.join(sorted(several))} together, in standard deviations; variable=NAME shows those of one"
        )
    panels: dict[str, dict[int, Path]] = {}
    further = folder / "panels" / str(variable)
    for path in sorted((further if further.is_dir() else folder / "panels").glob("*.png")):
        if match := PANEL.fullmatch(path.name):
            # Without EMA the only variant is the standard one.
            panels.setdefault(match["variant"] or STANDARD, {})[int(match["step"])] = path
    averages = read_averages(scalars, config or {})
    if not panels:
        remarks.append("no panels")
    remarks += scalar_remarks
    if not averages and scalars:
        remarks.append("trained without EMA: standard weights only")
    record: JobRecord | None = None
    with suppress(OSError, ValueError, TypeError):
        record = read_record(folder)
    status = record.status if record else ""
    failure = (record.reason or "reason unknown") if record and status == FAILED else ""
    if failure:
        remarks.append(f"failed: {failure}")
    has_variants = averages or any(key.startswith("val_standard/") for key in scalars)
    return Run(
        folder=folder,
        name=name,
        config=config,
        overrides=[str(override) for override in overrides] if isinstance(overrides, list) else [],
        scalars=scalars,
        standard=Variant(STANDARD, scores(scalars, "val_standard" if has_variants else "val"), half_life=0.0),
        averages=averages,
        first_guess=scores(scalars, f"val_{FIRST_GUESS}"),
        panels=panels,
        is_finished=(folder / "closing_table.txt").is_file() or status == FINISHED,
        failure=failure,
        remarks=remarks,
    )


def read_yaml(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


def read_config(path: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The resolved config, and a remark when it cannot be read."""
    if not path.is_file():
        return None, ["config.yaml is missing: its settings are unknown"]
    try:
        config = read_yaml(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return None, [f"config.yaml cannot be read ({' '.join(str(error).split())})"]
    return (config, []) if isinstance(config, dict) else (None, ["config.yaml has no settings"])


def read_averages(scalars: Mapping[str, Series], config: Mapping[str, Any]) -> list[Variant]:
    """Every average with scores or distances, by ascending half-life."""
    prefixes = {key.partition("/")[0].removeprefix("val_") for key in scalars}
    names = [prefix for prefix in prefixes if re.fullmatch("ema(_.*)?", prefix)]
    model = config.get("model")
    ema = model.get("ema") if isinstance(model, Mapping) else None
    averages = [read_average(name, scalars, ema if isinstance(ema, Mapping) else {}) for name in names]
    return sorted(averages, key=lambda average: (average.half_life is None, average.half_life, average.name))


def read_average(name: str, scalars: Mapping[str, Series], settings: Mapping[str, Any]) -> Variant:
    """Scores, distances and memory of one average; `settings` are those of the EMA in the config."""
    distances = {which: scalars.get(f"{name}/weight_{which}_delta", {}) for which in DISTANCES}
    # Runs of older versions log the effective decay as `decay`.
    logged = list((scalars.get(f"{name}/effective_decay") or scalars.get(f"{name}/decay", {})).values())
    value = settings.get("decay") if name == "ema" else as_number(name.removeprefix("ema_"))
    decay = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    effective = decay
    if logged and (decay is None or abs(logged[-1] - decay) > FLOAT32):
        effective = round(logged[-1], 7)
    every = settings.get("apply_every_n_steps")
    steps = every if isinstance(every, int) and every > 0 else 1
    return Variant(
        name=name,
        scores=scores(scalars, f"val_{name}"),
        distances={which: series for which, series in distances.items() if series},
        decay=decay,
        effective_decay=effective,
        half_life=None if effective is None else half_life(effective) * steps,
    )


def scores(scalars: Mapping[str, Series], prefix: str) -> dict[str, Series]:
    """The scores with a prefix such as `val_ema`."""
    keys = {name: f"{prefix}/{score.key}" for name, score in SCORES.items()}
    return {name: scalars[key] for name, key in keys.items() if scalars.get(key)}
