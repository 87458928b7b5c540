"""Averages of any width out of a finished run, scored: what `scripts/posthoc_ema.py` does. See docs/ema.md."""

from __future__ import annotations

import copy
import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from depthdif.checkpoints.trained_run import TrainedRun, device_of, open_trained
from depthdif.ema.checkpoint import canonical
from depthdif.ema.law import Decay, PowerDecay, described, plain
from depthdif.ema.posthoc import Combination, width_of_constant
from depthdif.ema.power import WIDEST
from depthdif.ema.rebuild import WORST_FIT, SnapshotAverages
from depthdif.figures.panel import display_units, save_figure
from depthdif.files import near
from depthdif.posthoc_ema.ladder import (
    LADDER,
    Rung,
    best_of,
    ladder_figure,
    ladder_table,
    validation_scores,
    write_ladder,
)

FOLDER = "ema_snapshots"
# What only a run that goes on needs.
OF_TRAINING = ("optimizer_states", "lr_schedulers", "loops", "callbacks")


def posthoc(cfg: DictConfig) -> float:
    """Rebuild averages from the snapshots of a run, score them, keep one as a checkpoint, and say what to type next.

    Args:
        cfg: `conf/posthoc_ema.yaml` as Hydra composes it.

    Returns:
        MSE of the reconstructions with the average that was kept; NaN when these are not finite.

    Raises:
        FileNotFoundError, ValueError: bad input, in one line and before anything is scored.
    """
    asked, widths = wanted(cfg)
    device = device_of(cfg.accelerator)
    run = open_trained(with_checkpoint(cfg))
    snapshots = open_snapshots(run)
    console = Console()
    combinations, left_out = closest_to(snapshots, asked, widths)
    rungs = score(run, snapshots, combinations, device, cfg.batches, console)
    kept = asked if asked is not None else law_of_best(rungs, combinations)
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    path = write_checkpoint(run, snapshots, kept, combinations[kept], folder)
    units = display_units(run.data.field.units)
    write_ladder(rungs, folder / "ladder.csv")
    title = f"{run.path.absolute().parent.parent.name}, step {snapshots.step}, {len(snapshots.snapshots)} snapshots"
    save_figure(ladder_figure(rungs, units, title), folder / "ladder.png")
    console.print(ladder_table(rungs, units), highlight=False)
    for line in (*left_out, *verdict(rungs, cfg.batches), *places(snapshots, kept, combinations[kept], path)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return next(rung.scores.get("mse", math.nan) for rung in rungs if rung.name == described(kept))


def wanted(cfg: DictConfig) -> tuple[Decay | None, list[PowerDecay]]:
    """The average that was asked for, if any, and the widths of the ladder.

    Raises:
        ValueError: a value out of range, or a width and a decay at once.
    """
    if cfg.width is not None and cfg.decay is not None:
        raise ValueError(f"width={cfg.width} and decay={cfg.decay}: expected one of them, such as width=0.07")
    if cfg.batches is not None and not (isinstance(cfg.batches, int) and cfg.batches >= 1):
        raise ValueError(f"batches={cfg.batches}: expected an integer >= 1, or null for all; type batches=1")
    decay = cfg.decay
    if decay is not None and not (isinstance(decay, int | float) and 0 < decay < 1):
        raise ValueError(f"decay={decay}: expected a number with 0 < decay < 1; type decay=0.999")
    asked = width_of("width", cfg.width) if cfg.width is not None else None
    return (asked if decay is None else float(decay)), [width_of("widths", width) for width in cfg.widths]


def width_of(key: str, width: Any) -> PowerDecay:
    """The law of a relative width that was typed under a key."""
    if isinstance(width, int | float) and not isinstance(width, bool) and 0 < width <= WIDEST:
        return PowerDecay(float(width))
    example = "[0.05,0.1]" if key == "widths" else "0.07"
    raise ValueError(
        f"{key}={width}: expected a relative width above 0 and at most {WIDEST:.4f}; type {key}={example}"
    )


def with_checkpoint(cfg: DictConfig) -> DictConfig:
    """The config with the checkpoint of `run` where that was given.

    Raises:
        FileNotFoundError, ValueError: no such run, or not exactly one of `run` and `checkpoint`.
    """
    if (cfg.run is None) == (cfg.checkpoint is None):
        raise ValueError(
            f"run={cfg.run} and checkpoint={cfg.checkpoint}: expected one of them, such as run=runs/DATE_TIME"
        )
    if cfg.run is None:
        return cfg
    if not Path(cfg.run).is_dir():
        raise FileNotFoundError(f"run={cfg.run}: no such folder; type run=runs/DATE_TIME")
    found = copy.deepcopy(cfg)
    found.checkpoint = str(Path(cfg.run) / "checkpoints/last.ckpt")
    return found


def open_snapshots(run: TrainedRun) -> SnapshotAverages:
    """The snapshots of a run up to the step of its checkpoint: beside the checkpoints, or where the run put them.

    Raises:
        FileNotFoundError, ValueError: none, a damaged one, or of another architecture than the checkpoint.
    """
    beside = run.path.absolute().parent.parent / FOLDER
    recorded = run.checkpoint.get("callbacks", {}).get("EMASnapshots", {}).get("folder", beside)
    folder = beside if beside.is_dir() else Path(recorded)
    snapshots = SnapshotAverages(folder, until=int(run.checkpoint["global_step"]))
    shapes = {key: tuple(tensor.shape) for key, tensor in canonical(run.checkpoint["state_dict"]).items()}
    odd = sorted(key for key, shape in snapshots.shapes.items() if shapes.get(key) != shape)
    if odd:
        raise ValueError(
            f"{folder}: snapshots of another architecture than {run.path}, they differ in {odd[0]}; "
            "type a checkpoint of the run that took them"
        )
    return snapshots


def closest_to(
    snapshots: SnapshotAverages, asked: Decay | None, widths: Sequence[PowerDecay]
) -> tuple[dict[Decay, Combination], list[str]]:
    """Combinations for the ladder, widths ascending and a constant decay last, and a line for each width that has none.

    Raises:
        ValueError: the snapshots cannot give what was asked for.
    """
    of_asked = {} if asked is None else {asked: snapshots.close(asked)}
    powers = {*widths, *snapshots.tracked, *(law for law in of_asked if isinstance(law, PowerDecay))}
    found: dict[Decay, Combination] = {}
    left_out = []
    for law in sorted(powers, key=lambda law: law.width):
        closest = snapshots.closest(law)
        if closest.fit_error <= WORST_FIT:
            found[law] = closest
        else:
            left_out.append(
                f"{described(law)} is left out: the closest profile is {100 * closest.fit_error:.1f} % away"
            )
    return {**found, **of_asked}, left_out


def score(
    run: TrainedRun,
    snapshots: SnapshotAverages,
    combinations: Mapping[Decay, Combination],
    device: torch.device,
    batches: int | None,
    console: Console,
) -> list[Rung]:
    """The standard weights and every average on the validation set, with a progress bar."""
    shown = list(itertools.islice(run.data.val_dataloader(), batches))
    standard = canonical(run.checkpoint["state_dict"])
    module = run.module.to(device)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    rungs = []
    with Progress(TextColumn("{task.description:>14}"), *columns, console=console) as progress:
        task = progress.add_task("", total=len(shown) * (1 + len(combinations)))

        def scores(name: str, weights: Mapping[str, Tensor]) -> dict[str, float]:
            progress.update(task, description=name)
            module.load_state_dict({**standard, **weights})
            return validation_scores(module, run.data, shown, run.precision, lambda: progress.advance(task))

        rungs.append(Rung("standard", "standard", None, None, scores("standard", {})))
        for law, combination in combinations.items():
            name = described(law)
            width, kind = length_of(law, snapshots)
            of_law = scores(name, snapshots.rebuild(combination))
            rungs.append(Rung(name, kind, width, combination.fit_error, of_law))
    return rungs


def length_of(law: Decay, snapshots: SnapshotAverages) -> tuple[float, str]:
    """Relative width of an average, and which kind of rung it is."""
    if isinstance(law, PowerDecay):
        return law.width, "tracked" if law in snapshots.tracked else "rebuilt"
    return width_of_constant(law, snapshots.updates), "constant"


def law_of_best(rungs: Sequence[Rung], combinations: Mapping[Decay, Combination]) -> Decay:
    """The law with the smallest MSE; the first one where no MSE is finite."""
    best = best_of(rungs)
    return next(
        (law for law in combinations if best and described(law) == best.name), next(iter(combinations))
    )


def write_checkpoint(
    run: TrainedRun, snapshots: SnapshotAverages, law: Decay, combination: Combination, folder: Path
) -> Path:
    """The checkpoint of the run, with the average of `law` in the place of those that were tracked, and without optimizers."""
    average = {
        "decay": plain(law),
        "steps": snapshots.step,
        "updates": snapshots.updates,
        "skipped_updates": 0,
        "is_seeded": True,
        "ema_weights": snapshots.rebuild(combination),
        "extra_ema_weights": {},
    }
    provenance = {
        "checkpoint": str(run.path),
        "snapshots": [snapshot.file for snapshot in snapshots.snapshots],
        "fit_error": combination.fit_error,
    }
    content = {key: value for key, value in run.checkpoint.items() if key not in OF_TRAINING}
    path = folder / f"{described(law).replace(' ', '_')}.ckpt"
    unfinished = path.with_suffix(".unfinished")
    torch.save({**content, "callbacks": {"EMACallback": average}, "posthoc_ema": provenance}, unfinished)
    unfinished.replace(path)
    return path


def verdict(rungs: Sequence[Rung], batches: int | None) -> list[str]:
    """Which width is best, in words, and how far that may be trusted."""
    best, standard = best_of(rungs), rungs[0]
    if best is None:
        return ["no average reconstructs finite fields: no width can be preferred"]
    gain = 100 * (1 - best.scores["mse"] / standard.scores.get("mse", math.nan))
    if gain > 0:
        lines = [f"best: {best.name}, its MSE is {gain:.1f} % below that of the standard weights"]
    else:
        lines = [
            f"no average beats the standard weights; {best.name} comes nearest, its MSE is {-gain:.1f} % above"
        ]
    widths = sorted(rung.width for rung in rungs if rung.kind in LADDER and rung.width)
    if best.width in (widths[0], widths[-1]) and len(widths) > 1:
        lines.append("it stands at the end of the ladder: the optimum may lie beyond")
    by_loss = best_of(rungs, "loss")
    if by_loss is not None and by_loss is not best:
        lines.append(
            f"val/loss prefers {by_loss.name}; MSE likes smooth fields, so compare CRPS and spectra of both: scripts/evaluate.py"
        )
    if batches is not None:
        what = "one mini-batch" if batches == 1 else f"{batches} mini-batches"
        lines.append(f"scored on {what}: for a choice between neighbours type batches=null")
    return lines


def places(snapshots: SnapshotAverages, law: Decay, combination: Combination, path: Path) -> list[str]:
    """What lies where, and the next commands."""
    kept = f"{described(law)}, fit error {combination.fit_error:.1e}"
    lines = [
        f"table and figure: {near(path.parent / 'ladder.csv')}, {near(path.parent / 'ladder.png')}",
        f"checkpoint:       {near(path)} ({kept})",
        f"evaluate it:      python scripts/evaluate.py checkpoint={shlex.quote(near(path))}",
    ]
    if isinstance(law, PowerDecay):
        return [*lines, f"track it:         python scripts/train.py model/ema=power model.ema.decay={law}"]
    initial = law**snapshots.updates
    share = (
        f", without the {100 * initial:.1f} % that the initial weights would have" if initial > 1e-3 else ""
    )
    return [
        *lines,
        f"track it:         python scripts/train.py model.ema.enabled=true model.ema.decay={law}{share}",
    ]
