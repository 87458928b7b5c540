"""Averages of any width from a finished run, scored: the job of `scripts/posthoc_ema.py`. See docs/ema.md."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor

from depthdif import UserError
from depthdif.checkpoints.trained_run import TrainedRun, device_of, open_trained
from depthdif.ema.checkpoint import canonical
from depthdif.ema.decay import WIDEST, Decay, PowerDecay, decay_label, format_decay
from depthdif.ema.posthoc import WORST_FIT, Combination, SnapshotAverages, width_of_constant
from depthdif.figures.panel import display_units, save_figure
from depthdif.files import atomic_path, near
from depthdif.posthoc_ema.variant_scores import (
    VariantScores,
    best_width,
    score_figure,
    score_table,
    validation_scores,
    write_scores,
)
from depthdif.scores.score_names import STANDARD
from depthdif.terminal import command, print_lines, progress_bar

TABLE = "widths.csv"
FIGURE = "widths.png"

# Keys of a checkpoint that only a resumed run needs.
RESUME_KEYS = ("optimizer_states", "lr_schedulers", "loops", "callbacks")


def posthoc(cfg: DictConfig) -> float:
    """Rebuild averages from the snapshots of a run, score them, save one as a checkpoint, and print what to run next.

    Returns:
        MSE of the reconstructions with the average that was saved; NaN when these are not finite.

    Raises:
        FileNotFoundError, UserError: bad input, in one line and before anything is scored.
    """
    chosen, widths = requested_decays(cfg)
    device = device_of(cfg.accelerator)
    run = open_trained(with_checkpoint(cfg))
    try:
        snapshots = open_snapshots(run)
        combinations, left_out = combinations_for(snapshots, chosen, widths)
    except ValueError as error:
        # It concerns files and values of the user.
        raise UserError(str(error)) from error
    console = Console()
    variants = score(run, snapshots, combinations, device, cfg.batches, console)
    best = best_width(variants)
    by_name = {decay_label(decay): decay for decay in combinations}
    saved = chosen or (by_name[best.name] if best else next(iter(combinations)))
    folder = Path(cfg.output_dir)
    path = write_checkpoint(run, snapshots, saved, combinations[saved], folder)
    units = "" if run.data.field.further else display_units(run.data.field.units)
    write_scores(variants, folder / TABLE)
    title = f"{run.path.absolute().parent.parent.name}, step {snapshots.step}, {len(snapshots.snapshots)} snapshots"
    save_figure(score_figure(variants, units, title), folder / FIGURE)
    console.print(score_table(variants, units), highlight=False)
    print_lines(console, *left_out, *conclusion(variants, cfg.batches))
    print_lines(console, *next_commands(snapshots, saved, combinations[saved], path))
    return next(v.scores.get("mse", math.nan) for v in variants if v.name == decay_label(saved))


def requested_decays(cfg: DictConfig) -> tuple[Decay | None, list[PowerDecay]]:
    """The decay of the average to save, None for the best width, and the widths to score.

    Raises:
        UserError: a value out of range, or a width and a decay at once.
    """
    if cfg.width is not None and cfg.decay is not None:
        raise UserError(f"width={cfg.width} and decay={cfg.decay}: expected one of them, such as width=0.07")
    if cfg.batches is not None and not (isinstance(cfg.batches, int) and cfg.batches >= 1):
        raise UserError(f"batches={cfg.batches}: expected an integer >= 1, or null for all; set batches=1")
    if cfg.decay is not None and not (isinstance(cfg.decay, int | float) and 0 < cfg.decay < 1):
        raise UserError(f"decay={cfg.decay}: expected a number with 0 < decay < 1; set decay=0.999")
    decay = cfg.decay if cfg.width is None else parse_width("width", cfg.width, "0.07")
    return decay, [parse_width("widths", width, "[0.05,0.1]") for width in cfg.widths]


def parse_width(key: str, width: Any, example: str) -> PowerDecay:
    """The decay of a relative width, the value of `key` in the config."""
    if isinstance(width, int | float) and not isinstance(width, bool) and 0 < width <= WIDEST:
        return PowerDecay(float(width))
    raise UserError(
        f"{key}={width}: expected a relative width above 0 and at most {WIDEST:.4f}; set {key}={example}"
    )


def with_checkpoint(cfg: DictConfig) -> DictConfig:
    """The config, with the last checkpoint of `run` where that is set.

    Raises:
        FileNotFoundError, UserError: no such run, or not exactly one of `run` and `checkpoint`.
    """
    if (cfg.run is None) == (cfg.checkpoint is None):
        raise UserError(
            f"run={cfg.run} and checkpoint={cfg.checkpoint}: expected one of them, such as run=runs/DATE_TIME"
        )
    if cfg.run is None:
        return cfg
    if not Path(cfg.run).is_dir():
        raise FileNotFoundError(f"run={cfg.run}: no such folder; set run=runs/DATE_TIME")
    return cast("DictConfig", OmegaConf.merge(cfg, {"checkpoint": f"{cfg.run}/checkpoints/last.ckpt"}))


def open_snapshots(run: TrainedRun) -> SnapshotAverages:
    """The snapshots of a run up to the step of its checkpoint: beside the checkpoints, or in the recorded folder.

    Raises:
        FileNotFoundError, ValueError: none, a damaged one, or of another architecture than the checkpoint.
    """
    beside = run.path.absolute().parent.parent / "ema_snapshots"
    recorded = run.checkpoint.get("callbacks", {}).get("EMASnapshots", {}).get("folder", beside)
    folder = beside if beside.is_dir() else Path(recorded)
    snapshots = SnapshotAverages(folder, until=int(run.checkpoint["global_step"]))
    shapes = {key: tuple(tensor.shape) for key, tensor in canonical(run.checkpoint["state_dict"]).items()}
    odd = sorted(key for key, shape in snapshots.shapes.items() if shapes.get(key) != shape)
    if odd:
        raise ValueError(
            f"{folder}: snapshots of another architecture than {run.path}, they differ in {odd[0]}; "
            "set a checkpoint of the run that took them"
        )
    return snapshots


def combinations_for(
    snapshots: SnapshotAverages, decay: Decay | None, widths: Sequence[PowerDecay]
) -> tuple[dict[Decay, Combination], list[str]]:
    """Combinations of snapshots by decay, widths ascending and a constant decay last, and a line for each width that has none.

    They are of the `widths`, of those of the snapshots, and of the `decay` of the average to save, if that is set.

    Raises:
        ValueError: the snapshots cannot give the average to save.
    """
    combinations: dict[Decay, Combination] = {}
    left_out = []
    saved = {} if decay is None else {decay: snapshots.close(decay)}
    powers = {power for power in (*widths, *snapshots.tracked, *saved) if isinstance(power, PowerDecay)}
    for power in sorted(powers, key=lambda power: power.width):
        combination = snapshots.closest(power)
        if combination.fit_error <= WORST_FIT:
            combinations[power] = combination
        else:
            distance = f"the closest profile is {100 * combination.fit_error:.1f} % away"
            left_out.append(f"{decay_label(power)} is left out: {distance}")
    return {**combinations, **saved}, left_out


def score(
    run: TrainedRun,
    snapshots: SnapshotAverages,
    combinations: Mapping[Decay, Combination],
    device: torch.device,
    batches: int | None,
    console: Console,
) -> list[VariantScores]:
    """The standard weights and every average on the validation set, with a progress bar."""
    shown = list(itertools.islice(run.data.val_dataloader(), batches))
    standard = canonical(run.checkpoint["state_dict"])
    module = run.module.to(device)
    with progress_bar(console) as progress:
        task = progress.add_task("", total=len(shown) * (1 + len(combinations)))

        def scores(name: str, weights: Mapping[str, Tensor]) -> dict[str, float]:
            progress.update(task, description=f"{name:>14}")
            module.load_state_dict({**standard, **weights})
            return validation_scores(module, run.data, shown, run.precision, lambda: progress.advance(task))

        variants = [VariantScores(STANDARD, STANDARD, None, None, scores(STANDARD, {}))]
        for decay, combination in combinations.items():
            name = decay_label(decay)
            if isinstance(decay, PowerDecay):
                width, kind = decay.width, "tracked" if decay in snapshots.tracked else "rebuilt"
            else:
                width, kind = width_of_constant(decay, snapshots.updates), "constant"
            average = scores(name, snapshots.rebuild(combination))
            variants.append(VariantScores(name, kind, width, combination.fit_error, average))
    return variants


def write_checkpoint(
    run: TrainedRun, snapshots: SnapshotAverages, decay: Decay, combination: Combination, folder: Path
) -> Path:
    """Write the checkpoint of the run with the average of `decay` in place of the tracked ones, and without optimizers."""
    average = {
        "decay": format_decay(decay),
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
    content = {key: value for key, value in run.checkpoint.items() if key not in RESUME_KEYS}
    path = folder / f"{decay_label(decay).replace(' ', '_')}.ckpt"
    with atomic_path(path) as unfinished:
        torch.save({**content, "callbacks": {"EMACallback": average}, "posthoc_ema": provenance}, unfinished)
    return path


def conclusion(variants: Sequence[VariantScores], batches: int | None) -> list[str]:
    """Lines that state which width is best, and what limits that result."""
    best, standard = best_width(variants), variants[0]
    if best is None:
        return ["no average reconstructs finite fields: no width can be preferred"]
    gain = 100 * (1 - best.scores["mse"] / standard.scores.get("mse", math.nan))
    if gain > 0:
        lines = [f"best: {best.name}, its MSE is {gain:.1f} % below that of the standard weights"]
    else:
        lines = [
            f"no average beats the standard weights; the best, {best.name}, has an MSE {-gain:.1f} % above"
        ]
    widths = [variant.width for variant in variants if variant.is_power_function and variant.width]
    if best.width in (min(widths), max(widths)) and len(widths) > 1:
        lines.append("it is the narrowest or widest of those scored: the optimum may lie beyond")
    by_loss = best_width(variants, "loss")
    if by_loss is not None and by_loss is not best:
        lines.append(
            f"val/loss prefers {by_loss.name}; MSE favours smooth fields, so compare CRPS and spectra of both with "
            f"{command('evaluate')}"
        )
    if batches is not None:
        what = "one mini-batch" if batches == 1 else f"{batches} mini-batches"
        lines.append(f"scored on {what}: to choose between neighbours set batches=null")
    return lines


def next_commands(
    snapshots: SnapshotAverages, decay: Decay, combination: Combination, path: Path
) -> list[str]:
    """Lines with the files that were written, `path` of the checkpoint among them, and the next commands."""
    if isinstance(decay, PowerDecay):
        overrides, note = f"model/ema=power model.ema.decay={decay}", ""
    else:
        overrides, note = f"model.ema.enabled=true model.ema.decay={decay}", ""
        if (initial := decay**snapshots.updates) > 1e-3:
            note = f", without the {100 * initial:.1f} % that the initial weights would have"
    return [
        f"table and figure: {near(path.parent / TABLE)}, {near(path.parent / FIGURE)}",
        f"checkpoint:       {near(path)} ({decay_label(decay)}, fit error {combination.fit_error:.1e})",
        f"evaluate it:      {command('evaluate')} checkpoint={shlex.quote(near(path))}",
        f"track it:         {command('train')} {overrides}{note}",
    ]
